"""What was probably meant."""

import pytest

from reconciler.cli import main
from reconciler.text.suggestions import suggest


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("censsus", "Census"),
        ("CENSUS", "Census"),
        ("sheep", ""),
        ("", ""),
    ],
)
def test_the_name_that_is_most_like_a_word(word: str, meant: str) -> None:
    assert suggest(word, ["bikes", "Census", "consensus"]) == meant


def test_no_other_name_takes_the_place_of_one_that_is_never_suggested() -> None:
    assert suggest("--forse", ["--force", "--format"]) == "--force"
    assert suggest("--forse", ["--force", "--format"], never=["--force"]) == ""
    assert suggest("--formet", ["--force", "--format"], never=["--force"]) == "--format"


def test_only_the_first_names_are_compared() -> None:
    names = [f"x{number:04}" for number in range(9_999)]
    assert suggest("census", [*names, "censsus"]) == "censsus"
    assert suggest("census", [*names, "y", "censsus"]) == ""
    assert suggest("census", ["a", "b", "censsus"], most=3) == "censsus"
    assert suggest("census", ["a", "b", "censsus"], most=2) == ""


@pytest.mark.parametrize(
    ("flag", "next_step"),
    [
        ("--sumary", "Did you mean '--summary'?"),
        ("--destory", "See 'reconciler plan --help' for usage."),
        ("--prun", "See 'reconciler plan --help' for usage."),
    ],
)
def test_a_flag_that_deletes_is_never_suggested(
    flag: str, next_step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", flag]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"Error: reconciler plan has no flag '{flag}'", "", f"  {next_step}"]
