"""The drift history in a file and in real blob storage: one suite for both."""

import json
import os
import signal
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from reconciler.errors import LedgerInvalid
from reconciler.ledgers.blob_client import BlobNotFound, Container
from reconciler.ledgers.drift_history import MOST_BYTES, NAME, HistoryFile, StoredDriftHistory
from reconciler.ledgers.drift_history_blob import HistoryBlob
from reconciler.ledgers.opening import open_drift_history
from reconciler.model import (
    ABSENT,
    Address,
    Cloud,
    Drift,
    DriftPast,
    DriftRun,
    GuardLimits,
    Project,
    Resource,
    Verdict,
)
from tests.contract.go_between import GoBetween, go_between
from tests.contract.homes import Folder, Home, Prefix, hear, run_beside
from tests.contract.test_ledger_blob import _origin
from tests.scripted import Answer, run_scripted

pytestmark = pytest.mark.contract
KEYS = [f"{number:024x}" for number in range(9)]
A, B, C, *_ = KEYS
DAY = [f"2026-11-{number:02}T03:00:00Z" for number in range(1, 29)]


def open_history(home: Home) -> StoredDriftHistory:
    """The history beside a ledger, as a process that has just begun opens it."""
    if isinstance(home, Folder):
        return StoredDriftHistory(HistoryFile(home.folder))
    assert isinstance(home, Prefix)
    return StoredDriftHistory(HistoryBlob(home.container(), home.prefix))


def read(home: Home) -> bytes:
    if isinstance(home, Folder):
        return (home.folder / NAME).read_bytes()
    assert isinstance(home, Prefix)
    return home.container().read_all(f"{home.prefix}{NAME}", MOST_BYTES).data


def put(home: Home, data: bytes) -> None:
    """What somebody makes of the history by hand."""
    if isinstance(home, Folder):
        (home.folder / NAME).parent.mkdir(parents=True, exist_ok=True)
        (home.folder / NAME).write_bytes(data)
    else:
        assert isinstance(home, Prefix)
        home.container().write(f"{home.prefix}{NAME}", data)


def remove(home: Home) -> None:
    if isinstance(home, Folder):
        (home.folder / NAME).unlink()
    else:
        assert isinstance(home, Prefix)
        home.container().delete(f"{home.prefix}{NAME}")


def run_of(day: str, **counts: int) -> DriftRun:
    return DriftRun(day, "4f1c2aa", {Verdict[name]: number for name, number in counts.items()})


def test_nothing_is_there_before_the_first_run_and_a_read_creates_nothing(home: Home) -> None:
    assert open_history(home).load() == DriftPast()
    with pytest.raises((FileNotFoundError, BlobNotFound)):
        read(home)


def test_what_is_kept_is_read_by_another_process(home: Home) -> None:
    run = run_of(DAY[0], DRIFTED=2, IN_SYNC=5)
    open_history(home).append(run, {A: DAY[0], B: DAY[1]})
    history = open_history(home)
    history.note_sent([A])
    assert open_history(home).load() == DriftPast((run,), {A: DAY[0], B: DAY[1]}, frozenset([A]))


def test_the_last_thirty_runs_are_kept_and_a_run_over_a_part_is_none(home: Home) -> None:
    history = open_history(home)
    for number in range(33):
        history.append(run_of(DAY[number % 28], PENDING=number + 1), {})
    history.append(None, {A: DAY[2]})
    past = open_history(home).load()
    assert [one.counts[Verdict.PENDING] for one in past.runs] == list(range(4, 34))
    assert past.since == {A: DAY[2]}


def test_what_is_resolved_is_forgotten_with_what_was_sent_of_it(home: Home) -> None:
    history = open_history(home)
    history.append(run_of(DAY[0]), {A: DAY[0], B: DAY[0]})
    history.note_sent([A, B])
    history.load()
    history.append(run_of(DAY[1]), {B: DAY[0]})
    past = open_history(home).load()
    assert (dict(past.since), set(past.sent)) == ({B: DAY[0]}, {B})


