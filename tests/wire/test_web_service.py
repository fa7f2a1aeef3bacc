"""The kind WebService: binding, addresses, and what is sent for each step."""

import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest

from reconciler.document.diff import same
from reconciler.document.normalize import normalize
from reconciler.errors import ManifestInvalid, Rejected, Unavailable
from reconciler.kinds import find_kinds
from reconciler.kinds.web_service import KIND
from reconciler.kinds.web_service.provider import WebServiceProvider
from reconciler.model import (
    ABSENT,
    Action,
    Address,
    Declared,
    Json,
    LastApplied,
    Manifest,
    Resource,
    SecretReference,
    Step,
    Verb,
)
from reconciler.plans.step import Comparison, make_step
from tests.access import access
from tests.e2e.world import definition
from tests.scripted import Answer, Call, run_scripted

SCOPE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearning/webServices"
RESOURCE = Resource(Address("WebService", "census"), f"{SCOPE}/census")
OLD, NEW = (f"https://acct.blob.core.windows.net/m/{name}.ilearner" for name in ("old", "new"))
MODEL = "Census Model [trained model]"


def manifest(**spec: Json) -> Manifest:
    return Manifest(Address("WebService", "census"), spec, "census.yaml", "sha256:0")


def live(**properties: Json) -> Json:
    """The document that a service shows."""
    body = definition(OLD)
    for part, name in (("storageAccount", "key"), ("commitmentPlan", "id")):
        body["properties"][part].pop(name)
    body["properties"].pop("commitmentPlan")
    body["properties"] |= {"modifiedOn": "2026-11-20T12:00:00Z", **properties}
    return {
        "id": RESOURCE.id,
        "name": "census",
        "type": "Microsoft.MachineLearning/webServices",
        **body,
    }


def step_for(
    before: Json, secrets: Mapping[str, SecretReference] | None = None, **spec: Json
) -> Step:
    declared = KIND.bind(manifest(**spec), before)
    assert declared.findings == ()
    made = make_step(Comparison(RESOURCE, KIND.field, before, declared, secrets or {}))
    assert made is not None
    return made


def created(body: Json, *secrets: tuple[str, SecretReference]) -> Step:
    return Step(RESOURCE, Action.CREATE, (), (), (), ABSENT, body, secrets=secrets, body="whole")


def test_the_built_in_kind_is_found_by_its_entry_point() -> None:
    assert find_kinds()["WebService"] is KIND


def test_an_id_is_made_from_manifest_and_defaults() -> None:
    found = KIND.identify(manifest(), {"subscription": "s", "resourceGroup": "g"})
    assert found == RESOURCE
    named = manifest(resource={"name": "CensusPre.2016.8.17", "resourceGroup": "h"})
    other = KIND.identify(named, {"subscription": "s", "resourceGroup": "g"})
    assert other.id == SCOPE.replace("/g/", "/h/") + "/CensusPre.2016.8.17"
    assert other.short_id == "CensusPre.2016.8.17"


def test_every_missing_part_of_an_id_is_named_at_once() -> None:
    with pytest.raises(ManifestInvalid) as caught:
        KIND.identify(manifest(), {})
    assert [one.message for one in caught.value.findings()] == [
        "subscription is not set",
        "resourceGroup is not set",
    ]


def test_a_model_is_bound_to_the_asset_that_bears_its_name() -> None:
    declared = KIND.bind(manifest(trainedModels={MODEL: {"uri": NEW}}), live())
    assert declared.findings == ()
    assert declared.document == {
        "properties": {"assets": {"asset3": {"locationInfo": {"uri": NEW}}}}
    }


def test_only_resources_are_models() -> None:
    declared = KIND.bind(manifest(trainedModels={"Edit Metadata": {"uri": NEW}}), live())
    assert declared.findings


def test_an_unknown_model_lists_the_names_there_are() -> None:
    declared = KIND.bind(manifest(trainedModels={"Census Model": {"uri": NEW}}), live())
    (finding,) = declared.findings
    assert finding.message == 'no trained model is named "Census Model"'
    assert finding.detail == (f'The service has: "{MODEL}".',)
    assert finding.next_step == f'Did you mean "{MODEL}"?'


