"""A gate lets a model through only if each of its rules is met, and shows the numbers."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from reconciler.model.training import GateRule
from reconciler.plans.gates import (
    GateResult,
    GateVerdict,
    ScoredRows,
    format_rule,
    format_verdict,
    judge,
    judge_interval,
)

LIVE = {"AUC": 0.9, "Mean Absolute Error": 2.0}


def _judge(rule: GateRule, value: float, live: dict[str, float] | None = None) -> GateVerdict:
    return judge(rule, value, LIVE if live is None else live)


def _compare(rule: GateRule, rows: ScoredRows) -> GateVerdict:
    return judge(rule, None, {}, rows)


@pytest.mark.parametrize(
    ("rule", "auc", "outcome"),
    [
        (GateRule("AUC", min=0.85), 0.85, GateResult.PASS),
        (GateRule("AUC", min=0.85), 0.8499, GateResult.FAIL),
        (GateRule("auc", max=0.85), 0.85, GateResult.PASS),
        (GateRule("auc", max=0.85), 0.8501, GateResult.FAIL),
        (GateRule("AUC", max_regression=0.01), 0.89, GateResult.PASS),
        (GateRule("AUC", max_regression=0.01), 0.8899, GateResult.FAIL),
        (GateRule("AUC", max_regression=0), 0.9, GateResult.PASS),
        (GateRule("AUC", max_regression=0), 0.91, GateResult.PASS),
        (GateRule("AUC", min=0), math.nan, GateResult.FAIL),
        (GateRule("AUC", max_regression=1), math.nan, GateResult.FAIL),
    ],
)
def test_a_number_is_judged_by_its_limit(rule: GateRule, auc: float, outcome: GateResult) -> None:
    assert _judge(rule, auc).outcome is outcome


def test_a_lower_error_is_better() -> None:
    rule = GateRule("mean_absolute_error", max_regression=0.1)
    assert _judge(rule, 1.0).outcome is GateResult.PASS
    assert _judge(rule, 2.2).outcome is GateResult.FAIL


def test_the_reason_shows_both_numbers() -> None:
    verdict = _judge(GateRule("AUC", max_regression=0.01), 0.88)
    assert verdict.reason == "AUC 0.9 -> 0.88 (-0.02)"
    assert verdict.numbers == {"candidate": 0.88, "live": 0.9}
    assert format_rule(verdict.rule) == "AUC maxRegression 0.01"


@pytest.mark.parametrize(
    ("rule", "value", "said"),
    [
        (GateRule("AUC", min=0.86726065), 0.867260646, "AUC min 0.86726065: AUC 0.8672606"),
        (GateRule("AUC", max=0.8), 0.8000000001, "AUC max 0.8: AUC 0.8000000001"),
        (GateRule("AUC", min=1_234_567), 1_234_566.5, "AUC min 1234567: AUC 1234566"),
        (
            GateRule("AUC", max_regression=0.02),
            0.87999999,
            "AUC maxRegression 0.02: AUC 0.9 -> 0.88 (-0.02000001)",
        ),
        (
            GateRule("AUC", max_regression=0),
            0.89999999,
            "AUC maxRegression 0: AUC 0.9 -> 0.89999999 (-1e-08)",
        ),
    ],
)
def test_a_number_that_fails_is_never_shown_as_one_that_passes(
    rule: GateRule, value: float, said: str
) -> None:
    verdict = _judge(rule, value)
    assert verdict.outcome is GateResult.FAIL
    assert f"{format_rule(rule)}: {verdict.reason}" == said


@pytest.mark.parametrize(("low", "high"), [(-0.0200001, 0.01), (-0.05, -0.0200001)])
def test_a_bound_beyond_the_margin_is_never_shown_as_the_margin(low: float, high: float) -> None:
    numbers = {"difference": -0.01, "live": 0.9, "candidate": 0.89, "rows": 400.0}
    numbers |= {"low": low, "high": high}
    verdict = judge_interval(GateRule("AUC", margin=0.02), 0.02, numbers)
    assert verdict.outcome is not GateResult.PASS
    assert "-0.0200001" in verdict.reason


def test_the_row_of_a_rule_is_shown() -> None:
    assert _judge(GateRule("AUC", min=0.5, row=2), 0.9).reason == "AUC 0.9 in row 2"
    named = GateRule("AUC", max_regression=0, row={"Fold Number": "Mean"})
    assert _judge(named, 0.9).reason == 'AUC 0.9 -> 0.9 (+0) in the row whose Fold Number is "Mean"'


def test_a_verdict_that_the_rule_accepts_is_shown_as_such() -> None:
    rule = GateRule("AUC", max_regression=0.01, accepts_first=True)
    assert format_verdict(_judge(rule, 0.9, {})).endswith("is not known; the rule accepts it")
    assert "accepts" not in format_verdict(_judge(replace(rule, accepts_first=False), 0.9, {}))
    assert "accepts" not in format_verdict(_judge(rule, 0.9))


@pytest.mark.parametrize("metric", ["AUC", "Accuracy", "Average Log Loss"])
def test_answers_without_probabilities_have_no_metric_of_probabilities(metric: str) -> None:
    truth = [float(number) for number in range(200)]
    rows = ScoredRows(truth, truth, truth, is_classification=False, digest="1")
    verdict = _compare(GateRule(metric, margin=0.5), rows)
    assert (verdict.outcome, verdict.refuses) == (GateResult.INCONCLUSIVE, True)
    assert verdict.reason == f"{metric} needs probabilities, and the models answer with numbers"


def test_a_first_model_is_refused_unless_the_rule_accepts_it() -> None:
    rule = GateRule("AUC", max_regression=0.01)
    verdict = _judge(rule, 0.9, {})
    assert (verdict.outcome, verdict.refuses) == (GateResult.NO_BASELINE, True)
    rule = GateRule("AUC", max_regression=0.01, accepts_first=True)
    assert not _judge(rule, 0.9, {}).refuses


def _rows(better: float, count: int, noise: float = 0.3) -> ScoredRows:
    """Probabilities of two models; the candidate's are moved by `better` towards the truth."""
    chance = random.Random(11)
    truth = [float(chance.random() < 0.5) for _ in range(count)]
    live = [min(1.0, max(0.0, 0.25 + true / 2 + chance.gauss(0, noise))) for true in truth]
    toward = [better if true else -better for true in truth]
    candidate = [
        min(1.0, max(0.0, one + by + chance.gauss(0, 0.1)))
        for one, by in zip(live, toward, strict=True)
    ]
    return ScoredRows(truth, candidate, live, is_classification=True, digest="5")


