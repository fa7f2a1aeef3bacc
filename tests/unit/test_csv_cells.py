"""Cells of CSV files are changed, and nothing beside them."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import ManifestInvalid
from reconciler.manifests.editing.csv_cells import edit_csv

PLAIN = "code,uri\n1,a\n2,b\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PLAIN, "code,uri\n1,a\n2,new\n"),
        ("\ufeffcode,uri\r\n1,a\r\n2,b\r\n", "\ufeffcode,uri\r\n1,a\r\n2,new\r\n"),
        ("code,uri\n1,a\n2,b", "code,uri\n1,a\n2,new"),
        ('"code","uri"\n"1","a"\n"2","b"\n', '"code","uri"\n"1","a"\n"2","new"\n'),
        ('uri,code\n"a, ""q""",1\n\n,\n"b\nc",2\n', 'uri,code\n"a, ""q""",1\n\n,\n"new",2\n'),
        ("code,uri\r1,a\r2,b\r", "code,uri\r1,a\r2,new\r"),
        ('code,uri\n1,a"q"\n2,b\n', 'code,uri\n1,a"q"\n2,new\n'),
        ("code,uri,note\n1,a, x \n2,, y \n", "code,uri,note\n1,a, x \n2,new, y \n"),
    ],
)
def test_one_cell_changes_and_every_other_byte_stays(text: str, expected: str) -> None:
    assert edit_csv("l.csv", text, {(2, "uri"): "new"}) == expected


def test_a_value_gets_the_quotes_that_it_needs() -> None:
    assert edit_csv("l.csv", PLAIN, {(1, "uri"): 'x,"y"'}) == 'code,uri\n1,"x,""y"""\n2,b\n'


def test_the_same_value_changes_nothing() -> None:
    text = 'code,uri\n1,"a"\n'
    assert edit_csv("l.csv", text, {(1, "uri"): "a"}) == text


@pytest.mark.parametrize(
    ("text", "cell", "message"),
    [
        (PLAIN, (3, "uri"), 'has no cell in the column "uri" of row 3'),
        (PLAIN, (0, "uri"), 'has no cell in the column "uri" of row 0'),
        (PLAIN, (1, "sha256"), 'has no cell in the column "sha256" of row 1'),
        ("code,uri\n1\n", (1, "uri"), 'row 1 has no cell in the column "uri"'),
        ('code,uri\n1,"a\n', (1, "uri"), "is not CSV: unexpected end of data"),
    ],
)
def test_a_cell_that_does_not_exist_is_refused(
    text: str, cell: tuple[int, str], message: str
) -> None:
    with pytest.raises(ManifestInvalid) as refused:
        edit_csv("l.csv", text, {cell: "new"})
    (finding,) = refused.value.findings()
    assert finding.message == message
    assert finding.place is not None
    assert finding.place.file == "l.csv"


CELLS = st.text(st.sampled_from('ab ,"\n;é'), max_size=6)


@given(
    st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=5),
    CELLS,
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.booleans(),
)
def test_any_cell_of_any_file_can_be_changed(
    rows: list[list[str]], value: str, end: str, quoting: int, bom: bool
) -> None:
    rows = [["x", *row[1:]] for row in rows]
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerows([["a", "b", "c"], *rows])
    text = ("\ufeff" if bom else "") + out.getvalue()
    changed = edit_csv("l.csv", text, {(len(rows), "b"): value})
    assert changed.startswith("\ufeff") == bom
    read = list(csv.reader(io.StringIO(changed.removeprefix("\ufeff"), newline="")))
    assert read == [["a", "b", "c"], *rows[:-1], [rows[-1][0], value, rows[-1][2]]]
    # Only the text of this cell differs: what is before and after it is the same.
    back = edit_csv("l.csv", changed, {(len(rows), "b"): rows[-1][1]})
    assert list(csv.reader(io.StringIO(back.removeprefix("\ufeff"), newline="")))[1:] == rows
