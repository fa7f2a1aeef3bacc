"""Documents and manifests of online endpoints for tests, with the values of recorded replies."""

from collections.abc import Mapping
from typing import Any, Final

from reconciler.document.normalize import normalize
from reconciler.kinds.online_endpoint import KIND
from reconciler.model import Address, Json, Manifest, Resource, SourceLocation
from reconciler.plans.step import Comparison

WORKSPACE: Final = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg"
    "/providers/Microsoft.MachineLearningServices/workspaces/ws"
)
ID: Final = f"{WORKSPACE}/onlineEndpoints/census"
DEFAULTS: Final = {
    "subscription": "00000000-0000-0000-0000-000000000001",
    "resourceGroup": "rg",
    "workspace": "ws",
}
RESOURCE: Final = Resource(Address("OnlineEndpoint", "census"), ID)
_OPERATION: Final = (
    "https://management.azure.com/subscriptions/00000000-0000-0000-0000-000000000001/providers"
    "/Microsoft.MachineLearningServices/locations/eastus/mfeOperationsStatus"
    "/odidp:11111111-2222-3333-4444-555555555555:6ce2ca34-c118-4ba0-85d5-202d2d62fdd4"
)
_PROBE: Final = {
    "failureThreshold": 30,
    "successThreshold": 1,
    "timeout": "PT2S",
    "period": "PT10S",
    "initialDelay": "PT10S",
}
# One of each setting, and the variables, in the spelling of the manifest.
GREEN: Final[Json] = {
    "model": "azureml:census:2",
    "environment": "azureml:sklearn:3",
    "code_configuration": {"code": "azureml:census-score:1", "scoring_script": "score.py"},
    "instance_type": "Standard_DS3_v2",
    "instance_count": 3,
}
BLUE: Final[Json] = {**GREEN, "model": "azureml:census:1"}


def deployment(
    name: str = "blue", version: str = "1", created: str = "2025-02-26T17:16:04.1+00:00", **own: Any
) -> Json:
    """A deployment as the service shows it once it is settled; `own` are its properties."""
    return {
        "id": f"{ID}/deployments/{name}",
        "name": name,
        "type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments",
        "properties": {
            "description": None,
            "properties": {"AzureAsyncOperationUri": _OPERATION},
            "codeConfiguration": {
                "codeId": f"{WORKSPACE}/codes/census-score/versions/1",
                "scoringScript": "score.py",
            },
            "environmentId": f"{WORKSPACE}/environments/sklearn/versions/3",
            "environmentVariables": {
                "AZUREML_MODEL_DIR": f"/var/azureml-app/azureml-models/census/{version}",
                "AZUREML_ENTRY_SCRIPT": "score.py",
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
            "livenessProbe": _PROBE,
            "readinessProbe": _PROBE,
            "provisioningState": "Succeeded",
            "instanceType": "STANDARD_DS3_V2",
            "model": f"{WORKSPACE}/models/census/versions/{version}",
            "egressPublicNetworkAccess": "Enabled",
            "dataCollector": None,
            "endpointComputeType": "Managed",
            **own,
        },
        "systemData": {"createdAt": created, "createdBy": "A User", "lastModifiedAt": created},
        "tags": {},
        "location": "eastus",
        "kind": "Managed",
        "sku": {"name": "Default", "tier": "Standard", "capacity": 3},
    }


def endpoint(traffic: Mapping[str, int] | None = None, *deployments: Json, **own: Any) -> Json:
    """The document of an endpoint, as a provider reads it; `own` are its properties."""
    raw = {
        "id": ID,
        "name": "census",
        "type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints",
        "properties": {
            "description": None,
            "properties": {
                "azureml.onlineendpointid": ID.lower(),
                "AzureAsyncOperationUri": _OPERATION,
            },
            "scoringUri": "https://census.eastus2.inference.ml.azure.com/score",
            "swaggerUri": "https://census.eastus2.inference.ml.azure.com/swagger.json",
            "authMode": "Key",
            "provisioningState": "Succeeded",
            "compute": None,
            "traffic": dict(traffic or {}),
            "mirrorTraffic": {},
            "publicNetworkAccess": "Enabled",
            **own,
        },
        "systemData": {
            "createdAt": "2022-10-28T19:14:54.2541612+00:00",
            "createdBy": "A User",
            "lastModifiedAt": "2022-10-28T19:26:50.072965+00:00",
        },
        "tags": {},
        "location": "eastus2",
        "kind": "Managed",
        "identity": {
            "type": "SystemAssigned",
            "principalId": "33333333-4444-5555-6666-777777777777",
            "tenantId": "22222222-3333-4444-5555-666666666666",
        },
        "deployments": {one["name"]: _shorten(one) for one in deployments},
    }
    return normalize(KIND.field, raw)


def _shorten(raw: Json) -> Json:
    from reconciler.kinds.online_endpoint.addresses import shorten_ids

    return shorten_ids(raw, WORKSPACE)


def manifest(**spec: Any) -> Manifest:
    """A manifest of the endpoint `census`; each value has a place of its own."""
    return Manifest(RESOURCE.address, spec, "census.yaml", places=_Places())


class _Places(dict[str, SourceLocation]):
    """Every pointer has a place: it is the name of the file, so that tests read it."""

    def __contains__(self, pointer: object) -> bool:
        return True

    def get(self, pointer: str, default: object = None) -> SourceLocation:
        return SourceLocation(pointer, 1, 1)

    def __getitem__(self, pointer: str) -> SourceLocation:
        return SourceLocation(pointer, 1, 1)


def compare(live: Json, **spec: Any) -> Comparison:
    """The comparison of a manifest with a live document, without a ledger."""
    declared = KIND.bind(manifest(**spec), live)
    return Comparison(RESOURCE, KIND.field, live, declared, ledger_known=False)
