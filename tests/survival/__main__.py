"""`python -m tests.survival [NAME…]`: each proof in its long form; exits with 1 where one fails."""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.world import spawn_emulator
from tests.survival.chaos import make_chaos
from tests.survival.cuts import cut_everywhere
from tests.survival.jobs import BRANCH, die_at_calls, open_trained
from tests.survival.kills import die_anytime, die_everywhere, die_twice, open_harnesses
from tests.survival.leaders import (
    end_leader,
    go_first,
    jump,
    kill_leader,
    lose_ledger,
    open_fleet,
    stop_leader,
)
from tests.survival.nursery import open_nursery
from tests.survival.rivals import kill_lock_owner, race, stop_lock_owner
from tests.survival.shifts import die_at_every_call, open_shifts
from tests.survival.soak import soak
from tests.survival.storage import die_where_it_counts, open_stored
from tests.survival.unattended import run_unattended
from tests.survival.verdict import Story

_SOON = "--operation-seconds=0.05"
_LATE = "--operation-seconds=0.4"
_SLOW = "--operation-seconds=1"


@dataclass(frozen=True)
class Given:
    """How long, how many and how often; None where nobody said."""

    minutes: float
    services: int | None
    rounds: int | None
    seed: int


def prove_places(folder: Path, given: Given) -> bool:
    """Killed at every place of a plan with a creation, an update, a replacement and a deletion."""
    with open_harnesses(folder, _SOON) as harnesses:
        return _tell(die_everywhere(harnesses))


def prove_again(folder: Path, given: Given) -> bool:
    """Killed half-way, and the run after it killed at every place."""
    with open_harnesses(folder, _SOON) as harnesses:
        return _tell(die_twice(harnesses))


def prove_moments(folder: Path, given: Given) -> bool:
    """Killed at any moment, while operations run at the service."""
    with open_harnesses(folder, "--operation-seconds=0.5", count=1) as (harness,):
        return _tell(die_anytime(harness, given.services or 40, given.rounds or 50, given.seed))


def prove_rivals(folder: Path, given: Given) -> bool:
    """Two at once and one winner; a holder who is killed, and one who is held up for a minute."""
    rounds = given.rounds or 20
    with (
        open_harnesses(folder, _LATE, count=1) as (harness,),
        open_nursery(folder / "rival") as rival,
    ):
        harness.prepare()
        reported = _tell(race(harness, rival) for _ in range(rounds))
        reported &= _tell(race(harness, rival, "--lock-timeout", "60s") for _ in range(rounds))
        reported &= _tell(kill_lock_owner(harness, rival) for _ in range(rounds))
        return reported & _tell(stop_lock_owner(harness, rival) for _ in range(1))


def prove_cuts(folder: Path, given: Given) -> bool:
    """A power cut at every line of the ledger, and within each."""
    with open_harnesses(folder, _SOON, count=1) as (harness,):
        return _tell(cut_everywhere(harness))


def prove_storage(folder: Path, given: Given) -> bool:
    """All that with the ledger in blob storage, whose lease is the lock."""
    log = f"--log={folder / 'requests.jsonl'}"
    with (
        spawn_emulator(_SOON, log) as emulator,
        open_stored(folder, emulator, 8) as harnesses,
        open_nursery(folder / "rival") as rival,
    ):
        reported = _tell(die_where_it_counts(harnesses, 100))
        reported &= _tell(race(harnesses[0], rival) for _ in range(given.rounds or 20))
        reported &= _tell(kill_lock_owner(harnesses[0], rival) for _ in range(given.rounds or 20))
        return reported & _tell(stop_lock_owner(harnesses[0], rival) for _ in range(1))


def prove_jobs(folder: Path, given: Given) -> bool:
    """Killed at each call of a training job, its ledger lines, its proposal and its commit."""
    reported = True
    for branch in ("", BRANCH):
        with open_trained(folder / f"jobs{len(branch)}", branch) as trained:
            kills: Counter[str] = Counter()
            reported &= _tell(_count_places(die_at_calls(trained, given.rounds or 20), kills))
        for place, times in kills.items():
            print(f"  {times:4} kills {place}", flush=True)
    return reported


def _count_places(stories: Iterable[Story], kills: Counter[str]) -> Iterator[Story]:
    for story in stories:
        kills[story.place] += 1
        yield story


def prove_shifts(folder: Path, given: Given) -> bool:
    """A rollout of an online endpoint, killed at each call; a saved one, with slow operations."""
    reported = True
    for saved, option in ((False, _SOON), (True, _LATE)):
        place = folder / f"shifts{option}"
        place.mkdir()
        with open_shifts(place, 4, option, saved=saved) as shifts:
            reported &= _tell(die_at_every_call(shifts, given.rounds or 10))
    return reported