@pytest.mark.parametrize("metric", ["AUC", "Accuracy", "Average Log Loss"])
@pytest.mark.parametrize(
    ("better", "count", "outcome"),
    [
        (0.1, 1_000, GateResult.PASS),
        (-0.2, 1_000, GateResult.FAIL),
        (-0.01, 40, GateResult.INCONCLUSIVE),
        (0.1, 29, GateResult.INCONCLUSIVE),
    ],
)
def test_models_are_compared_on_the_same_rows(
    metric: str, better: float, count: int, outcome: GateResult
) -> None:
    rule = GateRule(metric, margin=0.001)
    verdict = _compare(rule, _rows(better, count))
    assert verdict.outcome is outcome
    assert verdict.refuses is (outcome is not GateResult.PASS)


def test_an_inconclusive_verdict_says_how_many_rows_would_decide() -> None:
    verdict = _compare(GateRule("Accuracy", margin=0.001), _rows(-0.01, 40))
    assert verdict.numbers["rowsNeeded"] > 40
    assert f"about {verdict.numbers['rowsNeeded']:,.0f} rows would decide" in verdict.reason
    assert "95 % interval" in verdict.reason


def test_a_class_with_few_rows_does_not_decide_about_the_auc() -> None:
    truth = [1.0] * 9 + [0.0] * 60
    rows = ScoredRows(truth, truth, truth, is_classification=True, digest="1")
    verdict = _compare(GateRule("AUC", margin=0.5), rows)
    assert verdict.outcome is GateResult.INCONCLUSIVE
    assert verdict.reason == "one class has 9 rows, and at least 10 are needed"


def test_rows_that_only_one_model_scored_are_not_a_baseline() -> None:
    verdict = _judge(GateRule("AUC", margin=0.01), 0.9)
    assert (verdict.outcome, verdict.refuses) == (GateResult.NO_BASELINE, True)


def _regression(truth: float, candidate: float, live: float, rows: int = 40) -> ScoredRows:
    """Rows with the same numbers."""
    return ScoredRows(
        [truth] * rows, [candidate] * rows, [live] * rows, is_classification=False, digest="d"
    )


@pytest.mark.parametrize(
    ("margin", "outcome"),
    [
        (0.1, GateResult.PASS),
        (0.11, GateResult.PASS),
        (0.09, GateResult.FAIL),
        (0, GateResult.FAIL),
    ],
)
def test_a_constant_difference_is_judged_exactly(margin: float, outcome: GateResult) -> None:
    """1.1 - 1.0 is a little more than 0.1 as a binary number."""
    rule = GateRule("Mean Absolute Error", margin=margin)
    assert _compare(rule, _regression(0.0, 1.1, 1.0)).outcome is outcome


@pytest.mark.parametrize("metric", ["Mean Absolute Error", "Mean Squared Error"])
@pytest.mark.parametrize("huge", [1e101, -1e308, math.inf, math.nan])
def test_answers_that_cannot_be_computed_with_are_inconclusive(metric: str, huge: float) -> None:
    rule = GateRule(metric, margin=0.1)
    for rows in (_regression(0, huge, 1), _regression(0, 1, huge), _regression(huge, 1, 1)):
        verdict = _compare(rule, rows)
        assert (verdict.outcome, verdict.refuses) == (GateResult.INCONCLUSIVE, True)
        assert "is not between -1e+100 and 1e+100" in verdict.reason
    assert _compare(rule, _regression(-1e100, 1e100, 1e100)).outcome is GateResult.PASS
