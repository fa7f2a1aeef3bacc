"""The loop of `watch`: when the cycles of each environment start.

Only the monotonic clock counts: a change of the time of day moves no cycle.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Final

from reconciler.engine.watch import Watcher
from reconciler.model.watch import Cycle, CycleOutcome

# Each wait is up to a tenth shorter or longer, so that many loops do not call a service at once.
_JITTER: Final = 0.1
# A standby asks so often whether it may lead, in seconds.
_STANDBY_S: Final = 10.0


class Schedule:
    """The starts of the cycles of one environment, in seconds of the monotonic clock.

    `draw` returns a number from 0 up to 1. A cycle that takes longer than the interval delays the
    next one, and no start is made up for.
    """

    def __init__(self, interval_s: float, now: float, draw: Callable[[], float]) -> None:
        self._interval_s, self._draw = interval_s, draw
        self.due = now

    def plan_next(self, started: float, ended: float) -> None:
        """Set the next start after a cycle."""
        wait = self._interval_s * (1 + _JITTER * (2 * self._draw() - 1))
        self.due = max(started + wait, ended)

    def plan_standby(self, ended: float) -> None:
        """Set the next start after a cycle in which another process leads."""
        self.due = ended + min(self._interval_s, _STANDBY_S)


class Loop:
    """Runs the cycles of all environments one after another, each by its own schedule.

    `wait` waits for some seconds, `draw` returns a number from 0 up to 1.
    """

    def __init__(
        self,
        make: Callable[[str], Watcher],
        interval_s: float,
        wait: Callable[[float], object],
        monotonic: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._make, self._interval_s, self._wait = make, interval_s, wait
        self._monotonic, self._draw = monotonic, draw
        self._watchers: dict[str, tuple[Watcher, Schedule]] = {}
        # How long the last cycle took, in seconds.
        self.took_s = 0.0

    def select(self, environments: Sequence[str]) -> None:
        """Watch these environments from now on; the first cycle of a new one is due at once."""
        for name in set(self._watchers) - set(environments):
            self._watchers.pop(name)[0].close()
        for name in environments:
            if name not in self._watchers:
                schedule = Schedule(self._interval_s, self._monotonic(), self._draw)
                self._watchers[name] = (self._make(name), schedule)

    def run_once(self) -> list[Cycle]:
        """Run one cycle of each environment."""
        cycles = [watcher.run_cycle() for watcher, _ in self._watchers.values()]
        return [one for one in cycles if one is not None]

    def run_next(self, within_s: float) -> Cycle | None:
        """Wait for the next cycle and run it; returns None if none is due within these seconds."""
        now = self._monotonic()
        watcher, schedule = min(self._watchers.values(), key=lambda one: one[1].due)
        if schedule.due > now:
            self._wait(min(schedule.due - now, within_s))
            if schedule.due > self._monotonic():
                return None
        started = self._monotonic()
        cycle = watcher.run_cycle()
        self.took_s = self._monotonic() - started
        if cycle is None or cycle.outcome is CycleOutcome.STANDBY:
            schedule.plan_standby(self._monotonic())
        else:
            schedule.plan_next(started, self._monotonic())
        return cycle

    def close(self) -> None:
        """Let other processes lead at once."""
        for watcher, _ in self._watchers.values():
            watcher.close()
