"""Puts the answers of two models to the same rows side by side, for the rules with a margin.

The training service has scored the rows with the new model, and the service scores them with the
model that is live. The rows must be the same, one by one: otherwise different samples would be
compared.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from reconciler.errors import ReconcilerError
from reconciler.model import Finding, SourceLocation
from reconciler.model.training import RowComparison
from reconciler.model.values import dataclass
from reconciler.plans.evaluations import parse_number
from reconciler.plans.gates import ScoredRows
from reconciler.ports import Scorer
from reconciler.text.counting import count


@dataclass(frozen=True)
class Rows:
    """The labelled rows of a comparison, and the live model that scores them; None without one."""

    text: bytes
    scorer: Scorer | None


LABELS: Final = "Scored Labels"
PROBABILITIES: Final = "Scored Probabilities"
_MOST_BYTES: Final = 16 << 20
_MOST_CELLS: Final = 500_000
_MOST_ROWS: Final = 100_000
_MOST_CLASSES: Final = 5
_TOO_LONG: Final = f"are longer than {_MOST_BYTES >> 20} MiB"
_CSV: Final = "Write CSV with a header and at least one row."
_POSITIVE: Final = ("true", "1")


def compare_rows(comparison: RowComparison, rows: Rows, answers: bytes) -> ScoredRows | Finding:
    """Returns the labels and both answers of each row, or why they cannot be compared.

    `answers` is the file with the rows that the new model has scored.
    """
    name = comparison.rows
    try:
        golden = read_rows(rows.text)
    except ValueError as error:
        return _refuse(name, f"the rows to compare on {error}", _CSV)
    try:
        scored = read_rows(answers)
    except ValueError as error:
        step = "Look at the output of the training service that spec.compare.scoredOutput names."
        place = comparison.scored.place
        return Finding(f"the scored rows {error}", place=place, next_step=step)
    columns = [*golden[0]]
    if comparison.label not in columns:
        near = ", ".join(columns[:20])
        message = f'the rows do not have the column "{comparison.label}"'
        return _refuse(name, message, f"The columns are {near}.")
    wrong = _find_other_row(golden, scored)
    if wrong:
        step = "Let the training service score exactly these rows, in this order."
        return _refuse(name, wrong, step)
    features = [column for column in columns if column != comparison.label]
    cells = [[row[one] for one in features] for row in golden]
    live = rows.scorer.score(features, cells) if rows.scorer is not None else None
    return _pair(comparison, rows.text, golden, scored, live)


def _pair(
    comparison: RowComparison,
    text: bytes,
    golden: Sequence[dict[str, str]],
    scored: Sequence[dict[str, str]],
    live: Sequence[Mapping[str, str]] | None,
) -> ScoredRows | Finding:
    labels = [row[comparison.label] for row in golden]
    is_class = PROBABILITIES in scored[0]
    column = PROBABILITIES if is_class else LABELS
    candidate = find_numbers(scored, column)
    answered = find_numbers(live, column) if live is not None else []
    if candidate is None or answered is None or (live is not None and len(live) != len(golden)):
        message = f"a model's answer to a row has no number in {column}"
        return _refuse(comparison.rows, message, "Look at the rows that the models have scored.")
    positive = comparison.positive or _find_positive(labels)
    classes = sorted(set(labels))
    if is_class and (len(classes) != 2 or positive not in classes):
        shown = ", ".join(f'"{one[:40]}"' for one in classes[:_MOST_CLASSES])
        message = f'the column "{comparison.label}" does not have two classes: {shown}'
        if len(classes) == 2:
            message = f'"{positive[:40]}" is not a value of "{comparison.label}": it has {shown}'
        step = "Give rows of both classes, and name the positive one as it is written there."
        return _refuse(comparison.rows, message, step)
    truth = [float(one == positive) if is_class else parse_number(one) for one in labels]
    if None in truth:
        message = f'a value of "{comparison.label}" is not a number'
        return _refuse(comparison.rows, message, "Correct the rows.")
    return ScoredRows(
        [one or 0.0 for one in truth],
        candidate,
        answered,
        is_classification=is_class,
        digest=f"sha256:{hashlib.sha256(text).hexdigest()}",
        source=comparison.rows,
    )


def _find_positive(labels: Sequence[str]) -> str:
    """Returns the label of the positive class, by the rule of Studio's modules."""
    known = sorted(set(labels))
    return next((one for one in known if one.casefold() in _POSITIVE), known[-1])


