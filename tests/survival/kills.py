"""Runs that are killed, at every place there is or at any moment, and the run after each."""

import contextlib
import os
import queue
import random
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tests.e2e.world import Emulator, spawn_emulator
from tests.survival.fleet import APPLY, HERE, THERE, Fleet, Wish, Wishes, model
from tests.survival.nursery import Ended, Nursery, open_nursery
from tests.survival.places import End
from tests.survival.verdict import Story, judge

LANES = 8
WRITTEN = ("after ledger.intend", "after ledger.record")
_TELLING = ("ledger", "lease", "write", "PUT", "PATCH", "DELETE", "POST")
_HALF_DONE = ("after ledger.intend", "answered PATCH kept", "answered DELETE moved")
ORDERLY = (*APPLY, "--parallelism", "1")
# From one to the other and back are the same steps in the same order: a creation, an update, a
# replacement and a deletion. So a story begins where the last one ended.
LOW = {
    "at-low": Wish(model("one")),
    "kept": Wish(model("one")),
    "moved": Wish(model("one"), HERE),
}
HIGH = {
    "at-high": Wish(model("one")),
    "kept": Wish(model("two")),
    "moved": Wish(model("one"), THERE),
}


@dataclass
class Lane:
    """A project whose stories follow one another, and the nursery of their runs."""

    fleet: Fleet
    nursery: Nursery
    tips: int = 0

    @property
    def note(self) -> Path:
        return self.fleet.folder / "places"

    def prepare(self) -> None:
        """Everything is as it is declared, once; the ledger remembers it."""
        self.fleet.declare(LOW)
        ended = self.nursery.run(self.fleet.folder, *APPLY)
        assert ended.code == 0, ended.said

    def tip(self) -> Wishes:
        """Declare the other state; returns the one before."""
        old = self.fleet.wishes
        self.tips += 1
        self.fleet.declare(HIGH if self.tips % 2 else LOW)
        return old

    def list_places(self, *ends: End) -> list[str]:
        """The places of a whole run, in order, after runs that were killed."""
        self.tip()
        for end in ends:
            self._run(end)
        ended, reached = self._run(End())
        assert ended.code == 0, ended.said
        return reached

    def die(self, *ends: End, torn: bool = False) -> Story:
        """Runs that are killed one after another, and all that must hold after the next.

        With `torn`, the line of the ledger that was written last is there by half: it died as it
        wrote, because nothing has happened since.
        """
        traffic = self.fleet.traffic.begin()
        before = self.fleet.count_done()
        old = self.tip()
        places, wrong = [], []
        for end in ends:
            ended, reached = self._run(end)
            if ended.code == -signal.SIGKILL:
                places.append(f"{'half of ' if torn else ''}{reached[-1]}")
            elif ended.code != 0:
                wrong.append(f"it ended with {ended.code}: {ended.said}")
        if torn and places:
            self.fleet.tear_ledger()
        wrong += judge(self.fleet, self.nursery, old, traffic, before)
        numbers = " and ".join(str(end.at) for end in ends)
        where = ", then ".join(places)
        return Story(f"killed at {numbers}, {where or 'which are not there'}", where, wrong)

    def _run(self, end: End) -> tuple[Ended, list[str]]:
        self.note.unlink(missing_ok=True)
        ended = self.nursery.run(self.fleet.folder, *ORDERLY, note=self.note, end=end)
        return ended, self.note.read_text().splitlines()


@contextlib.contextmanager
def open_lanes(folder: Path, *options: str, count: int = LANES) -> Iterator[list[Lane]]:
    """Lanes side by side, each with a resource group of its own at one emulator."""
    log = f"--log={folder / 'requests.jsonl'}"
    with (
        spawn_emulator("--no-blob", log, *options) as emulator,
        lay_lanes(folder, emulator, count) as lanes,
    ):
        yield lanes


@contextlib.contextmanager
def lay_lanes(
    folder: Path, emulator: Emulator, count: int, container: str = ""
) -> Iterator[list[Lane]]:
    """The same at an emulator that logs into the folder; with a `container` for the ledgers."""
    log = folder / "requests.jsonl"
    with contextlib.ExitStack() as stack:
        lanes = []
        for number in range(count):
            group = f"lane{number}"
            nursery = stack.enter_context(open_nursery(folder / "said" / group))
            world = replace(emulator, group=group)
            ledger = f"{{container: '{container}', prefix: {group}/}}" if container else ""
            lanes.append(Lane(Fleet(folder / group, world, log, ledger), nursery))
        yield lanes


