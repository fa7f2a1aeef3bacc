"""Answers scoring calls (the request-response service): finds the service and checks the key.

It also limits the calls that run at once. The server calls it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from reconciler.emulator.classic.endpoints import Endpoints
from reconciler.emulator.classic.management import allow, is_same
from reconciler.emulator.classic.views import render_compact
from reconciler.emulator.classic.workspaces import Endpoint, Workspaces
from reconciler.emulator.replies import Answer, Refusal
from reconciler.emulator.requests import Call
from reconciler.emulator.resource_manager import regions
from reconciler.emulator.resource_manager.operations import Operations
from reconciler.emulator.scoring import model as scoring
from reconciler.emulator.scoring.swagger import describe
from reconciler.emulator.state import Key, Service, State
from reconciler.emulator.storage import Storage, sign

Json = Any
_SWAGGER: Final = ["swagger.json"]
_LEAST_CALLS: Final = 4
_MOST_DIGESTS: Final = 20_000


@dataclass(frozen=True)
class Scored:
    """What a scoring call reaches. `name` is the endpoint's; empty `inputs` allow any input."""

    name: str
    keys: tuple[str, ...]
    most_calls: int
    of: Endpoint | Service
    inputs: tuple[str, ...] = ()
    output: str = "output1"


class Services:
    """Answers scoring calls of Classic endpoints and of New services."""

    def __init__(
        self,
        state: State,
        operations: Operations,
        workspaces: Workspaces,
        endpoints: Endpoints,
        storage: Storage,
    ) -> None:
        self._state = state
        self._operations = operations
        self._workspaces = workspaces
        self._endpoints = endpoints
        self._storage = storage
        self._ids: dict[str, Key] = {}
        self._digests: dict[tuple[str, float, str], str] = {}
        self._running: Counter[str] = Counter()

    def authorize(self, call: Call, given: str) -> None:
        """Refuse a call without one of the service's keys.

        The Swagger document needs no key (recorded).
        """
        if _get_call_path(call) == _SWAGGER:
            return
        if not any(is_same(given, key) for key in self._find(call).keys):
            raise scoring.refuse(
                "Unauthorized", "ScoreRequestUnauthorized", "Invalid credentials provided."
            )

    async def answer(self, call: Call) -> Answer:
        """Score the rows of a call, or return the Swagger document."""
        tail = _get_call_path(call)
        if tail == _SWAGGER:
            allow(call, "GET")
            return self._describe(call)
        if tail != ["execute"]:
            raise Refusal(404, "NotFound", "Resource not found.")
        allow(call, "POST")
        _check_version(call)
        scored = self._find(call)
        self._acquire(call, scored)
        table = _parse_input(call, scored)
        model = scoring.combine_digests(await self._digest_models(scored.of))
        result = scoring.score(table, model)
        if call.query.get("format", "").casefold() == "swagger":
            shown = scoring.show_rows(result)
        else:
            details = call.query.get("details", "").casefold() == "true"
            shown = scoring.show_table(result, details=details)
        return Answer(200, data=render_compact({"Results": {scored.output: shown}}))

    def _describe(self, call: Call) -> Answer:
        scored = self._find(call)
        if "api-version" in call.query:
            _check_version(call)
        of, path = scored.of, "/" + "/".join(call.segments[:4])
        info = {"title": "", "description": "", "x-endpoint-name": scored.name}
        if isinstance(of, Endpoint):
            workspace = self._workspaces.workspaces[of.workspace]
            service = self._workspaces.services[of.workspace, of.service]
            info |= {"title": service.name, "description": service.description}
            info |= {"x-endpoint-description": of.settings["Description"]}
            inputs, outputs = {}, {scored.output: scoring.ADDED_COLUMNS}
            host = regions.services_host(workspace.region)
        else:
            info |= {name: of.properties.get(name) or "" for name in ("title", "description")}
            inputs, outputs = (_read_ports(of.properties.get(one)) for one in ("input", "output"))
            host = regions.services_host(of.location)
        return Answer(200, data=render_compact(describe(host, path, info, inputs, outputs)))

    def _acquire(self, call: Call, scored: Scored) -> None:
        """Count a call until its reply is sent; refuse it if too many calls run."""
        service = call.segments[3]
        if self._running[service] >= scored.most_calls:
            message = (
                f"Request was throttled for {scored.name} endpoint. The maximum concurrency for"
                f" the endpoint is {scored.most_calls}."
            )
            raise scoring.refuse("ServiceUnavailable", "RequestThrottled", message)
        self._running[service] += 1
        call.closing.callback(self._release, service)

    def _release(self, service: str) -> None:
        self._running[service] -= 1
        if not self._running[service]:
            del self._running[service]

    def _find(self, call: Call) -> Scored:
        scope, owner, _, service_id = call.segments[:4]
        found = (
            self._find_endpoint(owner, service_id)
            if scope.casefold() == "workspaces"
            else self._find_service(owner, service_id)
        )
        if found is None:
            message = "Web service not found. Verify the web service Id is correct and try again."
            raise scoring.refuse("NotFound", "WebServiceNotFound", message)
        return found

    def _find_endpoint(self, workspace: str, api_id: str) -> Scored | None:
        endpoint = self._workspaces.by_api_id.get(api_id)
        if endpoint is None or endpoint.workspace != workspace:
            return None
        self._endpoints.finish_due(endpoint)
        keys = (endpoint.primary, endpoint.secondary)
        return Scored(endpoint.name, keys, endpoint.settings["MaxConcurrentCalls"], endpoint)

    def _find_service(self, subscription: str, service_id: str) -> Scored | None:
        if service_id not in self._ids:
            self._ids = {one.service_id: one.key for one in self._state.services.values()}
        key = self._ids.get(service_id)
        service = self._operations.finish_due(key) if key else None
        if service is None or service.subscription.replace("-", "") != subscription:
            return None
        properties = service.properties
        keys = tuple(key for key in (properties.get("keys") or {}).values() if key)
        limits = properties.get("realtimeConfiguration") or {}
        most = limits.get("maxConcurrentCalls") or _LEAST_CALLS
        outputs = _name_ports(properties.get("output"))
        inputs = _name_ports(properties.get("input"))
        output = outputs[0] if outputs else "output1"
        return Scored("default", keys, most, service, inputs, output)

    async def _digest_models(self, of: Endpoint | Service) -> list[str]:
        if isinstance(of, Endpoint):
            return [_digest_model(name, of.models[name]) for name in sorted(of.models)]
        assets = of.properties.get("assets") or {}
        uris = [
            (asset.get("locationInfo") or {}).get("uri") or ""
            for _, asset in sorted(assets.items())
            if asset.get("type") == "Resource"
        ]
        return [await self._digest_blob(of, uri) for uri in uris]

    async def _digest_blob(self, service: Service, uri: str) -> str:
        """Return the digest of a model's bytes as they were at the first scoring.

        Reported: a service continues with its copy when the blob is deleted. If the bytes cannot
        be read, the digest is that of the address.
        """
        key = (service.service_id, service.modified, uri)
        if key not in self._digests:
            data = await self._storage.fetch(sign(uri))
            if len(self._digests) >= _MOST_DIGESTS:
                self._digests.clear()
            self._digests[key] = hashlib.sha256(uri.encode() if data is None else data).hexdigest()
        return self._digests[key]


