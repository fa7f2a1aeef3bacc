"""Renders a plan as one Markdown comment on a pull request, of bounded length and folded.

Text from outside is always in a code span or a fence, where no mention, link, HTML or table syntax
has an effect. The most important parts come first and are cut last.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from reconciler.model import Action, Finding, Plan
from reconciler.plans.guards import POLICY, POLICY_COMMAND, is_final
from reconciler.render.findings import gather_findings
from reconciler.render.plan.groups import StepGroup, group_steps
from reconciler.render.plan.rollout import describe_rollouts
from reconciler.render.plan.rows import list_refused
from reconciler.render.plan.text import (
    count_actions,
    describe_coverage,
    describe_digests,
    describe_hidden,
    describe_lifted,
    describe_no_steps,
    describe_reason,
    describe_unproven,
    list_lines,
    render_group,
    sum_up,
)
from reconciler.render.words.colour import Paint
from reconciler.render.words.escape import cut, escape, show_path
from reconciler.render.words.names import list_names
from reconciler.text.commits import name_commit, shorten_commit
from reconciler.text.counting import count

MOST: Final = 60_000
# The limit for the part about steps, in characters, so that the rest of the comment always fits.
_MUST_SEE: Final = 30_000
_DETAILS: Final = 55_000
_NAMED: Final = 8
_MOST_NAMED: Final = 100
# Lists of names are already bounded where they are made.
_ALL: Final = 10_000
_PLAIN: Final = Paint()
_SAID: Final = {
    Action.CREATE: "create",
    Action.UPDATE: "update in place",
    Action.REPLACE: "**replace**: destroyed, then created",
    Action.DELETE: "**destroy**",
}
_DIGITS: Final = 12


def render_plan_markdown(plan: Plan, *, full: bool = False, share: int = 0) -> str:
    """Returns the plan in less than 60,000 characters, with a marker to find the comment by.

    With `full`, all attributes of a change are shown, as long as they fit. With a `share`, it is a
    part of a comment with so many parts, and has no marker.
    """
    groups = group_steps(plan.steps, {one.subject for one in plan.refused})
    environment = plan.inputs.environment
    marker = [] if share else [write_marker("plan", plan.inputs.project, environment)]
    head = [*marker, f"### {write_prefix(environment)}{_title(plan)}"]
    head += keep_within(_must_see(plan, groups), _MUST_SEE // max(share, 1))
    if plan.steps:
        head += ["", "| | resource | change |", "|---|---|---|"]
    tail = ["", describe_coverage(plan), *_notes(plan)]
    left = _DETAILS // max(share, 1) - len("\n".join([*head, *tail]))
    rows = keep_within(map(_row, list_lines(groups)), max(2_000 // max(share, 1), left // 2))
    left -= len("\n".join(rows))
    details = fold_changes(groups, left, full=full) if plan.steps else []
    return "\n".join([*head, *rows, *details, *tail]) + "\n"


def write_marker(what: str, project: str, environment: str = "") -> str:
    """Returns an invisible HTML comment by which a tool finds this comment again.

    Two names of environments never have one marker.
    """
    own = re.sub(r"[^A-Za-z0-9_%]", "_", environment.replace("-", "%2D"))[:200]
    where = f"{re.sub(r'[^A-Za-z0-9._]', '_', project)[:100]} {own}".rstrip()
    return f"<!-- reconciler {what} {where} -->"


def write_prefix(environment: str) -> str:
    """Returns the environment for the beginning of a title, such as "`prod`: "; "" without one."""
    return f"{code(environment)}: " if environment else ""


def _title(plan: Plan) -> str:
    if not plan.steps:
        return describe_no_steps(plan).replace("Your", "The")
    return count_actions(plan)


def _must_see(plan: Plan, groups: Sequence[StepGroup]) -> Iterator[str]:
    for finding, names in gather_findings(plan.findings):
        yield f"\n{describe_finding(finding, names)}"
    if plan.inputs.allowed:
        yield f"\n> ⚠ {code(describe_lifted(plan))}"
    if plan.inputs.reason:
        yield f"\n> ⚠ {code(describe_reason(plan), _ALL)}"
    for group in groups:
        who = _who(group, _MOST_NAMED)
        if group.step.action in {Action.DELETE, Action.REPLACE}:
            yield f"\n> ⚠ {who}: {_SAID[group.step.action]}"
        for change in group.step.changes:
            if is_final(change):
                yield f"\n> ⚠ {who}: cannot be undone: {code(show_path(change.path))}"
    # After what cannot be undone, which must not be cut off by a thousand of these lines.
    for group in groups:
        for line in list_refused(group.step, group.steps):
            yield f"\n> ⚠ {_who(group, _MOST_NAMED)}: {code(line)}"


def _who(group: StepGroup, most: int) -> str:
    """The address; for several resources also their names."""
    return code(group.title) + ("" if group.alone else f" {code(group.list_names(most), _ALL)}")


def describe_finding(finding: Finding, names: str) -> str:
    """Returns a finding as a quotation; `names` are those of the resources that share it."""
    word = "Warning" if finding.severity != "error" else "Refused" if finding.guard else "Error"
    said = " ".join(code(one, _ALL) for one in (finding.subject, names) if one)
    subject = f"{said}: " if said else ""
    # Where a rule is, and what breaks it, is in no other part of the comment.
    rule = finding.detail if finding.guard in {POLICY, POLICY_COMMAND} else ()
    rule += (f"on {finding.place}",) if finding.guard == POLICY else ()
    more = "".join(f" {code(one)}" for one in (*rule, finding.next_step) if one)
    return f"> **{word}**: {subject}{code(finding.message)}{more}"


def _row(group: StepGroup) -> str:
    what = sum_up(group)
    said = f"{_SAID[group.step.action]} {code(what) if what else ''}"
    return f"| `{group.step.action.symbol}` | {_who(group, _NAMED)} | {said} |"


def keep_within(lines: Iterable[str], most: int) -> list[str]:
    """Returns the lines that fit into `most` characters, and the number of the others."""
    kept, size, left = [], 0, 0
    for line in lines:
        size += len(line) + 1
        if size > most:
            left += 1
        else:
            kept.append(line)
    return [*kept, f"\n… and {left} more"] if left else kept


def fold_changes(
    groups: Sequence[StepGroup], most: int, title: str = "What changes", *, full: bool = False
) -> list[str]:
    """Returns the changes in at most `most` characters, folded below a title."""
    shown, size = [], 400
    for number, group in enumerate(groups):
        text = render_group(group, _PLAIN, full=full)
        if full and size + len(text) + 2 > most:
            text = render_group(group, _PLAIN)
        size += len(text) + 2
        if size > most:
            shown.append(
                f"  # … and {count(len(groups) - number, 'more change')} in the saved plan"
            )
            break
        shown.append(text)
    body = "\n\n".join(shown)
    fence = _fence(body, 3)
    return [
        "",
        f"<details><summary>{title}</summary>",
        "",
        fence,
        body,
        fence,
        "",
        "</details>",
    ]


def _notes(plan: Plan) -> Sequence[str]:
    hidden = "" if plan.steps else describe_hidden(plan)
    notes = [f"\n{hidden}"] if hidden else []
    notes += [f"\n{code(one)}" for one in describe_digests(plan)] if plan.steps else []
    notes += [f"\n{code(rollout)}" for rollout in describe_rollouts(plan)]
    if plan.orphans:
        them = code(list_names((str(one.address) for one in plan.orphans), _MOST_NAMED), _ALL)
        notes.append(f"\n{count(len(plan.orphans), 'orphan')} in the ledger: {them}")
    if plan.baseline == "lost":
        notes.append("\nbaseline: lost; it is not known who made earlier changes.")
    if plan.inputs.commit.isalnum():
        name = name_commit(plan.inputs.commit, dirty=plan.inputs.dirty)
        commit = code(shorten_commit(name, _DIGITS))
        said, _, them = describe_unproven(plan).partition(": ")
        notes.append(f"\nCreated from {commit}{said}{f': {code(them)}' if them else ''}.")
    return notes


def code(text: str, most: int = 300) -> str:
    """Returns a code span of any text, also for a table; no Markdown in the text has an effect."""
    shown = escape(cut(text, most)).replace("|", "\\|")
    fence = _fence(shown, 1)
    pad = " " if shown[:1] in {"`", " ", ""} or shown[-1:] in {"`", " "} else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _fence(text: str, least: int) -> str:
    """Backticks, more than any run of backticks in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    return "`" * max(least, longest + 1)
