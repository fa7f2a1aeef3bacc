"""What the scoring script of a deployment answers: a list with one number for each row.

The body is the script's own business. This script reads the forms that published samples send:
`{"data": [[1, 2]]}`, `{"input_data": [[1, 2]]}`, `{"input_data": {"columns": [...], "data":
[[1, 2]]}}`, a bare list of rows, and rows that are objects. The number is the probability of the
positive class, or what a regression predicts; it depends on the model's bytes and on the row alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from reconciler.emulator.replies import Refusal
from reconciler.emulator.scoring import model as scoring

Json = Any
_MEMBERS: Final = ("data", "input_data")


class ScriptFailed(Exception):
    """The script raised an exception; the message is the exception's text."""


def answer_rows(body: Json, model: scoring.LoadedModel) -> list[float]:
    """Return what the script answers to a body. Raises ScriptFailed for one it cannot read."""
    try:
        table = scoring.parse_table(_find_table(body, _name_columns(model)), {})
    except Refusal as refusal:
        details = refusal.body["error"]["details"][0]["message"]
        raise ScriptFailed(f"ValueError: {details.rpartition('details: ')[2]}") from refusal
    if not table.rows:
        return []
    return [float(str(row[-1])) for row in scoring.score(table, [model]).rows]


def _name_columns(model: scoring.LoadedModel) -> tuple[str, ...]:
    """Return the columns of a trained model in its order; () for bytes of another format."""
    return tuple(one.name for one in model.learned.columns) if model.learned else ()


def _find_table(body: Json, names: Sequence[str]) -> Json:
    """Return the rows of a body in a form of `scoring.parse_table`."""
    rows: Json = body
    columns: Json = None
    if isinstance(body, dict):
        member = next((one for one in _MEMBERS if one in body), None)
        if member is None:
            raise ScriptFailed("KeyError: 'data'")
        rows = body[member]
        if isinstance(rows, dict):  # MLflow's clients send columns and data side by side
            rows, columns = rows.get("data"), rows.get("columns")
    if not isinstance(rows, list):
        raise ScriptFailed("ValueError: the rows must be a list")
    if columns is None and all(isinstance(row, dict) for row in rows):
        return rows
    width = max((len(row) for row in rows if isinstance(row, list)), default=0)
    return {"ColumnNames": columns or _fit(names, width), "Values": rows}


def _fit(names: Sequence[str], width: int) -> list[str]:
    if not names:
        return [str(number) for number in range(width)]
    if width != len(names):
        text = f"ValueError: X has {width} features, but the model expects {len(names)} features"
        raise ScriptFailed(text)
    return list(names)
