"""Comparisons of two models on the same rows, held against scipy and against the definitions.

scipy is imported late, because each worker collects all tests.
"""

from __future__ import annotations

import math
import random
from itertools import product
from statistics import fmean, variance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.plans.statistics import (
    Difference,
    compare_accuracy,
    compare_auc,
    compare_means,
    find_p_value,
)

ROWS = 400


def _scores(seed: int, rows: int = ROWS) -> tuple[list[bool], list[float], list[float]]:
    """Labels and the scores of two models that are related and equally good."""
    chance = random.Random(seed)
    labels = [chance.random() < 0.4 for _ in range(rows)]
    common = [chance.gauss(label, 1) for label in labels]
    one, other = ([each + chance.gauss(0, 0.5) for each in common] for _ in range(2))
    return labels, one, other


def test_the_bootstrap_agrees_with_scipy() -> None:
    from scipy import stats

    chance = random.Random(3)
    one = [chance.expovariate(1) for _ in range(ROWS)]
    other = [each + chance.gauss(0.1, 0.5) for each in one]
    found = compare_means(one, other, seed=1)
    expected = stats.bootstrap(
        (one, other),
        lambda a, b, axis=-1: a.mean(axis=axis) - b.mean(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=5_000,
        rng=1,
    ).confidence_interval
    width = expected.high - expected.low
    assert found.value == pytest.approx(fmean(one) - fmean(other))
    assert found.low == pytest.approx(expected.low, abs=width / 15)
    assert found.high == pytest.approx(expected.high, abs=width / 15)


@pytest.mark.parametrize("rows", [30, 100])
def test_the_percentiles_of_few_rows_are_expanded_as_the_t_interval_is(rows: int) -> None:
    from scipy import stats

    chance = random.Random(rows)
    one = [chance.gauss(0, 1) for _ in range(rows)]
    other = [each + chance.gauss(0.1, 0.5) for each in one]
    found = compare_means(one, other, seed=1)
    t = stats.t.ppf(0.975, rows - 1) * math.sqrt(rows / (rows - 1))
    expected = stats.bootstrap(
        ([a - b for a, b in zip(one, other, strict=True)],),
        lambda a, axis=-1: a.mean(axis=axis),
        method="percentile",
        confidence_level=1 - 2 * stats.norm.sf(t),
        n_resamples=20_000,
        rng=1,
    ).confidence_interval
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=width / 20)
    assert found.high == pytest.approx(expected.high, abs=width / 20)


def test_a_constant_difference_is_that_difference() -> None:
    found = compare_means([1.5] * 30, [1.0] * 30, seed=1)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_many_rows_have_the_interval_of_the_normal_distribution() -> None:
    from scipy import stats

    chance = random.Random(4)
    one, other = ([chance.gauss(0, 1) for _ in range(5_001)] for _ in range(2))
    found = compare_means(one, other, seed=1)
    differences = [a - b for a, b in zip(one, other, strict=True)]
    error = stats.sem(differences)
    expected = stats.norm.interval(0.95, loc=fmean(differences), scale=error)
    assert (found.low, found.high) == pytest.approx(expected)


def test_equal_rows_and_seeds_give_equal_figures() -> None:
    _, one, other = _scores(5)
    assert compare_means(one, other, seed=9) == compare_means(one, other, seed=9)
    assert compare_means(one, other, seed=9) != compare_means(one, other, seed=10)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_the_exact_test_agrees_with_scipy(rows: list[tuple[bool, bool]]) -> None:
    from scipy import stats

    gained, lost = rows.count((True, False)), rows.count((False, True))
    trials = gained + lost
    expected = stats.binomtest(gained, trials).pvalue if trials else 1.0
    one, other = zip(*rows, strict=True)
    assert find_p_value(one, other) == pytest.approx(expected)


