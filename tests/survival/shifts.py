"""Rollouts of an online endpoint that are killed at every call, and the run after each.

The endpoint has one deployment, and a manifest moves its traffic in steps to one of the other
colour. Whatever is killed: at each moment the traffic sums to 100 over deployments that exist, the
next run reaches the declared state, and the service takes no write twice.
"""

import contextlib
import json
import queue
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tests.e2e.online_world import OnlineProject, Workspace, deployment
from tests.e2e.world import spawn_emulator
from tests.survival.nursery import Nursery, open_nursery
from tests.survival.places import End
from tests.survival.verdict import Story

COLOURS = ("blue", "green")
STEPS = (10, 50, 100)
PROBE = {"request": {"data": [[1, 2]]}, "count": 2}
# A check calls a hundred times. To be killed at one of these calls is enough.
_MOST_ALIKE = 1
# What a reader may be killed at; a mere read of the cache or of a blob is left out.
TELLING = ("ledger.", "provider.write", "provider.check_write", "PUT", "DELETE", "POST", "GET")
# While an operation runs at the service.
IN_FLIGHT = ("answered PUT", "answered DELETE", "within provider.write", "mfeOperationsStatus")
# Enough for an emulator that serves all lanes at once to answer.
_FLAGS = ("--patience", "3s", "--parallelism", "1")
APPLY, APPLY_SAVED = ("apply", "--auto-approve", *_FLAGS), ("apply", "saved.plan", *_FLAGS)


@dataclass
class Shift:
    """A lane: an endpoint in a workspace of its own, and the nursery of its runs.

    If it is `saved`, the run that is killed and the one after it apply the same saved plan.
    """

    name: str
    project: OnlineProject
    nursery: Nursery
    log: Path
    steps: Sequence[int] = STEPS
    saved: bool = False
    colour: int = 0

    @property
    def note(self) -> Path:
        return self.project.folder / "places"

    def turn(self) -> tuple[str, str]:
        """Declare the other colour; returns the name of the old and of the new deployment."""
        old, new = COLOURS[self.colour % 2], COLOURS[(self.colour + 1) % 2]
        self.colour += 1
        self._declare(new)
        return old, new

    def _declare(self, name: str) -> None:
        version = 1 + COLOURS.index(name)
        deployments = {name: deployment(version)}
        rollout = {"steps": [*self.steps], "pause": "0s", "keepOld": "0s", "probe": PROBE}
        spec = {"traffic": {name: 100}, "deployments": deployments, "rollout": rollout}
        self.project.declare(self.name, **spec)

    def prepare(self) -> None:
        """The endpoint with one deployment, once; the ledger remembers it."""
        for version in (1, 2):
            self.project.workspace.register(version)
        self._declare(COLOURS[0])
        ended = self.nursery.run(self.project.folder, *APPLY)
        assert ended.code == 0, ended.said

    def list_places(self) -> list[str]:
        """The places of a whole rollout from blue to green and back, in order."""
        places = []
        for _ in COLOURS:
            self.turn()
            places = self._run(End())
        return places

    def die(self, end: End) -> Story:
        """A rollout that is killed, and all that must hold then and after the next run."""
        begun, (old, new) = self.log.stat().st_size, self.turn()
        named = (name.format(old=old, new=new, endpoint=self.name) for name in end.among)
        end = replace(end, among=tuple(named))
        self.note.unlink(missing_ok=True)
        command = APPLY_SAVED if self.saved else APPLY
        if self.saved:
            made = self.nursery.run(self.project.folder, "plan", "--out", "saved.plan")
            assert made.code == 0, made.said
        ended = self.nursery.run(self.project.folder, *command, note=self.note, end=end)
        place = self.note.read_text().splitlines()[-1] if ended.code == -signal.SIGKILL else ""
        wrong = [] if place or ended.code == 0 else [f"it ended with {ended.code}: {ended.said}"]
        wrong += self._check_whole()
        again = self.nursery.run(self.project.folder, *command)
        wrong += [] if again.code == 0 else [f"the next apply: {again.code}: {again.said}"]
        wrong += [*self._check_whole(), *self._check_end(new)]
        wrong += self._check_sent(begun, old, new)
        return Story(f"killed at {end.at} {place or 'which is not there'}", place, wrong)

    def _run(self, end: End) -> list[str]:
        self.note.unlink(missing_ok=True)
        ended = self.nursery.run(self.project.folder, *APPLY, note=self.note, end=end)
        assert ended.code == 0, ended.said
        return self.note.read_text().splitlines()

    def _check_whole(self) -> list[str]:
        """The traffic sums to 100 or to 0, over deployments that exist."""
        workspace = self.project.workspace
        shares, there = workspace.traffic(self.name), workspace.deployments(self.name)
        whole = sum(shares.values()) in {0, 100} and shares.keys() <= there.keys()
        return [] if whole else [f"traffic {shares} over {sorted(there)}"]

    def _check_end(self, new: str) -> Iterator[str]:
        """The declared state is reached: the ledger proves itself, and nothing is left to do."""
        shares = self.project.workspace.traffic(self.name)
        there = sorted(self.project.workspace.deployments(self.name))
        if (shares, there) != ({new: 100}, [new]):
            yield f"it ended with traffic {shares} over {there}"
        for words in (("plan", "--detailed-exitcode"), ("ledger", "verify")):
            ended = self.nursery.run(self.project.folder, *words)
            if ended.code != 0:
                yield f"{' '.join(words)} ended with {ended.code}: {ended.said}"

    def _check_sent(self, begun: int, old: str, new: str) -> list[str]:
        """The service took each write once: the new deployment, each split, and the removal."""
        deployments, splits = f"{self.name}/deployments", [f"PUT {self.name}"] * len(self.steps)
        expected = [f"PUT {deployments}/{new}", *splits, f"DELETE {deployments}/{old}"]
        sent = list(self._list_sent(begun))
        return [] if sent == expected else [f"it took {sent}, and needed {expected}"]

    def _list_sent(self, begun: int) -> Iterator[str]:
        """The writes that the service took from a place in the log on."""
        with self.log.open() as file:
            file.seek(begun)
            for line in map(json.loads, file):
                name = line["path"].partition("?")[0].partition("/onlineEndpoints/")[2]
                is_write = line["method"] in {"PUT", "PATCH", "DELETE"}
                ours = name.partition("/")[0] == self.name
                if is_write and ours and (line["status"] or 0) < 300:
                    yield f"{line['method']} {name}"


