"""The fleets of one apply: which wave of each is under way, and whether it may go on.

A wave of a fleet begins once the one before has ended and its pause is over; other fleets, and
what is no member of one, do not wait for that. More failed members than a fleet allows stop the
rest of it, and nothing else.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias

from reconciler.engine.pool import Work
from reconciler.engine.runtime import Hands
from reconciler.model import (
    Action,
    Address,
    FleetStopped,
    Memory,
    Plan,
    Rollout,
    Step,
    Stopped,
    WavePaused,
    WaveStarted,
)

_LOOK_EVERY_S: Final = 0.2
# Whether nothing more of a fleet may begin, or of what is no member of one.
MayNot: TypeAlias = Callable[[Address | None], bool]
Task: TypeAlias = Callable[[], Work[None]]


@dataclass
class _Lane:
    """One fleet: `stages` is how many waves it has, `sizes` how much of each is to be done.

    `stage` is the one that is under way, `running` counts what of it has begun and not ended, and
    `owed` is the pause before the next one.
    """

    rollout: Rollout
    stages: int = 0
    sizes: Counter[int] = field(default_factory=Counter)
    stage: int | None = None
    running: int = 0
    owed: float = 0.0
    failed: int = 0


class Fleets:
    """Gives the steps of an apply one after another, as far as their fleets allow.

    Only one thread takes steps; what became of them may be told by any. With `strict`, one failure
    of anything stops every fleet.
    """

    def __init__(self, hands: Hands, plan: Plan, left: Sequence[Step], *, strict: bool) -> None:
        self._emit = hands.emit
        self._guard = threading.Lock()
        self._strict = strict
        self._any_failed = False
        given = {one.fleet: one for one in plan.rollouts}
        self._lanes: dict[Address, _Lane] = {}
        for step in plan.steps:
            if step.fleet is not None:
                rollout = given.get(step.fleet, Rollout(step.fleet))
                lane = self._lanes.setdefault(step.fleet, _Lane(rollout))
                lane.stages = max(lane.stages, step.stage + 1)
        for step in left:
            if step.fleet is not None:
                self._lanes[step.fleet].sizes[step.stage] += 1

    def resume(
        self, done: Iterable[Step], remembered: Mapping[Address, Memory], now: datetime
    ) -> None:
        """Take up what an earlier run of the same plan has done: its last pause may not be over."""
        ended: dict[Address, list[tuple[int, str]]] = {}
        for step in done:
            if step.fleet is not None:
                at = remembered[step.resource.address].at
                ended.setdefault(step.fleet, []).append((step.stage, at))
        for fleet, stages in ended.items():
            lane = self._lanes[fleet]
            last, at = max(stages)
            if lane.sizes and min(lane.sizes) > last:
                pause = lane.rollout.pause_s
                lane.owed = min(max(pause - _measure(at, now), 0.0), pause)

    def give(
        self, steps: Iterable[Step], run: Callable[[Step], Work[None]], may_not: MayNot
    ) -> Iterator[Task | None]:
        """The tasks of carrying out steps, in turn of one fleet and another, with their pauses.

        None where none may begin just now. What may not begin at all is given at once, for
        whoever counts it.
        """
        waiting: dict[Address | None, deque[Step]] = {}
        for step in sorted(steps, key=_stage):
            waiting.setdefault(step.fleet, deque()).append(step)
        while waiting:
            taken = [self._take(queue, run, may_not) for queue in waiting.values()]
            waiting = {fleet: queue for fleet, queue in waiting.items() if queue}
            given = [one for one in taken if one is not None]
            if given:
                yield from given
            else:
                yield None

    def _take(
        self, queue: deque[Step], run: Callable[[Step], Work[None]], may_not: MayNot
    ) -> Task | None:
        step = queue[0]
        if step.fleet is not None and not may_not(step.fleet):
            lane = self._lanes[step.fleet]
            if lane.stage != step.stage:
                if lane.running:
                    return None
                if lane.owed:
                    return self._pause(lane, may_not)
                self._begin(lane, step.stage)
        self._count(step.fleet, 1)
        return partial(run, queue.popleft())

    def _pause(self, lane: _Lane, may_not: MayNot) -> Task:
        fleet, seconds, lane.owed = lane.rollout.fleet, lane.owed, 0.0
        self._count(fleet, 1)
        return partial(self._rest, fleet, seconds, may_not)

    def _count(self, fleet: Address | None, more: int) -> None:
        if fleet is not None:
            with self._guard:
                self._lanes[fleet].running += more

    def _begin(self, lane: _Lane, stage: int) -> None:
        lane.stage, lane.owed = stage, lane.rollout.pause_s
        if lane.stages > 1:
            fleet, steps = lane.rollout.fleet, lane.sizes[stage]
            self._emit(WaveStarted(stage + 1, steps, fleet, lane.stages))

    def _rest(self, fleet: Address, seconds: float, may_not: MayNot) -> Work[None]:
        """Let a pause go by, unless nothing more may begin; holds up nobody else."""
        self._emit(WavePaused(fleet, seconds))
        while seconds > 0 and not may_not(fleet):
            yield min(seconds, _LOOK_EVERY_S)
            seconds -= _LOOK_EVERY_S
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
            lane = self._lanes[fleet]
            lane.failed += 1
            failed, most = lane.failed, lane.rollout.max_failures
        if failed == most + 1:
            self._emit(FleetStopped(fleet, failed, most))

    def is_stopped(self, fleet: Address | None) -> bool:
        """Whether nothing more of a fleet may begin."""
        if fleet is None:
            return False
        lane = self._lanes[fleet]
        return lane.failed > lane.rollout.max_failures or (self._strict and self._any_failed)

    def sum_up(self, left: Collection[Step]) -> Iterator[Stopped]:
        """The fleets that were stopped by their failures, with what of `left` was not begun."""
        for fleet, lane in self._lanes.items():
            steps = [step for step in left if step.fleet == fleet]
            if lane.failed > lane.rollout.max_failures and steps:
                yield Stopped(
                    fleet,
                    lane.failed,
                    lane.rollout.max_failures,
                    tuple(step.resource.address for step in steps),
                    any(step.action is Action.DELETE for step in steps),
                )


def _measure(at: str, now: datetime) -> float:
    """How many seconds ago something was done; none where that cannot be told."""
    try:
        return (now - datetime.fromisoformat(at)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def _stage(step: Step) -> int:
    return step.stage
