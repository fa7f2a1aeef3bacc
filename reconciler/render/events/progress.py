"""Renders the progress of many reads or steps as one terminal line, which is redrawn in place.

The console of events calls it. It reads no clock: callers pass the time in seconds.
"""

from __future__ import annotations

from typing import Final

from reconciler.model.values import dataclass
from reconciler.render.words.colour import Paint
from reconciler.text.durations import show_duration

_WIDEST_BAR: Final = 30
_NARROWEST_BAR: Final = 10
_GAP: Final = "  "
# From this rate per minute on, the bar shows the rate per second.
_FAST: Final = 600


@dataclass
class ProgressBar:
    """Counts how many of `total` have ended. All times are seconds of the same clock.

    The rate counts only the work since `started`, because things without work take no time.
    """

    name: str
    total: int
    started: float
    done: int = 0
    failed: int = 0
    skipped: int = 0
    begun: bool = False

    def begin(self, now: float) -> None:
        """Starts the measurement of the rate at `now`, if it has not started."""
        if not self.begun:
            self.started, self.begun = now, True

    @property
    def ended(self) -> int:
        """How many have ended, with success or failure."""
        return self.done + self.failed + self.skipped

    def draw(self, now: float, width: int, paint: Paint) -> str:
        """Returns the line, narrower than `width`; parts that do not fit are left out."""
        parts = list(self._list_parts(now))
        while len(parts) > 1 and _size(parts) >= width:
            parts.pop()
        room = width - 1 - _size(parts) - len(_GAP)
        if room >= _NARROWEST_BAR:
            parts.insert(1, (self._bar(min(room, _WIDEST_BAR)), ""))
        if _size(parts) >= width:
            return parts[0][0][: max(width - 1, 0)]
        return _GAP.join(paint(colour, said) if colour else said for said, colour in parts)

    def _list_parts(self, now: float) -> list[tuple[str, str]]:
        """The parts of the line, the most important first, each with its colour."""
        parts = [(self.name, "bold"), (f"{self.ended:,}/{self.total:,}", "")]
        if self.failed:
            parts.append((f"{self.failed:,} failed", "red"))
        elapsed = now - self.started
        worked = self.done + self.failed
        if worked and elapsed > 0:
            left = (self.total - self.ended) * elapsed / worked
            parts += [(f"{show_duration(left)} left", ""), (_show_rate(worked / elapsed), "")]
        return parts

    def _bar(self, width: int) -> str:
        cells = width - 2
        full = cells * self.ended // self.total if self.total else cells
        return f"[{'#' * full}{'-' * (cells - full)}]"


def _size(parts: list[tuple[str, str]]) -> int:
    return len(_GAP.join(said for said, _ in parts))


def _show_rate(a_second: float) -> str:
    a_minute = a_second * 60
    return f"{a_second:.0f}/s" if a_minute >= _FAST else f"{a_minute:.0f}/min"
