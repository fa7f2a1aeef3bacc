"""Refuses writes that break a rule of the service, before an operation begins.

The rules are documented; the status and the code of most refusals are not, so switches set them.
These functions only read the records.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from reconciler.emulator.azureml.assets import Assets
from reconciler.emulator.azureml.names import count_needed, get_family, split_asset
from reconciler.emulator.azureml.replies import refuse_online, refuse_request
from reconciler.emulator.azureml.state import (
    EndpointKey,
    OnlineDeployment,
    OnlineEndpoint,
    OnlineState,
)
from reconciler.emulator.replies import Refusal
from reconciler.emulator.switches import Choices

Json = Any
MOST_DEPLOYMENTS: Final = 20
MOST_MIRRORED: Final = 50


class WriteRules:
    """The rules of writes, with the switches that settle what is not known."""

    def __init__(self, state: OnlineState, assets: Assets, choices: Choices) -> None:
        self._state = state
        self._assets = assets
        self._choices = choices

    def refuse(self, code: str, message: str, target: str = "") -> Refusal:
        """Return the refusal of a write that breaks a rule."""
        status = int(self._choices["online-refusal-status"])
        return refuse_request(code, message, status=status, target=target)

    def check_idle(self, endpoint: OnlineEndpoint, verb: str, what: str = "an endpoint") -> None:
        """Refuse a write while an operation runs on an endpoint or on one of its deployments."""
        if endpoint.operation:
            # The endpoint itself may show Succeeded, since the operation is on a deployment.
            state = endpoint.state if endpoint.state != "Succeeded" else "Updating"
            raise refuse_busy(endpoint.name, state, f"{verb} {what}", self._choices)

    def check_name_free(self, endpoint: OnlineEndpoint) -> None:
        """Refuse a name that another workspace of the region has (documented)."""
        owner = self._state.names.get((endpoint.region, endpoint.name.casefold()))
        if owner not in {None, endpoint.workspace.key}:
            message = f"An endpoint named {endpoint.name} exists in the region {endpoint.region}."
            raise self.refuse("EndpointNameTaken", message)

    def check_endpoint_count(self, endpoint: OnlineEndpoint) -> None:
        """Refuse one endpoint too many in a region and subscription (documented)."""
        most = int(self._choices["online-most-endpoints"])
        if len(self._list_endpoints(endpoint)) >= most:
            message = f"The region {endpoint.region} has {most} endpoints, which is the limit."
            raise self.refuse("EndpointLimitReached", message)

    def check_traffic(
        self, key: EndpointKey, properties: Mapping[str, Json], before: Mapping[str, Json]
    ) -> None:
        """Refuse traffic that does not sum to 0 or 100, or of deployments that take none.

        A failed deployment keeps the share that it had `before`, and gets no more.
        """
        live, mirrored = properties["traffic"], properties["mirrorTraffic"]
        for place, shares in (("traffic", live), ("mirrorTraffic", mirrored)):
            for name, share in shares.items():
                grows = share > before.get(place, {}).get(name, 0)
                self._check_share(key, f"properties.{place}", name, share, grows=grows)
        if sum(live.values()) not in {0, 100}:
            message = "The sum of traffic must be 0 or 100."
            raise self.refuse("InvalidTraffic", message, "properties.traffic")
        self._check_mirror(live, mirrored)

    def _check_share(
        self, key: EndpointKey, place: str, name: str, share: int, *, grows: bool
    ) -> None:
        if not 0 <= share <= 100:
            message = f"The traffic of {name[:80]} must be a whole number from 0 to 100."
            raise self.refuse("InvalidTraffic", message, place)
        found = self._state.find_deployment(key, name)
        if found is None or not found.exists:
            message = f"The deployment {name[:80]} does not exist."
            raise self.refuse("InvalidTraffic", message, place)
        if grows and found.state in {"Failed", "Canceled"}:
            message = f"The deployment {name[:80]} is in {found.state} provisioning state."
            raise self.refuse("InvalidTraffic", message, place)

    def _check_mirror(self, live: Mapping[str, int], mirrored: Mapping[str, int]) -> None:
        place = "properties.mirrorTraffic"
        named = [name for name, share in mirrored.items() if share]
        if sum(mirrored.values()) > MOST_MIRRORED:
            message = f"The sum of mirrorTraffic must be at most {MOST_MIRRORED}."
            raise self.refuse("InvalidMirrorTraffic", message, place)
        if len(named) > 1:
            message = "Traffic can be mirrored to one deployment only."
            raise self.refuse("InvalidMirrorTraffic", message, place)
        served = {name.casefold() for name, share in live.items() if share}
        if any(name.casefold() in served for name in named):
            message = f"The deployment {named[0][:80]} has live traffic, so none can be mirrored."
            raise self.refuse("InvalidMirrorTraffic", message, place)

    def check_endpoint_change(self, endpoint: OnlineEndpoint, new: Mapping[str, Json]) -> None:
        """Refuse another location, and another authMode or identity if a switch says so."""
        whole = self._choices["online-endpoint-change"] == "reject"
        fixed = (_list_fixed(one, whole=whole) for one in (endpoint.document, new))
        self._refuse_changed(*fixed)

    def check_deployment_change(self, old: Mapping[str, Json], new: Mapping[str, Json]) -> None:
        """Refuse another location, and other machines or code if a switch says so."""
        whole = self._choices["online-deployment-change"] == "reject"
        fixed = (_list_fixed(one, whole=whole) for one in (old, new))
        self._refuse_changed(*fixed)

    def _refuse_changed(self, before: Mapping[str, Json], after: Mapping[str, Json]) -> None:
        for place, value in before.items():
            if after[place] != value:
                message = f"The property {place} cannot be changed."
                raise self.refuse("PropertyImmutable", message, place)

    def check_ids(self, properties: Mapping[str, Json]) -> None:
        """Refuse ids of another form, and what is not registered if a switch says so."""
        code = properties["codeConfiguration"] or {}
        ids = (
            ("model", "models", properties["model"]),
            ("environmentId", "environments", properties["environmentId"]),
            ("codeConfiguration.codeId", "codes", code.get("codeId")),
        )
        for place, kind, asset in ids:
            if asset is not None and split_asset(asset, kind) is None:
                message = f"The id '{asset[:200]}' is not the id of a version of {kind}."
                raise self.refuse("InvalidAssetId", message, f"properties.{place}")
        if properties["scaleSettings"].get("scaleType", "Default").casefold() != "default":
            message = "Managed deployments have the scale type Default only."
            raise self.refuse("InvalidScaleSettings", message, "properties.scaleSettings")
        missing = self._assets.find_missing(properties)
        if missing:
            raise self.refuse("AssetNotFound", f"The asset {missing[:200]} does not exist.")

    def check_deployment_count(self, endpoint: OnlineEndpoint) -> None:
        """Refuse one deployment too many on an endpoint, or in a region (documented)."""
        if len(self._state.list_deployments(endpoint.key)) >= MOST_DEPLOYMENTS:
            message = f"The endpoint {endpoint.name} has {MOST_DEPLOYMENTS} deployments."
            raise self.refuse("DeploymentLimitReached", message)
        most = int(self._choices["online-most-deployments"])
        if len(self._list_deployments(endpoint)) >= most:
            message = f"The region {endpoint.region} has {most} deployments, which is the limit."
            raise self.refuse("DeploymentLimitReached", message)

    def check_quota(
        self, endpoint: OnlineEndpoint, deployment: OnlineDeployment, new: Mapping[str, Json]
    ) -> None:
        """Refuse more cores than the quota of the machines' family allows."""
        size, limit = new["properties"]["instanceType"], int(self._choices["online-quota"])
        family = get_family(size)
        used = sum(
            _count_cores(one)
            for one in self._list_deployments(endpoint)
            if one is not deployment
            and get_family(one.document["properties"]["instanceType"]) == family
        )
        before = _count_cores(deployment) if deployment.exists else 0
        needed = count_needed(size, new["sku"]["capacity"]) - before
        if needed > 0 and used + before + needed > limit:
            raise refuse_quota(size, endpoint.workspace.subscription, used + before, limit, needed)

    def check_delete(self, endpoint: OnlineEndpoint, deployment: OnlineDeployment) -> None:
        """Refuse to delete a deployment that has live or mirrored traffic (documented)."""
        for place, word in (("traffic", "live"), ("mirrorTraffic", "mirrored")):
            shares = endpoint.document["properties"][place]
            names = {name.casefold() for name, share in shares.items() if share}
            if deployment.name.casefold() in names:
                message = f"The deployment {deployment.name} has {word} traffic."
                raise self.refuse("DeploymentHasTraffic", message)

    def _list_endpoints(self, endpoint: OnlineEndpoint) -> list[OnlineEndpoint]:
        """Return the other endpoints of the subscription and region."""
        subscription = endpoint.workspace.subscription.casefold()
        return [
            one
            for one in self._state.endpoints.values()
            if one is not endpoint
            and one.region == endpoint.region
            and one.workspace.subscription.casefold() == subscription
        ]

    def _list_deployments(self, endpoint: OnlineEndpoint) -> list[OnlineDeployment]:
        """Return the deployments of the subscription and region."""
        return [
            deployment
            for one in [endpoint, *self._list_endpoints(endpoint)]
            for deployment in self._state.list_deployments(one.key)
        ]


