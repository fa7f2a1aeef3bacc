"""Answers scoring calls (the request-response service): finds the service and checks the key.

It also limits the calls that run at once. The server calls it. It is long because both generations
of services are found here.
"""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.emulator.classic.endpoints import Endpoints
from reconciler.emulator.classic.management import allow, is_same
from reconciler.emulator.classic.views import render_compact
from reconciler.emulator.classic.workspaces import Endpoint, Workspaces
from reconciler.emulator.replies import (
    Answer,
    Refusal,
    refuse,
    refuse_body,
    refuse_web_service,
)
from reconciler.emulator.requests import Call
from reconciler.emulator.resource_manager import regions
from reconciler.emulator.resource_manager.operations import Operations
from reconciler.emulator.scoring import model as scoring
from reconciler.emulator.scoring.swagger import describe
from reconciler.emulator.state import Key, Service, State
from reconciler.emulator.storage import Storage, sign
from reconciler.emulator.training.graph import Training, find_training
from reconciler.emulator.training.jobs import Jobs

Json = Any
_SWAGGER: Final = ["swagger.json"]
_LEAST_CALLS: Final = 4
_MOST_LOADED: Final = 20_000


@dataclass(frozen=True)
class Scored:
    """What a scoring call reaches. `name` is the endpoint's.

    `inputs` holds the columns of each port; if it is empty, any input is accepted. `parameters`
    says for each parameter whether a call must set it; None accepts any parameter.
    """

    name: str
    keys: tuple[str, ...]
    most_calls: int
    of: Endpoint | Service
    training: bool
    inputs: Mapping[str, scoring.Columns] = field(default_factory=dict)
    parameters: Mapping[str, bool] | None = None
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
        jobs: Jobs,
    ) -> None:
        self._jobs = jobs
        self._state = state
        self._operations = operations
        self._workspaces = workspaces
        self._endpoints = endpoints
        self._storage = storage
        self._ids: dict[str, Key] = {}
        self._loaded: dict[tuple[str, float, str], scoring.LoadedModel] = {}
        self._held: dict[str, tuple[Json, float]] = {}
        self._running: Counter[str] = Counter()

    def authorize(self, call: Call, given: str) -> None:
        """Refuse a call without one of the service's keys.

        The Swagger document needs no key at either of its addresses (recorded; published client).
        """
        if _is_api_document(call) or _get_call_path(call) == _SWAGGER:
            return
        if not any(is_same(given, key) for key in self._find(call).keys):
            message = "Invalid credentials provided."
            raise refuse("Unauthorized", "ScoreRequestUnauthorized", message)

    async def answer(self, call: Call) -> Answer:
        """Score the rows of a call, or return the Swagger document."""
        tail = _get_call_path(call)
        if _is_api_document(call):
            allow(call, "GET")
            return self._describe_endpoint(call)
        if tail == _SWAGGER:
            allow(call, "GET")
            return self._describe(call)
        if tail[:1] == ["jobs"]:
            return self._answer_job(call, call.segments[5:])
        if tail != ["execute"]:
            raise Refusal(404, "NotFound", "Resource not found.")
        allow(call, "POST")
        _check_version(call)
        scored = self._find(call)
        self._acquire(call, scored)
        if scored.training:
            raise _refuse_training()
        table = _parse_input(call, scored)
        result = scoring.score(table, await self._load_models(scored.of))
        if call.query.get("format", "").casefold() == "swagger":
            shown = scoring.show_rows(result)
        else:
            details = call.query.get("details", "").casefold() == "true"
            shown = scoring.show_table(result, details=details)
        return Answer(200, data=render_compact({"Results": {scored.output: shown}}))

    def _answer_job(self, call: Call, rest: Sequence[str]) -> Answer:
        """Answer a call of batch execution; `rest` is its path after `jobs`."""
        _check_version(call)
        scored, service = self._find(call), call.segments[3]
        match [*rest]:
            case []:
                allow(call, "POST")
                training = self._find_training(scored.of)
                if training is None:
                    raise Refusal(404, "NotFound", "Resource not found.")
                body = call.document() if call.body else None
                job = self._jobs.submit(service, training, body, scored.most_calls)
                return Answer(200, data=render_compact(job))
            case [job, "start"]:
                allow(call, "POST")
                self._jobs.start(service, job)
                return Answer(204)
            case [job]:
                allow(call, "GET", "DELETE")
                if call.method == "GET":
                    return Answer(200, data=render_compact(self._jobs.show(service, job)))
                self._jobs.cancel(service, job)
                return Answer(204)
        raise Refusal(404, "NotFound", "Resource not found.")

    def _find_training(self, of: Endpoint | Service) -> Training | None:
        """Return what a service trains; a service that trains nothing has no batch jobs here."""
        if isinstance(of, Endpoint):
            training = self._workspaces.services[of.workspace, of.service].training
            return Training(**training) if training else None
        return find_training(of.properties)

    def _describe(self, call: Call) -> Answer:
        if "api-version" in call.query:
            _check_version(call)
        return self._make_document(self._find(call), "/" + "/".join(call.segments[:4]))

    def _describe_endpoint(self, call: Call) -> Answer:
        """Return the Swagger document at the address of an endpoint's management."""
        _, workspace, _, service, _, name, _ = call.segments
        endpoint = self._workspaces.endpoints.get((workspace, service), {}).get(name)
        scored = self._find_endpoint(workspace, endpoint.api_id) if endpoint else None
        if endpoint is None or scored is None:
            raise refuse_web_service()
        return self._make_document(scored, f"/workspaces/{workspace}/services/{endpoint.api_id}")

    def _make_document(self, scored: Scored, path: str) -> Answer:
        of = scored.of
        info = {"title": "", "description": "", "x-endpoint-name": scored.name}
        if isinstance(of, Endpoint):
            workspace = self._workspaces.workspaces[of.workspace]
            service = self._workspaces.services[of.workspace, of.service]
            info |= {"title": service.name, "description": service.description}
            info |= {"x-endpoint-description": of.settings["Description"]}
            outputs = {} if scored.training else {scored.output: scoring.ADDED_COLUMNS}
            inputs: Mapping[str, scoring.Columns] = {}
            host = regions.services_host(workspace.region)
        else:
            info |= {name: of.properties.get(name) or "" for name in ("title", "description")}
            inputs, outputs = (_read_ports(of.properties.get(one)) for one in ("input", "output"))
            host = regions.services_host(of.location)
        training = self._find_training(of)
        parameters = _describe_parameters(of, training)
        document = describe(f"{host}{path}", info, inputs, outputs, parameters, training)
        return Answer(200, data=render_compact(document))

    def _acquire(self, call: Call, scored: Scored) -> None:
        """Count a call until its reply is sent; refuse it if too many calls run."""
        service = call.segments[3]
        if self._running[service] >= scored.most_calls:
            message = (
                f"Request was throttled for {scored.name} endpoint. The maximum concurrency for"
                f" the endpoint is {scored.most_calls}."
            )
            raise refuse("ServiceUnavailable", "RequestThrottled", message)
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
            raise refuse_web_service()
        return found

    def _find_endpoint(self, workspace: str, api_id: str) -> Scored | None:
        endpoint = self._workspaces.by_api_id.get(api_id)
        if endpoint is None or endpoint.workspace != workspace:
            return None
        self._endpoints.finish_due(endpoint)
        keys = (endpoint.primary, endpoint.secondary)
        training = self._workspaces.services[workspace, endpoint.service].kind == "training"
        calls = endpoint.settings["MaxConcurrentCalls"]
        return Scored(endpoint.name, keys, calls, endpoint, training)

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
        return Scored(
            "default",
            keys,
            most,
            service,
            _returns_model(properties),
            _read_ports(properties.get("input")),
            _read_parameters(properties),
            next(iter(_name_ports(properties.get("output"))), "output1"),
        )

    def hold_models(self, call: Call, key: Key | None, seconds: float) -> bool:
        """Let the service of an accepted write answer with its present models for some time.

        The write has not taken effect yet. `key` is that of a New service. Returns whether the
        service exists.
        """
        until = self._operations.now() + seconds
        if key is not None:
            service = self._state.services.get(key)
            if service is None:
                return False
            assets = copy.deepcopy(service.properties.get("assets") or {})
            self._held[service.service_id] = (assets, until)
            return True
        _, workspace, _, web_service, _, name = call.segments[:6]
        endpoint = self._workspaces.endpoints.get((workspace, web_service), {}).get(name)
        if endpoint is None:
            return False
        self._held[endpoint.api_id] = (copy.deepcopy(endpoint.models), until)
        return True

    def _find_held(self, key: str) -> Json | None:
        """Return the models with which a service still answers, None for those that it has."""
        held, until = self._held.get(key, (None, 0.0))
        return held if self._operations.now() < until else None

    async def _load_models(self, of: Endpoint | Service) -> list[scoring.LoadedModel]:
        if isinstance(of, Endpoint):
            held = self._find_held(of.api_id)
            models = of.models if held is None else held
            return [_load_model(name, models[name]) for name in sorted(models)]
        held = self._find_held(of.service_id)
        assets = (of.properties.get("assets") or {}) if held is None else held
        uris = [
            (asset.get("locationInfo") or {}).get("uri") or ""
            for _, asset in sorted(assets.items())
            if asset.get("type") == "Resource"
        ]
        return [await self._load_blob(of, uri) for uri in uris]

    async def _load_blob(self, service: Service, uri: str) -> scoring.LoadedModel:
        """Return a model with its bytes as they were at the first scoring.

        Reported: a service continues with its copy when the blob is deleted. If the bytes cannot
        be read, the address takes their place.
        """
        key = (service.service_id, service.modified, uri)
        if key not in self._loaded:
            data = await self._storage.fetch(sign(uri))
            if len(self._loaded) >= _MOST_LOADED:
                self._loaded.clear()
            self._loaded[key] = scoring.LoadedModel.of(uri.encode() if data is None else data)
        return self._loaded[key]


