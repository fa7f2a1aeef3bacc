"""Routes the calls of Azure Machine Learning to what answers them; names match in any case.

The server gives it each call of the provider's addresses, after it has checked the token.
"""

from __future__ import annotations

from typing import Any

from reconciler.emulator.azureml.access import list_keys, make_token, regenerate_key
from reconciler.emulator.azureml.asset_records import Owner
from reconciler.emulator.azureml.assets import Assets
from reconciler.emulator.azureml.data_plane import DataPlane
from reconciler.emulator.azureml.deployments import OnlineDeployments
from reconciler.emulator.azureml.endpoints import OnlineEndpoints, OnlineParts
from reconciler.emulator.azureml.limits import count_online
from reconciler.emulator.azureml.names import check_scope
from reconciler.emulator.azureml.operations import OnlineOperations
from reconciler.emulator.azureml.rules import WriteRules
from reconciler.emulator.azureml.state import OnlineWorkspace
from reconciler.emulator.azureml.views import make_reader, show_workspace
from reconciler.emulator.classic.management import allow
from reconciler.emulator.limits import Limits
from reconciler.emulator.replies import Answer, Refusal
from reconciler.emulator.requests import Call, unknown_path

Json = Any


class AzureMl:
    """Answers the calls of Azure Machine Learning. Use it from one thread only."""

    def __init__(
        self,
        operations: OnlineOperations,
        assets: Assets,
        data_plane: DataPlane,
        limits: Limits,
        blob_url: str,
    ) -> None:
        self._state = operations.state
        self._assets = assets
        self._data_plane = data_plane
        self._choices = operations.choices
        self._limits = limits
        self._blob_url = blob_url
        self.operations = operations
        rules = WriteRules(self._state, assets, self._choices)
        parts = OnlineParts(self._state, operations, rules, self._choices)
        self.endpoints = OnlineEndpoints(parts)
        self.deployments = OnlineDeployments(parts, self.endpoints)

    def answer(self, call: Call) -> Answer:
        """Answer the call of a path and method. Raises Refusal."""
        counted = self._count(call)
        answer = self._route(call)
        answer.headers.update(counted)
        return answer

    def _count(self, call: Call) -> dict[str, str]:
        try:
            return count_online(self._limits, call, self._choices)
        except Refusal as refusal:
            if self._choices["throttle-body"] == "empty":
                refusal.body = {}
            raise

    def _route(self, call: Call) -> Answer:
        words = [segment.casefold() for segment in call.segments]
        match words[2:]:
            case ["providers", _, "locations", _, word, _]:
                return self._route_operation(call, word)
            case ["resourcegroups", _, "providers", _, "registries", name, *rest] if rest:
                make_reader(call)
                return self._assets.answer(call, Owner.of_registry(name), call.segments[8:])
            case ["resourcegroups", _, "providers", _, "workspaces", _, *rest]:
                names = (call.segments[1], call.segments[3], call.segments[7])
                check_scope(*names)
                return self._route_workspace(call, OnlineWorkspace(*names), rest)
        raise unknown_path(call)

    def _route_operation(self, call: Call, word: str) -> Answer:
        reader = make_reader(call)
        if word == "mfeoperationsstatus":
            allow(call, "GET")
            return self.operations.describe_status(call, reader, call.segments[-1])
        if word == "mfeoperationresults":
            allow(call, "GET")
            return self.operations.describe_results(call, reader, call.segments[-1])
        raise unknown_path(call)

    def _route_workspace(self, call: Call, workspace: OnlineWorkspace, rest: list[str]) -> Answer:
        """Answer a call below a workspace; `rest` is the path after it, in lower case."""
        match rest:
            case []:
                make_reader(call)
                allow(call, "GET")
                return Answer(200, show_workspace(workspace, self._blob_url))
            case ["onlineendpoints"]:
                allow(call, "GET")
                return self.endpoints.list_all(call, workspace)
            case ["onlineendpoints", _]:
                return self._route_endpoint(call, workspace, call.segments[9])
            case ["onlineendpoints", _, "deployments", *below]:
                return self._route_deployment(call, workspace, below)
            case ["onlineendpoints", _, word]:
                return self._open(call, workspace, word)
        make_reader(call)
        return self._assets.answer(call, Owner.of_workspace(workspace), call.segments[8:])

    def _open(self, call: Call, workspace: OnlineWorkspace, word: str) -> Answer:
        """Answer a call on the keys or the token of an endpoint."""
        make_reader(call)
        allow(call, "POST")
        endpoint = self.endpoints.find(workspace, call.segments[9])
        match word:
            case "listkeys":
                return list_keys(endpoint)
            case "regeneratekeys":
                self.endpoints.check_idle(endpoint)
                reading = self._choices["online-present-key"]
                regenerate_key(call, endpoint, self._state, reading)
                return Answer(200)
            case "token":
                return make_token(endpoint, self._state, self.operations.now())
        raise unknown_path(call)

    def _route_endpoint(self, call: Call, workspace: OnlineWorkspace, name: str) -> Answer:
        allow(call, "GET", "PUT", "PATCH", "DELETE")
        match call.method:
            case "PUT":
                return self.endpoints.put(call, workspace, name)
            case "PATCH":
                return self.endpoints.patch(call, workspace, name)
            case "DELETE":
                return self.endpoints.delete(call, workspace, name)
        return self.endpoints.get(call, workspace, name)

    def _route_deployment(self, call: Call, workspace: OnlineWorkspace, below: list[str]) -> Answer:
        endpoint = call.segments[9]
        match below:
            case []:
                allow(call, "GET")
                return self.deployments.list_all(call, workspace, endpoint)
            case [_, "skus"]:
                allow(call, "GET")
                return self.deployments.list_skus(call, workspace, endpoint, call.segments[11])
            case [_, "getlogs"]:
                allow(call, "POST")
                make_reader(call)
                _, deployment = self.deployments.find(workspace, endpoint, call.segments[11])
                return self._data_plane.logs.answer(call, deployment)
            case [_]:
                return self._answer_deployment(call, workspace, endpoint, call.segments[11])
        raise unknown_path(call)

    def _answer_deployment(
        self, call: Call, workspace: OnlineWorkspace, endpoint: str, name: str
    ) -> Answer:
        allow(call, "GET", "PUT", "PATCH", "DELETE")
        match call.method:
            case "PUT":
                return self.deployments.put(call, workspace, endpoint, name)
            case "PATCH":
                return self.deployments.patch(call, workspace, endpoint, name)
            case "DELETE":
                return self.deployments.delete(call, workspace, endpoint, name)
        return self.deployments.get(call, workspace, endpoint, name)
