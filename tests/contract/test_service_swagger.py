"""What a web service says of itself: its calls and their ports, in Swagger 2.0."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.contract.classic import (
    MODEL,
    TRAINING,
    WORKSPACE,
    Classic,
    Json,
    example,
    run_classic,
    score,
    write_world,
)
from tests.contract.world import HERE, Service, code_of
from tests.e2e.world import definition

pytestmark = pytest.mark.contract
RECORDED = json.loads((HERE / "recorded" / "service-swagger.json").read_bytes())
JOBS = ("BatchExecutionRequest", "AzureBlobDataReference", "BatchExecutionStatus")
BLOB = {"$ref": "#/definitions/AzureBlobDataReference"}


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
    for part in ("swagger", "schemes", "consumes", "produces", "securityDefinitions"):
        assert shown[part] == RECORDED[part]
    # It trains nothing, so the emulator runs no batch jobs of it.
    recorded = RECORDED["paths"]
    assert shown["paths"] == {name: recorded[name] for name in recorded if "/jobs" not in name}
    assert not any(name.startswith(("Batch", "AzureBlob")) for name in shown["definitions"])
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


def test_a_service_that_trains_describes_its_jobs_and_no_scores(tmp_path: Path) -> None:
    training = {
        "label": "income",
        "data": "input1",
        "outputs": {"output1": "evaluation", "output2": "model"},
        "parameters": ["Penalty"],
    }
    published = {"id": TRAINING, "name": "Census", "kind": "training", "training": training}
    world = write_world(tmp_path, {"id": WORKSPACE, "webServices": [published]})
    with run_classic(f"--world={world}") as running:
        shown = describe(Classic(running.url, TRAINING))
    assert shown["paths"] == RECORDED["paths"]
    definitions = shown["definitions"]
    assert "properties" not in definitions["ExecutionOutputs"]
    assert {name: definitions[name] for name in JOBS} == {
        name: RECORDED["definitions"][name] for name in JOBS
    }
    recorded = RECORDED["definitions"]["BatchOutputs"]
    assert definitions["BatchOutputs"] == {
        **recorded,
        "properties": {"output1": BLOB, "output2": recorded["properties"]["model"]},
    }
    assert definitions["BatchInputs"]["properties"] == {"input1": BLOB}
    assert definitions["GlobalParameters"]["properties"] == {"Penalty": {"description": ""}}
    check_references(shown, shown)


def test_a_new_service_that_trains_gives_its_model_to_jobs_only(service: Service) -> None:
    body = example("training.webservice.put")
    graph = body["properties"]["package"]["graphParameters"]
    more = {"Share": "Double", "Path": "String", "Fast": "Boolean", "Kind": "Enumerated"}
    (known,) = graph.values()
    graph |= {name: {**known, "type": kind} for name, kind in more.items()}
    defaults = {name: {"value": "1", "certificateThumbprint": ""} for name in more}
    body["properties"]["parameters"] |= defaults
    service.finish(service.call("PUT", service.path(), body))
    shown = fetch(service.url, service.properties()["swaggerLocation"]).json()
    ports = set(body["properties"]["output"]["properties"])
    assert set(shown["definitions"]["BatchOutputs"]["properties"]) == ports
    assert ports - set(shown["definitions"]["ExecutionOutputs"]["properties"]) == {"output2"}
    typed = shown["definitions"]["GlobalParameters"]["properties"]
    recorded = RECORDED["definitions"]["GlobalParameters"]["properties"]
    for name, like in (("Number of trees", "Worker ID"), ("Share", "Minimum F1")):
        limits = ("minimum", "maximum")
        assert typed[name] == {k: v for k, v in recorded[like].items() if k not in limits}
    assert [typed[name]["type"] for name in ("Path", "Fast", "Kind")] == [
        "string",
        "boolean",
        "string",
    ]
    assert list(shown["paths"]) == list(RECORDED["paths"])
    assert list(shown["definitions"])[:10] == list(RECORDED["definitions"])[:10]
    check_references(shown, shown)


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
