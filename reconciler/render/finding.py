"""Findings in the one form in which errors are shown, and as Terraform's validation JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

from reconciler.json_text import escape_json
from reconciler.model import Finding, Json
from reconciler.render.escape import cut, escape
from reconciler.render.paint import Paint

_MOST_SHOWN = 200


def render_findings(findings: Sequence[Finding], *, paint: Paint) -> str:
    """Every finding, a blank line between two; beyond some hundreds they are counted."""
    shown = [_render(finding, paint) for finding in findings[:_MOST_SHOWN]]
    if len(findings) > _MOST_SHOWN:
        shown.append(f"… and {len(findings) - _MOST_SHOWN} more; --json has them all.")
    return "\n\n".join(shown)


def _render(finding: Finding, paint: Paint) -> str:
    word, colour = ("Error", "red") if finding.severity == "error" else ("Warning", "yellow")
    subject = f"{escape(finding.subject)}: " if finding.subject else ""
    lines = [f"{paint(colour, word + ':')} {paint('bold', subject + _line(finding.message))}"]
    place = finding.place
    middle = []
    if place is not None:
        middle.append(f"  on {escape(place.file)} line {place.line}, column {place.column}")
    middle += [f"  {_line(line)}" for line in finding.detail]
    if middle:
        lines += ["", *middle]
    if finding.next_step:
        lines += ["", f"  {_line(finding.next_step)}"]
    return "\n".join(lines)


def _line(text: str) -> str:
    return escape(cut(text, 600))


def render_findings_json(findings: Sequence[Finding]) -> str:
    """Terraform's `validate -json`: valid, counts, and a diagnostic for each finding."""
    errors = sum(finding.severity == "error" for finding in findings)
    document = {
        "format_version": "1.0",
        "valid": not errors,
        "error_count": errors,
        "warning_count": len(findings) - errors,
        "diagnostics": [describe_diagnostic(finding) for finding in findings],
    }
    return escape_json(json.dumps(document, indent=2, ensure_ascii=False))


def describe_diagnostic(finding: Finding) -> Json:
    """A finding as one of Terraform's diagnostics."""
    said: dict[str, Json] = {
        "severity": finding.severity,
        "summary": finding.message,
        "detail": "\n".join([*finding.detail, *([finding.next_step] if finding.next_step else [])]),
    }
    if finding.subject:
        said["address"] = finding.subject
    if finding.place is not None:
        start = {"line": finding.place.line, "column": finding.place.column}
        said["range"] = {"filename": finding.place.file, "start": start}
    return said
