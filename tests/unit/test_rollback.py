"""Rolling one resource back by what the ledger holds: planned, proven, or refused with the why."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from reconciler.document.pointers import find, set_at, split_pointer
from reconciler.document.schema import compile_schema
from reconciler.engine.planning.plan import make_plan
from reconciler.engine.planning.selection import PlanRequest
from reconciler.engine.rollback import plan_rollback
from reconciler.errors import ReconcilerError, Unplannable
from reconciler.model import (
    ABSENT,
    Action,
    Address,
    Blob,
    Cause,
    GuardLimits,
    Inputs,
    Json,
    Manifest,
    Plan,
    SourceLocation,
)
from reconciler.plans.undo import undo
from tests.ledgers import make_entry, make_intent
from tests.unit.test_engine import MODEL, NEW, OLD, World, carry_out

CENSUS = Address("WebService", "census")
CALLS = "/properties/realtimeConfiguration/maxConcurrentCalls"
URI = "/properties/assets/asset3/locationInfo/uri"
NEWEST = "https://acct.blob.core.windows.net/m/newest.ilearner"


@dataclass
class Storage(World):
    """A world whose storage knows some blobs by address; the others are not there."""

    blobs: dict[str, str] | None = None

    def inspect(self, model: Any) -> Any:
        if self.blobs is None or model.uri not in self.blobs:
            return ABSENT
        return Blob(model.uri, 10, "e", self.blobs[model.uri], "metadata")


def spec(uri: str = NEW, calls: int = 20, **more: Any) -> dict[str, Any]:
    properties = {"realtimeConfiguration": {"maxConcurrentCalls": calls}, **more}
    return {"trainedModels": {MODEL: {"uri": uri}}, "definition": {"properties": properties}}


def ordered(given: Json, *, blobs: Any = "skip", allowed: tuple[str, ...] = ()) -> PlanRequest:
    places = {
        "/spec/definition": SourceLocation("manifests/census.yaml", 9, 3),
        f"/spec/definition{CALLS}": SourceLocation("manifests/census.yaml", 12, 7),
        f"/spec/trainedModels/{MODEL}/uri": SourceLocation("manifests/census.yaml", 7, 11),
    }
    manifest = Manifest(CENSUS, given, "manifests/census.yaml", "sha256:0", places=places)
    return PlanRequest(
        manifests=[manifest] if given else [],
        defaults={"subscription": "s", "resourceGroup": "g"},
        limits=GuardLimits(blobs=blobs),
        inputs=Inputs("p", {}),
        allowed=allowed,
    )


def apply(world: World, given: Json) -> None:
    outcome = carry_out(world.runtime(), make_plan(world.runtime(), ordered(given)))
    assert outcome.failures == ()


def world_after(*specs: Json) -> Storage:
    """A service to which one manifest after another was applied."""
    world = Storage()
    world.add("census")
    set_at(world.documents["census"], split_pointer(CALLS), 4)
    for given in specs:
        apply(world, given)
    return world


def roll(world: World, given: Json, to: int | None = None, **more: Any) -> Plan:
    return plan_rollback(world.runtime(), ordered(given, **more), CENSUS, to)


def live(world: World, pointer: str) -> Any:
    return find(world.documents["census"], split_pointer(pointer))


def numbers(world: World) -> list[int]:
    return [entry.sequence for entry in world.kept]


def refusals(ask: Callable[[], object]) -> list[str]:
    with pytest.raises(Unplannable) as caught:
        ask()
    return [one.message for one in caught.value.findings()]


def test_the_last_apply_is_undone_and_what_others_changed_elsewhere_stays() -> None:
    world = world_after(spec(OLD, 10), spec(NEW, 20))
    set_at(world.documents["census"], ("properties", "title"), "theirs")
    plan = roll(world, spec(NEW, 20))
    (step,) = plan.steps
    first, _ = numbers(world)
    assert {op["path"]: op["value"] for op in step.ops if op["op"] == "test"} == {
        URI: NEW, CALLS: 20,
    }  # fmt: skip
    assert {one.note for one in step.reasons} == {f"rollback to #{first}"}
    assert {one.cause for one in step.reasons} == {Cause.ROLLBACK}
    assert (step.action, step.body) == (Action.UPDATE, "parts")
    assert [(one.before, one.after) for one in step.models] == [(NEW, OLD)]
    assert set(step.owned_paths) == {URI, CALLS}
    assert carry_out(world.runtime(), plan).failures == ()
    assert (live(world, URI), live(world, CALLS)) == (OLD, 10)
    assert live(world, "/properties/title") == "theirs"
    assert world.ledger.load().last_applied_by_address[CENSUS].owned == {URI: OLD, CALLS: 10}


def test_an_entry_further_back_is_led_back_to_through_all_after_it() -> None:
    world = world_after(spec(OLD, 10), spec(NEW, 10), spec(NEW, 20), spec(NEWEST, 30))
    first, second, *_ = numbers(world)
    assert carry_out(world.runtime(), roll(world, {}, second)).failures == ()
    assert (live(world, URI), live(world, CALLS)) == (NEW, 10)
    assert carry_out(world.runtime(), roll(world, {}, first)).failures == ()
    assert (live(world, URI), live(world, CALLS)) == (OLD, 10)


def test_a_rollback_is_undone_by_the_next_one() -> None:
    world = world_after(spec(OLD, 10), spec(NEW, 20))
    for wanted in (OLD, NEW, OLD):
        carry_out(world.runtime(), roll(world, {}))
        assert live(world, URI) == wanted


def test_to_an_entry_means_as_it_was_right_after_it_whoever_moved_it_since() -> None:
    world = world_after(spec(OLD, 10))
    set_at(world.documents["census"], split_pointer(CALLS), 15)
    apply(world, spec(OLD, 20))
    set_at(world.documents["census"], split_pointer(CALLS), 25)
    first, _ = numbers(world)
    (step,) = roll(world, {}, first).steps
    assert [(one.before, one.after) for one in step.changes] == [(25, 10)]
    assert step.reasons[0].note == (
        f"rollback to #{first}; it was changed outside reconciler since 2026-11-20 by ci@4f1c2aa"
    )
    # Without --to it is what was there before the last entry.
    (step,) = roll(world, {}).steps
    assert [(one.before, one.after) for one in step.changes] == [(25, 15)]


SECRETS = {
    f"/properties/{at}": {"env": "KEY", "version": "v2"}
    for at in ("keys/primary", "keys/secondary", "storageAccount/key")
}


def sendable(definition: Json) -> Json:
    """A manifest with all that a write of the whole needs beside what is live."""
    plan = {"properties": {"commitmentPlan": {"id": "/plans/p"}}}
    return {"definition": {**plan, **definition}, "secrets": SECRETS}


def test_what_an_apply_added_is_taken_away_by_a_whole_write_with_its_secrets() -> None:
    given = {"definition": {"tags": {"team": "growth"}}}
    world = world_after(given)
    assert live(world, "/tags/team") == "growth"
    plain = refusals(lambda: roll(world, given))
    assert any("the whole definition cannot be sent without" in one for one in plain)
    plan = roll(world, sendable(given["definition"]))
    (step,) = plan.steps
    assert step.body == "whole"
    assert [pointer for pointer, _ in step.secrets] == sorted(SECRETS)
    assert find(step.after, ("properties", "commitmentPlan", "id")) == "/plans/p"
    assert live(world, "/tags/owner") == "growth", "what was there before stays"
    assert find(step.after, ("tags",)) == {"owner": "growth"}


def test_a_container_that_others_have_filled_since_is_left_there() -> None:
    world = world_after()
    del world.documents["census"]["tags"]
    apply(world, {"definition": {"tags": {"team": "growth"}}})
    world.documents["census"]["tags"]["theirs"] = "1"
    (step,) = roll(world, sendable({})).steps
    assert find(step.after, ("tags",)) == {"theirs": "1"}


def test_what_was_added_and_is_gone_already_needs_no_undoing() -> None:
    world = world_after({"definition": {"tags": {"team": "growth"}}})
    del world.documents["census"]["tags"]["team"]
    plan = roll(world, {})
    assert plan.steps == ()
    assert [one.address for one in plan.unchanged] == [CENSUS]


def test_a_place_that_is_gone_is_named_with_its_entry_and_nothing_is_planned() -> None:
    world = world_after(spec(OLD, 10), spec(NEW, 20))
    del world.documents["census"]["properties"]["assets"]["asset3"]
    _, last = numbers(world)
    assert refusals(lambda: roll(world, {})) == [
        f"#{last} cannot be undone at {URI}: the place does not exist any more"
    ]


EDGES = "/properties/package/edges"


def edges(*names: str) -> list[dict[str, str]]:
    return [{"sourceNodeId": name, "targetNodeId": "end"} for name in names]


def list_world(now: list[Any], *, reordered: bool = False) -> World:
    """A service of which an entry added the third edge by its number."""
    world = world_after()
    set_at(world.documents["census"], split_pointer(EDGES), now)
    before = edges("a", "b")
    world.ledger.record(make_entry(id="/x/census", owned={CALLS: 4}))
    world.ledger.record(
        make_entry(
            id="/x/census",
            owned={CALLS: 4},
            patch=(
                {"op": "test", "path": EDGES, "value": before},
                {"op": "add", "path": f"{EDGES}/2", "value": edges("c")[0]},
            ),
            inverse=({"op": "remove", "path": f"{EDGES}/2"},),
        )
    )
    return world


def test_an_item_of_a_list_is_told_by_its_number_only_while_the_list_is_as_it_was() -> None:
    (step,) = roll(list_world(edges("a", "b", "c")), {}).steps
    assert find(step.after, split_pointer(EDGES)) == edges("a", "b")
    for now in (edges("a", "b", "c", "theirs"), edges("a", "b", "x"), edges("c", "b", "a"), []):
        world = list_world(now)
        (said,) = refusals(lambda world=world: roll(world, {}))  # type: ignore[misc]
        assert said.startswith(f"#2 cannot be undone at {EDGES}")
        assert "names its items by index" in said


def history_of(*actions: Action) -> World:
    world = world_after()
    for number, action in enumerate(actions):
        world.ledger.record(
            make_entry(id="/x/census", action=action, owned={CALLS: number}, secrets={})
        )
    return world


@pytest.mark.parametrize(
    ("action", "said", "instead"),
    [
        (Action.CREATE, "it was created by #2", "apply --prune --allow deletes"),
        (Action.REPLACE, "it was replaced by #2, and its earlier keys and secrets", "--at '#1'"),
        (Action.DELETE, "it was destroyed by #2, and its keys", "--at '#1'"),
        (Action.FORGET, "it was forgotten by #2", "--at '#1'"),
        (Action.ADOPT, "it was adopted by #2", "--at '#1'"),
    ],
)
def test_what_cannot_be_undone_says_why_and_how_to_get_there(
    action: Action, said: str, instead: str
) -> None:
    world = history_of(Action.UPDATE, action)
    with pytest.raises(Unplannable) as caught:
        roll(world, {})
    (finding,) = caught.value.findings()
    assert said in finding.message
    assert instead in finding.next_step
    # Where nothing is known from before, nothing is pointed to.
    with pytest.raises(Unplannable) as caught:
        roll(history_of(action), {})
    (finding,) = caught.value.findings()
    assert "#0" not in finding.next_step
    assert "Declare the values it must have" in finding.next_step or action is Action.CREATE
    # Further back it stands in the way as well.
    world.ledger.record(make_entry(id="/x/census", owned={CALLS: 4}))
    assert len(refusals(lambda: roll(world, {}, 1))) == 1


def test_what_was_changed_for_good_is_not_led_back() -> None:
    world = world_after()
    world.ledger.record(make_entry(id="/x/census", owned={CALLS: 4}))
    patch = ({"op": "add", "path": "/properties/readOnly", "value": True},)
    world.ledger.record(make_entry(id="/x/census", patch=patch, owned={CALLS: 4}))
    assert refusals(lambda: roll(world, {})) == [
        "cannot be rolled back: /properties/readOnly was changed irreversibly by #2"
    ]


def test_what_was_done_to_another_service_of_that_address_is_not_led_back() -> None:
    world = world_after()
    world.ledger.record(make_entry(id="/x/other"))
    world.ledger.record(make_entry(id="/x/other"))
    world.ledger.record(make_entry(id="/x/census"))
    assert refusals(lambda: roll(world, {}, 1)) == [
        "cannot be rolled back: #2 was applied to another service: /x/other",
        "cannot be rolled back: #1 was applied to another service: /x/other",
    ]


def test_what_was_begun_and_never_told_is_found_out_first() -> None:
    world = world_after(spec(OLD, 10), spec(NEW, 20))
    last_applied = world.ledger.load().last_applied_by_address[CENSUS]
    number = world.ledger.intend(make_intent(id=last_applied.id.upper()))
    assert refusals(lambda: roll(world, {})) == [
        f"cannot be rolled back: the result of #{number} is not known"
    ]


@pytest.mark.parametrize(
    ("name", "to", "said"),
    [("census", 99, "has no completed entry #99"), ("census", 4, "nothing was applied after #4"),
     ("census", 1, "no completed entry #1"), ("nobody", None, "is not in the ledger")],
)  # fmt: skip
def test_an_entry_that_is_not_there_is_an_error(name: str, to: int | None, said: str) -> None:
    world = world_after(spec(OLD, 10), spec(NEW, 20))
    assert numbers(world) == [2, 4]
    with pytest.raises(ReconcilerError, match=said) as caught:
        plan_rollback(world.runtime(), ordered({}), Address("WebService", name), to)
    assert caught.value.next_step


def test_a_service_that_is_gone_is_not_led_back() -> None:
    world = world_after(spec(OLD, 10), spec(NEW, 20))
    world.documents.clear()
    assert refusals(lambda: roll(world, {})) == ["is gone: nothing can be rolled back"]


def test_the_old_model_must_still_be_there() -> None:
    world = world_after(spec(OLD, 10), spec(NEW, 20))
    world.blobs = {NEW: "sha256:n"}
    plan = roll(world, {}, blobs="required")
    (refused,) = plan.refused
    assert "the model blob does not exist" in refused.message
    assert refused.place is None
    allowed = roll(world, {}, blobs="required", allowed=("blob=WebService/census",))
    assert allowed.refused == ()
    world.blobs[OLD] = "sha256:o"
    (step,) = roll(world, {}, blobs="required").steps
    assert step.models[0].digest_after == "sha256:o"


def test_a_model_with_other_bytes_than_then_is_refused() -> None:
    world = world_after()
    world.blobs = {OLD: "sha256:then", NEW: "sha256:n"}
    for uri in (NEW, OLD, NEW):
        plan = make_plan(world.runtime(), ordered(spec(uri, 10), blobs="required"))
        carry_out(world.runtime(), plan)
    assert roll(world, {}, blobs="required").refused == ()
    world.blobs[OLD] = "sha256:now"
    (refused,) = roll(world, {}, blobs="required").refused
    assert "its bytes are not those that were applied" in refused.message
    assert refused.guard == "blob"
    world.blobs[OLD] = "md5:now"
    assert roll(world, {}, blobs="required").refused == (), "two kinds of digest prove nothing"


def test_the_manifest_that_brings_it_back_is_named_with_its_lines() -> None:
    world = world_after(spec(OLD, 10), spec(NEW, 20))
    (finding,) = roll(world, spec(NEW, 20)).findings
    assert finding.severity == "warning"
    assert "the next apply writes it again" in finding.message
    assert set(finding.detail) == {
        f"{URI} on manifests/census.yaml:7:11",
        f"{CALLS} on manifests/census.yaml:12:7",
    }
    assert roll(world, spec(OLD, 10)).findings == (), "a manifest that was changed back is fine"
    (finding,) = roll(world, spec(OLD, 20)).findings
    assert finding.detail == (f"{CALLS} on manifests/census.yaml:12:7",)


def test_secrets_are_said_not_to_be_restored() -> None:
    world = world_after()
    key = "/properties/keys/primary"
    for calls, label in ((10, "v1"), (20, "v2")):
        apply(world, {**spec(OLD, calls), "secrets": {key: {"env": "KEY", "version": label}}})
    given = {**spec(OLD, 10), "secrets": {key: {"env": "KEY", "version": "v3"}}}
    plan = roll(world, given)
    (finding,) = plan.findings
    assert finding.message == (
        f'the secret {key} is not restored: version "v1" then, version "v2" now'
    )
    assert plan.steps[0].secrets == ()
    assert plan.steps[0].not_observable == (key,)
    carry_out(world.runtime(), plan)
    assert world.ledger.load().last_applied_by_address[CENSUS].secrets == {key: "v2"}


def test_guards_hold_as_for_any_plan() -> None:
    world = world_after(spec(OLD, 10), spec(NEW, 20))
    limits = replace(ordered({}), limits=GuardLimits(max_updates=0, blobs="skip"))
    plan = plan_rollback(world.runtime(), limits, CENSUS)
    assert [one.guard for one in plan.refused] == ["updates"]


def test_an_address_that_moved_is_rolled_back_by_its_old_entries() -> None:
    world = world_after(spec(OLD, 10), spec(NEW, 20))
    new = Address("WebService", "renamed")
    world.ledger.more = {new: world.ledger.load().last_applied_by_address[CENSUS]}
    plan = plan_rollback(world.runtime(), ordered({}), new, None, {CENSUS: new})
    assert [step.resource.address for step in plan.steps] == [new]


def test_a_failed_service_is_named_with_what_happens_next() -> None:
    world = world_after(spec(OLD, 10), spec(NEW, 20))
    set_at(world.documents["census"], ("properties", "provisioningState"), "Failed")
    found = roll(world, spec(NEW, 20)).findings
    said = [one.next_step for one in found if "provisioningState is Failed" in one.message]
    assert [one.partition(",")[0] for one in said] == ["The apply changes it in place"]


def test_a_default_that_the_service_leaves_out_is_undone_as_if_it_were_there() -> None:
    field = compile_schema(
        {
            "type": "object",
            "properties": {
                "traffic": {
                    "type": "object",
                    "additionalProperties": {"type": "integer", "x-server-default": 0},
                }
            },
        }
    )
    entry = replace(
        make_entry(),
        patch=({"op": "replace", "path": "/traffic/blue", "value": 0},),
        inverse=({"op": "replace", "path": "/traffic/blue", "value": 100},),
    )
    document, misfits = undo(field, [entry], {"traffic": {"green": 100}})
    assert misfits == ()
    assert document == {"traffic": {"green": 100, "blue": 100}}
    assert undo(field, [entry], {})[1]
