"""Judges a new model by the rules of its gate. Pure: the same values give the same verdicts.

A rule asks one of two questions. `min`, `max` and `maxRegression` compare numbers of evaluations.
`margin` compares the new model and the live one on the same rows, with a confidence interval: it
passes only if the whole interval is above the margin, and fails only if the whole is below. Each
verdict holds the numbers that it was made from. All rules must pass.
"""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Final, TypeAlias

from reconciler.model import Json
from reconciler.model.training import GateRule
from reconciler.model.values import dataclass
from reconciler.plans.evaluations import find_direction, fold_metric
from reconciler.plans.statistics import (
    Difference,
    compare_accuracy,
    compare_auc,
    compare_means,
    find_p_value,
)
from reconciler.text.counting import count

LEAST_ROWS: Final = 30
LEAST_OF_CLASS: Final = 10


class GateResult(enum.StrEnum):
    """The verdict of one rule. `NO_BASELINE`: nothing is known about the model in service.

    `NOT_EVALUATED`: nothing is known about the new model.
    """

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NO_BASELINE = "no baseline"
    NOT_EVALUATED = "not evaluated"


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What a rule says about a model. `numbers` are what it was judged by; `reason` is one line."""

    rule: GateRule
    outcome: GateResult
    reason: str
    numbers: Mapping[str, float]
    source: str = ""

    @property
    def refuses(self) -> bool:
        """Whether this verdict forbids the model."""
        accepted = (
            (GateResult.PASS, True),
            (GateResult.INCONCLUSIVE, self.rule.accepts_inconclusive),
            (GateResult.NO_BASELINE, self.rule.accepts_first),
        )
        return not dict(accepted).get(self.outcome, False)


@dataclass(frozen=True)
class Candidate:
    """A judged model: where it is, the digest of its bytes, its metrics, and the verdicts.

    `parent` is the digest of the model in service, "" if it is not known. `data` maps the inputs
    of the job to the digests of their bytes. `versions` are the ids under which services keep it,
    by the resource that can serve each.
    """

    run: str
    job: str
    uri: str
    digest: str
    metrics: Mapping[str, float]
    verdicts: tuple[GateVerdict, ...]
    parent: str = ""
    data: Mapping[str, str] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def refused(self) -> bool:
        """Whether a rule of the gate refuses the model."""
        return any(verdict.refuses for verdict in self.verdicts)


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """The same rows with the answers of two models, and the true value of each row.

    For a classification `truth` holds whether a row is of the positive class, and the answers
    hold its probability; `positive` is the probability from which a row counts as positive. For a
    regression all three hold numbers. `live` is empty while no model is in service. `digest` is
    that of the rows; it seeds the comparison.
    """

    truth: Sequence[float]
    candidate: Sequence[float]
    live: Sequence[float]
    is_classification: bool
    digest: str
    source: str = ""
    positive: float = 0.5


def find_better(rule: GateRule) -> str:
    """Returns whether a "higher" or a "lower" value is better; "" if neither is known."""
    return rule.better or find_direction(rule.metric)


def format_rule(rule: GateRule) -> str:
    """Returns a rule in one line, such as `AUC min 0.85`."""
    limits = {
        "min": rule.min,
        "max": rule.max,
        "maxRegression": rule.max_regression,
        "margin": rule.margin,
    }
    name, limit = next((name, limit) for name, limit in limits.items() if limit is not None)
    return f"{rule.metric} {name} {str(limit).removesuffix('.0')}"


def format_verdict(verdict: GateVerdict) -> str:
    """Returns the rule, its numbers, and whether the rule accepts what it does not pass."""
    said = f"{format_rule(verdict.rule)}: {verdict.reason}"
    accepted = not verdict.refuses and verdict.outcome is not GateResult.PASS
    return f"{said}; the rule accepts it" if accepted else said


def describe_row(rule: GateRule) -> str:
    """Returns where the number of a rule is, such as ` in row 2`; "" for the only row."""
    if rule.row is None:
        return ""
    if isinstance(rule.row, int):
        return f" in row {rule.row}"
    return " in the row whose " + " and ".join(
        f'{name} is "{text}"' for name, text in rule.row.items()
    )


def describe_verdict(verdict: GateVerdict) -> Json:
    """Returns a verdict as JSON: the rule, what it decided, and the numbers."""
    return {
        "rule": format_rule(verdict.rule),
        "verdict": verdict.outcome.value,
        "refuses": verdict.refuses,
        "reason": verdict.reason,
        "numbers": {**verdict.numbers},
    }


def judge(
    rule: GateRule,
    value: float | None,
    remembered: Mapping[str, float],
    rows: ScoredRows | None = None,
    source: str = "",
) -> GateVerdict:
    """Returns the verdict of a rule about a candidate.

    `value` is the metric of the candidate, from the evaluation at `source`; a rule with a margin
    needs none. `remembered` holds the metrics of the model in service; it is empty if they are not
    known. `rows` are None if the two models were not scored on the same rows.
    """
    if rule.margin is not None:
        return _judge_rows(rule, rule.margin, rows)
    found = math.nan if value is None else value
    if rule.max_regression is not None:
        return _judge_regression(rule, rule.max_regression, found, remembered, source)
    is_good = (rule.min is None or found >= rule.min) and (rule.max is None or found <= rule.max)
    outcome = GateResult.PASS if is_good else GateResult.FAIL
    limit = rule.max if rule.min is None else rule.min
    shown = _show(found, None if is_good else limit)
    reason = f"{rule.metric} {shown}{describe_row(rule)}"
    return GateVerdict(rule, outcome, reason, {"candidate": found}, source)


def _show(number: float, missed: float | None = None, least: int = 6, sign: str = "") -> str:
    """Returns a number with `least` digits, or with so many as show that it misses a limit."""
    for digits in range(least, _ALL_DIGITS):
        text = f"{number:{sign}.{digits}g}"
        shown = float(text)
        if missed is None or ((shown < missed) is (number < missed) and shown != missed):
            return text
    return f"{number:{sign}.{_ALL_DIGITS}g}"


def _judge_regression(
    rule: GateRule,
    most: float,
    found: float,
    remembered: Mapping[str, float],
    source: str,
) -> GateVerdict:
    folded = fold_metric(rule.metric)
    before = next((one for name, one in remembered.items() if fold_metric(name) == folded), None)
    if before is None:
        shown = f"{rule.metric} {_show(found)}{describe_row(rule)}"
        reason = f"{shown}; that of the model in service is not known"
        return GateVerdict(rule, GateResult.NO_BASELINE, reason, {"candidate": found}, source)
    worse = before - found if find_better(rule) == "higher" else found - before
    # A difference of two decimal numbers is not exact: 0.9 - 0.89 is more than 0.01.
    is_good = worse - most <= _ROUNDING * max(1, abs(before))
    outcome = GateResult.PASS if is_good else GateResult.FAIL
    shown = _show(found, None if is_good else before)
    limit = None if is_good else math.copysign(most, found - before)
    difference = _show(found - before, limit, sign="+")
    reason = f"{rule.metric} {_show(before)} -> {shown} ({difference}){describe_row(rule)}"
    return GateVerdict(rule, outcome, reason, {"candidate": found, "live": before}, source)


def _judge_rows(rule: GateRule, margin: float, rows: ScoredRows | None) -> GateVerdict:
    if rows is None or not rows.live:
        reason = "the model in service was not scored on the same rows"
        return GateVerdict(rule, GateResult.NO_BASELINE, reason, {})
    obstacle = _find_obstacle(rule, rows)
    if obstacle:
        numbers = {"rows": float(len(rows.truth))}
        return GateVerdict(rule, GateResult.INCONCLUSIVE, obstacle, numbers, rows.source)
    numbers, difference = _METHODS[fold_metric(rule.metric)](rows)
    numbers |= {
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "rows": float(difference.rows),
    }
    return judge_interval(rule, margin, numbers, rows.source)


def judge_interval(
    rule: GateRule, margin: float, numbers: Mapping[str, float], source: str = ""
) -> GateVerdict:
    """Returns the verdict of a rule with a margin from the numbers of a comparison on rows.

    Raises KeyError if one of `candidate`, `live`, `difference`, `low`, `high` and `rows` is absent.
    """
    given = {name: one for name, one in numbers.items() if name != "rowsNeeded"}
    difference = Difference(given["difference"], given["low"], given["high"], round(given["rows"]))
    better = difference if find_better(rule) == "higher" else _negate(difference)
    # The differences of two numbers are not exact, so that equal ones may seem worse.
    if better.low + margin >= -_ROUNDING * max(1, abs(numbers["live"])):
        outcome = GateResult.PASS
    elif better.high < -margin:
        outcome = GateResult.FAIL
    else:
        outcome = GateResult.INCONCLUSIVE
    needed = better.needed(margin) if outcome is GateResult.INCONCLUSIVE else None
    given |= {"rowsNeeded": float(needed)} if needed is not None else {}
    side = -margin if better is difference else margin
    reason = _format(rule, given, None if outcome is GateResult.PASS else side)
    return GateVerdict(rule, outcome, reason, given, source)


def _find_obstacle(rule: GateRule, rows: ScoredRows) -> str:
    """Why two models cannot be compared by these rows, "" if they can."""
    count = len(rows.truth)
    values = itertools.chain(rows.truth, rows.candidate, rows.live)
    if not all(abs(one) <= _LARGEST for one in values):
        return f"an answer or a label is not between -{_LARGEST:g} and {_LARGEST:g}"
    folded = fold_metric(rule.metric)
    if folded in _OF_PROBABILITIES and not rows.is_classification:
        return f"{rule.metric} needs probabilities, and the models answer with numbers"
    if count < LEAST_ROWS:
        return f"{count} rows were scored by both models, and at least {LEAST_ROWS} are needed"
    positive = sum(map(bool, rows.truth))
    fewer = min(positive, count - positive)
    if folded == "auc" and fewer < LEAST_OF_CLASS:
        return f"one class has {fewer} rows, and at least {LEAST_OF_CLASS} are needed"
    return ""


def _format(rule: GateRule, numbers: Mapping[str, float], missed: float | None) -> str:
    low, high = (_show(numbers[one], missed, 4, "+") for one in ("low", "high"))
    interval = f"95 % interval {low} to {high}"
    needed = numbers.get("rowsNeeded")
    more = f", about {count(round(needed), 'row')} would decide" if needed is not None else ""
    rows = count(round(numbers["rows"]), "row")
    return (
        f"{rule.metric} {numbers['live']:.4g} -> {numbers['candidate']:.4g} "
        f"({numbers['difference']:+.4g}, {interval}, {rows}{more})"
    )


def _negate(one: Difference) -> Difference:
    return Difference(-one.value, -one.high, -one.low, one.rows)


_Compared: TypeAlias = tuple[dict[str, float], Difference]


def _compare_auc(rows: ScoredRows) -> _Compared:
    truth = [bool(one) for one in rows.truth]
    candidate, live, difference = compare_auc(truth, rows.candidate, rows.live)
    return {"candidate": candidate, "live": live}, difference


def _compare_accuracy(rows: ScoredRows) -> _Compared:
    candidate, live = (
        [(one >= rows.positive) == bool(true) for one, true in zip(scores, rows.truth, strict=True)]
        for scores in (rows.candidate, rows.live)
    )
    numbers = {
        "candidate": sum(candidate) / len(candidate),
        "live": sum(live) / len(live),
        "pValue": find_p_value(candidate, live),
    }
    return numbers, compare_accuracy(candidate, live)


def _compare_absolute_error(rows: ScoredRows) -> _Compared:
    return _compare_means(rows, lambda scored, true: abs(scored - true))


def _compare_squared_error(rows: ScoredRows) -> _Compared:
    return _compare_means(rows, lambda scored, true: (scored - true) ** 2)


def _compare_log_loss(rows: ScoredRows) -> _Compared:
    return _compare_means(rows, _measure_log_loss)


def _measure_log_loss(scored: float, true: float) -> float:
    right = scored if true else 1 - scored
    return -math.log(max(right, _LEAST_PROBABILITY))


def _compare_means(rows: ScoredRows, loss: Callable[[float, float], float]) -> _Compared:
    candidate, live = (
        [loss(one, true) for one, true in zip(scores, rows.truth, strict=True)]
        for scores in (rows.candidate, rows.live)
    )
    numbers = {"candidate": sum(candidate) / len(candidate), "live": sum(live) / len(live)}
    return numbers, compare_means(candidate, live, rows.digest)


_ROUNDING: Final = 1e-12
_LARGEST: Final = 1e100  # the square of a larger number may not be finite
_LEAST_PROBABILITY: Final = 1e-15
_ALL_DIGITS: Final = 17  # as many as tell two doubles apart
_OF_PROBABILITIES: Final = ("auc", "accuracy", "averagelogloss")
# The metrics of single rows, by their folded names.
COMPARABLE: Final[Mapping[str, str]] = {
    fold_metric(name): name
    for name in ("AUC", "Accuracy", "Average Log Loss", "Mean Absolute Error", "Mean Squared Error")
}
_METHODS: Final[Mapping[str, Callable[[ScoredRows], _Compared]]] = {
    "auc": _compare_auc,
    "accuracy": _compare_accuracy,
    "averagelogloss": _compare_log_loss,
    "meanabsoluteerror": _compare_absolute_error,
    "meansquarederror": _compare_squared_error,
}
