"""The order of steps: lower waves first, what others are made from before them, deletions last.

Deletions go in the opposite order of waves, after all else: what takes the place of a resource is
there before the resource goes. The members of a fleet have waves of their own within that order,
its stages, so that what is wrong with all of them shows at a few.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from reconciler.model import Action, Address, Rollout, Step


@dataclass(frozen=True, slots=True)
class Wave:
    """Steps that may run side by side; `number` is what people gave them."""

    number: int
    steps: tuple[Step, ...]


def arrange(steps: Sequence[Step]) -> tuple[Wave, ...]:
    """The steps in waves; within one, in the order given."""
    makers = _find_makers(steps)
    groups: dict[tuple[bool, int, int], list[Step]] = {}
    for step in steps:
        gone = step.action is Action.DELETE
        key = (gone, -step.wave if gone else step.wave, _depth(step, makers))
        groups.setdefault(key, []).append(step)
    return tuple(
        Wave(group[0].wave, tuple(group)) for _, group in sorted(groups.items(), key=_first)
    )


def _first(item: tuple[tuple[bool, int, int], list[Step]]) -> tuple[bool, int, int]:
    return item[0]


def assign_stages(steps: Sequence[Step], rollouts: Iterable[Rollout]) -> list[Step]:
    """The same steps, each member of a fleet with its stage; it must have its fleet and its wave.

    Stages are filled in the order of waves, with what others are made from first, then in that of
    items. Deletions have stages of their own
    after those of all else, of the same sizes, the last item first; of what has no item any more
    before that. So the order of stages never contradicts that of `arrange`.
    """
    makers = _find_makers(steps)
    given = {one.fleet: one for one in rollouts}
    fleets: dict[Address, list[Step]] = {}
    for step in steps:
        if step.fleet is not None:
            fleets.setdefault(step.fleet, []).append(step)

    def place(step: Step) -> tuple[int, int, float, Address]:
        number = step.member.number if step.member else math.inf
        return step.wave, _depth(step, makers), number, step.resource.address

    stages: dict[Address, int] = {}
    for fleet, members in fleets.items():
        sizes = given.get(fleet, Rollout(fleet)).sizes
        members.sort(key=place)
        coming = [step for step in members if step.action is not Action.DELETE]
        going = [step for step in reversed(members) if step.action is Action.DELETE]
        spread = (*split(sizes, len(coming)), *split(sizes, len(going)))
        for step, stage in zip((*coming, *going), _number(spread), strict=True):
            stages[step.resource.address] = stage
    return [step.having(stage=stages.get(step.resource.address, 0)) for step in steps]


def split(sizes: Sequence[int | str], total: int) -> tuple[int, ...]:
    """How many each wave of so many members has; none is empty, and the last takes the rest.

    A size says how many are done when its wave ends; a percentage is rounded up.
    """
    found: list[int] = []
    for end in (*(_count(size, total) for size in sizes[:-1]), total):
        if min(end, total) > sum(found):
            found.append(min(end, total) - sum(found))
    return tuple(found)


def _count(size: int | str, total: int) -> int:
    if isinstance(size, int):
        return size
    return max(1, math.ceil(Fraction(size.rstrip("%")) * total / 100))


def _number(sizes: Sequence[int]) -> list[int]:
    """The number of its wave, from 0, for one member after another."""
    return [number for number, size in enumerate(sizes) for _ in range(size)]


def _find_makers(steps: Iterable[Step]) -> Mapping[str, Step]:
    return {step.resource.id.casefold(): step for step in steps}


def _depth(step: Step, makers: Mapping[str, Step]) -> int:
    """How many steps of the same wave must come before: what it is made from, and so on."""
    depth, known = 0, {step.resource.id.casefold()}
    while step.source is not None:
        source = step.source.id.casefold()
        maker = makers.get(source)
        if maker is None or source in known or maker.wave != step.wave:
            break
        if maker.action is Action.DELETE:
            break
        known.add(source)
        step, depth = maker, depth + 1
    return depth
