"""Renders drift reports as one HTML page that loads nothing else and is accessible without a mouse.

The page is the same for the same reports: an age is the age when the report was made. Evidence that
is incomplete is never shown in green.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from typing import Final

from markupsafe import Markup

from reconciler.document.pointers import split_pointer
from reconciler.model import DriftReport, FailedReport, Finding, Verdict
from reconciler.model.values import dataclass
from reconciler.plans.drift_file import count_coverage
from reconciler.render.drift.charts import (
    Picture,
    draw_ages,
    draw_strip,
    draw_trend,
    list_runs,
    name_class,
)
from reconciler.render.drift.history import count_known, count_overwritten, list_overwritten
from reconciler.render.drift.page import AGES, ORDER, PageRow, count_ages, make_data, make_rows
from reconciler.render.drift.text import count_hidden, describe_knowledge
from reconciler.render.pages.templates import render_page, write_data
from reconciler.render.words.escape import escape, show_path
from reconciler.text.commits import name_commit, shorten_commit
from reconciler.text.counting import agree, count
from reconciler.text.durations import show_duration

# Not the first two of a URI.
_SLASH: Final = re.compile(r"(?<=[^:/])/")
_NAMES: Final = {"remembered": "last applied", "live": "live", "declared": "declared"}
_LAYERS: Final = {
    "error": "error",
    "warning": "warning",
    "note": "note",
    "incomplete": "evidence incomplete",
}
_OUTCOMES: Final = {
    "in-sync": "in sync",
    "drift": "drift",
    "evidence-incomplete": "evidence incomplete",
}


@dataclass(frozen=True, slots=True)
class PageEnvironment:
    """The head and the strip of one environment; `start` is its first item in the array."""

    number: int
    name: str
    title: str
    cloud: str
    outcome: str
    coverage: str
    oldest: str
    made_at: str
    commit: str
    files: int
    knowledge: str
    hidden: str
    start: int
    total: int
    said: str
    strip: Picture


def render_drift_page(reports: Sequence[DriftReport], failed: Sequence[FailedReport] = ()) -> str:
    """Returns one page of the reports of a project, one report for each environment.

    An environment in `failed` is a notice, and then the page is never green. If it also has a
    report, that one is of an earlier run. Findings that --new-only leaves out are shown: the page
    is for people, and only the exit code leaves them out.
    """
    reports = [replace(one, findings=(*one.findings, *one.known)) for one in reports]
    rows = make_rows(reports)
    return render_page(
        "drift/drift.html.j2",
        _describe(reports, rows) | (_describe_failed(reports, failed) if failed else {}),
        styles=["drift/drift.css"],
        scripts=["drift/drift.js"],
    )


def _describe(reports: Sequence[DriftReport], rows: Sequence[PageRow]) -> dict[str, object]:
    """Returns the values of the template."""
    counted = Counter(one.verdict for report in reports for one in report.statuses)
    total, in_sync = counted.total(), counted[Verdict.IN_SYNC]
    ages, trends = count_ages(reports), list(_make_trends(reports))
    return {
        "project": reports[0].inputs.project if reports else "",
        "title": _make_title(reports, counted),
        "tone": _choose_tone(reports, counted),
        "unproven": _describe_unproven(reports, counted),
        "sentences": list(_make_sentences(reports, counted)),
        "many": len(reports) > 1,
        "unreported": [],
        "environments": list(_make_environments(reports)),
        "notices": list(_make_notices(reports)),
        "total": total,
        "dated": any(number for name, number in ages.items() if name != "unknown"),
        "counts": [(one, counted[one]) for one in ORDER if counted[one]],
        "ages": [(name, words, ages[name]) for name, words, _ in AGES if name in ages],
        "age_bar": draw_ages(ages),
        "ages_said": _describe_ages(ages),
        "trends": trends,
        "rows": rows,
        "list_title": "Not in sync" if total - in_sync else "Services",
        "unlisted": _describe_unlisted(rows, total - in_sync),
        "ignored": [(one.inputs.environment, each) for one in reports for each in one.ignored],
        "names": _NAMES,
        "layers": _LAYERS,
        "drawn": {name for one in trends for name in one.picture.paths},
        "slug": name_class,
        "show_pointer": _show_pointer,
        "when": _show_time,
        "breakable": _break_path,
        "break_uri": _break_uri,
        "news": _has_news(reports),
        "short_commit": shorten_commit,
        "data": write_data(make_data(reports, rows)),
    }


def _describe_failed(
    reports: Sequence[DriftReport], failed: Sequence[FailedReport]
) -> dict[str, object]:
    """Returns the values of the template that differ if an environment has no new report."""
    counted = Counter(one.verdict for report in reports for one in report.statuses)
    older = {report.inputs.environment for report in reports}
    missing = [one.environment for one in failed if one.environment not in older]
    said = f"No report of {', '.join(missing)}." if missing else "No new report."
    tone = _choose_tone(reports, counted)
    others = _make_title(reports, counted) if reports else ""
    return {
        "title": f"{said} {others}".strip(),
        "tone": "unknown" if tone == "calm" else tone,
        "many": bool(missing) or len(reports) > 1,
        "unreported": missing,
        "notices": [*(_notice_of_failed(one, older) for one in failed), *_make_notices(reports)],
    }


def _notice_of_failed(failed: FailedReport, older: Container[str]) -> PageNotice:
    lines = [line for one in failed.findings for line in _list_lines(one)]
    of = f" of {failed.environment}" if failed.environment else ""
    if failed.environment in older:
        return PageNotice(f"The last run{of} made no report: the one below is older", lines)
    return PageNotice(f"No drift report{of}", lines)


def _list_lines(finding: Finding) -> Iterator[str]:
    subject = f"{finding.subject}: " if finding.subject else ""
    yield f"{subject}{finding.message}"
    if finding.place is not None:
        yield f"on {finding.place.file} line {finding.place.line}"
    yield from filter(None, (*finding.detail, finding.next_step))


def _show_pointer(pointer: str) -> str:
    return show_path(split_pointer(pointer))


def _show_time(text: str) -> str:
    """`2026-11-30 06:00 UTC`."""
    return f"{text[:10]} {text[11:16]} UTC" if text.endswith("Z") else text


def _break_path(text: str) -> Markup:
    """The text with a place for a line break after each dot."""
    return Markup(".<wbr>").join(escape(text).split("."))


def _break_uri(text: str) -> Markup:
    """The text with a place for a line break after each slash."""
    return Markup("/<wbr>").join(_SLASH.split(text))


def _make_title(reports: Sequence[DriftReport], counted: Counter[Verdict]) -> str:
    total, unknown = counted.total(), counted[Verdict.INCOMPLETE]
    away = total - unknown - counted[Verdict.IN_SYNC]
    outcomes = {one.outcome for one in reports}
    if "drift" in outcomes:
        return (
            f"Drift: {away:,} of {count(total, 'service')} {agree(away, 'is', 'are')} not in sync"
        )
    if unknown or outcomes - {"in-sync"}:
        them = f"the state of {unknown:,} of {count(total, 'service')}" if unknown else "not all"
        return f"Evidence incomplete: {them} is not known"
    if any(one.baseline == "lost" for one in reports):
        return f"No drift in what is declared: {count(total, 'service')}"
    return f"No drift: {count(total, 'service')} in sync" if total else "No service is managed"


def _choose_tone(reports: Sequence[DriftReport], counted: Counter[Verdict]) -> str:
    """The colour of the outcome; green only if all is known and in sync."""
    found = {verdict.severity for verdict in counted if verdict is not Verdict.IN_SYNC}
    if any(one.outcome == "drift" for one in reports):
        return next(one for one in ("error", "warning", "note") if one in found or one == "note")
    known = all(
        one.outcome == "in-sync" and one.baseline == "kept" and one.lost is None for one in reports
    )
    calm = known and counted[Verdict.IN_SYNC] == counted.total() > 0
    return "calm" if calm else "unknown"


def _describe_unproven(reports: Sequence[DriftReport], counted: Counter[Verdict]) -> str:
    """What is not known or was not asked for, if the title leaves it out."""
    part = _describe_part(reports)
    return " ".join(filter(None, (_describe_unknown(reports, counted), part)))


def _describe_part(reports: Sequence[DriftReport]) -> str:
    """The choice of a report that is not about the whole project."""
    if all(one.whole for one in reports):
        return ""
    inputs = reports[0].inputs
    chosen = [
        f"{word} {', '.join(names)}"
        for word, names in (("only", inputs.targets), ("not", inputs.excluded))
        if names
    ]
    return f"This report is about a part of the project: {'; '.join(chosen) or 'some manifests'}."


def _describe_unknown(reports: Sequence[DriftReport], counted: Counter[Verdict]) -> str:
    unknown, outcomes = counted[Verdict.INCOMPLETE], {one.outcome for one in reports}
    if unknown:
        said = f"Evidence incomplete: the state of {count(unknown, 'service')} is not known."
        return said if "drift" in outcomes else ""
    return "Not all could be read." if "evidence-incomplete" in outcomes else ""


def _make_sentences(reports: Sequence[DriftReport], counted: Counter[Verdict]) -> Iterator[str]:
    in_sync = counted[Verdict.IN_SYNC]
    if in_sync and in_sync < counted.total():
        yield f"{count(in_sync, 'service')} {agree(in_sync, 'is', 'are')} in sync."
    fresh = sum(one.is_new for report in reports for one in report.findings
                if one.verdict is not Verdict.NOT_OBSERVABLE)  # fmt: skip
    if fresh and _has_news(reports):
        yield f"{count(fresh, 'finding')} {agree(fresh, 'is', 'are')} new."
    ignored = sum(len(one.ignored) for one in reports)
    if ignored:
        yield f"{count(ignored, 'finding')} {agree(ignored, 'is', 'are')} ignored."


def _has_news(reports: Sequence[DriftReport]) -> bool:
    """Whether an earlier run or a baseline says which findings are new."""
    return any(
        len(report.runs) > 1 or not all(one.is_new for one in report.findings) for report in reports
    )


def _make_environments(reports: Sequence[DriftReport]) -> Iterator[PageEnvironment]:
    start, most = 0, max((len(one.statuses) for one in reports), default=0)
    for number, report in enumerate(reports):
        covered, inputs = count_coverage(report), report.inputs
        total = len(report.statuses)
        title = inputs.environment or inputs.project
        yield PageEnvironment(
            number=number,
            name=inputs.environment,
            title=title,
            cloud=inputs.cloud,
            outcome=_OUTCOMES[report.outcome],
            coverage=f"{covered['known']:,} of {count(covered['total'], 'service')}",
            oldest=show_duration(report.refresh.oldest)
            if report.refresh.oldest
            else "none: all was read",
            made_at=report.made_at,
            commit=name_commit(inputs.commit, dirty=inputs.dirty),
            files=len(inputs.files),
            knowledge=describe_knowledge(report),
            hidden=count_hidden(report.findings),
            start=start,
            total=total,
            said=f"{title}: {_count_classes(report)}",
            strip=draw_strip(report, most),
        )
        start += total


def _count_classes(report: DriftReport) -> str:
    counted = Counter(one.verdict for one in report.statuses)
    return ", ".join(f"{counted[one]:,} {one.value}" for one in ORDER if counted[one])


def _describe_ages(ages: dict[str, int]) -> str:
    return ", ".join(f"{ages[name]:,} {words}" for name, words, _ in AGES if ages.get(name))


@dataclass(frozen=True, slots=True)
class PageNotice:
    """A message that limits what the report proves, with its lines."""

    message: str
    lines: Sequence[str]


def _make_notices(reports: Sequence[DriftReport]) -> Iterator[PageNotice]:
    for report in reports:
        yield from map(_notice_of, filter(None, (report.lost, report.history_lost)))
        if report.overwritten:
            yield PageNotice(count_overwritten(report), list(list_overwritten(report)))
        if report.known:
            said = "They are in the list below and do not change the exit code."
            yield PageNotice(count_known(report), (said,))
        if report.baseline == "lost":
            yield PageNotice(
                "The baseline is lost",
                ("No ledger exists, so only declared values can be compared.",),
            )
        for rule in report.expired:
            yield PageNotice(
                f"A rule of {rule.place.file} has expired: {rule.address} {rule.pointer}".rstrip(),
                (
                    f"on {rule.place.file} line {rule.place.line}",
                    f"until {rule.until}, owner {rule.owner}, reason: {rule.reason}",
                ),
            )


def _notice_of(finding: Finding) -> PageNotice:
    lines = (finding.subject, *finding.detail, finding.next_step)
    return PageNotice(finding.message, [one for one in lines if one])


@dataclass(frozen=True, slots=True)
class PageTrend:
    """The last runs of one environment, the newest first, each with what was not in sync."""

    number: int
    name: str
    runs: Sequence[tuple[object, int]]
    most: int
    said: str
    picture: Picture

    @property
    def drawn(self) -> bool:
        """Whether there is more than one run to compare."""
        return len(self.runs) > 1


def _make_trends(reports: Sequence[DriftReport]) -> Iterator[PageTrend]:
    for number, report in enumerate(reports):
        runs = list(list_runs(report))
        if runs:
            away = [found for _, found in runs]
            first, last = runs[-1][0].at[:10], runs[0][0].at[:10]
            said = (
                f"Not in sync over {count(len(runs), 'run')}: {away[-1]:,} on {first},"
                f" {away[0]:,} on {last}, at most {max(away):,}"
            )
            name = report.inputs.environment
            yield PageTrend(number, name, runs, max(away), said, draw_trend(report.runs))


def _describe_unlisted(rows: Sequence[PageRow], away: int) -> str:
    left = away - sum(len(row.group.statuses) for row in rows)
    if not left:
        return ""
    return (
        f"This page has no details of {count(left, 'more service')} that {agree(left, 'is', 'are')}"
        " not in sync; reconciler drift --format json has them."
    )
