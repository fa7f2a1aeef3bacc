"""Numbers as text: with the noun that they count, or as a duration."""

from __future__ import annotations

import math


def count(number: int, noun: str) -> str:
    """Returns `1 service` or `2 services`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def show_duration(seconds: float) -> str:
    """Returns `15 s`, `12 min`, `3 h`, `41 d`: rounded up, in the largest unit that fits twice."""
    left = math.ceil(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if left >= 2 * size:
            return f"{math.ceil(left / size)} {unit}"
    return f"{left} s"
