"""Renders a drift report as one Markdown comment of bounded length.

Text from outside is always in a code span or a fence, so that no Markdown in it has an effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from reconciler.document.pointers import split_pointer
from reconciler.model import Drift, DriftReport
from reconciler.plans.reasons import format_author
from reconciler.render.drift.groups import DriftGroup, group_statuses
from reconciler.render.drift.history import (
    count_expired,
    count_ignored,
    count_known,
    count_new,
    count_overwritten,
    describe_age,
    describe_trend,
    list_expired,
    list_ignored,
    list_overwritten,
)
from reconciler.render.drift.text import (
    count_hidden,
    count_verdicts,
    describe_knowledge,
    describe_note,
    list_commands,
    list_values,
)
from reconciler.render.plan.markdown import code, keep_within, write_marker, write_prefix
from reconciler.render.words.escape import show_path

_ROWS: Final = 25_000
_FINDINGS: Final = 25_000
_IGNORED: Final = 2_500
_NAMED: Final = 8


def render_drift_markdown(report: DriftReport, *, share: int = 0) -> str:
    """Returns the report in less than 60,000 characters; the most important parts come first.

    With a `share`, it is a part of a comment with so many parts, and has no marker.
    """
    groups = group_statuses(report)
    environment = report.inputs.environment
    marker = [] if share else [write_marker("drift", report.inputs.project, environment)]
    lines = [*marker, f"### {write_prefix(environment)}{count_verdicts(report)}"]
    if report.outcome == "evidence-incomplete":
        lines.append("\n> **Evidence incomplete**: some resources could not be read.")
    if groups:
        lines += ["", "| resource | verdict | last applied |", "|---|---|---|"]
        lines += keep_within((_row(one) for one in groups), _ROWS // max(share, 1))
        lines += ["", "<details><summary>What changed</summary>", ""]
        lines += keep_within(_findings(groups, report.made_at), _FINDINGS // max(share, 1))
        lines += ["", "</details>"]
    lines += ["", *filter(None, (count_new(report), count_known(report), describe_trend(report)))]
    lines.append(describe_knowledge(report))
    hidden = count_hidden(report.findings)
    if hidden:
        lines += ["", code(hidden)]
    lines += _fold(count_ignored(report), list_ignored(report), share)
    lines += _fold(count_expired(report), list_expired(report), share)
    lines += _fold(count_overwritten(report), list_overwritten(report), share)
    if report.baseline == "lost":
        lines += ["", "baseline: lost; only declared values can be compared."]
    return "\n".join(lines) + "\n"


def _fold(said: str, found: Iterator[str], share: int) -> list[str]:
    """Return lines that stay folded under a sentence, if there is one."""
    if not said:
        return []
    listed = keep_within((f"- {code(line)}" for line in found), _IGNORED // max(share, 1))
    return ["", f"<details><summary>{said}</summary>", "", *listed, "", "</details>"]


def _row(group: DriftGroup) -> str:
    authors = {format_author(one.last_applied) for one in group.statuses}
    author = authors.pop() if len(authors) == 1 else ""
    applied = code(author) if author else ""
    return f"| {_who(group)} | **{group.verdict.value}** | {applied} |"


def _who(group: DriftGroup) -> str:
    return code(group.title) + ("" if group.alone else f" {code(group.list_names(_NAMED))}")


def _findings(groups: Sequence[DriftGroup], now: str) -> Iterator[str]:
    for group in groups:
        yield f"- {_who(group)}"
        yield from (_line(one, now) for one in group.places)


def _line(findings: Sequence[Drift], now: str) -> str:
    one = findings[0]
    place = code(show_path(split_pointer(one.pointer))) if one.pointer else ""
    note = describe_note(findings)
    parts = [
        f"**{one.verdict.value}**",
        place,
        "sensitive value" if one.hidden else _values(findings) if one.pointer else "",
        code(note) if note else "",
        describe_age(findings, now),
        " or ".join(code(command) for command in list_commands(findings)),
    ]
    return "  - " + "; ".join(part for part in parts if part)


def _values(findings: Sequence[Drift]) -> str:
    words = {"remembered": "was", "live": "live", "declared": "declared"}
    return ", ".join(
        " ".join([words[name], code(shown), *(f"({code(note)})" for note in notes)])
        for name, (shown, notes) in list_values(findings).items()
    )
