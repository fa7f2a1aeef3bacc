"""The documents in replies about endpoints, deployments, operations and workspaces.

They depend on the api-version of the reader (recorded). They read the records and never change
them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from reconciler.emulator.azureml.replies import NEVER, PROVIDER, write_moment
from reconciler.emulator.azureml.state import (
    OnlineDeployment,
    OnlineEndpoint,
    OnlineOperation,
    OnlineWorkspace,
)
from reconciler.emulator.replies import Refusal
from reconciler.emulator.requests import Call
from reconciler.emulator.switches import Choices

Json = Any
STATUS: Final = "mfeOperationsStatus"
RESULTS: Final = "mfeOperationResults"
REGION: Final = "eastus"
_VERSION: Final = re.compile(r"(\d{4}-\d\d-\d\d)(-preview)?", re.IGNORECASE)
_TYPE: Final = f"{PROVIDER}/workspaces/onlineEndpoints"


@dataclass(frozen=True)
class Reader:
    """Who reads a document: its api-version, and the origin that it called."""

    version: str
    origin: str

    @property
    def day(self) -> str:
        """Return the date of the version, by which versions are ordered."""
        return self.version[:10]


def make_reader(call: Call) -> Reader:
    """Return the reader of a call; refuse one without an api-version. Any date is a version."""
    version = call.query.get("api-version", "")
    if not version:
        raise Refusal(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        )
    if not _VERSION.fullmatch(version):
        message = f"The api-version '{version[:40]}' is invalid. It is a date: 2024-04-01."
        raise Refusal(400, "InvalidApiVersionParameter", message)
    return Reader(version, call.origin)


def locate_operation(operation: str, subscription: str, region: str, word: str) -> str:
    """Return the path of an operation: its status or its results."""
    return (
        f"/subscriptions/{quote(subscription, safe='')}/providers/{PROVIDER}"
        f"/locations/{quote(region, safe='')}/{word}/{operation}"
    )


def show_endpoint(
    endpoint: OnlineEndpoint, traffic: Json, reader: Reader, choices: Choices
) -> dict[str, Json]:
    """Return what GET shows of an endpoint; `traffic` is the one to show."""
    document = endpoint.document
    shown = dict(document["properties"])
    scoring = f"{reader.origin}{endpoint.scoring_path}"
    shown["properties"] = {
        **shown["properties"],
        "azureml.onlineendpointid": endpoint.path.casefold(),
        **_show_stamp(endpoint, endpoint.workspace.subscription, endpoint.region, reader),
    }
    shown["scoringUri"] = f"{scoring}/score" if endpoint.scoring_path else None
    shown["swaggerUri"] = f"{scoring}/swagger.json" if endpoint.scoring_path else None
    shown["provisioningState"] = endpoint.state
    shown["traffic"] = dict(traffic)
    envelope = {
        "id": endpoint.path,
        "name": endpoint.name,
        "type": _TYPE,
        "properties": shown,
        "systemData": _show_times(endpoint, choices),
        "tags": document["tags"],
        "location": document["location"],
        "kind": document["kind"],
    }
    if document["identity"] is not None:
        envelope["identity"] = document["identity"]
    return envelope


def show_deployment(
    deployment: OnlineDeployment,
    endpoint: OnlineEndpoint,
    reader: Reader,
    choices: Choices,
) -> dict[str, Json]:
    """Return what GET shows of a deployment."""
    document = deployment.document
    shown = dict(document["properties"])
    shown["properties"] = {
        **shown["properties"],
        **_show_stamp(deployment, endpoint.workspace.subscription, endpoint.region, reader),
    }
    shown["provisioningState"] = deployment.state
    for name in _hide_by_version(shown, reader.day):
        shown.pop(name, None)
    return {
        "id": deployment.path,
        "name": deployment.name,
        "type": f"{_TYPE}/deployments",
        "properties": shown,
        "systemData": _show_times(deployment, choices),
        "tags": document["tags"],
        "location": document["location"],
        "kind": document["kind"],
        "sku": document["sku"],
    }


def show_skus(deployment: OnlineDeployment) -> Json:
    """Return the instance counts that a deployment may have (recorded)."""
    capacity = {
        "minimum": 1,
        "maximum": 50,
        "default": deployment.document["sku"]["capacity"],
        "scaleType": "Automatic",
    }
    return {
        "resourceType": "Microsoft.MachineLearning.Services/endpoints/deployments",
        "sku": {"name": "default", "tier": "Standard"},
        "capacity": capacity,
    }


def show_operation(operation: OnlineOperation, word: str, choices: Choices) -> dict[str, Json]:
    """Return the status of an operation, in the form of 2022 or of today (recorded)."""
    old = choices["online-operation-body"] == "2022"
    path = locate_operation(operation.id, operation.workspace.subscription, operation.region, word)
    body: dict[str, Json] = {
        "id": path,
        "name": operation.id,
        "status": operation.status,
        "startTime": write_moment(operation.started),
    }
    if operation.done:
        body["endTime"] = write_moment(operation.ends)
    elif not old:
        body["endTime"] = NEVER
    body["percentComplete"] = 100.0 if old and operation.done else 0.0
    if operation.done and operation.failure and choices["online-failed-operation"] == "error":
        body["error"] = operation.failure
    return body


def show_workspace(workspace: OnlineWorkspace, blob_url: str) -> dict[str, Json]:
    """Return a workspace; each one exists, in one region."""
    group = f"{workspace.path.partition('/providers/')[0]}/providers"
    account = _name_account(blob_url)
    return {
        "id": workspace.path,
        "name": workspace.name,
        "type": f"{PROVIDER}/workspaces",
        "location": REGION,
        "tags": {},
        "etag": None,
        "kind": "Default",
        "sku": {"name": "Basic", "tier": "Basic"},
        "properties": {
            "friendlyName": workspace.name,
            "description": "",
            "workspaceId": workspace.id,
            "storageAccount": f"{group}/Microsoft.Storage/storageAccounts/{account}",
            "keyVault": f"{group}/Microsoft.Keyvault/vaults/{workspace.name}",
            "applicationInsights": f"{group}/Microsoft.insights/components/{workspace.name}",
            "hbiWorkspace": False,
            "provisioningState": "Succeeded",
            "publicNetworkAccess": "Enabled",
            "v1LegacyMode": False,
            "systemDatastoresAuthMode": "accesskey",
        },
        "systemData": {
            "createdAt": "2024-01-01T00:00:00Z",
            "createdBy": "A User",
            "createdByType": "User",
        },
    }


def _name_account(blob_url: str) -> str:
    """Return the account in the address of blob storage."""
    return blob_url.rstrip("/").rpartition("/")[2] if blob_url else "storage"


def _show_stamp(
    record: OnlineEndpoint | OnlineDeployment, subscription: str, region: str, reader: Reader
) -> dict[str, str]:
    """Return the last operation, without a signature, and with the reader's version (recorded)."""
    path = locate_operation(record.stamp, subscription, region, STATUS)
    return {"AzureAsyncOperationUri": f"{reader.origin}{path}?api-version={reader.version}"}


def _show_times(record: OnlineEndpoint | OnlineDeployment, choices: Choices) -> dict[str, str]:
    kept = choices["online-last-modified"] == "kept"
    return {
        "createdAt": write_moment(record.created),
        "createdBy": "A User",
        "lastModifiedAt": write_moment(record.created + 1e-6 if kept else record.modified),
    }


def _hide_by_version(shown: dict[str, Json], day: str) -> list[str]:
    """Return the members that a version does not show (recorded, and bicep-types-az)."""
    hidden = []
    if day >= "2022-05-01":
        hidden.append("privateNetworkConnection")
    if day < "2023-04-01":
        hidden.append("dataCollector")
    if day < "2024-10-01" or shown.get("startupProbe") is None:
        hidden.append("startupProbe")
    return hidden
