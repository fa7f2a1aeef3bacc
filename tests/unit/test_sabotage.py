"""The table of sabotages is of this code: each line is there once, and its test too."""

import pytest

from tests.sabotage import ROOT, SABOTAGES, Sabotage

README = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda one: one.why)
def test_a_sabotage_is_of_a_line_that_is_there(sabotage: Sabotage) -> None:
    assert (ROOT / sabotage.file).read_text(encoding="utf-8").count(sabotage.old) == 1
    file, _, name = sabotage.test.partition("::")
    test = (ROOT / file).read_text(encoding="utf-8")
    assert not name or f"def {name.partition('[')[0]}(" in test


def test_the_table_of_sabotages_is_the_one_that_is_run() -> None:
    rows = [
        f"| {number} | {one.why} | `{one.file}`: `{one.old}` → `{one.new}` | `{one.test}` |"
        for number, one in enumerate(SABOTAGES, 1)
    ]
    assert len(rows) >= 10
    _, _, table = README.partition("\n## Sabotages\n")
    assert [line for line in table.splitlines() if line.startswith("| ")][1:] == rows
