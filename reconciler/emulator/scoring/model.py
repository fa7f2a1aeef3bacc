"""The tables of scoring calls, and the predictions: a pure function of a model's bytes and a row.

A row's probability is the first 32 bits of SHA-256 over the model's digest and the row, as a
fraction of 2^32. The row is hashed as JSON, with columns sorted by name and values as text. So
another model gives other predictions, and the format of a table makes no difference. A value of a
Boolean column is the text True or False, as a published client reads it. A model that a training
job of the emulator wrote makes its own predictions.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler.emulator.replies import Refusal, refuse
from reconciler.emulator.training.learner import Model, format_prediction

Json = Any
Columns = Mapping[str, Json]
_ADDED: Final = (("Scored Labels", "String"), ("Scored Probabilities", "Double"))
# The same columns in the form of a definition.
ADDED_COLUMNS: Final = {
    "Scored Labels": {"type": "String"},
    "Scored Probabilities": {"type": "Number", "format": "Double"},
}
# The types of replies, with what their values look like; the last one fits every value.
_PATTERNS: Final = {
    "Int32": re.compile(r"-?[0-9]+"),
    "Double": re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?"),
    "Boolean": re.compile(r"true|false", re.IGNORECASE),
    "String": re.compile(r".*", re.DOTALL),
}
# The types of replies for those of a definition. A more exact one may be its format.
_REPLY_TYPES: Final = {
    "integer": "Int32",
    "number": "Double",
    "boolean": "Boolean",
    "string": "String",
}
_REPLY_FORMATS: Final = {"date-time": "DateTime"}


@dataclass(frozen=True)
class TypedTable:
    """Columns by name, their types in replies, and rows of values: text, or None for no value."""

    columns: list[str]
    types: list[str]
    rows: list[list[str | None]]


def parse_table(value: Json, declared: Columns) -> TypedTable:
    """Parse an input: columns and values, or (format=swagger) a list of row objects.

    `declared` holds the columns of the port by name; if it is empty, every column is accepted.
    """
    columns, rows = _parse_rows(value) if isinstance(value, list) else _parse_values(value)
    if declared and not declared.keys() >= set(columns):
        message = "Input data does not match input port schema."
        raise refuse("BadUserArgument", "InputMismatchError", message)
    typed = [
        _read_column(name, declared.get(name) or {}, [_write(row[index]) for row in rows])
        for index, name in enumerate(columns)
    ]
    cells = [[values[index] for _, values in typed] for index in range(len(rows))]
    return TypedTable(columns, [kind for kind, _ in typed], cells)


def _parse_values(value: Json) -> tuple[list[str], list[list[Json]]]:
    columns = value.get("ColumnNames") if isinstance(value, dict) else None
    rows = value.get("Values") if isinstance(value, dict) else None
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise _unreadable("ColumnNames must be a list of names")
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise _unreadable("Values must be a list of rows")
    if any(len(row) != len(columns) for row in rows):
        raise _unreadable(f"Each row must have a value for each column: {len(columns)}")
    return columns, rows


def _parse_rows(value: list[Json]) -> tuple[list[str], list[list[Json]]]:
    if not all(isinstance(row, dict) for row in value):
        raise _unreadable("Each row must be an object")
    columns = list(value[0]) if value else []
    if any(row.keys() != set(columns) for row in value):
        raise _unreadable("Each row must have the same columns")
    return columns, [[row[name] for name in columns] for row in value]


def _read_column(
    name: str, declared: Columns, values: list[str | None]
) -> tuple[str, list[str | None]]:
    """Return the type of a column as replies name it, and its values as replies write them.

    The type is the declared one, or the first one that all values have.
    """
    kind = _REPLY_TYPES.get(str(declared.get("type")).casefold(), "")
    if not kind:
        kind = next(one for one in _PATTERNS if all(_is_of(one, value) for value in values))
        return kind, [_rewrite(kind, value) for value in values]
    written = [_rewrite(kind, value) for value in values]
    exact = str(declared.get("format") or kind)
    exact = _REPLY_FORMATS.get(exact.casefold(), exact)
    if not all(value == "" or _is_of(kind, value) for value in written):
        raise _unreadable(f"The column {name[:60]} has a value that is not {exact}")
    return exact, written


def _is_of(kind: str, value: str | None) -> bool:
    return value is None or bool(_PATTERNS[kind].fullmatch(value))


def _rewrite(kind: str, value: str | None) -> str | None:
    """Return a value in the one spelling of its type: True for true, 39 for 39.0."""
    if value is None or kind not in {"Boolean", "Int32"}:
        return value
    return value.capitalize() if kind == "Boolean" else value.removesuffix(".0")


def _unreadable(details: str) -> Refusal:
    message = (
        "Parsing of input vector failed.  Verify the input vector has the correct number of"
        f" columns and data types.  Additional details: {details}."
    )
    return refuse("BadUserArgument", "InputParseError", message)


@dataclass(frozen=True)
class LoadedModel:
    """The model behind a reference: the digest of its bytes, and the model that they are, if any.

    Bytes of any other format make predictions too: those of their digest.
    """

    digest: str
    learned: Model | None = None

    @classmethod
    def of(cls, data: bytes) -> LoadedModel:
        """Return the model of these bytes."""
        return cls(hashlib.sha256(data).hexdigest(), Model.load(data))


def score(table: TypedTable, models: Iterable[LoadedModel]) -> TypedTable:
    """Add the prediction of a service's models to each row: of the trained one, if there is one."""
    loaded = list(models)
    learned = next((one.learned for one in loaded if one.learned is not None), None)
    if learned is not None:
        return _score_learned(table, learned)
    digest = hashlib.sha256("\n".join(one.digest for one in loaded).encode()).hexdigest()
    rows = [[*row, *_score_row(table.columns, row, digest)] for row in table.rows]
    names, types = zip(*_ADDED, strict=True)
    return TypedTable([*table.columns, *names], [*table.types, *types], rows)


def _score_learned(table: TypedTable, model: Model) -> TypedTable:
    """Add what a trained model predicts; a regression has a number and no probability."""
    rows = [[*row, *_predict(table.columns, row, model)] for row in table.rows]
    added = _ADDED if model.classes else (("Scored Labels", "Double"),)
    names, types = zip(*added, strict=True)
    return TypedTable([*table.columns, *names], [*table.types, *types], rows)


def _predict(columns: list[str], row: list[str | None], model: Model) -> list[str]:
    cells = {name: value or "" for name, value in zip(columns, row, strict=True)}
    return format_prediction(model, cells)


def _score_row(columns: list[str], row: list[str | None], model: str) -> tuple[str, str]:
    pairs = sorted((name, value or "") for name, value in zip(columns, row, strict=True))
    digest = hashlib.sha256(f"{model}\n{json.dumps(pairs)}".encode()).digest()
    probability = int.from_bytes(digest[:4]) / 2**32
    return str(int(probability >= 0.5)), f"{probability:.9f}"


def show_table(table: TypedTable, *, details: bool) -> Json:
    """Return a result as columns and values; names and types only with `details`."""
    named = {"ColumnNames": table.columns, "ColumnTypes": table.types} if details else {}
    return {"type": "table", "value": {**named, "Values": table.rows}}


def show_rows(table: TypedTable) -> Json:
    """Return a result as row objects (format=swagger)."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def _write(value: Json) -> str | None:
    """Return a value as replies show it: text, or null."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)
