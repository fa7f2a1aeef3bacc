"""What is kept small comes back as it was, to the last bit and the last type."""

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import (
    ABSENT,
    CompressedDocument,
    CompressedField,
    SecretReference,
    compress,
)
from reconciler.model.compressed import RevisedDocument, compress_revision
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


@st.composite
def revisions(draw: st.DrawFn) -> tuple[Any, Any]:
    """A document, and one that has some of its parts."""
    before = draw(VALUES)
    return before, draw(st.one_of(VALUES, revised(before)))


def revised(value: Any) -> st.SearchStrategy[Any]:
    """Values that differ from a value in some places, or not at all."""
    same: st.SearchStrategy[Any] = st.just(value)
    if isinstance(value, dict):
        return same | st.fixed_dictionaries({name: revised(one) for name, one in value.items()})
    if isinstance(value, list):
        return same | st.tuples(*map(revised, value)).map(list)
    return same | st.sampled_from([0, 0.0, -0.0, False, 1, 1.0, True, "", "a" * 2000, {}, []])


@given(revisions())
def test_a_document_comes_back_from_its_differences(documents: tuple[Any, Any]) -> None:
    before, after = documents
    written = exactly(before)
    kept = compress_revision(after, compress(before), before)
    assert exactly(kept.open()) == exactly(after)
    if isinstance(kept, RevisedDocument):
        assert exactly(kept.revise(before)) == exactly(after)
    assert exactly(before) == written


def test_a_document_with_another_order_of_names_comes_back_so() -> None:
    before, after = {"x": {"a": 1, "b": 2}}, {"x": {"b": 2, "a": 1}}
    kept = compress_revision(after, compress(before), before)
    assert exactly(kept.open()) == exactly(after)


def test_a_document_with_one_difference_takes_no_second_copy() -> None:
    before = {"a": {"b": [1, {"c": "x" * 100}]}, "d": list(map(str, range(5000)))}
    after = {**before, "a": {"b": [1, {"c": "y"}]}}
    kept = compress_revision(after, compress(before), before)
    assert isinstance(kept, RevisedDocument)
    assert kept.parts == b'[[["a","b",1,"c"],"y"]]'
    opened = kept.open()
    opened["d"].clear()
    assert kept.open() == after


def test_a_document_with_many_differences_is_compressed_whole() -> None:
    before, after = ({name: [sign] for name in map(str, range(500))} for sign in "ab")
    kept = compress_revision(after, compress(before), before)
    assert isinstance(kept, CompressedDocument)
    assert kept.open() == after


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
    with pytest.raises(TypeError):
        compress_revision({"a": strange}, compress({"a": 1}), {"a": 1})
