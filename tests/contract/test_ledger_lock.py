"""What every ledger's lock must do: one holder, who says who they are, and none who is gone."""

import errno
import json
import os
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import LedgerConflict, LedgerInvalid, LockHeld, ReconcilerError
from reconciler.ledgers.file import FileLedger
from reconciler.ledgers.lock import Heartbeat, read_clock, wait_for
from reconciler.model import Event, LockAwaited
from tests.clocks import FakeClock
from tests.contract.homes import (
    LIVELY,
    Folder,
    Home,
    Prefix,
    check,
    hear,
    hold,
    load,
    lock_owner,
    run_beside,
    write,
)
from tests.ledgers import make_intent

pytestmark = pytest.mark.contract


def silent(event: Event) -> None:
    """Nobody looks."""


def test_who_holds_the_lock_is_named_and_nobody_else_gets_it(home: Home) -> None:
    assert home.open().find_lock_owner() is None
    with home.open().lock(lock_owner("7f3a"), 0, silent) as lease:
        lease.check()
        assert home.open().find_lock_owner() == lease.lock_owner
        with pytest.raises(LockHeld) as caught, home.open().lock(lock_owner("b"), 0, silent):
            pass
        ours = lease.lock_owner
        assert caught.value.lock_owner == ours
        assert caught.value.message == (
            f"the ledger is locked by ci@{ours.host} (pid {os.getpid()})"
            " since 2026-11-20T12:00:00Z: apply"
        )
        assert "reconciler force-unlock 7f3a" in caught.value.next_step
        assert "--lock-timeout" in caught.value.next_step
        assert "lock.json" in caught.value.subject
    assert home.open().find_lock_owner() is None


def test_the_number_of_a_lock_only_ever_grows(home: Home) -> None:
    fences = []
    for _ in range(3):
        with home.open().lock(lock_owner(), 0, silent) as lease:
            fences.append(lease.lock_owner.fence)
    assert fences == [1, 2, 3]
    with home.open().lock(lock_owner("dead"), 0, silent) as lease:
        home.open().unlock("dead")
    with home.open().lock(lock_owner(), 0, silent) as lease:
        after = lease.lock_owner.fence
        assert after > 4
        home.open().intend(make_intent(fence=after))
    home.drop_lock()
    with home.open().lock(lock_owner(), 0, silent) as lease:
        assert lease.lock_owner.fence > after


def test_the_number_of_a_lock_outlives_a_compaction(home: Home) -> None:
    with home.open().lock(lock_owner(), 0, silent) as lease:
        home.open().intend(make_intent(fence=lease.lock_owner.fence))
        home.open().compact()
        home.open().intend(make_intent(fence=lease.lock_owner.fence))
    home.drop_lock()
    with home.open().lock(lock_owner(), 0, silent) as lease:
        assert lease.lock_owner.fence == 2


def test_a_lock_that_is_given_back_is_given_to_who_waits(home: Home) -> None:
    reported: list[Event] = []
    with run_beside(hold(home)) as (_, line):
        hear(line)

        def emit(event: Event) -> None:
            reported.append(event)
            line.send("end")
            assert hear(line) == "released"

        with home.open().lock(lock_owner(), 60, emit) as lease:
            lease.check()
    (event,) = reported
    assert isinstance(event, LockAwaited)
    assert (event.lock_owner.id, event.seconds) == ("other", 1.0)


def test_nobody_waits_longer_than_asked(home: Home) -> None:
    reported: list[Event] = []
    with home.open().lock(lock_owner(), 0, silent):
        started = read_clock()
        with pytest.raises(LockHeld), home.open().lock(lock_owner("b"), 1.2, reported.append):
            pass
        assert read_clock() - started >= 1.2
    waits = [one.seconds for one in reported if isinstance(one, LockAwaited)]
    assert waits[0] == 1.0
    assert sum(waits) <= 1.2


