"""The metrics of a run: their names, what they count, and what they never hold."""

import re
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.model import Address, CallEnded, Finding, Throttling, Verdict
from reconciler.model.watch import CycleOutcome
from reconciler.telemetry.metrics import Metrics
from tests.clocks import FakeClock
from tests.cycles import cycle, report

# What each name of a metric is, and its labels.
NAMES = {
    "reconciler_resources": ("gauge", {"environment", "state"}),
    "reconciler_drift_age_seconds": ("gauge", {"environment"}),
    "reconciler_observation_age_seconds": ("gauge", {"environment"}),
    "reconciler_last_cycle_timestamp_seconds": ("gauge", {"environment"}),
    "reconciler_plan_seconds": ("histogram", set()),
    "reconciler_apply_seconds": ("histogram", set()),
    "reconciler_calls": ("counter", {"method", "outcome"}),
    "reconciler_throttled_seconds": ("counter", set()),
    "reconciler_cycles": ("counter", {"outcome"}),
    "reconciler_leader": ("gauge", {"environment"}),
    "reconciler_quarantined": ("gauge", {"environment"}),
    "reconciler_cycle_errors": ("gauge", {"environment"}),
    "reconciler_build_info": ("gauge", {"version"}),
}


def read(metrics: Metrics) -> dict[str, float]:
    """The value of each time series by its name and labels."""
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_each_metric_has_the_name_that_the_documentation_gives() -> None:
    metrics = Metrics("1.2.3")
    metrics.select(["prod"])
    metrics.note_event(CallEnded("GET", "ok"))
    metrics.note_cycle(cycle(CycleOutcome.DRIFT, report(a=Verdict.DRIFTED), plan_s=1.0))
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        labels = {key for sample in family.samples for key in sample.labels} - {"le"}
        found[family.name] = (family.type, labels)
        assert family.documentation.endswith(".") or family.documentation.endswith("0.")
    assert found == NAMES


def test_names_follow_the_rules_of_prometheus() -> None:
    metrics = Metrics("1.2.3")
    metrics.select([""])
    text = metrics.render().decode()
    for family in text_string_to_metric_families(text):
        assert re.fullmatch(r"reconciler_[a-z]+(_[a-z]+)*", family.name)
        unit = re.search(r"_(seconds|bytes|ratio|total|count|sum|bucket|info)$", family.name)
        assert family.type != "counter" or unit is None or unit[1] == "seconds"
        counted = [one.name for one in family.samples if family.type == "counter"]
        assert all(name.endswith("_total") for name in counted)
    assert "_created" not in text
    assert text.endswith("\n")


def test_each_state_is_there_from_the_start() -> None:
    metrics = Metrics("1.2.3")
    metrics.select(["prod", "test"])
    found = read(metrics)
    for verdict in Verdict:
        for name in ("prod", "test"):
            assert found[f"reconciler_resources{{environment={name},state={verdict}}}"] == 0
    for outcome in CycleOutcome:
        assert found[f"reconciler_cycles_total{{outcome={outcome}}}"] == 0
    assert found["reconciler_leader{environment=prod}"] == 0
    assert found["reconciler_drift_age_seconds{environment=prod}"] == 0
    assert "reconciler_observation_age_seconds{environment=prod}" not in found


def test_a_cycle_is_counted() -> None:
    metrics = Metrics("1.2.3", clock=FakeClock())
    found = report(a=Verdict.DRIFTED, b=Verdict.IN_SYNC, c=Verdict.IN_SYNC)
    metrics.note_cycle(
        cycle(
            CycleOutcome.DRIFT,
            found,
            plan_s=0.3,
            apply_s=700.0,
            quarantined=(Address("WebService", "a"),),
        )
    )
    shown = read(metrics)
    assert shown["reconciler_resources{environment=prod,state=drifted}"] == 1
    assert shown["reconciler_resources{environment=prod,state=in sync}"] == 2
    assert shown["reconciler_cycles_total{outcome=drift}"] == 1
    assert shown["reconciler_quarantined{environment=prod}"] == 1
    assert shown["reconciler_leader{environment=prod}"] == 1
    assert shown["reconciler_plan_seconds_bucket{le=0.25}"] == 0
    assert shown["reconciler_plan_seconds_bucket{le=0.5}"] == 1
    assert shown["reconciler_apply_seconds_bucket{le=600.0}"] == 0
    assert shown["reconciler_apply_seconds_bucket{le=+Inf}"] == 1
    assert shown["reconciler_apply_seconds_sum{}"] == 700
    assert shown["reconciler_last_cycle_timestamp_seconds{environment=prod}"] == 1796007600


def test_ages_grow_between_cycles_by_the_monotonic_clock() -> None:
    clock = FakeClock()
    metrics = Metrics("1.2.3", clock=clock)
    metrics.note_cycle(cycle(CycleOutcome.DRIFT, report(a=Verdict.DRIFTED)))
    clock.now += 60
    shown = read(metrics)
    assert shown["reconciler_drift_age_seconds{environment=prod}"] == 2 * 3600 + 60
    assert shown["reconciler_observation_age_seconds{environment=prod}"] == 60


