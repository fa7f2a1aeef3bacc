"""Drift reports as values, for the tests of what shows them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from reconciler.model import (
    Address,
    Drift,
    DriftReport,
    IgnoreRule,
    Inputs,
    Refresh,
    Resource,
    ResourceStatus,
    SourceLocation,
    Verdict,
)
from reconciler.plans.drift import worst_verdict

AT = "2026-11-23T03:17:00Z"
URI = "/properties/assets/asset3/locationInfo/uri"


def resource(name: str) -> Resource:
    return Resource(Address("WebService", name), f"/subscriptions/x/webServices/{name}")


def finding(name: str, verdict: Verdict = Verdict.DRIFTED, **more: Any) -> Drift:
    """A finding with a value, a place and the command that resolves it."""
    given = {
        "pointer": "/properties/description",
        "remembered": "old",
        "live": "new",
        "declared": "old",
        "since": "2026-11-20T10:00:00Z",
        "commands": (f"reconciler apply --target WebService/{name}",),
        "place": SourceLocation(f"manifests/{name}.yaml", 9, 5),
    }
    return Drift(resource(name), verdict, **{**given, **more})


def rule(address: str = "WebService/*", **more: Any) -> IgnoreRule:
    """A rule of `.driftignore`."""
    given = {
        "pointer": "",
        "verdict": None,
        "reason": "the load test runs until Friday",
        "until": "2026-12-04",
        "owner": "ml-team",
        "place": SourceLocation(".driftignore", 1, 3),
    }
    return IgnoreRule(address, **{**given, **more})


def report(
    *findings: Drift, in_sync: Sequence[str] = (), environment: str = "", **more: Any
) -> DriftReport:
    """The report of a project that is called census."""
    ignored = more.get("ignored", ())
    found: dict[Resource, list[Drift]] = {one.resource: [] for one in (*findings, *ignored)}
    for one in findings:
        found[one.resource].append(one)
    statuses = [ResourceStatus(one, worst_verdict(each)) for one, each in found.items()]
    statuses += [ResourceStatus(resource(name), Verdict.IN_SYNC) for name in in_sync]
    made = DriftReport(
        tuple(statuses),
        findings,
        Inputs("census", {}, "azure", "4f1c2aa0" * 5, environment=environment),
        Refresh("full", len(statuses), len(statuses), 1),
        AT,
        "kept",
    )
    return replace(made, **more)
