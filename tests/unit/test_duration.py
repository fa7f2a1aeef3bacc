"""Lengths of time as Terraform's flags have them."""

import itertools

import pytest

from reconciler.text.durations import growing_waits, parse_duration, show_age, show_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("0s", 0), ("90s", 90), ("2m", 120), ("1m30s", 90), ("1.5h", 5400), ("500ms", 0.5)],
)
def test_a_length_of_time(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "30", "s", "1x", "-1s", "1m 30s", "1e3s", "nans", "٣s", "9" * 10 + "s"])  # fmt: skip
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


def test_waits_grow_until_they_are_the_most() -> None:
    waits = growing_waits(1.0, 10.0, 2.0)
    assert list(itertools.islice(waits, 6)) == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.9, "0 s"),
        (119.9, "119 s"),
        (120, "2 min"),
        (3 * 3600 + 90, "3 h"),
        (8 * 86400 - 1, "7 d"),
    ],
)
def test_an_age_is_never_more_than_it_is(seconds: float, shown: str) -> None:
    assert show_age(seconds) == shown


def test_an_estimate_is_never_less_than_it_is() -> None:
    assert [show_duration(one) for one in (0.1, 121, 3 * 3600 + 90)] == ["1 s", "3 min", "4 h"]
