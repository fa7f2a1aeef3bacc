"""Renders a drift report as text for people: what changed, since when, and how to resolve it.

The Markdown renderer shares its words. It returns text and prints nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from reconciler.document.pointers import split_pointer
from reconciler.model import ABSENT, Drift, DriftReport, Verdict
from reconciler.plans.drift_file import count_coverage
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
from reconciler.render.plan.differences import describe_values
from reconciler.render.words.colour import Paint
from reconciler.render.words.escape import cut, escape, shorten_uris, show_path, show_value
from reconciler.text.counting import agree, count
from reconciler.text.durations import show_duration

_TABLE_ABOVE: Final = 20
_NAMED: Final = 8
# The beginning of a note that says when a value was set.
_SET: Final = "set when last applied "
# These commands accept the address of a fleet for all its members.
_OF_FLEETS: Final = ("--target", "--rotate", "--accept")
_COLOURS: Final[Mapping[Verdict, str]] = {
    Verdict.IN_SYNC: "green",
    Verdict.PENDING: "cyan",
    Verdict.UNMANAGED: "cyan",
    Verdict.CREDENTIAL_EXPIRING: "yellow",
    Verdict.DRIFTED: "yellow",
}


def render_drift(report: DriftReport, *, paint: Paint) -> str:
    """Returns the whole report: the findings of each resource, then coverage and freshness."""
    where = f"{paint('bold', 'Environment:')} {escape(report.inputs.environment)}"
    parts = [where] if report.inputs.environment else []
    parts.append(render_drift_groups(report, paint=paint))
    parts.append("\n".join(_closing(report, paint)))
    return "\n\n".join(part for part in parts if part)


def render_drift_groups(report: DriftReport, *, paint: Paint) -> str:
    """Returns the findings of each resource; empty without any."""
    groups = group_statuses(report)
    parts = [_render_table(groups, paint)] if len(groups) > _TABLE_ABOVE else []
    parts += [_render_group(group, report, paint) for group in groups]
    return "\n\n".join(parts)


def _render_table(groups: Sequence[DriftGroup], paint: Paint) -> str:
    width = max(len(one.verdict.value) for one in groups)
    return "\n".join(
        f"  {_verdict(one.verdict, paint)}{' ' * (width - len(one.verdict.value))}  {one.title}"
        for one in groups
    )


def _verdict(verdict: Verdict, paint: Paint) -> str:
    return paint(_COLOURS.get(verdict, "red"), verdict.value)


def _render_group(group: DriftGroup, report: DriftReport, paint: Paint) -> str:
    authors = {format_author(one.last_applied) for one in group.statuses}
    author = authors.pop() if len(authors) == 1 else ""
    applied = f", last applied {escape(author)}" if author else ""
    lines = [
        f"  # {paint('bold', group.title)}: {_verdict(group.verdict, paint)}{applied}",
        *([] if group.alone else [f"  # {group.list_names(_NAMED)}"]),
    ]
    for findings in group.places:
        lines += [f"    {line}" for line in describe_findings(findings, report.made_at)]
    return "\n".join(lines)


def describe_findings(findings: Sequence[Drift], now: str) -> Iterator[str]:
    """Yields one line each for the place, the three values, the first sighting and the commands.

    For several resources with the same finding, it shows the first one and notes the differences.
    """
    first = findings[0]
    place = show_path(split_pointer(first.pointer))
    yield ": ".join(part for part in (first.verdict.value, place) if part) + _note(findings)
    if first.hidden:
        yield "    (sensitive value)"
    elif first.pointer:
        for name, (value, notes) in list_values(findings).items():
            said = [*notes, *(_name_place(findings) if name == "declared" else [])]
            note = f"   # {'; '.join(said)}" if said else ""
            yield f"    {name.ljust(10)} {value}{note}"
    age = describe_age(findings, now)
    if age:
        yield f"    {age}"
    yield from (f"    {'resolve:' if n == 0 else 'or:     '} {escape(command)}"
                for n, command in enumerate(list_commands(findings)))  # fmt: skip


def _name_place(findings: Sequence[Drift]) -> list[str]:
    """The file and line that declare the value; nothing for several resources."""
    place = findings[0].place if len(findings) == 1 else None
    return [f"{escape(place.file)}:{place.line}"] if place is not None else []


def _note(findings: Sequence[Drift]) -> str:
    note = describe_note(findings)
    return f" ({escape(cut(note, 300))})" if note else ""


def describe_note(findings: Sequence[Drift]) -> str:
    """The note of the first resource, with that resource's name if the others have another note."""
    first = findings[0]
    alike = all(one.note == first.note for one in findings)
    return first.note if alike else f"{first.resource.address.name}: {first.note}"