@contextlib.contextmanager
def open_shifts(
    folder: Path,
    count: int,
    *options: str,
    steps: Sequence[int] = STEPS,
    saved: bool = False,
) -> Iterator[list[Shift]]:
    """Lanes side by side, each with an endpoint of its own at one emulator."""
    log = folder / "requests.jsonl"
    with (
        spawn_emulator("--no-blob", f"--log={log}", *options) as emulator,
        contextlib.ExitStack() as stack,
    ):
        shifts = []
        for number in range(count):
            name = f"shift{number}"
            nursery = stack.enter_context(open_nursery(folder / "said" / name))
            project = OnlineProject(folder / name, Workspace(emulator, f"ws{number}"))
            shifts.append(Shift(name, project, nursery, log, steps, saved=saved))
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(Shift.prepare, shifts))
        yield shifts


def list_ends(places: Sequence[str], among: Sequence[str] = TELLING) -> list[End]:
    """An end at each place of a whole rollout whose name has one of these words.

    Of the many calls of one check, only the first one is among them.
    """
    ends, alike, checks = [], Counter[tuple[str, int]](), 0
    for number, name in enumerate(places, 1):
        checks += name in {"before provider.check_write", "after provider.check_write"}
        alike[name, checks] += 1
        within = bool(checks % 2) and alike[name, checks] > _MOST_ALIKE
        if any(word in name for word in among) and not within:
            ends.append(End(number))
    return ends


def die_in_turn(shifts: Sequence[Shift], ends: Iterable[End]) -> Iterator[Story]:
    """A story for each ending, told by a lane that is free."""
    free: queue.SimpleQueue[Shift] = queue.SimpleQueue()
    for shift in shifts:
        free.put(shift)

    def work(end: End) -> Story:
        shift = free.get()
        try:
            return shift.die(end)
        finally:
            free.put(shift)

    with ThreadPoolExecutor(len(shifts)) as pool:
        yield from pool.map(work, ends)


def die_at_every_call(
    shifts: Sequence[Shift], rounds: int, among: Sequence[str] = TELLING
) -> Iterator[Story]:
    """A story for each place of a rollout whose name has one of these words, so many times."""
    places = shifts[0].list_places()
    return die_in_turn(shifts, list_ends(places, among) * rounds)
