"""The page of reference is what the schemas and the commands say."""

from reconciler.cli.exit_codes import list_exit_codes
from tests.reference import _ENDS, PAGE, render_reference


def test_the_reference_is_fresh() -> None:
    """If this fails: python -m tests.reference, and read the difference."""
    assert PAGE.read_text(encoding="utf-8") == render_reference()


def test_every_outcome_has_a_meaning() -> None:
    assert set(_ENDS) == {word for word, _ in list_exit_codes()}
