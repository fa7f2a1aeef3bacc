"""What every ledger must do; the suite runs over each implementation."""

import itertools
import json
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import LedgerInvalid
from reconciler.ledgers import FileLedger
from reconciler.model import Action, Address, Entry

pytestmark = pytest.mark.contract
Make = Callable[[], FileLedger]


@pytest.fixture(params=["file"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """A ledger opened anew at each call, always the same one."""
    kinds: dict[str, Make] = {"file": lambda: FileLedger(tmp_path / "ledger")}
    return kinds[request.param]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger" / "ledger.jsonl"


def entry(name: str, action: Action = Action.UPDATE, **more: Any) -> Entry:
    return Entry(
        **{
            "address": Address("WebService", name),
            "id": f"/subscriptions/s/{name}",
            "action": action,
            "at": "2026-11-20T12:00:00Z",
            "by": "ci",
            "host": "builder",
            "commit": "4f1c2aa",
            "plan_digest": "sha256:0",
            "patch": ({"op": "replace", "path": "/a~1b", "value": "ä\ud800"},),
            "inverse": ({"op": "replace", "path": "/a~1b", "value": None},),
            "owned": {"/a~1b": [1, 1.0, True, None, ""]},
            "secrets": {"/key": "2026-q4"},
            **more,
        }
    )


def test_without_an_entry_nothing_is_known(make: Make) -> None:
    snapshot = make().load()
    assert (snapshot.known, snapshot.memories) == (False, {})


def test_what_was_recorded_is_remembered_by_the_next_one(make: Make) -> None:
    make().record(entry("census", digests={"/model": "sha256:1"}))
    snapshot = make().load()
    memory = snapshot.memories[Address("WebService", "census")]
    assert snapshot.known
    assert (memory.by, memory.commit, memory.sequence) == ("ci", "4f1c2aa", 1)
    assert memory.owned == {"/a~1b": [1, 1.0, True, None, ""]}
    assert [type(one) for one in memory.owned["/a~1b"]][:3] == [int, float, bool]
    assert memory.secrets == {"/key": "2026-q4"}
    assert memory.digests == {"/model": "sha256:1"}


def test_the_last_entry_of_a_resource_counts(make: Make) -> None:
    for by in ("a", "b"):
        make().record(entry("census", by=by))
    make().record(entry("other"))
    memories = make().load().memories
    assert memories[Address("WebService", "census")].by == "b"
    assert len(memories) == 2


def test_what_was_destroyed_is_not_remembered_and_the_ledger_is_known(make: Make) -> None:
    make().record(entry("census", Action.CREATE))
    make().record(entry("census", Action.DELETE))
    snapshot = make().load()
    assert (snapshot.known, snapshot.memories) == (True, {})


def test_entries_come_back_as_they_were_given_oldest_first(make: Make) -> None:
    told = [entry("a"), entry("b"), entry("a", by="z")]
    for one in told:
        make().record(one)
    given = [replace(one, sequence=number) for number, one in enumerate(told, start=1)]
    assert list(make().entries()) == given
    assert list(make().entries(Address("WebService", "a"))) == [given[0], given[2]]


# The file: what is on the disk, and what may happen to it.


def test_each_line_carries_the_digest_of_the_one_before(make: Make, file: Path) -> None:
    import hashlib

    for number in range(5):
        make().record(entry(f"s{number}"))
    lines = file.read_bytes().splitlines()
    for before, line in itertools.pairwise(lines):
        assert json.loads(line)["previous"] == f"sha256:{hashlib.sha256(before).hexdigest()}"
    assert [json.loads(line)["sequence"] for line in lines] == [1, 2, 3, 4, 5]
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("harm", ["changed", "dropped", "swapped", "foreign", "version", "blank"])
def test_a_chain_that_does_not_hold_is_named_by_its_first_bad_line(
    make: Make, file: Path, harm: str
) -> None:
    for number in range(4):
        make().record(entry(f"s{number}"))
    lines = file.read_bytes().splitlines(keepends=True)
    harmed = {
        "changed": [lines[0], lines[1].replace(b'"ci"', b'"me"'), *lines[2:]],
        "dropped": [lines[0], *lines[2:]],
        "swapped": [lines[0], lines[2], lines[1], lines[3]],
        "foreign": [lines[0], b'{"not": "an entry"}\n', *lines[2:]],
        "version": [lines[0], lines[1].replace(b'"version":1', b'"version":9'), *lines[2:]],
        "blank": [lines[0], b"\n", *lines[1:]],
    }[harm]
    file.write_bytes(b"".join(harmed))
    with pytest.raises(LedgerInvalid) as caught:
        make().load()
    assert caught.value.message.startswith("line 3" if harm == "changed" else "line 2")
    assert caught.value.subject == str(file)


@pytest.mark.parametrize("keep", [1, 30, -2, -1])
def test_a_torn_last_line_is_passed_over_and_set_aside(make: Make, file: Path, keep: int) -> None:
    make().record(entry("a"))
    whole = file.read_bytes()
    make().record(entry("b"))
    torn = file.read_bytes()[len(whole) : keep if keep < 0 else len(whole) + keep]
    file.write_bytes(whole + torn)
    assert set(make().load().memories) == {Address("WebService", "a")}
    assert file.read_bytes() == whole + torn
    make().record(entry("c"))
    assert {one.address.name for one in make().entries()} == {"a", "c"}
    (aside,) = file.parent.glob("*.torn-*")
    assert aside.read_bytes() == torn


def test_a_full_disk_leaves_the_chain_as_it_was(make: Make, file: Path) -> None:
    make().record(entry("a"))
    before = file.read_bytes()

    def child() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, len(before) + 50))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            make().record(entry("b"))
        except LedgerInvalid as error:
            os._exit(42 if "cannot be written" in error.message else 1)
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 42
    assert file.read_bytes() == before
    make().record(entry("b"))
    assert len(list(make().entries())) == 2


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(LedgerInvalid, match="cannot be written") as caught:
        FileLedger(tmp_path / "taken").record(entry("a"))
    assert "taken" in caught.value.subject


def _write_many(folder: Path, name: str, count: int) -> None:
    for number in range(count):
        FileLedger(folder).record(entry(f"{name}-{number}"))


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path, make: Make) -> None:
    fork = multiprocessing.get_context("fork")
    folder = tmp_path / "ledger"
    processes = [fork.Process(target=_write_many, args=(folder, f"p{n}", 25)) for n in range(6)]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        make().load()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len({one.address for one in make().entries()}) == 150


def test_a_writer_that_is_killed_loses_only_what_it_had_not_recorded(
    tmp_path: Path, make: Make
) -> None:
    fork = multiprocessing.get_context("fork")
    for number in range(12):
        process = fork.Process(target=_write_many, args=(tmp_path / "ledger", f"k{number}", 10_000))
        process.start()
        time.sleep(0.02 + 0.01 * number)
        process.kill()
        process.join()
        known = list(make().entries())
        make().record(entry(f"after-{number}"))
        assert [one.address for one in make().entries()][: len(known)] == [
            one.address for one in known
        ]
    assert sum(one.address.name.startswith("after-") for one in make().entries()) == 12


def test_a_ledger_moved_away_while_it_is_used_is_begun_anew(make: Make, file: Path) -> None:
    ledger = make()
    ledger.record(entry("a"))
    file.rename(file.with_name("kept.jsonl"))
    assert ledger.load().known is False
    ledger.record(entry("b"))
    assert [one.address.name for one in make().entries()] == ["b"]
