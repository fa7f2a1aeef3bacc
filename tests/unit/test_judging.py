"""A result is judged from the bytes at the address that was asked for, and read again if need be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from reconciler.engine.training.judging import judge_run
from reconciler.errors import BlobForbidden, ReconcilerError
from reconciler.model import Fact
from reconciler.model.training import BlobReference, GateRule, JobStatus
from reconciler.plans.gates import Candidate
from tests.unit.test_training_run import BASE, Jobs, Storage, World


@dataclass
class Signed(Storage):
    """Storage that opens each output only with its newest signature."""

    newest: str = "sig=2"
    files: dict[str, bytes] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)

    def read(self, reference: BlobReference, most_bytes: int) -> bytes:
        if reference.secret != self.newest:
            raise BlobForbidden("storage denies access")
        self.opened.append(reference.uri)
        return self.files.get(reference.uri, b"AUC\n0.9\n")

    def digest(self, reference: BlobReference) -> str:
        self.read(reference, 0)
        return f"sha256:{'a' * 64}"


@dataclass
class Moving(Jobs):
    """A service that names each output by `base`, with a signature of its own for each answer."""

    base: str = BASE
    asked_base: str = BASE
    polls: int = 0

    def poll(self, job: str) -> JobStatus:
        status = super().poll(job)
        self.polls += 1
        results: Mapping[str, BlobReference] = {
            port: BlobReference(one.uri.replace(self.asked_base, self.base), f"sig={self.polls}")
            for port, one in status.results.items()
        }
        return replace(status, results=results)


def _judge(world: World) -> Candidate:
    run = world.process()
    ended = run.follow()
    return judge_run(world.ports(), world.retraining, run, ended, lambda _: None, pytest.fail)


def _make(**more: Any) -> World:
    world = World(jobs=Moving(**more), storage=Signed())
    world.retraining = replace(world.retraining, gate=(GateRule("AUC", min=0.8),))
    return world


def test_a_signature_that_has_ended_is_asked_for_again() -> None:
    world = _make()
    jobs, storage = world.jobs, world.storage
    assert isinstance(jobs, Moving)
    assert isinstance(storage, Signed)
    # Two polls until the job has ended, and a third one for a new signature.
    storage.newest = "sig=3"
    candidate = _judge(world)
    assert (candidate.metrics, candidate.refused) == ({"AUC": 0.9}, False)
    assert jobs.polls == 3
    assert set(storage.opened) == {f"{BASE}/run1.csv", f"{BASE}/run1.ilearner"}


def test_a_result_without_a_good_signature_is_read_with_the_credential_of_the_manifest() -> None:
    world = _make()
    assert isinstance(world.storage, Signed)
    world.storage.newest = "secret"
    assert _judge(world).metrics == {"AUC": 0.9}
    assert set(world.storage.opened) == {f"{BASE}/run1.csv", f"{BASE}/run1.ilearner"}


def test_a_credential_that_never_opens_it_is_an_error() -> None:
    world = _make()
    storage = world.storage
    assert isinstance(storage, Signed)
    storage.newest = "none"
    with pytest.raises(BlobForbidden):
        _judge(world)
    assert world.states[-1] == "ended", "the next command judges it again"


@pytest.mark.parametrize(
    "base",
    [
        "https://evil.blob.core.windows.net/m",
        "https://a.blob.core.windows.net/other",
        "https://a.blob.core.windows.net/m/../x",
        "http://a.blob.core.windows.net/m",
        "https://a.blob.core.windows.net.evil.example/m",
        "https://[::1/m",
        "http://[::1/m",
        "",
    ],
)
def test_an_output_at_another_address_is_not_read(base: str) -> None:
    world = _make(base=base)
    with pytest.raises(ReconcilerError, match="to another address"):
        _judge(world)
    storage = world.storage
    assert isinstance(storage, Signed)
    assert storage.opened == []


@pytest.mark.parametrize(
    "base",
    ["https://A.BLOB.core.windows.net/m", "https://a.blob.core.windows.net:443/m"],
)
def test_another_spelling_of_the_address_is_the_address_that_was_asked_for(base: str) -> None:
    candidate = _judge(_make(base=base))
    assert candidate.uri == f"{BASE}/run1.ilearner"


@pytest.mark.parametrize(
    ("asked", "shown"),
    [("a%20b", "a b"), ("a%20b", "a%20b"), ("100%25", "100%"), ("a%2520b", "a%20b")],
)
def test_the_name_of_an_output_may_be_shown_encoded_or_plain(asked: str, shown: str) -> None:
    world = _make(base=f"https://a.blob.core.windows.net/{shown}")
    blobs = (world.retraining.model, world.retraining.evaluation)
    model, evaluation = (
        replace(one, uri=one.uri.replace(BASE, f"https://a.blob.core.windows.net/{asked}"))
        for one in blobs
    )
    world.retraining = replace(world.retraining, model=model, evaluation=evaluation)
    jobs = world.jobs
    assert isinstance(jobs, Moving)
    jobs.asked_base = f"https://a.blob.core.windows.net/{asked}"
    assert _judge(world).uri == f"https://a.blob.core.windows.net/{asked}/run1.ilearner"


def test_an_output_that_was_not_asked_for_is_not_believed() -> None:
    """The manifest names another port since the job was submitted, and the service shows it."""
    world = _make()
    run = world.process()
    ended = run.follow()
    renamed = replace(world.retraining.model, port="other")
    world.retraining = replace(world.retraining, model=renamed)
    status = replace(
        ended[1],
        results={**ended[1].results, "other": BlobReference("https://evil.example/m/x.ilearner")},
    )
    with pytest.raises(ReconcilerError, match="to another address"):
        judge_run(
            world.ports(), world.retraining, run, (ended[0], status), lambda _: None, pytest.fail
        )


def test_a_secret_that_the_service_answers_is_not_shown_and_not_recorded() -> None:
    world = _make()
    storage = world.storage
    assert isinstance(storage, Signed)
    storage.files[f"{BASE}/run1.csv"] = b"AUC,PLANTED\n0.9,0.5\n"
    assert _judge(world).metrics == {"AUC": 0.9, "(hidden)": 0.5}
    assert "PLANTED" not in repr(world.ledger.lines)
    for blobs, said in (
        (("https://evil.example?sig=PLANTED",), "another address"),
        ((), "no output"),
    ):
        results = {f"{one}PLANTED": BlobReference("https://evil.example") for one in range(30)}
        results |= {"output1": BlobReference(f"{blobs[0]}/m/1.csv")} if blobs else {}
        run = world.process()
        record, status = run.follow()
        ended = record, replace(status, results=results)
        with pytest.raises(ReconcilerError, match=said) as failed:
            judge_run(world.ports(), world.retraining, run, ended, lambda _: None, pytest.fail)
        assert "PLANTED" not in str(failed.value.findings())


def test_a_result_that_is_judged_again_is_recorded_once() -> None:
    world = _make()
    storage = world.storage
    assert isinstance(storage, Signed)
    for newest in ("sig=2", "sig=3"):
        storage.newest = newest
        _judge(world)
    facts = [one for one in world.ledger.lines if isinstance(one, Fact)]
    assert [one.topic for one in facts].count("evaluation") == 1
