"""Requests that nobody would send: the emulator refuses them, and goes on."""

import contextlib
import http.client
import json
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.emulator.azureml.state import OnlineWorkspace
from reconciler.emulator.switches import SWITCHES
from tests.e2e.world import SUBSCRIPTION, clean_environment, definition
from tests.hostile import TEXTS, VALUES, bent, encode, pick, torn
from tests.laws import examples

pytestmark = pytest.mark.property
Json = Any
PATIENCE_S = 60
PLAN = {
    "location": "South Central US",
    "sku": {"name": "S1", "capacity": 1},
    "tags": {"a": "b"},
    "destinationPlanId": "/plan",
}
WHOLE = definition("https://acct.blob.core.windows.net/m/a.ilearner")
PART = {
    "tags": {"a": "b"},
    "properties": {
        "packageType": "Graph",
        "title": "x",
        **{
            name: WHOLE["properties"][name]
            for name in ("assets", "package", "input", "diagnostics")
        },
    },
}
ONLINE: Any = {
    "location": "eastus",
    "tags": {"a": "b"},
    "identity": {"type": "SystemAssigned"},
    "properties": {
        "authMode": "Key",
        "keys": {"primaryKey": "a"},
        "description": "x",
        "properties": {"a": "b"},
        "publicNetworkAccess": "Enabled",
        "traffic": {"census": 0},
        "mirrorTraffic": {},
    },
}
ONLINE_EMPTY: Any = {"location": "eastus", "properties": {"authMode": "Key", "traffic": {}}}
ONLINE_DEPLOYMENT: Any = {
    "location": "eastus",
    "tags": {"a": "b"},
    "sku": {"name": "Default", "capacity": 1},
    "properties": {
        "endpointComputeType": "Managed",
        "instanceType": "Standard_F4s_v2",
        "model": "azureml://registries/r/models/m/versions/1",
        "environmentId": "azureml://registries/r/environments/m/versions/1",
        "codeConfiguration": {"codeId": None, "scoringScript": "score.py"},
        "environmentVariables": {"A": "1", "AZUREML_MODEL_DIR": "/m/1"},
        "properties": {"a": "b"},
        "requestSettings": {"requestTimeout": "PT5S", "maxConcurrentRequestsPerInstance": 1},
        "scaleSettings": {"scaleType": "Default"},
        "livenessProbe": {"period": "PT1S", "failureThreshold": 3},
        "dataCollector": {"collections": {}},
        "appInsightsEnabled": False,
    },
}
ONLINE_PATCH: Any = {"tags": {"a": "b"}, "sku": {"capacity": 2}}
MODEL: Any = {
    "properties": {
        "modelUri": "azureml://jobs/a/outputs/b/paths/c",
        "modelType": "custom_model",
        "tags": {"a": "b"},
        "properties": {"a": "b"},
        "isArchived": False,
        "flavors": {},
    }
}
# By a word of the path; the first one that is in it counts.
ONLINE_BODIES: dict[str, list[Any]] = {
    "getLogs": [{"containerType": "InferenceServer", "tail": 10}],
    "regenerateKeys": [{"keyType": "Primary", "keyValue": "a"}],
    "score": [{"data": [[1.0, "a"]]}, [[1.0]]],
    "models": [MODEL],
    "deployments": [ONLINE_DEPLOYMENT, ONLINE_PATCH],
    "onlineEndpoints": [ONLINE, ONLINE_EMPTY, ONLINE_PATCH],
}
SEGMENTS = st.one_of(
    st.sampled_from(["census", "other", "listKeys", "CreateRegionalBlob", SUBSCRIPTION]),
    TEXTS.map(lambda text: quote(text.encode("utf-8", "surrogatepass"), safe="")),
)
GROUP = "subscriptions/{}/resourceGroups/{}/providers/Microsoft.MachineLearning"
PATHS = [
    "subscriptions/{}/providers/Microsoft.MachineLearning/webServices",
    f"{GROUP}/webServices",
    f"{GROUP}/webServices/{{}}",
    f"{GROUP}/webServices/{{}}/listKeys",
    f"{GROUP}/webServices/{{}}/CreateRegionalBlob",
    f"{GROUP}/commitmentPlans",
    f"{GROUP}/commitmentPlans/{{}}",
    f"{GROUP}/commitmentPlans/{{}}/commitmentAssociations/{{}}/move",
    "subscriptions/{}/providers/Microsoft.MachineLearning/locations/{}/operationsStatus/{}",
    "subscriptions/{}/providers/Microsoft.MachineLearning/locations/{}/operationresults/{}",
    "{}/{}",
]
PATHS += [PATHS[2]] * 12
ML = "providers/Microsoft.MachineLearningServices"
WORKSPACE = f"subscriptions/{{}}/resourceGroups/{{}}/{ML}/workspaces/{{}}"
# The id of the workspace that the usual names have.
SCORING = f"online/{OnlineWorkspace(SUBSCRIPTION, 'census', 'census').id}/{{}}"
ONLINE_PATHS = [
    WORKSPACE,
    f"{WORKSPACE}/onlineEndpoints",
    f"{WORKSPACE}/onlineEndpoints/{{}}/deployments",
    f"{WORKSPACE}/onlineEndpoints/{{}}/deployments/{{}}/skus",
    f"{WORKSPACE}/onlineEndpoints/{{}}/{{}}",
    f"{WORKSPACE}/onlineEndpoints/{{}}/listKeys",
    f"{WORKSPACE}/onlineEndpoints/{{}}/regenerateKeys",
    f"{WORKSPACE}/onlineEndpoints/{{}}/token",
    f"{WORKSPACE}/onlineEndpoints/{{}}/deployments/{{}}/getLogs",
    f"{WORKSPACE}/models",
    f"{WORKSPACE}/models/{{}}/versions",
    f"{WORKSPACE}/datastores/{{}}",
    f"{SCORING}/score",
    f"{SCORING}/swagger.json",
    f"subscriptions/{{}}/{ML}/locations/{{}}/mfeOperationsStatus/{{}}",
    f"subscriptions/{{}}/{ML}/locations/{{}}/mfeOperationResults/{{}}",
]
ONLINE_PATHS += [f"{WORKSPACE}/onlineEndpoints/{{}}"] * 8
ONLINE_PATHS += [f"{WORKSPACE}/models/{{}}/versions/{{}}"] * 3
ONLINE_PATHS += [f"{WORKSPACE}/onlineEndpoints/{{}}/deployments/{{}}"] * 8
PATHS += ONLINE_PATHS
WRITES = ["PUT"] * 3 + ["PATCH"] * 6 + ["GET", "DELETE"]
METHODS = {
    "": ["GET", "PUT", "PATCH", "POST", "DELETE", "HEAD", "OPTIONS", "BREW"],
    "webServices": ["GET"],
    "listKeys": ["GET", "POST"],
    **{name: ["POST"] for name in ("regenerateKeys", "token", "getLogs", "score")},
    **{name: ["GET"] for name in ("models", "versions", "swagger.json")},
    "CreateRegionalBlob": ["POST"],
    "commitmentPlans": ["GET"],
    "move": ["POST"],
    "workspaces": ["GET"],
    "onlineEndpoints": ["GET"],
    "deployments": ["GET"],
    "skus": ["GET"],
    "{}": WRITES,
}


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    body: bytes
    headers: dict[str, str]


