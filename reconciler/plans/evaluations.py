"""Reads the evaluation of a trained model: a small CSV file with one metric in each column.

`Evaluate Model` of Studio writes it. With two models connected it writes two rows, and no column
names them, so a row is never chosen without a rule. A number is read strictly: `Infinity`, `NaN`,
an empty cell and `1,5` are refused when they are asked for, and never skipped.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from reconciler.model import Finding, SourceLocation
from reconciler.model.values import dataclass
from reconciler.text.counting import agree, count
from reconciler.text.suggestions import ask, suggest

Better: TypeAlias = Literal["higher", "lower", ""]
# A row by its number from 1, or by the text of some columns.
RowRule: TypeAlias = int | Mapping[str, str] | None

_MOST_BYTES: Final = 1 << 20
_MOST_ROWS: Final = 1_000
_MOST_COLUMNS: Final = 1_000
_MOST_SHOWN: Final = 20
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_SEPARATORS: Final[Mapping[str, str]] = {
    ",": "commas",
    ";": "semicolons",
    "\t": "tabs",
    "|": "vertical bars",
}
_END_OF_LINE: Final = re.compile(r"[\r\n]")
_ENDINGS: Final[Mapping[str, str]] = {",": ".csv", "\t": ".tsv"}
_SIGNS: Final = str.maketrans("", "", " _-")
# The metrics of Studio's modules and of their later port. `Training Log Loss` and `Average Distance
# to Other Center` are left out: their names say lower, and Studio's pages say higher.
_HIGHER: Final = (
    "Accuracy",
    "Precision",
    "Recall",
    "F-Score",
    "F1",
    "F1 Score",
    "AUC",
    "Coefficient of Determination",
    "Overall accuracy",
    "Average accuracy",
    "Micro-averaged precision",
    "Macro-averaged precision",
    "Micro-averaged recall",
    "Macro-averaged recall",
    "Micro_Precision",
    "Macro_Precision",
    "Micro_Recall",
    "Macro_Recall",
    "True Negative",
    "True Positive",
)
_LOWER: Final = (
    "Negative Log Likelihood",
    "Mean Absolute Error",
    "Mean Squared Error",
    "Root Mean Squared Error",
    "Relative Absolute Error",
    "Relative Squared Error",
    "Average Log Loss",
    "Average Distance to Cluster Center",
    "Maximal Distance to Cluster Center",
    "False Positive",
    "False Negative",
)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The cells of one row of an evaluation file, by the names of its columns, as written.

    `place` is the row in the file; a column's number counts from 1.
    """

    cells: Mapping[str, str]
    place: SourceLocation

    def metrics(self) -> dict[str, float]:
        """Returns the metrics that are finite numbers; names are as in the file."""
        numbers = ((name, parse_number(cell)) for name, cell in self.cells.items())
        return {name: number for name, number in numbers if number is not None}

    def find(self, metric: str) -> float | Finding:
        """Returns the value of a metric, or the reason why it has none."""
        folded = fold_metric(metric)
        name = next((one for one in self.cells if fold_metric(one) == folded), None)
        if name is None:
            return self._miss(metric)
        number = parse_number(self.cells[name])
        if number is None:
            return self._refuse(name, self.cells[name])
        return number

    def _miss(self, metric: str) -> Finding:
        near = suggest(metric, self.cells)
        names = ", ".join(f'"{name[:60]}"' for name in [*self.cells][:_MOST_SHOWN])
        return Finding(
            f'the evaluation does not have a metric "{metric}"',
            place=self.place,
            detail=(f"It has {names}.",),
            next_step=ask(metric, near) if near else "Name one of them in the gate.",
        )

    def _refuse(self, name: str, cell: str) -> Finding:
        column = [*self.cells].index(name) + 1
        return Finding(
            f'"{name}" is {_describe(cell)} in column {column}, and not a finite number',
            place=self.place,
            next_step="Look at the training data and at the log of the job.",
        )


def fold_metric(name: str) -> str:
    """Returns the form in which two spellings of a metric are equal: `F-Score` and `f_score`."""
    return name.casefold().translate(_SIGNS)


def find_direction(metric: str) -> Better:
    """Returns whether a higher or a lower value is better; "" for a name that is not known."""
    return _DIRECTIONS.get(fold_metric(metric), "")


def parse_number(cell: str) -> float | None:
    """Returns a finite number in C notation; None for any other text."""
    number = float(cell) if _NUMBER.fullmatch(cell) else math.inf
    return number if math.isfinite(number) else None


def parse_evaluation(data: bytes, name: str) -> list[Evaluation] | Finding:
    """Returns the rows of an evaluation file, or why they cannot be read.

    `name` is the file's name or address, for messages; its ending says how cells are separated.
    """
    start = SourceLocation(name, 1, 1)
    if name.casefold().endswith(".arff"):
        step = "Let the output of the training service end in .csv or .tsv."
        return Finding("an evaluation in the ARFF format is not read", place=start, next_step=step)
    if len(data) > _MOST_BYTES:
        message = f"an evaluation has at most {_MOST_BYTES:,} bytes, and this has {len(data):,}"
        return Finding(message, place=start, next_step=_PORT)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"the evaluation is not UTF-8 at byte {error.start}"
        return Finding(message, place=start, next_step=_PORT)
    separator = "\t" if name.casefold().endswith(".tsv") else ","
    return _parse_rows(text, start, separator)


