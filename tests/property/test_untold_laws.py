"""What a service need not show: the laws of the difference, and what memory stands for."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.document.diff import diff, is_omitted
from reconciler.document.normalize import normalize, without_server_fields
from reconciler.document.patch import apply_operations, make_inverse, make_operations
from reconciler.document.pointers import find, format_pointer
from reconciler.kinds.endpoint import KIND
from reconciler.model import (
    ABSENT,
    Address,
    Declared,
    Json,
    LastApplied,
    Path,
    Resource,
    Step,
    Verb,
)
from reconciler.plans.step import Comparison, list_leaves, make_step
from tests.laws import examples
from tests.property.documents import documents

pytestmark = pytest.mark.property
FIELD = KIND.field
RESOURCE = Resource(Address("Endpoint", "e1"), "/southcentralus/workspaces/w/webservices/s/e1")
LIVES = documents(FIELD).map(lambda made: normalize(FIELD, made))
# A change of what is immutable makes all of it anew, whatever is remembered.
DECLARED = LIVES.map(
    lambda made: {
        name: without_server_fields(FIELD.child(name), said)
        for name, said in made.items()
        if name != "PreventUpdate" and not FIELD.child(name).read_only
    }
)


def hide(live: Json) -> Json:
    """The same endpoint, by a service that does not tell where its models lie."""
    hidden = copy.deepcopy(live)
    for resource in (hidden.get("Resources") or {}).values():
        resource.pop("Location", None)
    return hidden


def remember(live: Json, declared: Json) -> LastApplied:
    """As if all that is live and declared had been applied."""
    leaves = ((path, find(live, path)) for path in list_leaves(FIELD, declared))
    owned = {format_pointer(path): value for path, value in leaves if value is not ABSENT}
    return LastApplied(RESOURCE.id, "2026-11-02T08:00:00Z", "ci", "", owned, sequence=1)


def comparison(live: Json, declared: Json, last_applied: LastApplied | None) -> Comparison:
    return Comparison(RESOURCE, FIELD, live, Declared(declared), last_applied=last_applied)


def touched(step: Step | None) -> set[Path]:
    return set() if step is None else {change.path for change in step.changes}


@given(data=st.data())
@examples(100)
def test_a_patch_and_its_inverse_lead_there_and_back_as_far_as_is_told(
    data: st.DataObject,
) -> None:
    one, other = data.draw(LIVES), data.draw(LIVES)
    changes = diff(FIELD, one, other)
    there = apply_operations(make_operations(changes, one), one)
    assert diff(FIELD, there, other) == ()
    assert diff(FIELD, apply_operations(make_inverse(changes), there), one) == ()


@given(data=st.data())
@examples(100)
def test_what_is_remembered_stands_for_what_is_not_shown(data: st.DataObject) -> None:
    live, declared = data.draw(LIVES), data.draw(DECLARED)
    last_applied = remember(live, declared)
    shown = make_step(comparison(live, declared, last_applied))
    hidden = make_step(comparison(hide(live), declared, last_applied))
    assert touched(hidden) == touched(shown)


@given(data=st.data())
@examples(100)
def test_what_nobody_remembers_and_nothing_shows_is_written(data: st.DataObject) -> None:
    live, declared = hide(data.draw(LIVES)), data.draw(DECLARED)
    untold = {
        path
        for path in list_leaves(FIELD, declared)
        if is_omitted(FIELD, path, live) and find(declared, path) not in ("", None, {})
    }
    step = make_step(comparison(live, declared, None))
    written = {
        change.path
        for change in (step.changes if step is not None else ())
        if change.verb is Verb.WRITE
    }
    assert written == {path for path in untold if path[-1] != "SasBlobToken"}


def test_an_item_that_a_shown_map_lacks_is_absent_and_not_omitted() -> None:
    """Nothing is unknown of it: the patch adds the item, and no value is written beside the patch."""
    declared: Json = {"Resources": {"asset1": {"Location": "https://a.blob.example/m/a.ilearner"}}}
    location = ("Resources", "asset1", "Location")
    assert not is_omitted(FIELD, location, {"Resources": {}})
    assert is_omitted(FIELD, location, {"Resources": {"asset1": {}}})
    assert is_omitted(FIELD, location, {})
    step = make_step(comparison({"Resources": {}}, declared, None))
    assert step is not None
    assert {change.verb for change in step.changes} == {Verb.ADD}
    assert step.not_observable == ()


@given(data=st.data())
@examples(100)
def test_what_is_written_beside_the_patch_is_not_observable(data: st.DataObject) -> None:
    live, declared = hide(data.draw(LIVES)), data.draw(DECLARED)
    one = comparison(live, declared, None)
    step = make_step(one)
    if step is not None:
        beside = [format_pointer(one.path) for one in step.changes if one.verb is Verb.WRITE]
        assert set(beside) <= set(one.not_observable)
        assert not set(beside) & {op["path"] for op in step.ops}
