"""Two `watch` processes on one ledger: one leads, and is killed or held up; a ledger that is away."""

import fcntl
import itertools
import json
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from reconciler.ledgers.leadership import TERM
from reconciler.ledgers.lock import Heartbeat
from tests.e2e.world import Done, spawn, spawn_emulator
from tests.survival.fleet import APPLY, CALLS, DeclaredService, Fleet, model
from tests.survival.verdict import Story
from tests.survival.watching import CycleSeen, WatchProcess, run_watch

SOON_S = 120.0
LOOP = ("--interval", "1s")
TRIES = 8
FIX = ("--mode", "apply", "--patience", "0.2s")
# A process on a busy machine renews it in time.
BRIEF = Heartbeat(lease_s=15.0, renew_s=0.5)


@contextmanager
def open_fleet(folder: Path, services: int, *options: str, stored: bool = False) -> Iterator[Fleet]:
    """A project of so many services, as they are declared; `stored` keeps its ledger in blobs."""
    log = folder / "requests.jsonl"
    more = () if stored else ("--no-blob",)
    with spawn_emulator(f"--log={log}", *more, *options) as emulator:
        container = f"{emulator.blob}/devstoreaccount1/reconciler"
        ledger = f"{{container: '{container}', prefix: night/}}" if stored else ""
        fleet = Fleet(folder / "fleet", replace(emulator, group="night"), log, ledger)
        fleet.declare({f"s{number:03}": DeclaredService(model("m0")) for number in range(services)})
        applied = spawn(fleet.folder, *APPLY)
        assert applied.code == 0, applied.said
        yield fleet


@contextmanager
def open_pair(
    fleet: Fleet, *flags: str, heartbeat: Heartbeat = TERM
) -> Iterator[tuple[WatchProcess, WatchProcess]]:
    """A leader, and another `watch` that stands by."""
    with (
        run_watch(fleet.folder, *LOOP, *flags, heartbeat=heartbeat) as leader,
        run_later(fleet, leader, flags, heartbeat) as second,
    ):
        yield leader, second


@contextmanager
def run_later(
    fleet: Fleet, leader: WatchProcess, flags: Sequence[str], heartbeat: Heartbeat
) -> Iterator[WatchProcess]:
    """A `watch` that begins when another one leads."""
    leader.wait_for(leader.leads)
    with run_watch(fleet.folder, *LOOP, *flags, heartbeat=heartbeat) as second:
        second.wait_for(second.stands_by)
        yield second


def kill_leader(fleet: Fleet, *flags: str) -> Story:
    """The leader is killed: the other leads soon, and no cycle is run twice."""
    with open_pair(fleet, *flags) as (leader, second):
        killed = time.time()
        leader.send(signal.SIGKILL)
        second.wait_for(second.leads, SOON_S)
        took = time.time() - killed
        second.wait_for(lambda: second.ends("in-sync", killed))
        wrong = find_overlaps(leader, second)
        code = second.end()
    wrong += [] if code == 0 else [f"it ended with {code}: {second.said}"]
    return Story(f"the leader is killed: the other leads after {took:.1f} s", "killed", wrong)


def end_leader(fleet: Fleet, *flags: str) -> Story:
    """The leader is asked to end: the other leads at once."""
    with open_pair(fleet, *flags) as (leader, second):
        code = leader.end()
        ended = time.time()
        second.wait_for(second.leads, SOON_S)
        took = time.time() - ended
        wrong = find_overlaps(leader, second)
    wrong += [] if code == 0 else [f"it ended with {code}: {leader.said}"]
    return Story(f"the leader is ended: the other leads after {took:.1f} s", "ended", wrong)


