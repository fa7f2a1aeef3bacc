"""Answers the calls on online endpoints: PUT, PATCH, GET, DELETE and the list.

Operations are in `operations`, and what is refused in `rules`. `routes` calls it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any, Final

from reconciler.emulator.azureml import bodies
from reconciler.emulator.azureml.names import check_name
from reconciler.emulator.azureml.operations import OnlineOperations
from reconciler.emulator.azureml.pages import make_online_page, read_count
from reconciler.emulator.azureml.replies import refuse_missing
from reconciler.emulator.azureml.rules import WriteRules
from reconciler.emulator.azureml.state import OnlineEndpoint, OnlineState, OnlineWorkspace
from reconciler.emulator.azureml.views import Reader, make_reader, show_endpoint
from reconciler.emulator.replies import Answer
from reconciler.emulator.requests import Call
from reconciler.emulator.resource_manager.regions import short_name
from reconciler.emulator.switches import Choices

Json = Any
_SHARES: Final = ("traffic", "mirrorTraffic")
_ORDERS: Final = {
    "createdatdesc": ("created", True),
    "createdatasc": ("created", False),
    "updatedatdesc": ("modified", True),
    "updatedatasc": ("modified", False),
}


@dataclass(frozen=True)
class OnlineParts:
    """What the calls use."""

    state: OnlineState
    operations: OnlineOperations
    rules: WriteRules
    choices: Choices


class OnlineEndpoints:
    """Answers the calls on endpoints from the records. Use it from one thread only."""

    def __init__(self, parts: OnlineParts) -> None:
        self._state = parts.state
        self._operations = parts.operations
        self._rules = parts.rules
        self._choices = parts.choices

    def put(self, call: Call, workspace: OnlineWorkspace, name: str) -> Answer:
        """Create an endpoint, or replace the whole document of one."""
        reader, body = make_reader(call), bodies.read_body(call, "endpoint")
        old = self._operations.finish_due((*workspace.key, name.casefold()))
        if old is None:
            return self._create(reader, workspace, check_name(name, "endpoint"), body)
        self._rules.check_idle(old, "update", "the endpoint")
        self._check_repairable(old)
        document = bodies.make_endpoint(body, old.document)
        sent = body.get("properties") or {}
        if "traffic" not in sent and self._choices["online-put-without-traffic"] == "keep":
            document["properties"]["traffic"] = dict(old.document["properties"]["traffic"])
        self._rules.check_endpoint_change(old, document)
        self._rules.check_traffic(old.key, document["properties"], old.document["properties"])
        operation = self._operations.begin(old, None, "PUT", "Updating", {"document": document})
        headers = self._operations.announce(operation, reader, old.path)
        return Answer(201, self._cut(self.show(old, reader)), headers)

    def _create(self, reader: Reader, workspace: OnlineWorkspace, name: str, body: Json) -> Answer:
        document, now = bodies.make_endpoint(body, None), self._operations.now()
        region = short_name(document["location"])
        endpoint = OnlineEndpoint(workspace, name, region, document, now, now)
        self._rules.check_name_free(endpoint)
        self._rules.check_endpoint_count(endpoint)
        self._rules.check_traffic(endpoint.key, document["properties"], {})
        keys = (body.get("properties") or {}).get("keys") or {}
        random_source = self._state.random_source
        endpoint.primary = keys.get("primaryKey") or random_source.key()
        endpoint.secondary = keys.get("secondaryKey") or random_source.key()
        self._state.claim_name(region, name, workspace.key)
        operation = self._operations.begin(endpoint, None, "PUT", "Creating", {})
        headers = self._operations.announce(operation, reader, endpoint.path)
        return Answer(201, self._cut(self.show(endpoint, reader)), headers)

    def patch(self, call: Call, workspace: OnlineWorkspace, name: str) -> Answer:
        """Change the tags or the identity of an endpoint; nothing else can be patched."""
        reader, endpoint = make_reader(call), self.find(workspace, name)
        body = bodies.read_body(call, "endpoint-patch")
        bodies.refuse_unknown(call, "endpoint-patch")
        self._rules.check_idle(endpoint, "update", "the endpoint")
        document = bodies.patch_endpoint(
            endpoint.document, body, merges=self._choices["online-patch-tags"] == "merge"
        )
        self._rules.check_endpoint_change(endpoint, document)
        outcome = {"document": document}
        operation = self._operations.begin(endpoint, None, "PATCH", "Updating", outcome)
        return Answer(202, None, self._operations.announce(operation, reader))

    def get(self, call: Call, workspace: OnlineWorkspace, name: str) -> Answer:
        """Return an endpoint, also while an operation runs on it."""
        reader, endpoint = make_reader(call), self.find(workspace, name)
        return Answer(200, self.show(endpoint, reader))

    def delete(self, call: Call, workspace: OnlineWorkspace, name: str) -> Answer:
        """Delete an endpoint with its deployments; a missing endpoint is not an error."""
        reader = make_reader(call)
        endpoint = self._operations.finish_due((*workspace.key, name.casefold()))
        if endpoint is None:
            return Answer(204)
        self._rules.check_idle(endpoint, "delete", "the endpoint")
        operation = self._operations.begin(endpoint, None, "DELETE", "Deleting", None, stamps=False)
        return answer_delete(self._operations.announce(operation, reader), self._choices)

    def list_all(self, call: Call, workspace: OnlineWorkspace) -> Answer:
        """Return a page of the endpoints; each item is the whole document (recorded)."""
        reader = make_reader(call)
        for one in self._state.list_endpoints(workspace):
            self._operations.finish_due(one.key)
        found = _filter(call, self._state.list_endpoints(workspace))
        usual = int(self._choices["online-page-size"])
        size = read_count(call, "count", usual)
        page = make_online_page(call, found, size, lambda one: self.show(one, reader))
        return Answer(200, page)

    def find(self, workspace: OnlineWorkspace, name: str) -> OnlineEndpoint:
        """Return an endpoint with what is due applied; refuse a missing one."""
        endpoint = self._operations.finish_due((*workspace.key, name.casefold()))
        if endpoint is None:
            raise refuse_missing("endpoint", name, workspace.name)
        return endpoint

    def check_idle(self, endpoint: OnlineEndpoint) -> None:
        """Refuse a call that changes an endpoint while an operation runs."""
        self._rules.check_idle(endpoint, "update", "the endpoint")

    def show(self, endpoint: OnlineEndpoint, reader: Reader) -> dict[str, Json]:
        """Return the document; while a write runs, with its values and the old traffic."""
        running = self._operations.get_running(endpoint.key)
        traffic = endpoint.show_traffic(self._operations.now())
        if running and not running.deployment and (running.outcome or {}).get("document"):
            new = copy.deepcopy(running.outcome["document"])
            for name in _SHARES:
                new["properties"][name] = endpoint.document["properties"][name]
            endpoint = replace(endpoint, document=new)
        return show_endpoint(endpoint, traffic, reader, self._choices)

    def _check_repairable(self, endpoint: OnlineEndpoint) -> None:
        """Refuse a PUT of an endpoint whose creation failed, if a switch says so."""
        failed = endpoint.state in {"Failed", "Canceled"} and not endpoint.scoring_path
        if failed and self._choices["online-failed-endpoint"] == "delete":
            message = f"The endpoint {endpoint.name} is in {endpoint.state} provisioning state."
            raise self._rules.refuse("EndpointFailed", message)

    def _cut(self, shown: dict[str, Json]) -> dict[str, Json]:
        """Return the body of the reply to a PUT, which lacks some members (recorded 2024)."""
        if self._choices["online-put-reply"] == "2022":
            return shown
        kept = {name: value for name, value in shown.items() if name != "location"}
        return {**kept, "systemData": {}}


def answer_delete(headers: dict[str, str], choices: Choices) -> Answer:
    """Return the reply to a DELETE: the text `null` until 2025, and empty after (recorded)."""
    data = b"null" if choices["online-delete-body"] == "null" else b""
    return Answer(202, None, headers, data=data)


def _filter(call: Call, endpoints: list[OnlineEndpoint]) -> list[OnlineEndpoint]:
    """Return the endpoints that the query asks for: by name, tags and order (OpenAPI)."""
    name, tags = call.query.get("name", "").casefold(), call.query.get("tags", "")
    wanted = [tag.partition("=") for tag in tags.split(",") if tag.strip()]
    found = [
        one
        for one in endpoints
        if (not name or one.name.casefold() == name)
        and all(_has_tag(one, key.strip(), sign, value) for key, sign, value in wanted)
    ]
    field, falls = _ORDERS.get(call.query.get("orderby", "").casefold(), ("", False))
    return sorted(found, key=lambda one: getattr(one, field), reverse=falls) if field else found


def _has_tag(endpoint: OnlineEndpoint, key: str, sign: str, value: str) -> bool:
    tags = endpoint.document["tags"]
    return key in tags and (not sign or tags[key] == value)
