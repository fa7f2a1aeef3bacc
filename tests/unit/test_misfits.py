"""Patches that fit no document: in a plan, in a ledger; each is told, and nothing breaks."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler.document.patch import check_operations, make_operations
from reconciler.document.schema import compile_schema
from reconciler.kinds.web_service import KIND
from reconciler.ledgers.chain import START, digest_line, follow, join
from reconciler.ledgers.records import BadLine
from reconciler.model import Action, Address, Declared, Live, Resource, StepResult
from reconciler.plans.evidence import assess_intent, check_stale
from reconciler.plans.step import Comparison, make_step_to
from reconciler.plans.undo import Irreversible, make_undo, undo
from tests.ledgers import make_entry, make_intent
from tests.plans import live, step

Json = Any
EDGES = "/properties/package/edges"


def seen(document: Json) -> Live:
    return Live(document, None, datetime.now(UTC), "2", idle=True)


def test_what_has_no_place_any_more_is_named_and_nothing_is_changed() -> None:
    made = step(live(), {"definition": {"tags": {"one": "x"}}})
    document = live()
    assert check_operations(made.ops, document) is None
    assert "one" not in document["tags"]
    del document["tags"]
    assert check_operations(made.ops, document) == "/tags/one"
    assert made.ops == make_operations(made.changes, made.before)


@pytest.mark.parametrize(
    "patch",
    [
        ({"op": "remove", "path": "/x"}, {"op": "add", "path": "/y", "value": 1}),
        ({"op": "add", "path": "/x/y", "value": 1},),
        ({"op": "test", "path": EDGES, "value": [1]}, {"op": "remove", "path": f"{EDGES}/7"}),
        ({"op": "test", "path": EDGES, "value": []}, {"op": "add", "path": f"{EDGES}/x/y", "value": 1}),
        ({"op": "replace", "path": "", "value": 1}, {"op": "add", "path": "/x", "value": 1}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("action", [Action.CREATE, Action.UPDATE])
def test_nobody_knows_what_became_of_what_cannot_have_been_sent(
    patch: tuple[Json, ...], action: Action
) -> None:
    evidence = assess_intent(KIND.field, make_intent(action=action, patch=patch), seen(live()))
    assert evidence.result in {StepResult.UNKNOWN, StepResult.NOT_DONE}
    assert evidence.note


@pytest.mark.parametrize(
    ("patch", "inverse"),
    [
        (
            ({"op": "test", "path": "", "value": [1]}, {"op": "remove", "path": "/0"}),
            ({"op": "add", "path": "/0", "value": 1},),
        ),
        (
            ({"op": "test", "path": EDGES, "value": [1]}, {"op": "remove", "path": f"{EDGES}/9"}),
            ({"op": "add", "path": f"{EDGES}/9", "value": 1},),
        ),
        (
            ({"op": "add", "path": "/tags/a/b/c", "value": 1},),
            ({"op": "replace", "path": "/tags/a/b/c", "value": 2},),
        ),
    ],
)
def test_what_cannot_be_undone_is_told(patch: tuple[Json, ...], inverse: tuple[Json, ...]) -> None:
    document = live()
    _, misfits = undo(KIND.field, [make_entry(patch=patch, inverse=inverse)], document)
    assert misfits
    assert document == live()


# Lists whose items a service gives in another order than they were planned in.

LISTS = compile_schema(
    {"type": "object", "properties": {
        "set": {"type": "array", "x-list": "set", "items": {"type": "string"}},
        "keyed": {"type": "array", "x-list": "keyed", "x-key": "name", "items": {
            "type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}},
        }},
    }}
)  # fmt: skip
ORDERED: Json = {"set": ["a", "b"], "keyed": [{"name": "x", "n": 1}, {"name": "y", "n": 1}]}


def turned(document: Json, name: str) -> Live:
    return seen({**document, name: document[name][::-1]})


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("set", ["b"]), ("keyed", [{"name": "x", "n": 2}, {"name": "y", "n": 1}])],
)
def test_an_item_is_not_changed_by_its_number_where_the_order_is_another(
    name: str, wanted: Json
) -> None:
    comparison = Comparison(Resource(Address("Any", "a"), "/a"), LISTS, ORDERED, Declared({}))
    made = make_step_to(comparison, {**ORDERED, name: wanted})
    assert made is not None
    assert tuple(check_stale(LISTS, made, seen(ORDERED))) == ()
    (stale,) = check_stale(LISTS, made, turned(ORDERED, name))
    assert stale.message == f"Saved plan is stale: /{name} has changed"


def test_what_lies_in_a_list_and_is_sensitive_is_not_shown_where_the_list_has_changed() -> None:
    item = {"type": "object", "properties": {"name": {"type": "string"}, "key": {
        "type": "string", "x-sensitive": True,
    }}}  # fmt: skip
    keyed = {"type": "array", "x-list": "keyed", "x-key": "name", "items": item}
    schema = compile_schema({"type": "object", "properties": {"keys": keyed}})
    before: Json = {"keys": [{"name": "x", "key": "hush"}, {"name": "y", "key": "hush"}]}
    comparison = Comparison(Resource(Address("Any", "a"), "/a"), schema, before, Declared({}))
    made = make_step_to(comparison, {"keys": before["keys"][:1]})
    assert made is not None
    (stale,) = check_stale(schema, made, seen({"keys": []}))
    assert "hush" not in str(stale)


def test_an_item_is_not_led_back_by_its_number_where_the_order_is_another() -> None:
    wanted: Json = {**ORDERED, "keyed": [{"name": "x", "n": 2}, {"name": "y", "n": 1}]}
    made = make_step_to(
        Comparison(Resource(Address("Any", "a"), "/a"), LISTS, ORDERED, Declared({})), wanted
    )
    assert made is not None
    assert make_undo(LISTS, made, seen(wanted)).after == ORDERED
    with pytest.raises(Irreversible, match="the list /keyed has changed since"):
        make_undo(LISTS, made, turned(wanted, "keyed"))


# Lines of a ledger, whose digests are right.

ENTRY: Json = {
    "owned": {"/x": 1}, "secrets": {"/y": "v1"}, "digests": {"/z": "sha256:0"},
    "baseline": {"/b": 1}, "patch": ({"op": "add", "path": "/x", "value": 1},),
}  # fmt: skip


def line(**more: Json) -> bytes:
    """A line of an entry, in which something else is said."""
    _, word = follow(START, join(START, make_entry(**ENTRY))[:-1])
    assert word == make_entry(**ENTRY, sequence=1)
    document = {**json.loads(join(START, make_entry(**ENTRY))), **more}
    del document["digest"]
    text = json.dumps(document).encode()
    return text[:-1] + f',"digest":"{digest_line(text)}"}}'.encode()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"patch": [1]}, "has no usable patch"),
        ({"patch": [{"op": "move", "path": "/x", "from": "/y"}]}, "has no usable patch"),
        ({"patch": [{"op": "add", "path": "/x"}]}, "has no usable patch"),
        ({"patch": [{"op": "remove", "path": "x"}]}, "has no usable patch"),
        ({"inverse": [{"op": "remove", "path": 7}]}, "has no usable inverse"),
        ({"owned": {"": 1}}, "has no usable owned"),
        ({"owned": {"x": 1}}, "has no usable owned"),
        ({"baseline": {"x": 1}}, "has no usable baseline"),
        ({"secrets": {"/x": 1}}, "has no usable secrets"),
        ({"secrets": {"x": "v1"}}, "has no usable secrets"),
        ({"digests": {"x": "sha256:0"}}, "has no usable digests"),
        ({"at": "yesterday"}, "has no usable at"),
        ({"at": "0001-01-01T00:00:00+23:59"}, "has no usable at"),
        ({"wave": 1 << 63}, "has no usable wave"),
        ({"sequence": 1 << 63}, "is not an entry of a ledger"),
        ({"version": 1}, "is not of version 2"),
        ({"version": 2.0}, "is not of version 2"),
        ({"highest_fence": None}, "has no usable highest_fence"),
        ({"owned": {"/x": float("nan")}}, "is not JSON"),
    ],
)
def test_a_line_that_nobody_could_go_on_from_is_refused(more: Json, message: str) -> None:
    with pytest.raises(BadLine, match=message):
        follow(START, line(**more))


def test_a_line_that_nests_too_deeply_is_refused() -> None:
    deep: Json = 1
    for _ in range(200):
        deep = [deep]
    with pytest.raises(BadLine, match="is not JSON"):
        follow(START, line(owned={"/x": deep}))