def test_each_webhook_has_keys_of_its_own(home: Home) -> None:
    history = open_history(home)
    history.append(run_of(DAY[0]), {A: DAY[0], B: DAY[0]})
    history.note_sent([f"{A}01234567", f"{B}01234567"])
    history.note_sent([f"{A}89abcdef"])
    history = open_history(home)
    assert history.load().sent == {f"{A}01234567", f"{B}01234567", f"{A}89abcdef"}
    history.append(run_of(DAY[1]), {A: DAY[0]})
    past = open_history(home).load()
    assert past.sent == {f"{A}01234567", f"{A}89abcdef"}
    assert past.lost is None


def test_a_rival_that_writes_in_between_loses_nothing(home: Home) -> None:
    first, second = open_history(home), open_history(home)
    first.append(run_of(DAY[0]), {A: DAY[0]})
    first.load()
    second.load()
    second.append(run_of(DAY[2]), {A: DAY[0], B: DAY[2]})
    first.append(run_of(DAY[3]), {C: DAY[3], B: DAY[3]})
    past = open_history(home).load()
    assert [one.at for one in past.runs] == [DAY[0], DAY[2], DAY[3]]
    assert past.since == {B: DAY[2], C: DAY[3]}


def test_writers_at_once_lose_no_run(home: Home) -> None:
    begun = threading.Barrier(5)

    def write(number: int) -> None:
        history = open_history(home)
        history.load()
        begun.wait(60)
        history.append(run_of(DAY[number]), {KEYS[number]: DAY[number]})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    past = open_history(home).load()
    assert sorted(one.at for one in past.runs) == DAY[:5]
    assert past.since == dict(zip(KEYS[:5], DAY[:5], strict=True))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "null",
        '{"since":"2026-11-01T03:00:00Z","keys":["a secret value"]}',
        '{"since":"2026-11-01T03:00:00Z","keys":"' + A + '"}',
        '{"since":"yesterday","keys":["' + A + '"]}',
        '{"since":"2026-11-01T03:00:00+00:00","keys":["' + A + '"]}',
        '{"run":{"at":"2026-11-01T03:00:00Z","commit":"","counts":{"drifted":-1}}}',
        '{"run":{"at":"2026-11-01T03:00:00Z","commit":"","counts":{"drifted":true}}}',
        '{"run":{"at":"2026-11-01T03:00:00Z","commit":"' + "c" * 300 + '","counts":{}}}',
        '{"run":7}',
        '{"sent":{}}',
        '{"overwritten":{"address":"x","id":"","pointer":"","by":"","verdict":"drifted"}}',
        '{"overwritten":{"address":"K/x","id":7,"pointer":"","by":"","verdict":"drifted"}}',
        (
            '{"overwritten":{"address":"K/x;id","id":"","pointer":"","by":"","verdict":"drifted",'
            '"key":"000000000000000000000001","at":"2026-11-01T03:00:00Z"}}'
        ),
        "[" * 5000,
        '{"sent":[' + "[]," * 30_000 + "[]]}",
        "\x00\xff",
    ],
    ids=range(19),
)
def test_a_bad_line_costs_what_it_holds_and_is_reported_once(home: Home, line: str) -> None:
    open_history(home).append(run_of(DAY[0], DRIFTED=1), {B: DAY[0]})
    head, run, *rest = read(home).splitlines(keepends=True)
    put(home, b"".join([head, run, line.encode("latin-1") + b"\n", *rest]))
    history = open_history(home)
    past = history.load()
    assert (past.since, len(past.runs)) == ({B: DAY[0]}, 1)
    assert past.lost is not None
    assert past.lost.place is not None
    assert (past.lost.severity, past.lost.place.line) == ("warning", 3)
    history.append(run_of(DAY[1]), past.since)
    assert open_history(home).load().lost is None


def test_a_torn_last_line_costs_its_keys_only(home: Home) -> None:
    open_history(home).append(run_of(DAY[0], DRIFTED=1), {B: DAY[0], C: DAY[1]})
    put(home, read(home)[:-20])
    past = open_history(home).load()
    assert past.since == {B: DAY[0]}
    assert past.lost is not None


