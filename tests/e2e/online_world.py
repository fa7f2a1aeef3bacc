"""A workspace of Azure Machine Learning at the emulator, and what other people do in it."""

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.world import SUBSCRIPTION, Done, Emulator, run, run_emulator

Json = Any
ENDED = {"Succeeded", "Failed", "Canceled"}


@dataclass
class Workspace:
    """The calls of another client, such as az ml: raw HTTP as it was recorded."""

    emulator: Emulator
    name: str
    version: str = "2024-04-01"

    @property
    def id(self) -> str:
        scope = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers"
        return f"{scope}/Microsoft.MachineLearningServices/workspaces/{self.name}"

    def send(
        self, method: str, path: str, body: Json = None
    ) -> tuple[int, Json, Mapping[str, str]]:
        """One call; a path is below the workspace, and a whole URL is followed as it is."""
        at = f"{self.emulator.url}{self.id}{path}?api-version={self.version}"
        request = urllib.request.Request(
            path if "://" in path else at,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.emulator.token}",
                "Content-Type": "application/json",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=60, context=self._trust()) as reply:
                return reply.status, json.loads(reply.read() or b"null"), dict(reply.headers)
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null"), dict(error.headers)

    def _trust(self) -> ssl.SSLContext | None:
        certificate = self.emulator.certificate
        return ssl.create_default_context(cafile=certificate) if certificate else None

    def get(self, path: str) -> Json:
        status, shown, _ = self.send("GET", path)
        assert status == 200, shown
        return shown

    def write(self, method: str, path: str, body: Json = None) -> str:
        """One write and its operation; returns the word at its end."""
        status, answer, headers = self.send(method, path, body)
        assert status in {200, 201, 202, 204}, answer
        operation = headers.get("Azure-AsyncOperation")
        while operation is not None:
            _, shown, _ = self.send("GET", operation)
            if shown["status"] in ENDED:
                return str(shown["status"])
            time.sleep(0.02)
        return "Succeeded"

    def register(self, version: int, name: str = "census") -> None:
        """Register a version of a model."""
        uri = f"azureml://jobs/train/outputs/model/paths/{version}"
        properties = {"modelUri": uri, "modelType": "custom_model"}
        status, answer, _ = self.send(
            "PUT", f"/models/{name}/versions/{version}", {"properties": properties}
        )
        assert status in {200, 201}, answer

    def put_endpoint(self, name: str, traffic: Json = None, **more: Json) -> str:
        """What az ml sends for an endpoint."""
        properties = {"authMode": "Key", "properties": {}, "mirrorTraffic": {}}
        body = {
            "tags": {},
            "location": "eastus",
            "identity": {"type": "SystemAssigned"},
            "properties": {**properties, "traffic": traffic or {}},
            **more,
        }
        return self.write("PUT", f"/onlineEndpoints/{name}", body)

    def put_deployment(self, endpoint: str, name: str, version: int = 1, **more: Json) -> str:
        """What az ml sends for a deployment."""
        properties = {
            "endpointComputeType": "Managed",
            "model": f"{self.id}/models/census/versions/{version}",
            "environmentId": f"{self.id}/environments/sklearn/versions/3",
            "codeConfiguration": {
                "codeId": f"{self.id}/codes/census-score/versions/1",
                "scoringScript": "score.py",
            },
            "environmentVariables": {},
            "scaleSettings": {"scaleType": "Default"},
            "requestSettings": {"maxConcurrentRequestsPerInstance": 1, "requestTimeout": "PT5S"},
            "appInsightsEnabled": False,
            "instanceType": "Standard_DS3_v2",
        }
        body = {
            "tags": {},
            "location": "eastus",
            "sku": {"name": "Default", "capacity": 1},
            "properties": {**properties, **more},
        }
        return self.write("PUT", f"/onlineEndpoints/{endpoint}/deployments/{name}", body)

    def traffic(self, endpoint: str) -> Json:
        """The split now, without zeros."""
        shares = self.get(f"/onlineEndpoints/{endpoint}")["properties"]["traffic"]
        return {name: share for name, share in shares.items() if share}

    def deployments(self, endpoint: str) -> dict[str, Json]:
        listed = self.get(f"/onlineEndpoints/{endpoint}/deployments")["value"]
        return {one["name"]: one for one in listed}

    def model(self, endpoint: str, deployment: str) -> str:
        """The version of the model of a deployment."""
        shown = self.deployments(endpoint)[deployment]["properties"]["model"]
        return str(shown).rpartition("/")[2]


