"""Signatures that have expired: what a plan reports, whatever spec.guards.blobs says."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler.engine.blob_checks import check_models, check_planned_models
from reconciler.engine.runtime import Runtime
from reconciler.errors import BlobExpired, BlobForbidden, Unavailable
from reconciler.kinds.endpoint import KIND
from reconciler.model import ABSENT, Address, Blob, Finding, Json, Manifest, Resource, Step
from reconciler.plans.step import Comparison, make_step
from tests.unit.test_engine import World

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SAS = "sv=2020-08-04&sr=b&sp=r&sig=planted-signature"
ENDED, LASTING = f"{SAS}&se=2026-11-20T11:00:00Z", f"{SAS}&se=2030-01-01T00:00:00Z"
NOT_YET, SOON = f"{LASTING}&st=2026-11-21T00:00:00Z", f"{SAS}&se=2026-11-22T00:00:00Z"
ADDRESS = Address("Endpoint", "loc1")
MODES: tuple[Any, ...] = ("required", "warn", "skip")


class Storage:
    """Blob storage that gives one answer."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def inspect(self, _: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def make(spec: Json) -> tuple[Step, Comparison]:
    """The step of an endpoint with two models, of which the first one changes."""
    names = ("a", "b")
    shown = {name: {"Name": name, "Location": f"https://acct/m/{name}"} for name in names}
    before: Json = {"Name": "loc1", "Resources": shown}
    manifest = Manifest(ADDRESS, spec, "loc1.yaml", "sha256:0")
    declared = KIND.bind(manifest, before)
    resource = Resource(ADDRESS, "/southcentralus/workspaces/w/webservices/s/endpoints/loc1")
    comparison = Comparison(resource, KIND.field, before, declared)
    step = make_step(comparison)
    assert step is not None
    return step, comparison


def declare(first: str, second: str) -> Json:
    models = {
        name: {"uri": f"https://acct/m/{blob}", "sas": {"env": variable}}
        for name, blob, variable in (("a", "new", first), ("b", "b", second))
    }
    return {"trainedModels": models}


def runtime(answer: Any, **secrets: str) -> Runtime:
    def resolve(reference: Any) -> str:
        return secrets[reference.env]

    return replace(World().runtime(), blobs=Storage(answer), resolve=resolve, clock=lambda: NOW)


def check(mode: Any, answer: Any, first: str = LASTING, second: str = LASTING) -> list[Finding]:
    step, comparison = make(declare("FIRST", "SECOND"))
    given = runtime(answer, FIRST=first, SECOND=second)
    _, found = check_models(given, [step], [comparison], mode)
    references = {comparison.resource: comparison.declared.models}
    _, again = check_planned_models(given, [step], references, mode)
    assert list(found) == again
    return again


GOOD = Blob("https://acct/m/new", 9, "e", "sha256:1", "metadata", at="2026-11-20T12:00:00Z")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("signature", "said"),
    [(ENDED, "expired at 2026-11-20T11:00:00Z"), (NOT_YET, "not valid before 2026-11-21")],
)
@pytest.mark.parametrize("answer", ["storage judges", "storage does not answer"])
def test_a_sent_signature_out_of_its_time_refuses_the_plan(
    mode: Any, signature: str, said: str, answer: str
) -> None:
    judged = BlobExpired(f"the signature {said}", next_step="Create a new one.")
    answers = {"storage judges": judged, "storage does not answer": Unavailable("no answer")}
    errors = [
        one for one in check(mode, answers[answer], first=signature) if "not valid" in one.message
    ]
    (found,) = errors
    assert (found.severity, found.guard, found.subject) == ("error", "blob", "Endpoint/loc1")
    assert any(said in line for line in found.detail)
    assert found.place is not None
    assert "--allow" not in found.next_step
    assert "planted" not in str(found)


@pytest.mark.parametrize("mode", MODES)
def test_a_model_that_does_not_change_is_sent_too(mode: Any) -> None:
    (found,) = check(mode, GOOD, second=ENDED)
    assert found.severity == "error"
    assert found.message.startswith('trained model "b": the signature')


