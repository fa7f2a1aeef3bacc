"""Changes single cells of a CSV file, and keeps every other character.

Quotes, line ends, empty lines and a BOM stay. The reader of items reads each result again, so that
a change beside the cells is found.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.errors import ManifestInvalid
from reconciler.model import Finding, SourceLocation
from reconciler.model.values import dataclass

_BOM: Final = "\ufeff"
_BY_HAND: Final = "Change it by hand."
# A cell in quotes, or one without; then what ends it.
_CELL: Final = re.compile(r'("[^"]*(?:""[^"]*)*"|(?!")[^,\r\n]*)(,|\r\n|\n|\r|\Z)')
_NEEDS_QUOTES: Final = re.compile(r'[",\r\n]')


@dataclass(frozen=True, slots=True)
class _Span:
    """Where a cell is in the text, its quotes included."""

    start: int
    end: int


def edit_csv(file: str, text: str, cells: Mapping[tuple[int, str], str]) -> str:
    """Returns the text of a CSV file with cells changed, by the number of the row and the column.

    Rows that are not empty count from 1 below the names of the columns, as the items of a fleet
    do. `text` is the whole file, line ends and BOM included; `file` is its name in findings. Raises
    ManifestInvalid, and changes nothing, for a cell that does not exist.
    """
    bom = _BOM if text.startswith(_BOM) else ""
    body = text.removeprefix(bom)
    rows = _read(file, body)
    spans = list(_find_rows(body))
    if len(spans) != len(rows):
        raise _refuse(file, "is not CSV that can be edited")
    changed = dict(_locate(file, rows, spans, cells))
    parts, at = [bom], 0
    for span in sorted(changed, key=lambda one: one.start):
        parts += [body[at : span.start], _write(body[span.start : span.end], changed[span])]
        at = span.end
    edited = "".join([*parts, body[at:]])
    _check(file, rows, _read(file, edited.removeprefix(bom)), cells)
    return edited


def _locate(
    file: str,
    rows: list[list[str]],
    spans: list[list[_Span]],
    cells: Mapping[tuple[int, str], str],
) -> Iterator[tuple[_Span, str]]:
    names = rows[0] if rows else []
    for (number, column), value in cells.items():
        if column not in names or not 0 < number < len(rows):
            raise _refuse(file, f'has no cell in the column "{column[:60]}" of row {number}')
        at = names.index(column)
        if at >= len(rows[number]):
            raise _refuse(file, f'row {number} has no cell in the column "{column[:60]}"')
        if rows[number][at] != value:
            yield spans[number][at], value


def _write(before: str, value: str) -> str:
    """Returns a cell with a value; it has quotes if it had them, or needs them."""
    if before.startswith('"') or _NEEDS_QUOTES.search(value):
        return '"' + value.replace('"', '""') + '"'
    return value


def _find_rows(body: str) -> Iterator[list[_Span]]:
    """Yields the places of the cells of each row that is not empty."""
    at, row, filled = 0, list[_Span](), False
    while at < len(body) or row:
        match = _CELL.match(body, at)
        if match is None:
            return
        row.append(_Span(match.start(1), match.end(1)))
        filled = filled or match[1] not in {"", '""'}
        at = match.end()
        if match[2] == ",":
            continue
        if filled:
            yield row
        row, filled = [], False


def _read(file: str, body: str) -> list[list[str]]:
    """Returns the rows that are not empty, as the items of a fleet are read."""
    try:
        rows = csv.reader(io.StringIO(body, newline=""), strict=True)
        return [row for row in rows if any(row)]
    except csv.Error as error:
        raise _refuse(file, f"is not CSV: {error}") from None


def _check(
    file: str,
    before: list[list[str]],
    after: list[list[str]],
    cells: Mapping[tuple[int, str], str],
) -> None:
    """Raises ManifestInvalid unless the cells, and nothing else, have changed."""
    wanted = [[*row] for row in before]
    for (number, column), value in cells.items():
        wanted[number][before[0].index(column)] = value
    if wanted != after:
        raise _refuse(file, "cannot be changed in place without a change beside the cell")


def _refuse(file: str, message: str) -> ManifestInvalid:
    place = SourceLocation(file, 1, 1)
    return ManifestInvalid((Finding(message, place=place, next_step=_BY_HAND),))
