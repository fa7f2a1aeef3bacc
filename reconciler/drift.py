"""Who moved what since the last apply: live against what the ledger remembers.

A value that a manifest declares was read back and remembered when it was applied. Where live
now differs from that, somebody else wrote; where what is declared differs, the manifest moved.
"""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.diff import same
from reconciler.model import ABSENT, Change, Json, Memory, Verb
from reconciler.plan import Wish
from reconciler.pointers import find, format_pointer


def explain_changes(wish: Wish, changes: tuple[Change, ...]) -> Iterator[str]:
    """A line for each change that somebody else's write asks for, wholly or in part.

    `POINTER: drift: was VALUE when last applied DAY by WHO@COMMIT`; `conflict` where the
    manifest moved as well. Sensitive values are not shown.
    """
    if wish.memory is None:
        return
    for change in changes:
        pointer = format_pointer(change.path)
        if change.verb is Verb.WRITE or pointer not in wish.memory.owned:
            continue
        below = wish.schema.at(change.path)
        then = wish.memory.owned[pointer]
        if not same(below, then, find(wish.live, change.path)):
            word = "drift" if same(below, then, change.after) else "conflict"
            yield f"{pointer}: {word}: was {_show(change, then)} {format_memory(wish.memory)}"


def format_memory(memory: Memory) -> str:
    """`when last applied 2026-11-02 by ci@4f1c2aa`."""
    commit = f"@{memory.commit[:7]}" if memory.commit else ""
    return f"when last applied {memory.at[:10]} by {memory.by}{commit}"


def _show(change: Change, value: Json) -> str:
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
