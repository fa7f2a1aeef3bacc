"""JSON from outside is JSON, and JSON that is shown moves no terminal."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.text.json_text import (
    DEEPEST,
    MOST_VALUES,
    BadJson,
    TooMuch,
    check_count,
    escape_json,
    find_excess,
    read_json,
)


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("text", ['{"a": [1, 1.5e300, "\\ud800", true, null]}', "1", '""'])
def test_what_is_json_is_read_as_python_reads_it(text: str) -> None:
    assert read_json(text) == read_json(text.encode()) == json.loads(text)


VALUES = st.recursive(
    st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(value=VALUES, escaped=st.booleans())
@example(value=[2**64, 1e16], escaped=True)
@example(value=[-(2**63) - 1, -0.0], escaped=True)
@example(value=10**18, escaped=True)
def test_it_is_read_to_the_last_digit(value: object, *, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped)
    assert json.dumps(read_json(text)) == json.dumps(value)


def count_values(value: object) -> int:
    """The names and values of a document, itself included."""
    if isinstance(value, dict):
        return 1 + sum(1 + count_values(one) for one in value.values())
    return 1 + sum(map(count_values, value)) if isinstance(value, list) else 1


@given(value=VALUES | st.lists(st.text('",:[]{}\\a')), escaped=st.booleans())
@example(value=['"' * 5_000, ",[" * 5_000, {}, [], [[]]], escaped=True)
@example(value=[["a"] * 5_000, {"a": 1}], escaped=True)
def test_values_are_counted_and_not_what_is_in_strings(value: object, *, escaped: bool) -> None:
    data = json.dumps(value, ensure_ascii=escaped).encode()
    # A list or an object within a list has both a comma and a bracket.
    count = count_values(value)
    check_count(data, 2 * count)
    if count > 1:
        with pytest.raises(TooMuch, match=f"more than {count - 2:,} values"):
            check_count(data, count - 2)


def test_the_place_of_the_excess_is_found_before_the_end() -> None:
    data = b'["' + b",[" * 100_000 + b'", ' + b"[]," * 100_000 + b"1]"
    assert find_excess(data, 300_000) is None
    cut = find_excess(data, 1_000)
    assert cut is not None
    assert 200_000 < cut < 250_000


def test_a_text_of_too_many_values_is_refused() -> None:
    with pytest.raises(TooMuch, match="it holds more than 1,000,000 values"):
        read_json(b"[" + b",".join([b"1"] * (MOST_VALUES + 1)) + b"]")


@pytest.mark.parametrize("item", [b"[]", b'{"a":1}', b"1", b'"a"', b'"\\u00e9"'])
def test_a_text_of_too_many_values_of_any_sort_is_refused(item: bytes) -> None:
    data = b"[" + b",".join([item] * 10_001) + b"]"
    with pytest.raises(TooMuch, match="it holds more than 10,000 values"):
        read_json(data, most_values=10_000)


@pytest.mark.parametrize("text", [b'{"a": 1, "a": 2}', b"\xef\xbb\xbf[1]", b" [1e2, -0] "])
def test_odd_forms_are_read_as_python_reads_them(text: bytes) -> None:
    assert json.dumps(read_json(text)) == json.dumps(json.loads(text))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("NaN", "it holds NaN"),
        ('{"a": [-Infinity]}', "it holds -Infinity"),
        ("1e999", "too large"),
        ("9" * 5000, "too large"),
        (nested(DEEPEST + 1), f"more than {DEEPEST} levels deep"),
        ('[{"a":' * (DEEPEST - 10) + "1" + "}]" * (DEEPEST - 10), f"more than {DEEPEST} levels"),
        (nested(100_000), f"more than {DEEPEST} levels deep"),
        (f'{{"]": {nested(DEEPEST)}}}', f"more than {DEEPEST} levels deep"),
        ('["]",' * 300 + "1" + ',"["]' * 300, f"more than {DEEPEST} levels deep"),
        ('["\\"]",' * 300 + "1" + ',"\\\\","["]' * 300, f"more than {DEEPEST} levels deep"),
    ],
    ids=[
        *("nan", "infinity", "float", "integer", "deep", "mixed", "very-deep", "bracket-in-a-text"),
        *("brackets-in-texts-that-close-others", "escaped-quotation-marks-too"),
    ],
)
def test_what_only_python_reads_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadJson, match=why):
        read_json(text)


@pytest.mark.parametrize("inner", ["", "1", '"]"'])
def test_what_nests_as_deep_as_may_be_is_read(inner: str) -> None:
    text = "[" * DEEPEST + inner + "]" * DEEPEST
    assert json.dumps(read_json(text)) == text


TEXTS = st.text(alphabet='[]{}",:\\a')
NESTED = st.recursive(
    st.just(1) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2),
)


def measure_depth(value: Any) -> int:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = isinstance(value, (dict, list))
    return own + max(map(measure_depth, below), default=0)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        # Bytes of these characters look like a quotation mark, and like brackets.
        ('["\u2200",' + "[" * 300, "]" * 300 + ',"\u2200"]'),
        ('["\u2200\u5d00\u2200",' * 300, ',"\u2200\u5b00\u2200"]' * 300),
    ],
)
def test_no_encoding_hides_how_deep_a_document_is(before: str, after: str, encoding: str) -> None:
    with pytest.raises(BadJson, match=f"more than {DEEPEST} levels"):
        read_json(f"{before}1{after}".encode(encoding))


@given(document=NESTED, deepest=st.integers(1, 4))
def test_no_text_hides_how_deep_a_document_is(document: Any, deepest: int) -> None:
    text = json.dumps(document)
    if measure_depth(document) > deepest:
        with pytest.raises(BadJson, match=f"more than {deepest} levels"):
            read_json(text, deepest=deepest)
    else:
        assert read_json(text, deepest=deepest) == document


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"{'a': 1}"])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"line 1|codec"):
        read_json(text)


def test_a_depth_may_be_named() -> None:
    assert read_json(nested(3), deepest=3) == [[[]]]
    with pytest.raises(BadJson, match="more than 2 levels"):
        read_json(nested(3), deepest=2)


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_what_is_shown_says_the_same_and_can_be_printed(indent: int | str | None) -> None:
    value = {"\x1b[2J\x7f\x85": ["\u202e\u2066\u200d\ufeff", "\ud800", "ä漢字👍\t\n", "plain"]}
    shown = escape_json(json.dumps(value, indent=indent, ensure_ascii=False))
    assert json.loads(shown) == value
    assert shown.encode()
    assert all(one.isprintable() or one in "\n\t" for one in shown)
    assert "ä漢字👍" in shown
