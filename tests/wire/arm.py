"""Resource Manager with one workspace, for tests of the provider of online endpoints.

It answers as recordings show: 201 for every PUT, an echo as its reply, and the state only after
the operation has ended. A test may put any answer before its own.
"""

import json
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.scripted import Answer, Call, Scripted, run_scripted

Json = Any
SCOPE = (
    "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/ws"
)
ENDPOINT = f"{SCOPE}/onlineEndpoints/census"
TYPE = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
# A query as Resource Manager signs the address of an operation with, of the recorded length.
SIGNED = f"&t=638761877358186131&c={'MIIHhzCC' * 320}&s={'c2lnbmF0dXJl' * 28}&h=ODk3Nzg5"
YEAR_1 = "0001-01-01T00:00:00+00:00"


def make_guid(number: int) -> str:
    return f"6ce2ca34-c118-4ba0-85d5-{number:012x}"


def refusal(status: int, code: str, message: str = "m", detail: str = "") -> Answer:
    """An error in the envelope of the service, with one detail as the recordings have it."""
    details = [{"code": code, "message": message, "details": [], "additionalInfo": []}]
    outer = {"code": detail or "BadRequest", "message": "The request is invalid."}
    return Answer(status, {"error": {**outer, "details": details, "additionalInfo": []}})


NO_ENDPOINT = refusal(404, "NoSuchEndpoint", "There is no endpoint with name: census in ws")


def deployment(name: str = "blue", version: int = 1, **properties: Json) -> Json:
    """The document of a deployment as a GET shows it (recorded in 2025)."""
    return {
        "id": f"{ENDPOINT}/deployments/{name}",
        "name": name,
        "type": f"{TYPE}/deployments",
        "properties": {
            "description": None,
            "properties": {"AzureAsyncOperationUri": operation_url("odidp", version)},
            "codeConfiguration": {"codeId": f"{SCOPE}/codes/c/versions/1", "scoringScript": "s.py"},
            "environmentId": f"{SCOPE}/environments/sklearn/versions/3",
            "environmentVariables": {
                "WORKER_COUNT": "2",
                "AZUREML_MODEL_DIR": f"/var/azureml-app/azureml-models/census/{version}",
                "AZUREML_ENTRY_SCRIPT": "s.py",
                "AML_APP_ROOT": "/var/azureml-app/onlinescoring",
            },
            "scaleSettings": {"scaleType": "Default"},
            "requestSettings": {
                "maxQueueWait": "PT0S",
                "requestTimeout": "PT5S",
                "maxConcurrentRequestsPerInstance": 1,
            },
            "modelMountPath": None,
            "appInsightsEnabled": False,
            "provisioningState": "Succeeded",
            "instanceType": "STANDARD_F2S_V2",
            "model": f"{SCOPE}/models/census/versions/{version}",
            "egressPublicNetworkAccess": "Enabled",
            "dataCollector": None,
            "endpointComputeType": "Managed",
            **properties,
        },
        "systemData": {"createdAt": "2025-02-26T17:16:04.1111164+00:00", "createdBy": "A User"},
        "tags": {},
        "location": "eastus",
        "kind": "Managed",
        "sku": {"name": "Default", "tier": "Standard", "capacity": 2},
    }


def endpoint(traffic: Json = None, **properties: Json) -> Json:
    """The document of the endpoint as a GET shows it."""
    return {
        "id": ENDPOINT,
        "name": "census",
        "type": TYPE,
        "properties": {
            "description": None,
            "properties": {
                "azureml.onlineendpointid": ENDPOINT.lower(),
                "AzureAsyncOperationUri": operation_url("oeidp", 1),
            },
            "scoringUri": "https://census.eastus.inference.ml.azure.com/score",
            "swaggerUri": "https://census.eastus.inference.ml.azure.com/swagger.json",
            "authMode": "Key",
            "provisioningState": "Succeeded",
            "compute": None,
            "traffic": traffic or {},
            "mirrorTraffic": {},
            "publicNetworkAccess": "Enabled",
            **properties,
        },
        "systemData": {
            "createdAt": "2025-02-26T17:10:00+00:00",
            "lastModifiedAt": "2025-02-26T17:10:00+00:00",
        },
        "tags": {},
        "location": "eastus",
        "kind": "Managed",
        "identity": {"type": "SystemAssigned", "principalId": "p", "tenantId": "t"},
    }


def operation_url(kind: str, number: int, host: str = "https://management.azure.com") -> str:
    """The address of an operation, unsigned."""
    above = f"{host}/subscriptions/s/providers/Microsoft.MachineLearningServices/locations/eastus"
    workspace = "11111111-2222-3333-4444-555555555555"
    guid = make_guid(number)
    return f"{above}/mfeOperationsStatus/{kind}:{workspace}:{guid}?api-version=2024-04-01"


def status(word: str, **more: Json) -> Answer:
    """The status of an operation as it was recorded in 2025."""
    body = {"id": "/o", "name": "o", "status": word, "endTime": YEAR_1, "percentComplete": 0.0}
    return Answer(200, {**body, **more})


