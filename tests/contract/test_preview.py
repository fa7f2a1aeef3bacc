"""The version 2016-05-01-preview, which Data Factory calls: recorded in 2016."""

import pytest

from tests.contract.world import MODEL, PREVIEW, VERSION, Json, Service, switched
from tests.e2e.world import definition, pass_time

pytestmark = pytest.mark.contract
# As recorded: TestCreateGetRemoveWebService and TestUpdateWebService of 2016.
ORDER = [
    "provisioningState",
    "createdOn",
    "modifiedOn",
    "title",
    "description",
    "swaggerLocation",
    "keys",
    "readOnly",
    "realtimeConfiguration",
    "storageAccount",
    "commitmentPlan",
    "assets",
    "parameters",
    "input",
    "output",
    "packageType",
    "package",
    "exampleRequest",
    "exposeSampleData",
]


def test_the_preview_shows_parameters_as_bare_values(service: Service) -> None:
    body = definition(MODEL)
    body["properties"]["package"]["nodes"]["node1"]["parameters"] = {"Data Type": "String"}
    service.finish(service.call("PUT", service.path(), body, version=PREVIEW))
    old = service.call("GET", service.path(), version=PREVIEW).json()
    assert old["properties"]["package"]["nodes"]["node1"]["parameters"] == {"Data Type": "String"}


@pytest.mark.parametrize(
    ("reading", "shown"),
    [("bare", "String"), ("wrapped", {"value": "String", "certificateThumbprint": ""})],
)
def test_how_the_later_version_shows_parameters_of_the_preview(reading: str, shown: Json) -> None:
    with switched(preview_parameters=reading) as service:
        body = old_definition()
        body["properties"]["package"]["nodes"]["node1"]["parameters"] = {"Data Type": "String"}
        service.finish(service.call("PUT", service.path(), body, version=PREVIEW))
        live = service.call("GET", service.path(), described=False).json()["properties"]
        assert live["package"]["nodes"]["node1"]["parameters"]["Data Type"] == shown
        live["storageAccount"]["key"] = "k"
        live["commitmentPlan"] = body["properties"]["commitmentPlan"]
        again = {"location": body["location"], "properties": live}
        assert service.call("PUT", service.path(), again, described=False).status_code == 200


def old_definition() -> Json:
    """What a client of the preview sends (recorded, 2016), without tags or a workspace."""
    body = definition(MODEL)
    properties = body["properties"]
    for name in ("exposeSampleData", "diagnostics", "machineLearningWorkspace"):
        properties.pop(name, None)
    properties.pop("realtimeConfiguration", None)
    properties["keys"] = {"primary": "PrimaryKey", "secondary": "SecondaryKey"}
    properties["storageAccount"] = {"name": "acct", "key": "storage key"}
    properties["parameters"] = {"category": "Trigonometric"}
    for node in properties["package"]["nodes"].values():
        given = node.get("parameters", {})
        node["parameters"] = {name: one["value"] for name, one in given.items()}
    properties["package"]["nodes"]["node1"]["parameters"] = {"Category": "Trigonometric"}
    del body["tags"]
    return {"name": "census", **body}


def test_a_put_of_the_preview_answers_what_was_sent_with_its_secrets(slow: Service) -> None:
    sent = old_definition()
    answer = slow.call("PUT", slow.path(), sent, version=PREVIEW)
    assert answer.status_code == 201
    shown = answer.json()
    assert list(shown) == ["id", "name", "type", "location", "properties"]
    assert shown["location"] == "South Central US"
    properties = shown["properties"]
    assert list(properties) == [name for name in ORDER if name in properties]
    assert properties.pop("provisioningState") == "Provisioning"
    assert properties == sent["properties"]
    assert properties["keys"]["primary"] == "PrimaryKey"
    assert properties["storageAccount"]["key"] == "storage key"
    tagged = slow.call("PUT", slow.path("b"), {**sent, "tags": {"a": "b"}}, version=PREVIEW)
    assert tagged.json()["tags"] == {"a": "b"}


def test_the_preview_reads_in_its_own_order_and_hides_secrets() -> None:
    with switched(put_fills="recorded") as service:
        sent = old_definition()
        service.finish(service.call("PUT", service.path(), sent, version=PREVIEW))
        shown = service.call("GET", service.path(), version=PREVIEW).json()
        assert shown["tags"] == {}
        properties = shown["properties"]
        assert list(properties) == [name for name in ORDER if name in properties]
        hidden = {"keys", "commitmentPlan", "payloadsInBlobStorage", "diagnostics"}
        assert not {*hidden, "realtimeConfiguration"} & set(properties)
        assert properties["storageAccount"] == {"name": "acct"}
        assert properties["exposeSampleData"] is False
        assert properties["parameters"] == {"category": "Trigonometric"}
        assert list(properties["package"]) == ["nodes", "edges", "graphParameters"]
        keys = service.call("GET", service.path(tail="/listKeys"), version=PREVIEW).json()
        assert keys == sent["properties"]["keys"]


def test_a_patch_of_the_preview_answers_the_definition_before_it(slow: Service) -> None:
    """Recorded: TestUpdateWebService of 2016."""
    slow.finish(slow.call("PUT", slow.path(), old_definition(), version=PREVIEW))
    before = slow.call("GET", slow.path(), version=PREVIEW).json()
    pass_time(slow.url, 1)
    body = {"properties": {"packageType": "Graph", "description": "changed"}}
    answer = slow.call("PATCH", slow.path(), body, version=PREVIEW)
    assert answer.status_code == 200
    shown = answer.json()
    assert shown["properties"].pop("provisioningState") == "Provisioning"
    assert shown["properties"].pop("modifiedOn") > before["properties"].pop("modifiedOn")
    del before["properties"]["provisioningState"]
    assert shown == before
    slow.finish(answer)
    changed = slow.call("GET", slow.path(), version=PREVIEW).json()
    assert changed["properties"]["description"] == "changed"


def test_an_operations_address_has_the_version_of_the_caller(slow: Service) -> None:
    """Recorded for PUT, PATCH and DELETE of 2016, and of 2017."""
    for version in (PREVIEW, VERSION):
        body = old_definition() if version == PREVIEW else definition(MODEL)
        for method in ("PUT", "PATCH", "DELETE"):
            sent = None if method == "DELETE" else body
            answer = slow.call(method, slow.path(), sent, version=version)
            links = [
                answer.headers[n]
                for n in ("Azure-AsyncOperation", "Location")
                if n in answer.headers
            ]
            assert len(links) == (2 if method == "DELETE" else 1)
            assert {link.rpartition("api-version=")[2] for link in links} == {version}
            if method == "DELETE":
                waiting = slow.call("GET", links[1]).headers["Location"]
                assert waiting.endswith(f"api-version={version}")
            slow.finish(answer)