def test_two_models_of_one_name_are_ambiguous() -> None:
    document = live()
    assets = document["properties"]["assets"]
    assets["asset9"] = copy.deepcopy(assets["asset3"])
    declared = KIND.bind(manifest(trainedModels={MODEL: {"uri": NEW}}), document)
    (finding,) = declared.findings
    assert "2 trained models" in finding.message
    assert "asset3, asset9" in finding.detail[0]


def test_a_service_that_is_missing_needs_a_definition() -> None:
    declared = KIND.bind(manifest(trainedModels={MODEL: {"uri": NEW}}), ABSENT)
    assert "the service does not exist" in declared.findings[0].message
    whole = manifest(trainedModels={MODEL: {"uri": NEW}}, definition=definition(OLD))
    bound = KIND.bind(whole, ABSENT)
    assert bound.document["properties"]["assets"]["asset3"]["locationInfo"]["uri"] == NEW


def test_everything_that_a_create_lacks_is_named_at_once() -> None:
    body: Json = {"properties": {"title": "T"}}
    missing = tuple(KIND.check_step(manifest(definition=body), created(body)))
    assert [one.message.rpartition(" ")[2] for one in missing] == [
        "location",
        "properties.packageType",
        "properties.storageAccount.name",
        "properties.storageAccount.key",
        "properties.commitmentPlan.id",
    ]
    key = ("/properties/storageAccount/key", SecretReference(env="KEY"))
    body["properties"] = definition(OLD)["properties"] | {"storageAccount": {"name": "a"}}
    body["location"] = "West Europe"
    assert tuple(KIND.check_step(manifest(), created(body, key))) == ()


# What is sent.


class Sent:
    """A service that shows a document and takes everything; `bodies` by method."""

    def __init__(self, shown: Json) -> None:
        self.shown = shown
        self.bodies: list[tuple[str, Json]] = []

    def script(self, call: Call, _: int) -> Answer:
        if call.method == "GET":
            return Answer(200, self.shown)
        self.bodies.append((call.method, json.loads(call.body) if call.body else None))
        return Answer(200, {})

    def write(self, step: Step) -> list[tuple[str, Json]]:
        with run_scripted(self.script) as server:
            provider = WebServiceProvider(access(server.url), KIND.field)
            before: Any = ABSENT if step.before is ABSENT else provider.read(RESOURCE)
            for _ in provider.write(step, before, lambda reference: f"secret of {reference.env}"):
                pass
        return self.bodies


def test_an_update_is_a_patch_with_the_complete_assets_and_nothing_else() -> None:
    document = live()
    step = step_for(document, trainedModels={MODEL: {"uri": NEW}})
    ((method, body),) = Sent(document).write(step)
    assert method == "PATCH"
    assets = copy.deepcopy(document["properties"]["assets"])
    assets["asset3"]["locationInfo"]["uri"] = NEW
    assert body == {"properties": {"packageType": "Graph", "assets": assets}}


def test_credentials_that_the_service_returns_are_sent_back_with_the_map() -> None:
    document = live()
    shown = copy.deepcopy(document)
    shown["properties"]["assets"]["asset1"]["locationInfo"]["credentials"] = "theirs"
    step = step_for(normalize(KIND.field, shown), trainedModels={MODEL: {"uri": NEW}})
    assert "theirs" not in json.dumps(step.ops)
    ((_, body),) = Sent(shown).write(step)
    assert body["properties"]["assets"]["asset1"]["locationInfo"]["credentials"] == "theirs"


def test_settings_are_sent_whole_by_their_top_property() -> None:
    document = live(diagnostics={"level": "None", "expiry": "2030-01-01T00:00:00Z"})
    step = step_for(document, definition={"properties": {"diagnostics": {"level": "All"}}})
    ((_, body),) = Sent(document).write(step)
    assert body["properties"] == {
        "packageType": "Graph",
        "diagnostics": {"level": "All", "expiry": "2030-01-01T00:00:00Z"},
    }


