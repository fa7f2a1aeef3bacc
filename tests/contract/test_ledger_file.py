"""The ledger in a file: what is on the disk, and what may happen to it."""

import errno
import hashlib
import itertools
import json
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import LedgerInvalid
from reconciler.ledgers.chain import LONGEST, seal
from reconciler.ledgers.file import FileLedger
from reconciler.model import Address, Json, StepResult
from tests.contract.homes import lock_owner
from tests.contract.test_ledger import entry, outcome, seed
from tests.ledgers import make_intent

pytestmark = pytest.mark.contract


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger" / "ledger.jsonl"


@pytest.fixture
def ledger(file: Path) -> FileLedger:
    return FileLedger(file.parent)


def without_fleets(said: Json) -> Json:
    """A line as it was written before there were fleets."""
    del said["fleet"]
    for one in (*said.get("memories", ()), *said.get("open", ())):
        del one["fleet"]
    return said


def test_a_ledger_from_before_there_were_fleets_is_read(ledger: FileLedger, file: Path) -> None:
    ledger.record(outcome(ledger.intend(make_intent("a")), "a", owned={"/x": 1}))
    ledger.intend(make_intent("b"))
    ledger.compact()
    ledger.intend(make_intent("c"))
    before = ledger.load()
    previous, lines = "", []
    for line in file.read_bytes().splitlines():
        said = json.loads(line)
        said = without_fleets({**said, "fleet": ""})
        said["previous"] = previous or said["previous"]
        said["version"] = 2
        del said["digest"]
        lines.append(json.dumps(said, sort_keys=True, separators=(",", ":")).encode())
        previous = f"sha256:{hashlib.sha256(lines[-1]).hexdigest()}"
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    assert len(lines) == 2
    assert ledger.load() == before


def test_each_line_carries_the_digest_of_the_one_before(ledger: FileLedger, file: Path) -> None:
    seed(ledger)
    lines = file.read_bytes().splitlines()
    for before, line in itertools.pairwise(lines):
        assert json.loads(line)["previous"] == f"sha256:{hashlib.sha256(before).hexdigest()}"
    numbers = [json.loads(line)["sequence"] for line in lines]
    assert numbers == list(range(1, len(lines) + 1))
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_outcome_does_not_repeat_its_intent(ledger: FileLedger, file: Path) -> None:
    patch = ({"op": "add", "path": "/x", "value": "y" * 10_000},)
    number = ledger.intend(make_intent(patch=patch, inverse=patch))
    ledger.record(outcome(number, patch=patch, inverse=patch, result=StepResult.NOT_DONE))
    said = json.loads(file.read_text().splitlines()[1])
    assert not {"patch", "inverse", "owns", "step_digest", "wave", "fleet"} & set(said)
    assert next(ledger.entries()).patch == patch


HARMS = ["changed", "dropped", "swapped", "foreign", "version", "blank", "kind", "address", "fence"]


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("archived", [False, True])
def test_a_chain_that_does_not_hold_is_named_by_its_first_bad_line(
    ledger: FileLedger, file: Path, harm: str, archived: bool
) -> None:
    for number in range(4):
        ledger.intend(make_intent(f"s{number}"))
    if archived:
        file = file.parent / ledger.compact()
    lines = file.read_bytes().splitlines(keepends=True)
    harmed = {
        "changed": [lines[0], lines[1].replace(b'"ci"', b'"me"'), *lines[2:]],
        "dropped": [lines[0], *lines[2:]],
        "swapped": [lines[0], lines[2], lines[1], lines[3]],
        "foreign": [lines[0], b'{"not": "an entry"}\n', *lines[2:]],
        "version": [lines[0], lines[1].replace(b'"version":3', b'"version":9'), *lines[2:]],
        "blank": [lines[0], b"\n", *lines[1:]],
        "kind": [lines[0], lines[1].replace(b'"intent"', b'"extent"'), *lines[2:]],
        "address": [lines[0], lines[1].replace(b"WebService/s1", b"s1"), *lines[2:]],
        "fence": [lines[0], lines[1].replace(b'highest_fence":0', b'highest_fence":7'), *lines[2:]],
    }[harm]
    file.write_bytes(b"".join(harmed))
    with pytest.raises(LedgerInvalid) as caught:
        list(ledger.entries())
    assert caught.value.message.startswith("line 2 of the ledger ")
    assert caught.value.subject == str(file)
    assert "reconciler ledger rebuild" in caught.value.next_step
    reported = ledger.verify().findings[0]
    assert reported.message == caught.value.message
    assert str(reported.place) == f"{file}:2:1"
    if archived:
        assert len(ledger.load().open) == 4  # what is remembered does not hang on it
        assert any("which was changed since" in one.message for one in ledger.verify().findings)
    else:
        with pytest.raises(LedgerInvalid, match="line 2 of the ledger"):
            ledger.load()


