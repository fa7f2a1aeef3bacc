"""The changes of one step as lines: models first, then attributes by their path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.comparers import is_sealed
from reconciler.model import Action, Change, Json, ModelChange, SecretReference, Step, Verb
from reconciler.pointers import format_pointer
from reconciler.render.counting import count
from reconciler.render.escape import (
    cut,
    escape,
    shorten_uris,
    show_path,
    show_pointer,
    show_value,
)
from reconciler.render.opaque import compare_lines, describe_change
from reconciler.render.paint import Paint

_MOST_LINES: Final = 60
_MOST_CREATED: Final = 24
_SYMBOLS: Final[Mapping[Verb, str]] = {
    Verb.ADD: "+",
    Verb.REPLACE: "~",
    Verb.REMOVE: "-",
    Verb.WRITE: "~",
}
_HIDDEN: Final = "(sensitive value)"
_WHOLE: Final = (
    "sent as the whole definition: whether an update removes what it leaves out is not known"
)


def render_changes(step: Step, paint: Paint) -> Iterator[str]:
    """Every change of a step and what is not shown of it, for the block around it."""
    yield from render_difference(step, paint)
    rest = [f"{count(step.unchanged, 'unchanged attribute')} hidden"] if step.unchanged > 0 else []
    rest += [f"{len(step.not_observable)} not observable"] if step.not_observable else []
    if rest:
        yield paint("faint", f"  # ({', '.join(rest)})")


def render_difference(step: Step, paint: Paint) -> Iterator[str]:
    """Every change of a step, bounded; the same lines for the same changes of another resource."""
    if step.action is Action.DELETE:
        why = "".join(f"; {note}" for note in _notes_at("", step))
        yield f"  # ({count(_size(step.before), 'attribute')} will be gone{why})"
        return
    for note in _notes_at("", step):
        yield paint("faint", f"  # ({note})")
    if step.action is Action.UPDATE and step.extent == "whole":
        yield paint("faint", f"  # ({_WHOLE})")
    for model in step.models:
        yield from _model_lines(model, step, paint)
    changes = list(_to_show(step))
    most = _MOST_LINES
    if step.action is Action.CREATE:
        # What was written for the whole service tells more than its hundredth column.
        changes.sort(key=lambda one: (one.verb is not Verb.WRITE, len(one.path)))
        most = _MOST_CREATED
    for change in changes[:most]:
        yield from _change_lines(change, step, paint)
    if len(changes) > most:
        yield paint("faint", f"  # (and {count(len(changes) - most, 'more attribute')})")


def _to_show(step: Step) -> Iterator[Change]:
    """What is no model and no mere container for what is added below it."""
    models = {model.path for model in step.models}
    containers = {
        change.path[:length] for change in step.changes for length in range(1, len(change.path))
    }
    for change in step.changes:
        container = not change.path or (change.after == {} and change.path in containers)
        if change.path not in models and not container:
            yield change


def _model_lines(model: ModelChange, step: Step, paint: Paint) -> Iterator[str]:
    name = f'trained model "{escape(model.name)}"'
    note = _note(model.path, step)
    if not model.before:
        yield f'{paint.symbol("+")} {name} = "{escape(model.after)}"'
    else:
        before, after = shorten_uris(model.before, model.after)
        yield f'{paint.symbol("~")} {name} = "{escape(before)}" -> "{escape(after)}"'
    if note:
        yield f"      {note.strip()}"
    yield f"      {show_pointer(model.path)}"
    if model.digest_after:
        told = {"streamed": "", "metadata": " (as its uploader says)", "md5": ""}[model.trust]
        before = f"{_short(model.digest_before)} -> " if model.digest_before else ""
        kind = model.digest_after.partition(":")[0]
        yield f"      {kind} {before}{_short(model.digest_after)}{told}"
    elif model.trust == "none":
        yield "      its storage tells no digest; give sha256 to have its bytes compared"


def _short(digest: str) -> str:
    return f"{digest.partition(':')[2][:8]}…"


def _change_lines(change: Change, step: Step, paint: Paint) -> Iterator[str]:
    sign = _SYMBOLS[Verb.ADD if step.action is Action.CREATE else change.verb]
    head = f"{paint.symbol(sign)} {show_path(change.path)}"
    note = _note(change.path, step)
    if change.verb is Verb.WRITE:
        yield f"{head} = {_written(change)}{note}"
    elif change.sensitive or is_sealed(change.before) or is_sealed(change.after):
        yield f"{head} = {_HIDDEN}{note}"
    elif change.verb is Verb.ADD:
        yield f"{head} = {show_value(change.after)}{note}"
    elif change.verb is Verb.REMOVE:
        yield f"{head} = {show_value(change.before)}{note}"
    elif _is_structure(change.before) or _is_structure(change.after):
        yield f"{head}:{note}"
        tell = describe_change if change.opaque else compare_lines
        yield from (f"      {line}" for line in tell(change.before, change.after))
    else:
        yield f"{head} = {show_value(change.before)} -> {show_value(change.after)}{note}"


def _written(change: Change) -> str:
    if not isinstance(change.after, SecretReference):
        return f"{show_value(change.after)} (what it was is not observable)"
    label = f", version {escape(cut(change.after.version))}" if change.after.version else ""
    return f"(sensitive value, written from {escape(str(change.after))}{label})"


def _note(path: tuple[str | int, ...], step: Step) -> str:
    """Why, where there is more to say than that the manifest asks for it."""
    pointer = format_pointer(path)
    notes = ["forces replacement"] if pointer in step.replace_paths else []
    notes += _notes_at(pointer, step)
    return f"   # {'; '.join(notes)}" if notes else ""


def _notes_at(pointer: str, step: Step) -> list[str]:
    found = [one.note for one in step.because if one.pointer == pointer and one.note]
    return [escape(cut(note)) for note in found]


def _is_structure(value: Json) -> bool:
    return isinstance(value, (dict, list)) and bool(value)


def _size(document: Json) -> int:
    if isinstance(document, dict):
        return sum(_size(value) for value in document.values())
    return 1