def test_what_is_not_read_any_more_grows_old() -> None:
    clock = FakeClock()
    metrics = Metrics("1.2.3", clock=clock)
    metrics.note_cycle(cycle(CycleOutcome.IN_SYNC, report(a=Verdict.IN_SYNC, b=Verdict.IN_SYNC)))
    clock.now += 600
    partly = report(a=Verdict.INCOMPLETE, b=Verdict.IN_SYNC)
    metrics.note_cycle(cycle(CycleOutcome.INCOMPLETE, partly))
    shown = read(metrics)
    assert shown["reconciler_observation_age_seconds{environment=prod}"] == 600
    # Incomplete evidence is not drift.
    assert shown["reconciler_drift_age_seconds{environment=prod}"] == 0


def test_a_cycle_that_read_nothing_does_not_count_as_the_last_one() -> None:
    metrics = Metrics("1.2.3")
    metrics.note_cycle(cycle(CycleOutcome.IN_SYNC, report(a=Verdict.IN_SYNC)))
    last = "reconciler_last_cycle_timestamp_seconds{environment=prod}"
    before = read(metrics)[last]
    later = "2026-11-30T04:00:00Z"
    for one in (
        cycle(CycleOutcome.FAILED),
        cycle(CycleOutcome.INTERRUPTED),
        cycle(CycleOutcome.INCOMPLETE, report(a=Verdict.INCOMPLETE)),
    ):
        metrics.note_cycle(replace(one, ended_at=later))
    assert read(metrics)[last] == before
    metrics.note_cycle(
        replace(cycle(CycleOutcome.IN_SYNC, report(a=Verdict.IN_SYNC)), ended_at=later)
    )
    assert read(metrics)[last] == before + 3600


def test_a_standby_shows_no_resources() -> None:
    metrics = Metrics("1.2.3")
    metrics.note_cycle(cycle(CycleOutcome.DRIFT, report(a=Verdict.DRIFTED)))
    metrics.note_cycle(cycle(CycleOutcome.STANDBY))
    shown = read(metrics)
    assert shown["reconciler_resources{environment=prod,state=drifted}"] == 0
    assert shown["reconciler_leader{environment=prod}"] == 0
    assert "reconciler_observation_age_seconds{environment=prod}" not in shown
    assert shown["reconciler_last_cycle_timestamp_seconds{environment=prod}"] > 0
    metrics.note_cycle(cycle(CycleOutcome.FAILED, errors=(Finding("x"), Finding("y"))))
    assert read(metrics)["reconciler_cycle_errors{environment=prod}"] == 2


def test_an_environment_that_no_longer_exists_disappears() -> None:
    metrics = Metrics("1.2.3")
    metrics.note_cycle(cycle(CycleOutcome.DRIFT, report("old", a=Verdict.DRIFTED)))
    metrics.note_cycle(cycle(CycleOutcome.DRIFT, report("prod", a=Verdict.DRIFTED)))
    metrics.select(["prod", "new"])
    text = metrics.render().decode()
    assert 'environment="old"' not in text
    assert 'environment="new"' in text
    assert read(metrics)["reconciler_resources{environment=prod,state=drifted}"] == 1


def test_calls_and_waits_are_counted() -> None:
    metrics = Metrics("1.2.3")
    for outcome in ("ok", "ok", "throttled"):
        metrics.note_event(CallEnded("GET", outcome))
    metrics.note_event(Throttling("reads", "too many", 2.5))
    metrics.note_event(Throttling("reads", "too many", 1.5))
    shown = read(metrics)
    assert shown["reconciler_calls_total{method=GET,outcome=ok}"] == 2
    assert shown["reconciler_calls_total{method=GET,outcome=throttled}"] == 1
    assert shown["reconciler_throttled_seconds_total{}"] == 4


@pytest.mark.parametrize("hostile", ['a"b', "a\\b", "a\nb 1", "\u202e", "{x}"])
def test_a_hostile_environment_is_one_label(hostile: str) -> None:
    metrics = Metrics("1.2.3")
    metrics.note_cycle(cycle(CycleOutcome.DRIFT, report(hostile, a=Verdict.DRIFTED)))
    families = text_string_to_metric_families(metrics.render().decode())
    labels = {
        sample.labels["environment"]
        for family in families
        for sample in family.samples
        if "environment" in sample.labels
    }
    assert labels == {hostile}


def test_no_name_of_a_resource_is_in_the_metrics() -> None:
    metrics = Metrics("1.2.3")
    many = {f"service-{number}": Verdict.DRIFTED for number in range(500)}
    metrics.note_cycle(cycle(CycleOutcome.DRIFT, report(**many)))
    text = metrics.render().decode()
    assert "service-" not in text
    assert len(text.splitlines()) < 150


def test_a_process_without_cycles_has_no_metrics_of_them() -> None:
    metrics = Metrics("1.2.3", watches=False)
    metrics.note_report(report(a=Verdict.DRIFTED))
    shown = read(metrics)
    assert shown["reconciler_resources{environment=prod,state=drifted}"] == 1
    assert shown["reconciler_last_cycle_timestamp_seconds{environment=prod}"] == 1796007600
    assert not [name for name in shown if "cycles" in name or "leader" in name]