def test_what_a_newer_version_wrote_is_neither_read_nor_overwritten(home: Home) -> None:
    newer = b'{"drift_history":2}\n{"else":1}\n'
    put(home, newer)
    history = open_history(home)
    for use in (history.load, lambda: history.append(run_of(DAY[0]), {})):
        with pytest.raises(LedgerInvalid, match="newer version"):
            use()
    assert read(home) == newer


def test_what_is_too_long_is_not_read(home: Home) -> None:
    put(home, b"\n" * (MOST_BYTES + 1))
    with pytest.raises(LedgerInvalid, match="longer than 16 MiB"):
        open_history(home).load()


def test_a_history_that_was_removed_begins_anew(home: Home) -> None:
    history = open_history(home)
    history.append(run_of(DAY[0]), {A: DAY[0]})
    past = history.load()
    remove(home)
    history.append(run_of(DAY[1]), past.since)
    assert open_history(home).load().since == {A: DAY[0]}


OVERWRITTEN = Drift(
    Resource(Address("WebService", "a"), "/x/a"),
    Verdict.MODEL_SWAPPED,
    "/properties/title",
    live="planted-secret",
    note="2026-11-03 by ci",
    since=DAY[2],
    key=A,
    is_new=False,
)


def test_what_an_apply_overwrites_is_kept_without_values_and_dropped_after_a_week(
    home: Home,
) -> None:
    history = open_history(home)
    known = replace(OVERWRITTEN, key=B)
    history.append(run_of(DAY[0]), {B: DAY[0]})
    history.keep_overwritten([OVERWRITTEN, known], DAY[2])
    assert b"planted-secret" not in read(home)
    assert open_history(home).load().overwritten == (replace(OVERWRITTEN, live=ABSENT),)
    history.append(run_of(DAY[3]), {})
    later = replace(OVERWRITTEN, key=C, since=DAY[9], live=ABSENT)
    history.keep_overwritten([later], DAY[9])
    assert len(open_history(home).load().overwritten) == 2
    history.keep_overwritten([], DAY[10])
    assert open_history(home).load().overwritten == (later,)


def test_nothing_but_keys_dates_and_counts_is_kept(home: Home) -> None:
    open_history(home).append(run_of(DAY[0], DRIFTED=1), {A: DAY[0]})
    assert [json.loads(line) for line in read(home).splitlines()] == [
        {"drift_history": 1},
        {"run": {"at": DAY[0], "commit": "4f1c2aa", "counts": {"drifted": 1}}},
        {"since": DAY[0], "keys": [A]},
    ]


def test_a_killed_writer_leaves_the_whole_history_and_no_lock(tmp_path: Path) -> None:
    home = Folder(tmp_path)
    open_history(home).append(run_of(DAY[0]), {A: DAY[0]})

    def stay(line: Connection) -> None:
        store = HistoryFile(tmp_path)

        def update(data: bytes) -> bytes:
            line.send("locked")
            signal.pause()
            return data

        store.change(update)

    with run_beside(stay) as (process, line):
        assert hear(line) == "locked"
        process.kill()
        process.join()
        open_history(home).append(run_of(DAY[1]), {B: DAY[1]})
    assert len(open_history(home).load().runs) == 2


def test_a_suspended_writer_holds_up_no_run_for_ever(tmp_path: Path) -> None:
    open_history(Folder(tmp_path)).append(run_of(DAY[0]), {A: DAY[0]})

    def stay(data: bytes) -> bytes:
        with pytest.raises(LedgerInvalid, match="another process keeps it locked"):
            StoredDriftHistory(HistoryFile(tmp_path, 0.0)).append(run_of(DAY[1]), {})
        return data

    HistoryFile(tmp_path).change(stay)
    open_history(Folder(tmp_path)).append(run_of(DAY[1]), {})


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "drift").write_text("a file")
    history = open_history(Folder(tmp_path))
    with pytest.raises(LedgerInvalid, match="the drift history cannot be read: Not a directory"):
        history.load()
    with pytest.raises(LedgerInvalid, match="the drift history cannot be written") as caught:
        history.append(run_of(DAY[0]), {})
    assert caught.value.subject == str(tmp_path / NAME)


