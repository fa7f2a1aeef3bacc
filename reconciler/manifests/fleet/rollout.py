"""How a fleet is rolled out, as its manifest says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from reconciler.model import Address, Finding, Json, Rollout
from reconciler.text.durations import parse_duration

_ALL: Final = "100%"
_WAVES: Final = "/spec/waves"


def make_rollout(fleet: Address, spec: Json) -> Rollout:
    """The rollout that a checked spec describes; all members in one wave where it says nothing."""
    return Rollout(
        fleet=fleet,
        sizes=tuple(spec.get("waves", [_ALL])),
        pause_s=parse_duration(spec.get("pause", "0s")),
        max_failures=spec.get("maxFailures", 0),
    )


def check_waves(sizes: Sequence[int | str]) -> Iterator[tuple[str, Finding]]:
    """Waves that never come to all members, or in which nothing is left to do; by pointer."""
    if sizes[-1] != _ALL:
        step = f"End them with {_ALL}."
        yield _WAVES, Finding("the waves leave some of the members out", next_step=step)
    for number, (one, other) in enumerate(pairwise(sizes), 1):
        if _is_no_more(one, other):
            message = f"wave {number + 1} comes no further than the one before it"
            step = "Say how many members are done when each wave ends, not how many it takes."
            yield f"{_WAVES}/{number}", Finding(message, next_step=step)


def _is_no_more(one: int | str, other: int | str) -> bool:
    """Whether a wave ends where the one before did; a count and a percentage cannot be compared."""
    if isinstance(one, str) and isinstance(other, str):
        return int(other.rstrip("%")) <= int(one.rstrip("%"))
    if isinstance(one, int) and isinstance(other, int):
        return other <= one
    return one == _ALL
