"""Writes a drift report as a JSON document in the form of schemas/output/drift.

It must not decide what has drifted. The commands that print or save a report call it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from reconciler.model import (
    ABSENT,
    Drift,
    DriftReport,
    DriftRun,
    IgnoreRule,
    Json,
    ResourceStatus,
    Verdict,
)
from reconciler.plans.plan_file import inputs_document

FORMAT_VERSION: Final = "1.1"
_NOT_OBSERVABLE: Final = (Verdict.INCOMPLETE,)


def drift_document(report: DriftReport) -> Json:
    """Return the report as JSON values."""
    return {
        "format_version": FORMAT_VERSION,
        "timestamp": report.made_at,
        "outcome": report.outcome,
        "baseline": report.baseline,
        "history": "kept" if report.history_lost is None else "lost",
        "coverage": count_coverage(report),
        "resources": [_status_document(one) for one in report.statuses],
        "findings": [_finding_document(one) for one in report.findings],
        "ignored": [
            {**_finding_document(one), "rule": _rule_document(one.rule)}
            for one in report.ignored
            if one.rule is not None
        ],
        "known": [_finding_document(one) for one in report.known],
        "overwritten": [_overwritten_document(one) for one in report.overwritten],
        "ignore_expired": [_rule_document(one) for one in report.expired],
        "runs": [_run_document(one) for one in report.runs],
        "refresh": asdict(report.refresh),
        "inputs": inputs_document(report.inputs),
    }


def count_coverage(report: DriftReport) -> dict[str, int]:
    """Count the managed resources, those of them with evidence, and the unmanaged resources."""
    managed = [one for one in report.statuses if one.verdict is not Verdict.UNMANAGED]
    known = sum(one.verdict not in _NOT_OBSERVABLE for one in managed)
    return {
        "known": known,
        "total": len(managed),
        "unmanaged": len(report.statuses) - len(managed),
    }


def _status_document(one: ResourceStatus) -> Json:
    return {
        "address": str(one.resource.address),
        "id": one.resource.id,
        "verdict": one.verdict.value,
        "applied": None
        if one.last_applied is None
        else {
            "at": one.last_applied.at,
            "by": one.last_applied.by,
            "commit": one.last_applied.commit,
        },
        "observed_at": one.observed_at,
        "fleet": str(one.fleet) if one.fleet else None,
    }


def _finding_document(one: Drift) -> Json:
    values = {"remembered": one.remembered, "live": one.live, "declared": one.declared}
    return {
        "address": str(one.resource.address),
        "key": one.key,
        "verdict": one.verdict.value,
        "severity": one.verdict.severity,
        "pointer": one.pointer,
        **{name: value for name, value in values.items() if value is not ABSENT},
        "hidden": one.hidden,
        "note": one.note,
        "since": one.since,
        "is_new": one.is_new,
        "place": asdict(one.place) if one.place is not None else None,
        "settle": list(one.commands),
        "fleet": str(one.fleet) if one.fleet else None,
    }


def _overwritten_document(one: Drift) -> Json:
    return {
        "address": str(one.resource.address),
        "key": one.key,
        "verdict": one.verdict.value,
        "pointer": one.pointer,
        "at": one.since,
        "by": one.note,
    }


def _rule_document(rule: IgnoreRule) -> Json:
    return {
        "address": rule.address,
        "pointer": rule.pointer,
        "verdict": rule.verdict.value if rule.verdict is not None else None,
        "reason": rule.reason,
        "until": rule.until,
        "owner": rule.owner,
        "place": asdict(rule.place),
    }


def _run_document(run: DriftRun) -> Json:
    counts = {verdict.value: number for verdict, number in run.counts.items() if number}
    return {"at": run.at, "commit": run.commit, "counts": counts}
