"""Trains, keeps, scores and evaluates models: ridge and logistic regression.

A text label, or a label of two numbers, makes a classification; any other label a regression. The
bytes of a model are JSON after a line that names the format, so that loading a model runs nothing.
Numpy is imported when the first model is trained, because nothing else needs it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from reconciler.emulator.training.tables import (
    Column,
    Table,
    TableInvalid,
    encode_row,
    find_columns,
    parse_number,
)

if TYPE_CHECKING:  # imported when a model is trained
    import numpy as np
    from numpy.typing import NDArray

FORMAT: Final = b"reconciler-ilearner/1\n"
_HELD_OUT: Final = 5  # one row of five
_MOST_STEPS: Final = 50
_POSITIVE: Final = ("true", "1")
_EPSILON: Final = 1e-15


@dataclass(frozen=True)
class Model:
    """A trained model. `coefficients` are those of the features, the intercept's first.

    `classes` are the negative and the positive label; they are empty for a regression.
    `trained_on` is the digest of the training data.
    """

    label: str
    columns: tuple[Column, ...]
    coefficients: tuple[float, ...]
    classes: tuple[str, ...]
    trained_on: str

    def predict(self, row: Mapping[str, str]) -> float:
        """Return the probability of the positive class, or the predicted number."""
        features = encode_row(self.columns, row)
        value = math.fsum(map(float.__mul__, features, self.coefficients))
        return _squash(value) if self.classes else value

    def name_class(self, probability: float) -> str:
        """Return the label of the class that a probability means."""
        return self.classes[probability >= 0.5]

    def dump(self) -> bytes:
        """Return the bytes of the model."""
        return FORMAT + json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def load(cls, data: bytes) -> Model | None:
        """Return the model of these bytes; None for bytes of another format."""
        if not data.startswith(FORMAT):
            return None
        try:
            found = json.loads(data[len(FORMAT) :], parse_constant=_refuse_constant)
            columns = tuple(
                Column(one["name"], tuple(one["categories"]), one["mean"], one["scale"])
                for one in found["columns"]
            )
            model = cls(
                label=found["label"],
                columns=columns,
                coefficients=tuple(map(float, found["coefficients"])),
                classes=tuple(map(str, found["classes"])),
                trained_on=found["trained_on"],
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        width = 1 + sum(one.width for one in columns)
        if width != len(model.coefficients) or not all(one.scale for one in columns):
            return None
        return model


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def train(table: Table, label: str, data: bytes, penalty: float = 1.0) -> Model:
    """Train a model on a table without missing values; raise TableInvalid if it cannot be done.

    `data` are the bytes of the table, for the digest. `penalty` is the weight of the squared
    coefficients.
    """
    at = table.find(label)
    labels = [row[at] for row in table.rows]
    classes = _find_classes(labels)
    columns = find_columns(table, label)
    rows = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    features = [encode_row(columns, row) for row in rows]
    if classes:
        found = _fit_logistic(features, [one == classes[1] for one in labels], penalty)
    else:
        found = _fit_ridge(features, [float(one) for one in labels], penalty)
    digest = hashlib.sha256(data).hexdigest()
    return Model(label, tuple(columns), tuple(found), classes, digest)


def _find_classes(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the negative and the positive label; () for a label of many numbers."""
    known = sorted(set(labels))
    numbers = all(parse_number(one) is not None for one in known)
    if len(known) < 2 or (len(known) > 2 and not numbers):
        raise TableInvalid(f"The label column has {len(known)} classes, and 2 are needed.")
    if len(known) > 2:
        return ()
    positive = next((one for one in known if one.casefold() in _POSITIVE), known[1])
    return (known[positive == known[0]], positive)


def _fit_ridge(
    rows: Sequence[Sequence[float]], labels: Sequence[float], penalty: float
) -> list[float]:
    import numpy as np

    features, target = np.array(rows), np.array(labels)
    weights = _penalise(features, penalty)
    found: list[float] = np.linalg.lstsq(
        features.T @ features + weights, features.T @ target, rcond=None
    )[0].tolist()
    return found


def _fit_logistic(
    rows: Sequence[Sequence[float]], labels: Sequence[bool], penalty: float
) -> list[float]:
    """Newton's method for the penalised likelihood (iteratively reweighted least squares)."""
    import numpy as np

    features, target = np.array(rows), np.array(labels, dtype=float)
    weights = _penalise(features, penalty)
    found = np.zeros(features.shape[1])
    for _ in range(_MOST_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(features @ found, -30, 30)))
        gradient = features.T @ (probability - target) + weights @ found
        spread = probability * (1 - probability)
        hessian = (features * spread[:, None]).T @ features + weights
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        found -= step
        if float(np.abs(step).max()) < 1e-10:
            break
    coefficients: list[float] = found.tolist()
    return coefficients


