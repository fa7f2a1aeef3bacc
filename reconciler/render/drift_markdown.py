"""A drift report as one bounded comment, in which nothing from outside is obeyed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reconciler.model import Drift, DriftReport, Standing, Verdict
from reconciler.pointers import split_pointer
from reconciler.reasons import format_author
from reconciler.render.drift import (
    count_hidden,
    count_verdicts,
    describe_knowledge,
    group_findings,
    list_values,
)
from reconciler.render.escape import show_path
from reconciler.render.markdown import code, keep_within, write_marker

_ROWS: Final = 25_000
_FINDINGS: Final = 30_000


def render_drift_markdown(report: DriftReport) -> str:
    """The report in less than 60,000 characters; what matters most is cut last."""
    away = [one for one in report.standings if one.verdict is not Verdict.IN_SYNC]
    lines = [write_marker("drift", report.inputs.project), f"### {count_verdicts(report)}"]
    if report.outcome == "evidence-incomplete":
        lines.append("\n> **Evidence incomplete**: what could not be read is not in sync.")
    if away:
        lines += ["", "| resource | verdict | last applied |", "|---|---|---|"]
        lines += keep_within((_row(one) for one in away), _ROWS)
        lines += ["", "<details><summary>What moved</summary>", ""]
        lines += keep_within(_findings(report), _FINDINGS)
        lines += ["", "</details>"]
    lines += ["", describe_knowledge(report)]
    hidden = count_hidden(report.findings)
    if hidden:
        lines += ["", code(hidden)]
    if report.baseline == "lost":
        lines += ["", "baseline: lost; only what is declared can be compared."]
    return "\n".join(lines) + "\n"


def _row(one: Standing) -> str:
    applied = code(format_author(one.memory)) if one.memory else ""
    return f"| {code(str(one.resource.address))} | **{one.verdict.value}** | {applied} |"


def _findings(report: DriftReport) -> Iterator[str]:
    for resource, findings in group_findings(report).items():
        yield f"- {code(str(resource.address))}"
        yield from (_line(one) for one in findings)


def _line(one: Drift) -> str:
    place = code(show_path(split_pointer(one.pointer))) if one.pointer else ""
    values = {"was": one.remembered, "live": one.live, "declared": one.declared}
    told = ", ".join(f"{name} {code(shown)}" for name, shown in list_values(values).items())
    parts = [
        f"**{one.verdict.value}**",
        place,
        "sensitive value" if one.hidden else told if one.pointer else "",
        code(one.note) if one.note else "",
        f"first seen {one.since[:10]}" if one.since else "",
        " or ".join(code(command) for command in one.settle),
    ]
    return "  - " + "; ".join(part for part in parts if part)
