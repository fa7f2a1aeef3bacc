"""Numbers as people say them: with the noun that they count, or as a length of time."""

from __future__ import annotations

import math


def count(number: int, noun: str) -> str:
    """`1 service`, `2 services`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def show_duration(seconds: float) -> str:
    """`15 s`, `12 min`, `3 h`, `41 d`: the largest unit of which there are two, rounded up."""
    left = math.ceil(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if left >= 2 * size:
            return f"{math.ceil(left / size)} {unit}"
    return f"{left} s"
