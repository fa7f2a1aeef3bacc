"""The scoring script of the emulator's deployments: which bodies it reads, and what it answers."""

import hashlib
import json
from typing import Any

import pytest

from reconciler.emulator.azureml.answers import ScriptFailed, answer_rows
from reconciler.emulator.scoring.model import LoadedModel
from reconciler.emulator.training.learner import Model
from reconciler.emulator.training.tables import Column

Json = Any
BYTES = LoadedModel.of(b"bytes of another format")
COLUMNS = (Column("age", mean=40.0, scale=10.0), Column("sex", categories=("F", "M")))


def learned(*coefficients: float, classes: tuple[str, ...] = ()) -> LoadedModel:
    return LoadedModel.of(Model("label", COLUMNS, coefficients, classes, "").dump())


def test_the_number_is_the_documented_function_of_bytes_and_row() -> None:
    model = hashlib.sha256(BYTES.digest.encode()).hexdigest()
    pairs = json.dumps([["0", "1"], ["1", "8"]])
    digest = hashlib.sha256(f"{model}\n{pairs}".encode()).digest()
    wanted = round(int.from_bytes(digest[:4], "big") / 2**32, 9)
    assert answer_rows({"data": [[1, 8]]}, BYTES) == [wanted]
    assert answer_rows({"data": [[1, 8]]}, LoadedModel.of(b"other bytes")) != [wanted]


@pytest.mark.parametrize(
    "body",
    [
        {"data": [[30, "M"]]},
        {"input_data": [[30, "M"]]},
        {"input_data": {"columns": ["age", "sex"], "data": [[30, "M"]]}},
        {"input_data": {"columns": ["sex", "age"], "index": [0], "data": [["M", 30]]}},
        {"data": [{"sex": "M", "age": 30}]},
        [[30, "M"]],
        [{"age": 30, "sex": "M"}],
    ],
)
def test_every_form_of_a_body_is_the_same_row(body: Json) -> None:
    assert answer_rows(body, learned(10, 2, 0, 5)) == [13.0]


def test_a_classification_answers_the_probability() -> None:
    assert answer_rows([[40, "F"]], learned(0, 1, 0, 0, classes=("no", "yes"))) == [0.5]


def test_a_body_without_rows_has_no_answers() -> None:
    bodies: Json = ({"data": []}, [], {"input_data": {"columns": ["a"], "data": []}})
    for body in bodies:
        assert answer_rows(body, BYTES) == []


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"rows": [[1]]}, "KeyError: 'data'"),
        ({}, "KeyError: 'data'"),
        (None, "ValueError: the rows must be a list"),
        ("[[1]]", "ValueError: the rows must be a list"),
        ({"data": None}, "ValueError: the rows must be a list"),
        ({"data": [1]}, "ValueError: Values must be a list of rows."),
        ({"data": [[1], [1, 2]]}, "ValueError: Each row must have a value for each column: 2."),
        (
            {"data": {"columns": 3, "data": [[1]]}},
            "ValueError: ColumnNames must be a list of names.",
        ),
        ([{"a": 1}, {"b": 1}], "ValueError: Each row must have the same columns."),
    ],
)
def test_a_body_that_cannot_be_read_ends_the_script(body: Json, text: str) -> None:
    with pytest.raises(ScriptFailed) as raised:
        answer_rows(body, BYTES)
    assert str(raised.value) == text


def test_a_row_of_another_width_ends_the_script() -> None:
    with pytest.raises(ScriptFailed, match="X has 3 features, but the model expects 2"):
        answer_rows([[1, "M", 2]], learned(0, 1, 0, 0))