@pytest.mark.parametrize("what", ["link", "folder", "pipe", "linked folder"])
def test_only_a_file_of_the_folder_is_read_or_written(tmp_path: Path, what: str) -> None:
    target, folder = tmp_path / "secret", tmp_path / "ledger"
    target.write_text("x")
    (tmp_path / "elsewhere").mkdir()
    folder.mkdir()
    if what == "linked folder":
        (folder / "drift").symlink_to(tmp_path / "elsewhere")
    else:
        (folder / "drift").mkdir()
        make: dict[str, Callable[[Path], None]] = {
            "link": lambda file: file.symlink_to(target),
            "folder": Path.mkdir,
            "pipe": os.mkfifo,
        }
        make[what](folder / NAME)
    history = open_history(Folder(folder))
    with pytest.raises(LedgerInvalid):
        history.append(run_of(DAY[0]), {})
    assert target.read_text() == "x"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    open_history(Folder(tmp_path)).append(run_of(DAY[0]), {})
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    assert [one.name for one in (tmp_path / "drift").iterdir()] == ["history.jsonl"]


def test_a_reply_that_is_lost_leads_to_one_run(prefix: Prefix, storage: str) -> None:
    history = open_history(prefix)
    history.append(run_of(DAY[0]), {A: DAY[0]})
    with go_between(storage) as between:
        history = over(between, prefix)
        past = history.load()
        between.what, between.losses = "PUT ", ["reply"]
        history.append(run_of(DAY[1]), past.since)
    assert [one.at for one in open_history(prefix).load().runs] == DAY[:2]


def test_a_run_costs_two_calls(prefix: Prefix, storage: str) -> None:
    history = open_history(prefix)
    history.append(run_of(DAY[0]), {A: DAY[0]})
    with go_between(storage) as between:
        history = over(between, prefix)
        past = history.load()
        history.append(run_of(DAY[1]), past.since)
    assert [one.split()[0] for one in between.seen] == ["GET", "PUT"], between.seen


@pytest.mark.slow  # the library waits before it sends a request again
def test_storage_that_does_not_answer_is_an_error_that_names_it(
    prefix: Prefix, storage: str
) -> None:
    with go_between(storage) as between:
        history = over(between, prefix)
        between.what, between.losses = "/", ["request"] * 20
        for use in (history.load, lambda: history.append(run_of(DAY[1]), {})):
            with pytest.raises(LedgerInvalid, match="storage"):
                use()


def over(between: GoBetween, prefix: Prefix) -> StoredDriftHistory:
    """The history over a line that can be made to fail."""
    address = prefix.address.replace(_origin(prefix.address), between.url)
    return StoredDriftHistory(HistoryBlob(Container(address, {}), prefix.prefix))


def test_storage_that_refuses_is_an_error_that_names_the_next_step() -> None:
    def refuse(_: object, __: int) -> Answer:
        return Answer(403, {"error": {"code": "AuthorizationFailure", "message": "no leave"}})

    with run_scripted(refuse) as server:
        container = Container(f"{server.url}/devstoreaccount1/reconciler", {})
        history = StoredDriftHistory(HistoryBlob(container, "x/"))
        with pytest.raises(LedgerInvalid, match="access to storage is denied") as caught:
            history.load()
    assert "Storage Blob Data Contributor" in caught.value.next_step


def test_it_lies_beside_the_ledger_of_the_project(tmp_path: Path, prefix: Prefix) -> None:
    project = Project(
        "p", str(tmp_path), "reconciler.yaml", Cloud("c", {}), {}, GuardLimits(), "state", ""
    )
    open_drift_history(project, {}).append(run_of(DAY[0]), {})
    assert (tmp_path / "state" / "drift" / "history.jsonl").exists()
    in_blobs = replace(project, ledger_container=prefix.address, ledger_prefix=prefix.prefix)
    open_drift_history(in_blobs, {}).append(run_of(DAY[1]), {})
    assert len(open_history(prefix).load().runs) == 1