def test_a_last_line_that_was_changed_is_named(ledger: FileLedger, file: Path) -> None:
    seed(ledger)
    lines = file.read_bytes().splitlines(keepends=True)
    for harm in (b'"by":"me"', b'"by" :"ci"'):
        file.write_bytes(b"".join([*lines[:-1], lines[-1].replace(b'"by":"ci"', harm)]))
        message = f"line {len(lines)} of the ledger was changed since it was written"
        with pytest.raises(LedgerInvalid, match=message):
            ledger.load()
        with pytest.raises(LedgerInvalid, match="the last line of the ledger was changed"):
            ledger.intend(make_intent())
        assert message in ledger.verify().findings[0].message


def do_nothing(*_: Any) -> None:
    """What a file system does that reports locks and has none."""


def refuse(*_: Any) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize("flock", [do_nothing, refuse])
def test_a_file_system_without_locks_is_refused(
    ledger: FileLedger, file: Path, monkeypatch: pytest.MonkeyPatch, flock: Callable[..., None]
) -> None:
    ledger.record(entry("a"))
    before = file.read_bytes()
    fresh = FileLedger(file.parent)
    monkeypatch.setattr("fcntl.flock", flock)
    for work in (
        lambda: fresh.record(entry("b")),
        lambda: fresh.lock(lock_owner(), 0, lambda _: None),
        fresh.compact,
    ):
        with pytest.raises(LedgerInvalid, match="does not lock files") as caught:
            work()
        assert caught.value.subject == str(file)
        assert "spec.ledger.container" in caught.value.next_step
    if flock is refuse:
        with pytest.raises(LedgerInvalid, match="does not lock files"):
            fresh.load()
    assert file.read_bytes() == before