@st.composite
def requests(draw: st.DrawFn) -> Request:
    path = draw(pick(PATHS))
    usual = draw(pick([True, True, True, False]))
    segments = [
        ("census" if number else SUBSCRIPTION) if usual else draw(SEGMENTS)
        for number in range(path.count("{}"))
    ]
    versions = ["2024-04-01", "2022-02-01-preview"]
    if path not in ONLINE_PATHS:
        versions = ["2017-01-01", "2016-05-01-preview"]
    query = {"api-version": draw(st.sampled_from(versions))}
    for name in draw(
        pick(
            [[]] * 6
            + [["$skiptoken"], ["region"], ["api-version"], ["x", "region"], ["count", "t", "s"]]
        )
    ):
        query[name] = draw(st.one_of(TEXTS, st.sampled_from(["cGFnZTotNQ", "cGFnZTo5OTk5OTk5OQ"])))
    written = "&".join(
        f"{quote(name)}={quote(value.encode('utf-8', 'surrogatepass'), safe='')}"
        for name, value in query.items()
    )
    method = draw(pick(METHODS[path.rpartition("/")[2]] if usual else METHODS[""]))
    body = b"" if method in {"GET", "HEAD", "DELETE"} else draw(bodies(path))
    headers = {}
    headers["Authorization"] = draw(
        pick(["Bearer emulator"] * 20 + ["Bearer \u00e9", "bearer", "", "Basic x"])
    )
    target = f"/{path.format(*segments)}?{written}"
    return Request(method, target[:6000], body, headers)


