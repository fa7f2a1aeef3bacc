"""What is kept small comes back as it was, to the last bit and the last type."""

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import ABSENT, CompressedField, SecretReference, compress
from reconciler.text.json_text import canonical

# Texts that are no Unicode and integers of any length are in them: a service may answer such.
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def exactly(value: Any) -> str:
    """A value as text that tells 1 from 1.0 and from true."""
    return json.dumps(value)


@given(VALUES)
def test_a_document_comes_back_as_it_was(document: Any) -> None:
    assert exactly(compress(document).open()) == exactly(document)


@pytest.mark.parametrize(
    "hard", [2**64, -(2**63) - 1, "\ud800", {"\udfff": 1}, 5e-324, -0.0, 1e300]
)
def test_what_the_fast_encoder_cannot_write_comes_back_too(hard: Any) -> None:
    assert exactly(compress({"hard": hard}).open()) == exactly({"hard": hard})


def test_what_is_opened_is_shared_with_nobody() -> None:
    folded = compress({"a": [1]})
    folded.open()["a"].append(2)
    assert folded.open() == {"a": [1]}


@dataclass(frozen=True)
class LockOwner:
    document: CompressedField = CompressedField()  # noqa: RUF009 - a descriptor, made once


def test_a_field_holds_what_it_was_given() -> None:
    given = {"a": [1]}
    assert LockOwner(given).document is given
    folded = LockOwner(compress(given))
    given["a"].append(2)
    assert folded.document == {"a": [1]}
    assert replace(folded) == folded
    assert LockOwner(ABSENT).document is ABSENT
    assert LockOwner(None).document is None


def test_a_field_has_no_document_by_itself() -> None:
    with pytest.raises(TypeError, match="document"):
        LockOwner()


@given(VALUES)
def test_the_canonical_form_says_all_and_is_that_of_what_is_read_back(document: Any) -> None:
    written = canonical(document)
    assert exactly(json.loads(written)) == json.dumps(document, sort_keys=True)
    assert canonical(json.loads(written)) == written


@pytest.mark.parametrize("text", ["é", "\x7f", '\x00\n\t"\\', "\u2028", "\ud800"])
def test_the_canonical_form_is_that_of_any_encoder_that_escapes_little(text: str) -> None:
    document = {"b": text, "a": [1, -2, True, None, 0.5], text: {}}
    plain = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert canonical(document) == plain


@pytest.mark.parametrize("strange", [ABSENT, SecretReference(env="A"), {1, 2}])
def test_what_is_no_json_is_never_written_as_such(strange: Any) -> None:
    with pytest.raises(TypeError):
        canonical({"a": strange})
    with pytest.raises(TypeError):
        compress({"a": strange})
