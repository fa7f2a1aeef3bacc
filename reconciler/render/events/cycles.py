"""Describes a cycle of `watch`: one line for each, and only what is new since the last one.

Both sinks call it. It prints nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from typing import Final

from reconciler.document.pointers import split_pointer
from reconciler.model import Drift, DriftReport, Finding, LockOwner, Verdict
from reconciler.model.values import dataclass
from reconciler.model.watch import Cycle, CycleOutcome
from reconciler.render.drift.text import count_verdicts, render_drift_groups
from reconciler.render.words.colour import Paint
from reconciler.render.words.escape import cut, escape, show_path
from reconciler.text.counting import count

_LONGEST: Final = 600


def describe_cycle(cycle: Cycle) -> str:
    """Returns such as `prod: Drift: 1 drifted; 7 of 8 in sync. 1 applied.`."""
    where = f"{escape(cycle.environment)}: " if cycle.environment else ""
    return where + " ".join([_describe_outcome(cycle), *_count_changes(cycle)])


def render_cycle(cycle: Cycle, news: News, paint: Paint) -> Iterator[str]:
    """Yields the lines of a cycle: its time and outcome, and the differences that are new."""
    yield f"{cycle.ended_at[11:]} {describe_cycle(cycle)}"
    for finding in news.ended:
        place = show_path(split_pointer(finding.pointer))
        said = " ".join(filter(None, [finding.verdict.value, place]))
        yield f"  # {escape(str(finding.resource.address))}: no longer {said}"
    if news.drift is not None:
        yield "\n  Before the apply:\n" if cycle.found is not None else ""
        yield f"{render_drift_groups(news.drift, paint=paint)}\n"


def _describe_outcome(cycle: Cycle) -> str:
    if cycle.outcome is CycleOutcome.STANDBY:
        return f"Standby: {describe_leader(cycle.leader)}."
    if cycle.outcome is CycleOutcome.INTERRUPTED:
        return "Interrupted."
    if cycle.outcome is CycleOutcome.FAILED or cycle.report is None:
        return f"Failed: {_first(cycle.errors)}"
    unproven = cycle.outcome is CycleOutcome.INCOMPLETE
    if unproven and cycle.errors:
        return f"Not proven to be in sync: {_first(cycle.errors)}"
    said = count_verdicts(cycle.report)
    return f"{said} Evidence incomplete." if unproven else said


def describe_leader(leader: LockOwner | None) -> str:
    """Returns which other process leads."""
    if leader is None:
        return "another process leads"
    who, host = escape(cut(leader.who, 200)), escape(cut(leader.host, 200))
    return f"{who} on {host}, process {leader.pid}, leads since {escape(cut(leader.since, 40))}"


def _count_changes(cycle: Cycle) -> list[str]:
    counted = {
        "ignored": len(cycle.report.ignored) if cycle.report is not None else 0,
        "applied": len(cycle.applied),
        "left": len(cycle.left),
        "in quarantine": len(cycle.quarantined),
    }
    said = [f"{number:,} {word}." for word, number in counted.items() if number]
    reported = cycle.report is not None and cycle.outcome is not CycleOutcome.INCOMPLETE
    compared = cycle.outcome in {CycleOutcome.IN_SYNC, CycleOutcome.DRIFT}
    if cycle.report is not None and compared and cycle.report.baseline == "lost":
        said.append("No ledger exists, so only declared values are compared.")
    return [*said, f"{count(len(cycle.errors), 'problem')}."] if cycle.errors and reported else said


def _first(errors: tuple[Finding, ...]) -> str:
    if not errors:
        return "it is not known why."
    place = errors[0].place
    name = errors[0].subject or (place.file if place is not None else "")
    subject = f"{name}: " if name else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return escape(cut(f"{subject}{errors[0].message}".rstrip("."), _LONGEST)) + f"{more}."


@dataclass(frozen=True)
class News:
    """What a cycle found that the one before it in the same environment had not.

    `drift` is the report with the new differences only; None without any. `ended` are the
    differences that exist no longer. `findings` are the new errors, and the changes that are left.
    """

    drift: DriftReport | None = None
    ended: tuple[Drift, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass
class CycleMemory:
    """What the last cycle of each environment found, so that a line is not printed again."""

    _open: dict[str, Mapping[str, Drift]] = field(default_factory=dict)
    _findings: dict[str, frozenset[Finding]] = field(default_factory=dict)

    def compare(self, cycle: Cycle) -> News:
        """Returns what is new in a cycle, and remembers the cycle."""
        said = tuple(dict.fromkeys((*cycle.errors, *cycle.left)))
        before = self._findings.get(cycle.environment, frozenset())
        news = News(findings=tuple(one for one in said if one not in before))
        if cycle.outcome is not CycleOutcome.STANDBY:
            self._findings[cycle.environment] = frozenset(said)
        if cycle.report is None:
            return news
        open_before = self._open.get(cycle.environment, {})
        found = _index(cycle.report)
        # A resource that could not be read may still have its differences.
        unread = {one.resource for one in cycle.report.statuses if not one.observed_at}
        kept = {
            key: one
            for key, one in open_before.items()
            if key not in found and one.resource in unread and one.verdict is not Verdict.INCOMPLETE
        }
        ended = [one for key, one in open_before.items() if key not in found and key not in kept]
        # The report before the apply also has what the cycle has changed since.
        first = cycle.found or cycle.report
        new = tuple(one for key, one in _index(first).items() if key not in open_before)
        drift = _select(first, new) if new else None
        # What only the report after an apply has is shown with the next cycle.
        shown = open_before.keys() | _index(first).keys()
        self._open[cycle.environment] = {
            key: one for key, one in (found | kept).items() if key in shown
        }
        return replace(news, drift=drift, ended=tuple(ended))


def _index(report: DriftReport) -> dict[str, Drift]:
    return {one.key: one for one in report.findings if one.verdict is not Verdict.NOT_OBSERVABLE}


def _select(report: DriftReport, findings: tuple[Drift, ...]) -> DriftReport:
    """The report with some of its findings, and the resources that have them."""
    resources = {one.resource for one in findings}
    statuses = tuple(one for one in report.statuses if one.resource in resources)
    return replace(report, findings=findings, statuses=statuses)