def test_waiting_doubles_up_to_a_quarter_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("reconciler.ledgers.lock.read_clock", lambda: now[0])
    reported: list[Event] = []

    def take() -> str:
        if now[0] < 90:
            raise LockHeld("held", lock_owner())
        return "taken"

    def sleep(seconds: float) -> None:
        now[0] += seconds

    assert wait_for(take, 100, reported.append, sleep) == "taken"
    waits = [one.seconds for one in reported if isinstance(one, LockAwaited)]
    assert waits == [1, 2, 4, 8, 16, 16, 16, 16, 16]


def test_a_lock_outlives_its_lease_while_its_holder_lives(tmp_path: Path, clock: FakeClock) -> None:
    home = Folder(tmp_path / "ledger", LIVELY)
    watcher, pause = home.open(), threading.Event()
    with home.open().lock(lock_owner(), 0, silent) as lease:
        for _ in range(4):
            clock.now += LIVELY.lease_s / 2
            renewed = read_renewals(home)
            while read_renewals(home) < renewed + 2:  # the second one began after the leap
                pause.wait(0.02)
            with pytest.raises(LockHeld), watcher.lock(lock_owner("b"), 0, silent):
                pass
            lease.check()


def read_renewals(home: Folder) -> int:
    return int(json.loads((home.folder / "lock.json").read_text())["renewals"])


def test_a_lease_in_storage_outlives_its_length_while_its_holder_lives(prefix: Prefix) -> None:
    """Storage measures it: its time passes by itself."""
    with prefix.open().lock(lock_owner(), 0, silent) as lease:
        ends = read_clock() + prefix.heartbeat.lease_s * 1.3
        while read_clock() < ends:
            with pytest.raises(LockHeld), prefix.open().lock(lock_owner("b"), 0.4, silent):
                pass
            lease.check()


def test_whoever_is_unlocked_by_force_can_write_no_more(home: Home) -> None:
    with run_beside(hold(home)) as (_, line):
        hear(line)
        line.send(check)
        assert hear(line) == "done"
        with pytest.raises(ReconcilerError, match="no lock has the id wrong") as caught:
            home.open().unlock("wrong")
        assert "other" in caught.value.next_step
        assert home.open().unlock("other").id == "other"
        assert home.open().find_lock_owner() is None
        line.send(write)
        assert hear(line) == "LedgerConflict"
        line.send(check)
        assert hear(line) == "LedgerConflict"
        with home.open().lock(lock_owner(), 0, silent) as lease:
            lease.check()
            line.send("end")
            assert hear(line) == "released"
            lease.check()
    with pytest.raises(ReconcilerError, match="no lock has the id") as caught:
        home.open().unlock("other")
    assert "free" in caught.value.next_step


@pytest.mark.parametrize("reap", [True, False])
def test_the_lock_of_a_process_that_was_killed_is_free_at_once(home: Home, reap: bool) -> None:
    with run_beside(hold(home)) as (process, line):
        fence = hear(line)
        process.kill()
        if reap:
            process.join()
        else:  # a dead process that nobody has asked for is dead as well
            os.waitid(os.P_PID, process.pid or 0, os.WEXITED | os.WNOWAIT)
        assert home.open().find_lock_owner() is None
        with home.open().lock(lock_owner(), 0, silent) as lease:
            assert lease.lock_owner.fence == fence + 1


def test_a_holder_that_was_stopped_finds_that_it_lost_the_lock(
    home: Home, clock: FakeClock
) -> None:
    with run_beside(hold(home)) as (process, line):
        fence = hear(line)
        os.kill(process.pid or 0, signal.SIGSTOP)
        later = home.open()
        with pytest.raises(LockHeld), later.lock(lock_owner(), 0, silent):
            pass
        clock.now += home.heartbeat.lease_s  # storage measures its lease itself
        with later.lock(lock_owner(), 60, silent) as lease:
            assert lease.lock_owner.fence > fence
            line.send(write)
            line.send(check)
            line.send(load)
            os.kill(process.pid or 0, signal.SIGCONT)
            assert [hear(line) for _ in range(3)] == ["LedgerConflict", "LedgerConflict", "done"]
            line.send("end")
            assert hear(line) == "released"
            lease.check()
    assert home.open().load().open == ()