def stop_leader(fleet: Fleet, seconds: float, *flags: str, heartbeat: Heartbeat = TERM) -> Story:
    """The leader is held up amid an apply, for longer than its lease; when it goes on, it leads not.

    It goes from step to step, so it has more to write when it goes on. The other has done it then.
    """
    flags = (*flags, *FIX, "--parallelism", "1")
    with open_pair(fleet, *flags, heartbeat=heartbeat) as (leader, second):
        changed = time.time()
        change(fleet, 4)
        leader.wait_for(lambda: leader.writes(changed))
        _stop_without_locks(leader, fleet)
        stopped = time.time()
        second.wait_for(second.leads, SOON_S)
        took = time.time() - stopped
        second.wait_for(lambda: second.ends("in-sync", stopped))
        time.sleep(max(0.0, stopped + seconds - time.time()))
        traffic = fleet.traffic.begin()
        leader.send(signal.SIGCONT)
        woken = time.time()
        leader.wait_for(lambda: leader.stands_by(woken))
        second.wait_for(lambda: second.ends("in-sync", woken))
        wrong = [f"it was written after it went on: {one}" for one in traffic.effects()]
        wrong += [
            f"a cycle of the one that was held up ended as {one.outcome}"
            for one in leader.cycles()
            if one.ended > woken and one.outcome == "in-sync"
        ]
        wrong += find_twice(leader, second)
        codes = leader.end(), second.end()
    wrong += [] if codes == (0, 0) else [f"they ended with {codes}: {leader.said}{second.said}"]
    said = f"the leader is held up for {seconds:.0f} s: the other leads after {took:.1f} s"
    return Story(said, "held up", wrong)


def _stop_without_locks(leader: WatchProcess, fleet: Fleet) -> None:
    """Hold the leader up, and not in the moment in which it has a file locked: nobody could lead."""
    leader.stop()
    while any(map(_is_locked, fleet.folder.glob(".reconciler/*"))):
        leader.send(signal.SIGCONT)
        time.sleep(0.02)
        leader.stop()


