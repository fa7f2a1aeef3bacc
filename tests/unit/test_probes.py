"""Judging the answers of probes: differences of JSON, and shares by exact binomial bounds."""

import random
from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import ABSENT, Json
from reconciler.plans.probes import (
    FALSE_ALARM,
    LEAST_CALLS,
    MISSED,
    MOST_CALLS,
    AnswerDifference,
    count_calls,
    count_rows,
    find_bounds,
    find_difference,
    find_row_fault,
    find_share_faults,
)


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        ([5215.1981315798685], [5215.19813157987]),
        ([5215.1981315798685], "[5215.1981315798685]"),
        ("[5215.1981315798685]", "[5215.19813157987]"),
        ("[5215.1981315798685]", [5215.19813157987]),
        ({"a": [1, {"b": 2.0}]}, {"a": [1.0, {"b": 2}]}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ("yes", "yes"),
        (None, None),
        (10**400, 10**400),
    ],
)
def test_an_answer_is_the_expected_one(wanted: Json, got: Json) -> None:
    assert find_difference(wanted, got, 1e-6) is None


@pytest.mark.parametrize(
    ("wanted", "got", "said"),
    [
        ([1.0], [1.1], "/0 is 1.1, and 1.0 is expected"),
        ({"a": [1, 2]}, {"a": [1, 3], "b": 1}, "/a/1 is 3, and 2 is expected"),
        ({"a": 1}, {}, "/a is missing, and 1 is expected"),
        ([1], [1, 2], "/1 is 2, and no value is expected"),
        ([1], [True], "/0 is true, and 1 is expected"),
        ([1], ["1"], '/0 is "1", and 1 is expected'),
        ([1], {"error": "no"}, "the answer is an object of 1, and a list of 1 is expected"),
        (["yes"], ["no"], '/0 is "no", and "yes" is expected'),
        ([1], "not JSON", 'the answer is "not JSON", and a list of 1 is expected'),
        ([1], "[2]", "/0 is 2, and 1 is expected"),
        ({"a/b": 1}, {"a/b": 9}, "/a~1b is 9, and 1 is expected"),
        ([None], [0], "/0 is 0, and null is expected"),
        ([1.5], [10**400], f"/0 is 1{'0' * 59}…, and 1.5 is expected"),
    ],
)
def test_the_first_difference_is_named(wanted: Json, got: Json, said: str) -> None:
    found = find_difference(wanted, got, 1e-6)
    assert found is not None
    assert found.describe() == said


def test_a_long_value_is_cut() -> None:
    assert len(AnswerDifference((), "x" * 500, "y" * 500).describe()) < 180
    assert AnswerDifference((), ABSENT, [1]).describe().startswith("the answer is a list of 1")


def test_text_that_only_looks_like_json_stays_text() -> None:
    assert find_difference("1", "2", 1.5) is not None
    assert find_difference([1], "[" * 100_000, 0.0) is not None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_a_value_differs_from_any_other_and_not_from_itself(one: Json, other: Json) -> None:
    assert find_difference(one, one, 0.0) is None
    if one != other and not isinstance(one, str) and not isinstance(other, str):
        assert find_difference(one, other, 0.0) is not None


@pytest.mark.parametrize(
    ("document", "rows"),
    [
        ([[1], [2]], 2),
        ({"data": [[1]]}, 1),
        ({"input_data": {"columns": ["a"], "index": [0, 1], "data": [[1], [2]]}}, 2),
        ({"predictions": [1, 2, 3]}, 3),
        ({"text": "a"}, None),
        (5, None),
    ],
)
def test_rows_are_counted(document: Json, rows: int | None) -> None:
    assert count_rows(document) == rows


def test_an_answer_with_other_rows_is_a_fault() -> None:
    fault = find_row_fault({"data": [[1], [2]]}, [0.5])
    assert fault == "has 1 row, and the request has 2 rows"
    assert find_row_fault({"data": [[1], [2]]}, "[0.5, 1]") == ""
    assert find_row_fault({"data": [[1], [2]]}, {"score": 1}) == ""


@given(st.integers(0, 100), st.integers(1, 80), st.integers(1, 3))
def test_bounds_are_exact(share: int, calls: int, judged: int) -> None:
    least, most = find_bounds(share, calls, judged)
    tail = Fraction(FALSE_ALARM) / 2 / judged
    p = Fraction(share, 100)
    masses = [comb(calls, k) * p**k * (1 - p) ** (calls - k) for k in range(calls + 1)]
    # The float is within 1e-9 of the tail: no test of a probability needs more.
    assert sum(masses[:least]) <= tail * Fraction(1 + 1e-9)
    assert sum(masses[most + 1 :]) <= tail * Fraction(1 + 1e-9)
    if 0 < share < 100:
        assert sum(masses[: least + 1]) > tail * Fraction(1 - 1e-9)
        assert sum(masses[most:]) > tail * Fraction(1 - 1e-9)


@pytest.mark.parametrize(
    ("traffic", "before"),
    [
        ({"blue": 90, "green": 10}, {"blue": 100}),
        ({"blue": 50, "green": 50}, {"blue": 90, "green": 10}),
        ({"blue": 0, "green": 100}, {"blue": 50, "green": 50}),
        ({"green": 100}, {"blue": 100}),
        ({"a": 33, "b": 33, "c": 34}, {"a": 100}),
    ],
)
def test_a_router_that_ignores_the_traffic_is_found(
    traffic: dict[str, int], before: dict[str, int]
) -> None:
    calls = count_calls(traffic, before)
    assert LEAST_CALLS <= calls < MOST_CALLS
    draw = random.Random(7)
    missed = sum(not find_share_faults(traffic, _route(draw, before, calls)) for _ in range(200))
    assert missed == 0, f"a probability of {MISSED} each"
    alarms = sum(bool(find_share_faults(traffic, _route(draw, traffic, calls))) for _ in range(200))
    assert alarms == 0, f"a probability of {FALSE_ALARM} each"


def _route(draw: random.Random, weights: dict[str, int], calls: int) -> dict[str, int]:
    answered = draw.choices([*weights], [*weights.values()], k=calls)
    return {name: answered.count(name) for name in {*answered}}


def test_the_number_of_calls_is_bounded() -> None:
    assert count_calls({"a": 50, "b": 50}, {"a": 51, "b": 49}) == MOST_CALLS
    assert count_calls({"a": 100}, {"a": 100}) == LEAST_CALLS
    assert count_calls({}, {"a": 100}) == LEAST_CALLS
    assert count_calls({"a": 80, "b": 20}, {"a": 80, "b": 20}) > LEAST_CALLS


def test_a_share_that_does_not_fit_is_named() -> None:
    traffic = {"blue": 90, "green": 10, "old": 0}
    assert find_share_faults(traffic, {"blue": 145}) == [
        "blue answered 145 of 145 calls, and 110 to 144 fit its 90 %",
        "green answered 0 of 145 calls, and 1 to 35 fit its 10 %",
    ]
    assert find_share_faults(traffic, {"blue": 130, "green": 14, "old": 1}) == [
        "old answered 1 of 145 calls, and it has no traffic"
    ]
    assert find_share_faults(traffic, {"blue": 130, "green": 15}) == []
    assert find_share_faults({"green": 100}, {"green": 19, "blue": 1}) == [
        "blue answered 1 of 20 calls, and it has no traffic",
        "green answered 19 of 20 calls, and 20 fit its 100 %",
    ]
