"""The fleets of one apply: the current wave of each fleet, and whether its next step may start.

A wave of a fleet starts when the wave before it has ended and the pause is over. Other fleets and
steps without a fleet do not wait for it. More failed members than a fleet allows stop the rest of
that fleet only. The apply calls this module; it must not run a step itself.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import field
from functools import partial
from typing import Final, TypeAlias

from reconciler.engine.pool import ResumableTask
from reconciler.engine.runtime import Runtime
from reconciler.model import (
    Action,
    Address,
    FleetStopped,
    Plan,
    Rollout,
    Step,
    Stopped,
    WavePaused,
    WaveStarted,
)
from reconciler.model.values import dataclass

_POLL_EVERY_S: Final = 0.2
# Whether no more steps of a fleet may start; None means steps without a fleet.
MayNot: TypeAlias = Callable[[Address | None], bool]
Task: TypeAlias = Callable[[], ResumableTask[None]]


@dataclass
class _FleetProgress:
    """The progress of one fleet.

    `stages` is the number of its waves, and `sizes` the number of steps to do in each. `stage` is
    the current wave, and `running` counts its tasks that have started and not ended.
    `pause_left_s` is the pause before the next wave, in seconds.
    """

    rollout: Rollout
    stages: int = 0
    sizes: Counter[int] = field(default_factory=Counter)
    stage: int | None = None
    running: int = 0
    pause_left_s: float = 0.0
    failed: int = 0


class Fleets:
    """Schedules the steps of an apply within the waves of their fleets.

    Only one thread may take steps; any thread may report their end. With `strict`, one failure of
    any step stops every fleet.
    """

    def __init__(self, runtime: Runtime, plan: Plan, left: Sequence[Step], *, strict: bool) -> None:
        self._emit = runtime.emit
        self._guard = threading.Lock()
        self._strict = strict
        self._any_failed = False
        given = {one.fleet: one for one in plan.rollouts}
        self._progress: dict[Address, _FleetProgress] = {}
        for step in plan.steps:
            if step.fleet is not None:
                rollout = given.get(step.fleet, Rollout(step.fleet))
                progress = self._progress.setdefault(step.fleet, _FleetProgress(rollout))
                progress.stages = max(progress.stages, step.stage + 1)
        for step in left:
            if step.fleet is not None:
                self._progress[step.fleet].sizes[step.stage] += 1

    def resume(self, done: Iterable[Step]) -> None:
        """Continue after an earlier run of the same plan.

        The pause after its last wave starts again: the times in the ledger are of a clock that may
        differ from ours.
        """
        ended: dict[Address, int] = {}
        for step in done:
            if step.fleet is not None:
                ended[step.fleet] = max(step.stage, ended.get(step.fleet, 0))
        for fleet, last in ended.items():
            progress = self._progress[fleet]
            if progress.sizes and min(progress.sizes) > last:
                progress.pause_left_s = progress.rollout.pause_s

    def schedule(
        self, steps: Iterable[Step], run: Callable[[Step], ResumableTask[None]], may_not: MayNot
    ) -> Iterator[Task | None]:
        """Yield the tasks of the steps and of the pauses; the fleets alternate.

        None means that no task may start now. A step that may never start is yielded at once, so
        that the caller counts it.
        """
        waiting: dict[Address | None, deque[Step]] = {}
        for step in sorted(steps, key=_stage):
            waiting.setdefault(step.fleet, deque()).append(step)
        while waiting:
            taken = [self._next_task(queue, run, may_not) for queue in waiting.values()]
            waiting = {fleet: queue for fleet, queue in waiting.items() if queue}
            given = [one for one in taken if one is not None]
            if given:
                yield from given
            else:
                yield None

    def _next_task(
        self, queue: deque[Step], run: Callable[[Step], ResumableTask[None]], may_not: MayNot
    ) -> Task | None:
        step = queue[0]
        if step.fleet is not None and not may_not(step.fleet):
            progress = self._progress[step.fleet]
            if progress.stage != step.stage:
                if progress.running:
                    return None
                if progress.pause_left_s:
                    return self._pause(progress, may_not)
                self._begin(progress, step.stage)
        self._count(step.fleet, 1)
        return partial(run, queue.popleft())

    def _pause(self, progress: _FleetProgress, may_not: MayNot) -> Task:
        fleet, seconds, progress.pause_left_s = progress.rollout.fleet, progress.pause_left_s, 0.0
        self._count(fleet, 1)
        return partial(self._wait_pause, fleet, seconds, may_not)

    def _count(self, fleet: Address | None, more: int) -> None:
        if fleet is not None:
            with self._guard:
                self._progress[fleet].running += more

    def _begin(self, progress: _FleetProgress, stage: int) -> None:
        progress.stage, progress.pause_left_s = stage, progress.rollout.pause_s
        if progress.stages > 1:
            fleet, steps = progress.rollout.fleet, progress.sizes[stage]
            self._emit(WaveStarted(stage + 1, steps, fleet, progress.stages))

    def _wait_pause(self, fleet: Address, seconds: float, may_not: MayNot) -> ResumableTask[None]:
        """Wait for a pause, or until no more steps may start; other tasks run meanwhile."""
        self._emit(WavePaused(fleet, seconds))
        while seconds > 0 and not may_not(fleet):
            yield min(seconds, _POLL_EVERY_S)
            seconds -= _POLL_EVERY_S
        self._count(fleet, -1)

    def end(self, fleet: Address | None, *, failed: bool) -> None:
        """Record that a step has ended."""
        if failed:
            self._note_failure(fleet)
        self._count(fleet, -1)

    def _note_failure(self, fleet: Address | None) -> None:
        with self._guard:
            self._any_failed = True
            if fleet is None:
                return
            progress = self._progress[fleet]
            progress.failed += 1
            failed, most = progress.failed, progress.rollout.max_failures
        if failed == most + 1:
            self._emit(FleetStopped(fleet, failed, most))

    def is_stopped(self, fleet: Address | None) -> bool:
        """Whether no more steps of a fleet may start."""
        if fleet is None:
            return False
        progress = self._progress[fleet]
        return progress.failed > progress.rollout.max_failures or (
            self._strict and self._any_failed
        )

    def sum_up(self, left: Collection[Step]) -> Iterator[Stopped]:
        """Yield the fleets that their failures stopped, with their steps in `left`."""
        for fleet, progress in self._progress.items():
            steps = [step for step in left if step.fleet == fleet]
            if progress.failed > progress.rollout.max_failures and steps:
                yield Stopped(
                    fleet,
                    progress.failed,
                    progress.rollout.max_failures,
                    tuple(step.resource.address for step in steps),
                    any(step.action is Action.DELETE for step in steps),
                )


def _stage(step: Step) -> int:
    return step.stage
