"""Whether `watch` is alive and ready, for the probes of Kubernetes and other supervisors.

A process that runs and reads nothing is not alive: its last report is old, and no one sees that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from reconciler.model import Event, StepDone, StepStarted, StepWaiting
from reconciler.model.watch import Cycle, CycleOutcome
from reconciler.text.durations import show_duration

_INTERVALS: Final = 3


class Health:
    """The answers of /healthz and /readyz, with their reasons; safe to use from several threads.

    Each environment must be read. `interval_s` is the time between two cycles, in seconds of
    `clock`, which is monotonic. If cycles take longer, the longest one counts in its place.
    """

    def __init__(self, interval_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._within_s = interval_s
        self._started_at = self._active_at = clock()
        # When each environment was read, or its process stood by; None before.
        self._seen_at: dict[str, float | None] = {}
        self._since: dict[str, float] = {}
        self._with_errors: set[str] = set()

    def select(self, environments: Iterable[str]) -> None:
        """Name the environments of the project; any other one does not count any more.

        A project without environments has the one with an empty name.
        """
        with self._lock:
            self._seen_at = {name: self._seen_at.get(name) for name in environments}
            now = self._clock()
            self._since = {name: self._since.get(name, now) for name in self._seen_at}
            self._with_errors &= self._seen_at.keys()

    def note_cycle(self, cycle: Cycle, took_s: float = 0.0) -> None:
        """Take a cycle that has ended. Only one that read something, or a standby, counts."""
        with self._lock:
            now, name = self._clock(), cycle.environment
            self._within_s = max(self._within_s, took_s)
            self._since.setdefault(name, self._started_at)
            counts = has_read(cycle) or cycle.outcome is CycleOutcome.STANDBY
            self._seen_at[name] = now if counts else self._seen_at.get(name)
            self._with_errors.discard(name)
            if cycle.errors:
                self._with_errors.add(name)

    def note_event(self, event: Event) -> None:
        """Take the progress of a step: an apply that waits for a service is alive."""
        if isinstance(event, (StepStarted, StepWaiting, StepDone)):
            with self._lock:
                self._active_at = self._clock()

    def is_alive(self) -> tuple[bool, str]:
        """Whether each environment was read within three intervals, and a line that says why."""
        with self._lock:
            now, limit_s = self._clock(), _INTERVALS * self._within_s
            late = {
                name: now - max(since, self._active_at)
                for name, since in self._last_times().items()
            }
        said = [
            f"{_name(name)}no cycle has read anything for {show_duration(age_s)}"
            for name, age_s in late.items()
            if age_s > limit_s
        ]
        return not said, self._say(said, "alive")

    def is_ready(self) -> tuple[bool, str]:
        """Whether each environment was read once, or its process stands by; and a line."""
        with self._lock:
            missing = [name for name, at in self._seen_at.items() if at is None]
            said = [f"{_name(name)}no cycle has read anything yet" for name in missing]
            if not self._seen_at:
                said = ["no cycle has ended yet"]
        return not said, self._say(said, "ready")

    def _last_times(self) -> dict[str, float]:
        """When each environment was seen, or else when it was first expected."""
        seen = {name: self._since[name] if at is None else at for name, at in self._seen_at.items()}
        return seen or {"": self._started_at}

    def _say(self, problems: list[str], fine: str) -> str:
        late = [f"{_name(name)}the last cycle had errors" for name in sorted(self._with_errors)]
        return "; ".join([*(problems or [fine]), *late])


def has_read(cycle: Cycle) -> bool:
    """Whether a cycle has evidence of a resource, or its project has no resource to read."""
    return cycle.has_evidence or (cycle.report is not None and not cycle.report.statuses)


def _name(environment: str) -> str:
    return f"{environment}: " if environment else ""
