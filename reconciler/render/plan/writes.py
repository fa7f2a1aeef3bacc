"""Lists the writes of a step in their order, with what is waited for and checked.

The text, the Markdown and the HTML page of a plan show the list. Its lines are escaped and bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reconciler.model import Step, Write
from reconciler.model.values import dataclass
from reconciler.render.words.escape import cut, escape
from reconciler.text.counting import count
from reconciler.text.durations import show_duration

WRITES: Final = "Writes, in this order:"
_LONGEST: Final = 300
_MOST: Final = 40


@dataclass(frozen=True, slots=True)
class WriteRow:
    """One write: its number, what it does and when, and the checks before and after it."""

    number: int
    said: str
    checks: tuple[str, ...]


def list_writes(step: Step) -> tuple[list[WriteRow], str]:
    """Returns the writes of a step, and how many more it has as a text; empty if none is left."""
    rows = [_make_row(number, write) for number, write in enumerate(step.writes[:_MOST], 1)]
    left = len(step.writes) - len(rows)
    return rows, f"… and {count(left, 'more write')}" if left else ""


def render_writes(step: Step) -> Iterator[str]:
    """Yields the lines of the list; nothing for a step with one write."""
    rows, more = list_writes(step)
    if not rows:
        return
    yield WRITES
    width = len(str(rows[-1].number)) + 2
    for row in rows:
        yield f"  {f'{row.number}.':<{width}}{row.said}"
        yield from (f"  {'':{width}}  {check}" for check in row.checks)
    if more:
        yield f"  {more}"


def _make_row(number: int, write: Write) -> WriteRow:
    pause = f"{show_duration(write.wait_s)} later: " if write.wait_s else ""
    before = (f"check before: {_cut(one.title)}" for one in write.requires[:_MOST])
    after = (f"check after: {_cut(one.title)}" for one in write.checks[:_MOST])
    return WriteRow(number, f"{pause}{_cut(write.title)}", (*before, *after))


def _cut(title: str) -> str:
    return escape(cut(title, _LONGEST))
