"""Of several `watch` processes on one ledger one leads, in each place where a ledger can be kept."""

import fcntl
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import LedgerConflict, LedgerInvalid
from reconciler.ledgers import lock
from reconciler.ledgers.leadership import TERM, LeaderLock, lead_in_folder
from reconciler.ledgers.lock import Heartbeat, read_clock
from reconciler.model import LockOwner
from reconciler.ports import Leadership, LeaderTerm
from reconciler.transport import azure_core
from tests.clocks import FakeClock
from tests.contract.conftest import make_prefix
from tests.contract.go_between import go_between
from tests.contract.homes import LIVELY, Folder, Home, Prefix, hear, lock_owner, run_beside

pytestmark = pytest.mark.contract

UNRENEWED = Heartbeat(lease_s=30.0, renew_s=1e6)


def watcher(name: str = "one", **more: Any) -> LockOwner:
    return lock_owner(name, why="watch", **more)


@contextmanager
def leading(leadership: Leadership, name: str = "one") -> Iterator[LeaderTerm]:
    term = leadership.acquire(watcher(name))
    assert term is not None
    try:
        yield term
    finally:
        term.release()


def lead(home: Home, machine: str = "") -> Callable[[Connection], None]:
    """Work that leads, and answers questions about its term; with `machine` on another one."""

    def work(line: Connection) -> None:
        if machine:
            setattr(lock, "name_machine", lambda: machine)  # noqa: B010 - in this process alone
        with leading(home.lead(), "other") as term:
            line.send(term.lock_owner.fence)
            while (asked := line.recv()) != "end":
                try:
                    line.send(asked(term))
                except LedgerConflict as error:
                    line.send(error.message)
        line.send("released")

    return work


def is_held(term: LeaderTerm) -> bool:
    return term.is_held()


def check(term: LeaderTerm) -> None:
    term.check()


def take_over(leadership: Leadership, within_s: float = 60.0) -> LeaderTerm:
    """Ask as `watch` does, until this process leads."""
    ends, pause = read_clock() + within_s, threading.Event()
    while read_clock() < ends:
        term = leadership.acquire(watcher("second"))
        if term is not None:
            return term
        pause.wait(0.05)
    raise AssertionError("nobody else leads in time")


def test_one_leads_and_everybody_knows_who(home: Home) -> None:
    assert home.lead().find_leader() is None
    with leading(home.lead()) as term:
        assert term.is_held()
        term.check()
        assert home.lead().acquire(watcher("second")) is None
        assert home.lead().find_leader() == term.lock_owner
        assert (term.lock_owner.id, term.lock_owner.why) == ("one", "watch")
    assert home.lead().find_leader() is None


def test_another_leads_at_once_after_a_release(home: Home) -> None:
    second = home.lead()
    with leading(home.lead()) as term:
        assert second.acquire(watcher("second")) is None
    assert not term.is_held()
    with leading(second, "second") as later:
        assert later.lock_owner.fence > term.lock_owner.fence
        term.release()  # a second release ends no other term
        assert later.is_held()


def test_the_lock_of_the_ledger_is_free_while_somebody_leads(home: Home) -> None:
    with leading(home.lead()):
        assert home.open().find_lock_owner() is None
        with home.open().lock(lock_owner(), 0, lambda _: None) as lease:
            lease.check()
        assert not home.open().verify().findings


def test_no_term_is_renewed_after_its_end(home: Home) -> None:
    with leading(home.lead()):
        assert any(one.name == "ledger-lock" for one in threading.enumerate())
    assert not any(one.name == "ledger-lock" for one in threading.enumerate())


def test_another_leads_at_once_after_the_leader_was_killed(home: Home) -> None:
    with run_beside(lead(home)) as (leader, line):
        fence = hear(line)
        second = home.lead()
        assert second.acquire(watcher("second")) is None
        leader.kill()
        leader.join()
        assert home.lead().find_leader() is None
        with leading(second, "second") as term:
            assert term.lock_owner.fence == fence + 1


