"""The traffic of an endpoint: whole percentages of its deployments, and the steps between two.

Only deployments that get calls are in such a map. Their sum is 100, or 0 for none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from reconciler.document.pointers import find
from reconciler.model import Absent, Json, Path

Shares: TypeAlias = Mapping[str, int]

# Where a document has the shares of the calls, and of the copied calls.
TRAFFIC: Final[Path] = ("properties", "traffic")
MIRROR: Final[Path] = ("properties", "mirrorTraffic")
WHOLE: Final = 100


def read_shares(document: Json | Absent, path: Path) -> Shares:
    """Return the shares at a path of a document; a share of 0 is left out."""
    found = find(document, path)
    given = found.items() if isinstance(found, dict) else ()
    return {name: int(share) for name, share in given if isinstance(share, int) and share > 0}


def describe_shares(shares: Shares, first: Sequence[str] = ()) -> str:
    """Return shares in words, such as `green 10 %, blue 90 %`; the names of `first` come first."""
    names = sorted(shares, key=lambda name: (name not in first, name))
    return ", ".join(f"{name} {shares[name]} %" for name in names) or "none"


def list_growing(before: Shares, after: Shares) -> list[str]:
    """Return the names whose share grows."""
    return sorted(name for name, share in after.items() if share > before.get(name, 0))


def list_steps(before: Shares, after: Shares, steps: Sequence[int]) -> Iterator[Shares]:
    """Yield the shares after each step from one traffic to another; the last are `after`.

    A step is how many percent of its new share a growing deployment has. So a traffic that an
    interrupted rollout has left goes on with the steps that are still ahead of it. What the growing
    deployments gain, the others lose in proportion to all that they will lose.
    """
    growing = list_growing(before, after)
    whole = sum(before.values()) == sum(after.values()) == WHOLE
    now = before
    for step in steps if whole else ():
        # Rounded up: a step never leaves a new deployment without a call.
        aims = {name: -(-after[name] * step // WHOLE) for name in growing}
        grown = {name: max(before.get(name, 0), aim) for name, aim in aims.items()}
        shares = {**_reduce(before, after, grown), **grown}
        if shares not in (now, after):
            yield shares
            now = shares
    if now != after:
        yield after


def _reduce(before: Shares, after: Shares, grown: Shares) -> Shares:
    """Return the shares of the other deployments once the growing ones have theirs."""
    left = {name: share for name, share in before.items() if name not in grown}
    losses = {name: share - after.get(name, 0) for name, share in left.items()}
    total = sum(losses.values())
    moved = sum(share - before.get(name, 0) for name, share in grown.items())
    lost = taken = 0
    for name in sorted(losses) if total else ():
        # Of the sum of the losses, and not of each, so that all that is taken is whole.
        lost += losses[name]
        left[name] -= moved * lost // total - taken
        taken = moved * lost // total
    return {name: share for name, share in left.items() if share}