@dataclass
class Arm:
    """The state of the service. `before` are answers to the next calls of a method and path.

    A path begins after the workspace; "operation" is that of any operation. `polls` are the answers
    before the end of each operation.
    """

    endpoint: Json = None
    deployments: dict[str, Json] = field(default_factory=dict)
    before: dict[tuple[str, str], deque[Answer]] = field(default_factory=dict)
    polls: list[Answer] = field(default_factory=list)
    signed: str = SIGNED
    number: int = 1  # of the last operation
    running: dict[str, list[Answer]] = field(default_factory=dict)

    def say(self, method: str, path: str, *answers: Answer) -> None:
        """Give these answers to the next calls."""
        self.before.setdefault((method, path), deque()).extend(answers)

    def answer(self, call: Call, _number: int) -> Answer:
        path, _, query = call.target.partition("?")
        if "/mfeOperationsStatus/" in path or "/mfeOperationResults/" in path:
            return self._poll(path.rpartition(":")[2], query)
        below = path.removeprefix(SCOPE)
        waiting = self.before.get((call.method, below))
        if waiting:
            return waiting.popleft()
        assert "api-version=2024-04-01" in query, call.target
        return self._serve(call, below)

    def _serve(self, call: Call, below: str) -> Answer:
        parts = below.strip("/").split("/")
        own = parts[0] == "onlineEndpoints" and len(parts) > 1
        if self.endpoint is None and own and call.method != "PUT":
            return Answer(204) if call.method == "DELETE" else NO_ENDPOINT
        match call.method, parts:
            case "GET", _:
                return self._show(parts)
            case "DELETE", ["onlineEndpoints", _]:
                self.endpoint, self.deployments = None, {}
                return self._accept(call, Answer(202, b"null"))
            case "DELETE", ["onlineEndpoints", _, "deployments", name]:
                gone = self.deployments.pop(name, None)
                return Answer(204) if gone is None else self._accept(call, Answer(202))
            case "POST", _:
                return refusal(403, "AuthorizationFailed")
            case method, ["onlineEndpoints", _, *rest]:
                return self._write(call, method, rest[1] if rest else "", json.loads(call.body))
        return refusal(404, "ResourceNotFound")

    def _show(self, parts: list[str]) -> Answer:
        match parts:
            case [""]:
                return Answer(200, {"id": SCOPE, "location": "eastus", "properties": {}})
            case ["onlineEndpoints"]:
                return Answer(200, {"value": [self.endpoint] if self.endpoint else []})
            case ["onlineEndpoints", _]:
                return Answer(200, self.endpoint)
            case ["onlineEndpoints", _, "deployments"]:
                return Answer(200, {"value": list(self.deployments.values())})
            case ["onlineEndpoints", _, "deployments", name] if name in self.deployments:
                return Answer(200, self.deployments[name])
            case ["onlineEndpoints", _, "deployments", _]:
                return refusal(404, "NoSuchDeployment")
            case [_, _, "versions", version]:
                return Answer(200, {"name": version, "properties": {"isArchived": False}})
        return refusal(404, "ResourceNotFound")

    def _write(self, call: Call, method: str, name: str, body: Json) -> Answer:
        made = deployment(name) if name else endpoint()
        old = self.deployments.get(name) if name else self.endpoint
        base = old or made
        self.number += 1
        if method == "PATCH":
            new = {**base, **body, "sku": {**base.get("sku", {}), **body.get("sku", {})}}
        else:
            server = made["properties"]
            new = {**made, **body, "properties": {**server, **body["properties"]}}
        kind = "odidp" if name else "oeidp"
        below = {
            **new["properties"].get("properties", {}),
            "AzureAsyncOperationUri": operation_url(kind, self.number),
        }
        new["properties"] = {**new["properties"], "properties": below}
        if name:
            self.deployments[name] = new
        else:
            self.endpoint = new
        # The reply is an echo: the state word is that of a create, and much is missing.
        echo = {**base, "properties": {**base["properties"], "provisioningState": "Creating"}}
        return self._accept(call, Answer(202) if method == "PATCH" else Answer(201, echo))

    def _accept(self, call: Call, answer: Answer) -> Answer:
        self.number += 1
        self.running[make_guid(self.number)] = list(self.polls)
        host = f"http://{call.headers['Host']}"
        url = operation_url("odidp", self.number, host) + self.signed
        results = url.replace("mfeOperationsStatus", "mfeOperationResults")
        links = {"Azure-AsyncOperation": url, "Location": results}
        return Answer(
            answer.status, answer.body, {**links, "x-ms-async-operation-timeout": "PT30M"}
        )

    def _poll(self, guid: str, query: str) -> Answer:
        assert query == f"api-version=2024-04-01{self.signed}", "the address was changed"
        left = self.running[guid]
        return left.pop(0) if left else status("Succeeded")


@contextmanager
def run_arm(arm: Arm) -> Iterator[Scripted]:
    with run_scripted(arm.answer) as server:
        yield server
