"""Explains each change of a plan: compares live and the manifest with the last applied values.

An apply reads each declared value back and records it. If live differs from the record, another
client wrote it. If the declared value differs from the record, the manifest changed. The planner
calls this module.
"""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.document.diff import is_omitted, same
from reconciler.document.pointers import find, format_pointer
from reconciler.document.schema import Field, walk_fields
from reconciler.model import (
    ABSENT,
    Absent,
    Cause,
    Change,
    Entry,
    Json,
    LastApplied,
    Reason,
    Verb,
)
from reconciler.plans.step import Comparison, find_moved_epochs, get_last_applied
from reconciler.text.commits import shorten_commit


def explain_changes(comparison: Comparison, changes: tuple[Change, ...]) -> Iterator[Reason]:
    """Yield a reason for each change; one reason for a resource that does not exist yet.

    A reason never contains a sensitive value.
    """
    if comparison.live is ABSENT:
        yield _explain_absence(comparison.last_applied)
        return
    for change in changes:
        pointer = format_pointer(change.path)
        called = _explain_call(comparison, change)
        if called is not None:
            yield called
        elif change.verb is Verb.WRITE:
            omitted = is_omitted(comparison.schema, change.path, comparison.live)
            yield (
                _explain_omitted(comparison, change)
                if omitted
                else _explain_write(comparison, pointer)
            )
        elif change.verb is Verb.REMOVE and (
            comparison.declared.exact or change.path in comparison.declared.removed
        ):
            yield Reason(pointer, Cause.UNDECLARED, _describe_removal(comparison.schema, change))
        elif comparison.last_applied is None:
            yield Reason(pointer, Cause.MANIFEST if comparison.ledger_known else Cause.UNKNOWN)
        else:
            yield _explain_change(comparison, comparison.last_applied, pointer, change)


def _describe_removal(schema: Field, change: Change) -> str:
    """Return why a value is removed; of a separate part also which model goes with it."""
    field = schema.at(change.path)
    models = (
        find(change.before, path)
        for path, below in walk_fields(field)
        if field.separate and below.model
    )
    named = [f"its model is {one}" for one in models if isinstance(one, str)]
    return "; ".join(["not declared", *named])


def _explain_call(comparison: Comparison, change: Change) -> Reason | None:
    """Explain a change that a call of its own makes or needs; None for any other change."""
    call, pointer = comparison.declared.call, format_pointer(change.path)
    if call is None:
        return None
    if change.called:
        # The note is about the whole call, so it is given once: at the value that a reply shows.
        return Reason(pointer, Cause.MANIFEST, "" if change.before is ABSENT else call.note)
    models = {model.path for model in comparison.declared.models}
    if call.undoes_models and change.verb is Verb.WRITE and change.path in models:
        return Reason(pointer, Cause.MANIFEST, f"sent again, because the {call.name} replaces it")
    return None


def _explain_absence(last_applied: LastApplied | None) -> Reason:
    if last_applied is None:
        return Reason("", Cause.NEW)
    return Reason("", Cause.GONE, f"it is gone: it existed {format_last_applied(last_applied)}")


def _explain_write(comparison: Comparison, pointer: str) -> Reason:
    if comparison.rotate and pointer in comparison.secrets:
        return Reason(pointer, Cause.ROTATE, "--rotate")
    last_applied, reference = comparison.last_applied, comparison.secrets.get(pointer)
    if last_applied is None or reference is None:
        return Reason(pointer, Cause.MANIFEST)
    known = last_applied.secrets.get(pointer)
    if known is None or known == reference.version:
        return Reason(pointer, Cause.MANIFEST)
    note = f'version label: was "{known}" {format_last_applied(last_applied)}'
    return Reason(pointer, Cause.VERSION, note)


def _explain_omitted(comparison: Comparison, change: Change) -> Reason:
    """Explain the write of a value that the service does not show, from the ledger alone."""
    pointer = format_pointer(change.path)
    moved = find_moved_epochs(comparison)
    then = get_last_applied(comparison, change.path)
    if then is ABSENT:
        cause = Cause.MANIFEST if comparison.ledger_known else Cause.UNKNOWN
        return Reason(pointer, cause, "not observable, and when it was set is not known")
    if moved and same(comparison.schema.at(change.path), then, change.after):
        where = " and ".join(map(format_pointer, moved))
        note = f"{where} changed since, which may have undone it"
        return Reason(pointer, Cause.DRIFT, f"{format_last_set(comparison.last_applied)}; {note}")
    return Reason(pointer, Cause.MANIFEST, format_last_set(comparison.last_applied))


def _explain_change(
    comparison: Comparison, last_applied: LastApplied, pointer: str, change: Change
) -> Reason:
    below = comparison.schema.at(change.path)
    then = last_applied.owned.get(pointer, ABSENT)
    if then is ABSENT or same(below, then, find(comparison.live, change.path)):
        return Reason(pointer, Cause.MANIFEST)
    cause = Cause.DRIFT if same(below, then, change.after) else Cause.CONFLICT
    note = f"{cause.value}: was {_show(change, then)} {format_last_applied(last_applied)}"
    return Reason(pointer, cause, note, ABSENT if change.sensitive else then)


def format_last_applied(last_applied: LastApplied) -> str:
    """Return a text such as `when last applied 2026-11-02 by ci@4f1c2aa`."""
    return f"when last applied {format_author(last_applied)}"


def format_author(last_applied: LastApplied | Entry | None) -> str:
    """Return date, author and commit of the last apply, such as `2026-11-02 by ci@4f1c2aa`."""
    if last_applied is None:
        return ""
    commit = f"@{shorten_commit(last_applied.commit)}" if last_applied.commit else ""
    return f"{last_applied.at[:10]} by {last_applied.by}{commit}"


def format_last_set(last_applied: LastApplied | None) -> str:
    """Return a text such as `not observable (set 2026-11-02 by ci@4f1c2aa)`."""
    return f"not observable (set {format_author(last_applied)})"


def _show(change: Change, value: Json | Absent) -> str:
    if change.sensitive:
        return "(sensitive value)"
    if value is ABSENT or isinstance(value, (dict, list)):
        return "another value"
    if not isinstance(value, str):
        return str(value)
    segments = value.split("/")
    return (
        f'"…/{"/".join(segments[-2:])}"' if "://" in value and len(segments) > 5 else f'"{value}"'
    )
