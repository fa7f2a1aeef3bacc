"""Computes what an HTML page lists: steps with their details, and notices from findings.

The HTML renderer calls it. It contains no markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from reconciler.model import Action, Cause, Finding, Plan, Step
from reconciler.model.values import dataclass
from reconciler.plans.guards import is_final
from reconciler.render.plan.facts import describe_facts, describe_kept
from reconciler.render.plan.groups import StepGroup, group_plan, is_destructive
from reconciler.render.plan.patch import show_operations
from reconciler.render.plan.rows import (
    FULL,
    Bounds,
    Row,
    describe_rest,
    describe_whole,
    make_rows,
)
from reconciler.render.plan.text import sum_up
from reconciler.render.plan.writes import WriteRow, list_writes

WORDS: Final = {
    Action.CREATE: "create",
    Action.UPDATE: "update",
    Action.REPLACE: "replace",
    Action.DELETE: "destroy",
    Action.FORGET: "forget",
    Action.ADOPT: "adopt",
}
_OPEN_UP_TO: Final = 5
# The limit of rows on a page, divided between its entries; for lines of patches it is double.
_ROWS: Final = 20_000
_LEAST, _MOST = 4, 300
# The same limits with `--full`.
_FULL_ROWS: Final = 200_000


@dataclass(frozen=True, slots=True)
class PageEntry:
    """One line of the list: a step, or several that are shown as one.

    `tags` are warnings for the reviewer, `more` counts the changes that are not in `rows`.
    `own` describes, for each member of a fleet, what differs from the other members.
    """

    number: int
    group: StepGroup
    own: Sequence[str]
    word: str
    tags: tuple[str, ...]
    expanded: bool
    summary: str
    facts: Sequence[str]
    kept: str
    whole: Sequence[str]
    rows: Sequence[Row]
    more: int
    rest: str
    patch: Sequence[str]
    writes: Sequence[WriteRow] = ()
    more_writes: str = ""

    @property
    def step(self) -> Step:
        """The only step, or the step that represents all."""
        return self.group.step


@dataclass(frozen=True, slots=True)
class Notice:
    """One message, and all findings with this message."""

    word: str
    message: str
    findings: Sequence[Finding]


def make_entries(plan: Plan, *, full: bool = False) -> list[PageEntry]:
    """Returns the plan's steps in reading order, similar steps as one entry."""
    groups = group_plan(plan)
    bounds = _choose_bounds(len(groups), full=full)
    refused = {finding.subject for finding in plan.refused}
    made = []
    for number, group in enumerate(groups, 1):
        tags = tuple(_tags(group.steps, refused))
        made.append(_make_entry(number, group, tags, bounds, few=len(groups) <= _OPEN_UP_TO))
    return made


def _choose_bounds(entries: int, *, full: bool) -> Bounds:
    total, usual = (_FULL_ROWS, FULL) if full else (_ROWS, Bounds(_MOST))
    return replace(usual, rows=min(max(total // max(entries, 1), _LEAST), usual.rows))


def _make_entry(
    number: int, group: StepGroup, tags: tuple[str, ...], bounds: Bounds, *, few: bool
) -> PageEntry:
    step = group.step
    rows, more = make_rows(step, bounds, group.steps if group.fleet else ())
    writes, more_writes = list_writes(step)
    return PageEntry(
        number=number,
        group=group,
        own=_describe_own(group),
        word=WORDS[step.action],
        tags=tags,
        expanded=is_destructive(step) or few,
        summary=sum_up(group),
        facts=describe_facts(group.steps),
        kept=describe_kept(step, bounds.kept),
        whole=describe_whole(step, group.steps),
        rows=rows,
        more=more,
        rest=describe_rest(step) if group.alone else "",
        patch=show_operations(step, 2 * bounds.rows) if step.ops else (),
        writes=writes,
        more_writes=more_writes,
    )


def _describe_own(group: StepGroup) -> Sequence[str]:
    """What each member changes, if that is not the same for all members."""
    own = [sum_up(StepGroup((step,), step)) for step in group.steps]
    return own if len(set(own)) > 1 else [""] * len(own)


def _tags(group: Sequence[Step], refused: set[str]) -> Iterator[str]:
    if any(is_final(change) for change in group[0].changes):
        yield "cannot be undone"
    if any(str(step.resource.address) in refused for step in group):
        yield "refused"
    causes = {reason.cause for step in group for reason in step.reasons}
    yield from (cause.value for cause in (Cause.CONFLICT, Cause.DRIFT) if cause in causes)


def count_by_word(entries: Sequence[PageEntry]) -> dict[str, tuple[str, int]]:
    """Returns the sign of each action in the plan, and the number of its resources."""
    counted: dict[str, tuple[str, int]] = {}
    for entry in entries:
        _, before = counted.get(entry.word, ("", 0))
        counted[entry.word] = (entry.step.action.symbol, before + len(entry.group.steps))
    return counted


def make_notices(findings: Sequence[Finding]) -> list[Notice]:
    """Groups all findings by their message; those that refuse the plan come first."""
    alike: dict[tuple[str, str], list[Finding]] = {}
    for finding in sorted(findings, key=lambda one: one.severity != "error"):
        alike.setdefault((_word(finding), finding.message), []).append(finding)
    return [Notice(word, message, found) for (word, message), found in alike.items()]


def _word(finding: Finding) -> str:
    if finding.severity == "error" and finding.guard:
        return "Refused"
    return "Error" if finding.severity == "error" else "Warning"
