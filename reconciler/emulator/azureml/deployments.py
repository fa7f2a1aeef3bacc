"""Answers the calls on the deployments of an endpoint: PUT, PATCH, GET, DELETE, list and SKUs.

Operations are in `operations`, and what is refused in `rules`. `routes` calls it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reconciler.emulator.azureml import bodies
from reconciler.emulator.azureml.endpoints import OnlineEndpoints, OnlineParts, answer_delete
from reconciler.emulator.azureml.names import check_name, split_asset
from reconciler.emulator.azureml.pages import make_online_page, read_count
from reconciler.emulator.azureml.replies import refuse_missing
from reconciler.emulator.azureml.state import OnlineDeployment, OnlineEndpoint, OnlineWorkspace
from reconciler.emulator.azureml.views import Reader, make_reader, show_deployment, show_skus
from reconciler.emulator.replies import Answer
from reconciler.emulator.requests import Call

Json = Any


class OnlineDeployments:
    """Answers the calls on deployments from the records. Use it from one thread only."""

    def __init__(self, parts: OnlineParts, endpoints: OnlineEndpoints) -> None:
        self._state = parts.state
        self._operations = parts.operations
        self._rules = parts.rules
        self._choices = parts.choices
        self._endpoints = endpoints

    def put(self, call: Call, workspace: OnlineWorkspace, endpoint_name: str, name: str) -> Answer:
        """Create a deployment, or replace the whole document of one."""
        reader = make_reader(call)
        endpoint = self._endpoints.find(workspace, endpoint_name)
        body = bodies.read_body(call, "deployment")
        old = self._state.find_deployment(endpoint.key, name)
        verb = "update" if old else "create"
        self._rules.check_idle(endpoint, verb, "a deployment")
        self._check_endpoint(endpoint)
        document = bodies.make_deployment(body, old.document if old else None)
        self._rules.check_ids(document["properties"])
        deployment = old or self._make(endpoint, check_name(name, "deployment"), document)
        if old is not None:
            self._rules.check_deployment_change(old.document, document)
        else:
            self._rules.check_deployment_count(endpoint)
        self._rules.check_quota(endpoint, deployment, document)
        return self._start(reader, endpoint, deployment, document, body)

    def _make(self, endpoint: OnlineEndpoint, name: str, document: Json) -> OnlineDeployment:
        now, path = self._operations.now(), f"{endpoint.path}/deployments/{name}"
        return OnlineDeployment(endpoint.key, path, name, document, now, now)

    def _start(
        self,
        reader: Reader,
        endpoint: OnlineEndpoint,
        deployment: OnlineDeployment,
        document: Json,
        body: Mapping[str, Json],
    ) -> Answer:
        outcome = self._make_outcome(document, body)
        # Recorded: the words do not tell a create from an update.
        word = "Creating" if deployment.exists else "Updating"
        operation = self._operations.begin(endpoint, deployment, "PUT", word, outcome)
        headers = self._operations.announce(operation, reader, deployment.path)
        echo = replace(deployment, document=document)
        shown = show_deployment(echo, endpoint, reader, self._choices)
        if deployment.exists:
            # Recorded 2025: the reply to an update lacks these.
            shown["properties"]["instanceType"] = None
            shown["systemData"] = {"lastModifiedAt": shown["systemData"]["lastModifiedAt"]}
        return Answer(201, shown, headers)

    def _make_outcome(self, document: Json, body: Mapping[str, Json]) -> dict[str, Json]:
        """Return what a deployment has after the operation, and what its instances run with."""
        filled = bodies.fill_deployment(document, body)
        properties = filled["properties"]
        mounted = _list_variables(properties)
        sent = properties["environmentVariables"]
        if self._choices["online-stale-variables"] == "replace":
            sent = {name: value for name, value in sent.items() if name not in mounted}
        if self._choices["online-server-variables"] == "shown":
            properties["environmentVariables"] = {**mounted, **sent}
        serving = copy.deepcopy(properties)
        serving["environmentVariables"] = {**mounted, **sent}
        return {"document": filled, "serving": serving}

    def patch(
        self, call: Call, workspace: OnlineWorkspace, endpoint_name: str, name: str
    ) -> Answer:
        """Change the tags or the instance count of a deployment; autoscale does this."""
        reader = make_reader(call)
        endpoint, deployment = self.find(workspace, endpoint_name, name)
        body = bodies.read_body(call, "deployment-patch")
        bodies.refuse_unknown(call, "deployment-patch")
        self._rules.check_idle(endpoint, "update", "a deployment")
        document = bodies.patch_deployment(
            deployment.document, body, merges=self._choices["online-patch-tags"] == "merge"
        )
        self._rules.check_quota(endpoint, deployment, document)
        scales = document["sku"] != deployment.document["sku"]
        operation = self._operations.begin(
            endpoint,
            deployment,
            "PATCH",
            "Scaling" if scales else "Updating",
            {"document": document},
            stamps=not scales or self._choices["online-capacity-stamp"] == "new",
        )
        return Answer(202, None, self._operations.announce(operation, reader))

    def get(self, call: Call, workspace: OnlineWorkspace, endpoint_name: str, name: str) -> Answer:
        """Return a deployment, also while an operation runs on it."""
        reader = make_reader(call)
        endpoint, deployment = self.find(workspace, endpoint_name, name)
        return Answer(200, self.show(endpoint, deployment, reader))

    def delete(
        self, call: Call, workspace: OnlineWorkspace, endpoint_name: str, name: str
    ) -> Answer:
        """Delete a deployment without traffic; a missing one is not an error."""
        reader = make_reader(call)
        endpoint = self._operations.finish_due((*workspace.key, endpoint_name.casefold()))
        deployment = self._state.find_deployment(endpoint.key, name) if endpoint else None
        if endpoint is None or deployment is None:
            return Answer(204)
        self._rules.check_idle(endpoint, "delete", "a deployment")
        self._rules.check_delete(endpoint, deployment)
        operation = self._operations.begin(
            endpoint, deployment, "DELETE", "Deleting", None, stamps=False
        )
        return answer_delete(self._operations.announce(operation, reader), self._choices)

    def list_all(self, call: Call, workspace: OnlineWorkspace, endpoint_name: str) -> Answer:
        """Return a page of the deployments; each item is the whole document (recorded)."""
        reader = make_reader(call)
        endpoint = self._endpoints.find(workspace, endpoint_name)
        found = [one for one in self._state.list_deployments(endpoint.key) if self._is_shown(one)]
        size = read_count(call, "$top", int(self._choices["online-page-size"]))
        page = make_online_page(call, found, size, lambda one: self.show(endpoint, one, reader))
        return Answer(200, page)

    def list_skus(
        self, call: Call, workspace: OnlineWorkspace, endpoint_name: str, name: str
    ) -> Answer:
        """Return the instance counts that a deployment may have."""
        make_reader(call)
        _, deployment = self.find(workspace, endpoint_name, name)
        return Answer(200, {"value": [show_skus(deployment)]})

    def find(
        self, workspace: OnlineWorkspace, endpoint_name: str, name: str
    ) -> tuple[OnlineEndpoint, OnlineDeployment]:
        """Return an endpoint and its deployment; refuse a missing one."""
        endpoint = self._endpoints.find(workspace, endpoint_name)
        deployment = self._state.find_deployment(endpoint.key, name)
        if deployment is None or not self._is_shown(deployment):
            raise refuse_missing("deployment", name, endpoint.name)
        return endpoint, deployment

    def show(
        self, endpoint: OnlineEndpoint, deployment: OnlineDeployment, reader: Reader
    ) -> dict[str, Json]:
        """Return the document; while an update runs, with the new values."""
        running = self._operations.get_running(endpoint.key)
        ours = running and running.deployment.casefold() == deployment.name.casefold()
        if running and ours and deployment.exists and (running.outcome or {}).get("document"):
            deployment = replace(deployment, document=running.outcome["document"])
        return show_deployment(deployment, endpoint, reader, self._choices)

    def _is_shown(self, deployment: OnlineDeployment) -> bool:
        return deployment.exists or self._choices["online-get-while-creating"] == "echo"

    def _check_endpoint(self, endpoint: OnlineEndpoint) -> None:
        if not endpoint.scoring_path:
            message = (
                f"Cannot create a deployment in endpoint {endpoint.name} because it is in"
                f" {endpoint.state} provisioning state."
            )
            raise self._rules.refuse("EndpointNotReady", message)


def _list_variables(properties: Mapping[str, Json]) -> dict[str, str]:
    """Return the variables that the service adds: what it mounts, and where (recorded)."""
    variables = {}
    asset = split_asset(properties["model"] or "", "models")
    if asset:
        variables["AZUREML_MODEL_DIR"] = "/var/azureml-app/azureml-models/" + "/".join(asset)
    code = properties["codeConfiguration"] or {}
    if code.get("scoringScript"):
        variables["AZUREML_ENTRY_SCRIPT"] = code["scoringScript"]
        variables["AML_APP_ROOT"] = "/var/azureml-app/onlinescoring"
    return variables
