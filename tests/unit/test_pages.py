"""What the pages name exists: each test, and each command with its flags."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from reconciler.cli import reconciler

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("[a-z]*/README.md"))]
PAGES += [*sorted(ROOT.glob("manifests/*/README.md")), *sorted(ROOT.glob("tests/*/README.md"))]


def find_tests(text: str) -> Iterator[tuple[str, str]]:
    """The tests that a text names: file and function."""
    yield from re.findall(r"(tests/[\w/]+\.py)::(\w+)", text)


def find_commands(text: str) -> Iterator[str]:
    """The commands within sentences and tables, without the name of the program."""
    yield from re.findall(r"`reconciler ([^`]+)`", text)


def has_test(file: str, name: str) -> bool:
    path = ROOT / file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return re.search(rf"^def {name}\(", text, re.MULTILINE) is not None


def refuse(command: str, group: click.Group = reconciler) -> str:
    """Why the command line does not accept a command; "" if it does. Nothing is run."""
    name, *arguments = shlex.split(command)
    found = group.get_command(click.Context(group), name)
    if found is None:
        return f"there is no command {name}"
    if isinstance(found, click.Group) and arguments:
        return refuse(shlex.join(arguments), found)
    try:
        found.make_context(name, arguments)
    except click.exceptions.Exit:  # --help
        return ""
    except click.ClickException as error:
        return f"{command}: {error.format_message()}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_names_tests_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [one for one in find_tests(text) if not has_test(*one)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_names_commands_that_are_accepted(page: Path) -> None:
    found = map(refuse, find_commands(page.read_text(encoding="utf-8")))
    assert [one for one in found if one] == []


def test_the_walk_throughs_have_a_command_and_a_test_for_each_step() -> None:
    text = (ROOT / "manifests" / "README.md").read_text(encoding="utf-8")
    section = text.partition("## The published walk-throughs")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", section, re.MULTILINE)
    steps = rows[1:]
    assert len(steps) >= 8
    for step, command, test in steps:
        assert list(find_commands(command)) or command == "`gate` in the manifest", step
        assert len(list(find_tests(test))) == 1, step


def test_what_does_not_exist_is_found() -> None:
    assert not has_test("tests/unit/test_pages.py", "test_that_does_not_exist")
    assert not has_test("tests/unit/test_nothing.py", "test_a_page_names_tests_that_exist")
    assert has_test("tests/unit/test_pages.py", "test_a_page_names_tests_that_exist")
    assert refuse("plan --out release.plan") == ""
    assert "No such option" in refuse("plan --nothing")
    assert "there is no command" in refuse("nothing")
    assert refuse("ledger verify --recover errored.ledger.json") == ""
    assert "there is no command nothing" in refuse("ledger nothing")