def _race(home: Home, name: str) -> Callable[[Any], None]:
    """Work that tries once at each signal, and keeps the lock until the next one."""

    def work(line: Any) -> None:
        ledger = home.open()
        while line.recv() == "go":
            try:
                with ledger.lock(lock_owner(name), 0, silent) as lease:
                    line.send(lease.lock_owner.fence)
                    line.recv()
            except LockHeld:
                line.send(0)
                line.recv()
            line.send("free")

    return work


# Five races hold the same in every run.
@pytest.mark.parametrize("races", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_of_two_that_want_the_lock_at_once_one_gets_it(home: Home, races: int) -> None:
    with (
        run_beside(_race(home, "a")) as (_, one),
        run_beside(_race(home, "b")) as (_, other),
    ):
        fences = []
        for _ in range(races):
            for line in (one, other):
                line.send("go")
            said = sorted((hear(one), hear(other)))
            assert said[0] == 0, said
            fences.append(said[1])
            for line in (one, other):
                line.send("end of round")
            assert (hear(one), hear(other)) == ("free", "free")
            with home.open().lock(lock_owner("between"), 30, silent):
                pass
    assert 0 not in fences
    assert fences == sorted(set(fences))


def test_an_error_in_the_block_gives_the_lock_back(home: Home) -> None:
    with pytest.raises(RuntimeError), home.open().lock(lock_owner(), 0, silent):
        raise RuntimeError
    with home.open().lock(lock_owner(), 0, silent):
        pass


# What a file alone can show.


def write_lock(folder: Path, **more: Any) -> None:
    """The lock of a process that does not run, on a machine that is not ours."""
    said = {
        "id": "far",
        "who": "ci",
        "why": "apply",
        "host": "elsewhere",
        "pid": 1,
        "started": "1",
        "since": "2026-11-20T12:00:00Z",
        "commit": "",
        "fence": 9,
    }
    document = {"version": 1, "fence": 9, "holder": said, "machine": "boot pid:[1]", "renewed": ""}
    folder.mkdir(exist_ok=True)
    (folder / "lock.json").write_text(json.dumps({**document, **more}))


def test_a_process_of_another_machine_is_not_taken_for_dead(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait_for, "__defaults__", (clock.sleep,))
    home = Folder(tmp_path / "ledger")
    write_lock(home.folder)
    with pytest.raises(LockHeld, match="ci@elsewhere"), home.open().lock(lock_owner(), 0, silent):
        pass
    soon = home.open(heartbeat=Heartbeat(lease_s=1.5, renew_s=0.3))
    began = clock.now
    with soon.lock(lock_owner(), 30, silent) as lease:  # silent for the length of a lease
        assert lease.lock_owner.fence == 10
        assert clock.now - began >= 1.5


def test_a_number_that_came_again_is_another_process(tmp_path: Path) -> None:
    home = Folder(tmp_path / "ledger")
    with run_beside(hold(home)) as (process, line):
        hear(line)
        file = home.folder / "lock.json"
        said = json.loads(file.read_text())
        process.kill()
        process.join()
        said["holder"]["pid"] = os.getpid()  # it runs, and began at another time
        file.write_text(json.dumps(said))
        with home.open().lock(lock_owner(), 0, silent) as lease:
            assert lease.lock_owner.fence == said["fence"] + 1


def test_a_lock_says_when_it_was_renewed_and_is_its_owners_alone(tmp_path: Path) -> None:
    home = Folder(tmp_path / "ledger")
    with home.open().lock(lock_owner(started=""), 0, silent) as lease:
        file = home.folder / "lock.json"
        said = json.loads(file.read_text())
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", said["renewed"])
        assert said["holder"]["started"] == lease.lock_owner.started != ""
        assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "harm",
    [
        "{",
        "[]",
        '{"version": 2}',
        '{"version": 1, "fence": -1, "machine": ""}',
        '{"version": 1, "fence": 1, "machine": "", "holder": {"id": 7}}',
        "[" * 20_000,
        "x" * 100_000,
    ],
)
def test_a_lock_that_cannot_be_read_is_named_and_guards(tmp_path: Path, harm: str) -> None:
    ledger = FileLedger(tmp_path)
    (tmp_path / "lock.json").write_text(harm)
    for work in (
        lambda: ledger.lock(lock_owner(), 0, silent),
        ledger.find_lock_owner,
        lambda: ledger.unlock("x"),
        lambda: ledger.intend(make_intent(fence=1)),
    ):
        with pytest.raises(LedgerInvalid, match="the lock file") as caught:
            work()
        assert caught.value.subject.endswith("lock.json")
        assert caught.value.next_step
    assert ledger.load().known is False