def test_threads_do_not_rely_on_the_locks_of_the_file_system(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ledgers of one process that nobody ever told that there are no locks."""
    monkeypatch.setattr("fcntl.flock", do_nothing)
    monkeypatch.setattr("reconciler.ledgers.locked_file.check_locks", do_nothing)
    ledgers = [FileLedger(file.parent) for _ in range(2)]

    def work(number: int) -> None:
        for step in range(10):
            name = f"t{number}-{step}"
            ledger = ledgers[number % 2]
            ledger.record(outcome(ledger.intend(make_intent(name)), name))

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(work, range(10)))
    assert ledgers[0].verify().findings == ()
    assert len(ledgers[0].load().last_applied_by_address) == 100


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "entry"}, "has no usable address"),
        ({"kind": "outcome", "patch": []}, "repeats the patch of its intent"),
        ({"kind": "intent", "address": "WebService/a"}, "has no usable id"),
        ({"kind": "checkpoint"}, "has no usable archive"),
        ({"kind": ["intent"]}, "has an unknown kind"),
        ({"version": True}, "is not of version 2 or 3"),
        ({"version": 1}, "is not of version 2 or 3"),
        ({"version": 2, "kind": "lock", "fence": 0}, "does not follow the line before it"),
        ({"highest_fence": -1}, "has no usable highest_fence"),
    ],
)
def test_a_line_that_says_nothing_is_named(
    ledger: FileLedger, file: Path, wrong: Any, message: str
) -> None:
    ledger.intend(make_intent())
    last = file.read_bytes().splitlines()[-1]
    previous = f"sha256:{hashlib.sha256(last).hexdigest()}"
    said = {"version": 3, "sequence": 2, "previous": previous, "highest_fence": 0}
    with file.open("ab") as out:
        out.write(seal({**said, **wrong}) + b"\n")
    with pytest.raises(LedgerInvalid, match=f"line 2 of the ledger {message}"):
        ledger.load()


def test_a_line_of_any_length_is_not_read_into_memory(ledger: FileLedger, file: Path) -> None:
    ledger.record(entry("a"))
    with file.open("r+b") as out:
        out.seek(0, os.SEEK_END)
        out.write(b'"')
        out.truncate(LONGEST + 1_000_000)
        out.seek(0, os.SEEK_END)
        out.write(b'"\n{}\n')
    with pytest.raises(LedgerInvalid, match="line 2 of the ledger is longer than 64 MiB"):
        ledger.load()


def test_a_line_of_too_many_values_is_refused(ledger: FileLedger, file: Path) -> None:
    ledger.record(entry("a"))
    with file.open("ab") as out:
        out.write(b"[" + b"[]," * 2_000_000 + b"1]\n")
    why = "line 2 of the ledger cannot be read: it holds more than 3,000,000 values"
    with pytest.raises(LedgerInvalid, match=why):
        ledger.load()
    with pytest.raises(LedgerInvalid, match="the last line of the ledger cannot be read"):
        ledger.record(entry("b"))
    assert why in ledger.verify().findings[0].message


@pytest.mark.parametrize("keep", [1, 30, -2, -1])
def test_a_torn_last_line_is_passed_over_and_set_aside(
    ledger: FileLedger, file: Path, keep: int
) -> None:
    ledger.record(entry("a"))
    whole = file.read_bytes()
    ledger.intend(make_intent("b"))
    torn = file.read_bytes()[len(whole) : keep if keep < 0 else len(whole) + keep]
    file.write_bytes(whole + torn)
    assert set(ledger.load().last_applied_by_address) == {Address("WebService", "a")}
    assert ledger.load().open == ()
    assert file.read_bytes() == whole + torn
    (reported,) = ledger.verify().findings
    assert (reported.severity, str(reported.place)) == ("warning", f"{file}:2:1")
    assert f"{len(torn)} bytes" in reported.message
    ledger.record(entry("c"))
    assert {one.address.name for one in ledger.entries()} == {"a", "c"}
    (aside,) = file.parent.glob("*.torn-*")
    assert aside.read_bytes() == torn
    assert ledger.verify().findings == ()


@pytest.mark.parametrize("compacted", [False, True])
def test_whatever_a_power_cut_leaves_is_a_beginning_of_what_was(
    ledger: FileLedger, file: Path, compacted: bool
) -> None:
    if compacted:
        seed(ledger)
        ledger.compact()
    seed(ledger, 3)
    data = file.read_bytes()
    ends = [0, *(at + 1 for at, byte in enumerate(data) if byte == ord("\n"))]
    states = {}
    for end in ends:
        file.write_bytes(data[:end])
        states[end] = ledger.load()
    for cut in range(0, len(data), 13):
        file.write_bytes(data[:cut])
        whole = max(end for end in ends if end <= cut)
        assert ledger.load() == states[whole], cut
    for cut in range(1, len(data), 601):
        file.write_bytes(data[:cut] + bytes(300))  # length was written, bytes were not
        whole = max(end for end in ends if end <= cut)
        assert ledger.load() == states[whole], cut


def test_a_full_disk_leaves_the_chain_as_it_was(ledger: FileLedger, file: Path) -> None:
    number = ledger.intend(make_intent("a"))
    before = file.read_bytes()

    def child() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, len(before) + 50))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        failed = 0
        for work in (
            lambda: ledger.record(outcome(number, "a")),
            lambda: ledger.intend(make_intent("b")),
        ):
            try:
                work()
            except LedgerInvalid as error:
                failed += "cannot be written" in error.message
        os._exit(40 + failed)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 42
    assert file.read_bytes() == before
    ledger.record(outcome(number, "a"))
    assert len(list(ledger.entries())) == 1


def test_a_compaction_that_finds_no_room_changes_nothing(ledger: FileLedger, file: Path) -> None:
    seed(ledger)
    before, files = file.read_bytes(), sorted(file.parent.iterdir())

    def child() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            ledger.compact()
        except LedgerInvalid as error:
            os._exit(42 if "cannot be compacted" in error.message else 1)
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 42
    assert (file.read_bytes(), sorted(file.parent.iterdir())) == (before, files)


@pytest.mark.parametrize("result", StepResult)
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path, result: StepResult) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(LedgerInvalid, match="cannot be written") as caught:
        FileLedger(tmp_path / "taken").record(replace(entry("a"), result=result))
    assert "taken" in caught.value.subject
    # What became of the step is not the ledger's to say.
    assert caught.value.next_step.startswith("Free disk space or allow this user to write")


def test_a_ledger_moved_away_while_it_is_used_is_begun_anew(ledger: FileLedger, file: Path) -> None:
    ledger.record(entry("a"))
    file.rename(file.with_name("kept.jsonl"))
    assert ledger.load().known is False
    ledger.record(entry("b"))
    assert [one.address.name for one in ledger.entries()] == ["b"]


def test_an_archive_that_is_missing_or_hostile_is_told(ledger: FileLedger, file: Path) -> None:
    seed(ledger)
    name = ledger.compact()
    kept = (file.parent / name).rename(file.parent / "elsewhere")
    with pytest.raises(LedgerInvalid, match=f"{name}, an archive of the ledger, is missing"):
        list(ledger.entries())
    assert "is missing" in ledger.verify().findings[0].message
    kept.rename(file.parent / name)
    assert ledger.verify().findings == ()
    said = {**json.loads(file.read_bytes()), "archive": "../../secrets.jsonl"}
    del said["digest"]
    file.write_bytes(seal(said) + b"\n")
    with pytest.raises(LedgerInvalid, match="line 1 of the ledger names no usable archive"):
        list(ledger.entries())
    assert "names no usable archive" in ledger.verify().findings[0].message


def test_an_archive_that_names_itself_ends_the_search(ledger: FileLedger, file: Path) -> None:
    seed(ledger)
    name = ledger.compact()
    (file.parent / name).write_bytes(file.read_bytes())
    with pytest.raises(LedgerInvalid, match="line 1 of the ledger names no usable archive"):
        list(ledger.entries())


def test_a_broken_ledger_is_set_aside_byte_for_byte(ledger: FileLedger, file: Path) -> None:
    ledger.record(entry("a"))
    broken = file.read_bytes() + b"{}\n{}\n" + b"torn"
    file.write_bytes(broken)
    with pytest.raises(LedgerInvalid):
        ledger.load()
    kept = ledger.set_aside()
    assert Path(kept).read_bytes() == broken
    assert not file.exists()
    assert ledger.load().known is False
    assert ledger.set_aside() == ""
