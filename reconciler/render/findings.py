"""Renders findings as text for people, and as the JSON of `terraform validate -json`.

Every command that reports findings calls it. It changes no exit code and hides no finding in JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from reconciler.model import Finding, Json
from reconciler.render.words.colour import Paint
from reconciler.render.words.escape import cut, escape
from reconciler.render.words.grouping import gather
from reconciler.render.words.names import list_names
from reconciler.text.counting import count
from reconciler.text.json_text import escape_json

_MOST_SHOWN: Final = 200
_MOST_NAMED: Final = 100


def render_findings(findings: Sequence[Finding], *, paint: Paint) -> str:
    """Returns findings with a blank line between them; beyond `_MOST_SHOWN` only their number."""
    gathered = gather_findings(findings)
    shown = [
        _render(replace(one, detail=(names, *one.detail)) if names else one, paint)
        for one, names in gathered[:_MOST_SHOWN]
    ]
    if len(gathered) > _MOST_SHOWN:
        shown.append(f"… and {len(gathered) - _MOST_SHOWN} more; --json shows them all.")
    return "\n\n".join(shown)


def gather_findings(findings: Sequence[Finding]) -> list[tuple[Finding, str]]:
    """Merges a finding that several resources share; each comes with the names of the resources.

    Findings at different places stay separate, because the user must correct each place.
    """
    gathered: list[tuple[Finding, str]] = []
    for found in gather(findings, _sameness):
        subjects = list(dict.fromkeys(one.subject for one in found))
        if len(found) > 1 and len(subjects) == len(found):
            gathered.append((_merge(found), list_names(subjects, _MOST_NAMED)))
        else:
            gathered += [(one, "") for one in found]
    return gathered


def _sameness(finding: Finding) -> object:
    if not finding.subject:
        return id(finding)
    # The next step also says what is proven of a step, which may differ for each of them.
    said = "" if finding.guard else finding.next_step
    return finding.message, finding.place, finding.severity, finding.guard, said


def _merge(findings: Sequence[Finding]) -> Finding:
    first = findings[0]
    shared = all(one.detail == first.detail for one in findings)
    # Without an address, the flag overrides the guard for all resources.
    one, every = f"--allow {first.guard}={first.subject}", f"--allow {first.guard}"
    return replace(
        first,
        subject=count(len(findings), "resource"),
        detail=first.detail if shared else (f"For {first.subject}:", *first.detail),
        next_step=first.next_step.replace(one, every),
    )


def _render(finding: Finding, paint: Paint) -> str:
    word, colour = ("Error", "red") if finding.severity == "error" else ("Warning", "yellow")
    subject = f"{_line(finding.subject)}: " if finding.subject else ""
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
    """Returns Terraform's `validate -json`: valid, counts, and a diagnostic for each finding."""
    errors = sum(finding.severity == "error" for finding in findings)
    document = {
        "format_version": "1.0",
        "valid": not errors,
        "error_count": errors,
        "warning_count": len(findings) - errors,
        "diagnostics": [describe_diagnostic(finding) for finding in findings],
    }
    return escape_json(json.dumps(document, indent=2, ensure_ascii=False))


def render_failure_json(findings: Sequence[Finding], outcome: str) -> str:
    """Returns the JSON of a command that an error ended; `outcome` is the word of its exit code."""
    document = {
        "format_version": "1.0",
        "outcome": outcome,
        "diagnostics": [describe_diagnostic(finding) for finding in findings],
    }
    return escape_json(json.dumps(document, indent=2, ensure_ascii=False))


def describe_diagnostic(finding: Finding) -> Json:
    """Returns a finding in the form of a Terraform diagnostic."""
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
