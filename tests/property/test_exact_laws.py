"""The laws of an exact manifest: what it does not declare goes, what is not people's stays."""

import copy
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.document.diff import keys_of, same
from reconciler.document.normalize import normalize
from reconciler.document.overlay import adopt_names, keep_declared
from reconciler.document.patch import apply_operations, check_preconditions
from reconciler.document.pointers import find, split_pointer
from reconciler.document.schema import UNKNOWN, Field, Shape
from reconciler.kinds.web_service import KIND
from reconciler.model import ABSENT, Absent, Address, Declared, Json, Path, Resource, Step
from reconciler.plans.step import Comparison, list_leaves, make_step
from tests.property.documents import documents
from tests.property.fields import EVERY_KEYWORD

pytestmark = pytest.mark.property
FIELDS = pytest.mark.parametrize(
    "field", [EVERY_KEYWORD, KIND.field], ids=["every-keyword", "web-service"]
)
RESOURCE = Resource(Address("WebService", "census"), "/x/census")
UNKNOWN_TO_US = {"newPart": {"level": 1}}


@st.composite
def lives(draw: st.DrawFn, field: Field) -> Json:
    """Documents as they come in from a service, with properties that no schema knows."""
    live = normalize(field, draw(documents(field)))
    live = live if isinstance(live, dict) else {}
    if draw(st.booleans()):
        live = {**live, **UNKNOWN_TO_US}
    below = live.get("properties")
    return {**live, "properties": {**below, **UNKNOWN_TO_US}} if isinstance(below, dict) else live


def is_leaf(field: Field, value: Json) -> bool:
    return not (isinstance(value, dict) and value and field.branches and not field.compare)


def is_idle(field: Field, value: Json) -> bool:
    """Not worth a removal: the service takes its absence for the same, or it is empty."""
    return value in ("", None, [], {}) or same(field, value, ABSENT)


def strays(
    field: Field, live: Json, declared: Json | Absent, path: Path = (), *, entry: bool = False
) -> Iterator[Path]:
    """The places that people own, that say something, and that nobody declares."""
    if field is UNKNOWN or field.read_only or field.write_only:
        return
    if declared is ABSENT and (field.immutable or field.filled):
        return
    if is_leaf(field, live):
        if declared is ABSENT and live is not None and (entry or not is_idle(field, live)):
            yield path
        elif isinstance(live, list) and isinstance(declared, list):
            yield from stray_items(field, live, declared, path)
        return
    for name, value in live.items():
        below = find(declared, (name,))
        if declared is ABSENT and is_a_part(field, name) and says_nothing(field, live):
            return
        yield from strays(
            field.child(name), value, below, (*path, name), entry=not is_a_part(field, name)
        )


def is_a_part(field: Field, name: str) -> bool:
    return name in field.properties or field.child(name) is UNKNOWN


def says_nothing(field: Field, value: Json) -> bool:
    if is_leaf(field, value):
        return is_idle(field, value)
    return field.shape is Shape.OBJECT and all(
        says_nothing(field.child(name), below) for name, below in value.items()
    )


def stray_items(field: Field, live: Json, declared: Json, path: Path) -> Iterator[Path]:
    have, wanted = keys_of(field, live), keys_of(field, declared)
    if have is None or wanted is None:
        return
    for index, key in enumerate(have):
        if key not in wanted:
            yield (*path, index)


def exact_step(field: Field, live: Json, declared: Json) -> Step | None:
    return make_step(Comparison(RESOURCE, field, live, Declared(declared, exact=True)))


def after(step: Step | None, live: Json) -> Json:
    return apply_operations(step.ops, live) if step else live


@FIELDS
@given(data=st.data())
def test_nothing_is_left_that_nobody_declares(field: Field, data: st.DataObject) -> None:
    live, declared = data.draw(lives(field)), data.draw(lives(field))
    declared.pop("newPart", None)
    result = after(exact_step(field, live, declared), live)
    # The service keeps its casing of a name that it takes in any casing.
    declared = adopt_names(field, live, declared)
    assert list(strays(field, result, declared)) == []
    for path in list_leaves(field, declared):
        if not any(field.at(path[:n]).write_only for n in range(1, len(path) + 1)):
            wanted, have = find(declared, path), find(result, path)
            assert same(field.at(path), wanted, have) or isinstance(wanted, (dict, list)), path


@FIELDS
@given(data=st.data())
def test_what_is_not_peoples_to_remove_stays(field: Field, data: st.DataObject) -> None:
    live = data.draw(lives(field))
    result = after(exact_step(field, live, {}), live)
    kept = [*find_foreign(field, live)]
    assert [path for path in kept if find(result, path) is ABSENT] == []
    assert len(kept) >= ("newPart" in live)


def find_foreign(field: Field, live: Json, path: Path = ()) -> Iterator[Path]:
    """What belongs to the service, is never returned, immutable or unknown, outside of maps."""
    if field is UNKNOWN or field.read_only or field.write_only or field.immutable:
        yield path
    elif isinstance(live, dict) and field.shape is Shape.OBJECT and not field.compare:
        for name, value in live.items():
            yield from find_foreign(field.child(name), value, (*path, name))


@FIELDS
@given(data=st.data())
def test_an_exact_step_leads_there_and_back(field: Field, data: st.DataObject) -> None:
    live, declared = data.draw(lives(field)), data.draw(lives(field))
    step = exact_step(field, live, declared)
    if step is None:
        return
    assert list(check_preconditions(field, step.ops, step.absences, live)) == []
    assert exact_step(field, after(step, live), declared) is None
    assert same(field, apply_operations(step.inverse, after(step, live)), live)
    gone = [op["path"] for op in step.ops if op["op"] == "remove"]
    if not step.replace_paths:
        removes = any(not inside_a_list(live, pointer) for pointer in gone)
        assert step.body == ("whole" if removes else "parts")


def inside_a_list(document: Json, pointer: str) -> bool:
    path = split_pointer(pointer)
    return any(isinstance(find(document, path[:depth]), list) for depth in range(len(path)))


@FIELDS
@given(data=st.data())
def test_what_is_declared_whole_is_the_very_same_object(field: Field, data: st.DataObject) -> None:
    live = data.draw(lives(field))
    assert exact_step(field, live, copy.deepcopy(live)) is None
    assert keep_declared(field, live, live) is live