def test_tags_are_sent_whole_beside_the_properties() -> None:
    document = {**live(), "tags": {"kept": "1"}}
    step = step_for(document, definition={"tags": {"team": "growth"}})
    ((_, body),) = Sent(document).write(step)
    assert body == {
        "tags": {"kept": "1", "team": "growth"},
        "properties": {"packageType": "Graph"},
    }


def test_a_secret_is_put_in_at_the_last_moment() -> None:
    document = live()
    secrets = {"/properties/keys/primary": SecretReference(env="KEY", version="1")}
    declared = KIND.bind(manifest(), document)
    last_applied = LastApplied(RESOURCE.id, "2026-11-20", "ci", "", {}, sequence=1)
    step = make_step(Comparison(RESOURCE, KIND.field, document, declared, secrets, last_applied))
    assert step is not None
    assert step.ops == ()
    ((_, body),) = Sent(document).write(step)
    assert body == {"properties": {"packageType": "Graph", "keys": {"primary": "secret of KEY"}}}


def test_the_credentials_of_an_asset_go_along_with_the_complete_assets() -> None:
    """Sent alone they would be all that is left, where a PATCH replaces the map."""
    document = live()
    pointer = "/properties/assets/asset3/locationInfo/credentials"
    secrets = {pointer: SecretReference(env="KEY", version="1")}
    declared = KIND.bind(manifest(), document)
    last_applied = LastApplied(RESOURCE.id, "2026-11-20", "ci", "", {}, sequence=1)
    step = make_step(Comparison(RESOURCE, KIND.field, document, declared, secrets, last_applied))
    assert step is not None
    ((_, body),) = Sent(document).write(step)
    assets = copy.deepcopy(document["properties"]["assets"])
    assets["asset3"]["locationInfo"]["credentials"] = "secret of KEY"
    assert body == {"properties": {"packageType": "Graph", "assets": assets}}


def test_a_create_is_a_put_of_the_whole_definition() -> None:
    whole = definition(OLD)
    whole["properties"]["storageAccount"].pop("key")
    secrets = {"/properties/storageAccount/key": SecretReference(env="KEY")}
    step = step_for(ABSENT, secrets, definition=whole, trainedModels={MODEL: {"uri": NEW}})
    ((method, body),) = Sent(None).write(step)
    assert method == "PUT"
    assert body["properties"]["storageAccount"]["key"] == "secret of KEY"
    assert body["properties"]["commitmentPlan"] == whole["properties"]["commitmentPlan"]
    assert body["properties"]["assets"]["asset3"]["locationInfo"]["uri"] == NEW
    assert not {"createdOn", "modifiedOn", "provisioningState"} & set(body["properties"])


def test_a_replacement_is_a_delete_and_then_a_put_with_all_that_is_declared() -> None:
    document = live()
    body = {"properties": {"storageAccount": {"name": "b"}, "commitmentPlan": {"id": "/plan"}}}
    step = step_for(document, definition=body)
    assert step.replace_paths == ("/properties/storageAccount/name",)
    (first, gone), (second, put) = Sent(document).write(step)
    assert (first, gone, second) == ("DELETE", None, "PUT")
    assert put["properties"]["storageAccount"] == {"name": "b"}
    assert put["properties"]["commitmentPlan"] == {"id": "/plan"}
    assert put["location"] == document["location"]


def test_a_definition_in_another_casing_is_the_same() -> None:
    document = live()
    shown = copy.deepcopy(document)
    assets = shown["properties"].pop("assets")
    shown["properties"]["Assets"] = {
        key: {
            name.capitalize() if name != "locationInfo" else "LocationInfo": v
            for name, v in one.items()
        }
        for key, one in assets.items()
    }
    assert same(KIND.field, normalize(KIND.field, shown), document)
    declared = Declared({"properties": {"title": document["properties"]["title"]}})
    assert (
        make_step(Comparison(RESOURCE, KIND.field, normalize(KIND.field, shown), declared)) is None
    )


@pytest.mark.parametrize("body", [[], {}, {"id": "x"}, {"id": "x", "properties": []}, "text", 7])
def test_a_reply_that_is_no_definition_is_no_absence(body: Json) -> None:
    with run_scripted(lambda *_: Answer(200, body)) as server:
        provider = WebServiceProvider(access(server.url), KIND.field)
        with pytest.raises(Unavailable, match="did not return a definition"):
            provider.read(RESOURCE)


