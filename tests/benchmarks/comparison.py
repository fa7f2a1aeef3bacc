"""Plans and applies of the same services by several tools, taking turns in one run.

Each task runs in an order that gives no tool a warmer machine than another; what takes more than a
minute runs once, everything else three times. Nothing here judges: `goals` does.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from tests.benchmarks.contenders import (
    RECONCILER,
    Applier,
    BareClient,
    Fleet,
    Planner,
    Reconciler,
    find_terraform,
    write_project,
)
from tests.benchmarks.documents import OLD, name_of
from tests.benchmarks.gauge import Usage, gauge, measured_environment, median_of
from tests.benchmarks.octodns import find_octodns
from tests.benchmarks.static_server import run_static_server
from tests.e2e.world import Emulator, definition, spawn_emulator

_LONG_S: Final = 60.0
# How long ago a change must be before a read is sure to show it, so that it can be remembered.
_SETTLED_S: Final = 11.0


_Tool = TypeVar("_Tool", bound=Planner)


@dataclass(frozen=True)
class Sizes:
    """How many services each task has."""

    plans: Sequence[int] = (100, 1000, 3000, 10_000)
    against_terraform: Sequence[int] = (100, 1000, 3000)
    applies: Sequence[int] = (1000, 3000)
    warm: int = 10_000
    fleet: int = 1000
    runs: int = 3


QUICK: Final = Sizes((20,), (20,), (20,), 20, 20, 1)


@dataclass(frozen=True)
class Row:
    """What one tool took for one task, medians of `runs`."""

    task: str
    tool: str
    usage: Usage
    runs: int


@dataclass
class Results:
    """All rows so far; `changed` is called whenever there are more.

    `report` gets a line before each step that may take minutes.
    """

    changed: Callable[["Results"], None] = lambda _: None
    report: Callable[[str], None] = lambda _: None
    rows: list[Row] = field(default_factory=list)

    def add(self, rows: Sequence[Row]) -> None:
        self.rows += rows
        self.changed(self)

    def find(self, task: str, tool: str) -> Usage | None:
        """What a tool took for a task; the name of the tool may go on with its version."""
        found = (one.usage for one in self.rows if one.task == task and one.tool.startswith(tool))
        return next(found, None)


def compare(sizes: Sizes, results: Results) -> None:
    """Run every task, the longest last."""
    with run_static_server() as url:
        for size in sizes.plans:
            turns = _Turns(plan_of(size), url, size, sizes.runs, results.report)
            results.add(turns.take(_planners(size, sizes), lambda one: one.plan()))
        turns = _Turns(fleet_of(sizes.fleet), url, sizes.fleet, sizes.runs, results.report)
        results.add(turns.take(_of_yaml(), lambda one: one.plan()))
        results.add(_plan_warm(sizes.warm, sizes.runs, results.report))
        for size in sizes.applies:
            turns = _Turns(apply_of(size), url, size, sizes.runs, results.report)
            results.add(turns.take(_appliers(), lambda one: one.apply()))


def plan_of(size: int) -> str:
    """The name of a task."""
    return f"cold plan of {size:,}"


def apply_of(size: int) -> str:
    """The name of a task."""
    return f"apply of {size:,}"


def fleet_of(size: int) -> str:
    """The name of a task."""
    return f"fleet of {size:,}, or as many zones"


def warm_of(size: int) -> str:
    """The name of a task."""
    return f"warm plan of {size:,}, under published limits"


def _planners(size: int, sizes: Sizes) -> Iterator[Planner]:
    yield Reconciler()
    yield BareClient()
    if size in sizes.against_terraform:
        yield from (one for one in (find_terraform(), find_terraform(compares=False)) if one)


def _appliers() -> Iterator[Applier]:
    yield from (one for one in (Reconciler(), BareClient(), find_terraform()) if one)


def _of_yaml() -> Iterator[Planner]:
    yield from (one for one in (Fleet(), find_octodns()) if one)


@dataclass(frozen=True)
class _Turns:
    """One task, of so many services."""

    task: str
    url: str
    size: int
    runs: int
    report: Callable[[str], None]

    def take(self, contenders: Iterator[_Tool], run: Callable[[_Tool], Usage]) -> list[Row]:
        """Each contender once, then each again, as often as is worth while."""
        taken: dict[str, list[Usage]] = {}
        with ExitStack() as stack:
            ready = list(contenders)
            for one in ready:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                self.report(f"{self.task}: {one.name} is prepared")
                one.prepare(folder / "project", self.url, self.size)
            for number in range(1, self.runs + 1):
                for one in ready:
                    done = taken.setdefault(one.name, [])
                    if not done or done[0].wall_s <= _LONG_S:
                        self.report(f"{self.task}: {one.name}, run {number} of {self.runs}")
                        done.append(run(one))
        return [Row(self.task, name, median_of(done), len(done)) for name, done in taken.items()]


def _plan_warm(size: int, runs: int, report: Callable[[str], None]) -> list[Row]:
    """A plan where nothing has changed since the last one, by lists alone, under the limits.

    The services lie in the emulator, which enforces Resource Manager's published limits. They were
    seeded and read once before, without limits.
    """
    with tempfile.TemporaryDirectory() as name:
        state, project = Path(name, "state"), Path(name, "project")
        options = ("--no-blob", "--operation-seconds", "0", "--data", str(state))
        report(f"{warm_of(size)}: the services are created")
        with spawn_emulator(*options) as emulator:
            _seed(emulator, size)
            port = str(urlsplit(emulator.url).port)
            write_project(project, emulator.url, size, OLD)
        time.sleep(_SETTLED_S)
        with spawn_emulator(*options, "--port", port):
            report(f"{warm_of(size)}: the plan before")
            gauge([RECONCILER, "plan"], project, measured_environment())
        log = Path(name, "log")
        limits = ("--limits", "resource-manager", "--log", str(log))
        with spawn_emulator(*options, *limits, "--port", port):
            report(f"{warm_of(size)}: reconciler, {runs} runs")
            usages = [_gauge_logged(project, log) for _ in range(runs)]
    return [Row(warm_of(size), "reconciler", median_of(usages), runs)]


def _gauge_logged(project: Path, log: Path) -> Usage:
    before = len(log.read_bytes().splitlines())
    usage = gauge([RECONCILER, "plan"], project, measured_environment())
    return replace(usage, calls=len(log.read_bytes().splitlines()) - before)


def _seed(emulator: Emulator, size: int) -> None:
    body = definition(OLD)

    def put(number: int) -> None:
        status, answer, _ = emulator.send("PUT", emulator.path(name_of(number)), body)
        assert status < 300, answer

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(size)))