@st.composite
def bodies(draw: st.DrawFn, path: str) -> bytes:
    usual = PLAN if "commitmentPlans" in path else draw(st.sampled_from([WHOLE, PART]))
    whole = ["whole"]
    if path in ONLINE_PATHS:
        sort = next((one for one in ONLINE_BODIES if f"/{one}" in path), "onlineEndpoints")
        usual = draw(st.sampled_from(ONLINE_BODIES[sort]))
        whole = ["whole"] * 4  # only what exists can be changed
    form = draw(pick(["bent"] * 6 + [*whole, "any", "torn"]))
    if form == "whole":
        return encode(usual)
    if form == "torn":
        return draw(torn(encode(usual)))
    return encode(draw(VALUES) if form == "any" else draw(bent(usual)))


@dataclass
class Emulated:
    """A running emulator; `errors` is what it complained of."""

    host: str
    port: int
    errors: Path

    def send(self, request: Request) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE_S)
        connection.putrequest(request.method, request.target, skip_accept_encoding=True)
        for name, value in request.headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(request.body)))
        connection.endheaders(request.body)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        plain = answer.status == 400 and answer.headers["Content-Type"].startswith("text/plain")
        return answer.status, b"" if plain else body

    def speak(self, data: bytes) -> bytes:
        """Say something that need not be HTTP; returns all that is said to it."""
        with socket.create_connection((self.host, self.port), timeout=PATIENCE_S) as talk:
            said = b""
            with contextlib.suppress(ConnectionError):
                talk.sendall(data)
                talk.shutdown(socket.SHUT_WR)
                while part := talk.recv(65_536):
                    said += part
        return said


@contextmanager
def run_strict(*options: str) -> Iterator[Emulated]:
    """An emulator whose complaints are kept; it must end cleanly."""
    with tempfile.NamedTemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "reconciler", "emulator", "--port=0", "--no-blob", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors.fileno(),
            env=clean_environment(),
        )
        with process:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["resourceManager"]
            host, _, port = url.removeprefix("http://").partition(":")
            try:
                yield Emulated(host, int(port), Path(errors.name))
            finally:
                process.terminate()
                code = process.wait(timeout=120)
        assert code == 0


USUAL = ("--operation-seconds=0", "--seed=1")
OTHERWISE = tuple(
    f"--switch={one.name}={one.values[-1]}" for one in SWITCHES if len(one.values) > 1
)


@pytest.fixture(scope="module", params=[USUAL, (*USUAL, *OTHERWISE)], ids=["usual", "otherwise"])
def emulated(request: pytest.FixtureRequest) -> Iterator[Emulated]:
    with run_strict(*request.param) as running:
        make_online(running)
        yield running


def make_online(emulated: Emulated) -> None:
    """Make an endpoint of the usual names, a deployment and its traffic."""
    scope = WORKSPACE.format(SUBSCRIPTION, "census", "census")
    endpoint = f"/{scope}/onlineEndpoints/census"
    shares = {"authMode": "Key", "traffic": {"census": 100}}
    routed = {**ONLINE_EMPTY, "properties": shares}
    # It names nothing that is registered: a switch demands that.
    given = {**ONLINE_DEPLOYMENT["properties"], "model": None, "environmentId": None}
    bare = {**ONLINE_DEPLOYMENT, "properties": given}
    for path, body in (
        (endpoint, ONLINE_EMPTY),
        (f"{endpoint}/deployments/census", bare),
        (endpoint, routed),
    ):
        target = f"{path}?api-version=2024-04-01"
        headers = {"Authorization": "Bearer emulator"}
        assert emulated.send(Request("PUT", target, encode(body), headers))[0] == 201


@given(request=requests())
@examples(150)
def test_any_request_is_answered(emulated: Emulated, request: Request) -> None:
    status, body = emulated.send(request)
    assert status < 500, body
    if body:
        json.loads(body.decode(), parse_constant=pytest.fail)
    assert emulated.errors.read_text() == ""


@given(data=st.data())
@examples(30)
def test_any_bytes_are_refused(emulated: Emulated, data: st.DataObject) -> None:
    request = data.draw(requests())
    lines = [f"{request.method} {request.target} HTTP/1.1", "Host: x", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    lines += [f"Content-Length: {len(request.body)}", "", ""]
    said = emulated.speak(data.draw(torn("\r\n".join(lines).encode() + request.body)))
    assert re.match(rb"HTTP/1\.[01] [1-4]|$", said), said[:200]
    assert emulated.errors.read_text() == ""