def prove_chaos(folder: Path, given: Given) -> bool:
    """Throttled and unanswered all the while, and one success that is none."""
    came = make_chaos(folder, given.services or 200, given.seed)
    print(f"  {came.seconds:.0f} s; faults that fired: {_count(came.faults)}")
    return _show(came.wrong)


def prove_soak(folder: Path, given: Given) -> bool:
    """Applies one after another, a second writer at random, and faults all the while."""
    came = soak(folder, given.services or 200, given.minutes * 60, given.seed)
    first, last = came.emulator_kb
    print(
        f"  {len(came.peaks)} applies of {came.services} services, {came.edits} edits by the other;"
        f" codes: {_count(came.codes)}\n  faults that fired: {_count(came.faults)}\n"
        f"  peak of an apply, last quarter by first: {came.growth:.3f};"
        f" emulator {first} kB, then {last} kB"
    )
    return _show(came.wrong)


def prove_leaders(folder: Path, given: Given) -> bool:
    """Two watches on one ledger, in a file and in blobs: killed, held up, jumping, without it."""
    rounds, reported = given.rounds or 5, True
    for stored in (False, True):
        place = folder / ("blobs" if stored else "file")
        place.mkdir()
        with open_fleet(place, given.services or 20, _SLOW, stored=stored) as fleet:
            reported &= _tell(_tell_titles(kill_leader(fleet) for _ in range(rounds)))
            reported &= _tell(_tell_titles([end_leader(fleet), go_first(fleet)]))
            reported &= _tell(_tell_titles([stop_leader(fleet, 180.0)]))
            if not stored:
                reported &= _tell(_tell_titles([lose_ledger(fleet, 60.0), jump(fleet, 60)]))
    return reported


def prove_unattended(folder: Path, given: Given) -> bool:
    """A watch that applies, a second writer in bursts, and faults all the while."""
    # With shorter intervals 200 services use up the reads that the service allows in an hour.
    came = run_unattended(folder, given.services or 200, given.minutes * 60, given.seed, "30s")
    print(
        f"  {came.services} services, {came.took_s:.0f} s, then {came.settled_s:.0f} s until in sync;"
        f" cycles: {_count(came.outcomes)}\n  {came.edits} changes by the other, {came.applied}"
        f" by the loop; compared with live after {came.looks} cycles that said in sync\n"
        f"  faults that fired: {_count(came.faults)}\n  in quarantine at the end:"
        f" {len(came.quarantined)}; memory, last quarter by second: {came.growth:.3f},"
        f" {came.memory[0]} kB, then {came.memory[-1]} kB"
    )
    return _show(came.wrong)


def _tell_titles(stories: Iterable[Story]) -> Iterator[Story]:
    for story in stories:
        print(f"  {story.title}", flush=True)
        yield story


def _tell(stories: Iterable[Story]) -> bool:
    """Show what does not hold in any, and how many there were."""
    started, count, bad = time.monotonic(), 0, 0
    kinds: set[str] = set()
    for story in stories:
        count += 1
        kinds.add(story.place)
        if story.wrong:
            bad += 1
            print(f"  {story}", flush=True)
    took = time.monotonic() - started
    print(f"  {count} stories, {len(kinds)} of them different, {took:.0f} s; {bad} do not hold")
    return not bad


def _show(wrong: Iterable[str]) -> bool:
    texts = list(wrong)
    for text in texts:
        print(f"  WRONG: {text}", flush=True)
    return not texts


def _count(counted: Mapping[int, int] | Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count} times" for name, count in counted.items())


PROOFS: dict[str, Callable[[Path, Given], bool]] = {
    "places": prove_places,
    "again": prove_again,
    "moments": prove_moments,
    "rivals": prove_rivals,
    "cuts": prove_cuts,
    "storage": prove_storage,
    "jobs": prove_jobs,
    "shifts": prove_shifts,
    "chaos": prove_chaos,
    "soak": prove_soak,
    "leaders": prove_leaders,
    "unattended": prove_unattended,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.survival")
    parser.add_argument("proofs", nargs="*", metavar="NAME", help=", ".join(PROOFS))
    parser.add_argument("--minutes", type=float, default=10.0, help="of soak and unattended")
    parser.add_argument("--services", type=int, help="of most")
    parser.add_argument("--rounds", type=int, help="of most")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    wanted = given.proofs or list(PROOFS)
    chosen = Given(given.minutes, given.services, given.rounds, given.seed)
    holds = True
    for name in wanted:
        print(f"{name}: {PROOFS[name].__doc__}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            holds &= PROOFS[name](Path(folder), chosen)
    return 0 if holds else 1


sys.exit(main())