def test_a_lock_that_is_deleted_is_lost(tmp_path: Path) -> None:
    home = Folder(tmp_path / "ledger")
    with home.open().lock(lock_owner(), 0, silent) as lease:
        home.drop_lock()
        with pytest.raises(LedgerConflict, match="was acquired by another process"):
            lease.check()
    assert not (home.folder / "lock.json").exists()


def test_a_lock_that_nobody_could_renew_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = FileLedger(tmp_path)
    with ledger.lock(lock_owner(), 0, silent) as lease:
        now = read_clock()
        monkeypatch.setattr("reconciler.ledgers.lock.read_clock", lambda: now + 61)
        with pytest.raises(LedgerConflict, match="could not be renewed in time"):
            lease.check()


def test_reading_needs_no_leave_to_write(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        # The rights of files do not bind us; that no reader makes a file can be seen all the same.
        FileLedger(tmp_path / "none").load()
        FileLedger(tmp_path / "none").find_lock_owner()
        list(FileLedger(tmp_path / "none").entries())
        FileLedger(tmp_path / "none").verify()
    assert list(tmp_path.iterdir()) == []


def test_a_heartbeat_ends_with_the_block(home: Home) -> None:
    with home.open().lock(lock_owner(), 0, silent):
        assert any(one.name == "ledger-lock" for one in threading.enumerate())
    assert not any(one.name == "ledger-lock" for one in threading.enumerate())


def test_whoever_has_a_long_name_can_still_be_named(home: Home) -> None:
    long = {"who": "x" * 50_000, "why": "\x00\ud800" * 50_000}
    with home.open().lock(lock_owner(**long), 0, silent) as lease:
        lease.check()
        found = home.open().find_lock_owner()
        assert found == lease.lock_owner
        assert (len(found.who), len(found.why)) == (1000, 1000)


def test_whoever_was_overtaken_moves_no_ledger_away(home: Home) -> None:
    with home.open().lock(lock_owner(), 0, silent) as lease:
        home.open().intend(make_intent(fence=lease.lock_owner.fence))
        home.open().unlock("one")
        with home.open().lock(lock_owner("later"), 0, silent) as later:
            with pytest.raises(LedgerConflict):
                home.open().set_aside(lease.lock_owner.fence)
            assert len(home.open().load().open) == 1
            assert home.open().set_aside(later.lock_owner.fence)
        assert home.open().load().open == ()


# Clocks that differ, and clocks that are set.


def age(file: Path, seconds: float) -> None:
    """Have a file look as if it was written so long ago."""
    then = file.stat().st_mtime - seconds
    os.utime(file, (then, then))


def test_a_live_holder_keeps_its_lock_though_the_clock_was_set(tmp_path: Path) -> None:
    home = Folder(tmp_path / "ledger", LIVELY)
    for ahead_s in (7200, -7200):
        with home.open().lock(lock_owner(), 0, silent) as lease:
            age(home.folder / "lock.json", ahead_s)
            with pytest.raises(LockHeld), home.open().lock(lock_owner("b"), 0, silent):
                pass
            lease.check()
            assert home.open().find_lock_owner() == lease.lock_owner


@pytest.mark.parametrize("ahead_s", [0, 7200, -7200])
def test_a_silent_holder_of_another_machine_is_watched_for_a_whole_lease(
    tmp_path: Path, ahead_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, now = Folder(tmp_path / "ledger"), [1000.0]
    for name in ("lock", "file_lock"):
        monkeypatch.setattr(f"reconciler.ledgers.{name}.read_clock", lambda: now[0])
    write_lock(home.folder)
    age(home.folder / "lock.json", ahead_s)
    ledger = home.open()

    def sleep(seconds: float) -> None:
        now[0] += seconds

    held = wait_for(lambda: ledger._acquire(lock_owner()), 300.0, silent, sleep)
    assert held.lock_owner.fence == 10
    assert now[0] - 1000.0 >= Heartbeat().lease_s


def test_a_lock_that_seems_abandoned_is_watched_though_nobody_asked_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, now = Folder(tmp_path / "ledger"), [1000.0]
    for name in ("lock", "file_lock"):
        monkeypatch.setattr(f"reconciler.ledgers.{name}.read_clock", lambda: now[0])
    write_lock(home.folder)
    file, ledger, reported = home.folder / "lock.json", home.open(), list[Event]()
    age(file, 3600)
    renewed = False

    def sleep(seconds: float) -> None:
        nonlocal renewed
        now[0] += seconds
        if now[0] > 1020.0 and not renewed:  # it lives, and renews its lock now and then
            renewed = True
            write_lock(home.folder, renewals=1)

    with pytest.raises(LockHeld):
        wait_for(lambda: ledger._acquire(lock_owner()), 0.0, reported.append, sleep)
    assert renewed
    assert reported, "the wait is reported"
    age(file, 3600)
    later = home.open()  # the next command has not seen it renew the lock
    held = wait_for(lambda: later._acquire(lock_owner()), 0.0, silent, sleep)
    assert held.lock_owner.fence == 10


def test_nobody_waits_for_an_owner_that_was_seen_to_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, now = Folder(tmp_path / "ledger"), [1000.0]
    for name in ("lock", "file_lock"):
        monkeypatch.setattr(f"reconciler.ledgers.{name}.read_clock", lambda: now[0])
    write_lock(home.folder)
    file, ledger = home.folder / "lock.json", home.open()
    age(file, 3600)

    def sleep(seconds: float) -> None:
        now[0] += seconds
        write_lock(home.folder, renewals=int(now[0]))
        age(file, 3600)  # the times of files stay wrong

    with pytest.raises(LockHeld):
        wait_for(lambda: ledger._acquire(lock_owner()), 0.0, silent, sleep)
    assert now[0] - 1000.0 <= 2.0


def test_a_lock_of_an_earlier_version_counts_no_renewals(tmp_path: Path) -> None:
    home = Folder(tmp_path / "ledger", LIVELY)
    with home.open().lock(lock_owner(), 0, silent):
        file = home.folder / "lock.json"
        said = json.loads(file.read_text())
        assert said.pop("renewals") == 0
        file.write_text(json.dumps(said))
        with pytest.raises(LockHeld), home.open().lock(lock_owner("b"), 0, silent):
            pass


def test_a_lock_that_could_not_be_released_is_not_waited_for_by_its_own_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk. Another process waits until this one has ended; this one takes the lock again."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    ledger = FileLedger(tmp_path)
    with ledger.lock(lock_owner("a"), 0, silent), monkeypatch.context() as full:
        full.setattr("reconciler.ledgers.file_lock.replace_file", fail)
        with pytest.raises(LockHeld), FileLedger(tmp_path).lock(lock_owner("b"), 0, silent):
            pass
    with monkeypatch.context() as full:
        full.setattr("reconciler.ledgers.file_lock.replace_file", fail)
        with (
            pytest.raises(LedgerInvalid, match="No space left"),
            ledger.lock(lock_owner("c"), 0, silent),
        ):
            pass
    held = ledger.lock(lock_owner("d"), 0, silent)
    lease = held.__enter__()
    with monkeypatch.context() as full:
        full.setattr("reconciler.ledgers.file_lock.replace_file", fail)
        held.__exit__(None, None, None)
    with pytest.raises(LockHeld), FileLedger(tmp_path).lock(lock_owner("e"), 0, silent):
        pass
    with ledger.lock(lock_owner("f"), 0, silent) as again:
        assert again.lock_owner.fence > lease.lock_owner.fence
        with pytest.raises(LockHeld), ledger.lock(lock_owner("g"), 0, silent):
            pass
