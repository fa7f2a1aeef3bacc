"""Renders the changes of one step as lines: models first, then attributes by path.

The text and Markdown renderers of a plan call it. Which values to show is decided in `rows`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from reconciler.model import Action, Step
from reconciler.render.plan.facts import describe_kept
from reconciler.render.plan.rows import (
    FULL,
    Bounds,
    Row,
    describe_rest,
    describe_whole,
    make_rows,
)
from reconciler.render.plan.writes import render_writes
from reconciler.render.words.colour import Paint
from reconciler.text.counting import count

_CHANGED: Final = Bounds(rows=60)
_CREATED: Final = Bounds(rows=24)


def render_changes(
    step: Step, paint: Paint, like: Sequence[Step] = (), *, full: bool = False
) -> Iterator[str]:
    """Yields every change of a step, and the counts of attributes that are not shown.

    `like` are all steps that this step represents: the lines note what differs between them.
    With `full`, what is otherwise counted is shown.
    """
    yield from render_difference(step, paint, like, full=full)
    kept = describe_kept(step, _choose_bounds(step, full=full).kept)
    if kept:
        yield paint("faint", f"  # ({kept})")
    rest = describe_rest(step)
    if rest and all(describe_rest(one) == rest for one in like):
        yield paint("faint", f"  # ({rest})")


def render_difference(
    step: Step, paint: Paint, like: Sequence[Step] = (), *, full: bool = False
) -> Iterator[str]:
    """Yields the changes of a step, bounded; equal changes give equal lines for any resource."""
    for said in describe_whole(step, like):
        line = f"  # ({said})"
        yield line if step.action is Action.DELETE else paint("faint", line)
    rows, more = make_rows(step, _choose_bounds(step, full=full), like)
    for row in rows:
        yield from _row_lines(row, paint)
    if more:
        said = f"and {count(more, 'more attribute')}; {describe_more(full=full)}"
        yield paint("faint", f"  # ({said})")
    for line in render_writes(step):
        yield f"  # {line}"


def describe_more(*, full: bool) -> str:
    """Returns what shows the attributes that are only counted."""
    return "the saved plan contains them all" if full else "plan --full shows them"


def _choose_bounds(step: Step, *, full: bool) -> Bounds:
    if full:
        return FULL
    return _CREATED if step.action is Action.CREATE else _CHANGED


def _row_lines(row: Row, paint: Paint) -> Iterator[str]:
    values = " -> ".join(value for value in (row.before, row.after, row.said) if value)
    head = f"{paint.symbol(row.sign)} {row.name}{f' = {values}' if values else ':'}"
    if row.about:
        yield head
        yield from (f"      {line}" for line in (*(f"# {one}" for one in row.notes), *row.about))
    else:
        yield f"{head}   # {'; '.join(row.notes)}" if row.notes else head
        yield from (f"      {line}" for line in row.lines)
