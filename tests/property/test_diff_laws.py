"""The laws of the rules, over documents made from the schema itself."""

import copy
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.diff import diff, same
from reconciler.intake import normalize
from reconciler.model import Json, Verb
from reconciler.overlay import overlay
from reconciler.patch import (
    apply_operations,
    find_mismatches,
    make_absences,
    make_inverse,
    make_operations,
)
from tests.property.documents import SECRET, documents, recase, respell
from tests.property.fields import EVERY_KEYWORD as FIELD

pytestmark = pytest.mark.property
DOCUMENTS = documents(FIELD).map(lambda made: normalize(FIELD, made))
LAW = settings(max_examples=300, deadline=None)


@given(DOCUMENTS)
@LAW
def test_nothing_differs_from_itself(one: Json) -> None:
    assert diff(FIELD, one, copy.deepcopy(one)) == ()


@given(DOCUMENTS, DOCUMENTS)
@LAW
def test_the_patch_leads_to_the_other_document(one: Json, other: Json) -> None:
    operations = make_operations(diff(FIELD, one, other), one)
    assert same(FIELD, apply_operations(operations, one), other)


@given(DOCUMENTS, DOCUMENTS)
@LAW
def test_the_inverse_leads_back(one: Json, other: Json) -> None:
    changes = diff(FIELD, one, other)
    there = apply_operations(make_operations(changes, one), one)
    assert same(FIELD, apply_operations(make_inverse(changes), there), one)


@given(DOCUMENTS, st.integers())
@LAW
def test_another_spelling_is_no_change(one: Json, seed: int) -> None:
    assert diff(FIELD, one, respell(FIELD, one, random.Random(seed))) == ()


@given(documents(FIELD))
@LAW
def test_another_casing_comes_in_as_the_same_document(one: Json) -> None:
    assert normalize(FIELD, recase(FIELD, one)) == normalize(FIELD, one)


@given(DOCUMENTS, documents(FIELD))
@LAW
def test_no_change_touches_what_the_service_owns(one: Json, other: Json) -> None:
    for change in diff(FIELD, one, overlay(FIELD, one, other)):
        for length in range(len(change.path) + 1):
            assert not FIELD.at(change.path[:length]).read_only


@given(documents(FIELD), documents(FIELD))
@LAW
def test_no_secret_reaches_a_change_or_an_operation(one: Json, other: Json) -> None:
    live = normalize(FIELD, one)
    changes = diff(FIELD, live, overlay(FIELD, live, other))
    written = [make_operations(changes, live), make_inverse(changes), live]
    assert SECRET not in json.dumps(written)


@given(DOCUMENTS, DOCUMENTS)
@LAW
def test_what_was_laid_over_is_then_live(live: Json, declared: Json) -> None:
    desired = overlay(FIELD, live, declared)
    assert same(FIELD, overlay(FIELD, desired, declared), desired)


@given(DOCUMENTS, DOCUMENTS)
@LAW
def test_a_patch_finds_what_it_relies_on_in_the_document_it_was_made_for(
    live: Json, declared: Json
) -> None:
    changes = diff(FIELD, live, overlay(FIELD, live, declared))
    operations = make_operations(changes, live)
    assert list(find_mismatches(FIELD, operations, make_absences(changes), live)) == []


@given(DOCUMENTS, DOCUMENTS)
@LAW
def test_an_added_map_is_added_leaf_by_leaf(live: Json, declared: Json) -> None:
    for change in diff(FIELD, live, declared):
        below = FIELD.at(change.path)
        if change.verb is Verb.ADD and below.items is not None and isinstance(change.after, dict):
            assert change.after == {}


@pytest.mark.parametrize(
    ("one", "other"),
    [(True, 1), (1, 1.0), (False, 0), ({"a": [1]}, {"a": [True]}), ("1", 1), (None, {})],
)
def test_free_json_tells_apart_what_python_does_not(one: Json, other: Json) -> None:
    assert len(diff(FIELD, {"free": {"x": one}}, {"free": {"x": other}})) == 1


def test_null_is_a_value_and_absent_is_not_null() -> None:
    assert diff(FIELD, {"level": None}, {})[0].verb is Verb.REMOVE
    assert diff(FIELD, {}, {"level": None})[0].after is None


def test_a_number_is_a_number_however_it_is_written() -> None:
    assert diff(FIELD, {"calls": 20}, {"calls": 20.0}) == ()
    assert diff(FIELD, {"calls": 20}, {"calls": "20"}) == ()
    assert len(diff(FIELD, {"calls": 1}, {"calls": True})) == 1
