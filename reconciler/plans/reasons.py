"""Why each change of a plan is planned: live and the manifest against what the ledger remembers.

A value that a manifest declares was read back and remembered when it was applied. Where live
now differs from that, somebody else wrote; where what is declared differs, the manifest moved.
"""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.document.diff import is_untold, same
from reconciler.document.pointers import find, format_pointer
from reconciler.model import ABSENT, Absent, Cause, Change, Json, Memory, Reason, Verb
from reconciler.plans.step import Wish, find_moved_epochs, remember


def explain_changes(wish: Wish, changes: tuple[Change, ...]) -> Iterator[Reason]:
    """A reason for each change; one for the whole where there is nothing yet.

    Sensitive values are neither shown nor kept.
    """
    if wish.live is ABSENT:
        yield _explain_absence(wish.memory)
        return
    for change in changes:
        pointer = format_pointer(change.path)
        if change.verb is Verb.WRITE:
            untold = is_untold(wish.schema, change.path, wish.live)
            yield _explain_untold(wish, change) if untold else _explain_write(wish, pointer)
        elif change.verb is Verb.REMOVE and wish.declared.exact:
            yield Reason(pointer, Cause.UNDECLARED, "not declared")
        elif wish.memory is None:
            yield Reason(pointer, Cause.MANIFEST if wish.ledger_known else Cause.UNKNOWN)
        else:
            yield _explain_change(wish, wish.memory, pointer, change)


def _explain_absence(memory: Memory | None) -> Reason:
    if memory is None:
        return Reason("", Cause.NEW)
    return Reason("", Cause.GONE, f"it is gone: it was there {format_memory(memory)}")


def _explain_write(wish: Wish, pointer: str) -> Reason:
    if wish.rotate and pointer in wish.secrets:
        return Reason(pointer, Cause.ROTATE, "--rotate")
    memory, reference = wish.memory, wish.secrets.get(pointer)
    if memory is None or reference is None:
        return Reason(pointer, Cause.MANIFEST)
    known = memory.secrets.get(pointer)
    if known is None or known == reference.version:
        return Reason(pointer, Cause.MANIFEST)
    note = f'version label: was "{known}" {format_memory(memory)}'
    return Reason(pointer, Cause.VERSION, note)


def _explain_untold(wish: Wish, change: Change) -> Reason:
    """Why something is written that the service does not show: nobody else can tell."""
    pointer = format_pointer(change.path)
    moved = find_moved_epochs(wish)
    then = remember(wish, change.path)
    if then is ABSENT:
        cause = Cause.MANIFEST if wish.ledger_known else Cause.UNKNOWN
        return Reason(pointer, cause, "not observable, and when it was set is not known")
    if moved and same(wish.schema.at(change.path), then, change.after):
        where = " and ".join(map(format_pointer, moved))
        note = f"{where} moved since, which may have undone it"
        return Reason(pointer, Cause.DRIFT, f"{format_last_set(wish.memory)}; {note}")
    return Reason(pointer, Cause.MANIFEST, format_last_set(wish.memory))


def _explain_change(wish: Wish, memory: Memory, pointer: str, change: Change) -> Reason:
    below = wish.schema.at(change.path)
    then = memory.owned.get(pointer, ABSENT)
    if then is ABSENT or same(below, then, find(wish.live, change.path)):
        return Reason(pointer, Cause.MANIFEST)
    cause = Cause.DRIFT if same(below, then, change.after) else Cause.CONFLICT
    note = f"{cause.value}: was {_show(change, then)} {format_memory(memory)}"
    return Reason(pointer, cause, note, ABSENT if change.sensitive else then)


def format_memory(memory: Memory) -> str:
    """`when last applied 2026-11-02 by ci@4f1c2aa`."""
    return f"when last applied {format_author(memory)}"


def format_author(memory: Memory | None) -> str:
    """`2026-11-02 by ci@4f1c2aa`: when it was last applied, by whom, from which commit."""
    if memory is None:
        return ""
    commit = f"@{memory.commit[:7]}" if memory.commit else ""
    return f"{memory.at[:10]} by {memory.by}{commit}"


def format_last_set(memory: Memory | None) -> str:
    """`not observable (set 2026-11-02 by ci@4f1c2aa)`: of what a manifest spoke of then."""
    return f"not observable (set {format_author(memory)})"


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
