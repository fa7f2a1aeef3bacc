"""Computes the pictures of a drift report: the strip of all resources, the ages, the last runs.

The HTML renderer calls it. It returns paths of SVG with no text from outside.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from reconciler.model import DriftReport, DriftRun, Verdict
from reconciler.model.values import dataclass
from reconciler.render.drift.history import CALM, count_away
from reconciler.render.drift.page import AGES, ORDER, order_statuses

# A square and the gap after it have this width in units of the picture.
CELL: Final = 10
TREND_HEIGHT: Final = 100
_MOST_RUNS: Final = 30
# Up to so many resources: the columns, and the pixels of a square.
_SIZES: Final = (
    (40, 20, 28),
    (300, 40, 20),
    (1_500, 60, 13),
    (6_000, 100, 8),
    (sys.maxsize, 200, 4),
)
# The width of the column of a run and of the whole trend, in pixels.
_RUN_WIDTH: Final = 26
_LEAST_WIDTH: Final = 260
# The columns of a run from the bottom up.
_LAYERS: Final = ("error", "warning", "incomplete", "note")


@dataclass(frozen=True, slots=True)
class Picture:
    """The paths of a picture by their class, and its size in its own units.

    `columns` is how many squares or runs are side by side, and `shown` its width in pixels.
    """

    paths: Mapping[str, str]
    width: int
    height: int
    columns: int = 0
    shown: int = 0


def name_class(verdict: Verdict) -> str:
    """Returns the verdict as a class of the style: `evidence-incomplete`."""
    return verdict.value.replace(" ", "-")


def draw_strip(report: DriftReport, most: int) -> Picture:
    """Returns a square for each resource, as one path for each verdict.

    `most` is the highest number of resources of a strip on the page; all strips have squares of one
    size.

    A path is a thick dashed line: a dash is a square. So a run of equal squares is one piece.
    """
    verdicts = [one.verdict for one in order_statuses(report)]
    lines: dict[Verdict, list[str]] = {}
    columns, pixels = next((wide, size) for limit, wide, size in _SIZES if most <= limit)
    for start in range(0, len(verdicts), columns):
        column, middle = 0, start // columns * CELL + CELL // 2
        for verdict, run in groupby(verdicts[start : start + columns]):
            length = sum(1 for _ in run)
            lines.setdefault(verdict, []).append(f"M{column * CELL} {middle}h{length * CELL - 1}")
            column += length
    paths = {name_class(one): "".join(lines[one]) for one in reversed(ORDER) if one in lines}
    rows, wide = -(-len(verdicts) // columns), min(len(verdicts), columns)
    return Picture(paths, wide * CELL, rows * CELL, columns, wide * pixels)


def draw_ages(ages: Mapping[str, int]) -> Picture:
    """Returns one bar that the ages divide, the oldest first."""
    total = sum(ages.values())
    paths: dict[str, str] = {}
    start = 0.0
    for name, _, _ in reversed(AGES):
        if ages.get(name):
            width = 1000 * ages[name] / total
            paths[name] = f"M{start:.2f} 0h{width:.2f}v10h-{width:.2f}z"
            start += width
    return Picture(paths, 1000, 10)


def draw_trend(runs: Sequence[DriftRun]) -> Picture:
    """Returns a column for each of the last 30 runs, divided by severity."""
    shown = [_count_layers(run) for run in runs[-_MOST_RUNS:]]
    most = max((sum(run.values()) for run in shown), default=0) or 1
    paths: dict[str, list[str]] = {name: [] for name in _LAYERS}
    for number, run in enumerate(shown):
        top = float(TREND_HEIGHT)
        for name in _LAYERS:
            height = TREND_HEIGHT * run[name] / most
            if height:
                top -= height
                paths[name].append(f"M{number * CELL} {top:.2f}h8v{height:.2f}h-8z")
    drawn = {name: "".join(pieces) for name, pieces in paths.items() if pieces}
    width = max(len(shown), 1)
    return Picture(drawn, width * CELL, TREND_HEIGHT, width, max(width * _RUN_WIDTH, _LEAST_WIDTH))


def _count_layers(run: DriftRun) -> dict[str, int]:
    counted = dict.fromkeys(_LAYERS, 0)
    for verdict, number in run.counts.items():
        if verdict not in CALM:
            name = "incomplete" if verdict is Verdict.INCOMPLETE else verdict.severity
            counted[name] += max(number, 0)
    return counted


def list_runs(report: DriftReport) -> Iterator[tuple[DriftRun, int]]:
    """Yields the last 30 runs, the newest first, with the number of what was not in sync."""
    return ((run, count_away(run)) for run in reversed(report.runs[-_MOST_RUNS:]))
