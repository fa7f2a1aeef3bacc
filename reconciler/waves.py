"""The order of steps: lower waves first, what others are made from before them, deletions last.

Deletions go in the opposite order of waves, after all else: what takes the place of a resource is
there before the resource goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reconciler.model import Action, Step


@dataclass(frozen=True, slots=True)
class Wave:
    """Steps that may run side by side; `number` is what people gave them."""

    number: int
    steps: tuple[Step, ...]


def arrange(steps: Sequence[Step]) -> tuple[Wave, ...]:
    """The steps in waves; within one, in the order given."""
    makers = {step.resource.id.casefold(): step for step in steps}
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
