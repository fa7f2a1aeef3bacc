"""What is recorded belongs to a resource: to its id and its creation time, and not to an address."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from reconciler.document.identity import is_same_creation, read_creation_time
from reconciler.document.patch import apply_operations
from reconciler.engine.drift import report_drift
from reconciler.engine.planning.plan import make_plan
from reconciler.engine.planning.selection import PlanRequest
from reconciler.engine.rebuild import rebuild_entries
from reconciler.engine.rollback import plan_rollback
from reconciler.errors import ManifestInvalid, StalePlan, Unplannable
from reconciler.kinds.endpoint import KIND as ENDPOINT
from reconciler.kinds.web_service import KIND
from reconciler.ledgers.chain import Replay
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Cause,
    Entry,
    Json,
    Live,
    Manifest,
    Resource,
    Snapshot,
    SourceLocation,
    Step,
    StepResult,
    Verdict,
)
from reconciler.plans.evidence import assess_intent
from reconciler.plans.history import attribute, recall
from tests.ledgers import make_entry, make_intent
from tests.unit.test_engine import (
    AUTHOR,
    MODEL,
    NEW,
    OLD,
    World,
    carry_out,
    make_request,
)

A, FORMER = Address("WebService", "a"), Address("WebService", "a.former")
KEY = "/properties/keys/primary"
URI = "/properties/assets/asset3/locationInfo/uri"
THEN, SINCE = "2026-11-20T12:00:00.5Z", "2026-11-21T12:00:00Z"


def ask(name: str = "one", uri: str = NEW, version: str = "v1", **more: Any) -> PlanRequest:
    """A request with one manifest, `a`, of the service with this name."""
    spec = {
        "resource": {"name": name},
        "trainedModels": {MODEL: {"uri": uri}},
        "secrets": {KEY: {"env": "KEY", "version": version}},
    }
    manifest = Manifest(A, spec, "a.yaml", "sha256:0")
    return replace(make_request(**{"refresh": "full", **more}), manifests=[manifest])


class Services(World):
    """Services that are written, as they are read, by their own names."""

    def write(self, step: Step, live: Live | Absent, _: Any) -> Iterator[None]:
        yield
        if step.action is Action.DELETE:
            del self.documents[step.resource.short_id]
            return
        start = ABSENT if live is ABSENT else live.document
        self.documents[step.resource.short_id] = apply_operations(step.ops, start)


def world_of(*names: str) -> World:
    world = Services()
    for name in names:
        create(world, name, THEN)
    return world


def create(world: World, name: str, created: str, uri: str = OLD) -> None:
    """Create a service, also one that was there: then it is created again."""
    world.add(name, uri)
    world.documents[name]["properties"]["createdOn"] = created


def apply(world: World, request: PlanRequest) -> None:
    assert carry_out(world.runtime(), make_plan(world.runtime(), request)).failures == ()


@pytest.fixture
def applied() -> World:
    """A world in which `a` was applied as the service `one`; the service `two` was not."""
    world = world_of("one", "two")
    apply(world, ask())
    return world


def only_step(world: World, request: PlanRequest) -> Step:
    (step,) = make_plan(world.runtime(), request).steps
    return step


def writes_key(step: Step) -> bool:
    return KEY in dict(step.secrets)


# A creation time, as documents show it.


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("2017-04-05T00:43:22.0187458Z", "2017-04-05T00:43:22.0187458"),
        ("2017-04-05T02:43:22.0187458+02:00", "2017-04-05T00:43:22.0187458"),
        ("not a time", "not a time"),
        ("x" * 1000, ""),
        (7, ""),
        (None, ""),
        ({}, ""),
    ],
)
def test_a_creation_time_is_read_in_one_form(shown: Json, expected: str) -> None:
    assert read_creation_time(KIND.field, {"properties": {"createdOn": shown}}) == expected
    assert read_creation_time(ENDPOINT.field, {"CreationTime": shown}) == expected


@pytest.mark.parametrize("document", [ABSENT, {}, {"properties": None}, {"properties": []}])
def test_a_document_without_a_creation_time_shows_none(document: Any) -> None:
    assert read_creation_time(KIND.field, document) == ""
    assert is_same_creation(KIND.field, "2017-04-05T00:43:22.", document)


def test_two_creation_times_are_two_resources() -> None:
    document = {"properties": {"createdOn": THEN}}
    assert is_same_creation(KIND.field, "2026-11-20T12:00:00.5", document)
    assert is_same_creation(KIND.field, "", document)
    assert not is_same_creation(KIND.field, "2026-11-20T12:00:00.6", document)


# An address that means another resource.


def test_an_address_that_means_another_service_inherits_nothing(applied: World) -> None:
    plan = make_plan(applied.runtime(), ask("two"))
    (step,) = plan.steps
    assert writes_key(step)
    assert {one.cause for one in step.reasons} == {Cause.MANIFEST}
    assert [(one.address, one.short_id) for one in plan.orphans] == [(FORMER, "one")]
    report = report_drift(applied.runtime(), ask("two"))
    assert {one.verdict for one in report.findings if one.pointer == URI} == {Verdict.PENDING}
    assert [one.last_applied for one in report.statuses] == [None]


def test_a_service_that_was_never_there_is_not_gone(applied: World) -> None:
    report = report_drift(applied.runtime(), ask("three"))
    (found,) = report.findings
    assert (found.verdict, found.note) == (
        Verdict.PENDING,
        "it does not exist, and is not in the ledger",
    )


@pytest.mark.parametrize("word", ["subscription", "resourceGroup"])
def test_defaults_of_the_project_change_what_an_address_means(applied: World, word: str) -> None:
    request = ask()
    other = replace(request, defaults={**request.defaults, word: "elsewhere"})
    plan = make_plan(applied.runtime(), other)
    assert writes_key(plan.steps[0])
    assert [one.address for one in plan.orphans] == [FORMER]


def test_the_former_service_stays_recorded_after_an_apply(applied: World) -> None:
    apply(applied, ask("two"))
    plan = make_plan(applied.runtime(), ask("two"))
    assert ([one.short_id for one in plan.orphans], plan.steps) == (["one"], ())
    back = make_plan(applied.runtime(), ask("one"))
    assert ([one.short_id for one in back.orphans], back.steps) == (["two"], ())


def test_the_former_service_is_destroyed_by_prune_under_its_guard(applied: World) -> None:
    apply(applied, ask("two"))
    refused = make_plan(applied.runtime(), ask("two", prune=True))
    assert [one.guard for one in refused.refused] == ["deletes"]
    (step,) = refused.steps
    assert (step.resource.short_id, step.action) == ("one", Action.DELETE)
    assert step.reasons[0].note == "it is one, and WebService/a now names another resource"
    apply(applied, ask("two", prune=True, allowed=["deletes"]))
    assert sorted(applied.documents) == ["two"]
    assert make_plan(applied.runtime(), ask("two")).orphans == ()


def test_the_target_of_an_address_means_its_former_service_too(applied: World) -> None:
    more: dict[str, Any] = {"prune": True, "allowed": ["deletes"]}
    for targets, expected in (([A], {"one", "two"}), ([FORMER], {"one"})):
        plan = make_plan(applied.runtime(), ask("two", targets=targets, **more))
        assert {step.resource.short_id for step in plan.steps} == expected
    kept = make_plan(applied.runtime(), ask("two", excluded=[FORMER], **more))
    assert [step.resource.short_id for step in kept.steps] == ["two"]


def test_a_service_is_recorded_under_its_last_address_alone(applied: World) -> None:
    renamed = Manifest(Address("WebService", "b"), ask().manifests[0].spec, "b.yaml", "")
    apply(applied, replace(ask(uri=OLD), manifests=[renamed], rotate=[renamed.address]))
    assert list(applied.ledger.load().last_applied_by_address) == [renamed.address]


def test_ledgers_of_today_match_by_the_id_alone(applied: World) -> None:
    applied.ledger.lines = [
        replace(one, created="") for one in applied.ledger.lines if isinstance(one, Entry)
    ]
    create(applied, "one", SINCE, NEW)
    assert make_plan(applied.runtime(), ask()).steps == ()


# A resource that was deleted and created again.


def test_a_service_that_was_created_again_inherits_nothing(applied: World) -> None:
    assert make_plan(applied.runtime(), ask()).steps == ()
    create(applied, "one", SINCE)
    plan = make_plan(applied.runtime(), ask())
    (step,) = plan.steps
    assert writes_key(step)
    assert {one.cause for one in step.reasons} == {Cause.MANIFEST}
    assert plan.orphans == ()
    (warning,) = plan.findings
    assert warning.message.startswith("it was deleted and created again since it was last applied")
    report = report_drift(applied.runtime(), ask())
    assert Verdict.MODEL_SWAPPED not in {one.verdict for one in report.findings}


@pytest.mark.parametrize("name", ["one", "two"])
def test_a_secret_of_the_former_service_is_not_recorded_of_the_new_one(
    applied: World, name: str
) -> None:
    create(applied, "one", SINCE)
    request = ask(name)
    spec = {word: value for word, value in request.manifests[0].spec.items() if word != "secrets"}
    plain = replace(request, manifests=[replace(request.manifests[0], spec=spec)])
    apply(applied, plain)
    assert applied.ledger.load().last_applied_by_address[A].secrets == {}
    assert writes_key(only_step(applied, ask(name)))


def test_a_saved_plan_is_stale_where_the_service_was_created_again(applied: World) -> None:
    plan = make_plan(applied.runtime(), ask(version="v2"))
    create(applied, "one", SINCE, NEW)
    with pytest.raises(StalePlan) as stale:
        carry_out(applied.runtime(), plan)
    (finding,) = stale.value.findings()
    assert finding.message == "Saved plan is stale: it was deleted and created again"


def test_a_plan_that_was_done_is_stale_where_the_service_was_created_again() -> None:
    world = world_of("one")
    plan = make_plan(world.runtime(), ask())
    carry_out(world.runtime(), plan)
    create(world, "one", SINCE, NEW)
    with pytest.raises(StalePlan, match="created again"):
        carry_out(world.runtime(), plan)


def test_a_removal_is_stale_where_the_service_was_created_again(applied: World) -> None:
    plan = make_plan(applied.runtime(), ask(destroy=True, allowed=["deletes"]))
    create(applied, "one", SINCE)
    with pytest.raises(StalePlan, match="created again"):
        carry_out(applied.runtime(), plan)
    assert "one" in applied.documents


def seen(created: str, uri: str = NEW) -> Live:
    world = World()
    create(world, "one", created, uri)
    live = world.read(Resource(A, "/x/one"))
    assert isinstance(live, Live)
    return live


@pytest.mark.parametrize(
    ("action", "created", "result"),
    [
        (Action.UPDATE, THEN, StepResult.DONE),
        (Action.UPDATE, SINCE, StepResult.UNKNOWN),
        (Action.DELETE, THEN, StepResult.NOT_DONE),
        (Action.DELETE, SINCE, StepResult.DONE),
        (Action.REPLACE, SINCE, StepResult.DONE),
    ],
)
def test_a_read_of_another_resource_is_no_evidence_of_an_update(
    action: Action, created: str, result: StepResult
) -> None:
    patch = (
        {"op": "test", "path": URI, "value": OLD},
        {"op": "replace", "path": URI, "value": NEW},
    )
    intent = make_intent(action=action, patch=patch, created=THEN.rstrip("Z"))
    assert assess_intent(KIND.field, intent, seen(created)).result is result


# What the ledger tells and does with it.


def test_a_rollback_stops_at_another_resource(applied: World) -> None:
    apply(applied, ask("two"))
    with pytest.raises(Unplannable) as caught:
        plan_rollback(applied.runtime(), ask("two"), A, 2)
    assert "#2 was applied to another service" in caught.value.findings()[0].message
    alone = plan_rollback(applied.runtime(), ask("two"), A)
    assert [(one.resource.short_id, one.models[0].after) for one in alone.steps] == [("two", OLD)]


def test_a_rollback_of_what_an_address_means_no_more_is_refused(applied: World) -> None:
    with pytest.raises(Unplannable) as caught:
        plan_rollback(applied.runtime(), ask("two"), A)
    assert "was applied to another service" in caught.value.findings()[0].message


def test_a_rollback_of_a_service_that_was_created_again_is_refused(applied: World) -> None:
    create(applied, "one", SINCE, NEW)
    with pytest.raises(Unplannable, match="created again since it was last applied"):
        plan_rollback(applied.runtime(), ask(), A)
    apply(applied, ask(uri=OLD))
    with pytest.raises(Unplannable, match="#2 was applied before it was deleted and created again"):
        plan_rollback(applied.runtime(), ask(uri=OLD), A, 2)


def test_a_rebuild_assumes_no_secret_that_the_old_ledger_does_not_record(applied: World) -> None:
    for request, labels, unwritten in (
        (ask(), {KEY: "v1"}, ()),
        (ask(version="v2"), {KEY: "v1"}, ()),
        (ask("two"), {}, (KEY,)),
    ):
        old = applied.ledger.load()
        (found,) = rebuild_entries(applied.runtime(), request, AUTHOR, old)
        assert found.entry is not None
        assert (found.entry.secrets, found.unwritten) == (labels, unwritten)
        assert found.entry.created == "2026-11-20T12:00:00.5"
    (lost,) = rebuild_entries(applied.runtime(), ask(), AUTHOR, Snapshot({}, known=False))
    assert (lost.entry and lost.entry.secrets, lost.assumed) == ({KEY: "v1"}, True)


def test_nobody_is_named_for_what_was_written_to_another_resource() -> None:
    one = make_entry("a", id="/x/one", owned={URI: NEW}, secrets={KEY: "v1"}, sequence=1)
    same = replace(one, sequence=2, by="bob")
    assert [found.entry.sequence for found in attribute([one, same])] == [1, 1]
    for other in (
        replace(same, id="/x/two"),
        replace(same, created="2026-11-21T12:00:00."),
    ):
        before = replace(one, created="2026-11-20T12:00:00.")
        assert [found.entry.sequence for found in attribute([before, other])] == [2, 2]


def test_what_is_forgotten_of_another_resource_leaves_what_is_recorded() -> None:
    lines = [
        make_entry("a", id="/x/one"),
        make_entry("a", id="/x/two"),
        make_entry("a", Action.FORGET, id="/x/one"),
    ]
    assert [str(entry.id) for entry in recall(lines, {}).values()] == ["/x/two"]
    replay = Replay()
    for line in lines:
        replay.apply(line)
    snapshot = replay.snapshot()
    assert ([one.id for one in snapshot.last_applied_by_address.values()]) == ["/x/two"]
    assert snapshot.former == {}


def test_a_former_resource_takes_no_address_that_is_taken() -> None:
    replay = Replay()
    for name in ("one", "two", "three"):
        replay.apply(make_entry("a", id=f"/x/{name}"))
    replay.apply(make_entry("a.former", id="/x/four"))
    found = {
        address.name: state.id
        for address, state in replay.snapshot().last_applied_by_address.items()
    }
    assert found == {
        "a": "/x/three",
        "a.former": "/x/four",
        "a.former-2": "/x/one",
        "a.former-3": "/x/two",
    }


# Renamed addresses.


def moved_world(*, name: str) -> Any:
    """The snapshot's request after `old` was renamed to `a`, whose manifest names `name`."""
    world = world_of("one", "two")
    apply(world, ask())
    lines = list(world.ledger.lines)
    replay = Replay({A: Address("WebService", "b")})
    for line in lines:
        replay.apply(line)
    world.ledger.load = replay.snapshot  # type: ignore[method-assign]
    place = SourceLocation("reconciler.yaml", 6, 11)
    request = ask(name, moved_places={A: place})
    manifest = Manifest(Address("WebService", "b"), request.manifests[0].spec, "b.yaml", "")
    return world, replace(request, manifests=[manifest]), place


def test_what_was_moved_keeps_what_is_recorded_of_the_same_service() -> None:
    world, request, _ = moved_world(name="one")
    plan = make_plan(world.runtime(), request)
    assert (plan.steps, plan.orphans) == ((), ())


def test_what_was_moved_to_the_manifest_of_another_service_is_refused() -> None:
    world, request, place = moved_world(name="two")
    for ask_for in (make_plan, report_drift):
        with pytest.raises(ManifestInvalid) as caught:
            ask_for(world.runtime(), request)
        (finding,) = caught.value.findings()
        assert finding.place == place
        assert finding.message == (
            "WebService/a is not WebService/b: the ledger records another resource than the"
            " manifest names"
        )
