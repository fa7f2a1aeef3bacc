"""Plays parts by the package azure-mgmt-machinelearningservices.

Arguments: the address of the emulator, its token, and the part: `life` or `faults`. It prints a
JSON text of what it saw.
"""

import json
import sys
import time
from typing import Any

from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.mgmt.machinelearningservices import MachineLearningServicesMgmtClient
from azure.mgmt.machinelearningservices import models as ml

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
PLACE = ("rg", "ws")
MODELS = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers"
    "/Microsoft.MachineLearningServices/workspaces/ws/models/census/versions"
)


class Credential:
    """The token that the emulator takes."""

    def __init__(self, token: str) -> None:
        self.token = token

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken(self.token, int(time.time()) + 3600)


def describe(version: str) -> ml.OnlineDeployment:
    properties = ml.ManagedOnlineDeployment(
        model=f"{MODELS}/{version}", instance_type="Standard_DS3_v2"
    )
    sku = ml.Sku(name="Default", capacity=1)
    return ml.OnlineDeployment(location="eastus2", properties=properties, sku=sku)


def connect(url: str, token: str) -> MachineLearningServicesMgmtClient:
    return MachineLearningServicesMgmtClient(
        Credential(token),
        SUBSCRIPTION,
        base_url=url,
        credential_scopes=[f"{url}/.default"],
        polling_interval=0.05,
    )


def life(client: MachineLearningServicesMgmtClient) -> dict[str, Any]:
    """The whole life of an endpoint; what was seen of it."""
    endpoints, deployments = client.online_endpoints, client.online_deployments
    seen: dict[str, Any] = {}
    uri = "azureml://datastores/workspaceblobstore/paths/m.ilearner"
    properties = ml.ModelVersionProperties(model_uri=uri, model_type="custom_model")
    for version in ("1", "2"):
        body = ml.ModelVersion(properties=properties)
        client.model_versions.create_or_update(*PLACE, "census", version, body)
    seen["models"] = [one.name for one in client.model_versions.list(*PLACE, "census")]
    container = client.model_containers.get(*PLACE, "census").properties
    seen["container"] = [container.latest_version, container.next_version]

    body = ml.OnlineEndpoint(
        location="eastus2", properties=ml.OnlineEndpointProperties(auth_mode="Key", traffic={})
    )
    made = endpoints.begin_create_or_update(*PLACE, "census", body).result()
    seen["created"] = made.serialize(keep_readonly=True)["properties"]["provisioningState"]
    for name, version in (("blue", "1"), ("green", "2")):
        deployments.begin_create_or_update(*PLACE, "census", name, describe(version)).result()
    made.properties.traffic = {"blue": 90, "green": 10}
    routed = endpoints.begin_create_or_update(*PLACE, "census", made).result()
    seen["traffic"] = routed.properties.traffic

    tags = ml.PartialMinimalTrackedResourceWithIdentity(tags={"team": "risk"})
    endpoints.begin_update(*PLACE, "census", tags).result()
    seen["tags"] = endpoints.get(*PLACE, "census").tags
    count = ml.PartialMinimalTrackedResourceWithSku(sku=ml.PartialSku(capacity=3))
    deployments.begin_update(*PLACE, "census", "green", count).result()
    green = deployments.get(*PLACE, "census", "green")
    (sku,) = deployments.list_skus(*PLACE, "census", "green")
    seen["size"] = [green.sku.capacity, sku.capacity.default, sku.capacity.maximum]
    seen["raw"] = green.serialize(keep_readonly=True)

    seen["keys"] = len({*endpoints.list_keys(*PLACE, "census").serialize().values()})
    asked = ml.RegenerateEndpointKeysRequest(key_type="Primary")
    endpoints.begin_regenerate_keys(*PLACE, "census", asked).result()
    logs = ml.DeploymentLogsRequest(container_type="InferenceServer", tail=2)
    seen["log"] = deployments.get_logs(*PLACE, "census", "green", logs).content
    seen["listed"] = [one.name for one in endpoints.list(*PLACE)]
    seen["deployments"] = [one.name for one in deployments.list(*PLACE, "census")]

    seen["kept"] = say(lambda: deployments.begin_delete(*PLACE, "census", "blue").result())
    routed.properties.traffic = {"green": 100}
    endpoints.begin_create_or_update(*PLACE, "census", routed).result()
    deployments.begin_delete(*PLACE, "census", "blue").result()
    seen["left"] = [one.name for one in deployments.list(*PLACE, "census")]
    endpoints.begin_delete(*PLACE, "census").result()
    seen["missing"] = say(lambda: endpoints.get(*PLACE, "census"))
    return seen


def faults(client: MachineLearningServicesMgmtClient) -> dict[str, Any]:
    """What the client says of what goes wrong."""
    endpoints, deployments = client.online_endpoints, client.online_deployments
    properties = ml.OnlineEndpointProperties(auth_mode="AMLToken")
    body = ml.OnlineEndpoint(location="eastus2", properties=properties)
    endpoints.begin_create_or_update(*PLACE, "census", body).result()

    def write(name: str) -> Any:
        put = deployments.begin_create_or_update(*PLACE, "census", name, describe("1"))
        return put.result().properties.provisioning_state

    seen: dict[str, Any] = {
        name: say(lambda name=name: write(name)) for name in ("bad", "busy", "big")
    }
    seen["state"] = deployments.get(*PLACE, "census", "bad").properties.provisioning_state
    seen["good"] = write("good")
    seen["listed"] = [one.name for one in endpoints.list(*PLACE)]
    return seen


def say(call: Any) -> list[str]:
    """The class, the code and the innermost code of what a call raises."""
    try:
        call()
    except HttpResponseError as error:
        inner = error.error.details[0].code if error.error and error.error.details else ""
        return [type(error).__name__, error.error.code if error.error else "", inner]
    return []


def main(url: str, token: str, part: str) -> None:
    print(json.dumps({"life": life, "faults": faults}[part](connect(url, token))))


main(*sys.argv[1:])
