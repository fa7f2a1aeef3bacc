"""What a web service says of itself: its scoring calls and their ports, in Swagger 2.0."""

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.contract.classic import MODEL, TRAINING, Classic, Json, score
from tests.contract.world import HERE, Service, code_of
from tests.e2e.world import definition

pytestmark = pytest.mark.contract
RECORDED = json.loads((HERE / "recorded" / "service-swagger.json").read_bytes())


def fetch(url: str, location: str, **query: str) -> requests.Response:
    """The description; it is asked for without a key."""
    return requests.get(f"{url}{urlsplit(location).path}", params=query, timeout=120)


def describe(classic: Classic) -> Json:
    location = f"{classic.get('default')['ApiLocation']}/swagger.json"
    answer = fetch(classic.url, location)
    assert answer.status_code == 200, answer.text
    return answer.json()


def check_references(document: Json, node: Any) -> None:
    """Every reference leads to a definition."""
    if isinstance(node, dict):
        target = node.get("$ref", "")
        assert not target or target.rpartition("/")[2] in document["definitions"]
    for below in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        check_references(document, below)


def test_an_endpoint_is_described_as_the_recorded_one_is(classic: Classic) -> None:
    shown, address = describe(classic), urlsplit(classic.get("default")["ApiLocation"])
    assert list(shown) == list(RECORDED)
    for part in ("swagger", "schemes", "consumes", "produces", "paths", "securityDefinitions"):
        assert shown[part] == RECORDED[part]
    assert (shown["host"], shown["basePath"]) == (f"{address.hostname}:443", address.path)
    assert shown["info"] == {
        **RECORDED["info"],
        "title": "Bikes",
        "x-endpoint-name": "default",
        "x-endpoint-description": "",
    }
    for name in ("ExecutionResults", "ExecutionInputs"):
        assert shown["definitions"][name] == RECORDED["definitions"][name]
    check_references(shown, shown)


def test_the_management_address_of_an_endpoint_gives_the_same_description(
    classic: Classic,
) -> None:
    help_page = classic.get("default")["HelpLocation"]
    location = f"{help_page.replace('studio.azureml.net/apihelp', 'management.azureml.net')}"
    answer = fetch(classic.url, f"{location}/apidocument")
    assert (answer.status_code, answer.json()) == (200, describe(classic))
    for other in (f"{location}x/apidocument", location.replace(classic.service, "0" * 32)):
        unknown = fetch(classic.url, other.removesuffix("/apidocument") + "/apidocument")
        assert code_of(unknown) == (404, "NotFound", "WebServiceNotFound")
    assert fetch(classic.url, location).status_code == 401  # the endpoint itself needs a token


def test_a_service_that_trains_describes_no_scores(classic: Classic) -> None:
    shown = describe(Classic(classic.url, TRAINING))
    assert "properties" not in shown["definitions"]["ExecutionOutputs"]


def test_what_is_described_is_what_is_answered(classic: Classic) -> None:
    shown, endpoint = describe(classic), classic.get("default")
    answer = score(classic.url, endpoint["ApiLocation"], endpoint["PrimaryKey"], format="swagger")
    ((port, (row,)),) = answer.json()["Results"].items()
    outputs = shown["definitions"]["ExecutionOutputs"]["properties"]
    assert outputs == {port: {"items": {"$ref": f"#/definitions/{port}Item"}, "type": "array"}}
    assert set(shown["definitions"][f"{port}Item"]["required"]) <= set(row)


def test_a_new_service_is_described_by_its_definition(service: Service) -> None:
    body = definition("https://a.blob.core.windows.net/m/x.ilearner")
    body["properties"] |= {"title": "Census", "description": "who earns what"}
    service.finish(service.call("PUT", service.path(), body))
    location = service.properties()["swaggerLocation"]
    shown = fetch(service.url, location, **{"api-version": "2.0"}).json()
    address = urlsplit(location.removesuffix("/swagger.json"))
    assert (shown["host"], shown["basePath"]) == (f"{address.hostname}:443", address.path)
    assert shown["info"]["title"] == "Census"
    assert shown["info"]["description"] == "who earns what"
    said = body["properties"]["input"]["properties"]["input1"]["properties"]
    item = shown["definitions"]["input1Item"]
    assert item["required"] == list(said) == list(item["properties"])
    assert item["properties"]["age"] == {"type": "integer", "format": "int32"}
    inputs = shown["definitions"]["ExecutionInputs"]["properties"]
    assert inputs == {"input1": {"items": {"$ref": "#/definitions/input1Item"}, "type": "array"}}
    check_references(shown, shown)


def test_a_port_of_which_the_definition_says_nothing_has_no_columns(service: Service) -> None:
    body = definition("https://a.blob.core.windows.net/m/x.ilearner")
    service.finish(service.call("PUT", service.path(), body))
    location = service.properties()["swaggerLocation"]
    unsaid: list[Json] = [{}, None]
    for port in unsaid:
        body["properties"]["input"]["properties"] = {"input1": port}
        service.finish(service.call("PUT", service.path(), body))
        shown = fetch(service.url, location).json()
        assert shown["definitions"]["input1Item"] == {"properties": {}}


def test_what_is_not_there_and_what_is_not_asked_so(classic: Classic) -> None:
    location = f"{classic.get('default')['ApiLocation']}/swagger.json"
    unknown = fetch(classic.url, location.replace("/services/", "/services/0"))
    assert code_of(unknown) == (404, "NotFound", "WebServiceNotFound")
    odd = fetch(classic.url, location, **{"api-version": "1.0"})
    assert code_of(odd) == (400, "BadArgument", "BadVersionCall")
    written = requests.post(f"{classic.url}{urlsplit(location).path}", timeout=120)
    assert (written.status_code, written.headers["Allow"]) == (405, "GET")
    assert MODEL not in fetch(classic.url, location).text
