"""An object that is read item by item is the one that is read whole."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.text.json_parts import digest_in_parts, encode_in_parts, read_in_parts
from reconciler.text.json_text import encode_canonical, read_json

DEEPEST = 6
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from(["steps", "a", 'b"]', "é", ""]), VALUES)
LISTED = st.builds(lambda one, items: {**one, "steps": items}, OBJECTS, st.lists(VALUES))


def read(text: str, deepest: int = DEEPEST) -> Any:
    """What is read in parts, put together again."""
    items: list[Any] = []
    document = read_in_parts(text, "steps", items.append, deepest=deepest)
    if items:
        assert document["steps"] == []
        document["steps"] = items
    return document


def outcome(work: Any) -> str:
    """What is read as a text, in which true is not 1; or that nothing is."""
    try:
        return json.dumps(work())
    except ValueError:
        return "refused"


@given(document=OBJECTS | LISTED | VALUES, indent=st.sampled_from([None, 2]), escaped=st.booleans())
@example(document={"steps": [2**70, 1e16, -0.0]}, indent=None, escaped=True)
@example(document={"steps": [], "a": []}, indent=2, escaped=True)
@example(document={"steps": {"a": 1}}, indent=None, escaped=True)
@example(document={"steps": [[[[[[]]]]]]}, indent=None, escaped=True)
@example(document={"steps": [[[[[]]]]]}, indent=None, escaped=True)
@example(document={"a": [[[[[]]]]]}, indent=None, escaped=True)
@example(document={"steps": ["]", [[[[1]]]]]}, indent=None, escaped=True)
@example(document={"a": [[[[[[]]]]]]}, indent=None, escaped=True)
def test_it_is_what_is_read_whole(document: Any, indent: int | None, *, escaped: bool) -> None:
    text = json.dumps(document, ensure_ascii=escaped, indent=indent)
    assert outcome(lambda: read(text)) == outcome(lambda: read_json(text, deepest=DEEPEST))


@given(
    document=LISTED, cut=st.integers(0, 200), put=st.sampled_from(["", ",", "}", "]", "1", "\x0b"])
)
def test_what_is_refused_whole_is_refused_in_parts(document: Any, cut: int, put: str) -> None:
    text = json.dumps(document)
    text = text[:cut] + put + text[cut + 1 :]
    whole = outcome(lambda: read_json(text, deepest=DEEPEST))
    expected = "refused" if _has_twice(text) else whole
    assert outcome(lambda: read(text)) == expected


def _has_twice(text: str) -> bool:
    """Whether an object of a text has the same name twice; not those within it."""
    found: list[list[tuple[str, Any]]] = []
    try:
        json.loads(text, object_pairs_hook=found.append)
    except ValueError:
        return False
    return bool(found) and len(dict(found[-1])) < len(found[-1])


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "[",
        "{",
        '{"steps"',
        '{"steps":',
        '{"steps": [',
        '{"steps": [1',
        '{"steps": [1,]}',
        '{"steps": [,1]}',
        '{"steps": [1 2]}',
        '{"steps": [1}',
        '{"steps": [1]',
        '{"steps": [1],}',
        '{"steps": [1]} 2',
        '{"steps" [1]}',
        "{steps: [1]}",
        "{1: [1]}",
        '{"steps": [NaN]}',
        '{"a": Infinity}',
        '{"steps": [1e999]}',
        '{"steps": [' + "9" * 5000 + "]}",
        '{"steps": [' + "[" * 100_000 + "]}",
        '{"steps": [1], "steps": [2]}',
        '{"a": 1, "a": 2}',
        "\ufeff{}",
    ],
)
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read(text)


@given(document=LISTED)
@example(document={"steps": [2**70], "a": 1e16})
@example(document={"steps": [1e16], "a": 2**70})
@example(document={"steps": ["\ud800"]})
def test_it_is_written_as_the_whole_is(document: Any) -> None:
    head = {**document, "steps": []}
    whole = encode_canonical(document)
    assert encode_in_parts(head, "steps", lambda: iter(document["steps"])) == whole
    made = digest_in_parts(head, "steps", lambda: iter(document["steps"]))
    assert made == hashlib.sha256(whole).hexdigest()


@given(document=OBJECTS)
def test_what_has_no_such_list_is_digested_as_it_is(document: Any) -> None:
    made = digest_in_parts(document, "steps", tuple)
    assert made == hashlib.sha256(encode_canonical(document)).hexdigest()