def _is_locked(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def lose_ledger(fleet: Fleet, seconds: float, *flags: str, heartbeat: Heartbeat = TERM) -> Story:
    """The place of the ledger is away for a while: nothing is in sync meanwhile, and then it is."""
    place, away = fleet.folder / ".reconciler", fleet.folder / "away"
    with run_watch(fleet.folder, *LOOP, *flags, heartbeat=heartbeat) as watch:
        watch.wait_for(lambda: watch.ends("in-sync"))
        with watch.held_up():
            place.rename(away)
            place.write_text("a disk that is not mounted")
            lost = time.time()
        watch.wait_for(lambda: watch.ends("failed", lost))
        time.sleep(seconds)
        back = time.time()
        with watch.held_up():
            place.unlink()
            away.rename(place)
        watch.wait_for(lambda: watch.ends("in-sync", back), SOON_S)
        took = time.time() - back
        wrong = [
            f"a cycle without the ledger ended as {one.outcome}"
            for one in watch.cycles()
            if lost < one.started and one.ended < back and one.outcome == "in-sync"
        ]
        code = watch.end()
    wrong += [] if code == 0 else [f"it ended with {code}: {watch.said}"]
    said = f"the ledger is away for {seconds:.0f} s: in sync {took:.1f} s after it is back"
    return Story(said, "away", wrong)


def jump(fleet: Fleet, cycles: int, *flags: str) -> Story:
    """The time of day jumps by hours, days and a month, both ways: the cycles go on."""
    with run_watch(fleet.folder, *LOOP, *flags, heartbeat=BRIEF, jump_s=0.7) as watch:
        watch.wait_for(lambda: len(watch.cycles()) >= cycles)
        seen = watch.cycles()
        days = {line["@timestamp"][:10] for _, line in watch.lines}
        code = watch.end()
    wrong = [f"a cycle ended as {one.outcome}" for one in seen if one.outcome != "in-sync"]
    wrong += [] if len(days) > 2 else [f"the time of day did not jump: {days}"]
    wrong += [f"no cycle for {gap:.1f} s" for gap in _find_gaps(seen) if gap > SOON_S]
    wrong += [] if code == 0 else [f"it ended with {code}: {watch.said}"]
    return Story(f"the time of day jumps in {len(seen)} cycles", "jumps", wrong)


def go_first(fleet: Fleet, *flags: str) -> Story:
    """A person applies while the loop does: the person waits for one step, and the loop goes on.

    On a busy machine the loop may have ended its steps before the person's command has started.
    Such a try proves nothing, so another one follows.
    """
    with run_watch(fleet.folder, *LOOP, *flags, *FIX, "--parallelism", "1") as watch:
        watch.wait_for(lambda: watch.ends("in-sync"))
        applied = _apply_beside(fleet, watch)
        for _ in range(TRIES):
            if any(_find_wait(applied.out)):
                break
            applied = _apply_beside(fleet, watch)
        code = watch.end()
    wrong = [] if applied.code == 0 else [f"the apply ended with {applied.code}: {applied.said}"]
    waited, later = _find_wait(applied.out)
    # If the person's process is held up, the loop has released the lock before the person takes it.
    ends = [at for at, one in watch.lines if one["type"] == "cycle_end" and at > waited]
    until = min([later, *ends])
    began = sum(waited < at < until for at, one in watch.lines if one["type"] == "apply_start")
    if began > 1:
        wrong.append(f"the loop began {began} steps while the person waited")
    if not waited:
        wrong.append(f"the apply met no watch: {applied.said}")
    wrong += [*fleet.compare(), *find_twice(watch)]
    wrong += [] if code == 0 else [f"it ended with {code}: {watch.said}"]
    said = (
        f"a person who applies beside the loop waits {later - waited:.1f} s, for {began} new steps"
    )
    return Story(said, "person", wrong)


def _apply_beside(fleet: Fleet, watch: WatchProcess) -> Done:
    """Change each service, and apply as soon as the loop writes; the loop is in sync afterwards."""
    changed = time.time()
    change(fleet, len(fleet.declared_services))
    watch.wait_for(lambda: watch.writes(changed))
    applied = spawn(fleet.folder, *APPLY, "--json")
    ended = time.time()
    watch.wait_for(lambda: watch.ends("in-sync", ended))
    return applied


def _find_wait(out: str) -> tuple[float, float]:
    """When an apply began to wait for `watch`, and when it went on; zeros where it did not wait."""
    lines = [json.loads(line) for line in out.splitlines()]
    times = [datetime.fromisoformat(line["@timestamp"]).timestamp() for line in lines]
    waits = [number for number, line in enumerate(lines) if line["type"] == "lock_awaited"]
    return (times[waits[0]], times[waits[-1] + 1]) if waits else (0.0, 0.0)


def change(fleet: Fleet, count: int) -> None:
    """Somebody else changes a declared setting of so many services."""
    for name in sorted(fleet.declared_services)[:count]:
        fleet.emulator.patch(name, realtimeConfiguration={"maxConcurrentCalls": CALLS + 1})


def find_overlaps(*watches: WatchProcess) -> list[str]:
    """The cycles of one that ran at the time of another's, and those that were run twice."""
    seen = sorted((one for watch in watches for one in watch.cycles()), key=lambda one: one.started)
    wrong = [
        f"{after.id} began {before.ended - after.started:.2f} s before {before.id} had ended"
        for before, after in itertools.pairwise(seen)
        if after.started < before.ended
    ]
    return wrong + find_twice(*watches)


def find_twice(*watches: WatchProcess) -> list[str]:
    """The cycles that have the id of another one."""
    ids = [one.id for watch in watches for one in watch.cycles()]
    return [f"the cycle {one} was run twice" for one in sorted(set(ids)) if ids.count(one) > 1]


def _find_gaps(seen: Sequence[CycleSeen]) -> list[float]:
    return [after.started - before.ended for before, after in itertools.pairwise(seen)]