def test_no_segment_of_an_id_leads_elsewhere() -> None:
    provider = WebServiceProvider(access("http://127.0.0.1:9"), KIND.field)
    for wrong in (
        "/subscriptions/s/../x",
        "/subscriptions/./x",
        "/subscriptions/a?b",
        "/a/b#c",
        "/a//b",
    ):
        with pytest.raises(Rejected, match="is not a valid Resource Manager id"):
            provider.read(Resource(RESOURCE.address, wrong))


def test_a_scan_takes_sparse_and_failed_items_as_they_come() -> None:
    below = RESOURCE.id.removesuffix("census")
    items = [
        {"id": f"{below}a", "properties": {"modifiedOn": "t", "provisioningState": "Succeeded"}},
        {"id": f"{below}b", "properties": {"provisioningState": "Failed", "storageAccount": {}}},
        {"id": f"{below}c".upper(), "name": "c"},
    ]
    with run_scripted(lambda *_: Answer(200, {"value": items})) as server:
        provider = WebServiceProvider(access(server.url), KIND.field)
        found = list(provider.scan("/subscriptions/s/resourceGroups/g"))
    assert [(one.id, one.stamp, one.idle) for one in found] == [
        (f"{below}a", "t", True),
        (f"{below}b", "", True),
        (f"{below}c".upper(), "", False),
    ]


def test_every_change_of_a_step_is_for_a_field_that_people_own() -> None:
    document = live()
    step = step_for(document, definition=definition(NEW) | {"tags": {"a": "b"}})
    assert {change.verb for change in step.changes} <= {Verb.ADD, Verb.REPLACE, Verb.WRITE}
    for change in step.changes:
        assert not KIND.field.at(change.path).read_only


def test_null_is_never_sent_where_it_means_absent() -> None:
    document = live(diagnostics={"level": "All", "expiry": "2030-01-01T00:00:00Z"})
    rows = {"inputs": {"input1": [[None, 1]]}, "globalParameters": None}
    wanted = {"properties": {"diagnostics": {"expiry": None}, "exampleRequest": rows}}
    ((_, body),) = Sent(document).write(step_for(document, definition=wanted))
    assert body["properties"]["diagnostics"] == {"level": "All"}
    assert body["properties"]["exampleRequest"] == {"inputs": {"input1": [[None, 1]]}}


def test_a_read_only_service_takes_no_change() -> None:
    def refuse(before: Json) -> Any:
        step = step_for(before, definition={"tags": {"team": "growth"}})
        return tuple(KIND.check_step(manifest(), step))

    assert refuse(live(readOnly=False)) == ()
    (finding,) = refuse(live(readOnly=True))
    assert "is read-only" in finding.message


def test_what_is_added_leaves_all_that_is_live_unchanged() -> None:
    before = live()
    edges = [{"sourceNodeId": "node1", "targetNodeId": "node2"}]
    count = step_for(before, definition={"tags": {"team": "growth"}}).unchanged
    column = {"properties": {"input1": {"properties": {"sex": {"type": "String"}}}}}
    assert step_for(before, definition={"properties": {"input": column}}).unchanged == count
    assert step_for(before, definition={"tags": {"owner": "sales"}}).unchanged == count - 1
    whole = {"properties": {"package": {"edges": edges}}}
    assert step_for(before, definition=whole).unchanged == count - 1
    keys = {"/properties/keys/primary": SecretReference(env="KEY")}
    assert step_for(before, keys, definition={"tags": {"team": "growth"}}).unchanged == count


def test_a_named_item_that_changes_is_one_place_of_the_list() -> None:
    before = live()
    before["properties"]["assets"]["asset1"]["parameters"] = [{"name": "a", "parameterType": "x"}]
    count = step_for(before, definition={"tags": {"team": "growth"}}).unchanged
    items = [{"name": "a", "parameterType": "y"}, {"name": "b", "parameterType": "z"}]
    asset = {"properties": {"assets": {"asset1": {"parameters": items}}}}
    assert step_for(before, definition=asset).unchanged == count - 1