def _parse_rows(text: str, start: SourceLocation, separator: str) -> list[Evaluation] | Finding:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    other = _find_other_separator(text, separator)
    if other:
        message = f"the evaluation separates cells with {_SEPARATORS[other]}"
        return Finding(message, place=start, next_step=_cure_separator(separator, other))
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(cells)]
    except csv.Error as error:
        place = SourceLocation(start.file, reader.line_num, 1)
        return Finding(f"the evaluation is not CSV: {error}", place=place, next_step=_PORT)
    if not lines:
        return Finding("the evaluation is empty", place=start, next_step=_PORT)
    (line, header), *rows = lines
    place = SourceLocation(start.file, line, 1)
    wrong = next(_check(header, rows), None)
    if wrong is not None:
        return Finding(wrong[0], place=place, next_step=wrong[1])
    return [
        Evaluation(dict(zip(header, cells, strict=True)), SourceLocation(start.file, at, 1))
        for at, cells in rows
    ]


def _find_other_separator(text: str, separator: str) -> str:
    """Returns the separator that the first line has instead of the expected one; "" without one."""
    first = _END_OF_LINE.split(text.lstrip("\r\n"), maxsplit=1)[0]
    if len(_split(first, separator)) > 1:
        return ""
    return next((one for one in _SEPARATORS if len(_split(first, one)) > 1), "")


def _split(line: str, separator: str) -> list[str]:
    """Returns the cells of a line; empty if it cannot be read with this separator."""
    try:
        return next(csv.reader([line], delimiter=separator, strict=True), [])
    except csv.Error:
        return []


def _cure_separator(separator: str, other: str) -> str:
    ending = _ENDINGS.get(other, "")
    instead = f", or let the address of the output end in {ending}" if ending else ""
    return f"Write {_SEPARATORS[separator]}{instead}."


def _check(
    header: Sequence[str], rows: Sequence[tuple[int, Sequence[str]]]
) -> Iterator[tuple[str, str]]:
    """What is wrong with a table, and the next step."""
    if len(header) > _MOST_COLUMNS or len(rows) > _MOST_ROWS:
        size = f"{count(len(header), 'column')} and {count(len(rows), 'row')}"
        yield f"the file has {size}, so it is not an evaluation", _PORT
    folded = [fold_metric(name) for name in header]
    twice = next((name for name in header if folded.count(fold_metric(name)) > 1), None)
    if twice is not None:
        yield f'two columns of the evaluation are called "{twice[:60]}"', "Rename one of them."
    if not rows:
        yield "the evaluation has a header and not a row", _PORT
    uneven = next((at for at, cells in rows if len(cells) != len(header)), None)
    if uneven is not None:
        yield f"line {uneven} does not have {count(len(header), 'cell')}, as the header has", _PORT


def select_row(rows: Sequence[Evaluation], rule: RowRule) -> Evaluation | Finding:
    """Returns the row that a rule selects, or why there is not exactly one; `rows` is not empty."""
    start = SourceLocation(rows[0].place.file, 1, 1)
    chosen = [one for number, one in enumerate(rows, 1) if _fits(one, number, rule)]
    if len(chosen) == 1:
        return chosen[0]
    shown = [f"{number}: {_format_row(one)}" for number, one in enumerate(rows, 1)]
    if len(shown) > _MOST_SHOWN:
        shown[_MOST_SHOWN:] = [f"(and {count(len(shown) - _MOST_SHOWN, 'more row')})"]
    many = f"has {count(len(rows), 'row')}"
    if rule is None:
        return Finding(
            f"the evaluation {many}, and the gate does not say which one is of the new model",
            place=start,
            detail=tuple(shown),
            next_step="Add `row: NUMBER` to the gate, or `row: {COLUMN: TEXT}`.",
        )
    are = agree(len(chosen), "is", "are")
    fit = f"{len(chosen):,} of them {are} the row" if chosen else "none of them is the row"
    fit = "it is not the one" if len(rows) == 1 else fit
    return Finding(
        f"the evaluation {many}, and {fit} that the gate names: {_format_rule(rule)}",
        place=start,
        detail=tuple(shown),
        next_step="Name exactly one row.",
    )


def _fits(one: Evaluation, number: int, rule: RowRule) -> bool:
    if rule is None:
        return True
    if isinstance(rule, int):
        return number == rule
    return all(one.cells.get(name) == text for name, text in rule.items())


def _format_rule(rule: RowRule) -> str:
    if isinstance(rule, Mapping):
        return ", ".join(f'{name} is "{text}"' for name, text in rule.items())
    return f"row {rule}"


def _format_row(one: Evaluation) -> str:
    return ", ".join(
        f"{name[:60]} {cell[:40]}" for name, cell in [*one.cells.items()][:_MOST_SHOWN]
    )


def _describe(cell: str) -> str:
    return f'"{cell[:40]}"' if cell else "empty"


def _name_directions(names: Iterable[str], better: Better) -> dict[str, Better]:
    return {fold_metric(name): better for name in names}


_PORT: Final = "Look at the output port of the evaluation, and at the log of the job."
_DIRECTIONS: Final = _name_directions(_HIGHER, "higher") | _name_directions(_LOWER, "lower")
