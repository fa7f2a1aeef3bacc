"""Computes what the page of drift reports lists: rows with details, and the array of all resources.

The HTML renderer calls it. It contains no markup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from reconciler.document.pointers import split_pointer
from reconciler.model import (
    Address,
    Drift,
    DriftReport,
    Json,
    ResourceStatus,
    SourceLocation,
    Verdict,
)
from reconciler.model.values import dataclass
from reconciler.plans.reasons import format_author
from reconciler.render.drift.groups import DriftGroup, group_statuses
from reconciler.render.drift.marks import Line, mark_values
from reconciler.render.drift.text import describe_note, list_commands
from reconciler.render.plan.differences import describe_values
from reconciler.render.words.escape import cut, escape, show_path
from reconciler.text.durations import show_age
from reconciler.text.times import parse_utc, seconds_since

# The gravest first; the strip, the tables and the list have this order.
ORDER: Final = (
    Verdict.MISSING,
    Verdict.FAILED,
    Verdict.CONFLICT,
    Verdict.MODEL_SWAPPED,
    Verdict.ARTIFACT_MUTATED,
    Verdict.INCOMPLETE,
    Verdict.DRIFTED,
    Verdict.CREDENTIAL_EXPIRING,
    Verdict.PENDING,
    Verdict.UNMANAGED,
    Verdict.NOT_OBSERVABLE,
    Verdict.IN_SYNC,
)
_RANK: Final = {verdict: number for number, verdict in enumerate(ORDER)}
_DAY: Final = 86_400
# The name of each age, its words, and the seconds before which a difference has it.
AGES: Final = (
    ("today", "less than a day", _DAY),
    ("week", "1 to 7 days", 7 * _DAY),
    ("month", "7 to 30 days", 30 * _DAY),
    ("older", "more than 30 days", float("inf")),
    ("unknown", "not known", float("inf")),
)
_AGE_NUMBERS: Final = {name: number for number, (name, _, _) in enumerate(AGES)}
# More rows than these have no details on the page; the array has each resource.
_MOST_ROWS: Final = 1_000
_MOST_NAME: Final = 300
# The values of a part of the array with resources that are in sync.
_SHORT: Final = 3
# A shell takes nothing in such a command for an operator.
_PLAIN: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -_./:=@%+,"
)


@dataclass(frozen=True, slots=True)
class PageCommand:
    """A command that settles a difference; `plain` says that a shell runs it as it is shown."""

    text: str
    plain: bool


@dataclass(frozen=True, slots=True)
class PageValue:
    """One of the three values of a place; `lines` is None for a missing value."""

    name: str
    lines: Sequence[Line] | None
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class PagePlace:
    """One place with a difference: its values, what is known about it, and how to settle it."""

    verdict: Verdict
    path: str
    note: str
    since: str
    ago: str
    is_new: bool
    hidden: bool
    declared_at: SourceLocation | None
    values: Sequence[PageValue]
    commands: Sequence[PageCommand]


@dataclass(frozen=True, slots=True)
class PageRow:
    """One row of the list: a resource that is not in sync, or several members of a fleet.

    `environment` is its position among the environments of the page.
    """

    number: int
    environment: int
    group: DriftGroup
    age: str
    ago: str
    since: str
    is_new: bool
    applied: str
    summary: str
    places: Sequence[PagePlace]


def order_statuses(report: DriftReport) -> list[ResourceStatus]:
    """Returns all resources of a report in the order of the strip: by kind, fleet and name."""

    def key(one: ResourceStatus) -> tuple[str, str, str, str]:
        address = one.resource.address
        return address.kind, str(one.fleet or ""), address.name, one.resource.id

    return sorted(report.statuses, key=key)


def make_rows(reports: Sequence[DriftReport]) -> list[PageRow]:
    """Returns a row for each resource or fleet that is not in sync; the gravest come first."""
    found = [
        (_RANK[group.verdict], number, group)
        for number, report in enumerate(reports)
        for group in group_statuses(report)
    ]
    found.sort(key=lambda one: one[0])
    return [
        _make_row(number, environment, group, reports[environment].made_at)
        for number, (_, environment, group) in enumerate(found[:_MOST_ROWS], 1)
    ]


def _make_row(number: int, environment: int, group: DriftGroup, now: str) -> PageRow:
    findings = [one for place in group.places for one in place]
    since = _find_first(findings)
    authors = {format_author(one.last_applied) for one in group.statuses}
    places = [_make_place(one, now) for one in group.places]
    return PageRow(
        number=number,
        environment=environment,
        group=group,
        age=name_age(since, now),
        ago=_describe_age(since, now),
        since=since,
        is_new=any(one.is_new for one in findings),
        applied=authors.pop() if len(authors) == 1 else "",
        summary=_sum_up(places),
        places=places,
    )


def _sum_up(places: Sequence[PagePlace]) -> str:
    """The summary of a row: its first place, and how many more there are."""
    if not places:
        return ""
    said = places[0].path or places[0].note
    return f"{cut(said)} and {len(places) - 1:,} more" if len(places) > 1 else cut(said)


def _make_place(findings: Sequence[Drift], now: str) -> PagePlace:
    first = findings[0]
    since = _find_first(findings)
    return PagePlace(
        verdict=first.verdict,
        path=show_path(split_pointer(first.pointer)),
        note=describe_note(findings),
        since=since,
        ago=_describe_age(since, now),
        is_new=any(one.is_new for one in findings),
        hidden=first.hidden,
        declared_at=first.place,
        values=() if first.hidden or not first.pointer else _make_values(findings),
        commands=[make_command(one) for one in list_commands(findings)],
    )


def _make_values(findings: Sequence[Drift]) -> list[PageValue]:
    first = findings[0]
    values = {"remembered": first.remembered, "live": first.live, "declared": first.declared}
    names = [one.resource.address.name for one in findings]
    return [
        PageValue(name, lines, describe_values(names, [getattr(one, name) for one in findings]))
        for name, lines in mark_values(values).items()
    ]


def make_command(text: str) -> PageCommand:
    """Returns a command; a name in it may come from a service and hold anything."""
    return PageCommand(text, plain=_PLAIN.issuperset(text))


def _find_first(findings: Iterable[Drift]) -> str:
    return min((one.since for one in findings if one.since), default="")


def name_age(since: str, now: str) -> str:
    """Returns the name of an age of `AGES`."""
    if not since:
        return "unknown"
    seconds = seconds_since(since, parse_utc(now))
    return next(name for name, _, most in AGES if seconds < most)


def _describe_age(since: str, now: str) -> str:
    return show_age(seconds_since(since, parse_utc(now))) if since else ""


def count_ages(reports: Sequence[DriftReport]) -> dict[str, int]:
    """Returns the number of resources that are not in sync, by the name of their age."""
    counted = Counter(age for report in reports for age in find_ages(report).values())
    return {name: counted[name] for name, _, _ in AGES if counted[name] or name != "unknown"}


def find_ages(report: DriftReport) -> dict[str, str]:
    """Returns the name of the age of each resource that is not in sync, by its id."""
    first: dict[str, str] = {}
    for one in report.findings:
        if one.since and one.verdict is not Verdict.NOT_OBSERVABLE:
            first[one.resource.id] = min(one.since, first.get(one.resource.id, one.since))
    return {
        one.resource.id: name_age(first.get(one.resource.id, ""), report.made_at)
        for one in report.statuses
        if one.verdict is not Verdict.IN_SYNC
    }


class _Table:
    """Gives each text a number, so that the array holds it once."""

    def __init__(self) -> None:
        self.texts: dict[Json, int] = {}

    def number(self, value: Json) -> int:
        return self.texts.setdefault(value, len(self.texts))


def make_data(reports: Sequence[DriftReport], rows: Sequence[PageRow]) -> Json:
    """Returns all resources in the order of the strips.

    A part of `items` has the number of its group, the number of its last apply, and a name. A
    resource that is not in sync also has its verdict, its age and its row (0 without a row).
    Resources in sync that follow one another are one part, with a line for each name. A group has
    an environment, a kind and a fleet.
    """
    groups, applied = _Table(), _Table()
    numbers = _number_rows(rows)
    items: list[list[Json]] = []
    for environment, report in enumerate(reports):
        ages = find_ages(report)
        for one in order_statuses(report):
            address = one.resource.address
            group = groups.number((environment, _clean(address.kind), _clean_fleet(one.fleet)))
            start = [group, applied.number(_clean(format_author(one.last_applied)))]
            name = _clean(address.name)
            if one.verdict is not Verdict.IN_SYNC:
                row = numbers.get((environment, one.resource.id), 0)
                age = _AGE_NUMBERS[ages[one.resource.id]]
                items.append([*start, name, _RANK[one.verdict], age, row])
            elif items and len(items[-1]) == _SHORT and items[-1][:2] == start:
                items[-1][2] += f"\n{name}"
            else:
                items.append([*start, name])
    return {
        "verdicts": [(one.value, one.severity) for one in ORDER],
        "ages": [name for name, _, _ in AGES],
        "environments": [_clean(one.inputs.environment) for one in reports],
        "groups": [*groups.texts],
        "applied": [*applied.texts],
        "items": items,
    }


def _number_rows(rows: Sequence[PageRow]) -> Mapping[tuple[int, str], int]:
    return {
        (row.environment, status.resource.id): row.number
        for row in rows
        for status in row.group.statuses
    }


def _clean(text: str) -> str:
    return escape(cut(text, _MOST_NAME))


def _clean_fleet(fleet: Address | None) -> str:
    return _clean(str(fleet)) if fleet else ""
