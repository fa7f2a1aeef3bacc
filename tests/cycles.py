"""Cycles of `watch` and their drift reports, as values."""

from typing import Any, Final

from reconciler.model import (
    Address,
    Drift,
    DriftReport,
    Inputs,
    Refresh,
    Resource,
    ResourceStatus,
    Verdict,
)
from reconciler.model.watch import Cycle, CycleOutcome

AT: Final = "2026-11-30T03:00:00Z"


def resource(name: str) -> Resource:
    return Resource(Address("WebService", name), f"/subscriptions/s/{name}")


def report(environment: str = "prod", **verdicts: Verdict) -> DriftReport:
    """A report of these resources; what could not be read has no time of its read."""
    return DriftReport(
        statuses=tuple(
            ResourceStatus(
                resource(name),
                verdict,
                observed_at="" if verdict is Verdict.INCOMPLETE else AT,
            )
            for name, verdict in verdicts.items()
        ),
        findings=tuple(
            Drift(resource(name), verdict, since="2026-11-30T01:00:00Z")
            for name, verdict in verdicts.items()
            if verdict is not Verdict.IN_SYNC
        ),
        inputs=Inputs(project="p", files={}, cloud="", environment=environment),
        refresh=Refresh("full", len(verdicts), len(verdicts), len(verdicts)),
        made_at=AT,
        baseline="kept",
    )


def cycle(outcome: CycleOutcome, found: DriftReport | None = None, **more: Any) -> Cycle:
    environment = found.inputs.environment if found else "prod"
    return Cycle("c1", environment, AT, AT, outcome, report=found, **more)
