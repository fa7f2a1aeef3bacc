"""What a new service is made from: the seed, the region, the copy, and all that may be in the way."""

import copy
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from reconciler.engine.planning.plan import make_plan
from reconciler.errors import ManifestInvalid, Rejected, StalePlan, Unavailable, Unplannable
from reconciler.kinds.web_service import KIND
from reconciler.kinds.web_service.regions import apply_sealed, is_copy
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Cause,
    Json,
    Live,
    Plan,
    Reason,
    Resource,
    SecretReference,
    ServiceTiming,
    Step,
)
from reconciler.plans.estimate import estimate
from reconciler.plans.step import Comparison, make_step
from tests.unit.test_engine import World, carry_out, make_request, world_of
from tests.wire.test_web_service import MODEL, NEW, OLD, RESOURCE, SCOPE, live, manifest

DEFAULTS = {"subscription": "s", "resourceGroup": "g"}
FROM = {"from": {"address": "WebService/census"}}
HERE, THERE = "AB5C39" + "0" * 34, "189FFC" + "0" * 34
KEY = {"/properties/storageAccount/key": SecretReference(env="KEY")}


def sealed(thumbprint: str, value: str = "MIIC") -> Json:
    return {"value": value, "certificateThumbprint": thumbprint}


def source(thumbprint: str = HERE, **properties: Json) -> Json:
    """A live definition with one sealed secret."""
    document = live(**properties)
    document["properties"]["package"]["nodes"]["node1"]["parameters"] = {
        "Password": sealed(thumbprint),
        "Plain": {"value": "x", "certificateThumbprint": ""},
    }
    return document


def password(document: Json) -> Json:
    return document["properties"]["package"]["nodes"]["node1"]["parameters"]["Password"]


# The seed.


def test_a_source_is_named_by_address_or_by_resource() -> None:
    assert KIND.find_source(manifest(definition={"tags": {}}), DEFAULTS) is None
    assert KIND.find_source(manifest(definition=FROM), DEFAULTS) == RESOURCE.address
    named = manifest(definition={"from": {"resource": {"name": "Other", "resourceGroup": "h"}}})
    found = KIND.find_source(named, DEFAULTS)
    assert found == Resource(RESOURCE.address, f"{SCOPE.replace('/g/', '/h/')}/Other")
    with pytest.raises(ManifestInvalid) as caught:
        KIND.find_source(named, {})
    assert caught.value.findings()[0].next_step.startswith(
        "Set spec.definition.from.resource.subscription here"
    )


def test_a_new_service_starts_from_the_source_and_owns_what_is_declared() -> None:
    said = manifest(
        definition={**FROM, "properties": {"description": "Mine"}},
        trainedModels={MODEL: {"uri": NEW}},
    )
    declared = KIND.bind_clone(said, source(commitmentPlan={"id": "/theirs"}))
    assert declared.findings == ()
    step = make_step(Comparison(RESOURCE, KIND.field, ABSENT, declared, KEY))
    assert step is not None
    assert (step.action, step.body) == (Action.CREATE, "whole")
    assert step.owned_paths == (
        "/properties/description",
        "/properties/assets/asset3/locationInfo/uri",
    )
    assert step.after["properties"]["title"] == "Census income"
    assert step.after["properties"]["description"] == "Mine"
    assert step.after["properties"]["assets"]["asset3"]["locationInfo"]["uri"] == NEW
    assert not {"id", "name", "type"} & set(step.after)
    assert not {"modifiedOn", "commitmentPlan", "keys"} & set(step.after["properties"])
    assert [one.after for one in step.models] == [NEW]


def test_a_service_that_is_there_is_not_touched_by_its_source() -> None:
    declared = KIND.bind(manifest(definition=FROM), live(title="Mine"))
    assert declared.document == {}
    assert make_step(Comparison(RESOURCE, KIND.field, live(title="Mine"), declared)) is None


