"""Renders the plans of several environments as one report with a section for each.

A section is rendered when its plan is made, so that one plan at a time is in memory. An environment
that has no plan has its findings in its section.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from reconciler.model import Finding, Plan
from reconciler.model.values import dataclass
from reconciler.render.findings import describe_diagnostic, gather_findings, render_findings
from reconciler.render.plan.markdown import (
    MOST,
    code,
    describe_finding,
    render_plan_markdown,
    write_marker,
    write_prefix,
)
from reconciler.render.plan.text import (
    count_actions,
    describe_no_steps,
    render_plan,
    render_plan_json,
)
from reconciler.render.words.colour import Paint
from reconciler.text.counting import count
from reconciler.text.json_text import escape_json

FORMAT_VERSION: Final = "1.0"
_RULE: Final = "─" * 72
# No environment has this name.
_ALL: Final = "all"
_NO_PLAN: Final = "No plan"


@dataclass(frozen=True, slots=True)
class Section:
    """The plan of one environment in one format; `outcome` is its result in one word."""

    environment: str
    outcome: str
    title: str
    body: str


@dataclass(frozen=True, slots=True)
class SectionStyle:
    """How each section is rendered; `share` is the number of sections of the report."""

    form: str
    paint: Paint
    share: int = 1
    summary: bool = False
    full: bool = False


def make_section(plan: Plan, style: SectionStyle) -> Section:
    """Returns the section of a plan."""
    title = count_actions(plan) if plan.steps else describe_no_steps(plan)
    return Section(plan.inputs.environment, plan.outcome, title, _render(plan, style))


def _render(plan: Plan, style: SectionStyle) -> str:
    if style.form == "json":
        return f'"plan":{render_plan_json(plan).rstrip()}'
    if style.form == "markdown":
        return render_plan_markdown(plan, full=style.full, share=style.share)
    if style.form == "html":
        from reconciler.render.plan.html import render_plan_body  # noqa: PLC0415 - start-up

        prefix = f"{plan.inputs.environment}-"
        return render_plan_body(plan, full=style.full, prefix=prefix)
    return render_plan(plan, paint=style.paint, summary=style.summary, full=style.full)


def make_failed_section(
    environment: str, outcome: str, findings: Sequence[Finding], style: SectionStyle
) -> Section:
    """Returns the section of an environment whose plan cannot be made."""
    if style.form == "json":
        said = json.dumps([describe_diagnostic(one) for one in findings], separators=(",", ":"))
        return Section(environment, outcome, _NO_PLAN, f'"diagnostics":{escape_json(said)}')
    if style.form == "markdown":
        lines = [f"### {write_prefix(environment)}{_NO_PLAN}"]
        found = [describe_finding(*one) for one in gather_findings(findings)]
        kept: list[str] = []
        for line in found:
            if sum(map(len, kept)) + len(line) > MOST // style.share - 200:
                kept.append(f"> … and {count(len(found) - len(kept), 'more error')}")
                break
            kept.append(line)
        return Section(environment, outcome, _NO_PLAN, "\n\n".join([*lines, *kept]) + "\n")
    if style.form == "html":
        from reconciler.render.plan.html import render_failed_body  # noqa: PLC0415 - start-up

        body = render_failed_body(environment, _NO_PLAN, findings)
        return Section(environment, outcome, _NO_PLAN, body)
    where = f"{style.paint('bold', 'Environment:')} {environment}"
    said = render_findings(findings, paint=style.paint)
    return Section(environment, outcome, _NO_PLAN, f"{where}\n\n{said}")


def join_sections(
    sections: Sequence[Section], style: SectionStyle, project: str, outcome: str
) -> str:
    """Returns the whole report; `outcome` is the gravest one of its sections."""
    if style.form == "json":
        items = (
            f'{{"environment":{json.dumps(one.environment)},"outcome":"{one.outcome}",{one.body}}}'
            for one in sections
        )
        listed = f'"environments":[{",".join(items)}]'
        return f'{{"format_version":"{FORMAT_VERSION}","outcome":"{outcome}",{listed}}}\n'
    if style.form == "markdown":
        rows = [f"| {code(one.environment)} | {one.title} |" for one in sections]
        table = "\n".join(["| environment | |", "|---|---|", *rows])
        marker = write_marker("plan", project, _ALL)
        return "\n".join([marker, table, "", *(one.body for one in sections)])
    if style.form == "html":
        from reconciler.render.plan.html import render_plans_page  # noqa: PLC0415 - start-up

        return render_plans_page(
            project, [(one.environment, one.title, one.body) for one in sections]
        )
    width = max(len(one.environment) for one in sections)
    rows = [f"{one.environment.ljust(width)}   {one.title}" for one in sections]
    return f"\n\n{_RULE}\n\n".join([*(one.body for one in sections), "\n".join(rows)]) + "\n"