def list_commands(findings: Sequence[Drift]) -> list[str]:
    """The commands that resolve the findings; for the whole fleet if a command accepts that."""
    first = findings[0]
    if len(findings) == 1 or first.fleet is None:
        return list(first.commands)
    one, fleet = str(first.resource.address), str(first.fleet)
    wide = [_widen(command.split(" "), one, fleet) for command in first.commands]
    return [f"{said}, and so on" if one in said else said for said in wide]


def _widen(words: Sequence[str], one: str, fleet: str) -> str:
    """The command with a fleet in place of its member, if only an option names the member."""
    flags = ("", *words[:-1])
    return " ".join(
        fleet if word == one and flag in _OF_FLEETS else word
        for flag, word in zip(flags, words, strict=True)
    )


def list_values(findings: Sequence[Drift]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The values of the first resource, with shortened URIs, and notes on what differs."""
    first = findings[0]
    values = {"remembered": first.remembered, "live": first.live, "declared": first.declared}
    there = {name: value for name, value in values.items() if value is not ABSENT}
    if all(isinstance(value, str) and "://" in value for value in there.values()):
        shortened = shorten_uris(*there.values())
        shown = {name: f'"{escape(cut(one))}"' for name, one in zip(there, shortened, strict=True)}
    else:
        shown = {name: show_value(value) for name, value in there.items()}
    names = [one.resource.address.name for one in findings]
    return {
        name: (
            shown.get(name, "(absent)"),
            describe_values(names, [getattr(one, name) for one in findings]),
        )
        for name in values
        if name in shown or name == "live"
    }


def count_verdicts(report: DriftReport) -> str:
    """Returns such as `Drift: 1 drifted, 2 pending; 5 of 8 in sync.`."""
    counted = Counter(one.verdict for one in report.statuses)
    total = sum(counted.values())
    calm = counted.pop(Verdict.IN_SYNC, 0)
    if report.known and report.outcome == "in-sync":
        return f"No new drift. {calm:,} of {count(total, 'service')} in sync."
    if not counted:
        return f"No drift. {count(total, 'service')} in sync."
    said = ", ".join(f"{number:,} {verdict.value}" for verdict, number in sorted(counted.items()))
    return f"Drift: {said}; {calm:,} of {total:,} in sync."


def describe_knowledge(report: DriftReport) -> str:
    """Returns how many managed services are known, and how old the observations are."""
    covered, refresh = count_coverage(report), report.refresh
    said = (
        f"Coverage: {covered['known']:,} of {count(covered['total'], 'service')};"
        f" read {refresh.read:,} in {count(refresh.calls, 'call')}"
    )
    if refresh.oldest:
        said += f"; oldest observation {show_duration(refresh.oldest)}"
    return f"{said}."


def count_hidden(findings: Iterable[Drift]) -> str:
    """Returns a sentence about the values that the service never shows; empty without any."""
    hidden = [one for one in findings if one.verdict is Verdict.NOT_OBSERVABLE]
    if not hidden:
        return ""
    services = count(len({one.resource for one in hidden}), "service")
    them = f"{count(len(hidden), 'declared value')} of {services}"
    return f"Not observable: {them} ({_describe_times(hidden)})."


def _describe_times(hidden: Sequence[Drift]) -> str:
    """The times when values that the service never shows were set, as far as they are recorded."""
    times = {one.note.removeprefix(_SET) for one in hidden if one.note.startswith(_SET)}
    unknown = sum(not one.note.startswith(_SET) for one in hidden)
    if not times:
        return f"it is not known when {agree(unknown, 'it was', 'they were')} set"
    (first, *others) = sorted(times)
    many = count(len(times), "different time")
    known = f"set at {many}" if others else f"set {escape(cut(first))}"
    return f"{known}; for {unknown:,} of them this is not known" if unknown else known


def _closing(report: DriftReport, paint: Paint) -> Iterator[str]:
    word, _, rest = count_verdicts(report).partition(" ")
    if report.outcome == "in-sync":
        yield paint("green", count_verdicts(report))
    else:
        yield f"{paint('bold', word)} {rest}"
    if report.outcome == "evidence-incomplete":
        yield paint("red", "Evidence incomplete") + ": some resources could not be read."
    hidden = count_hidden(report.findings)
    news = (count_new(report), count_known(report), describe_trend(report))
    yield from filter(None, (*news, hidden))
    for said, lines in (
        (count_ignored(report), list_ignored(report)),
        (paint("yellow", count_expired(report)), list_expired(report)),
        (count_overwritten(report), list_overwritten(report)),
    ):
        if said:
            yield said
            yield from (f"  {escape(line)}" for line in lines)
    if report.baseline == "lost":
        yield "baseline: lost. No ledger exists, so only declared values can be compared."
    yield describe_knowledge(report)
