"""Renders the changes of one step as lines: models first, then attributes by path.

The text and Markdown renderers of a plan call it. Which values to show is decided in `rows`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from reconciler.model import Action, Step
from reconciler.render.plan.facts import describe_kept
from reconciler.render.plan.rows import Row, describe_rest, describe_whole, make_rows
from reconciler.render.words.colour import Paint
from reconciler.render.words.counting import count

_MOST_LINES: Final = 60
_MOST_CREATED: Final = 24


def render_changes(step: Step, paint: Paint, like: Sequence[Step] = ()) -> Iterator[str]:
    """Yields every change of a step, and the counts of attributes that are not shown.

    `like` are all steps that this step represents: the lines note what differs between them.
    """
    yield from render_difference(step, paint, like)
    kept = describe_kept(step)
    if kept:
        yield paint("faint", f"  # ({kept})")
    rest = describe_rest(step)
    if rest and all(describe_rest(one) == rest for one in like):
        yield paint("faint", f"  # ({rest})")


def render_difference(step: Step, paint: Paint, like: Sequence[Step] = ()) -> Iterator[str]:
    """Yields the changes of a step, bounded; equal changes give equal lines for any resource."""
    for said in describe_whole(step, like):
        line = f"  # ({said})"
        yield line if step.action is Action.DELETE else paint("faint", line)
    most = _MOST_CREATED if step.action is Action.CREATE else _MOST_LINES
    rows, more = make_rows(step, most, like)
    for row in rows:
        yield from _row_lines(row, paint)
    if more:
        yield paint("faint", f"  # (and {count(more, 'more attribute')})")


def _row_lines(row: Row, paint: Paint) -> Iterator[str]:
    values = " -> ".join(value for value in (row.before, row.after, row.said) if value)
    head = f"{paint.symbol(row.sign)} {row.name}{f' = {values}' if values else ':'}"
    if row.about:
        yield head
        yield from (f"      {line}" for line in (*(f"# {one}" for one in row.notes), *row.about))
    else:
        yield f"{head}   # {'; '.join(row.notes)}" if row.notes else head
        yield from (f"      {line}" for line in row.lines)
