"""The fleets of one apply: which wave of each is under way, and whether it may go on.

A wave of a fleet begins once the one before has ended and its pause is over; other fleets, and
what is no member of one, do not wait for that. More failed members than a fleet allows stop the
rest of it, and nothing else.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias

from reconciler.engine.pool import ResumableTask
from reconciler.engine.runtime import Runtime
from reconciler.model import (
    Action,
    Address,
    FleetStopped,
    LastApplied,
    Plan,
    Rollout,
    Step,
    Stopped,
    WavePaused,
    WaveStarted,
)
from reconciler.model.values import dataclass
from reconciler.text.times import seconds_since

_POLL_EVERY_S: Final = 0.2
# Whether nothing more of a fleet may begin, or of what is no member of one.
MayNot: TypeAlias = Callable[[Address | None], bool]
Task: TypeAlias = Callable[[], ResumableTask[None]]


@dataclass
class _FleetProgress:
    """One fleet: `stages` is how many waves it has, `sizes` how much of each is to be done.

    `stage` is the one that is under way, `running` counts what of it has begun and not ended, and
    `pause_left_s` is the pause before the next one.
    """

    rollout: Rollout
    stages: int = 0
    sizes: Counter[int] = field(default_factory=Counter)
    stage: int | None = None
    running: int = 0
    pause_left_s: float = 0.0
    failed: int = 0


class Fleets:
    """Gives the steps of an apply one after another, as far as their fleets allow.

    Only one thread takes steps; what became of them may be told by any. With `strict`, one failure
    of anything stops every fleet.
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

    def resume(
        self, done: Iterable[Step], remembered: Mapping[Address, LastApplied], now: datetime
    ) -> None:
        """Take up what an earlier run of the same plan has done: its last pause may not be over."""
        ended: dict[Address, list[tuple[int, str]]] = {}
        for step in done:
            if step.fleet is not None:
                at = remembered[step.resource.address].at
                ended.setdefault(step.fleet, []).append((step.stage, at))
        for fleet, stages in ended.items():
            progress = self._progress[fleet]
            last, at = max(stages)
            if progress.sizes and min(progress.sizes) > last:
                pause = progress.rollout.pause_s
                progress.pause_left_s = min(max(pause - seconds_since(at, now), 0.0), pause)

    def schedule(
        self, steps: Iterable[Step], run: Callable[[Step], ResumableTask[None]], may_not: MayNot
    ) -> Iterator[Task | None]:
        """The tasks of carrying out steps, in turn of one fleet and another, with their pauses.

        None where none may begin just now. What may not begin at all is given at once, for
        whoever counts it.
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
        """Let a pause go by, unless nothing more may begin; holds up nobody else."""
        self._emit(WavePaused(fleet, seconds))
        while seconds > 0 and not may_not(fleet):
            yield min(seconds, _POLL_EVERY_S)
            seconds -= _POLL_EVERY_S
        self._count(fleet, -1)

    def end(self, fleet: Address | None, *, failed: bool) -> None:
        """Note that a step that was given has ended."""
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
        """Whether nothing more of a fleet may begin."""
        if fleet is None:
            return False
        progress = self._progress[fleet]
        return progress.failed > progress.rollout.max_failures or (
            self._strict and self._any_failed
        )

    def sum_up(self, left: Collection[Step]) -> Iterator[Stopped]:
        """The fleets that were stopped by their failures, with what of `left` was not begun."""
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
