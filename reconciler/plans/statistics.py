"""Compares two models on the same rows, with a confidence interval of the difference.

Three methods, chosen by the metric: a bootstrap of the differences of the rows for errors and
losses, DeLong's method for the AUC, and Bonett's and Price's interval for the accuracy. The
bootstrap is not used for the accuracy: its interval has no width where both models are right on
the same rows, however few the rows are. DeLong's has none where both models rank every positive
row above every negative one; then the number of rows bounds the difference. Each interval covers
the true difference 19 times out of 20; of values with a few very large ones, and of 30 rows, it
covers it 18 times. All figures are reproducible: the only random numbers come from a seed that the
caller gives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from random import Random
from statistics import fmean, variance
from typing import Final

from reconciler.model.values import dataclass

_Z: Final = 1.959963984540054  # of the normal distribution, for 95 %
_RESAMPLES: Final = 2_000
# A resample of more rows takes long and changes nothing: the mean is normally distributed.
_MOST_RESAMPLED: Final = 5_000


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric of the candidate minus that of the live model, on `rows` rows scored by both.

    The true difference is between `low` and `high` in 19 of 20 samples of rows.
    """

    value: float
    low: float
    high: float
    rows: int

    def needed(self, margin: float) -> int | None:
        """Returns how many rows would decide whether the difference is below -margin.

        It assumes that the difference stays as it is. None if it is a million times as many.
        """
        gap = abs(self.value + margin)
        half = (self.high - self.low) / 2
        return math.ceil(self.rows * (half / gap) ** 2) if gap and half <= gap * 1_000 else None


def compare_means(candidate: Sequence[float], live: Sequence[float], seed: int | str) -> Difference:
    """Compares the means of a value of each row, such as the absolute error; at least two rows."""
    pairs = [one - other for one, other in zip(candidate, live, strict=True)]
    rows, mean = len(pairs), fmean(pairs)
    if rows > _MOST_RESAMPLED:
        half = _Z * math.sqrt(variance(pairs) / rows)
        return Difference(mean, mean - half, mean + half, rows)
    choices = Random(seed).choices  # noqa: S311 - not a secret: equal rows give equal figures
    means = sorted(math.fsum(choices(pairs, k=rows)) / rows for _ in range(_RESAMPLES))
    tail = max(1, round(_RESAMPLES * _find_tail(rows)))
    return Difference(mean, means[tail - 1], means[-tail], rows)


def _find_tail(rows: int) -> float:
    """Returns which share of the resamples is outside each end of the interval.

    The percentiles of a bootstrap are too narrow for few rows. They are expanded as the t interval
    is against the normal one (Hesterberg 2015); the quantile of t is a series in 1 / rows.
    """
    free, z = rows - 1, _Z
    t = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    return math.erfc(t * math.sqrt(rows / free / 2)) / 2


def compare_accuracy(candidate: Sequence[bool], live: Sequence[bool]) -> Difference:
    """Compares on how many rows each model is right (Bonett and Price 2012)."""
    gained, lost = _count_discordant(candidate, live)
    rows = len(candidate)
    more, fewer = (gained + 1) / (rows + 2), (lost + 1) / (rows + 2)
    middle = more - fewer
    half = _Z * math.sqrt((more + fewer - middle**2) / (rows + 2))
    low, high = max(middle - half, -1.0), min(middle + half, 1.0)
    return Difference((gained - lost) / rows, low, high, rows)


def find_p_value(candidate: Sequence[bool], live: Sequence[bool]) -> float:
    """Returns the probability of such a difference if both models are equally good.

    It is the exact test of McNemar, two-sided.
    """
    gained, lost = _count_discordant(candidate, live)
    trials = gained + lost
    ways = tail = 1
    for one in range(min(gained, lost)):
        # The next binomial coefficient, from the one before: each by itself takes minutes.
        ways = ways * (trials - one) // (one + 1)
        tail += ways
    return min(1.0, tail / 2 ** (trials - 1)) if trials else 1.0


def compare_auc(
    positive: Sequence[bool], candidate: Sequence[float], live: Sequence[float]
) -> tuple[float, float, Difference]:
    """Returns the AUC of both models and their difference (DeLong, DeLong and Clarke-Pearson 1988).

    `positive` is the label of each row, the others are the scores of the positive class. There
    are at least two rows of each class.
    """
    one, other = _Placements.of(positive, candidate), _Placements.of(positive, live)
    spread = 0.0
    for mine, theirs in ((one.positive, other.positive), (one.negative, other.negative)):
        pairs = [left - right for left, right in zip(mine, theirs, strict=True)]
        spread += variance(pairs) / len(pairs)
    value = one.auc - other.auc
    half = _Z * math.sqrt(spread)
    if not spread and one.ranks != other.ranks:
        # The two-sided bound of the share of rows that differ, where not one of so many did.
        half = 1 - 0.025 ** (1 / min(len(one.positive), len(one.negative)))
    low, high = max(value - half, -1.0), min(value + half, 1.0)
    return one.auc, other.auc, Difference(value, low, high, len(positive))


@dataclass(frozen=True, slots=True)
class _Placements:
    """For each positive row the share of negatives that are scored lower, and the reverse.

    `ranks` are those among all rows, the positive rows first.
    """

    positive: list[float]
    negative: list[float]
    ranks: list[float]

    @property
    def auc(self) -> float:
        return fmean(self.positive)

    @classmethod
    def of(cls, positive: Sequence[bool], scores: Sequence[float]) -> _Placements:
        labelled = list(zip(positive, scores, strict=True))
        above = [score for label, score in labelled if label]
        below = [score for label, score in labelled if not label]
        overall = _rank([*above, *below])
        split = len(above)
        return cls(
            [(overall[n] - rank) / len(below) for n, rank in enumerate(_rank(above))],
            [1 - (overall[split + n] - rank) / len(above) for n, rank in enumerate(_rank(below))],
            overall,
        )


def _rank(values: Sequence[float]) -> list[float]:
    """Returns the rank of each value from 1; equal values share the mean of their ranks."""
    ranks = [0.0] * len(values)
    before = 0
    order = sorted(range(len(values)), key=values.__getitem__)
    for _, equal in groupby(order, key=values.__getitem__):
        places = list(equal)
        for place in places:
            ranks[place] = before + (len(places) + 1) / 2
        before += len(places)
    return ranks


def _count_discordant(candidate: Sequence[bool], live: Sequence[bool]) -> tuple[int, int]:
    pairs = list(zip(candidate, live, strict=True))
    return pairs.count((True, False)), pairs.count((False, True))
