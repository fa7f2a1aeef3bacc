"""The metrics of a run in the text format of Prometheus.

`watch` shows them at /metrics, and `--metrics-file` writes them into a file for the textfile
collector of node_exporter. No metric has the name of a resource as a label: each name would be a
time series of its own. The ages grow with a monotonic clock, so a clock that is set does not change
them.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from typing import TYPE_CHECKING, Any, Final

from reconciler.model import CallEnded, Event, Throttling, Verdict
from reconciler.model.drift import Drift, DriftReport
from reconciler.model.values import dataclass
from reconciler.model.watch import Cycle, CycleOutcome
from reconciler.telemetry.health import has_read
from reconciler.text.times import parse_utc, seconds_since

if TYPE_CHECKING:  # it takes a quarter of a second to import
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

# From a plan of one service to an apply that waits for operations of the service.
_BUCKETS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
# They are not drift: nothing is known, or nothing can be known.
_UNKNOWN: Final = frozenset({Verdict.INCOMPLETE, Verdict.NOT_OBSERVABLE})


@dataclass
class _Figures:
    """The figures of one environment.

    Times are those of the monotonic clock. `drifted_at` is when its oldest drift was first seen.
    `observed_at` has the time of the last read of each resource by its id; for a resource that was
    never read it is the time when its first read failed. `ended_at` is in seconds since 1970.
    """

    counts: Counter[Verdict] = field(default_factory=Counter)
    drifted_at: float | None = None
    observed_at: dict[str, float] = field(default_factory=dict)
    ended_at: float = 0.0
    quarantined: int = 0
    errors: int = 0
    leads: bool = False


class Metrics:
    """The metrics of one process; safe to use from several threads.

    A process that does not run `watch` has no metrics of cycles (`watches` is False).
    """

    def __init__(
        self, version: str, *, watches: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises ImportError if prometheus_client is not installed."""
        from prometheus_client import (  # noqa: PLC0415 - it is slow, and an extra
            CollectorRegistry,
        )

        self._version, self._watches, self._clock = version, watches, clock
        self._lock = threading.Lock()
        self._environments: dict[str, _Figures] = {}
        self._calls: Counter[tuple[str, str]] = Counter()
        self._cycles: Counter[CycleOutcome] = Counter()
        self._throttled_s = 0.0
        self._plans, self._applies = _Histogram(), _Histogram()
        self._registry: CollectorRegistry = CollectorRegistry()
        self._registry.register(_Collector(self._collect))

    def select(self, environments: Iterable[str]) -> None:
        """Name the environments of the project; the metrics of any other one disappear.

        A project without environments has the one with an empty name.
        """
        with self._lock:
            kept = self._environments
            self._environments = {name: kept.get(name, _Figures()) for name in environments}

    def note_cycle(self, cycle: Cycle) -> None:
        """Count a cycle that has ended, and take the figures of its report.

        A process in standby reads nothing: it shows no resources, so that the sum over all
        processes is right.
        """
        with self._lock:
            self._cycles[cycle.outcome] += 1
            self._plans.observe(cycle.plan_s)
            self._applies.observe(cycle.apply_s)
            if cycle.outcome is CycleOutcome.STANDBY:
                ended_at = self._find(cycle.environment).ended_at
                self._environments[cycle.environment] = _Figures(ended_at=ended_at)
            figures = self._find(cycle.environment)
            figures.errors = len(cycle.errors)
            if cycle.report is None:
                return
            self._take(cycle.report, figures)
            figures.leads, figures.quarantined = True, len(cycle.quarantined)
            if has_read(cycle):
                figures.ended_at = _read_seconds(cycle.ended_at)

    def note_report(self, report: DriftReport) -> None:
        """Take the figures of a report that no cycle made."""
        with self._lock:
            figures = self._find(report.inputs.environment)
            self._take(report, figures)
            figures.ended_at = _read_seconds(report.made_at)

    def note_event(self, event: Event) -> None:
        """Count the calls and the time that the rate limiter holds them back."""
        match event:
            case CallEnded(method, outcome):
                with self._lock:
                    self._calls[method, outcome] += 1
            case Throttling(seconds=seconds):
                with self._lock:
                    self._throttled_s += seconds

    def render(self) -> bytes:
        """All metrics, in the text format of Prometheus."""
        from prometheus_client import generate_latest  # noqa: PLC0415 - as above

        return generate_latest(self._registry)

    def _find(self, environment: str) -> _Figures:
        return self._environments.setdefault(environment, _Figures())

    def _take(self, report: DriftReport, figures: _Figures) -> None:
        now, made_at = self._clock(), parse_utc(report.made_at)
        figures.counts = Counter(one.verdict for one in report.statuses)
        first = [one.since for one in report.findings if _is_drift(one)]
        ages_s = [seconds_since(since, made_at) for since in first]
        figures.drifted_at = now - max(ages_s) if ages_s else None
        known = figures.observed_at
        figures.observed_at = {
            one.resource.id: now - seconds_since(one.observed_at, made_at)
            if one.observed_at
            else known.get(one.resource.id, now)
            for one in report.statuses
            if one.verdict is not Verdict.UNMANAGED
        }

    def _collect(self) -> Iterator[Metric]:
        from prometheus_client.core import (  # noqa: PLC0415 - as above
            CounterMetricFamily,
            GaugeMetricFamily,
        )

        with self._lock:
            metrics = [*self._collect_resources(GaugeMetricFamily)]
            metrics += self._collect_counts(CounterMetricFamily)
            if self._watches:
                metrics += self._collect_cycles(CounterMetricFamily, GaugeMetricFamily)
            build = GaugeMetricFamily(
                "reconciler_build_info", "The version of reconciler.", labels=["version"]
            )
            build.add_metric([self._version], 1)
        yield from (*metrics, build)

    def _collect_resources(self, gauge: Any) -> Iterator[Metric]:
        now, labels = self._clock(), ["environment"]
        resources = gauge(
            "reconciler_resources",
            "The resources by their state in the last drift report.",
            labels=["environment", "state"],
        )
        drift = gauge(
            "reconciler_drift_age_seconds",
            "The time since the oldest drift was first seen; 0 without drift.",
            labels=labels,
        )
        observation = gauge(
            "reconciler_observation_age_seconds",
            "The longest time since a managed resource was last read.",
            labels=labels,
        )
        ended = gauge(
            "reconciler_last_cycle_timestamp_seconds",
            "When the last cycle that read the services ended; 0 before.",
            labels=labels,
        )
        for name, figures in self._environments.items():
            for verdict in Verdict:
                resources.add_metric([name, verdict.value], figures.counts[verdict])
            since = now if figures.drifted_at is None else figures.drifted_at
            drift.add_metric([name], max(0.0, now - since))
            if figures.observed_at:
                oldest = min(figures.observed_at.values())
                observation.add_metric([name], max(0.0, now - oldest))
            ended.add_metric([name], figures.ended_at)
        yield from (resources, drift, observation, ended)

    def _collect_counts(self, counter: Any) -> Iterator[Metric]:
        calls = counter(
            "reconciler_calls",
            "The calls to the services: ok, throttled, refused, failed (5xx) or lost.",
            labels=["method", "outcome"],
        )
        for (method, outcome), number in sorted(self._calls.items()):
            calls.add_metric([method, outcome], number)
        yield calls
        yield counter(
            "reconciler_throttled_seconds",
            "The time for which calls were held back, because a service asked for it.",
            value=self._throttled_s,
        )

    def _collect_cycles(self, counter: Any, gauge: Any) -> Iterator[Metric]:
        cycles = counter(
            "reconciler_cycles",
            "The cycles that have ended, by outcome: that of the report, standby or failed.",
            labels=["outcome"],
        )
        for outcome in CycleOutcome:
            cycles.add_metric([outcome.value], self._cycles[outcome])
        leader = gauge(
            "reconciler_leader",
            "Whether this process led in its last cycle: 1 or 0.",
            labels=["environment"],
        )
        quarantined = gauge(
            "reconciler_quarantined",
            "The resources that are left, because a change of them did not hold.",
            labels=["environment"],
        )
        errors = gauge(
            "reconciler_cycle_errors",
            "The errors of the last cycle, such as those of a project that is not valid.",
            labels=["environment"],
        )
        for name, figures in self._environments.items():
            leader.add_metric([name], float(figures.leads))
            quarantined.add_metric([name], figures.quarantined)
            errors.add_metric([name], figures.errors)
        yield from (cycles, leader, quarantined, errors)
        yield self._plans.collect("reconciler_plan_seconds", "How long a plan took.")
        yield self._applies.collect("reconciler_apply_seconds", "How long an apply took.")


class _Histogram:
    """How many durations were at most as long as each limit."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BUCKETS_S) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float | None) -> None:
        """Count a duration; None means that the part did not run."""
        if seconds is not None:
            bucket = sum(seconds > limit for limit in _BUCKETS_S)
            self._counts[bucket] += 1
            self._sum_s += seconds

    def collect(self, name: str, about: str) -> Metric:
        """The metric of this histogram."""
        from prometheus_client.core import HistogramMetricFamily  # noqa: PLC0415 - as above

        limits = [*map(str, _BUCKETS_S), "+Inf"]
        buckets = [(limit, sum(self._counts[: at + 1])) for at, limit in enumerate(limits)]
        return HistogramMetricFamily(name, about, buckets=buckets, sum_value=self._sum_s)


class _Collector:
    """What the registry of prometheus_client asks for the metrics."""

    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self.collect = collect

    @staticmethod
    def describe() -> Iterable[Metric]:
        """None: the names are known only when the metrics are collected."""
        return ()


def _is_drift(finding: Drift) -> bool:
    return finding.verdict not in _UNKNOWN and bool(finding.since)


def _read_seconds(text: str) -> float:
    try:
        return parse_utc(text).timestamp()
    except ValueError:
        return 0.0
