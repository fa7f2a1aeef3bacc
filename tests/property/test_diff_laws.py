"""The laws of the rules, over documents made from the schema itself."""

import copy
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.document.diff import diff, same
from reconciler.document.normalize import normalize
from reconciler.document.overlay import overlay
from reconciler.document.patch import (
    apply_operations,
    check_preconditions,
    make_absences,
    make_inverse,
    make_operations,
)
from reconciler.document.schema import Field, compile_schema
from reconciler.kinds.web_service import KIND
from reconciler.model import ABSENT, Json, Verb
from tests.property.documents import SECRET, documents, recase, respell
from tests.property.fields import EVERY_KEYWORD

pytestmark = pytest.mark.property
FIELDS = pytest.mark.parametrize(
    "field", [EVERY_KEYWORD, KIND.field], ids=["every-keyword", "web-service"]
)


def lives(field: Field) -> st.SearchStrategy[Json]:
    """Documents as they come in from a service."""
    return documents(field).map(lambda made: normalize(field, made))


@FIELDS
@given(data=st.data())
def test_nothing_differs_from_itself(field: Field, data: st.DataObject) -> None:
    one = data.draw(lives(field))
    assert diff(field, one, copy.deepcopy(one)) == ()


@FIELDS
@given(data=st.data())
def test_the_patch_leads_to_the_other_document(field: Field, data: st.DataObject) -> None:
    one, other = data.draw(lives(field)), data.draw(lives(field))
    operations = make_operations(diff(field, one, other), one)
    assert same(field, apply_operations(operations, one), other)


@FIELDS
@given(data=st.data())
def test_the_inverse_leads_back(field: Field, data: st.DataObject) -> None:
    one, other = data.draw(lives(field)), data.draw(lives(field))
    changes = diff(field, one, other)
    there = apply_operations(make_operations(changes, one), one)
    assert same(field, apply_operations(make_inverse(changes), there), one)


@FIELDS
@given(data=st.data())
def test_another_spelling_is_no_change(field: Field, data: st.DataObject) -> None:
    one, seed = data.draw(lives(field)), data.draw(st.integers())
    assert diff(field, one, respell(field, one, random.Random(seed))) == ()


@FIELDS
@given(data=st.data())
def test_another_casing_comes_in_as_the_same_document(field: Field, data: st.DataObject) -> None:
    one = data.draw(documents(field))
    assert normalize(field, recase(field, one)) == normalize(field, one)


@FIELDS
@given(data=st.data())
def test_no_change_touches_what_the_service_owns(field: Field, data: st.DataObject) -> None:
    one, other = data.draw(lives(field)), data.draw(documents(field))
    for change in diff(field, one, overlay(field, one, other)):
        for length in range(len(change.path) + 1):
            assert not field.at(change.path[:length]).read_only


@FIELDS
@given(data=st.data())
def test_no_secret_reaches_a_change_or_an_operation(field: Field, data: st.DataObject) -> None:
    live, other = data.draw(lives(field)), data.draw(documents(field))
    changes = diff(field, live, overlay(field, live, other))
    written = [make_operations(changes, live), make_inverse(changes), live]
    assert SECRET not in json.dumps(written)


@FIELDS
@given(data=st.data())
def test_what_was_laid_over_is_then_live(field: Field, data: st.DataObject) -> None:
    live, declared = data.draw(lives(field)), data.draw(lives(field))
    desired = overlay(field, live, declared)
    assert same(field, overlay(field, desired, declared), desired)


@FIELDS
@given(data=st.data())
def test_what_nobody_declared_stays_the_very_same_object(field: Field, data: st.DataObject) -> None:
    live = data.draw(lives(field))
    assert overlay(field, live, {}) is live
    assert overlay(field, live, copy.deepcopy(live)) == live


@FIELDS
@given(data=st.data())
def test_a_patch_finds_what_it_relies_on_in_the_document_it_was_made_for(
    field: Field, data: st.DataObject
) -> None:
    live, declared = data.draw(lives(field)), data.draw(lives(field))
    changes = diff(field, live, overlay(field, live, declared))
    operations = make_operations(changes, live)
    assert list(check_preconditions(field, operations, make_absences(changes), live)) == []


@FIELDS
@given(data=st.data())
def test_an_added_map_is_added_leaf_by_leaf(field: Field, data: st.DataObject) -> None:
    live, declared = data.draw(lives(field)), data.draw(lives(field))
    for change in diff(field, live, declared):
        below = field.at(change.path)
        if change.verb is Verb.ADD and below.items is not None and isinstance(change.after, dict):
            assert change.after == {}


@pytest.mark.parametrize("size", [1, 20])
@pytest.mark.parametrize(
    ("one", "other"), [(True, 1), (1, 1.0), (0, False), (None, ABSENT), ("", ABSENT), ("a", "b")]
)
def test_one_entry_of_a_map_is_found_however_large_the_map(
    size: int, one: Json, other: Json
) -> None:
    free = compile_schema(
        {"type": "object", "additionalProperties": {"x-opaque": True, "x-source": "here"}}
    )
    rest = {f"k{number}": [number] for number in range(size - 1)}
    before, after = {**rest, "x": one}, {**copy.deepcopy(rest), "x": other}
    if other is ABSENT:
        del after["x"]
    for first, second in ((before, after), (after, before)):
        (change,) = diff(free, first, second)
        assert change.path == ("x",)


@pytest.mark.parametrize(
    ("one", "other"),
    [(True, 1), (1, 1.0), (False, 0), ({"a": [1]}, {"a": [True]}), ("1", 1), (None, {})],
)
def test_free_json_tells_apart_what_python_does_not(one: Json, other: Json) -> None:
    assert len(diff(EVERY_KEYWORD, {"free": {"x": one}}, {"free": {"x": other}})) == 1


def test_null_is_a_value_and_absent_is_not_null() -> None:
    assert diff(EVERY_KEYWORD, {"level": None}, {})[0].verb is Verb.REMOVE
    assert diff(EVERY_KEYWORD, {}, {"level": None})[0].after is None


def test_a_number_is_a_number_however_it_is_written() -> None:
    assert diff(EVERY_KEYWORD, {"calls": 20}, {"calls": 20.0}) == ()
    assert diff(EVERY_KEYWORD, {"calls": 20}, {"calls": "20"}) == ()
    assert len(diff(EVERY_KEYWORD, {"calls": 1}, {"calls": True})) == 1
