"""The emulator's models are real: the coefficients are the optimum, and the metrics their definitions."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import random
import statistics
from collections.abc import Sequence

import pytest

from reconciler.emulator.training.learner import FORMAT, Model, evaluate, score, split, train
from reconciler.emulator.training.tables import (
    Table,
    TableInvalid,
    drop_incomplete,
    encode_row,
    parse_number,
    parse_table,
)


def _write(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([columns, *rows])
    return out.getvalue().encode()


def _people(count: int, seed: int = 1) -> bytes:
    """Age and work decide the income; the odds are those of a logistic model."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        age, work = chance.randint(18, 70), chance.choice(["Private", "State-gov", "Never-worked"])
        odds = 0.08 * (age - 40) - 3 * (work == "Never-worked")
        rich = chance.random() < 1 / (1 + math.exp(-odds))
        rows.append([age, work, ">50K" if rich else "<=50K"])
    return _write(["age", "workclass", "income"], rows)


def _houses(count: int) -> bytes:
    chance = random.Random(2)
    rows = [(size, 3 * size + 10 + chance.gauss(0, 1)) for size in range(count)]
    return _write(["size", "price"], rows)


def _train(data: bytes, label: str, penalty: float = 1.0) -> tuple[Model, Table]:
    table = parse_table(data)
    return train(table, label, data, penalty), table


def _features(model: Model, table: Table) -> list[list[float]]:
    return [
        encode_row(model.columns, dict(zip(table.columns, row, strict=True))) for row in table.rows
    ]


def test_the_coefficients_of_a_classification_are_the_optimum() -> None:
    model, table = _train(_people(400), "income", penalty=2.0)
    rows = _features(model, table)
    truth = [row[2] == ">50K" for row in table.rows]
    for place, coefficient in enumerate(model.coefficients):
        gradient = math.fsum(
            (1 / (1 + math.exp(-sum(map(float.__mul__, row, model.coefficients)))) - true)
            * row[place]
            for row, true in zip(rows, truth, strict=True)
        )
        assert gradient + (2.0 * coefficient if place else 0) == pytest.approx(0, abs=1e-6)


def test_the_coefficients_of_a_regression_are_the_optimum() -> None:
    model, table = _train(_houses(100), "price", penalty=0.5)
    rows = _features(model, table)
    for place, coefficient in enumerate(model.coefficients):
        gradient = math.fsum(
            (sum(map(float.__mul__, row, model.coefficients)) - float(cells[1])) * row[place]
            for row, cells in zip(rows, table.rows, strict=True)
        )
        assert gradient + (0.5 * coefficient if place else 0) == pytest.approx(0, abs=1e-6)


def test_a_trained_model_predicts_what_it_was_trained_for() -> None:
    model, _ = _train(_people(2_000), "income")
    assert model.classes == ("<=50K", ">50K")
    old = {"age": "65", "workclass": "Private"}
    young = {"age": "20", "workclass": "Private"}
    idle = {"age": "65", "workclass": "Never-worked"}
    assert model.predict(young) < 0.5 < model.predict(old)
    assert model.predict(old) > model.predict(idle)


def test_a_value_that_was_not_in_the_training_data_adds_nothing() -> None:
    model, _ = _train(_people(400), "income")
    unknown = model.predict({"age": "40", "workclass": "Astronaut"})
    assert unknown == model.predict({"age": "40"})


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["True", "False"], ("False", "True")),
        (["1", "0"], ("0", "1")),
        (["yes", "no"], ("no", "yes")),
        (["1", "yes"], ("yes", "1")),
    ],
)
def test_the_positive_class_is_true_or_one_or_the_second_label(
    labels: list[str], classes: tuple[str, str]
) -> None:
    rows = [[number, labels[number % 2]] for number in range(20)]
    model, _ = _train(_write(["x", "y"], rows), "y")
    assert model.classes == classes


def test_the_metrics_of_a_classification_are_their_definitions() -> None:
    data = _people(1_000)
    kept, held = split(parse_table(data), data)
    model = train(kept, "income", data)
    found = evaluate(model, held)
    truth = [row[2] == ">50K" for row in held.rows]
    said = [model.predict(dict(zip(held.columns, row, strict=True))) for row in held.rows]
    above = [one for one, true in zip(said, truth, strict=True) if true]
    below = [one for one, true in zip(said, truth, strict=True) if not true]
    pairs = itertools.product(above, below)
    wins = sum(1.0 if one > other else 0.5 if one == other else 0.0 for one, other in pairs)
    assert found["AUC"] == pytest.approx(wins / (len(above) * len(below)))
    right = sum((one >= 0.5) == true for one, true in zip(said, truth, strict=True))
    assert found["Accuracy"] == pytest.approx(right / len(truth))
    harmonic = statistics.harmonic_mean([found["Precision"], found["Recall"]])
    assert found["F-Score"] == pytest.approx(harmonic)
    assert list(found) == [
        "Accuracy",
        "Precision",
        "Recall",
        "F-Score",
        "AUC",
        "Average Log Loss",
        "Training Log Loss",
    ]


