"""Plays parts by the package azure-ai-ml, without any patch of it.

Arguments: the address of the emulator, its token, and the part: `life`, `faults`, or `read` with
the name of an endpoint. The last line that it prints is a JSON text of what it saw.
"""

import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from azure.ai.ml import MLClient
from azure.ai.ml.entities import (
    CodeConfiguration,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
    OnlineRequestSettings,
)
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
RECORD = {"data": [[1, 2, 3]]}
PATHS = "azureml://datastores/workspaceblobstore/paths"


class Credential:
    """The token that the emulator takes."""

    def __init__(self, token: str) -> None:
        self.token = token

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken(self.token, int(time.time()) + 3600)


def connect(url: str, token: str, *, asks: bool) -> MLClient:
    """The client of the emulator's cloud, which it is given or asks for (`asks`)."""
    place = (Credential(token), SUBSCRIPTION, "rg", "ws")
    usual: dict[str, Any] = {"polling_interval": 0.1, "enable_telemetry": False}
    if asks:
        metadata = f"{url}/metadata/endpoints?api-version=2019-05-01"
        os.environ["ARM_CLOUD_METADATA_URL"] = metadata
        return MLClient(*place, **usual)
    cloud = {
        "azure_portal": url,
        "resource_manager": url,
        "active_directory": url,
        "aml_resource_id": url,
        "storage_endpoint": "core.windows.net",
        "registry_discovery_endpoint": url,
    }
    return MLClient(*place, cloud="Emulator", cloud_metadata=cloud, **usual)


def describe(name: str, version: str, **more: Any) -> ManagedOnlineDeployment:
    settings = OnlineRequestSettings(request_timeout_ms=20000)
    usual = {
        "name": name,
        "endpoint_name": "census",
        "model": f"azureml:census:{version}",
        "environment": "azureml:sklearn:3",
        "code_configuration": CodeConfiguration("azureml:census-score:1", "score.py"),
        "instance_type": "Standard_DS3_v2",
        "instance_count": 1,
        "environment_variables": {"WORKER_COUNT": "2"},
        "request_settings": settings,
    }
    return ManagedOnlineDeployment(**{**usual, **more})


def life(client: MLClient) -> dict[str, Any]:
    """The whole life of an endpoint; what was seen of it."""
    endpoints, deployments = client.online_endpoints, client.online_deployments
    seen: dict[str, Any] = {}
    for version in ("1", "2"):
        model = Model(name="census", version=version, path=f"{PATHS}/m/{version}.ilearner")
        seen[f"model {version}"] = client.models.create_or_update(model).id
    seen["latest"] = client.models.get("census", label="latest").version
    seen["models"] = sorted(one.version for one in client.models.list("census"))
    made = ManagedOnlineEndpoint(name="census", auth_mode="key", tags={"team": "risk"})
    created = endpoints.begin_create_or_update(made).result()
    seen["created"] = [created.provisioning_state, created.traffic, created.identity.type]
    blue = deployments.begin_create_or_update(describe("blue", "1")).result()
    seen["blue"] = [
        blue.provisioning_state,
        blue.instance_count,
        blue.request_settings.request_timeout_ms,
    ]
    seen["model of blue"] = blue.model
    created.traffic = {"blue": 100}
    seen["traffic"] = endpoints.begin_create_or_update(created).result().traffic
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "sample.json")
        file.write_text(json.dumps(RECORD))
        seen["answers"] = [json.loads(endpoints.invoke("census", request_file=file))]
        deployments.begin_create_or_update(describe("green", "2")).result()
        by_name = endpoints.invoke("census", deployment_name="green", request_file=file)
        seen["answers"].append(json.loads(by_name))
    seen["log"] = deployments.get_logs("green", "census", lines=50)
    for shares in ({"blue": 90, "green": 10}, {"blue": 0, "green": 100}):
        shifted = endpoints.get("census")
        shifted.traffic = shares
        shown = endpoints.begin_create_or_update(shifted).result().traffic
        seen.setdefault("shifts", []).append(shown)
    seen["sizes"] = [scale(client, 3), scale(client, 2)]
    seen["old keys"] = shown_keys(client)
    endpoints.begin_regenerate_keys("census", key_type="secondary").result()
    seen["new keys"] = shown_keys(client)
    deployments.begin_delete("blue", "census").result()
    seen["left"] = [one.name for one in deployments.list("census")]
    seen["listed"] = [one.name for one in endpoints.list()]
    endpoints.begin_delete("census").result()
    seen["gone"] = [one.name for one in endpoints.list()]
    try:
        endpoints.get("census")
    except ResourceNotFoundError as error:
        seen["missing"] = error.error.code
    return seen


def scale(client: MLClient, count: int) -> int:
    green = client.online_deployments.get("green", "census")
    green.instance_count = count
    return client.online_deployments.begin_create_or_update(green).result().instance_count


def shown_keys(client: MLClient) -> list[str]:
    keys = client.online_endpoints.get_keys("census")
    return [keys.primary_key, keys.secondary_key]


def faults(client: MLClient) -> dict[str, Any]:
    """What the client says of a failed deployment, a busy endpoint, and a limit of calls."""
    endpoints, deployments = client.online_endpoints, client.online_deployments
    made = ManagedOnlineEndpoint(name="census", auth_mode="aml_token")
    endpoints.begin_create_or_update(made).result()
    seen: dict[str, Any] = {"token": endpoints.get_keys("census").token_type}
    seen["failed"] = say(lambda: deployments.begin_create_or_update(describe("bad", "1")).result())
    shown = deployments.get("bad", "census")
    seen["state"] = shown.provisioning_state
    seen["log"] = deployments.get_logs("bad", "census", lines=50)
    seen["busy"] = say(lambda: deployments.begin_create_or_update(describe("busy", "1")).result())
    seen["throttled"] = [one.name for one in endpoints.list()]
    return seen


def say(call: Any) -> list[Any]:
    try:
        call()
    except HttpResponseError as error:
        return [type(error).__name__, str(error)]
    return []


def read(client: MLClient, name: str) -> dict[str, Any]:
    """What the client shows of an endpoint that another tool made, and writes back as it is."""
    endpoint = client.online_endpoints.get(name)
    deployments = {one.name: one for one in client.online_deployments.list(name)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "sample.json")
        file.write_text(json.dumps(RECORD))
        answer = json.loads(client.online_endpoints.invoke(name, request_file=file))
    client.online_endpoints.begin_create_or_update(endpoint).result()
    return {
        "auth_mode": endpoint.auth_mode,
        "traffic": endpoint.traffic,
        "tags": endpoint.tags,
        "answer": answer,
        "deployments": {
            one.name: {
                "model": one.model,
                "environment": one.environment,
                "instance_type": one.instance_type,
                "instance_count": one.instance_count,
                "state": one.provisioning_state,
            }
            for one in deployments.values()
        },
    }


def main(url: str, token: str, part: str, *arguments: str) -> None:
    # Warnings of the package are about what it does not use here.
    logging.disable(logging.WARNING)
    client = connect(url, token, asks=part == "read")
    seen = {"life": life, "faults": faults, "read": read}[part](client, *arguments)
    # The package prints a dot for each poll.
    print(f"\n{json.dumps(seen)}")


main(*sys.argv[1:])
