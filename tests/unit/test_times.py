"""Times as they are written and read, up to both ends of the calendar."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from reconciler.secrets.sas import check_validity
from reconciler.text.times import format_utc, parse_utc, seconds_since

EAST, WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOON, "2026-11-20T12:00:00Z"),
        (NOON.replace(microsecond=999_999), "2026-11-20T12:00:00Z"),
        (datetime(2026, 11, 21, 2, tzinfo=EAST), "2026-11-20T12:00:00Z"),
        (NOON.timestamp(), "2026-11-20T12:00:00Z"),
        (0, "1970-01-01T00:00:00Z"),
        (datetime(7, 1, 1, tzinfo=UTC), "0007-01-01T00:00:00Z"),
        (datetime.min.replace(tzinfo=EAST), "0001-01-01T00:00:00Z"),
        (datetime.max.replace(tzinfo=WEST), "9999-12-31T23:59:59Z"),
        (-1e300, "0001-01-01T00:00:00Z"),
        (float("inf"), "9999-12-31T23:59:59Z"),
    ],
)
def test_a_moment_is_written_in_utc(moment: datetime | float, text: str) -> None:
    assert format_utc(moment) == text


@pytest.mark.parametrize(
    "text", ["2026-11-20T12:00:00Z", "2026-11-21T02:00:00+14:00", "2026-11-20T12:00:00"]
)
def test_a_time_is_read_in_utc(text: str) -> None:
    assert parse_utc(text) == NOON
    assert parse_utc(text).tzinfo is UTC


@pytest.mark.parametrize("text", ["", "yesterday", "0001-01-01T00:00:00+14:00"])
def test_what_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_utc(text)
    assert seconds_since(text, NOON) == 0


def test_how_long_ago_is_never_negative() -> None:
    assert seconds_since("2026-11-20T11:58:30Z", NOON) == 90
    assert seconds_since("2026-11-20T12:00:01Z", NOON) == 0


def test_a_signature_whose_end_no_calendar_holds_has_no_known_end() -> None:
    signature = "sp=r&sig=x&se=0001-01-01T00:00:00%2B23:59"
    assert check_validity(signature, "a model", NOON) == ""