def test_the_metrics_of_a_regression_are_their_definitions() -> None:
    model, table = _train(_houses(50), "price")
    found = evaluate(model, table)
    said = [model.predict(dict(zip(table.columns, row, strict=True))) for row in table.rows]
    truth = [float(row[1]) for row in table.rows]
    errors = [one - true for one, true in zip(said, truth, strict=True)]
    assert found["Mean Absolute Error"] == pytest.approx(sum(map(abs, errors)) / 50)
    expected = 1 - sum(one**2 for one in errors) / (statistics.variance(truth) * 49)
    assert found["Coefficient of Determination"] == pytest.approx(expected)
    assert list(found) == [
        "Mean Absolute Error",
        "Root Mean Squared Error",
        "Relative Absolute Error",
        "Relative Squared Error",
        "Coefficient of Determination",
    ]


def test_a_fifth_is_held_out_and_equal_data_is_split_equally() -> None:
    data = _people(100)
    kept, held = split(parse_table(data), data)
    assert (len(kept.rows), len(held.rows)) == (80, 20)
    assert split(parse_table(data), data) == (kept, held)
    assert split(parse_table(data), data + b"\n")[1] != held


def test_scored_rows_keep_their_cells() -> None:
    model, table = _train(_people(100), "income")
    found = score(model, table)
    assert found.columns == (*table.columns, "Scored Labels", "Scored Probabilities")
    assert [row[:3] for row in found.rows] == table.rows
    assert {row[3] for row in found.rows} <= {"<=50K", ">50K"}
    assert score(_train(_houses(9), "price")[0], parse_table(_houses(9))).columns == (
        "size",
        "price",
        "Scored Labels",
    )


def test_a_model_is_the_same_after_it_was_kept() -> None:
    model, _ = _train(_people(100), "income")
    assert Model.load(model.dump()) == model


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"any other bytes",
        FORMAT,
        FORMAT + b"[]",
        FORMAT + b"{}",
        FORMAT + b"[" * 100_000,
        FORMAT + json.dumps({"label": "y"}).encode(),
    ],
)
def test_other_bytes_are_not_a_model(data: bytes) -> None:
    assert Model.load(data) is None


def test_a_model_without_one_of_its_coefficients_is_not_a_model() -> None:
    model, _ = _train(_people(100), "income")
    found = json.loads(model.dump()[len(FORMAT) :])
    found["coefficients"].pop()
    assert Model.load(FORMAT + json.dumps(found).encode()) is None


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_model_that_cannot_be_computed_with_is_not_a_model(number: str) -> None:
    model, _ = _train(_houses(20), "price")
    text = model.dump().decode()
    coefficient = json.dumps(model.coefficients[0])
    assert Model.load(text.replace(coefficient, number).encode()) is None
    scale = f'"scale":{json.dumps(model.columns[0].scale)}'
    assert scale in text
    assert Model.load(text.replace(scale, '"scale":0.0').encode()) is None


@pytest.mark.parametrize("huge", ["1e101", "-1e308", "1e400", "nan", "inf"])
def test_a_number_whose_square_is_not_finite_counts_as_text(huge: str) -> None:
    assert parse_number(huge) is None
    rows = [[str(number), str(number % 2)] for number in range(20)]
    model, table = _train(_write(["x", "y"], [*rows, [huge, "1"]]), "y")
    assert all(map(math.isfinite, model.coefficients))
    assert all(map(math.isfinite, evaluate(model, table).values()))
    with pytest.raises(TableInvalid, match="classes, and 2 are needed"):
        _train(_write(["x", "y"], [*([one, one] for one, _ in rows), ["1", huge]]), "y")


def test_more_features_than_can_be_computed_with_are_refused() -> None:
    # Each column of text has a feature for each of its values.
    names = [f"c{number}" for number in range(20)]
    rows = [[*(f"v{row}" for _ in names), str(row % 2)] for row in range(60)]
    with pytest.raises(TableInvalid, match="The data has 1201 features and 60 rows: too many"):
        _train(_write([*names, "y"], rows), "y")


def test_rows_that_miss_a_value_are_dropped() -> None:
    table = parse_table(b"age,work\n30,Private\n,Private\n40,?\n")
    assert drop_incomplete(table).rows == [["30", "Private"]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not have a row"),
        (b"a,b\n", "does not have a row"),
        (b"a,b\n1\n", "Each row must have 2 cells"),
        (b"a,a\n1,2\n", "a name of its own"),
        (b"a,\n1,2\n", "a name of its own"),
        (b"\xff,b\n1,2\n", "The data is not CSV"),
        (b"a,b\n1,2\n1,3\n", 'Column "y" was not found. The columns are: a, b.'),
        (b"a,y\n1,2\n1,2\n", "The label column has 1 classes, and 2 are needed."),
        (b"a,y\n1,p\n1,q\n1,r\n", "The label column has 3 classes, and 2 are needed."),
    ],
)
def test_other_data_is_refused_with_a_sentence(data: bytes, message: str) -> None:
    with pytest.raises(TableInvalid, match=message.replace("(", r"\(")):
        train(parse_table(data), "y", data)
