"""Lengths of time as Terraform's flags have them."""

import pytest

from reconciler.text.durations import parse_duration


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
