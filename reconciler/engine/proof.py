"""Whether a step took: what was read back against what the step wanted.

`Succeeded` proves nothing (public report azure-docs#41738): only a read does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reconciler.diff import same
from reconciler.errors import NotApplied
from reconciler.model import ABSENT, Absent, Action, Change, Json, Live, Path, Step, Verb
from reconciler.patch import apply_operations
from reconciler.pointers import find, format_pointer
from reconciler.schema import Field

_AGAIN: Final = "Plan again to see what is live; if it persists, look for a second writer."


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
    for change, path in _provable(field, step):
        have = find(after.document, path)
        if not same(field.at(path), find(wanted, path), have):
            said = "another value" if change.sensitive else show_value(have)
            raise _not_applied(step, f"it still has {said} at {format_pointer(path)}")
    return after.document


def show_value(value: Json | Absent) -> str:
    """A value in one bounded line."""
    text = "nothing" if value is ABSENT else f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else f"{text[:120]} … {text[-60:]}"


def _not_applied(step: Step, what: str) -> NotApplied:
    return NotApplied(
        f"not applied: the service reports success and {what}",
        subject=str(step.resource.address),
        next_step=_AGAIN,
    )


def _provable(field: Field, step: Step) -> Iterator[tuple[Change, Path]]:
    """Each change that can be seen and where: a list is seen as a whole."""
    for change in step.changes:
        path = change.path
        for depth, segment in enumerate(path):
            if isinstance(segment, int):
                path = path[:depth]
                break
        hidden = any(field.at(path[:length]).write_only for length in range(1, len(path) + 1))
        container = change.after == {} and field.at(path).branches
        if not (hidden or container or change.verb is Verb.WRITE):
            yield change, path