def _penalise(features: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    """Return the penalty of each coefficient; the intercept has none."""
    import numpy as np

    weights = np.full(features.shape[1], penalty)
    weights[0] = 0
    return np.diag(weights)


def split(table: Table, data: bytes) -> tuple[Table, Table]:
    """Return the rows to train on and the rows to evaluate on; equal data is split equally."""
    order = list(range(len(table.rows)))
    Random(hashlib.sha256(data).hexdigest()).shuffle(order)  # noqa: S311 - not a secret
    held = set(order[: len(order) // _HELD_OUT])
    kept = [row for number, row in enumerate(table.rows) if number not in held]
    out = [row for number, row in enumerate(table.rows) if number in held]
    return Table(table.columns, kept), Table(table.columns, out)


def score(model: Model, table: Table) -> Table:
    """Add the predictions to each row: `Scored Labels`, and the probability of the class."""
    names = ("Scored Labels", "Scored Probabilities")[: 2 if model.classes else 1]
    rows = [
        [*row, *format_prediction(model, dict(zip(table.columns, row, strict=True)))]
        for row in table.rows
    ]
    return Table((*table.columns, *names), rows)


def format_prediction(model: Model, row: Mapping[str, str]) -> list[str]:
    """Return the added cells of a row, with 15 digits as recorded."""
    found = model.predict(row)
    return [model.name_class(found), f"{found:.15g}"] if model.classes else [f"{found:.15g}"]


def evaluate(model: Model, table: Table) -> dict[str, float]:
    """Return the metrics of a model on labelled rows, under the names that Studio gives them."""
    at = table.find(model.label)
    if not table.rows:
        raise TableInvalid("The data does not have rows to evaluate on.")
    found = [model.predict(dict(zip(table.columns, row, strict=True))) for row in table.rows]
    if model.classes:
        return _evaluate_classes([row[at] == model.classes[1] for row in table.rows], found)
    numbers = [parse_number(row[at]) for row in table.rows]
    if any(number is None for number in numbers):
        raise TableInvalid("The label column has a value that is not a number.")
    return _evaluate_numbers([number for number in numbers if number is not None], found)


def _evaluate_classes(truth: Sequence[bool], found: Sequence[float]) -> dict[str, float]:
    said = [one >= 0.5 for one in found]
    pairs = list(zip(truth, said, strict=True))
    right = pairs.count((True, True))
    precision = _divide(right, sum(said))
    recall = _divide(right, sum(truth))
    right_class = (one if true else 1 - one for true, one in zip(truth, found, strict=True))
    loss = _mean(-math.log(max(one, _EPSILON)) for one in right_class)
    share = sum(truth) / len(truth)
    prior = -sum(p * math.log(p) for p in (share, 1 - share) if p)
    return {
        "Accuracy": _mean(t == s for t, s in pairs),
        "Precision": precision,
        "Recall": recall,
        "F-Score": _divide(2 * precision * recall, precision + recall),
        "AUC": _measure_auc(truth, found),
        "Average Log Loss": loss,
        "Training Log Loss": 100 * _divide(prior - loss, prior),
    }


def _evaluate_numbers(truth: Sequence[float], found: Sequence[float]) -> dict[str, float]:
    middle = _mean(truth)
    pairs = list(zip(truth, found, strict=True))
    absolute = _mean(abs(f - t) for t, f in pairs)
    squared = _mean((f - t) ** 2 for t, f in pairs)
    relative = _divide(squared, _mean((t - middle) ** 2 for t in truth))
    return {
        "Mean Absolute Error": absolute,
        "Root Mean Squared Error": math.sqrt(squared),
        "Relative Absolute Error": _divide(absolute, _mean(abs(t - middle) for t in truth)),
        "Relative Squared Error": relative,
        "Coefficient of Determination": 1 - relative,
    }


def _measure_auc(truth: Sequence[bool], found: Sequence[float]) -> float:
    """Return the share of pairs that are ranked right; ties count half."""
    order = sorted(zip(found, truth, strict=True))
    below = wins = 0.0
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and order[end][0] == order[start][0]:
            end += 1
        positive = sum(label for _, label in order[start:end])
        negative = end - start - positive
        wins += positive * (below + negative / 2)
        below += negative
        start = end
    return _divide(wins, below * (len(order) - below))


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return math.fsum(numbers) / len(numbers)


def _divide(one: float, other: float) -> float:
    """Divide; 0 where there is nothing to divide by, as the modules answer."""
    return one / other if other else 0.0


def _squash(value: float) -> float:
    return 1 / (1 + math.exp(-max(-700.0, min(700.0, value))))
