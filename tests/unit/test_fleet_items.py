"""The file of a fleet's items: what is taken as it is, and what is refused with its row."""

from pathlib import Path

import pytest

from reconciler.model import SourceLocation
from tests.fleets import CSV, FLEET, found, read

ROWS = "manifests/bikes.csv"
AT = "manifests/bikes.yaml"
DESCRIBED = FLEET.replace("Location ${code} of ${team}", "'${team}'")


def descriptions(folder: Path, csv: str | bytes) -> list[str]:
    loaded = read(folder, DESCRIBED, csv)
    assert loaded.findings == ()
    return [one.spec["definition"]["properties"]["description"] for one in loaded.manifests]


@pytest.mark.parametrize(
    "csv",
    [
        CSV,
        CSV.rstrip("\n"),
        CSV.replace("\n", "\r\n"),
        CSV.replace("\n", "\r"),
        "\ufeff" + CSV,
        "\n\n" + CSV.replace("\n", "\n\n") + ",,\n",
        '"code","calls","team"\n"001","5","growth"\n"002",6,"risk"\n003,"7",growth\n',
    ],
    ids=["plain", "no last line end", "CRLF", "CR", "BOM", "blank lines", "quotes"],
)
def test_a_table_is_read_however_it_is_saved(tmp_path: Path, csv: str) -> None:
    assert descriptions(tmp_path, csv) == ["growth", "risk", "growth"]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ('"a, b"', "a, b"),
        ('"say ""no"""', 'say "no"'),
        ('"two\nlines"', "two\nlines"),
        (" a ", " a "),
        ("no", "no"),
        ("012", "012"),
        ("2026-11-20", "2026-11-20"),
        ("${code}", "${code}"),
        ("+49 30", "+49 30"),
        ("-5", "-5"),
        ("@home", "@home"),
        ("a=b", "a=b"),
        ("<b>", "<b>"),
        ("Ünïcode ✓", "Ünïcode ✓"),
        ("", ""),
    ],
)
def test_a_cell_is_data_and_taken_as_it_is(tmp_path: Path, cell: str, value: str) -> None:
    assert descriptions(tmp_path, f"code,calls,team\n1,5,{cell}\n") == [value]


def test_rows_are_counted_by_the_line_on_which_they_begin(tmp_path: Path) -> None:
    loaded = read(tmp_path, DESCRIBED, '\ncode,calls,team\n\n1,5,"a\nb"\n2,5,c\n')
    members = [one.member for one in loaded.manifests]
    assert [(one.number, one.place) for one in members if one] == [
        (1, SourceLocation(ROWS, 4, 1)),
        (2, SourceLocation(ROWS, 6, 1)),
    ]


@pytest.mark.parametrize(
    ("cell", "value"), [("5", 5), ("150", 150), ("005", None), ("5.0", 5), ("five", None), ("", None), (" 5", None), ("true", None), ("5.5", None), ("1e2", 100), ("1.2E+01", 12), ("1e400", None)],
)  # fmt: skip
def test_a_number_is_read_where_one_is_needed(tmp_path: Path, cell: str, value: int | None) -> None:
    loaded = read(tmp_path, DESCRIBED, f"code,calls,team\n1,{cell},x\n")
    if value is None:
        message = "maxConcurrentCalls must be a whole number"
        assert found(loaded) == [(f"{AT}:15:35", f"WebService/loc1: {message}")]
        return
    assert loaded.findings == ()
    properties = loaded.manifests[0].spec["definition"]["properties"]
    assert properties["realtimeConfiguration"] == {"maxConcurrentCalls": value}


@pytest.mark.parametrize(
    ("cell", "value"),
    [("true", True), ("FALSE", False), ("yes", None), ("1", None), ("", None)],
)
def test_true_and_false_are_read_where_they_are_needed(
    tmp_path: Path, cell: str, value: bool | None
) -> None:
    fleet = FLEET[: FLEET.index("        properties:")]
    fleet += "        properties: {readOnly: '${team}'}\n"
    loaded = read(tmp_path, fleet, f"code,calls,team\n1,5,{cell}\n")
    if value is None:
        assert [message for _, message in found(loaded)] == [
            "WebService/loc1: readOnly must be true or false"
        ]
        return
    assert loaded.findings == ()
    assert loaded.manifests[0].spec["definition"]["properties"] == {"readOnly": value}


def test_a_number_in_the_manifest_itself_is_read_too(tmp_path: Path) -> None:
    fleet = FLEET.replace("    spec:\n", "    spec:\n      wave: '${calls}'\n")
    loaded = read(tmp_path, fleet)
    assert [one.spec["wave"] for one in loaded.manifests] == [5, 6, 7]


