"""The predictions of the emulator's models: a pure function of a model's bytes and a row.

A row's probability is the first 32 bits of SHA-256 over the model's digest and the row, as a
fraction of 2^32. The row is hashed as JSON, with columns sorted by name and values as text. So
another model gives other predictions, and the format of a table makes no difference.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from reconciler.emulator.replies import Refusal

Json = Any
_ADDED: Final = (("Scored Labels", "String"), ("Scored Probabilities", "Double"))
# The same columns in the form of a definition.
ADDED_COLUMNS: Final = {
    "Scored Labels": {"type": "String"},
    "Scored Probabilities": {"type": "Number", "format": "Double"},
}
_TYPES: Final = (
    ("Int32", re.compile(r"-?[0-9]+")),
    ("Double", re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")),
)
_CLASSES: Final = {
    "BadArgument": (400, "Invalid argument provided."),
    "BadUserArgument": (400, "Invalid user argument provided."),
    "InvalidOperation": (400, "The request is invalid in the current context."),
    "Unauthorized": (401, "Request is unauthorized to access resource."),
    "NotFound": (404, "Resource not found."),
    "ServiceUnavailable": (503, "Service is temporarily unavailable."),
}


@dataclass(frozen=True)
class Table:
    """Columns by name, and rows of values."""

    columns: list[str]
    rows: list[list[Json]]


def refuse(code: str, detail: str, message: str) -> Refusal:
    """Return an error of scoring by its class and detail (published table of error codes)."""
    status, summary = _CLASSES[code]
    return Refusal(status, code, summary, (detail, message))


def parse_table(value: Json) -> Table:
    """Parse an input: columns and values, or (format=swagger) a list of row objects."""
    if isinstance(value, list):
        return _parse_rows(value)
    columns = value.get("ColumnNames") if isinstance(value, dict) else None
    rows = value.get("Values") if isinstance(value, dict) else None
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise _unreadable("ColumnNames must be a list of names.")
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise _unreadable("Values must be a list of rows.")
    if any(len(row) != len(columns) for row in rows):
        raise _unreadable(f"Each row must have {len(columns)} values.")
    return Table(columns, rows)


def _parse_rows(value: list[Json]) -> Table:
    if not all(isinstance(row, dict) for row in value):
        raise _unreadable("Each row must be an object.")
    columns = list(value[0]) if value else []
    if any(row.keys() != set(columns) for row in value):
        raise _unreadable("Each row must have the same columns.")
    return Table(columns, [[row[name] for name in columns] for row in value])


def _unreadable(details: str) -> Refusal:
    message = (
        "Parsing of input vector failed.  Verify the input vector has the correct number of"
        f" columns and data types.  Additional details: {details}."
    )
    return refuse("BadUserArgument", "InputParseError", message)


def combine_digests(digests: Iterable[str]) -> str:
    """Return one digest for all models of a service."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def score(table: Table, model: str) -> Table:
    """Add a label and a probability to each row; `model` is the digest of the models."""
    rows = [[*row, *_score_row(table.columns, row, model)] for row in table.rows]
    return Table([*table.columns, *(name for name, _ in _ADDED)], rows)


def _score_row(columns: list[str], row: list[Json], model: str) -> tuple[str, str]:
    pairs = sorted((name, _write(value) or "") for name, value in zip(columns, row, strict=True))
    digest = hashlib.sha256(f"{model}\n{json.dumps(pairs)}".encode()).digest()
    probability = int.from_bytes(digest[:4]) / 2**32
    return str(int(probability >= 0.5)), f"{probability:.9f}"


def show_table(table: Table, *, details: bool) -> Json:
    """Return a result as columns and values; names and types only with `details`."""
    values = [[_write(value) for value in row] for row in table.rows]
    if not details:
        return {"type": "table", "value": {"Values": values}}
    given = len(table.columns) - len(_ADDED)
    types = [_infer_type([row[index] for row in values]) for index in range(given)]
    shown = {
        "ColumnNames": table.columns,
        "ColumnTypes": [*types, *(kind for _, kind in _ADDED)],
        "Values": values,
    }
    return {"type": "table", "value": shown}


def show_rows(table: Table) -> Json:
    """Return a result as row objects (format=swagger)."""
    return [
        dict(zip(table.columns, (_write(value) for value in row), strict=True))
        for row in table.rows
    ]


def _write(value: Json) -> str | None:
    """Return a value as replies show it: text, or null."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _infer_type(values: list[str | None]) -> str:
    for kind, pattern in _TYPES:
        if all(value is None or pattern.fullmatch(value) for value in values):
            return kind
    return "String"