def _digest_model(name: str, model: Json) -> str:
    """Return the digest of an endpoint's model; for a published model, of name and version."""
    published = f"{name}/{model.get('published')}"
    return str(model.get("digest") or hashlib.sha256(published.encode()).hexdigest())


def _name_ports(side: Json) -> tuple[str, ...]:
    ports = side.get("properties") if isinstance(side, dict) else None
    return tuple(ports) if isinstance(ports, dict) else ()


def _read_ports(side: Json) -> dict[str, Json]:
    """Return the columns of each port of a definition."""
    ports = {name: side["properties"][name] or {} for name in _name_ports(side)}
    return {name: port.get("properties") or {} for name, port in ports.items()}


def _get_call_path(call: Call) -> list[str]:
    """Return the part of the path after the service, in lower case."""
    return [segment.casefold() for segment in call.segments[4:]]


def _check_version(call: Call) -> None:
    version = call.query.get("api-version", "")
    if version != "2.0":
        message = (
            f"Invalid version parameter was passed during the API call: {version[:40]}. Check the"
            " API help page for passing the correct version and try again."
        )
        raise scoring.refuse("BadArgument", "BadVersionCall", message)


def _parse_input(call: Call, scored: Scored) -> scoring.Table:
    """Return the only table in a call's body."""
    body = call.document() if call.body else None
    inputs = body.get("Inputs") if isinstance(body, dict) else None
    parameters = body.get("GlobalParameters", {}) if isinstance(body, dict) else None
    if not isinstance(inputs, dict) or not isinstance(parameters, dict):
        message = "No request body provided or error in deserializing the request body."
        raise scoring.refuse("BadArgument", "RequestBodyInvalid", message)
    if not inputs:
        message = (
            "The web service expects an input, but no input was provided. Ensure valid inputs are"
            " provided based on the published input ports in the model and try again."
        )
        raise scoring.refuse("BadArgument", "MissingRequestInput", message)
    if len(inputs) > 1:
        message = "The model does not allow multiple inputs."
        raise scoring.refuse("InvalidOperation", "MultipleInputsNotAllowed", message)
    ((port, value),) = inputs.items()
    if scored.inputs and port not in scored.inputs:
        message = (
            f"Invalid service input name(s) specified in the request: {port[:60]}. Please map the"
            " input data to the correct service inputs and try again."
        )
        raise scoring.refuse("BadArgument", "InvalidInputNames", message)
    return scoring.parse_table(value)
