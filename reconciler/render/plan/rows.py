"""Computes the changes of one step as rows, escaped and bounded, for every output format.

The renderers only lay the rows out. This module decides which values are hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from reconciler.document.pointers import format_pointer, split_pointer
from reconciler.model import (
    ABSENT,
    Action,
    Change,
    Json,
    JudgedRule,
    ModelChange,
    Path,
    SecretReference,
    Step,
    Verb,
)
from reconciler.model.values import dataclass
from reconciler.plans.guards import is_final
from reconciler.render.plan.differences import describe_differences, mark_usual
from reconciler.render.plan.opaque import compare_lines, describe_change
from reconciler.render.words.escape import (
    cut,
    escape,
    shorten_uris,
    show_path,
    show_pointer,
    show_value,
)
from reconciler.text.counting import count

HIDDEN: Final = "(sensitive value)"
_MOST_GATE: Final = 300
_WHOLE: Final = (
    "sent as the whole definition: it is not known whether an update removes omitted fields"
)
# A removed value of more attributes is not shown itself: the start of it would say little.
MANY: Final = 8
_SIGNS: Final[Mapping[Verb, str]] = {
    Verb.ADD: "+",
    Verb.REPLACE: "~",
    Verb.REMOVE: "-",
    Verb.WRITE: "~",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One change as it is shown.

    `before` and `after` are values, or empty without a value. `said` replaces both if they must
    stay hidden or are not known. `about` describes the location and the bytes of a model; `lines`
    compare two structures.
    """

    sign: str
    name: str
    before: str = ""
    after: str = ""
    said: str = ""
    notes: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of one step is shown.

    `rows` limits the changes, `lines` the lines of a changed structure, `characters` each value,
    and `kept` the values that are only remembered.
    """

    rows: int
    lines: int = 12
    characters: int = 120
    kept: int = 8


# What `--full` shows of one step: a service may have a million columns.
FULL: Final = Bounds(rows=2_000, lines=2_000, characters=2_000, kept=2_000)


def make_rows(step: Step, bounds: Bounds, like: Sequence[Step] = ()) -> tuple[list[Row], int]:
    """Returns the rows of models and of the other changes within bounds, and how many are left out.

    `like` are all steps that change the same places, `step` included: the rows note what differs
    between them.
    """
    if step.action is Action.DELETE:
        return [], 0
    changes = _to_show(step)
    # No secret may be among the changes that are only counted.
    most = max(bounds.rows, sum(isinstance(one.after, SecretReference) for one in changes))
    rows = [
        _model_row(model, step, [one.models[at] for one in like])
        for at, model in enumerate(step.models)
    ]
    rows += [_change_row(change, step, bounds) for change in changes[:most]]
    if len(like) > 1:
        rows = list(_compare(rows, step, like))
    return rows, max(len(changes) - most, 0)


def choose_typical(like: Sequence[Step]) -> Step:
    """Returns the first of the steps that have the fewest unusual values."""
    usual = [0] * len(like)
    for column in _list_columns(like):
        for values in ([one.before for one in column], [one.after for one in column]):
            for number, is_usual in enumerate(mark_usual(values)):
                usual[number] += is_usual
    return like[usual.index(max(usual))]


def _list_columns(
    like: Sequence[Step], most: int | None = None
) -> Iterator[tuple[ModelChange | Change, ...]]:
    """The changes of all steps at the place of each row."""
    return zip(*([*step.models, *_to_show(step)][:most] for step in like), strict=True)


def _compare(rows: Sequence[Row], step: Step, like: Sequence[Step]) -> Iterator[Row]:
    """The rows of one step, with notes on what differs between all steps."""
    names = [one.resource.address.name for one in like]
    for row, column in zip(rows, _list_columns(like, len(rows)), strict=True):
        notes = row.notes
        if notes and len({tuple(_notes(column[0].path, one)) for one in like}) > 1:
            notes = (f"{escape(cut(step.resource.address.name))}: {notes[0]}", *notes[1:])
        hidden = any(isinstance(one, Change) and is_hidden(one) for one in column)
        if not hidden or all(isinstance(one.after, SecretReference) for one in column):
            before, after = [one.before for one in column], [one.after for one in column]
            notes = (*notes, *describe_differences(names, before, after))
        yield replace(row, notes=notes)


def describe_whole(step: Step, like: Sequence[Step] = ()) -> list[str]:
    """Returns the remarks on the whole resource, or on all resources, before the changes."""
    notes = _notes_at("", step)
    if step.action is Action.DELETE:
        sizes = {count_leaves(one.before) for one in (step, *like)}
        gone = count(sizes.pop(), "attribute") if len(sizes) == 1 else "all attributes"
        return ["; ".join([f"{gone} will be removed", *notes])]
    # Of several writes, each says itself what it sends.
    whole = step.action is Action.UPDATE and step.body == "whole" and not step.writes
    return [*notes, _WHOLE] if whole else notes


def describe_rest(step: Step) -> str:
    """Returns the counts of what is not shown of a step; empty if everything is shown."""
    rest = [f"{count(step.unchanged, 'unchanged attribute')} hidden"] if step.unchanged > 0 else []
    rest += [f"{len(step.not_observable)} not observable"] if step.not_observable else []
    return ", ".join(rest)


def is_hidden(change: Change) -> bool:
    """Whether the values are never shown, because they are sensitive or encrypted."""
    return change.sensitive


def _to_show(step: Step) -> list[Change]:
    """The changes without models and without empty mappings that only hold added values.

    Secrets come first. The signatures, which are sent with the models, are among them.
    """
    models = {model.path for model in step.models}
    containers = {
        change.path[:length] for change in step.changes for length in range(1, len(change.path))
    }
    written = {format_pointer(change.path) for change in step.changes}
    signatures = (
        Change(split_pointer(at), Verb.WRITE, ABSENT, reference, sensitive=True)
        for at, reference in step.secrets
        if at not in written
    )
    shown = [
        change
        for change in (*step.changes, *signatures)
        if change.path not in models
        and change.path
        and not (change.after == {} and change.path in containers)
    ]
    if step.action is Action.CREATE:
        # What was written for the whole service is more important than its hundredth column.
        shown.sort(key=lambda one: (one.verb is not Verb.WRITE, len(one.path)))
    return sorted(shown, key=lambda one: not isinstance(one.after, SecretReference))


def _model_row(model: ModelChange, step: Step, alike: Sequence[ModelChange] = ()) -> Row:
    before, after = model.before, model.after
    if before == after:
        before = ""  # it is written once more
    if before:
        before, after = shorten_uris(before, after)
    return Row(
        sign="~" if model.before else "+",
        name=f'trained model "{escape(model.name)}"',
        before=f'"{escape(before)}"' if before else "",
        after=f'"{escape(after)}"',
        notes=_notes(model.path, step),
        about=(show_pointer(model.path), *_digest(model), *describe_gates(model, alike)),
    )


def describe_gates(model: ModelChange, alike: Sequence[ModelChange] = ()) -> Iterator[str]:
    """Yields a line for each rule of a gate: the verdict, the rule and its numbers.

    `alike` are the models of all steps that are shown as one: their verdicts are equal, and their
    numbers may differ. The last line names the retraining.
    """
    for number, judged in enumerate(model.gates):
        yield f"gate {_sum_up_rule(judged, [one.gates[number] for one in alike or (model,)])}"
    judges = {(one.retraining, one.run) for each in alike or (model,) for one in each.gates}
    if len(judges) == 1:
        ((retraining, run),) = judges
        yield f"judged by {escape(str(retraining))}{f', run {escape(cut(run))}' if run else ''}"


def list_refused(step: Step, like: Sequence[Step] = ()) -> Iterator[str]:
    """Yields the lines of the rules that refuse a model of a step, or of the steps `like` it."""
    for at, model in enumerate(step.models):
        refusing = any(one.refuses for one in model.gates)
        lines = describe_gates(model, [one.models[at] for one in like]) if refusing else ()
        yield from (line for line, one in zip(lines, model.gates, strict=False) if one.refuses)


def _sum_up_rule(judged: JudgedRule, alike: Sequence[JudgedRule]) -> str:
    """One line for a rule; for several models with different numbers, their range."""
    if len({one.reason for one in alike}) == 1:
        return escape(cut(judged.summary, _MOST_GATE))
    numbers = _sum_up_numbers([dict(one.numbers) for one in alike], judged.rule)
    return escape(cut(replace(judged, reason=numbers).summary, _MOST_GATE))


def _sum_up_numbers(alike: Sequence[Mapping[str, float]], rule: str) -> str:
    """The range of the metric of several models, and how they differ from those in service."""
    if any("candidate" not in one for one in alike):
        return "differing numbers"
    limit = rule.rpartition(" ")[2]
    shown = _show_range([one["candidate"] for one in alike], limit)
    if any("live" not in one for one in alike):
        return shown
    differences = [one["candidate"] - one["live"] for one in alike]
    return f"{shown} ({_show_range(differences, limit, '+')})"


def _show_range(values: Sequence[float], limit: str, sign: str = "") -> str:
    """The least and the greatest value; neither is rounded to the limit."""
    texts: list[str] = []
    for digits in (6, 9, 12, 15):
        texts = [f"{one:{sign}.{digits}g}" for one in (min(values), max(values))]
        if limit not in {one.lstrip("+-") for one in texts}:
            break
    return " to ".join(dict.fromkeys(texts))


def _digest(model: ModelChange) -> Iterator[str]:
    if model.digest_after:
        trust = {"streamed": "", "metadata": " (reported by its uploader)", "md5": ""}[model.trust]
        before = f"{_short(model.digest_before)} -> " if model.digest_before else ""
        kind = model.digest_after.partition(":")[0]
        yield f"{kind} {before}{_short(model.digest_after)}{trust}"
    elif model.trust == "unknown":
        yield "bytes unknown: no blob that can be read is known behind its id"
    elif model.trust == "none":
        yield "its storage reports no digest; set sha256 to compare its bytes"


def _short(digest: str) -> str:
    return f"{digest.partition(':')[2][:8]}…"


def _change_row(change: Change, step: Step, bounds: Bounds) -> Row:
    row = Row(
        sign=_SIGNS[Verb.ADD if step.action is Action.CREATE else change.verb],
        name=show_path(change.path),
        notes=_notes(change.path, step, final=is_final(change)),
    )
    if change.verb is Verb.WRITE:
        return replace(row, said=_written(change, bounds.characters))
    if is_hidden(change):
        return replace(row, said=HIDDEN)
    structures = _is_structure(change.before) or _is_structure(change.after)
    if change.verb is Verb.REPLACE and structures:
        compare = describe_change if change.opaque else compare_lines
        lines = compare(change.before, change.after, bounds.lines, bounds.characters)
        return replace(row, lines=tuple(lines))
    if change.verb is Verb.REMOVE and count_leaves(change.before) > MANY:
        return replace(row, said=f"({count(count_leaves(change.before), 'attribute')})")
    return replace(
        row,
        before="" if change.verb is Verb.ADD else show_value(change.before, bounds.characters),
        after="" if change.verb is Verb.REMOVE else show_value(change.after, bounds.characters),
    )


def _written(change: Change, most: int) -> str:
    if not isinstance(change.after, SecretReference):
        return f"{show_value(change.after, most)} (the previous value is not observable)"
    label = f", version {escape(cut(change.after.version))}" if change.after.version else ""
    return f"(sensitive value, written from {escape(str(change.after))}{label})"


def _notes(path: Path, step: Step, *, final: bool = False) -> tuple[str, ...]:
    """The reasons of a change, if there are more than that the manifest asks for it."""
    pointer = format_pointer(path)
    notes = ["cannot be undone"] if final else []
    notes += ["forces replacement"] if pointer in step.replace_paths else []
    return (*notes, *_notes_at(pointer, step))


def _notes_at(pointer: str, step: Step) -> list[str]:
    found = [one.note for one in step.reasons if one.pointer == pointer and one.note]
    return [escape(cut(note)) for note in found]


def _is_structure(value: Json) -> bool:
    return isinstance(value, (dict, list)) and bool(value)


def count_leaves(document: Json) -> int:
    """Returns how many values a document has below its objects."""
    if not isinstance(document, dict):
        return 1
    values = document.values()
    return sum([count_leaves(value) if isinstance(value, dict) else 1 for value in values])