@pytest.mark.parametrize(
    ("csv", "place", "message", "hint"),
    [
        ("", "1:1", "is empty", "The first row names the columns."),
        ("\n\n", "1:1", "is empty", "The first row names the columns."),
        ("code;calls;team\n1;5;x\n", "1:1", "separates cells with semicolons", "Save it with commas as separators."),
        ("code\tcalls\tteam\n1\t5\tx\n", "1:1", "separates cells with tabs", "Save it with commas as separators."),
        ("code,calls,team,code\n1,5,x,2\n", "1:1", '2 columns are called "code"', "Rename all but one."),
        ("code,calls,team,\n1,5,x,2\n", "1:1", "column 4 has no name", "The first row names the columns."),
        ("code,calls, team\n1,5,x\n", "1:1", 'there are blanks around the name of column "team"', "Remove them in every row: cells are used without trimming."),
        (CSV + "004,5\n", "5:1", "1 row has 2 cells, and there are 3 columns", "Write a comma for each cell that is empty."),
        (CSV + "004,5,a,b\n", "5:1", "1 row has 4 cells, and there are 3 columns", "Put quotes around a cell that holds a comma."),
        (CSV + "004,5\n" * 5000, "5:1", "5,000 rows have 2 cells, and there are 3 columns", "Write a comma for each cell that is empty."),
        (CSV + '004,5,"a\n005,5,b\n', "5:1", "is not CSV: unexpected end of data", 'Put quotes around a cell with a comma or a line break, and double each quote in it: "".'),
        (CSV + '004,5,"a"b\n', "5:1", "is not CSV: ',' expected after '\"'", 'Put quotes around a cell with a comma or a line break, and double each quote in it: "".'),
        (CSV + f"004,5,{'x' * 200_000}\n", "5:1", "is not CSV: field larger than field limit (131072)", 'Put quotes around a cell with a comma or a line break, and double each quote in it: "".'),
        (CSV + "004,5,=1+1\n", "5:1", 'column "team" contains a spreadsheet formula', 'Save values and not formulas. If a text must begin with =, put the = in the template: "=${team}".'),
        (CSV + "004,5,https://a/b?sv=1&sig=cGxhbnRlZC1zZWNyZXQ\n", "5:1", 'column "team" holds what looks like a key or a shared access signature', "Keep it in the environment or a file, and refer to it: {env: NAME}."),
        ("001,5,https://a/b?sv=1&sig=cGxhbnRlZC1zZWNyZXQ\n", "1:1", "the first row holds what looks like a key or a shared access signature", "Keep it in the environment or a file, and refer to it: {env: NAME}."),
        (",".join(f"c{n}" for n in range(2000)) + "\n", "1:1", "has more than 1,000 columns", "Remove unused columns."),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 60 else "",
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_found_in_it(
    tmp_path: Path, csv: str, place: str, message: str, hint: str
) -> None:
    loaded = read(tmp_path, csv=csv)
    assert found(loaded) == [(f"{ROWS}:{place}", f"{ROWS}: {message}")]
    (finding,) = loaded.findings
    assert finding.next_step == hint
    assert "cGxhbnRlZC" not in str(finding)


@pytest.mark.parametrize(
    "csv",
    [CSV.encode("utf-16"), f"{CSV}004,5,é\n".encode("latin-1"), f"{CSV}004,5,\0\n".encode()],
    ids=["UTF-16", "Latin-1", "NUL"],
)
def test_what_is_no_text_is_refused(tmp_path: Path, csv: bytes) -> None:
    loaded = read(tmp_path, csv=csv)
    assert found(loaded) == [(f"{AT}:5:11", f"{ROWS}: is not text in UTF-8")]
    assert loaded.findings[0].next_step == "Save it as UTF-8."


def test_a_header_alone_is_an_empty_fleet(tmp_path: Path) -> None:
    loaded = read(tmp_path, csv="code,calls,team\n")
    assert found(loaded) == [(f"{ROWS}:1:1", "Fleet/bikes: the fleet has no items")]


def test_an_empty_cell_within_a_text_is_told_once_for_its_row(tmp_path: Path) -> None:
    loaded = read(tmp_path, csv=f"{CSV},5,x\n")
    assert found(loaded) == [
        (f"{AT}:8:16", 'Fleet/bikes: "code" is empty, and it is part of a text')
    ]


def test_a_gigabyte_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    with (tmp_path / "manifests" / "bikes.csv").open("wb") as file:
        file.truncate(1_000_000_000)
    loaded = read(tmp_path, csv=None)
    assert [message for _, message in found(loaded)] == [
        f"{ROWS}: is 1,000 MB, and at most 8 MB are read"
    ]


@pytest.mark.parametrize("special", ["folder", "link out", "link to itself"])
def test_only_a_file_of_the_project_is_read(tmp_path: Path, special: str) -> None:
    project = tmp_path / "project"
    (project / "manifests").mkdir(parents=True)
    file = project / "manifests" / "bikes.csv"
    (tmp_path / "secret.csv").write_text(CSV)
    if special == "folder":
        file.mkdir()
    else:
        file.symlink_to(tmp_path / "secret.csv" if special == "link out" else file)
    loaded = read(project, csv=None)
    assert len(loaded.findings) == 1
    assert loaded.manifests == ()
    assert ROWS not in loaded.files


def test_a_column_that_no_template_uses_may_hold_anything(tmp_path: Path) -> None:
    csv = "code,calls,team,notes\n1,5,x,=SUM(A1:A9)\n"
    loaded = read(tmp_path, csv=csv)
    assert (loaded.findings, len(loaded.manifests)) == ((), 1)


def test_more_items_than_a_fleet_may_have(tmp_path: Path) -> None:
    loaded = read(tmp_path, csv="code,calls,team\n" + "1,5,x\n" * 100_001)
    message = "Fleet/bikes: a fleet has at most 100,000 items, and this one has 100,001"
    assert [said for _, said in found(loaded)] == [message]


NAMES = ["team", "max_concurrent_calls", "Größe der Flotte", "Zip Code 2", "loc-2026"]
SECRETS = [
    "9aea59311c5779cafc78e910",
    "Ab3dEf6hIj9kLm2nOp5qRs8t+/==",
    "sv=2024-01-01&sig=abc",
    "eyJhbGciOiJub25lIn0.e30.",
    "p4ssw0rd!p4ssw0rd!",
]


def test_a_column_is_called_by_its_name_unless_it_may_be_a_secret(tmp_path: Path) -> None:
    fleet = FLEET.replace("team}", "tea}")
    for name in NAMES + SECRETS:
        said = str(read(tmp_path, fleet, f"code,calls,{name}\n001,5,x\n").findings)
        assert (name in said) == (name in NAMES), said
