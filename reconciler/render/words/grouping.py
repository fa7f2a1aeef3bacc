"""Groups equal items and keeps the order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

_GATHER_FROM: Final = 3
_Item = TypeVar("_Item")


def gather(
    items: Sequence[_Item],
    key: Callable[[_Item], object],
    *,
    least: Callable[[_Item], int] = lambda _: _GATHER_FROM,
) -> list[list[_Item]]:
    """Groups items of one key at the position of the first; fewer than `least` stay separate."""
    keys = [key(item) for item in items]
    alike: dict[object, list[_Item]] = {}
    for item, known in zip(items, keys, strict=True):
        alike.setdefault(known, []).append(item)
    return [
        alike[known] if len(alike[known]) >= least(item) else [item]
        for item, known in zip(items, keys, strict=True)
        if len(alike[known]) < least(item) or alike[known][0] is item
    ]
