"""An object that is read item by item is the one that is read whole."""

import hashlib
import io
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.text import json_parts
from reconciler.text.json_parts import JsonBounds, digest_in_parts, encode_in_parts, read_in_parts
from reconciler.text.json_text import TooMuch, encode_canonical, load_first, read_json

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
    file = io.BytesIO(text.encode("utf-8", "surrogatepass"))
    document = read_in_parts(file, "steps", items.append, JsonBounds(deepest, 1000, 1000))
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


ALIKE = st.lists(
    st.dictionaries(
        st.just("a"),
        VALUES
        | st.sampled_from(
            ['},{"a":', '}]},{"a":1', '"},{"a', 2**70, [{"a": 1}, {"a": [{"a": 2}]}]]
        ),
        min_size=1,
    ),
    max_size=4,
)


@given(steps=ALIKE, cut=st.integers(0, 60), put=st.sampled_from(["", ",", "}", "]", '"', "\\"]))
@example(steps=[{"a": 1}, {"a": [[[[[1]]]]]}, {"a": 1}], cut=0, put="{")
def test_items_that_begin_alike_are_read_as_others(steps: Any, cut: int, put: str) -> None:
    for changed in (False, True):
        text = json.dumps({"steps": steps}, separators=(",", ":"))
        text = text[:cut] + put + text[cut + 1 :] if changed else text
        whole = outcome(lambda: read_json(text, deepest=DEEPEST))  # noqa: B023 - called at once
        expected = "refused" if _has_twice(text) else whole
        assert outcome(lambda: read(text)) == expected  # noqa: B023 - called at once


def test_the_second_of_items_that_begin_alike_is_read_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded: list[str] = []

    def note(text: str) -> tuple[Any, int]:
        decoded.append(text)
        return load_first(text)

    monkeypatch.setattr(json_parts, "load_first", note)
    steps = [{"a": number, "b": "x" * 20} for number in range(50)]
    assert read(json.dumps({"steps": steps}, separators=(",", ":"))) == {"steps": steps}
    assert len(decoded) < 5


@given(
    document=LISTED, cut=st.integers(0, 200), put=st.sampled_from(["", ",", "}", "]", "1", "\x0b"])
)
def test_what_is_refused_whole_is_refused_in_parts(document: Any, cut: int, put: str) -> None:
    text = json.dumps(document)
    text = text[:cut] + put + text[cut + 1 :]
    whole = outcome(lambda: read_json(text, deepest=DEEPEST))
    expected = "refused" if _has_twice(text) else whole
    assert outcome(lambda: read(text)) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"steps": [1, 2, 3, 4]}', "more than 3 items"),
        ('{"steps": [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]]}', "more than 10 values"),
        ('{"a": [1, 2, 3, 4, 5, 6], "b": [1, 2, 3, 4, 5, 6]}', "more than 10 values"),
        (json.dumps({f"k{number}": 1 for number in range(1_001)}), "more than 1,000 members"),
        (f'{{"a": "{"x" * (33 << 20)}"}}', "a part of it is longer than 32 MB"),
    ],
    ids=["items", "values-of-an-item", "values-of-members", "members", "length"],
)
def test_more_than_the_bounds_is_refused(text: str, why: str) -> None:
    most = 10 if "k0" not in text else 10_000
    with pytest.raises(TooMuch, match=why):
        read_in_parts(io.BytesIO(text.encode()), "steps", lambda _: None, JsonBounds(9, 3, most))


def test_each_item_has_the_whole_bound() -> None:
    text = '{"a": [1, 2, 3], "steps": [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]], "b": [1, 2]}'
    items: list[Any] = []
    read_in_parts(io.BytesIO(text.encode()), "steps", items.append, JsonBounds(9, 3, 12))
    assert len(items) == 2


@pytest.mark.parametrize(
    "value", [10**1_500, "é" * 3_000, "x" + "😀" * 3_000, '\\"' * 2_000, [1.5] * 900, " " * 5_000]
)
@pytest.mark.parametrize("blanks", ["", " " * 5_000])
def test_a_value_is_read_whole_wherever_it_is_cut(value: Any, blanks: str) -> None:
    shown = json.dumps(value, ensure_ascii=False)
    text = f'{blanks}{{{blanks}"a":{blanks}{shown}{blanks},"steps":[{shown},{blanks}{shown}]}}'
    assert read(text) == {"a": value, "steps": [value, value]}


def test_a_long_list_is_not_in_memory_as_a_whole() -> None:
    item = json.dumps({"a": ["x" * 100] * 100})
    file = io.BytesIO(f'{{"steps": [{",".join([item] * 1_000)}]}}'.encode())
    tracemalloc.start()
    try:
        read_in_parts(file, "steps", lambda _: None, JsonBounds(9, 1_000, 1_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < len(file.getvalue()) / 20


def test_a_long_item_does_not_let_more_be_read_of_those_after_it() -> None:
    class Counted(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.taken += len(data)
            return data

    long, short = json.dumps({"a": "x" * 1_000_000}), json.dumps({"a": "x"})
    file = Counted(f'{{"steps":[{",".join([long, *[short] * 500, long])}]}}'.encode())
    read_in_parts(file, "steps", lambda _: None, JsonBounds(9, 1_000, 1_000))
    assert file.taken < 5 * len(file.getvalue())


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
