"""Dates the findings of a drift report by the history of earlier runs, and adds the run to it.

A history that cannot be read or written never stops a report or an apply: it is a warning. The
drift report and the apply call this module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from reconciler.engine.runtime import Runtime
from reconciler.errors import LedgerInvalid
from reconciler.model import DriftPast, DriftReport, DriftRun, Finding, Resource, Step, Verdict
from reconciler.plans.drift_history import (
    MOST_RUNS,
    date_finding,
    find_open,
    find_overwritten,
    list_overwritten,
)
from reconciler.ports import DriftHistory
from reconciler.text.commits import shorten_commit
from reconciler.text.times import format_utc

_UNSEEN: Final = "The next drift report does not show what this apply has overwritten."
_UNDATED: Final = "Findings of earlier runs may count as new. Nothing else depends on it."


def add_to_history(history: DriftHistory, report: DriftReport, *, listed: bool) -> DriftReport:
    """Return the report with the dates of its findings and the last runs, and keep the run.

    `listed` says that it has the unmanaged services too. Nothing is kept beside a ledger that does
    not exist.
    """
    past, unread = _load(history)
    findings, ignored = (
        tuple(date_finding(one, past, report.made_at) for one in found)
        for found in (report.findings, report.ignored)
    )
    run = _make_run(report) if report.whole else None
    runs = (*past.runs, run) if run is not None else past.runs
    report = replace(
        report,
        findings=findings,
        ignored=ignored,
        overwritten=list_overwritten(past, replace(report, findings=findings, ignored=ignored)),
        runs=runs[-MOST_RUNS:],
        history_lost=unread or past.lost,
    )
    if report.baseline == "lost" or unread is not None:
        return report
    looked_at = _find_looked_at(report, everything=report.whole and listed)
    unwritten = _append(history, run, find_open(past, (*findings, *ignored), looked_at))
    return replace(report, history_lost=report.history_lost or unwritten)


def keep_overwritten(
    runtime: Runtime, steps: Sequence[Step], by: str, commit: str
) -> tuple[Finding, ...]:
    """Keep the drift that steps are going to overwrite; returns a warning if this fails.

    `by` applies, from `commit`; an empty one is not known.
    """
    now = format_utc(runtime.clock().timestamp())
    note = f"{now[:10]} by {by}{f'@{shorten_commit(commit)}' if commit else ''}"
    found = list(find_overwritten(steps, lambda kind: runtime.kinds[kind].field, note, now))
    try:
        if found:
            runtime.drift_history.keep_overwritten(found, now)
    except LedgerInvalid as error:
        return (replace(_warn(error), detail=(_UNSEEN,)),)
    return ()


def _load(history: DriftHistory) -> tuple[DriftPast, Finding | None]:
    """Return the history; if it cannot be read, an empty one with a warning."""
    try:
        return history.load(), None
    except LedgerInvalid as error:
        return DriftPast(), _warn(error)


def _append(history: DriftHistory, run: DriftRun | None, since: dict[str, str]) -> Finding | None:
    """Keep a run; returns a warning if it cannot be written."""
    try:
        history.append(run, since)
    except LedgerInvalid as error:
        return _warn(error)
    return None


def _warn(error: LedgerInvalid) -> Finding:
    (finding,) = error.findings()
    return replace(finding, detail=(_UNDATED,), severity="warning")


def _make_run(report: DriftReport) -> DriftRun:
    counts = Counter(one.verdict for one in report.statuses)
    return DriftRun(report.made_at, report.inputs.commit, counts)


def _find_looked_at(report: DriftReport, *, everything: bool) -> Collection[Resource] | None:
    """Return the resources of which the report has each finding; None for all that can exist.

    What could not be read may still have the findings that it had.
    """
    read = [one.resource for one in report.statuses if one.verdict is not Verdict.INCOMPLETE]
    return None if everything and len(read) == len(report.statuses) else read