def _find_other_row(golden: Sequence[dict[str, str]], scored: Sequence[dict[str, str]]) -> str:
    """Returns how the scored rows differ from the rows to compare on; "" for the same rows."""
    if len(golden) != len(scored):
        scored_rows = count(len(scored), "row")
        return f"{count(len(golden), 'row')} to compare on, and {scored_rows} scored"
    for number, (mine, theirs) in enumerate(zip(golden, scored, strict=True), 1):
        for column, cell in mine.items():
            if not _same(cell, theirs.get(column, "")):
                return f'row {number} was scored with another value of "{column}"'
    return ""


def _same(one: str, other: str) -> bool:
    first, second = parse_number(one), parse_number(other)
    return one == other or (first is not None and first == second)


def find_numbers(answers: Sequence[Mapping[str, str]], column: str = "") -> list[float] | None:
    """Returns the number that answers each row; None if an answer has none.

    Without a `column` it is the probability of the class, or the label of a regression.
    """
    if not column:
        column = PROBABILITIES if answers and PROBABILITIES in answers[0] else LABELS
    found = [parse_number(one.get(column, "")) for one in answers]
    return None if None in found else [one for one in found if one is not None]


def read_file(path: Path, subject: str, next_step: str = _CSV) -> bytes:
    """Returns the bytes of a file with rows; `subject` is its name in messages.

    Raises ReconcilerError for what is not a regular file, which could block for ever, or is longer
    than rows may be.
    """
    try:
        if path.exists() and not path.is_file():
            raise ReconcilerError("is not a regular file", subject=subject, next_step=next_step)
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        message = f"the file cannot be read: {error.strerror}"
        raise ReconcilerError(message, subject=subject, next_step=next_step) from error
    if len(data) > _MOST_BYTES:
        step = "Take a sample of the rows."
        raise ReconcilerError(f"the rows {_TOO_LONG}", subject=subject, next_step=step)
    return data


def read_rows(data: bytes) -> list[dict[str, str]]:
    """Returns the rows by the names of the columns.

    Raises ValueError for what is not a table, or is too large; its text continues "the rows".
    """
    if len(data) > _MOST_BYTES:
        raise ValueError(_TOO_LONG)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("are not text in UTF-8") from error
    separator = "\t" if "\t" in text.partition("\n")[0] else ","
    lines: list[list[str]] = []
    cells = 0
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for row in filter(None, reader):
            cells += len(row)
            if cells > _MOST_CELLS:
                raise ValueError(f"have more than {_MOST_CELLS:,} cells")
            if lines and len(row) != len(lines[0]):
                fields = f"{count(len(row), 'cell')}, and {count(len(lines[0]), 'column')}"
                raise ValueError(f"have {fields} in line {reader.line_num}")
            lines.append(row)
            if len(lines) > _MOST_ROWS + 1:
                raise ValueError(f"are more than {_MOST_ROWS:,}")
    except csv.Error as error:
        raise ValueError(f"are not CSV: line {reader.line_num}: {error}") from error
    if len(lines) < 2:
        raise ValueError("are empty")
    header = [name.strip() for name in lines[0]]
    if len({*header}) < len(header):
        raise ValueError("have two columns with the same name")
    return [dict(zip(header, map(str.strip, row), strict=True)) for row in lines[1:]]


def _refuse(file: str, message: str, next_step: str) -> Finding:
    return Finding(message, place=SourceLocation(file, 1, 1), next_step=next_step)
