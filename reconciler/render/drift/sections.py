"""Renders the drift reports of several environments as one text, Markdown or JSON document.

An environment without a report has its findings in its section, and hides no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from reconciler.model import DriftReport, FailedReport, Json
from reconciler.plans.drift_file import drift_document
from reconciler.render.drift.markdown import render_drift_markdown
from reconciler.render.drift.text import count_verdicts, render_drift
from reconciler.render.findings import describe_diagnostic, gather_findings, render_findings
from reconciler.render.plan.markdown import (
    MOST,
    code,
    describe_finding,
    keep_within,
    write_marker,
    write_prefix,
)
from reconciler.render.words.colour import Paint
from reconciler.render.words.escape import escape
from reconciler.text.json_text import canonical, escape_json

_FORMAT_VERSION: Final = "1.0"
_RULE: Final = "─" * 72
# No environment has this name.
_ALL: Final = "all"
_NO_REPORT: Final = "No drift report"


def join_reports(
    form: str,
    reports: Sequence[DriftReport],
    failed: Sequence[FailedReport],
    outcome: str,
    paint: Paint,
) -> str:
    """Returns one document with a section for each environment, sorted by name.

    `form` is text, markdown or json; `outcome` is the gravest one.
    """
    every: list[DriftReport | FailedReport] = [*reports, *failed]
    sections = sorted(every, key=_name)
    if form == "json":
        return _join_json(sections, outcome)
    if form == "markdown":
        return _join_markdown(sections)
    return _join_text(sections, paint)


def _name(one: DriftReport | FailedReport) -> str:
    return one.inputs.environment if isinstance(one, DriftReport) else one.environment


def _show_name(one: DriftReport | FailedReport) -> str:
    return escape(_name(one))


def _title(one: DriftReport | FailedReport) -> str:
    return count_verdicts(one) if isinstance(one, DriftReport) else _NO_REPORT


def _join_json(sections: Sequence[DriftReport | FailedReport], outcome: str) -> str:
    items: list[Json] = [
        {"environment": _name(one), "outcome": one.outcome, "drift": drift_document(one)}
        if isinstance(one, DriftReport)
        else {
            "environment": one.environment,
            "outcome": "error",
            "diagnostics": [describe_diagnostic(each) for each in one.findings],
        }
        for one in sections
    ]
    document: Json = {"format_version": _FORMAT_VERSION, "outcome": outcome, "environments": items}
    return escape_json(canonical(document)) + "\n"


def _join_markdown(sections: Sequence[DriftReport | FailedReport]) -> str:
    projects = [one.inputs.project for one in sections if isinstance(one, DriftReport)]
    marker = write_marker("drift", projects[0] if projects else "", _ALL)
    rows = [f"| {code(_name(one))} | {_title(one)} |" for one in sections]
    table = "\n".join([marker, "| environment | |", "|---|---|", *rows])
    bodies = [_render_section(one, len(sections)) for one in sections]
    return "\n".join([table, "", *bodies])


def _render_section(one: DriftReport | FailedReport, share: int) -> str:
    if isinstance(one, DriftReport):
        return render_drift_markdown(one, share=share)
    found = (f"\n{describe_finding(*each)}" for each in gather_findings(one.findings))
    lines = [f"### {write_prefix(one.environment)}{_NO_REPORT}"]
    return "\n".join([*lines, *keep_within(found, MOST // share - 200)]) + "\n"


def _join_text(sections: Sequence[DriftReport | FailedReport], paint: Paint) -> str:
    width = max(len(_show_name(one)) for one in sections)
    bodies = [
        render_drift(one, paint=paint)
        if isinstance(one, DriftReport)
        else f"{paint('bold', 'Environment:')} {_show_name(one)}\n\n"
        f"{render_findings(one.findings, paint=paint)}"
        for one in sections
    ]
    rows = "\n".join(f"{_show_name(one).ljust(width)}   {_title(one)}" for one in sections)
    return f"\n\n{_RULE}\n\n".join([*bodies, rows]) + "\n"
