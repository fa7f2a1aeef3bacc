"""Reads and writes times: ISO 8601, in UTC, to the second."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


def format_utc(moment: datetime | float) -> str:
    """The text of a time, such as `2026-11-20T12:00:00Z`; a number counts seconds since 1970.

    A time outside the years 1 to 9999 is written as the first or the last time of that range.
    """
    try:
        found = _EPOCH + timedelta(seconds=moment) if not isinstance(moment, datetime) else moment
        found = found.astimezone(UTC)
    except OverflowError:
        early = moment.year == 1 if isinstance(moment, datetime) else moment < 0
        found = _FIRST if early else _LAST
    return f"{found.replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def parse_utc(text: str) -> datetime:
    """An ISO time in UTC; a time without a zone is in UTC. Raises ValueError for any other text.

    It also raises ValueError for a time that is outside the years 1 to 9999 in UTC.
    """
    found = datetime.fromisoformat(text)
    try:
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(text) from error


def seconds_since(text: str, now: datetime) -> float:
    """How many seconds ago a time was; 0.0 for a future time or a text that is not a time."""
    try:
        return max(0.0, (now - parse_utc(text)).total_seconds())
    except ValueError:
        return 0.0