def _load_model(name: str, model: Json) -> scoring.LoadedModel:
    """Return an endpoint's model; the digest of a published model is that of name and version."""
    if model.get("learned"):
        return scoring.LoadedModel.of(model["learned"].encode())
    published = f"{name}/{model.get('published')}"
    digest = model.get("digest") or hashlib.sha256(published.encode()).hexdigest()
    return scoring.LoadedModel(str(digest))


def _name_ports(side: Json) -> tuple[str, ...]:
    ports = side.get("properties") if isinstance(side, dict) else None
    return tuple(ports) if isinstance(ports, dict) else ()


def _read_ports(side: Json) -> dict[str, Json]:
    """Return the columns of each port of a definition."""
    ports = {name: side["properties"][name] or {} for name in _name_ports(side)}
    return {name: port.get("properties") or {} for name, port in ports.items()}


def _describe_parameters(of: Endpoint | Service, training: Training | None) -> Json:
    """Return the parameters of a service by name, each as its graph has it; None if it has none."""
    if isinstance(of, Endpoint):
        return dict.fromkeys(training.parameters if training is not None else ())
    return (of.properties.get("package") or {}).get("graphParameters") or {}


def _read_parameters(properties: Json) -> dict[str, bool]:
    """Return the parameters of a definition in lower case, and whether a call must set each.

    A parameter without a default must be set (published description). The defaults may spell a
    name in another case than the graph does (recorded).
    """
    package = properties.get("package") or {}
    named = {str(name).casefold(): True for name in package.get("graphParameters") or {}}
    for name, default in (properties.get("parameters") or {}).items():
        value = default.get("value") if isinstance(default, dict) else default
        named[str(name).casefold()] = value is None
    return named


