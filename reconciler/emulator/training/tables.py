"""Tables of training data: CSV files with a header, and the columns that a model reads from them.

A numeric column is standardised, a column of text becomes one feature for each category. A value
that was not in the training data, or that is missing, adds nothing.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Final

MOST_ROWS: Final = 200_000
_MOST_COLUMNS: Final = 200
_MOST_CATEGORIES: Final = 100
_MOST_FEATURES: Final = 1_000
_MOST_CELLS: Final = 8_000_000  # features of all rows
_MISSING: Final = ("", "?")
_LARGEST: Final = 1e100


class TableInvalid(Exception):
    """The data cannot be a table; the message is a sentence about it."""


@dataclass(frozen=True)
class Table:
    """The names of the columns, and the cells of each row as text."""

    columns: tuple[str, ...]
    rows: list[list[str]]

    def find(self, name: str) -> int:
        """Return the index of a column; raise TableInvalid if it does not exist."""
        if name not in self.columns:
            names = ", ".join(one[:40] for one in self.columns[:20])
            raise TableInvalid(f'Column "{name[:60]}" was not found. The columns are: {names}.')
        return self.columns.index(name)


def parse_table(data: bytes, separator: str = ",") -> Table:
    """Parse a CSV file with a header; raise TableInvalid for anything else."""
    try:
        text = data.decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        lines = [[cell.strip() for cell in cells] for cells in reader if any(cells)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableInvalid(f"The data is not CSV: {error}.") from error
    if len(lines) < 2:
        raise TableInvalid("The data does not have a row.")
    header, *rows = lines
    if len(header) > _MOST_COLUMNS or len(rows) > MOST_ROWS:
        raise TableInvalid(f"The data has {len(header)} columns and {len(rows)} rows: too many.")
    if len(set(header)) < len(header) or not all(header):
        raise TableInvalid("Each column must have a name of its own.")
    if any(len(cells) != len(header) for cells in rows):
        raise TableInvalid(f"Each row must have {len(header)} cells.")
    return Table(tuple(header), rows)


def drop_incomplete(table: Table) -> Table:
    """Return the table without the rows that miss a value ("Remove entire row")."""
    kept = [row for row in table.rows if not any(cell in _MISSING for cell in row)]
    return Table(table.columns, kept)


def parse_number(cell: str) -> float | None:
    """Return a number whose square is finite too; None for any other text."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if abs(number) <= _LARGEST else None


@dataclass(frozen=True)
class Column:
    """How a model reads one column: as a number (`mean`, `scale`), or as one of `categories`."""

    name: str
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0

    @property
    def width(self) -> int:
        """Return the number of features."""
        return len(self.categories) or 1

    def encode(self, cell: str) -> list[float]:
        """Return the features of one cell."""
        if self.categories:
            return [float(cell == one) for one in self.categories]
        number = parse_number(cell)
        return [0.0 if number is None else (number - self.mean) / self.scale]


def find_columns(table: Table, label: str) -> list[Column]:
    """Return how each column but the label is read; raise TableInvalid for too many features."""
    table.find(label)
    cells = zip(*table.rows, strict=True)
    named = zip(table.columns, cells, strict=True)
    found = [_find_column(name, values) for name, values in named if name != label]
    width = 1 + sum(one.width for one in found)
    if width > _MOST_FEATURES or width * len(table.rows) > _MOST_CELLS:
        said = f"The data has {width} features and {len(table.rows)} rows: too many."
        raise TableInvalid(f"{said} A column of text has a feature for each of its values.")
    return found


def _find_column(name: str, cells: Sequence[str]) -> Column:
    numbers = [number for cell in cells if (number := parse_number(cell)) is not None]
    if len(numbers) == len(cells):
        return Column(name, mean=fmean(numbers), scale=pstdev(numbers) or 1.0)
    often = Counter(cells).most_common(_MOST_CATEGORIES)
    return Column(name, tuple(sorted(one for one, _ in often)))


def encode_row(columns: Sequence[Column], row: Mapping[str, str]) -> list[float]:
    """Return the features of a row: a 1 for the intercept, then those of each column."""
    return [1.0, *(value for one in columns for value in one.encode(row.get(one.name, "")))]
