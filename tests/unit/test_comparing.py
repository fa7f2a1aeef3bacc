"""The answers of two models are compared only on the same rows, with a class that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from reconciler.engine.training.comparing import Rows, compare_rows, read_rows
from reconciler.model import Finding
from reconciler.model.training import RowComparison, TrainingBlob
from reconciler.plans.gates import ScoredRows

SCORED = "Scored Probabilities"


@dataclass
class Live:
    """A live model that answers each row with the same probability."""

    answer: str = "0.25"
    asked: list[Sequence[str]] = field(default_factory=list)

    def score(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[dict[str, str]]:
        self.asked.append(columns)
        return [{SCORED: self.answer} for _ in rows]


def _compare(
    golden: str, scored: str, positive: str = "", live: Live | None = None
) -> ScoredRows | Finding:
    comparison = RowComparison("golden.csv", "y", positive, TrainingBlob("o", "u"))
    return compare_rows(comparison, Rows(golden.encode(), live or Live()), scored.encode())


def _write(labels: Sequence[str]) -> tuple[str, str]:
    """The rows to compare on, and the same rows with the answers of the new model."""
    golden = "".join(f"{number},{label}\n" for number, label in enumerate(labels))
    scored = "".join(f"{number}.0,{label},0.75\n" for number, label in enumerate(labels))
    return f"x,y\n{golden}", f"x,y,{SCORED}\n{scored}"


@pytest.mark.parametrize(
    ("labels", "positive", "truth"),
    [
        (["<=50K", ">50K", "<=50K"], "", [0, 1, 0]),
        (["<=50K", ">50K", "<=50K"], "<=50K", [1, 0, 1]),
        (["True", "false"], "", [1, 0]),
        (["1", "0"], "", [1, 0]),
    ],
)
def test_the_positive_class_is_found_or_named(
    labels: list[str], positive: str, truth: list[float]
) -> None:
    live = Live()
    found = _compare(*_write(labels), positive, live)
    assert isinstance(found, ScoredRows)
    assert (found.truth, set(found.candidate), set(found.live)) == (truth, {0.75}, {0.25})
    assert live.asked == [["x"]], "the label is not sent"


@pytest.mark.parametrize(
    ("labels", "positive", "message"),
    [
        (["<=50K", "<=50K"], "", 'the column "y" does not have two classes: "<=50K"'),
        (["<=50K", "<=50K"], ">50K", 'the column "y" does not have two classes: "<=50K"'),
        (["a", "b", "c"], "", 'the column "y" does not have two classes: "a", "b", "c"'),
        (["a", "b", "c"], "a", 'the column "y" does not have two classes'),
        (["<=50K", ">50K"], ">50k", '">50k" is not a value of "y": it has "<=50K", ">50K"'),
    ],
)
def test_rows_without_two_known_classes_are_refused(
    labels: list[str], positive: str, message: str
) -> None:
    found = _compare(*_write(labels), positive)
    assert isinstance(found, Finding)
    assert message in found.message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1.0,b", "1.5,b", 'row 2 was scored with another value of "x"'),
        ("1.0,b,0.75\n", "", "2 rows to compare on, and 1 row scored"),
        ("1.0,b,0.75", "1.0,b,1e400", f"a model's answer to a row has no number in {SCORED}"),
        (
            f"x,y,{SCORED}",
            f"x,y,y,{SCORED}",
            "the scored rows have 3 cells, and 4 columns in line 2",
        ),
        (f"x,y,{SCORED}", f"x,x,{SCORED}", "the scored rows have two columns with the same name"),
    ],
)
def test_other_rows_and_answers_without_numbers_are_refused(
    old: str, new: str, message: str
) -> None:
    golden, scored = _write(["a", "b"])
    assert old in scored
    found = _compare(golden, scored.replace(old, new))
    assert isinstance(found, Finding)
    assert found.message == message


def test_an_answer_of_the_live_model_without_a_number_is_refused() -> None:
    found = _compare(*_write(["a", "b"]), live=Live("NaN"))
    assert isinstance(found, Finding)
    assert "has no number" in found.message


def test_two_columns_of_one_name_are_not_a_table() -> None:
    with pytest.raises(ValueError, match="two columns with the same name"):
        read_rows(b"x,x\n1,2\n")
    assert read_rows(b"x,y\n1,2\n") == [{"x": "1", "y": "2"}]
