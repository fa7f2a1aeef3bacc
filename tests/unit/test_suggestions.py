"""What was probably meant."""

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli import main
from reconciler.text.suggestions import ask, looks_like, suggest


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


NAME = "Census Model"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("Census\u00a0Model", "character 7: a no-break space (U+00A0) here, a space there."),
        ("Cen\u200bsus Model", 'character 4: a zero width space (U+200B) here, "s" there.'),
        ("Census  Model", 'character 8: a space here, "M" there.'),
        ("census Model ", "character 13: a space here, the end there."),
        ("Census M\u043edel", 'character 9: a cyrillic small letter o (U+043E) here, "o" there.'),
        ("\u0421ensus Model", 'character 1: a cyrillic capital letter es (U+0421) here, "C" there.'),
        ("\uff23ensus Model", 'character 1: a fullwidth latin capital letter c (U+FF23) here, "C" there.'),
        ("Census\u00a0Modell", "character 7: a no-break space (U+00A0) here, a space there."),
    ],
)  # fmt: skip
def test_a_difference_that_cannot_be_seen_is_described(word: str, said: str) -> None:
    assert suggest(word, ["bikes", NAME]) == NAME
    assert ask(word, NAME) == f'Did you mean "Census Model"? They differ at {said}'


def test_the_two_normal_forms_of_a_letter_are_described() -> None:
    one, other = "\u00e9.json", "e\u0301.json"
    assert suggest(one, [other]) == other
    assert suggest(other, [one]) == one
    assert ask(one, other).endswith(
        "They differ at character 1: a latin small letter e with acute (U+00E9) here,"
        ' "e" with a combining acute accent (U+0301) there.'
    )


@pytest.mark.parametrize("word", ["CENSUS MODEL", "Censsus Model", "CensusModel", "Census Modèl"])
def test_a_difference_that_can_be_seen_is_not_described(word: str) -> None:
    assert ask(word, NAME, "{}") == "Did you mean Census Model?"


def test_a_dash_looks_like_a_hyphen() -> None:
    assert looks_like("a\u2013b", "A-b")
    assert not looks_like("a_b", "a-b")


@given(st.text("ab", max_size=12), st.lists(st.text("ab", max_size=12), max_size=6))
def test_no_similar_name_is_left_out_for_its_length(word: str, names: list[str]) -> None:
    """All names compared find the same one as those of a similar length."""
    near = difflib.get_close_matches(word, dict.fromkeys(names), 1, 0.6)
    assert suggest(word, names) == (word if word in names else "".join(near))