def test_another_machine_leads_once_the_leader_was_silent_for_a_lease(
    tmp_path: Path, clock: FakeClock
) -> None:
    home = Folder(tmp_path / "ledger", TERM)
    with run_beside(lead(home, "elsewhere")) as (leader, line):
        hear(line)
        second = home.lead()
        assert second.acquire(watcher("second")) is None
        leader.kill()
        leader.join()
        clock.now += TERM.lease_s - 1
        assert second.acquire(watcher("second")) is None
        clock.now += 1
        with leading(second, "second") as term:
            assert term.is_held()


@pytest.mark.slow
def test_another_machine_leads_once_the_lease_in_storage_is_over(prefix: Prefix) -> None:
    """Storage measures it: its time passes by itself."""
    with run_beside(lead(prefix, "elsewhere")) as (leader, line):
        hear(line)
        second = prefix.lead()
        assert second.acquire(watcher("second")) is None
        line.send(renewed_at)
        renewed = hear(line)
        leader.kill()
        leader.join()
        take_over(second).release()
        assert read_clock() - renewed >= prefix.heartbeat.lease_s - 0.5


def renewed_at(term: Any) -> float:
    return float(term._renewed)


@pytest.fixture(params=["file", pytest.param("azure_blob", marks=pytest.mark.slow)])
def led_home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    return Folder(tmp_path / "ledger", TERM) if request.param == "file" else make_prefix(request)


def test_a_leader_that_was_stopped_does_not_lead_and_writes_nothing(
    led_home: Home, clock: FakeClock
) -> None:
    home = led_home
    with run_beside(lead(home)) as (leader, line):
        hear(line)
        os.kill(leader.pid or 0, signal.SIGSTOP)
        second = home.lead()
        assert second.acquire(watcher("second")) is None
        clock.now += home.heartbeat.lease_s  # storage measures its lease itself
        term = take_over(second)
        line.send(check)
        line.send(is_held)
        os.kill(leader.pid or 0, signal.SIGCONT)
        assert hear(line) == "the lease of the leader was acquired by another process"
        assert hear(line) is False
        assert term.is_held()
        line.send("end")
        assert hear(line) == "released"
        assert term.is_held(), "the release of a lost term ends no other one"
        term.release()


def test_a_term_that_was_once_over_stays_over_though_nobody_else_leads(
    tmp_path: Path, clock: FakeClock
) -> None:
    leadership = lead_in_folder(tmp_path, UNRENEWED)
    with leading(leadership) as term:
        clock.now += 29
        assert term.is_held()
        clock.now += 1
        assert not term.is_held()
        with pytest.raises(LedgerConflict, match="the lease of the leader"):
            term.check()
        clock.now -= 1
        assert not term.is_held()


def test_a_term_is_not_renewed_after_its_lease(tmp_path: Path, clock: FakeClock) -> None:
    with leading(lead_in_folder(tmp_path, Heartbeat(lease_s=30.0, renew_s=0.01))) as term:
        clock.now += 31  # the machine was suspended
        for thread in threading.enumerate():
            if thread.name == "ledger-lock":
                thread.join(60)
        clock.now -= 31
        assert not term.is_held()


@pytest.mark.parametrize("harm", ["{", "[]", '{"version": 2}', "x" * 100_000, "[" * 20_000])
def test_a_lease_that_cannot_be_read_is_named(tmp_path: Path, harm: str) -> None:
    (tmp_path / "leader.json").write_text(harm)
    for work in (
        lambda: lead_in_folder(tmp_path).acquire(watcher()),
        lead_in_folder(tmp_path).find_leader,
    ):
        with pytest.raises(LedgerInvalid, match="the lock file") as caught:
            work()
        assert caught.value.subject.endswith("leader.json")
        assert "move it away" in caught.value.next_step


def test_a_leader_whose_lease_is_damaged_does_not_lead_for_longer_than_the_lease(
    tmp_path: Path, clock: FakeClock
) -> None:
    with leading(lead_in_folder(tmp_path, UNRENEWED)) as term:
        (tmp_path / "leader.json").write_text("{")
        assert term.is_held(), "nobody else can lead before the lease is over"
        with pytest.raises(LedgerInvalid):
            term.check()
        clock.now += 30
        assert not term.is_held()