@pytest.mark.parametrize(
    ("location", "kept"), [("southcentralus", True), ("West Central US", False)]
)
def test_the_storage_account_is_not_taken_into_another_region(location: str, kept: bool) -> None:
    declared = KIND.bind_clone(manifest(definition={**FROM, "location": location}), source())
    step = make_step(Comparison(RESOURCE, KIND.field, ABSENT, declared))
    assert step is not None
    assert ("name" in step.after["properties"].get("storageAccount", {})) is kept
    region = "" if kept else "westcentralus"
    assert KIND.find_region(source(), step.after) == region


def test_the_source_itself_stays_as_it_is() -> None:
    document = source()
    before = copy.deepcopy(document)
    KIND.bind_clone(manifest(definition={**FROM, "location": "West Europe"}), document)
    assert document == before


# What is sealed.


def test_the_copys_cipher_text_takes_the_place_of_what_is_sealed_for_elsewhere() -> None:
    body = source()
    apply_sealed(KIND.field, body, source(THERE))
    assert password(body) == sealed(THERE)
    assert body["properties"]["package"]["nodes"]["node1"]["parameters"]["Plain"]["value"] == "x"


def test_what_is_sealed_for_the_region_already_is_not_replaced() -> None:
    body = source()
    body["properties"]["package"]["nodes"]["node1"]["parameters"]["Password"] = sealed(THERE, "own")
    apply_sealed(KIND.field, body, source(THERE))
    assert password(body) == sealed(THERE, "own")


def test_what_the_copy_has_not_is_refused_and_named() -> None:
    body = source()
    body["properties"]["parameters"] = {"a/b": sealed(HERE), "c": sealed(HERE)}
    with pytest.raises(
        Rejected, match="lacks sealed secrets: /properties/parameters/a~1b and 1 more"
    ):
        apply_sealed(KIND.field, body, source(THERE))


def test_a_copy_is_of_what_the_source_is_now_but_for_what_is_sealed() -> None:
    assert is_copy(KIND.field, source(THERE, modifiedOn="2000-01-01T00:00:00Z"), source())
    assert not is_copy(KIND.field, source(THERE, title="Old"), source())
    assert not is_copy(KIND.field, ABSENT, source())


# The calls.


# The plan.


def starting(world: World, *, location: str = "", names: str = "west", **more: Any) -> Any:
    """An order for services that start from the service census."""
    asked = make_request(*names.split(), **more)
    body: Json = {**FROM, "properties": {"storageAccount": {"name": "w"}}}
    body["properties"]["commitmentPlan"] = {"id": "/p"}
    for one in asked.manifests:
        one.spec["definition"] = {**body, **({"location": location} if location else {})}
        one.spec["secrets"] = {"/properties/storageAccount/key": {"env": "KEY"}}
    plain = make_request("census", uri=OLD)
    targets = [one.address for one in asked.manifests]
    return replace(asked, manifests=[*asked.manifests, *plain.manifests], targets=targets)


def test_a_source_is_read_only_where_the_service_is_not_there() -> None:
    world = world_of("census")
    plan = make_plan(world.runtime(), starting(world))
    assert (plan.refresh.read, plan.refresh.total, world.calls) == (2, 2, 3)
    (step,) = plan.steps
    assert step.source is not None
    assert (step.source.name, step.source.region) == ("WebService/census", "")
    note = "from WebService/census, as it is live now"
    assert step.reasons[0] == Reason("", Cause.SOURCE, note)
    carry_out(world.runtime(), plan)
    assert world.uri("west") == NEW
    world.calls = 0
    assert make_plan(world.runtime(), starting(world)).steps == ()
    assert world.calls == 1


@pytest.mark.parametrize("planned", [False, True])
def test_one_source_of_many_is_read_once(planned: bool) -> None:
    world = world_of("census")
    asked = starting(world, names="a b c")
    plan = make_plan(world.runtime(), replace(asked, targets=()) if planned else asked)
    assert (len(plan.steps), world.calls, plan.refresh.read) == (3, 5, 4)


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (True, "starts from WebService/census, which does not exist"),
        (False, "starts from WebService/census, which could not be read: no answer"),
    ],
)
def test_a_source_that_is_not_there_or_cannot_be_read_is_an_obstacle(gone: bool, said: str) -> None:
    world = world_of("census")
    if gone:
        world.documents.clear()
    real = world.read

    def read(resource: Resource) -> Any:
        if resource.short_id == "census" and not gone:
            raise Unavailable("no answer", status=500)
        return real(resource)

    world.read = read  # type: ignore[method-assign]
    with pytest.raises(Unplannable) as caught:
        make_plan(world.runtime(), starting(world, names="a b"))
    assert [(one.subject, one.message) for one in caught.value.findings()] == [
        ("WebService/a", said),
        ("WebService/b", said),
    ]


