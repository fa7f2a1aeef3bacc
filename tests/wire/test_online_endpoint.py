"""The calls of an online endpoint, over real sockets: each trap of the service has a test."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from reconciler.document.patch import apply_operations
from reconciler.errors import (
    Busy,
    CheckFailed,
    Contradicted,
    OperationFailed,
    ReconcilerError,
    Rejected,
    ReplyLost,
    ServiceError,
    StillRunning,
    Throttled,
    Unavailable,
)
from reconciler.kinds.online_endpoint import KIND
from reconciler.kinds.online_endpoint.bodies import find_target
from reconciler.kinds.online_endpoint.provider import OnlineEndpointProvider
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Cause,
    Change,
    Check,
    Declared,
    Live,
    Reason,
    Resource,
    SecretReference,
    Step,
    Verb,
)
from reconciler.plans.step import Comparison, make_removal, make_step
from reconciler.transport.timeouts import Timeouts
from tests.access import access
from tests.scripted import Answer, Scripted
from tests.wire.arm import (
    ENDPOINT,
    NO_ENDPOINT,
    SCOPE,
    SIGNED,
    Arm,
    deployment,
    endpoint,
    make_guid,
    operation_url,
    refusal,
    run_arm,
    status,
)

Json = Any
RESOURCE = Resource(Address("OnlineEndpoint", "census"), ENDPOINT)
GREEN = f"{ENDPOINT}/deployments/green"
OPERATIONS = ("mfeOperationsStatus", "mfeOperationResults")


@dataclass
class Session:
    """A provider at a scripted service, what it has asked for, and how long it has slept."""

    provider: OnlineEndpointProvider
    server: Scripted
    slept: list[float] = field(default_factory=list)

    def read(self) -> Live:
        live = self.provider.read(RESOURCE)
        assert not isinstance(live, Absent)
        return live

    def write(self, step: Step, live: Live | Absent | None = None) -> list[tuple[str, str, Json]]:
        """Send a step; returns its writes: method, path below the workspace, and body."""
        before = self.provider.read(RESOURCE) if live is None else live
        sent = len(self.server.calls)
        list(self.provider.write(step, before, lambda _: "resolved-value"))
        return self.writes(sent)

    def writes(self, after: int = 0) -> list[tuple[str, str, Json]]:
        calls = (one for one in self.server.calls[after:] if one.method != "GET")
        return [(one.method, _below(one.target), _parse(one.body)) for one in calls]

    def paths(self) -> list[str]:
        return [f"{one.method} {_below(one.target)}" for one in self.server.calls]


def _below(target: str) -> str:
    path = target.partition("?")[0]
    if any(word in path for word in OPERATIONS):
        return "operation"
    return path.removeprefix(SCOPE) or "/"


def _parse(body: bytes) -> Json:
    return json.loads(body) if body else None


@contextmanager
def serving(arm: Arm, deadline_s: float = 60.0) -> Iterator[Session]:
    with run_arm(arm) as server:
        provider = KIND.connect(access(server.url, deadline_s))
        assert isinstance(provider, OnlineEndpointProvider)
        session = Session(provider, server)
        provider._client.sleep = session.slept.append
        yield session


def blue_and_green(**traffic: int) -> Arm:
    """An endpoint with two deployments, and all traffic on blue unless it is given."""
    shares = traffic or {"blue": 100}
    return Arm(endpoint(shares), {"blue": deployment(), "green": deployment("green", 2)})


def step_to(before: Json | Absent, after: Json, **secrets: SecretReference) -> Step:
    """The step that makes a document of another one; secrets are variables of green."""
    above = "/deployments/green/properties/environmentVariables/"
    references = {f"{above}{name}": one for name, one in secrets.items()}
    declared = Declared(after, secrets=references)
    made = make_step(Comparison(RESOURCE, KIND.field, before, declared))
    assert made is not None
    return made


def created(document: Json) -> Step:
    return Step(
        RESOURCE,
        Action.CREATE,
        (),
        ({"op": "add", "path": "", "value": document},),
        (),
        ABSENT,
        document,
        body="whole",
    )


def removed(live: Live, name: str) -> Step:
    """The step that deletes a deployment."""
    path = ("deployments", name)
    old = live.document["deployments"][name]
    ops = ({"op": "remove", "path": f"/deployments/{name}"},)
    after = apply_operations(ops, live.document)
    change = Change(path, Verb.REMOVE, old, ABSENT)
    return Step(RESOURCE, Action.UPDATE, (change,), ops, (), live.document, after)


def delete() -> Step:
    return make_removal(RESOURCE, endpoint(), Reason("", Cause.ORPHAN))


def to_green(live: Live, share: int = 100) -> Step:
    left = 100 - share
    return step_to(live.document, {"properties": {"traffic": {"blue": left, "green": share}}})


def model(version: int) -> Json:
    return {"deployments": {"green": {"properties": {"model": f"azureml:census:{version}"}}}}


# Reading.


def test_a_read_is_the_endpoint_and_the_list_of_its_deployments() -> None:
    with serving(blue_and_green()) as session:
        live = session.read()
        assert session.paths() == [
            "GET /onlineEndpoints/census",
            "GET /onlineEndpoints/census/deployments",
        ]
    document = live.document
    assert set(document["deployments"]) == {"blue", "green"}
    assert document["deployments"]["green"]["properties"]["model"] == "azureml:census:2"
    assert document["properties"]["traffic"] == {"blue": 100}
    assert live.idle
    variables = document["deployments"]["blue"]["properties"]["environmentVariables"]
    assert variables["AZUREML_MODEL_DIR"] == "/var/azureml-app/azureml-models/census/1"


def test_the_guids_of_the_operations_are_the_stamp_and_the_time_of_change_is_not() -> None:
    arm = blue_and_green()
    with serving(arm) as session:
        first = session.read()
        assert first.stamp == f":{make_guid(1)} blue:{make_guid(1)} green:{make_guid(2)}"
        arm.endpoint["systemData"]["lastModifiedAt"] = "2026-01-01T00:00:00+00:00"
        url = operation_url("oeidp", 1).replace("2024-04-01", "2025-06-01")
        arm.endpoint["properties"]["properties"]["AzureAsyncOperationUri"] = url
        assert session.read().stamp == first.stamp
        below = arm.deployments["green"]["properties"]["properties"]
        below["AzureAsyncOperationUri"] = operation_url("odidp", 7)
        assert session.read().stamp != first.stamp
        del below["AzureAsyncOperationUri"]
        assert session.read().stamp == ""


def test_the_address_of_an_operation_is_not_kept() -> None:
    arm = blue_and_green()
    arm.endpoint["properties"]["properties"]["AzureAsyncOperationUri"] += SIGNED
    with serving(arm) as session:
        live = session.read()
    assert "AzureAsyncOperationUri" not in json.dumps(live.document)
    assert SIGNED[:40] not in repr(live)
    kept = live.document["properties"]["properties"]
    assert kept == {"azureml.onlineendpointid": ENDPOINT.lower()}


@pytest.mark.parametrize("word", ["Creating", "Updating", "Scaling", "Deleting", "Anything"])
def test_a_deployment_that_is_not_settled_is_not_idle(word: str) -> None:
    arm = blue_and_green()
    arm.deployments["green"]["properties"]["provisioningState"] = word
    with serving(arm) as session:
        assert not session.read().idle


def test_an_endpoint_that_does_not_exist_is_absent() -> None:
    with serving(Arm()) as session:
        assert session.provider.read(RESOURCE) is ABSENT
        assert session.paths() == ["GET /onlineEndpoints/census"]


@pytest.mark.parametrize(
    "answer",
    [
        refusal(404, "ResourceGroupNotFound", "Resource group 'rg' could not be found."),
        refusal(404, "ResourceNotFound"),
        refusal(404, "NoSuchDeployment"),
        refusal(404, "InferencingClientCallFailed", '{"title":"Not Found"}'),
        Answer(404, {"error": {"code": "NotFound", "message": "The resource was not found."}}),
        Answer(404, {"error": {"code": "NoSuchEndpoints"}}),
        Answer(404),
        Answer(404, b"<html>", {"Content-Type": "text/html"}),
    ],
)
def test_a_404_with_another_code_is_not_absence(answer: Answer) -> None:
    arm = blue_and_green()
    arm.say("GET", "/onlineEndpoints/census", answer)
    with serving(arm) as session, pytest.raises(ServiceError) as caught:
        session.provider.read(RESOURCE)
    assert caught.value.status == 404
    assert caught.value.subject == "OnlineEndpoint/census"
    html = isinstance(answer.body, bytes)
    cure = "the address in spec.cloud" if html else "the resource group and the workspace"
    assert cure in caught.value.next_step


def test_an_endpoint_that_is_deleted_between_the_two_calls_is_not_half_read() -> None:
    arm = blue_and_green()
    arm.say("GET", "/onlineEndpoints/census/deployments", NO_ENDPOINT)
    with serving(arm) as session, pytest.raises(Contradicted):
        session.provider.read(RESOURCE)


def other(**changes: Json) -> Json:
    return {**endpoint(), **changes}


@pytest.mark.parametrize(
    "shown",
    [
        other(id=f"{SCOPE}/onlineEndpoints/other", name="other"),
        other(id=ENDPOINT.replace("/ws/", "/ws2/")),
        other(name="other"),
        other(type="Microsoft.MachineLearningServices/workspaces/batchEndpoints"),
        other(id=7),
        other(properties=None),
        [],
        None,
        "census",
    ],
)
def test_a_document_of_something_else_is_not_this_endpoint(shown: Json) -> None:
    arm = blue_and_green()
    arm.say("GET", "/onlineEndpoints/census", Answer(200, shown))
    with serving(arm) as session, pytest.raises(Unavailable) as caught:
        session.provider.read(RESOURCE)
    assert caught.value.subject == "OnlineEndpoint/census"


@pytest.mark.parametrize(
    "items",
    [
        [deployment(), {**deployment("green"), "id": f"{ENDPOINT}2/deployments/green"}],
        [deployment(), deployment("BLUE")],
        [{**deployment(), "name": "green"}],
        [{**deployment(), "type": "x"}],
        [None],
        [{"name": "blue", "properties": {}}],
    ],
)
def test_a_list_with_other_deployments_is_not_believed(items: list[Json]) -> None:
    arm = blue_and_green()
    arm.say("GET", "/onlineEndpoints/census/deployments", Answer(200, {"value": items}))
    with serving(arm) as session, pytest.raises(Unavailable):
        session.provider.read(RESOURCE)


@pytest.mark.parametrize("where", ["traffic", "mirrorTraffic"])
def test_a_list_that_lacks_a_deployment_with_traffic_is_checked(where: str) -> None:
    arm = blue_and_green()
    arm.endpoint["properties"][where] = {"green": 10, "blue": 0}
    listed = Answer(200, {"value": [deployment()]})
    path = "/onlineEndpoints/census/deployments"
    arm.say("GET", path, listed)
    with serving(arm) as session:
        # A list may be late, so it is read again.
        assert set(session.read().document["deployments"]) == {"blue", "green"}
        arm.say("GET", path, listed, listed, listed)
        with pytest.raises(Contradicted, match="shows the deployment green, and its list lacks"):
            session.read()
        del arm.deployments["green"]
        assert set(session.read().document["deployments"]) == {"blue"}
        assert session.paths()[-1] == "GET /onlineEndpoints/census/deployments/green"


@pytest.mark.parametrize("where", ["traffic", "mirrorTraffic"])
def test_traffic_has_the_names_of_the_deployments_and_whole_numbers(where: str) -> None:
    """az ml writes the names of traffic in lower case; a serializer may write 100 as 100.0."""
    arm = blue_and_green()
    shares = {"traffic": {}, where: {"BLUE": 10.0, "gone": 0, "green": 0}}
    arm.endpoint["properties"].update(shares)
    with serving(arm) as session:
        live = session.read()
        shown = live.document["properties"][where]
        assert {name: share for name, share in shown.items() if share} == {"blue": 10}
        assert isinstance(shown["blue"], int)
        with pytest.raises(Rejected, match="blue is not deleted: it has 10 %"):
            session.write(removed(live, "blue"), live)
        assert session.writes() == []


def test_a_deployment_that_another_tool_has_named_in_capitals_is_the_declared_one() -> None:
    arm = Arm(endpoint({"Blue": 100}), {"Blue": deployment("Blue")})
    with serving(arm) as session:
        live = session.read()
        assert set(live.document["deployments"]) == {"blue"}
        assert live.document["properties"]["traffic"] == {"blue": 100}
        changed = {"deployments": {"blue": {"properties": {"model": "azureml:census:2"}}}}
        ((method, path, body),) = session.write(step_to(live.document, changed), live)
    assert (method, path.lower()) == ("PUT", "/onlineEndpoints/census/deployments/blue".lower())
    assert body["properties"]["model"] == f"{SCOPE}/models/census/versions/2"


@pytest.mark.parametrize(
    ("traffic", "message"),
    [
        ({"blue": "100"}, 'shows "100" as the traffic of blue'),
        ({"blue": 99.5}, "shows 99.5 as the traffic of blue"),
        ({"blue": True}, "shows true as the traffic of blue"),
        ({"blue": -5}, "shows -5 as the traffic of blue"),
        ({"blue": 101}, "shows 101 as the traffic of blue"),
        ({"blue": 50, "Blue": 50}, "shows the traffic of blue twice"),
        (["blue"], "shows no map of deployments as its traffic"),
    ],
)
def test_traffic_that_cannot_be_read_is_not_taken_for_none(traffic: Json, message: str) -> None:
    arm = blue_and_green()
    arm.endpoint["properties"]["traffic"] = traffic
    with serving(arm) as session, pytest.raises(Unavailable, match=message):
        session.read()


def test_a_deployment_that_the_list_lacked_is_not_created_over_the_one_that_exists() -> None:
    arm = blue_and_green()
    arm.say("GET", "/onlineEndpoints/census/deployments", Answer(200, {"value": [deployment()]}))
    with serving(arm) as session:
        live = session.read()
        with pytest.raises(Contradicted, match="deployment green: the service shows"):
            session.write(step_to(live.document, model(2)), live)
        assert session.writes() == []
        arm.say("GET", "/onlineEndpoints/census/deployments/green", refusal(403, "Forbidden"))
        with pytest.raises(ServiceError):
            session.write(step_to(live.document, model(2)), live)
        assert session.writes() == []


def test_the_case_of_ids_does_not_count() -> None:
    arm = Arm(other(id=ENDPOINT.upper(), name="CENSUS"), {"blue": deployment()})
    arm.deployments["blue"]["id"] = f"{ENDPOINT.lower()}/deployments/Blue"
    with serving(arm) as session:
        assert set(session.read().document["deployments"]) == {"blue"}


def test_pages_are_followed_as_they_are() -> None:
    arm = blue_and_green()
    path = "/onlineEndpoints/census/deployments"
    with serving(arm) as session:
        token = "%24skipToken=ab%2Fc%3D%3D&orderBy=createdtime+desc"
        link = f"{session.server.url}{ENDPOINT}/deployments?api-version=2024-04-01&{token}"
        first = Answer(200, {"value": [deployment()], "nextLink": link})
        arm.say("GET", path, first, Answer(200, {"value": [deployment("green")]}))
        assert set(session.read().document["deployments"]) == {"blue", "green"}
        assert session.server.calls[-1].target.endswith(token)


@pytest.mark.parametrize("link", ["https://evil.example/next?sig=1", "//evil.example/x", 7])
def test_a_next_page_elsewhere_is_not_asked_for(link: Json) -> None:
    arm = blue_and_green()
    answer = Answer(200, {"value": [deployment()], "nextLink": link})
    arm.say("GET", "/onlineEndpoints/census/deployments", answer)
    with serving(arm) as session, pytest.raises(ServiceError) as caught:
        session.provider.read(RESOURCE)
    assert "sig=1" not in caught.value.message


# The list of a workspace.


def test_a_scan_needs_one_call_a_page_and_lists_no_deployments() -> None:
    with serving(blue_and_green()) as session:
        found = list(session.provider.scan(SCOPE))
        assert [(one.id, one.stamp, one.idle) for one in found] == [(ENDPOINT, "", False)]
        assert session.paths() == ["GET /onlineEndpoints"]


@pytest.mark.parametrize(
    "items", [[endpoint(), endpoint()], [other(id=ENDPOINT.replace("/ws/", "/w/"))], [None], [{}]]
)
def test_a_list_with_something_else_is_not_believed(items: list[Json]) -> None:
    arm = Arm()
    arm.say("GET", "/onlineEndpoints", Answer(200, {"value": items}))
    with serving(arm) as session, pytest.raises(Unavailable):
        list(session.provider.scan(SCOPE))


def test_the_reads_after_a_list_need_one_call_each_and_only_once() -> None:
    with serving(blue_and_green()) as session:
        assert session.provider.read_many([RESOURCE]) == {}
        first = session.read()
        assert session.paths() == [
            "GET /onlineEndpoints",
            "GET /onlineEndpoints/census/deployments",
        ]
        again = session.read()
        assert session.paths()[2:] == [
            "GET /onlineEndpoints/census",
            "GET /onlineEndpoints/census/deployments",
        ]
    assert first.document == again.document


def test_an_endpoint_that_a_list_has_shown_long_ago_is_read_again() -> None:
    with serving(blue_and_green()) as session:
        session.provider.read_many([RESOURCE])
        now = session.provider._client.clock()
        session.provider._client.clock = lambda: now + 31
        session.read()
        assert "GET /onlineEndpoints/census" in session.paths()


def test_an_endpoint_that_a_list_has_shown_and_that_is_gone_is_absent() -> None:
    arm = blue_and_green()
    with serving(arm) as session:
        session.provider.read_many([RESOURCE])
        arm.endpoint = None
        assert session.provider.read(RESOURCE) is ABSENT


def test_a_list_that_is_refused_leaves_the_reads_to_themselves() -> None:
    arm = blue_and_green()
    arm.say("GET", "/onlineEndpoints", refusal(403, "AuthorizationFailed"))
    with serving(arm) as session:
        assert session.provider.read_many([RESOURCE]) == {}
        session.read()


# Writing: one call of one resource.


def test_a_201_for_an_update_is_success_and_the_reply_of_a_put_is_not_the_state() -> None:
    arm = blue_and_green()
    with serving(arm) as session:
        live = session.read()
        ((method, path, _),) = session.write(to_green(live, 10), live)
        assert (method, path) == ("PUT", "/onlineEndpoints/census")
        assert session.read().document["properties"]["traffic"] == {"blue": 90, "green": 10}


def test_a_whole_document_put_loses_nothing() -> None:
    arm = blue_and_green()
    arm.deployments["red"] = deployment("red")
    own = {"team": "a", **arm.endpoint["properties"]["properties"], "createdBy": "SDK"}
    arm.endpoint["properties"] |= {
        "description": "D",
        "mirrorTraffic": {"red": 10},
        "publicNetworkAccess": "Disabled",
        "authMode": "AMLToken",
        "properties": own,
        "newOfLaterVersions": {"x": 1},
    }
    identities = {"/subscriptions/s/…/id1": {"principalId": "p", "clientId": "c"}}
    arm.endpoint["identity"] |= {"type": "UserAssigned", "userAssignedIdentities": identities}
    arm.endpoint["tags"] = {"Cost": "7"}
    with serving(arm) as session:
        live = session.read()
        ((_, _, body),) = session.write(to_green(live, 10), live)
    assert body == {
        "location": "eastus",
        "tags": {"Cost": "7"},
        "identity": {
            "type": "UserAssigned",
            "userAssignedIdentities": {"/subscriptions/s/…/id1": {}},
        },
        "properties": {
            "authMode": "AMLToken",
            "description": "D",
            "publicNetworkAccess": "Disabled",
            "properties": {"team": "a", "createdBy": "SDK"},
            "traffic": {"blue": 90, "green": 10},
            "mirrorTraffic": {"red": 10},
            "newOfLaterVersions": {"x": 1},
        },
    }


def test_an_endpoint_on_kubernetes_stays_there() -> None:
    arm = blue_and_green()
    arm.endpoint |= {"kind": "K8s", "sku": {"name": "Default"}}
    arm.endpoint["properties"]["compute"] = f"{SCOPE}/computes/k8s"
    arm.deployments["green"]["properties"]["endpointComputeType"] = "Kubernetes"
    with serving(arm) as session:
        live = session.read()
        ((_, _, body),) = session.write(to_green(live, 10), live)
        assert (body["kind"], body["sku"]) == ("K8s", {"name": "Default"})
        assert body["properties"]["compute"] == f"{SCOPE}/computes/k8s"
        live = session.read()
        ((_, _, body),) = session.write(step_to(live.document, model(3)), live)
        assert body["properties"]["endpointComputeType"] == "Kubernetes"


def test_zeros_of_traffic_are_left_out_and_empty_traffic_is_sent() -> None:
    arm = blue_and_green()
    arm.endpoint["properties"]["traffic"] = {"blue": 100, "green": 0}
    with serving(arm) as session:
        live = session.read()
        ((_, _, body),) = session.write(to_green(live, 100), live)
        assert body["properties"]["traffic"] == {"green": 100}
        assert body["properties"]["mirrorTraffic"] == {}
        live = session.read()
        off = step_to(live.document, {"properties": {"traffic": {"green": 0}}})
        ((_, _, body),) = session.write(off, live)
        assert body["properties"]["traffic"] == {}


def test_a_new_endpoint_gets_the_location_of_its_workspace_and_no_traffic() -> None:
    arm = Arm()
    document = {
        "tags": {"a": "b"},
        "identity": {"type": "SystemAssigned"},
        "properties": {"authMode": "Key"},
        "deployments": {},
    }
    with serving(arm) as session:
        ((method, path, body),) = session.write(created(document), ABSENT)
        assert "GET /" in session.paths()
        assert arm.endpoint is not None
    assert (method, path) == ("PUT", "/onlineEndpoints/census")
    assert body == {
        "location": "eastus",
        "tags": {"a": "b"},
        "identity": {"type": "SystemAssigned"},
        "properties": {"authMode": "Key", "traffic": {}, "mirrorTraffic": {}},
    }


def test_a_new_endpoint_may_have_an_empty_map_of_deployments() -> None:
    document = {"properties": {"authMode": "Key"}, "deployments": {}}
    assert find_target(step_to(ABSENT, document)) == ""


@pytest.mark.parametrize("shown", [{"id": SCOPE}, {"location": ""}, {"location": 7}, [], None])
def test_a_workspace_without_a_location_is_named_before_anything_is_sent(shown: Json) -> None:
    arm = Arm()
    arm.say("GET", "", Answer(200, shown))
    with serving(arm) as session, pytest.raises(Unavailable) as caught:
        session.write(created({"properties": {"authMode": "Key"}}), ABSENT)
    assert "location of the workspace" in caught.value.message
    assert caught.value.subject == "OnlineEndpoint/census"
    assert session.writes() == []


def test_a_workspace_that_is_missing_is_named_before_anything_is_sent() -> None:
    arm = Arm()
    arm.say("GET", "", refusal(404, "ResourceNotFound"))
    with serving(arm) as session, pytest.raises(Rejected) as caught:
        session.write(created({"properties": {"authMode": "Key"}}), ABSENT)
    assert caught.value.subject == "OnlineEndpoint/census"
    assert caught.value.next_step.endswith(f"the workspace: {SCOPE}")
    assert session.writes() == []


def test_a_new_deployment_is_sent_whole_with_what_the_service_demands() -> None:
    arm = Arm(endpoint(), {})
    made = {
        "properties": {
            "model": "azureml:census:2",
            "environmentId": "azureml:sklearn:3",
            "instanceType": "Standard_DS3_v2",
            "environmentVariables": {"WORKER_COUNT": "2"},
        }
    }
    with serving(arm) as session:
        live = session.read()
        step = step_to(live.document, {"deployments": {"green": made}})
        ((method, path, body),) = session.write(step, live)
    assert (method, path) == ("PUT", "/onlineEndpoints/census/deployments/green")
    assert body == {
        "location": "eastus",
        "sku": {"name": "Default", "capacity": 1},
        "properties": {
            "endpointComputeType": "Managed",
            "model": f"{SCOPE}/models/census/versions/2",
            "environmentId": f"{SCOPE}/environments/sklearn/versions/3",
            "instanceType": "Standard_DS3_v2",
            "environmentVariables": {"WORKER_COUNT": "2"},
        },
    }


def test_the_variables_of_the_service_are_kept_and_never_sent() -> None:
    arm = blue_and_green()
    with serving(arm) as session:
        live = session.read()
        ((method, _, body),) = session.write(step_to(live.document, model(3)), live)
    assert method == "PUT"
    assert body["properties"]["environmentVariables"] == {"WORKER_COUNT": "2"}
    assert body["properties"]["model"] == f"{SCOPE}/models/census/versions/3"
    assert body["sku"] == {"name": "Default", "capacity": 2}
    assert body["properties"]["instanceType"] == "STANDARD_F2S_V2"
    unsent = {"provisioningState", "dataCollector", "modelMountPath", "description"}
    assert unsent.isdisjoint(body["properties"])
    assert "AzureAsyncOperationUri" not in json.dumps(body)


@pytest.mark.parametrize(
    ("change", "body"),
    [
        ({"sku": {"capacity": 3}}, {"sku": {"name": "Default", "capacity": 3}}),
        ({"tags": {"a": "b"}}, {"tags": {"a": "b", "kept": "1"}}),
    ],
)
def test_the_number_of_instances_and_tags_leave_the_rest_to_others(
    change: Json, body: Json
) -> None:
    arm = blue_and_green()
    arm.deployments["green"]["tags"] = {"kept": "1"}
    with serving(arm) as session:
        live = session.read()
        ((method, path, sent),) = session.write(
            step_to(live.document, {"deployments": {"green": change}}), live
        )
        session.read()
    assert (method, path, sent) == ("PATCH", "/onlineEndpoints/census/deployments/green", body)


def test_new_tags_of_an_endpoint_leave_its_traffic_to_others() -> None:
    arm = blue_and_green()
    arm.endpoint["tags"] = {"kept": "1"}
    with serving(arm) as session:
        live = session.read()
        assert session.write(step_to(live.document, {"tags": {"a": "b"}}), live) == [
            ("PATCH", "/onlineEndpoints/census", {"tags": {"a": "b", "kept": "1"}})
        ]


def test_a_tag_is_removed_by_a_put_since_a_patch_may_merge() -> None:
    arm = blue_and_green()
    arm.endpoint["tags"] = {"old": "1", "kept": "1"}
    with serving(arm) as session:
        live = session.read()
        ops = ({"op": "remove", "path": "/tags/old"},)
        change = Change(("tags", "old"), Verb.REMOVE, "1", ABSENT)
        after = apply_operations(ops, live.document)
        step = Step(RESOURCE, Action.UPDATE, (change,), ops, (), live.document, after)
        ((method, _, body),) = session.write(step, live)
    assert (method, body["tags"]) == ("PUT", {"kept": "1"})


def test_a_deployment_and_an_endpoint_are_deleted_by_one_call_each() -> None:
    arm = blue_and_green()
    with serving(arm) as session:
        live = session.read()
        assert session.write(removed(live, "green"), live) == [
            ("DELETE", "/onlineEndpoints/census/deployments/green", None)
        ]
        assert set(session.read().document["deployments"]) == {"blue"}
        assert session.write(delete()) == [("DELETE", "/onlineEndpoints/census", None)]
        assert session.provider.read(RESOURCE) is ABSENT


@pytest.mark.parametrize(
    "answer", [Answer(204), Answer(202, b"null"), Answer(202), NO_ENDPOINT, Answer(200, {})]
)
def test_a_delete_is_done_whatever_its_body_is(answer: Answer) -> None:
    arm = blue_and_green()
    with serving(arm) as session:
        live = session.read()
        arm.endpoint = None
        arm.say("DELETE", "/onlineEndpoints/census", answer)
        session.write(delete(), live)


def test_a_step_of_several_resources_is_refused_before_anything_is_sent() -> None:
    with serving(blue_and_green()) as session:
        live = session.read()
        both = {**model(3), "properties": {"traffic": {"green": 10, "blue": 90}}}
        made = {"properties": {"authMode": "Key"}, "deployments": {"blue": {}}}
        for step in (step_to(live.document, both), created(made)):
            with pytest.raises(Rejected, match="one call cannot change several resources"):
                session.write(step, live)
        assert session.writes() == []


# Traffic is whole at each moment.


@pytest.mark.parametrize(
    ("traffic", "message"),
    [
        ({"blue": 90, "green": 0}, "sum to 90 %"),
        ({"blue": 60, "green": 60}, "sum to 120 %"),
        ({"blue": 0, "red": 100}, "red, which does not exist"),
    ],
)
def test_traffic_that_is_not_whole_is_not_sent(traffic: Json, message: str) -> None:
    with serving(blue_and_green()) as session:
        live = session.read()
        step = step_to(live.document, {"properties": {"traffic": traffic}})
        with pytest.raises(Rejected) as caught:
            session.write(step, live)
        assert message in caught.value.message
        assert "Nothing was sent" in caught.value.next_step
        assert session.writes() == []


@pytest.mark.parametrize("state", ["Failed", "Canceled"])
def test_a_deployment_that_failed_gets_no_traffic(state: str) -> None:
    arm = blue_and_green()
    arm.deployments["green"]["properties"]["provisioningState"] = state
    with serving(arm) as session:
        live = session.read()
        with pytest.raises(Rejected, match="whose last operation failed"):
            session.write(to_green(live, 10), live)
        assert session.writes() == []


def test_traffic_may_leave_a_deployment_that_failed_in_steps() -> None:
    arm = blue_and_green()
    arm.deployments["blue"]["properties"]["provisioningState"] = "Failed"
    with serving(arm) as session:
        live = session.read()
        ((_, _, body),) = session.write(to_green(live, 10), live)
        assert body["properties"]["traffic"] == {"blue": 90, "green": 10}
        live = session.read()
        with pytest.raises(Rejected, match="traffic would go to blue"):
            session.write(to_green(live, 5), live)


def test_a_secret_of_a_deployment_is_not_sent_with_its_endpoint() -> None:
    secret = ("/deployments/green/properties/environmentVariables/TOKEN", SecretReference(env="T"))
    step = created({"properties": {"authMode": "Key"}, "deployments": {}})
    with serving(Arm()) as session:
        ((_, _, body),) = session.write(step.copy_with(secrets=(secret,)), ABSENT)
    assert "deployments" not in body
    assert "resolved-value" not in json.dumps(body)


@pytest.mark.parametrize("name", ["green", "GREEN"])
@pytest.mark.parametrize("where", ["traffic", "mirrorTraffic"])
def test_a_deployment_with_traffic_is_not_deleted(where: str, name: str) -> None:
    arm = blue_and_green()
    with serving(arm) as session:
        planned = session.read()
        arm.endpoint["properties"][where] = {name: 10}
        live = session.read()
        with pytest.raises(Rejected, match="green is not deleted: it has 10 %"):
            session.write(removed(planned, "green"), live)
        assert session.writes() == []


# Operations.


def test_an_operation_is_followed_by_its_words_alone() -> None:
    """percentComplete is 0.0 at the end, and endTime is in the year 1 until then."""
    words = ["Updating", "Creating", "Scaling", "Deleting", "Accepted"]
    arm = blue_and_green()
    arm.polls = [status(word) for word in words]
    with serving(arm) as session:
        live = session.read()
        session.write(to_green(live, 10), live)
        assert session.paths().count("GET operation") == len(words) + 1


def test_the_address_of_an_operation_is_followed_verbatim_and_never_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    arm = blue_and_green()
    with (
        caplog.at_level(logging.DEBUG, logger="reconciler.requests"),
        serving(arm, deadline_s=-1.0) as session,
    ):
        live = session.read()
        arm.polls = [status("Updating")] * 3
        with pytest.raises(StillRunning) as caught:
            session.write(to_green(live, 10), live)
        polled = session.server.calls[-1].target
        assert polled.endswith(SIGNED)
        assert len(polled) > 3000
    shown = f"{caught.value.findings()} {caplog.text} {caught.value!r} {live!r}"
    for part in (SIGNED[1:30], "MIIHhzCC", "c2lnbmF0dXJl", "ODk3Nzg5"):
        assert part not in shown
    assert "mfeOperationsStatus" in caplog.text
    assert f"the operation {make_guid(arm.number)} is still running" in caught.value.message


@pytest.mark.parametrize(
    "link", ["https://management.azure.com/x", "http://127.0.0.1:9/x", "http://a@127.0.0.1/x"]
)
def test_an_operation_at_another_host_is_not_asked_for(link: str) -> None:
    arm = blue_and_green()
    headers = {"Azure-AsyncOperation": f"{link}?t=1&s=c2lnbmF0dXJl"}
    arm.say("PUT", "/onlineEndpoints/census", Answer(201, {}, headers))
    with serving(arm) as session:
        live = session.read()
        with pytest.raises(ServiceError) as caught:
            session.write(to_green(live, 10), live)
        assert "c2lnbmF0dXJl" not in str(caught.value.findings())


def test_the_location_of_a_patch_answers_the_status_and_not_the_resource() -> None:
    arm = blue_and_green()
    with serving(arm) as session:
        live = session.read()
        url = operation_url("oeidp", 9, session.server.url) + SIGNED
        url = url.replace("mfeOperationsStatus", "mfeOperationResults")
        arm.running[make_guid(9)] = [status("Updating")]
        arm.say("PATCH", "/onlineEndpoints/census", Answer(202, None, {"Location": url}))
        session.write(step_to(live.document, {"tags": {"a": "b"}}), live)
        assert session.paths().count("GET operation") == 2


def test_an_operation_that_nobody_knows_any_more_is_judged_by_the_states() -> None:
    arm = blue_and_green()
    arm.polls = [refusal(404, "NotFound")]
    with serving(arm) as session:
        live = session.read()
        session.write(to_green(live, 10), live)
        assert session.paths()[-2:] == ["GET operation", "GET /onlineEndpoints/census"]


FAILED = status(
    "Failed",
    error={
        "code": "BadArgument",
        "message": "User container has crashed or terminated: Liveness probe failed: HTTP probe"
        " failed with statuscode: 502",
    },
)


def test_a_failed_operation_says_which_deployment_why_and_what_to_do() -> None:
    arm = blue_and_green()
    arm.polls = [status("Updating"), FAILED]
    log = "Traceback:\nValueError: no such file: model.pkl\n"
    path = "/onlineEndpoints/census/deployments/green/getLogs"
    arm.say("POST", path, Answer(200, {"content": log}))
    with serving(arm) as session:
        live = session.read()
        with pytest.raises(OperationFailed) as caught:
            session.write(step_to(live.document, model(3)), live)
    error = caught.value
    assert error.message.startswith(
        "deployment green: the operation failed: User container has crashed or terminated"
    )
    assert error.message.endswith(". Its log says: ValueError: no such file: model.pkl")
    assert error.code == "BadArgument"
    assert "container, its environment or its scoring script" in error.next_step
    assert error.subject == "OnlineEndpoint/census"


def test_a_failure_without_a_log_is_shown_as_it_is() -> None:
    arm = blue_and_green()
    arm.polls = [FAILED]
    with serving(arm) as session:
        live = session.read()
        with pytest.raises(OperationFailed, match=r"statuscode: 502$"):
            session.write(step_to(live.document, model(3)), live)


@pytest.mark.parametrize(
    "end",
    [
        status("Failed", error={"code": "OperationCanceled", "message": "Canceled by another."}),
        status("Canceled"),
    ],
)
def test_a_canceled_duplicate_may_be_sent_again_after_a_pause(end: Answer) -> None:
    arm = blue_and_green()
    arm.polls = [end]
    with serving(arm) as session:
        live = session.read()
        with pytest.raises(ReplyLost) as caught:
            session.write(step_to(live.document, model(3)), live)
        assert caught.value.next_step == "Apply again in a minute."
        arm.polls = []
        session.slept.clear()
        list(session.provider.wait_until_idle(RESOURCE))
        assert sum(session.slept) == pytest.approx(2 * session.provider.timing.lag_s)
        session.write(step_to(live.document, model(3)), live)
        session.slept.clear()
        list(session.provider.wait_until_idle(RESOURCE))
        assert session.slept == []


def test_a_failed_deployment_stays_listed_and_is_put_again() -> None:
    arm = blue_and_green()
    arm.deployments["green"]["properties"]["provisioningState"] = "Failed"
    with serving(arm) as session:
        live = session.read()
        assert live.idle
        shown = live.document["deployments"]["green"]["properties"]
        assert shown["provisioningState"] == "Failed"
        ((method, _, body),) = session.write(step_to(live.document, model(3)), live)
        assert (method, "provisioningState" in body["properties"]) == ("PUT", False)


# Busy endpoints.

UPDATING = (
    "Cannot create a deployment in endpoint census because it is in Updating provisioning state."
)


@pytest.mark.parametrize("code", [400, 409, 412, 422])
def test_a_busy_endpoint_is_known_by_its_words_whatever_the_status(code: int) -> None:
    arm = blue_and_green()
    path = "/onlineEndpoints/census/deployments/green"
    arm.say("PUT", path, refusal(code, "X", UPDATING), refusal(code, "X", UPDATING))
    with serving(arm) as session:
        live = session.read()
        for wait in (0.5, 1.0):
            with pytest.raises(Busy) as caught:
                session.write(step_to(live.document, model(3)), live)
            assert "is in Updating provisioning state" in caught.value.message
            session.slept.clear()
            list(session.provider.wait_until_idle(RESOURCE))
            assert sum(session.slept) == pytest.approx(wait * session.provider.timing.lag_s)
        session.write(step_to(live.document, model(3)), live)
        session.slept.clear()
        list(session.provider.wait_until_idle(RESOURCE))
        assert session.slept == []


@pytest.mark.parametrize("state", ["Failed", "Canceled"])
def test_an_endpoint_that_failed_is_not_busy(state: str) -> None:
    arm = blue_and_green()
    message = UPDATING.replace("Updating", state)
    path = "/onlineEndpoints/census/deployments/green"
    arm.say("PUT", path, refusal(409, "EndpointNotReady", message))
    with serving(arm) as session:
        live = session.read()
        with pytest.raises(Rejected) as caught:
            session.write(step_to(live.document, model(3)), live)
    assert type(caught.value) is Rejected
    assert "az ml online-endpoint delete --name census" in caught.value.next_step
    assert "If none of its deployments answers yet" in caught.value.next_step


@pytest.mark.parametrize("state", ["Failed", "Canceled"])
@pytest.mark.parametrize("name", ["green", '"green"'])
def test_a_deployment_that_failed_is_no_reason_to_delete_the_endpoint(
    name: str, state: str
) -> None:
    arm = blue_and_green()
    message = f"The deployment {name} is in {state} provisioning state in endpoint census."
    arm.say("PUT", "/onlineEndpoints/census", refusal(400, "InvalidTraffic", message))
    with serving(arm) as session:
        live = session.read()
        with pytest.raises(Rejected) as caught:
            session.write(to_green(live, 10), live)
    assert type(caught.value) is Rejected
    assert "delete" not in caught.value.next_step


def test_a_name_that_somebody_else_has_is_not_busy() -> None:
    arm = Arm()
    taken = refusal(409, "Conflict", "An endpoint with this name already exists in eastus.")
    arm.say("PUT", "/onlineEndpoints/census", taken)
    with serving(arm) as session, pytest.raises(Rejected) as caught:
        session.write(created({"properties": {"authMode": "Key"}}), ABSENT)
    assert type(caught.value) is Rejected
    assert "unique in its region" in caught.value.next_step


def test_waiting_ends_when_the_endpoint_and_all_its_deployments_have_settled() -> None:
    arm = blue_and_green()
    path = "/onlineEndpoints/census"
    busy = {
        **endpoint(),
        "properties": {**endpoint()["properties"], "provisioningState": "Updating"},
    }
    green = deployment("green", provisioningState="Scaling")
    arm.say("GET", path, Answer(200, busy))
    idle = Answer(200, {"value": [deployment()]})
    arm.say("GET", f"{path}/deployments", idle, Answer(200, {"value": [deployment(), green]}))
    with serving(arm) as session:
        assert len(list(session.provider.wait_until_idle(RESOURCE))) == 3
        assert session.writes() == []


def test_what_does_not_settle_in_time_is_named() -> None:
    arm = blue_and_green()
    arm.deployments["green"]["properties"]["provisioningState"] = "Creating"
    with serving(arm, deadline_s=-1.0) as session, pytest.raises(StillRunning) as caught:
        list(session.provider.wait_until_idle(RESOURCE))
    assert "deployment green (Creating) is still running" in caught.value.message
    assert caught.value.subject == "OnlineEndpoint/census"


def test_what_does_not_exist_has_settled_and_a_missing_group_has_not() -> None:
    arm = Arm()
    with serving(arm) as session:
        assert list(session.provider.wait_until_idle(RESOURCE)) == []
        arm.say("GET", "/onlineEndpoints/census", refusal(404, "ResourceGroupNotFound"))
        with pytest.raises(ServiceError):
            list(session.provider.wait_until_idle(RESOURCE))


# Refusals.

QUOTA = (
    'InferencingClient HttpRequest error, error detail: {"errors":{"VmSize":["Not enough quota'
    " available for Standard_F4s_v2 in SubscriptionId 00000000-0000-0000-0000-000000000001. Current"
    " usage/limit: 0/6. Additional needed: 8 Please see troubleshooting guide, available here:"
    ' https://aka.ms/oe-tsg#error-outofquota"]},"type":"https://tools.ietf.org/html/rfc7231#section'
    '-6.5.1","title":"One or more validation errors occurred.","status":400,"traceId":"00-..-01"}'
)


def test_quota_text_with_json_inside_is_readable() -> None:
    arm = Arm(endpoint(), {})
    answer = refusal(400, "InferencingClientCreateDeploymentFailed", QUOTA)
    arm.say("PUT", "/onlineEndpoints/census/deployments/green", answer)
    with serving(arm) as session:
        live = session.read()
        with pytest.raises(Rejected) as caught:
            session.write(step_to(live.document, model(3)), live)
    (finding,) = caught.value.findings()
    assert finding.message.startswith(
        "deployment green: Not enough quota available for Standard_F4s_v2 in SubscriptionId"
    )
    assert "usage/limit: 0/6. Additional needed: 8" in finding.message
    assert "{" not in finding.message
    assert "20 % more instances" in finding.next_step


@pytest.mark.parametrize("headers", [{"Retry-After": "0"}, {}])
def test_a_429_is_sent_again_with_and_without_a_pause(headers: Mapping[str, str]) -> None:
    arm = blue_and_green()
    refused = Answer(429, {"error": {"code": "TooManyRequests", "message": "slow"}}, headers)
    arm.say("PUT", "/onlineEndpoints/census/deployments/green", refused)
    with serving(arm) as session:
        live = session.read()
        assert len(session.write(step_to(live.document, model(3)), live)) == 2


def test_puts_of_deployments_are_counted_apart() -> None:
    arm = blue_and_green()
    refused = Answer(429, {"error": {"code": "TooManyRequests"}}, {"Retry-After": "3600"})
    arm.say("PUT", "/onlineEndpoints/census/deployments/green", refused)
    with serving(arm) as session:
        session.provider._client.timeouts = limited(session)
        live = session.read()
        with pytest.raises(Throttled):
            session.write(step_to(live.document, model(3)), live)
        # Every other write goes on at once.
        session.write(to_green(live, 10), live)
        scale = {"deployments": {"green": {"sku": {"capacity": 3}}}}
        session.write(step_to(live.document, scale), live)


def limited(session: Session) -> Timeouts:
    return replace(session.provider._client.timeouts, throttled_s=0.1)


def test_what_was_deleted_between_the_read_and_the_write_is_gone() -> None:
    arm = blue_and_green()
    with serving(arm) as session:
        live = session.read()
        arm.endpoint = None
        arm.say("PUT", "/onlineEndpoints/census", NO_ENDPOINT)
        with pytest.raises(Rejected, match="it was deleted after it was read") as caught:
            session.write(to_green(live, 10), live)
        assert caught.value.next_step == "Plan again."


def test_trouble_behind_the_front_may_have_been_done_and_is_not_absence() -> None:
    arm = blue_and_green()
    code = "InternalServerError"
    trouble = refusal(500, code, "Received 500 from a service request", "ServiceError")
    arm.say("PUT", "/onlineEndpoints/census", trouble)
    with serving(arm) as session:
        live = session.read()
        with pytest.raises(ReplyLost) as caught:
            session.write(to_green(live, 10), live)
    assert caught.value.code == code
    assert len(session.writes()) == 1


@pytest.mark.parametrize("answer", [Answer(drop=True), Answer(201, {"a": 1}, cut=True)])
def test_a_lost_reply_is_not_sent_again(answer: Answer) -> None:
    arm = blue_and_green()
    arm.say("PUT", "/onlineEndpoints/census", answer)
    with serving(arm) as session:
        live = session.read()
        with pytest.raises(ReplyLost):
            session.write(to_green(live, 10), live)
        assert len(session.writes()) == 1


# Secrets.

VALUE = "s3cr3t/value+of=a-token"


def with_secrets() -> Arm:
    arm = blue_and_green()
    variables = arm.deployments["green"]["properties"]["environmentVariables"]
    variables |= {"TOKEN": VALUE, "DB_PASSWORD": "hunter22", "API_KEY": "k3y/9+abcdefgh"}
    variables["URL"] = f"https://x.example/?t={VALUE}"
    return arm


def test_values_of_secret_variables_are_in_no_document_and_known_to_redaction() -> None:
    with serving(with_secrets()) as session:
        live = session.read()
        text = json.dumps(live.document)
        for value in (VALUE, "hunter22", "k3y/9"):
            assert value not in text
            assert value not in repr(live)
        redaction = session.provider._access.redaction
        assert VALUE not in redaction.redact(f"log line: {VALUE}")


def test_a_put_keeps_the_secrets_that_the_service_showed() -> None:
    with serving(with_secrets()) as session:
        live = session.read()
        ((_, _, body),) = session.write(step_to(live.document, model(3)), live)
    assert body["properties"]["environmentVariables"] == {
        "WORKER_COUNT": "2",
        "TOKEN": VALUE,
        "DB_PASSWORD": "hunter22",
        "API_KEY": "k3y/9+abcdefgh",
        "URL": f"https://x.example/?t={VALUE}",
    }


def test_a_signature_in_an_address_is_in_no_document_and_is_sent_back() -> None:
    arm = blue_and_green()
    signed = "https://a.blob.core.windows.net/c/x?sv=2024-05-04&sig=c2lnbmF0dXJl%2Bx%3D"
    arm.deployments["green"]["properties"]["environmentVariables"]["DATA"] = signed
    with serving(arm) as session:
        live = session.read()
        assert "c2lnbmF0dXJl" not in json.dumps(live.document)
        ((_, _, body),) = session.write(step_to(live.document, model(3)), live)
    assert body["properties"]["environmentVariables"]["DATA"] == signed


def test_a_reference_is_resolved_into_the_body_alone() -> None:
    arm = with_secrets()
    with serving(arm) as session:
        live = session.read()
        step = step_to(live.document, model(3), TOKEN=SecretReference(env="TOKEN"))
        ((_, _, body),) = session.write(step, live)
        variables = body["properties"]["environmentVariables"]
        assert variables["TOKEN"] == "resolved-value"
        assert variables["DB_PASSWORD"] == "hunter22"
        assert "resolved-value" not in json.dumps(step.after) + json.dumps(step.ops)


def test_an_error_that_quotes_the_body_shows_no_secret() -> None:
    arm = with_secrets()
    path = "/onlineEndpoints/census/deployments/green"
    arm.say("PUT", path, refusal(400, "X", f"bad value {VALUE} or resolved-value"))
    with serving(arm) as session:
        live = session.read()
        step = step_to(live.document, model(3), TOKEN=SecretReference(env="TOKEN"))
        with pytest.raises(ReconcilerError) as caught:
            session.write(step, live)
    shown = f"{caught.value} {caught.value.findings()}"
    assert VALUE not in shown
    assert "resolved-value" not in shown


def test_a_secret_as_a_name_is_an_error_and_not_a_crash() -> None:
    arm = with_secrets()
    arm.endpoint["tags"] = {VALUE: "x"}
    with serving(arm) as session, pytest.raises(Unavailable, match="secret as the name"):
        session.read()


# What is mounted.


def test_a_deployment_that_has_mounted_another_model_gets_no_probe() -> None:
    arm = blue_and_green()
    arm.deployments["green"]["properties"]["model"] = f"{SCOPE}/models/census/versions/3"
    check = Check("probe green", {"sort": "probe", "deployment": "green"})
    with serving(arm) as session:
        with pytest.raises(CheckFailed, match="green does not serve azureml:census:3") as caught:
            list(session.provider.check_write(RESOURCE, check, None))
        assert session.writes() == []
    assert "the service has mounted /var/azureml-app/azureml-models/census/2" in str(caught.value)


# Hostile names.


@pytest.mark.parametrize("name", ["..", "a/b", "a?b", "a#b", "a%2e", "x\r\nHost: evil", "\ud800"])
def test_a_hostile_name_of_a_deployment_changes_no_path(name: str) -> None:
    with serving(blue_and_green()) as session:
        live = session.read()
        document = {"deployments": {name: {"properties": {"model": "azureml:census:2"}}}}
        with pytest.raises(ReconcilerError):
            session.write(step_to(live.document, document), live)
        assert session.writes() == []