def _returns_model(properties: Json) -> bool:
    """Return whether an output of a definition is the model that it trains."""
    package = properties.get("package") or {}
    nodes = package.get("nodes") or {}
    return any(
        str(edge.get("sourcePortId")).casefold() == "trained model"
        and (nodes.get(edge.get("targetNodeId")) or {}).get("outputId")
        for edge in package.get("edges") or ()
        if isinstance(edge, dict)
    )


def _refuse_training() -> Refusal:
    """Return the refusal of a service that trains: its output is a model, which only jobs write."""
    message = (
        "The model is incompatible with the request version. The request version only supports"
        " single datatable output models."
    )
    return refuse("InvalidOperation", "IncompatibleModel", message)


def _is_api_document(call: Call) -> bool:
    return call.segments[2].casefold() == "webservices"


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
        raise refuse("BadArgument", "BadVersionCall", message)


def _parse_input(call: Call, scored: Scored) -> scoring.TypedTable:
    """Return the only table in a call's body."""
    body = call.document() if call.body else None
    inputs = body.get("Inputs") if isinstance(body, dict) else None
    parameters = body.get("GlobalParameters", {}) if isinstance(body, dict) else None
    if not isinstance(inputs, dict) or not isinstance(parameters, dict):
        raise refuse_body()
    _check_parameters(parameters, scored)
    if not inputs:
        message = (
            "The web service expects an input, but no input was provided. Ensure valid inputs are"
            " provided based on the published input ports in the model and try again."
        )
        raise refuse("BadArgument", "MissingRequestInput", message)
    if len(inputs) > 1:
        message = "The model does not allow multiple inputs."
        raise refuse("InvalidOperation", "MultipleInputsNotAllowed", message)
    ((port, value),) = inputs.items()
    if scored.inputs and port not in scored.inputs:
        message = (
            f"Invalid service input name(s) specified in the request: {port[:60]}. Please map the"
            " input data to the correct service inputs and try again."
        )
        raise refuse("BadArgument", "InvalidInputNames", message)
    return scoring.parse_table(value, scored.inputs.get(port, {}))


def _check_parameters(given: Mapping[str, Json], scored: Scored) -> None:
    """Refuse a parameter that the service does not have, and the lack of one without a default."""
    if scored.parameters is None:
        return
    names = {name.casefold() for name in given}
    if not names <= scored.parameters.keys():
        message = (
            "Unexpected parameters provided. Verify all parameter names are spelled correctly, only"
            " expected parameters are passed, and try again."
        )
        raise refuse("BadArgument", "UnexpectedParameter", message)
    if any(needed and name not in names for name, needed in scored.parameters.items()):
        message = (
            "Not all required web service parameter(s) provided. Verify the parameter(s) expected"
            " for the module(s) are correct and try again."
        )
        raise refuse("BadArgument", "MissingRequiredGlobalParameters", message)
