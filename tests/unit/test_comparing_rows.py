"""The rows that two models are compared on: what is a table, and how large it may be."""

import os
from pathlib import Path

import pytest

from reconciler.engine.training import comparing
from reconciler.engine.training.comparing import Rows, compare_rows, read_file, read_rows
from reconciler.errors import ReconcilerError
from reconciler.model import Finding, SourceLocation
from reconciler.model.training import RowComparison, TrainingBlob


def test_a_table_is_read_with_commas_or_tabs() -> None:
    assert read_rows(b"\xef\xbb\xbfage, label\r\n39, yes\r\n\r\n") == [
        {"age": "39", "label": "yes"}
    ]
    assert read_rows(b"a\tb\n1,5\t2\n") == [{"a": "1,5", "b": "2"}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "are empty"),
        (b"a,b\n", "are empty"),
        (b"a,b\n1\n", "have 1 cell, and 2 columns in line 2"),
        (b"a,b\n1,2\n1,2,3\n", "have 3 cells, and 2 columns in line 3"),
        (b"a, a\n1,2\n", "have two columns with the same name"),
        (b"\xff\xfea\x00", "are not text in UTF-8"),
        (b"\x1f\x8b\x08\x00\xff", "are not text in UTF-8"),
        (b'a\n1\n"2\n3\n4\n', "are not CSV: line 5: unexpected end of data"),
        (b'a\n"' + b"x" * 200_000, "are not CSV: line 2"),
        (b"a,b\n" + b"1,2\n" * 100_001, "are more than 100,000"),
        (b"a,b,c,d,e,f\n" + b"1,2,3,4,5,6\n" * 90_000, "have more than 500,000 cells"),
        (b"a\n" + b"1" * (16 << 20), "are longer than 16 MiB"),
    ],
)
def test_what_is_not_a_table_says_why(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_rows(data)


def test_scored_rows_that_are_not_a_table_are_reported_at_their_output() -> None:
    place = SourceLocation("manifests/r.yaml", 9, 3)
    output = TrainingBlob("scored", "https://a/b.csv", place=place)
    comparison = RowComparison("golden.csv", "label", "", output)
    found = compare_rows(comparison, Rows(b"a,label\n1,2\n", None), b"")
    assert isinstance(found, Finding)
    assert (found.message, found.place) == ("the scored rows are empty", place)
    assert "spec.compare.scoredOutput" in found.next_step


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.csv")
    with pytest.raises(ReconcilerError, match="is not a regular file"):
        read_file(tmp_path / "rows.csv", "rows.csv")
    with pytest.raises(ReconcilerError, match="is not a regular file"):
        read_file(tmp_path, "rows")
    with pytest.raises(ReconcilerError, match="No such file"):
        read_file(tmp_path / "none.csv", "none.csv")


def test_a_long_file_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "_MOST_BYTES", 10)
    (tmp_path / "rows.csv").write_bytes(b"a,b\n1,2\n3,4\n")
    with pytest.raises(ReconcilerError, match="the rows are longer than 16 MiB"):
        read_file(tmp_path / "rows.csv", "rows.csv")