def refuse_busy(name: str, state: str, what: str, choices: Choices) -> Refusal:
    """Return the refusal of a write on a busy endpoint (public report; its status is not known)."""
    message = f"Cannot {what} in endpoint {name[:80]} because it is in {state} provisioning state."
    status = int(choices["online-busy-status"])
    return refuse_online(status, "Conflict" if status == 409 else "BadRequest", message)


def refuse_quota(size: str, subscription: str, used: int, limit: int, needed: int) -> Refusal:
    """Return the refusal of a deployment without quota: JSON in a text (public report)."""
    message = (
        f"Not enough quota available for {size} in SubscriptionId {subscription}. Current"
        f" usage/limit: {used}/{limit}. Additional needed: {needed} Please see troubleshooting"
        " guide, available here: https://aka.ms/oe-tsg#error-outofquota"
    )
    inner = {
        "errors": {"VmSize": [message]},
        "type": "https://tools.ietf.org/html/rfc7231#section-6.5.1",
        "title": "One or more validation errors occurred.",
        "status": 400,
        "traceId": "00-00000000000000000000000000000001-0000000000000001-01",
    }
    text = f"InferencingClient HttpRequest error, error detail: {json.dumps(inner)}"
    return refuse_request("InferencingClientCreateDeploymentFailed", text)


def _count_cores(deployment: OnlineDeployment) -> int:
    document = deployment.document
    return count_needed(document["properties"]["instanceType"], document["sku"]["capacity"])


def _list_fixed(document: Mapping[str, Json], *, whole: bool) -> dict[str, Json]:
    """Return by place what cannot be changed: the location, and with `whole` what is not known."""
    properties = document["properties"]
    fixed: dict[str, Json] = {"location": "".join(document["location"].split()).casefold()}
    if whole and "authMode" in properties:
        fixed["properties.authMode"] = properties["authMode"]
        fixed["identity.type"] = (document["identity"] or {}).get("type")
    elif whole:
        fixed["properties.instanceType"] = properties["instanceType"].casefold()
        code = properties["codeConfiguration"] or {}
        fixed["properties.codeConfiguration.codeId"] = code.get("codeId")
    return fixed
