"""Whether a step took: what was read back against what the step wanted.

`Succeeded` proves nothing (public report azure-docs#41738): only a read does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from reconciler.document.diff import diff, is_unseen, same
from reconciler.document.overlay import overlay, says_nothing
from reconciler.document.patch import apply_operations
from reconciler.document.pointers import find, format_pointer
from reconciler.document.schema import Field
from reconciler.errors import NotApplied
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Change,
    Finding,
    Json,
    Live,
    Path,
    Step,
    Verb,
)

_AGAIN: Final = "Plan again to see what is live; if it persists, look for a second writer."
_DECLARE: Final = "Declare it: the service fills in what the definition leaves out."
_MOST: Final = 20


def prove(field: Field, step: Step, before: Live | Absent, after: Live | Absent) -> Json | Absent:
    """The document that was read back, once it shows what the step wanted.

    `before` is what was read immediately before the write. Raises NotApplied naming the place
    and what the service still has.
    """
    if step.action is Action.DELETE:
        if after is not ABSENT:
            raise _not_applied(step, "it is still there")
        return ABSENT
    if after is ABSENT:
        raise _not_applied(step, "it is not there")
    start = ABSENT if before is ABSENT else before.document
    wanted = apply_operations((op for op in step.ops if op["op"] != "test"), start)
    unproven = [
        (change, path)
        for change, path in _provable(field, step, after.document)
        if not _took(
            field.at(path), change, _want(change, wanted, path), find(after.document, path)
        )
    ]
    if not unproven and step.extent == "whole":
        unproven = list(_lost(field, wanted, after.document))
    if unproven:
        raise _still_has(step, after.document, unproven)
    return after.document


def _lost(field: Field, wanted: Json, have: Json) -> Iterator[tuple[Change, Path]]:
    """What was sent whole must be there whole; only what is empty may have vanished."""
    for change in diff(field, have, overlay(field, have, wanted)):
        if not says_nothing(field.at(change.path), change.after):
            yield change, change.path


def _want(change: Change, wanted: Json, path: Path) -> Json | Absent:
    """What a place is to have: what is written beside the patch stands in the change alone."""
    return change.after if change.verb is Verb.WRITE else find(wanted, path)


def _took(field: Field, change: Change, wanted: Json | Absent, have: Json | Absent) -> bool:
    gone = change.verb is Verb.REMOVE and wanted is ABSENT and says_nothing(field, have)
    return gone or same(field, wanted, have)


def _still_has(step: Step, live: Json, unproven: Sequence[tuple[Change, Path]]) -> NotApplied:
    """All the places at which live is not what was wanted."""
    said = [
        f"{'another value' if change.sensitive else show_value(find(live, path))}"
        f" at {format_pointer(path)}"
        for change, path in unproven
    ]
    more = [f"… and {len(said) - _MOST} more"] if len(said) > _MOST else []
    removed = all(change.verb is Verb.REMOVE for change, _ in unproven)
    return _not_applied(
        step,
        f"it still has {said[0]}",
        detail=(*(f"Also {one}" for one in said[1:_MOST]), *more),
        next_step=_DECLARE if removed else _AGAIN,
    )


def show_value(value: Json | Absent) -> str:
    """A value in one bounded line."""
    text = "nothing" if value is ABSENT else f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else f"{text[:120]} … {text[-60:]}"


def _not_applied(
    step: Step, what: str, detail: tuple[str, ...] = (), next_step: str = _AGAIN
) -> NotApplied:
    finding = Finding(
        f"not applied: the service reports success and {what}",
        subject=str(step.resource.address),
        detail=detail,
        next_step=next_step,
    )
    return NotApplied((finding,))


def _provable(field: Field, step: Step, live: Json) -> Iterator[tuple[Change, Path]]:
    """Each change that can be seen and where: a list is seen as a whole."""
    for change in step.changes:
        path = change.path
        for depth, segment in enumerate(path):
            if isinstance(segment, int):
                path = path[:depth]
                break
        container = change.after == {} and field.at(path).branches
        if not (container or is_unseen(field, path, live)):
            yield change, path
