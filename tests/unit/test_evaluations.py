"""Evaluation files are read strictly: each cell that is asked for, and exactly one row."""

from __future__ import annotations

import pytest

from reconciler.model import Finding
from reconciler.plans.evaluations import (
    Evaluation,
    RowRule,
    find_direction,
    fold_metric,
    parse_evaluation,
    parse_number,
    select_row,
)

# A recorded evaluation: the left model of `Evaluate Model` is first, and no column names them.
TWO_ROWS = b"""\
Negative Log Likelihood,Mean Absolute Error,Root Mean Squared Error,Relative Absolute Error,\
Relative Squared Error,Coefficient of Determination\r
Infinity,0.0912634519229332,0.107777663489987,1.23406681461624E-06,1.66834112858664E-12,\
0.999999999998332\r
761.748085547315,2269.32795754446,2379.65491644217,0.0306859127600318,0.000813308466497854,\
0.999186691533502\r
"""


def _find(data: bytes, name: str = "e.csv", rule: RowRule = None) -> Evaluation | Finding:
    rows = parse_evaluation(data, name)
    return rows if isinstance(rows, Finding) else select_row(rows, rule)


def _read(data: bytes, name: str = "e.csv", rule: RowRule = None) -> Evaluation:
    found = _find(data, name, rule)
    assert isinstance(found, Evaluation)
    return found


def _refuse(data: bytes, name: str = "e.csv", rule: RowRule = None) -> Finding:
    found = _find(data, name, rule)
    assert isinstance(found, Finding)
    assert found.place is not None
    assert found.next_step
    return found


def test_two_rows_are_shown_and_none_is_chosen() -> None:
    found = _refuse(TWO_ROWS)
    assert found.message == (
        "the evaluation has 2 rows, and the gate does not say which one is of the new model"
    )
    assert len(found.detail) == 2
    assert "Mean Absolute Error 0.0912634519229332" in found.detail[0]
    assert "Mean Absolute Error 2269.32795754446" in found.detail[1]


def test_a_rule_chooses_a_row_by_its_number() -> None:
    found = _read(TWO_ROWS, rule=2)
    assert found.find("mean_absolute_error") == 2269.32795754446
    assert found.place.line == 3


def test_a_rule_chooses_a_row_by_the_text_of_a_column() -> None:
    folds = b"Fold Number,AUC\n0,0.91\n1,0.93\nMean,0.92\nStandard Deviation,0.01\n"
    assert _read(folds, rule={"Fold Number": "Mean"}).find("AUC") == 0.92


@pytest.mark.parametrize("rule", [3, {"Model": "x"}])
def test_a_rule_that_names_another_row_is_refused(rule: RowRule) -> None:
    assert "none of them is the row that the gate names" in _refuse(TWO_ROWS, rule=rule).message


def test_scientific_notation_is_a_number() -> None:
    assert _read(TWO_ROWS, rule=1).find("Relative Squared Error") == 1.66834112858664e-12


@pytest.mark.parametrize(
    "cell", ["Infinity", "-Infinity", "NaN", "", '"1,5"', "good", "0x1p3", "1_0"]
)
def test_a_cell_that_is_not_a_finite_number_is_refused_when_it_is_asked_for(cell: str) -> None:
    one = _read(f"AUC,Accuracy\n{cell},0.9\n".encode())
    found = one.find("AUC")
    assert isinstance(found, Finding)
    assert found.message.startswith('"AUC" is ')
    assert found.message.endswith("in column 1, and not a finite number")
    assert one.find("Accuracy") == 0.9
    assert one.metrics() == {"Accuracy": 0.9}


