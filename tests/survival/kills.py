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
from tests.survival.fleet import APPLY, HERE, THERE, DeclaredService, DeclaredServices, Fleet, model
from tests.survival.nursery import Ended, Nursery, open_nursery
from tests.survival.places import End
from tests.survival.verdict import Story, check_story

HARNESSES = 8
WRITTEN = ("after ledger.intend", "after ledger.record")
_TELLING = ("ledger", "lease", "write", "PUT", "PATCH", "DELETE", "POST")
HALF_DONE = ("after ledger.intend", "answered PATCH kept", "answered DELETE moved")
ORDERLY = (*APPLY, "--parallelism", "1")
# From one to the other and back are the same steps in the same order: a creation, an update, a
# replacement and a deletion. So a story begins where the last one ended.
LOW = {
    "at-low": DeclaredService(model("one")),
    "kept": DeclaredService(model("one")),
    "moved": DeclaredService(model("one"), HERE),
}
HIGH = {
    "at-high": DeclaredService(model("one")),
    "kept": DeclaredService(model("two")),
    "moved": DeclaredService(model("one"), THERE),
}


@dataclass
class Harness:
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

    def tip(self) -> DeclaredServices:
        """Declare the other state; returns the one before."""
        old = self.fleet.declared_services
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
        wrong += check_story(self.fleet, self.nursery, old, traffic, before)
        numbers = " and ".join(str(end.at) for end in ends)
        where = ", then ".join(places)
        return Story(f"killed at {numbers}, {where or 'which are not there'}", where, wrong)

    def _run(self, end: End) -> tuple[Ended, list[str]]:
        self.note.unlink(missing_ok=True)
        ended = self.nursery.run(self.fleet.folder, *ORDERLY, note=self.note, end=end)
        return ended, self.note.read_text().splitlines()


@contextlib.contextmanager
def open_harnesses(folder: Path, *options: str, count: int = HARNESSES) -> Iterator[list[Harness]]:
    """Lanes side by side, each with a resource group of its own at one emulator."""
    log = f"--log={folder / 'requests.jsonl'}"
    with (
        spawn_emulator("--no-blob", log, *options) as emulator,
        make_harnesses(folder, emulator, count) as harnesses,
    ):
        yield harnesses


@contextlib.contextmanager
def make_harnesses(
    folder: Path, emulator: Emulator, count: int, container: str = ""
) -> Iterator[list[Harness]]:
    """The same at an emulator that logs into the folder; with a `container` for the ledgers."""
    log = folder / "requests.jsonl"
    with contextlib.ExitStack() as stack:
        harnesses = []
        for number in range(count):
            group = f"lane{number}"
            nursery = stack.enter_context(open_nursery(folder / "said" / group))
            world = replace(emulator, group=group)
            ledger = f"{{container: '{container}', prefix: {group}/}}" if container else ""
            harnesses.append(Harness(Fleet(folder / group, world, log, ledger), nursery))
        yield harnesses


def run_stories(
    harnesses: Sequence[Harness], whole: Iterable[Sequence[End]], torn: Iterable[Sequence[End]] = ()
) -> Iterator[Story]:
    """A story for each ending, told by a lane that is free."""
    free: queue.SimpleQueue[Harness] = queue.SimpleQueue()
    for harness in harnesses:
        free.put(harness)

    def work(ends: Sequence[End], torn: bool) -> Story:
        harness = free.get()
        try:
            return harness.die(*ends, torn=torn)
        finally:
            free.put(harness)

    with ThreadPoolExecutor(len(harnesses)) as pool:
        orders = [*((ends, False) for ends in whole), *((ends, True) for ends in torn)]
        yield from pool.map(lambda order: work(*order), orders)


def die_everywhere(harnesses: Sequence[Harness], *, everywhere: bool = True) -> Iterator[Story]:
    """A story for each place of a plan with all four actions, and for each line of the ledger.

    Not `everywhere` leaves out what comes before and after a mere read.
    """
    places = prepare(harnesses)
    lines = sum(name in WRITTEN for name in places)
    whole = [
        End(number)
        for number, name in enumerate(places, 1)
        if everywhere or any(word in name for word in _TELLING)
    ]
    halves = [End(number, WRITTEN) for number in range(1, lines + 1)]
    return run_stories(harnesses, [(end,) for end in whole], [(end,) for end in halves])


def die_half_done(harnesses: Sequence[Harness]) -> Iterator[Story]:
    """A story for each place that leaves something half done, and for each kind of line cut off."""
    prepare(harnesses)
    whole = [(End(1, (name,)),) for name in HALF_DONE]
    return run_stories(harnesses, whole, [(End(1, (name,)),) for name in WRITTEN])


def die_twice(harnesses: Sequence[Harness]) -> Iterator[Story]:
    """A story for each place of a run that makes good what one before it left half done."""
    prepare(harnesses)
    ends = []
    for name in HALF_DONE:
        first = End(1, (name,))
        again = range(1, len(harnesses[0].list_places(first)) + 1)
        ends += [(first, End(number)) for number in again]
    return run_stories(harnesses, ends)


def prepare(harnesses: Sequence[Harness]) -> list[str]:
    """Every lane as it is declared; returns the places of a whole run."""
    with ThreadPoolExecutor(len(harnesses)) as pool:
        list(pool.map(Harness.prepare, harnesses))
    return harnesses[0].list_places()


def die_anytime(harness: Harness, services: int, rounds: int, seed: int) -> Iterator[Story]:
    """Stories in which a run over many services is killed at any moment, some of them twice."""
    randomness = random.Random(seed)
    harness.fleet.declare(_invent(randomness, {}, services, 0))
    started = time.monotonic()
    ended = harness.nursery.run(harness.fleet.folder, *APPLY)
    assert ended.code == 0, ended.said
    span = time.monotonic() - started
    for number in range(1, rounds + 1):
        traffic = harness.fleet.traffic.begin()
        before = harness.fleet.count_done()
        old = harness.fleet.declared_services
        harness.fleet.declare(_invent(randomness, old, services, number))
        moments = [randomness.uniform(0, span) for _ in range(1 + (randomness.random() < 0.3))]
        for moment in moments:
            _kill_after(harness, moment)
        title = "killed after " + " and ".join(f"{moment:.3f} s" for moment in moments)
        yield Story(title, title, check_story(harness.fleet, harness.nursery, old, traffic, before))


def _kill_after(harness: Harness, seconds: float) -> None:
    pid = harness.nursery.start(harness.fleet.folder, *APPLY)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    harness.nursery.wait()


def _invent(
    randomness: random.Random, old: DeclaredServices, services: int, number: int
) -> dict[str, DeclaredService]:
    """What is declared next: most have a new model, some move, some go and others come."""
    new = {}
    for name, declared_service in old.items():
        drawn = randomness.random()
        if drawn < 0.6:
            new[name] = replace(declared_service, model=model(f"m{number}"))
        elif drawn < 0.7:
            new[name] = replace(
                declared_service, location=THERE if declared_service.location == HERE else HERE
            )
        elif drawn < 0.9:
            new[name] = declared_service
    for missing in range(services - len(new)):
        new[f"s{number:03}-{missing:03}"] = DeclaredService(model(f"m{number}"))
    return new
