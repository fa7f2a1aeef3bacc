"""The parts of a step are the step: laws over any documents of a schema with every keyword."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reconciler.document.diff import diff, same
from reconciler.document.normalize import normalize
from reconciler.document.patch import apply_changes, apply_operations, check_operations
from reconciler.document.pointers import format_pointer
from reconciler.errors import ReconcilerError
from reconciler.model import (
    ABSENT,
    Action,
    Address,
    Declared,
    Json,
    Resource,
    SecretReference,
    Step,
    Verb,
    Write,
)
from reconciler.plans.parts import StepPart, join_parts, split_into_parts, split_retreat
from reconciler.plans.step import Comparison, make_step, make_step_to
from tests.property.documents import documents
from tests.property.fields import EVERY_KEYWORD as FIELD

RESOURCE = Resource(Address("WebService", "census"), "/subscriptions/s/x/census")
DOCUMENTS = documents(FIELD).map(lambda made: normalize(FIELD, made))
KEY = SecretReference(env="KEY", version="2026-q4")


def make(before: Json, after: Json) -> Step | None:
    """The step from one document to another, with a secret beside it."""
    comparison = Comparison(
        RESOURCE, FIELD, before, Declared({}), secrets={"/key": KEY}, ledger_known=False
    )
    return make_step_to(comparison, after)


def split(step: Step, way: Sequence[Json]) -> tuple[StepPart, ...]:
    writes = [(Write(f"write {number}"), one) for number, one in enumerate(way)]
    return split_into_parts(FIELD, step, writes, "sha256:whole")


def keep_different(before: Json, way: Sequence[Json]) -> list[Json]:
    """The documents of a way that each differ from the one before."""
    kept = []
    for document in way:
        if before is ABSENT or diff(FIELD, before, document):
            kept.append(document)
            before = document
    return kept


@given(st.one_of(st.just(ABSENT), DOCUMENTS), st.lists(DOCUMENTS, min_size=2, max_size=4))
def test_the_parts_one_after_the_other_are_the_step(before: Json, given_way: list[Json]) -> None:
    way = keep_different(before, given_way)
    assume(len(way) > 1)
    step = make(before, way[-1])
    assume(step is not None)
    assert step is not None
    parts = split(step, way)
    assert [part.number for part in parts] == list(range(1, len(way) + 1))
    reached = before
    for part, document in zip(parts, way, strict=True):
        assert part.step.before == reached
        assert check_operations(part.step.ops, reached) is None
        reached = apply_changes(part.step.ops, reached)
        assert not diff(FIELD, reached, document)
        reached = document
    assert not diff(FIELD, apply_changes(step.ops, before), reached)
    joined = join_parts(FIELD, step, parts)
    assert (joined.ops, joined.inverse, joined.action) == (step.ops, step.inverse, step.action)
    assert sorted(joined.secrets) == sorted(step.secrets)


@given(DOCUMENTS, st.lists(DOCUMENTS, min_size=2, max_size=4))
def test_the_inverses_in_reverse_order_revert(before: Json, given_way: list[Json]) -> None:
    way = keep_different(before, given_way)
    assume(len(way) > 1)
    step = make(before, way[-1])
    assume(step is not None)
    assert step is not None
    parts = split(step, way)
    reached = way[-1]
    for part in reversed(parts):
        start = apply_changes(part.step.ops, part.step.before)
        back = apply_operations(part.step.inverse, start)
        assert not diff(FIELD, back, part.step.before)
        reached = part.step.before
    assert same(FIELD, reached, before)


WAY = [{"calls": 20, "tags": {"a": "1"}}, {"calls": 20, "tags": {"a": "2"}}]
BEFORE = {"calls": 4, "tags": {"a": "1"}}
CHANGE = make(BEFORE, WAY[-1])
assert CHANGE is not None


def test_a_secret_goes_with_the_first_write_that_sends_its_place() -> None:
    writes = [
        (Write("one", sends=("tags",)), {"calls": 4, "tags": {"a": "2"}}),
        (Write("two"), WAY[-1]),
        (Write("three", sends=("key",)), WAY[-1]),
    ]
    assert CHANGE is not None
    parts = split_into_parts(FIELD, CHANGE, writes)
    assert [dict(part.step.secrets) for part in parts] == [{}, {}, {"/key": KEY}]
    assert [change.path for change in parts[2].step.changes] == [("key",)]
    without = [(replace(write, sends=("tags",)), after) for write, after in writes]
    with pytest.raises(ReconcilerError, match="no write sends /key"):
        split_into_parts(FIELD, CHANGE, without)


def test_one_write_without_a_pause_or_a_check_is_no_split() -> None:
    assert CHANGE is not None
    assert split_into_parts(FIELD, CHANGE, []) == ()
    assert split(CHANGE, WAY[-1:]) == ()
    assert len(split_into_parts(FIELD, CHANGE, [(Write("all", wait_s=1.0), WAY[-1])])) == 1


@pytest.mark.parametrize(
    ("way", "why"),
    [
        ([WAY[0], WAY[0], WAY[1]], 'write 2 of 3, "write 1", has no change'),
        ([WAY[1], WAY[0]], "does not leave what is planned at /tags/a"),
        ([WAY[0], ABSENT], "does not leave what is planned at /"),
    ],
)
def test_a_wrong_split_is_a_defect_of_the_kind(way: list[Json], why: str) -> None:
    assert CHANGE is not None
    with pytest.raises(ReconcilerError, match="splits the change into wrong writes") as found:
        split(CHANGE, way)
    assert why in found.value.message
    assert "defect of the kind" in found.value.next_step


def test_the_way_back_begins_where_a_step_has_come_to() -> None:
    assert CHANGE is not None
    (back,) = split_retreat(FIELD, CHANGE, WAY[0], [(Write("back"), BEFORE)], 2, "sha256:whole")
    assert (back.number, back.count, back.whole) == (0, 2, "sha256:whole")
    assert [change.path for change in back.step.changes] == [("calls",)]
    with pytest.raises(ReconcilerError, match="reverts others, has no change"):
        split_retreat(FIELD, CHANGE, BEFORE, [(Write("back"), BEFORE)], 2, "")


def test_a_manifest_can_ask_to_remove_a_place_though_it_is_not_exact() -> None:
    live = {"calls": 4, "tags": {"a": "1", "b": "2"}}
    declared = Declared({"calls": 4}, removed=(("tags", "b"), ("tags", "c")))
    step = make_step(Comparison(RESOURCE, FIELD, live, declared))
    assert step is not None
    assert [(one.path, one.verb) for one in step.changes] == [(("tags", "b"), Verb.REMOVE)]
    assert step.after == {"calls": 4, "tags": {"a": "1"}}
    assert step.action is Action.UPDATE
    assert live["tags"] == {"a": "1", "b": "2"}
    assert format_pointer(step.changes[0].path) == "/tags/b"