def tell(
    lanes: Sequence[Lane], whole: Iterable[Sequence[End]], torn: Iterable[Sequence[End]] = ()
) -> Iterator[Story]:
    """A story for each ending, told by a lane that is free."""
    free: queue.SimpleQueue[Lane] = queue.SimpleQueue()
    for lane in lanes:
        free.put(lane)

    def work(ends: Sequence[End], torn: bool) -> Story:
        lane = free.get()
        try:
            return lane.die(*ends, torn=torn)
        finally:
            free.put(lane)

    with ThreadPoolExecutor(len(lanes)) as pool:
        orders = [*((ends, False) for ends in whole), *((ends, True) for ends in torn)]
        yield from pool.map(lambda order: work(*order), orders)


def die_everywhere(lanes: Sequence[Lane], *, everywhere: bool = True) -> Iterator[Story]:
    """A story for each place of a plan with all four actions, and for each line of the ledger.

    Not `everywhere` leaves out what comes before and after a mere read.
    """
    places = prepare(lanes)
    lines = sum(name in WRITTEN for name in places)
    whole = [
        End(number)
        for number, name in enumerate(places, 1)
        if everywhere or any(word in name for word in _TELLING)
    ]
    halves = [End(number, WRITTEN) for number in range(1, lines + 1)]
    return tell(lanes, [(end,) for end in whole], [(end,) for end in halves])


def die_twice(lanes: Sequence[Lane]) -> Iterator[Story]:
    """A story for each place of a run that makes good what one before it left half done."""
    prepare(lanes)
    ends = []
    for name in _HALF_DONE:
        first = End(1, (name,))
        again = range(1, len(lanes[0].list_places(first)) + 1)
        ends += [(first, End(number)) for number in again]
    return tell(lanes, ends)


def prepare(lanes: Sequence[Lane]) -> list[str]:
    """Every lane as it is declared; returns the places of a whole run."""
    with ThreadPoolExecutor(len(lanes)) as pool:
        list(pool.map(Lane.prepare, lanes))
    return lanes[0].list_places()


def die_anytime(lane: Lane, services: int, rounds: int, seed: int) -> Iterator[Story]:
    """Stories in which a run over many services is killed at any moment, some of them twice."""
    chance = random.Random(seed)
    lane.fleet.declare(_invent(chance, {}, services, 0))
    started = time.monotonic()
    ended = lane.nursery.run(lane.fleet.folder, *APPLY)
    assert ended.code == 0, ended.said
    span = time.monotonic() - started
    for number in range(1, rounds + 1):
        traffic = lane.fleet.traffic.begin()
        before = lane.fleet.count_done()
        old = lane.fleet.wishes
        lane.fleet.declare(_invent(chance, old, services, number))
        moments = [chance.uniform(0, span) for _ in range(1 + (chance.random() < 0.3))]
        for moment in moments:
            _kill_after(lane, moment)
        title = "killed after " + " and ".join(f"{moment:.3f} s" for moment in moments)
        yield Story(title, title, judge(lane.fleet, lane.nursery, old, traffic, before))


def _kill_after(lane: Lane, seconds: float) -> None:
    pid = lane.nursery.start(lane.fleet.folder, *APPLY)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    lane.nursery.wait()


def _invent(chance: random.Random, old: Wishes, services: int, number: int) -> dict[str, Wish]:
    """What is declared next: most have a new model, some move, some go and others come."""
    new = {}
    for name, wish in old.items():
        drawn = chance.random()
        if drawn < 0.6:
            new[name] = replace(wish, model=model(f"m{number}"))
        elif drawn < 0.7:
            new[name] = replace(wish, location=THERE if wish.location == HERE else HERE)
        elif drawn < 0.9:
            new[name] = wish
    for missing in range(services - len(new)):
        new[f"s{number:03}-{missing:03}"] = Wish(model(f"m{number}"))
    return new
