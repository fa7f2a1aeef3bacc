"""`watch` holds the lock, and a command wants it: the command goes first, in each kind of ledger."""

import os
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from reconciler.errors import LedgerInvalid, LockHeld
from reconciler.ledgers import file_lock
from reconciler.ledgers.lock import wait_for, wait_for_turn
from reconciler.model import Event, LockAwaited
from tests.clocks import FakeClock
from tests.contract.homes import Folder, Home, hear, lock_owner, run_beside

pytestmark = pytest.mark.contract

WATCH = lock_owner("loop", why="watch")


def silent(event: Event) -> None:
    """Nobody looks."""


def step_until_wanted(home: Home) -> Callable[[Connection], None]:
    """Work of a loop: it holds the lock, and does step after step until a command waits."""

    def work(line: Connection) -> None:
        pause, steps = threading.Event(), 0
        with home.open().lock(lock_owner("loop", why="watch"), 0, silent) as lease:
            line.send("held")
            while not lease.is_wanted():
                steps += 1
                pause.wait(0.05)
        line.send(steps)

    return work


def waiting_files(home: Home) -> list[str]:
    if isinstance(home, Folder):
        return [one.name for one in home.folder.glob("*waiting*")]
    container = home.container()  # type: ignore[attr-defined]
    return [one.name for one in container.list_blobs(f"{home.prefix}lock.w")]  # type: ignore[attr-defined]


def test_a_command_that_waits_for_no_time_gets_the_lock_after_the_step(home: Home) -> None:
    reported: list[Event] = []
    with run_beside(step_until_wanted(home)) as (_, line):
        hear(line)
        with home.open().lock(lock_owner(), 0, reported.append) as lease:
            lease.check()
            assert not lease.is_wanted()
            assert waiting_files(home) == []
        assert hear(line) >= 0
    (event,) = reported
    assert isinstance(event, LockAwaited)
    assert (event.lock_owner.id, event.lock_owner.yields) == ("loop", True)


def test_nobody_wants_the_lock_before_a_command_waits(home: Home) -> None:
    with home.open().lock(WATCH, 0, silent) as lease:
        assert not lease.is_wanted()
        with pytest.raises(LockHeld), home.open().lock(lock_owner("b", why="watch"), 0, silent):
            pass
        assert not lease.is_wanted(), "a second watch does not go first"


def test_the_note_of_a_command_that_was_killed_is_good_for_one_turn(home: Home) -> None:
    def wait(line: Connection) -> None:
        home.open().lock(lock_owner("killed"), 0, lambda _: line.send("waits"))

    with home.open().lock(WATCH, 0, silent) as lease:
        with run_beside(wait) as (process, line):
            assert hear(line) == "waits"
            process.kill()
            process.join()
        assert lease.is_wanted()
        assert len(waiting_files(home)) == 1
    with home.open().lock(WATCH, 0, silent) as lease:
        assert not lease.is_wanted()


def test_a_command_that_is_interrupted_waits_no_more(home: Home) -> None:
    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    with home.open().lock(WATCH, 0, silent) as lease:
        with pytest.raises(KeyboardInterrupt):
            home.open().lock(lock_owner(), 0, interrupt)
        assert not lease.is_wanted()


def test_a_loop_that_was_killed_is_waited_for_no_longer(home: Home) -> None:
    with run_beside(step_until_wanted(home)) as (process, line):
        hear(line)
        process.kill()
        process.join()
        with home.open().lock(lock_owner(), 0, silent) as lease:
            lease.check()


def test_whoever_takes_the_lock_next_is_waited_for_as_long_as_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    monkeypatch.setattr("reconciler.ledgers.lock.read_clock", clock)
    note = file_lock.FileNote(tmp_path / "lock.json")
    reported: list[Event] = []

    def take() -> str:
        raise LockHeld("held", WATCH if clock.now < 1100 else lock_owner("ci"))

    def turn() -> str:
        return wait_for_turn(take, lock_owner(), note, reported.append, clock.sleep)

    with pytest.raises(LockHeld) as caught:
        wait_for(turn, 10.0, reported.append, clock.sleep)
    assert caught.value.lock_owner.id == "ci"
    assert clock.now == pytest.approx(1110.0)
    owners = [one.lock_owner.id for one in reported if isinstance(one, LockAwaited)]
    assert owners == ["loop"] * 10 + ["ci"] * 4, "each wait is reported, and not each look"
    assert not note.exists()


def test_the_note_says_who_waits_and_is_its_owners_alone(tmp_path: Path) -> None:
    note = file_lock.FileNote(tmp_path / "lock.json")
    note.leave(lock_owner("mine", who="x" * 5000))
    note.leave(lock_owner("later"))
    file = tmp_path / "lock.waiting.json"
    assert '"id":"mine"' in file.read_text()
    assert file.stat().st_size < 3000
    assert file.stat().st_mode & 0o777 == 0o600
    note.remove()
    note.remove()
    assert not note.exists()


def test_a_note_that_is_not_a_file_ends_no_command(tmp_path: Path) -> None:
    home = Folder(tmp_path / "ledger")
    with home.open().lock(WATCH, 0, silent) as lease:
        (home.folder / "lock.waiting.json").mkdir()
        assert lease.is_wanted()
    with home.open().lock(WATCH, 0, silent) as lease:
        lease.check()


def test_a_note_that_cannot_be_written_ends_no_command(tmp_path: Path) -> None:
    note = file_lock.FileNote(tmp_path / "missing" / "lock.json")
    note.leave(lock_owner())
    assert not note.exists()


def test_storage_that_is_away_wants_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> bool:
        raise LedgerInvalid("storage is away")

    with home.open().lock(WATCH, 0, silent) as lease:
        monkeypatch.setattr("reconciler.ledgers.file_lock.FileNote.exists", fail)
        monkeypatch.setattr("reconciler.ledgers.blob_lock.BlobNote.exists", fail)
        assert not lease.is_wanted()


def test_who_is_unlocked_by_force_while_a_command_waits(home: Home) -> None:
    with home.open().lock(WATCH, 0, silent):
        unlocked = threading.Event()

        def unlock(event: Event) -> None:
            home.open().unlock("loop")
            unlocked.set()

        with home.open().lock(lock_owner(), 0, unlock) as lease:
            assert unlocked.is_set()
            assert lease.lock_owner.pid == os.getpid()