@pytest.mark.parametrize("mode", ["required", "warn"])
def test_the_clock_of_storage_decides_where_it_is_known(mode: Any) -> None:
    assert check(mode, GOOD, first=ENDED) == []


def test_a_signature_that_ends_soon_is_a_warning_without_storage() -> None:
    (found,) = check("skip", GOOD, first=SOON)
    assert (found.severity, "expires at 2026-11-22" in found.message) == ("warning", True)
    assert check("skip", ABSENT) == []


def test_a_signature_among_the_secrets_is_checked_too() -> None:
    spec = declare("FIRST", "SECOND")
    del spec["trainedModels"]["a"]["sas"]
    step, comparison = make(spec)
    at = "/Resources/a/SasBlobToken"
    other = dict(step.secrets)["/Resources/b/SasBlobToken"]
    step = step.copy_with(secrets=(*step.secrets, (at, replace(other, env="THIRD"))))
    given = runtime(GOOD, SECOND=LASTING, THIRD=ENDED)
    _, found = check_models(given, [step], [comparison], "skip")
    assert [(one.severity, one.message[:17]) for one in found] == [("error", 'trained model "a"')]


class Asked(Storage):
    """Blob storage that keeps the addresses for which it was asked."""

    def __init__(self, answer: Any) -> None:
        super().__init__(answer)
        self.asked: list[str] = []

    def inspect(self, model: Any) -> Any:
        self.asked.append(model.uri)
        return super().inspect(model)


@dataclass
class Locating(World):
    """A provider whose models have ids; `behind` is what it finds behind them."""

    behind: Any = ""

    def locate_model(self, resource: Resource, uri: str) -> Any:
        assert resource.address == ADDRESS
        if isinstance(self.behind, Exception):
            raise self.behind
        return self.behind if uri == "https://acct/m/new" else ""


def check_located(behind: Any, answer: Any, **pin: str) -> tuple[str, list[Finding]]:
    """The trust in the digest of the model that changes, and the findings."""
    spec = declare("FIRST", "SECOND")
    spec["trainedModels"]["a"] |= pin
    step, comparison = make(spec)
    given = replace(
        runtime(answer, FIRST=LASTING, SECOND=LASTING),
        providers={"Endpoint": Locating(behind=behind)},
    )
    (checked,), found = check_models(given, [step], [comparison], "required")
    return checked.models[0].trust, list(found)


LOCATED = "https://acct/store/model.ilearner"


def test_a_blob_is_found_behind_the_id_of_a_model() -> None:
    storage = Asked(GOOD)
    step, comparison = make(declare("FIRST", "SECOND"))
    given = replace(
        runtime(GOOD, FIRST=LASTING, SECOND=LASTING),
        blobs=storage,
        providers={"Endpoint": Locating(behind=LOCATED)},
    )
    (checked,), _ = check_models(given, [step], [comparison], "required")
    assert storage.asked == [LOCATED]
    assert (checked.models[0].after, checked.models[0].digest_after) == (
        "https://acct/m/new",
        "sha256:1",
    )


@pytest.mark.parametrize(
    ("behind", "answer"),
    [
        ("", GOOD),
        (ABSENT, GOOD),
        (LOCATED, ABSENT),
        (LOCATED, BlobForbidden("storage refuses it")),
        (Unavailable("no answer"), GOOD),
    ],
)
def test_bytes_behind_an_id_may_stay_unknown_unless_they_are_pinned(
    behind: Any, answer: Any
) -> None:
    assert check_located(behind, answer) == ("unknown", [])
    trust, (finding,) = check_located(behind, answer, sha256="0" * 64)
    assert trust == "unknown"
    assert (finding.severity, finding.guard) == ("error", "blob")
    assert "could not be compared with the pinned sha256" in finding.message


def test_bytes_behind_an_id_that_are_not_the_pinned_ones_are_refused() -> None:
    trust, (finding,) = check_located(LOCATED, GOOD, sha256="0" * 64)
    assert trust == "metadata"
    assert "does not match the pinned sha256" in finding.message