@pytest.mark.parametrize(("gained", "lost"), [(50_000, 49_500), (300, 500), (0, 2_000)])
def test_the_exact_test_is_quick_for_many_rows(gained: int, lost: int) -> None:
    from scipy import stats

    one = [True] * gained + [False] * lost
    expected = stats.binomtest(gained, gained + lost).pvalue
    assert find_p_value(one, [not each for each in one]) == pytest.approx(expected, rel=1e-6)


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=30
    ).filter(lambda rows: 2 <= sum(one[0] for one in rows) <= len(rows) - 2)
)
def test_the_auc_and_its_interval_agree_with_their_definitions(
    rows: list[tuple[bool, int, int]],
) -> None:
    from scipy import stats

    labels, one, other = zip(*rows, strict=True)
    first, second, found = compare_auc(labels, one, other)
    for value, scores in ((first, one), (second, other)):
        above = [score for label, score in zip(labels, scores, strict=True) if label]
        below = [score for label, score in zip(labels, scores, strict=True) if not label]
        wins = stats.mannwhitneyu(above, below).statistic
        assert value == pytest.approx(wins / (len(above) * len(below)))
    half = 1.959963984540054 * math.sqrt(_delong_variance(labels, one, other))
    if not half and list(stats.rankdata(one)) != list(stats.rankdata(other)):
        fewer = min(sum(labels), len(labels) - sum(labels))
        half = stats.binomtest(0, fewer).proportion_ci().high
    assert found.low == pytest.approx(max(first - second - half, -1), abs=1e-9)
    assert found.high == pytest.approx(min(first - second + half, 1), abs=1e-9)


def _delong_variance(
    labels: tuple[bool, ...], one: tuple[int, ...], other: tuple[int, ...]
) -> float:
    """The variance of the difference, by the pairs of a positive and a negative row."""
    positive = [n for n, label in enumerate(labels) if label]
    negative = [n for n, label in enumerate(labels) if not label]

    def win(scores: tuple[int, ...], p: int, n: int) -> float:
        return (scores[p] > scores[n]) + (scores[p] == scores[n]) / 2

    gain = {(p, n): win(one, p, n) - win(other, p, n) for p, n in product(positive, negative)}
    by_positive = [fmean(gain[p, n] for n in negative) for p in positive]
    by_negative = [fmean(gain[p, n] for p in positive) for n in negative]
    return float(variance(by_positive) / len(positive) + variance(by_negative) / len(negative))


# The third draws samples anew for each run, of which 40 hold the same in every run. 95 % of 200 are
# 190, and of 40 they are 38; fewer than the least would be seen once in ten thousand times.
@pytest.mark.parametrize(
    ("method", "runs", "least"),
    [
        ("auc", 200, 180),
        ("accuracy", 200, 180),
        ("means", 40, 31),
        pytest.param("means", 200, 180, marks=pytest.mark.slow),
    ],
)
def test_the_interval_covers_a_true_difference_of_zero(method: str, runs: int, least: int) -> None:
    covered = 0
    for seed in range(runs):
        labels, one, other = _scores(seed, 100)
        if method == "auc":
            found = compare_auc(labels, one, other)[2]
        elif method == "accuracy":
            right = [
                [(score > 0.5) == label for score, label in zip(scores, labels, strict=True)]
                for scores in (one, other)
            ]
            found = compare_accuracy(*right)
        else:
            found = compare_means(one, other, seed)
        covered += found.low <= 0 <= found.high
    assert covered >= least


def test_two_models_that_separate_all_rows_can_still_differ() -> None:
    from scipy import stats

    labels = [True] * 10 + [False] * 20
    one = [1 - n / 100 for n in range(30)]
    other = [one[(n + 1) % 10] if n < 10 else one[n] for n in range(30)]
    first, second, found = compare_auc(labels, one, other)
    assert (first, second, found.value) == (1, 1, 0)
    bound = stats.binomtest(0, 10).proportion_ci().high
    assert (found.low, found.high) == pytest.approx((-bound, bound))
    same = compare_auc(labels, one, [2 * each for each in one])[2]
    assert (same.low, same.high) == (0, 0), "equal ranks are equal on all other rows too"


def test_two_models_that_are_right_on_the_same_rows_can_still_differ() -> None:
    found = compare_accuracy([True] * 30, [True] * 30)
    assert found.value == 0
    assert found.low < -0.05
    assert found.high > 0.05


@given(st.floats(-0.5, 0.5), st.floats(0.001, 0.4), st.integers(30, 5_000), st.floats(0, 0.1))
def test_the_rows_that_are_needed_would_decide(
    value: float, half: float, rows: int, margin: float
) -> None:
    found = Difference(value, value - half, value + half, rows)
    needed = found.needed(margin)
    if needed is None:
        assert half > abs(value + margin) * 1_000
    else:
        then = half * math.sqrt(rows / needed) if needed else 0
        assert then <= abs(value + margin) * (1 + 1e-9)