def test_an_address_that_was_not_read_and_the_service_itself_are_no_sources() -> None:
    world = world_of("census")
    asked = starting(world, names="a b")
    asked.manifests[0].spec["definition"]["from"] = {"address": "WebService/elsewhere"}
    asked.manifests[1].spec["definition"]["from"] = {"resource": {"name": "B"}}
    with pytest.raises(Unplannable) as caught:
        make_plan(world.runtime(), asked)
    assert [one.message for one in caught.value.findings()] == [
        "starts from WebService/elsewhere, which no manifest declares",
        "starts from itself",
    ]


def region_plan(world: World, **more: Any) -> Plan:
    return make_plan(world.runtime(), starting(world, location="West Central US", **more))


@pytest.mark.parametrize(("there", "writes"), [(True, 1), (False, 2)])
def test_a_copy_that_must_be_made_is_one_more_write(there: bool, writes: int) -> None:
    world = world_of("census")
    world.copies = {"westcentralus"} if there else set()
    plan = region_plan(world)
    (step,) = plan.steps
    assert step.source is not None
    assert step.source.copy == ("there" if there else "missing")
    timing = ServiceTiming(1.0, 0, 10, 1.0, 10, 1.0)
    assert estimate(plan.steps, timing, 1).writes == plan.estimate.writes == writes
    assert estimate(plan.steps, timing, 1).reads == 6


def test_a_copy_that_cannot_be_looked_at_is_an_obstacle() -> None:
    world = world_of("census")
    world.fails = {"westcentralus": Unavailable("no answer", status=500)}
    with pytest.raises(Unplannable) as caught:
        region_plan(world)
    (finding,) = caught.value.findings()
    assert (finding.subject, finding.message) == ("WebService/west", "no answer")


def test_a_source_that_the_same_plan_destroys_seals_nothing_any_more() -> None:
    world = world_of("census")
    asked = starting(world, location="West Central US")
    census = asked.manifests[-1]
    census.spec["definition"] = {"properties": {"storageAccount": {"name": "other"}}}
    census.spec["definition"]["properties"]["commitmentPlan"] = {"id": "/p"}
    census.spec["secrets"] = {"/properties/storageAccount/key": {"env": "KEY"}}
    both = replace(asked, targets=())
    with pytest.raises(Unplannable, match="which this plan destroys") as caught:
        make_plan(world.runtime(), both)
    (finding,) = caught.value.findings()
    assert finding.next_step == "Apply this first: --target WebService/west"


def test_a_source_that_is_gone_by_then_voids_the_plan_before_the_first_write() -> None:
    world = world_of("census")
    plan = region_plan(world)
    del world.documents["census"]
    with pytest.raises(StalePlan, match="WebService/census, which it starts from, is gone"):
        carry_out(world.runtime(), plan)
    assert world.written == []


def test_steps_that_touch_one_service_go_one_after_another() -> None:
    world = world_of("census")
    asked = starting(world, location="West Central US", names="a b c d")
    plan = make_plan(world.runtime(), asked)
    running: set[str] = set()
    most = 0
    real = world.write

    def write(step: Step, live: Live | Absent, _: Any) -> Iterator[None]:
        nonlocal most
        running.add(step.resource.address.name)
        most = max(most, len(running))
        for one in real(step, live, _):
            threading.Event().wait(0.01)
            yield one
        running.discard(step.resource.address.name)

    world.write = write  # type: ignore[method-assign]
    outcome = carry_out(world.runtime(), plan)
    assert (len(outcome.added), most) == (4, 1)
    assert Address("WebService", "a") in outcome.added