def test_a_process_that_is_suspended_within_the_file_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.ledgers.leadership._GUARD_S", 0.05)
    with (tmp_path / "leader.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert lead_in_folder(tmp_path).acquire(watcher()) is None
    with leading(lead_in_folder(tmp_path)) as term:
        assert term.is_held()


def test_a_folder_that_is_deleted_ends_the_term_and_the_next_begins_in_a_new_one(
    tmp_path: Path,
) -> None:
    leadership = lead_in_folder(tmp_path / "ledger", LIVELY)
    with leading(leadership) as term:
        shutil.rmtree(tmp_path / "ledger")
        assert not term.is_held()
        with pytest.raises(LedgerConflict):
            term.check()
        with leading(leadership, "second") as later:
            assert later.is_held()


def test_storage_that_is_away_for_a_while(tmp_path: Path, clock: FakeClock) -> None:
    folder, away = tmp_path / "ledger", tmp_path / "away"
    leadership = lead_in_folder(folder, UNRENEWED)
    with leading(leadership) as term:
        folder.rename(away)
        folder.write_text("a disk that is not mounted")
        assert term.is_held(), "until the lease is over nobody else can lead"
        clock.now += 30
        assert not term.is_held()
        with pytest.raises(LedgerInvalid):
            leadership.acquire(watcher())
        folder.unlink()
        away.rename(folder)
        assert not term.is_held()
    with leading(leadership, "second") as later:
        assert later.is_held()


def test_blob_storage_that_is_away_for_a_while(
    prefix: Prefix, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**azure_core.storage_options(), "retry_total": 0}
    monkeypatch.setattr(azure_core, "storage_options", lambda: options)
    with go_between(prefix.address.removesuffix("/devstoreaccount1/reconciler")) as wire:
        away = Prefix(f"{wire.url}/devstoreaccount1/reconciler", prefix.prefix, UNRENEWED)
        leadership = away.lead()
        with leading(leadership) as term:
            wire.what, wire.losses = "leader.json", ["request"] * 1000
            assert term.is_held(), "until the lease is over nobody else can lead"
            with pytest.raises(LedgerInvalid):
                term.check()
            clock.now += UNRENEWED.lease_s
            assert not term.is_held()
            with pytest.raises(LedgerInvalid):
                leadership.acquire(watcher())
            wire.losses = []
            assert not term.is_held()
        with leading(leadership, "second") as later:
            assert later.is_held()


def test_who_leads_writes_only_with_both_locks(home: Home) -> None:
    with leading(home.lead()) as term, home.open().lock(watcher(), 0, lambda _: None) as lease:
        both = LeaderLock(lease, term)
        both.check()
        assert both.lock_owner == lease.lock_owner
        assert not both.is_wanted()
        term.release()
        with pytest.raises(LedgerConflict, match="the lease of the leader"):
            both.check()
    with (
        leading(home.lead()) as term,
        home.open().lock(watcher("lost"), 0, lambda _: None) as lease,
    ):
        home.open().unlock("lost")
        with pytest.raises(LedgerConflict, match="the lock of the ledger"):
            LeaderLock(lease, term).check()


def test_a_term_lasts_half_a_minute() -> None:
    assert Heartbeat(lease_s=30.0, renew_s=10.0) == TERM


def test_two_that_want_to_lead_at_once(home: Home) -> None:
    def race(line: Connection) -> None:
        leadership = home.lead()
        while line.recv() == "go":
            term = leadership.acquire(watcher("other"))
            line.send(term is not None)
            line.recv()
            if term is not None:
                term.release()
            line.send("free")

    with run_beside(race) as (_, one), run_beside(race) as (_, other):
        for _ in range(10):
            for line in (one, other):
                line.send("go")
            assert sorted((hear(one), hear(other))) == [False, True]
            for line in (one, other):
                line.send("end of round")
            assert (hear(one), hear(other)) == ("free", "free")