@dataclass
class OnlineProject:
    """A project with endpoints of one workspace."""

    folder: Path
    workspace: Workspace
    environment: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "manifests").mkdir(parents=True, exist_ok=True)
        url = self.workspace.emulator.url
        text = f"""apiVersion: reconciler/v1
kind: Project
metadata: {{name: census}}
spec:
  cloud: {{resourceManager: "{url}"}}
  defaults: {{subscription: {SUBSCRIPTION}, resourceGroup: rg, workspace: {self.workspace.name}}}
  guards: {{blobs: skip}}
"""
        (self.folder / "reconciler.yaml").write_text(text)

    def declare(self, name: str = "census", **spec: Json) -> Path:
        """Write the manifest of an endpoint; JSON is YAML."""
        file = self.folder / "manifests" / f"{name}.yaml"
        document = {
            "apiVersion": "reconciler/v1",
            "kind": "OnlineEndpoint",
            "metadata": {"name": name},
            "spec": spec,
        }
        file.write_text(json.dumps(document, indent=2))
        return file

    def run(self, *arguments: str) -> Done:
        done = run(self.folder, *arguments, env=self.environment)
        self.said.append(done.said)
        return done

    def check_silence(self, *secrets: str) -> None:
        """No output and no file may hold one of these, or the address of an operation."""
        files = (file for file in self.folder.rglob("*") if file.is_file())
        texts = [*self.said, *(file.read_text(errors="replace") for file in files)]
        for secret in (*secrets, "mfeOperations"):
            assert not any(secret in text for text in texts), secret

    def apply(self, *arguments: str) -> Done:
        done = self.run("apply", "--auto-approve", *arguments)
        assert done.code == 0, done.said
        return done

    def plan(self, *arguments: str) -> Json:
        """The plan as a document for machines."""
        done = self.run("plan", "--json", *arguments)
        assert done.out.startswith("{"), done.said
        return json.loads(done.out)

    def changes(self, *arguments: str) -> list[str]:
        """The addresses that a plan changes; empty for an empty plan."""
        planned = self.plan(*arguments)["resource_changes"]
        acts = (one for one in planned if one["change"]["actions"] != ["no-op"])
        return [one["address"] for one in acts]


def deployment(version: int = 1, **more: Json) -> Json:
    """A deployment in the words of az ml."""
    return {
        "model": f"azureml:census:{version}",
        "environment": "azureml:sklearn:3",
        "code_configuration": {"code": "azureml:census-score:1", "scoring_script": "score.py"},
        "instance_type": "Standard_DS3_v2",
        "instance_count": 1,
        **more,
    }


@contextmanager
def open_online(
    folder: Path, switches: Mapping[str, str] | None = None, *options: str
) -> Iterator[OnlineProject]:
    """A project, and an emulator of its own with fast operations and a log of requests."""
    folder.mkdir(exist_ok=True)
    chosen = [f"--switch={name}={value}" for name, value in (switches or {}).items()]
    fast = ("--no-blob", "--operation-seconds=0.02", f"--log={folder / 'requests.log'}")
    with run_emulator(*fast, *chosen, *options) as emulator:
        workspace = Workspace(emulator, "ws")
        for version in range(1, 6):
            workspace.register(version)
        yield OnlineProject(folder / "project", workspace)


def read_requests(project: OnlineProject) -> list[Json]:
    """What the emulator was asked so far."""
    lines = (project.folder.parent / "requests.log").read_text().splitlines()
    return [json.loads(line) for line in lines]
