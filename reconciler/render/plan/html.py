"""Renders a plan as one HTML page, or the plans of several environments as one.

`render/pages` has what all pages share. The page lists what destroys something or cannot be undone
first and last, and groups equal changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from reconciler.model import Finding, Plan
from reconciler.plans.plan_file import find_digests
from reconciler.render.pages.templates import render_page, render_part
from reconciler.render.plan.changes import describe_more
from reconciler.render.plan.page import WORDS, count_by_word, make_entries, make_notices
from reconciler.render.plan.rollout import describe_rollouts
from reconciler.render.plan.text import (
    SAID,
    count_actions,
    describe_baseline,
    describe_comparison,
    describe_coverage,
    describe_lifted,
    describe_no_steps,
    describe_orphans,
    describe_reason,
    describe_refusal,
    describe_unproven,
    is_baseline_lost,
    list_destructive,
)
from reconciler.render.plan.writes import WRITES
from reconciler.text.commits import name_commit

_MOST_NAMED: Final = 2_000
_MOST_UNFOLDED: Final = 50


def render_plan_html(plan: Plan, *, full: bool = False) -> str:
    """Returns the whole plan as one page; the same plan always gives the same bytes.

    With `full`, all attributes of each change are shown.
    """
    return _render_plan(_describe(plan, full=full, prefix=""))


def render_plan_body(plan: Plan, *, full: bool, prefix: str) -> str:
    """Returns the body of a plan's page, for a page with several; `prefix` begins its anchors."""
    text = _render_plan(_describe(plan, full=full, prefix=prefix))
    # All text from outside is escaped, so these tags are the template's own.
    return text.partition("<body>")[2].rpartition("<script>")[0]


def _render_plan(values: dict[str, object]) -> str:
    return render_page(
        "plan/plan.html.j2", values, styles=["plan/plan.css"], scripts=["plan/plan.js"]
    )


def render_failed_body(environment: str, title: str, findings: Sequence[Finding]) -> str:
    """Returns the section of an environment without a plan."""
    values = {"environment": environment, "title": title, "notices": make_notices(findings)}
    return render_part("plan/failed.html.j2", values)


def render_plans_page(project: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """Returns one page of several sections: each has a name, a title and a rendered body."""
    marked = [(name, title, Markup(body)) for name, title, body in sections]  # noqa: S704 - rendered here
    values = {"project": project, "sections": marked}
    return render_page("plan/plans.html.j2", values, styles=["plan/plan.css"], scripts=[])


def _describe(plan: Plan, *, full: bool, prefix: str) -> dict[str, object]:
    """Returns the values of the template."""
    entries = make_entries(plan, full=full)
    numbers = {step.resource.address: one.number for one in entries for step in one.group.steps}
    whole, changes = find_digests(plan)
    return {
        "plan": plan,
        "prefix": prefix,
        "title": count_actions(plan) if plan.steps else describe_no_steps(plan),
        "comparison": "" if plan.steps else describe_comparison(plan).replace("\n", " "),
        "refusal": describe_refusal(plan) if plan.refused else "",
        "lifted": describe_lifted(plan) if plan.inputs.allowed else "",
        "why": describe_reason(plan) if plan.inputs.reason else "",
        "commit": name_commit(plan.inputs.commit, dirty=plan.inputs.dirty),
        "unproven": describe_unproven(plan),
        "grave": list_destructive([one.group for one in entries], _MOST_NAMED),
        "notices": make_notices(plan.findings),
        "entries": entries,
        "numbers": {str(address): number for address, number in numbers.items()},
        "counts": count_by_word(entries),
        "baseline": describe_baseline(plan).replace("\n", " ") if is_baseline_lost(plan) else "",
        "orphans": describe_orphans(plan),
        "coverage": describe_coverage(plan),
        "rollouts": list(describe_rollouts(plan)),
        "digest": whole,
        "changes_digest": changes,
        "said": SAID,
        "words": WORDS,
        "most_named": _MOST_NAMED,
        "most_unfolded": _MOST_UNFOLDED,
        "more_cure": describe_more(full=full),
        "writes_title": WRITES,
    }
