"""Says whether a change window is open at a time, and when it opens next. Pure, and all in UTC."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from reconciler.model.policies import ChangeWindow, Freeze

_DAY: Final = 24 * 60
_LOOKED_AHEAD: Final = 400
_ALWAYS: Final = ((0, _DAY),)


def explain_closed(window: ChangeWindow, now: datetime) -> tuple[str, ...]:
    """Return sentences that say why a window is closed, and when it opens; empty if it is open."""
    now = now.astimezone(UTC)
    minute = now.hour * 60 + now.minute
    if any(start <= minute < end for start, end in _list_open(window, now.date())):
        return ()
    frozen = _find_freeze(window, now.date())
    said = [] if frozen is None else [_describe_freeze(frozen)]
    return f"It is {_format(now)} now.", *said, _describe_opening(window, now)


def _describe_freeze(freeze: Freeze) -> str:
    end = "until further notice" if freeze.last == date.max else f"to {freeze.last}"
    why = f" {freeze.reason}" if freeze.reason else ""
    return f"A freeze lasts from {freeze.first} {end}.{why}"


def _describe_opening(window: ChangeWindow, now: datetime) -> str:
    opening = next(_list_openings(window, now), None)
    if opening is None:
        return f"It does not open in the next {_LOOKED_AHEAD} days."
    return f"It opens on {_format(opening)}."


def _list_openings(window: ChangeWindow, now: datetime) -> Iterator[datetime]:
    """Yield when the window opens after a time at which it is closed, soonest first."""
    for ahead in range(_LOOKED_AHEAD + 1):
        try:
            day = now.date() + timedelta(days=ahead)
        except OverflowError:
            return
        midnight = datetime.combine(day, time(), UTC)
        for start, _ in sorted(_list_open(window, day)):
            if midnight + timedelta(minutes=start) > now:
                yield midnight + timedelta(minutes=start)


def _list_open(window: ChangeWindow, day: date) -> Iterator[tuple[int, int]]:
    """Yield when a day is open, as pairs of minutes since its midnight."""
    if _find_freeze(window, day) is not None:
        return
    for start, end in window.hours or _ALWAYS:
        overnight = end <= start
        if _has_day(window, day.weekday()):
            yield start, _DAY if overnight else end
        if overnight and _has_day(window, (day.weekday() - 1) % 7):
            yield 0, end


def _has_day(window: ChangeWindow, weekday: int) -> bool:
    return not window.days or weekday in window.days


def _find_freeze(window: ChangeWindow, day: date) -> Freeze | None:
    return next((one for one in window.freezes if one.first <= day <= one.last), None)


def _format(moment: datetime) -> str:
    return f"{_NAMES[moment.weekday()]} {moment:%Y-%m-%d %H:%M} UTC"


_NAMES: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
