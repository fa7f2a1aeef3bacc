"""A drift report as a person reads it: what moved, since when, and the command that settles it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from reconciler.drift_document import count_coverage
from reconciler.model import ABSENT, Absent, Drift, DriftReport, Json, Resource, Standing, Verdict
from reconciler.pointers import split_pointer
from reconciler.reasons import format_author
from reconciler.render.counting import count, show_duration
from reconciler.render.escape import cut, escape, shorten_uris, show_path, show_value
from reconciler.render.paint import Paint

_TABLE_ABOVE: Final = 20
_COLOURS: Final[Mapping[Verdict, str]] = {
    Verdict.IN_SYNC: "green",
    Verdict.PENDING: "cyan",
    Verdict.UNMANAGED: "cyan",
    Verdict.CREDENTIAL_EXPIRING: "yellow",
    Verdict.DRIFTED: "yellow",
}


def render_drift(report: DriftReport, *, paint: Paint) -> str:
    """The whole report: what was found of each resource, then what is known and how well."""
    found = group_findings(report)
    away = [one for one in report.standings if one.verdict is not Verdict.IN_SYNC]
    parts = [_render_table(away, paint)] if len(away) > _TABLE_ABOVE else []
    parts += [_render_resource(one, found.get(one.resource, []), report, paint) for one in away]
    parts.append("\n".join(_closing(report, paint)))
    return "\n\n".join(part for part in parts if part)


def group_findings(report: DriftReport) -> dict[Resource, list[Drift]]:
    """The findings of each resource; what can never be observed is told by `count_hidden`."""
    found: dict[Resource, list[Drift]] = {}
    for finding in report.findings:
        if finding.verdict is not Verdict.NOT_OBSERVABLE:
            found.setdefault(finding.resource, []).append(finding)
    return found


def _render_table(standings: Sequence[Standing], paint: Paint) -> str:
    width = max(len(one.verdict.value) for one in standings)
    return "\n".join(
        f"  {_verdict(one.verdict, paint)}{' ' * (width - len(one.verdict.value))}"
        f"  {escape(str(one.resource.address))}"
        for one in standings
    )


def _verdict(verdict: Verdict, paint: Paint) -> str:
    return paint(_COLOURS.get(verdict, "red"), verdict.value)


def _render_resource(
    standing: Standing, findings: Sequence[Drift], report: DriftReport, paint: Paint
) -> str:
    applied = f", last applied {format_author(standing.memory)}" if standing.memory else ""
    name = paint("bold", escape(str(standing.resource.address)))
    lines = [f"  # {name}: {_verdict(standing.verdict, paint)}{escape(applied)}"]
    for finding in findings:
        lines += [f"    {line}" for line in describe_finding(finding, report.made_at)]
    return "\n".join(lines)


def describe_finding(finding: Drift, now: str) -> Iterator[str]:
    """What, the three values, since when, and what settles it: a line each."""
    place = show_path(split_pointer(finding.pointer))
    head = ": ".join(part for part in (finding.verdict.value, place) if part)
    note = f" ({escape(cut(finding.note, 300))})" if finding.note else ""
    yield f"{head}{note}"
    if finding.hidden:
        yield "    (sensitive value)"
    elif finding.pointer:
        yield from _show_values(finding)
    if finding.since:
        yield f"    first seen {finding.since[:10]}{_age(finding.since, now)}"
    yield from (f"    {'settle:' if n == 0 else 'or:    '} {escape(command)}"
                for n, command in enumerate(finding.settle))  # fmt: skip


def _show_values(finding: Drift) -> Iterator[str]:
    told = {"remembered": finding.remembered, "live": finding.live, "declared": finding.declared}
    shown = list_values(told)
    for name, value in shown.items():
        yield f"    {name.ljust(10)} {value}"


def list_values(told: Mapping[str, Json | Absent]) -> dict[str, str]:
    """The values that there are, addresses without what they share."""
    there = {name: value for name, value in told.items() if value is not ABSENT}
    if all(isinstance(value, str) and "://" in value for value in there.values()):
        shortened = shorten_uris(*there.values())
        shown = {name: f'"{escape(cut(one))}"' for name, one in zip(there, shortened, strict=True)}
    else:
        shown = {name: show_value(value) for name, value in there.items()}
    return {
        name: shown.get(name, "(not there)") for name in told if name in shown or name == "live"
    }


def _age(since: str, now: str) -> str:
    seconds = (datetime.fromisoformat(now) - datetime.fromisoformat(since)).total_seconds()
    return f", {show_duration(seconds)} ago" if seconds >= 1 else ""


def count_verdicts(report: DriftReport) -> str:
    """Such as `Drift: 1 drifted, 2 pending; 5 of 8 in sync.`."""
    counted = Counter(one.verdict for one in report.standings)
    total = sum(counted.values())
    calm = counted.pop(Verdict.IN_SYNC, 0)
    if not counted:
        return f"No drift. {count(total, 'service')} in sync."
    said = ", ".join(f"{number:,} {verdict.value}" for verdict, number in sorted(counted.items()))
    return f"Drift: {said}; {calm:,} of {total:,} in sync."


def describe_knowledge(report: DriftReport) -> str:
    """How much of what is managed is known, and how fresh that is."""
    covered, refresh = count_coverage(report), report.refresh
    said = (
        f"Coverage: {covered['known']:,} of {count(covered['total'], 'service')};"
        f" read {refresh.read:,} in {count(refresh.calls, 'call')}"
    )
    if refresh.oldest:
        said += f"; oldest observation {show_duration(refresh.oldest)}"
    return f"{said}."


def count_hidden(findings: Iterable[Drift]) -> str:
    """What the service never shows, in one sentence; empty where there is none."""
    hidden = [one for one in findings if one.verdict is Verdict.NOT_OBSERVABLE]
    if not hidden:
        return ""
    notes = sorted({one.note.removeprefix("set when last applied ") for one in hidden})
    when = escape(cut(notes[0])) if len(notes) == 1 else f"{len(notes)} different times"
    services = count(len({one.resource for one in hidden}), "service")
    return f"Not observable: {count(len(hidden), 'declared value')} of {services} (set {when})."


def _closing(report: DriftReport, paint: Paint) -> Iterator[str]:
    word, _, rest = count_verdicts(report).partition(" ")
    if report.outcome == "in-sync":
        yield paint("green", count_verdicts(report))
    else:
        yield f"{paint('bold', word)} {rest}"
    if report.outcome == "evidence-incomplete":
        yield paint("red", "Evidence incomplete") + ": what could not be read is not in sync."
    hidden = count_hidden(report.findings)
    if hidden:
        yield hidden
    if report.baseline == "lost":
        yield "baseline: lost. There is no ledger, so only what is declared can be compared."
    yield describe_knowledge(report)