def test_a_metric_that_does_not_exist_is_answered_with_the_names_that_do() -> None:
    found = _read(b"AUC,F-Score\n0.9,0.8\n").find("F-Scor")
    assert isinstance(found, Finding)
    assert found.detail == ('It has "AUC", "F-Score".',)
    assert found.next_step == 'Did you mean "F-Score"?'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the evaluation is empty"),
        (b"\r\n", "the evaluation is empty"),
        (b"AUC,Accuracy\n", "the evaluation has a header and not a row"),
        (b"AUC;Accuracy\n0,9;0,8\n", "the evaluation separates cells with semicolons"),
        (b"AUC\tAccuracy\n0.9\t0.8\n", "the evaluation separates cells with tabs"),
        (b'"";"AUC";"Mean, all"\n"1";0,9;0,8\n', "the evaluation separates cells with semicolons"),
        (b'"AUC"\t"Accuracy"\n0.9\t0.8\n', "the evaluation separates cells with tabs"),
        (b"AUC|Accuracy\n0.9|0.8\n", "the evaluation separates cells with vertical bars"),
        (b"sep=;\nAUC;Accuracy\n0,9;0,8\n", "the evaluation separates cells with semicolons"),
        (b"AUC,Accuracy\n0.9\n", "line 2 does not have 2 cells, as the header has"),
        (b"F-Score,f_score\n0.9,0.8\n", 'two columns of the evaluation are called "F-Score"'),
        (b"AUC\n\xff\n", "the evaluation is not UTF-8 at byte 4"),
        (b'AUC\n"0.9\n', "the evaluation is not CSV: unexpected end of data"),
    ],
)
def test_what_is_not_an_evaluation_is_refused(data: bytes, message: str) -> None:
    assert _refuse(data).message == message


def test_a_large_file_is_not_an_evaluation() -> None:
    assert "has at most 1,048,576 bytes" in _refuse(b"AUC\n" + b"0.9\n" * 300_000).message
    assert "1 column and 2,000 rows, so it is not" in _refuse(b"AUC\n" + b"0.9\n" * 2_000).message


def test_arff_is_answered_with_the_cure() -> None:
    assert "end in .csv or .tsv" in _refuse(b"@relation x", "e.arff").next_step


def test_commas_in_a_tsv_file_are_the_wrong_separator() -> None:
    found = _refuse(b'"AUC","Accuracy"\n0.9,0.8\n', "e.tsv")
    assert found.message == "the evaluation separates cells with commas"
    assert found.next_step == "Write tabs, or let the address of the output end in .csv."
    assert _refuse(b"AUC;Accuracy\n0,9;0,8\n").next_step == "Write commas."


def test_the_only_row_may_not_be_the_one_of_the_rule() -> None:
    found = _refuse(b"AUC\n0.9\n", rule=2)
    assert (
        found.message
        == "the evaluation has 1 row, and it is not the one that the gate names: row 2"
    )


def test_tabs_separate_the_cells_of_a_tsv_file() -> None:
    assert _read(b"AUC\tAccuracy\n0.9\t0.8\n", "run/e.TSV").find("AUC") == 0.9


def test_a_line_may_end_in_any_way() -> None:
    for end in ("\n", "\r\n", "\r"):
        assert _read(f"{end}AUC,Accuracy{end}0.9,0.8{end}".encode()).find("AUC") == 0.9


def test_a_byte_order_mark_is_not_a_part_of_a_name() -> None:
    assert _read(b"\xef\xbb\xbfAUC\n0.9\n").find("AUC") == 0.9


@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        ("AUC", "higher"),
        ("f_score", "higher"),
        ("Relative_Squared_Error", "lower"),
        ("average log loss", "lower"),
        ("final_metrics", ""),
        ("Training Log Loss", ""),
    ],
)
def test_the_direction_of_a_metric_is_known_by_its_name(metric: str, direction: str) -> None:
    assert find_direction(metric) == direction


def test_f1_is_another_metric_than_the_f_score() -> None:
    assert fold_metric("F1") != fold_metric("F-Score")
    assert fold_metric("F-Score") == fold_metric("f_score") == fold_metric("F SCORE")


@pytest.mark.parametrize("text", ["1e999", "1e9999", " 1", "1 ", "٣", "nan", "inf", "+", "."])
def test_other_texts_are_not_numbers(text: str) -> None:
    assert parse_number(text) is None
