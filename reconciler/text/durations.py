"""Durations: the text form (90s, 2m, 1m30s, 7d), and the growing waits between retries."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Final

_SECONDS: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART: Final = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(d|h|ms|m|s)"
_WHOLE: Final = re.compile(f"(?:{_PART})+")


def parse_duration(text: str) -> float:
    """The duration in seconds; raises ValueError for a text that is not a duration."""
    if text == "0":
        return 0.0
    if not _WHOLE.fullmatch(text):
        raise ValueError(text)
    return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_PART, text))


def growing_waits(first_s: float, longest_s: float, growth: float) -> Iterator[float]:
    """The waits in seconds, each `growth` times the last one, at most `longest_s`; without end."""
    wait = first_s
    while True:
        yield wait
        wait = min(wait * growth, longest_s)


def show_duration(seconds: float) -> str:
    """`15 s`, `12 min`, `3 h` or `41 d`: rounded up, in the largest unit that fits twice."""
    return _show(seconds, math.ceil)


def show_age(seconds: float) -> str:
    """The same rounded down: what was seen 3 h and 1 min ago is not 4 h old."""
    return _show(seconds, math.floor)


def _show(seconds: float, round_it: Callable[[float], int]) -> str:
    left = round_it(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if left >= 2 * size:
            return f"{round_it(left / size)} {unit}"
    return f"{left} s"


def show_elapsed(seconds: float) -> str:
    """`42s`, or `1m5s` from a minute on: whole seconds, rounded down."""
    minutes, left = divmod(int(seconds), 60)
    return f"{minutes}m{left}s" if minutes else f"{left}s"
