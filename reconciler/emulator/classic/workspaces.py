"""The state of Classic: workspaces, their published web services, and the endpoints.

It stores all records through State in SQLite, and reads them from memory. The calls of Classic
and of scoring use it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from reconciler.emulator.classic.world_file import Publication, Workspace
from reconciler.emulator.randomness import RandomSource
from reconciler.emulator.state import State

Json = Any
EndpointKey = tuple[str, str, str]
DEFAULT: Final = "default"
# The settings of a new endpoint if the request does not set them.
UNSAID: Final = {"Description": "", "PreventUpdate": False, "DiagnosticsTraceLevel": "None"}
# Documented: the default endpoint has 4 calls in a free workspace and 20 in other workspaces.
_DEFAULT_LEVELS: Final = {"free": ("Low", 4), "standard": ("High", 20)}


@dataclass
class WebService:
    """A web service, from which endpoints are made. `version` is when its model was published."""

    workspace: str
    id: str
    name: str
    created: float
    version: float
    resources: list[str] = field(default_factory=list)
    description: str = ""
    kind: str = "predictive"
    training: Json = None


@dataclass
class Endpoint:
    """An endpoint. `settings` has the names of its document. Times are in seconds since 1970.

    `models` holds for each resource `{"published": version}` or `{"location", "digest"}`.
    `pending` holds the writes that have not taken effect: what they set, and when (`due`).
    """

    workspace: str
    service: str
    name: str
    api_id: str
    primary: str
    secondary: str
    created: float
    version: float
    settings: Json
    models: Json
    pending: list[Json] = field(default_factory=list)

    @property
    def key(self) -> EndpointKey:
        """Return the key of the endpoint; names are case-sensitive."""
        return self.workspace, self.service, self.name

    def finish_due(self, now: float) -> bool:
        """Apply the writes that are due. Returns whether there were any."""
        due = [change for change in self.pending if change["due"] <= now]
        for change in due:
            self.apply_change(change)
            self.pending.remove(change)
        return bool(due)

    def apply_change(self, change: Json) -> None:
        """Apply a write; `all_models` replaces all models, `models` only those it names."""
        self.settings.update(change.get("settings", {}))
        self.models = copy.deepcopy(change.get("all_models", self.models))
        self.models.update(change.get("models", {}))
        self.version = change.get("version", self.version)

    def preview(self) -> Endpoint:
        """Return a copy of the endpoint with all pending writes applied."""
        foreseen = copy.deepcopy(self)
        foreseen.finish_due(float("inf"))
        return foreseen


class Workspaces:
    """The records of Classic by key. Every change is committed before the reply is sent."""

    def __init__(self, state: State, random_source: RandomSource) -> None:
        self._state = state
        self._random_source = random_source
        self.workspaces = {one["id"]: Workspace(**one) for one in state.read("workspace")}
        self.services: dict[tuple[str, str], WebService] = {}
        self.endpoints: dict[tuple[str, str], dict[str, Endpoint]] = {}
        self.by_api_id: dict[str, Endpoint] = {}
        for one in state.read("classic-service"):
            self._hold_service(WebService(**one))
        for one in state.read("endpoint"):
            self._hold_endpoint(Endpoint(**one))

    def seed(self, world: Iterable[Workspace], now: float) -> None:
        """Add the workspaces of `world` that do not exist yet, with their web services."""
        for workspace in world:
            if workspace.id not in self.workspaces:
                self._bring_in(workspace, now)

    def _bring_in(self, workspace: Workspace, now: float) -> None:
        bare = {**asdict(workspace), "web_services": ()}
        self.workspaces[workspace.id] = Workspace(**bare)
        self._write([("workspace", (workspace.id,), bare)])
        for one in workspace.web_services:
            self.publish(workspace.id, one, "", now)

    def publish(
        self, workspace: str, publication: Publication, description: str, now: float
    ) -> WebService:
        """Create a web service with its default endpoint, or publish it again.

        A publication updates only the default endpoint. Other endpoints keep their version.
        """
        service = WebService(
            workspace,
            publication.id,
            publication.name,
            now,
            now,
            list(publication.resources),
            description,
            publication.kind,
            publication.training,
        )
        old = self.services.get((workspace, publication.id))
        service.created = old.created if old else now
        self._hold_service(service)
        endpoints = self.endpoints[workspace, service.id]
        default = endpoints.get(DEFAULT)
        if default is not None:
            default.apply_change({"version": now, "all_models": publish_models(service)})
        elif old is None:
            default = self.make_endpoint(service, DEFAULT, self._default_settings(workspace), now)
        self._write([_row(service), *([_row(default)] if default else [])])
        return service

    def _default_settings(self, workspace: str) -> Json:
        level, calls = _DEFAULT_LEVELS[self.workspaces[workspace].tier]
        return {"ThrottleLevel": level, "MaxConcurrentCalls": calls}

    def make_endpoint(self, service: WebService, name: str, settings: Json, now: float) -> Endpoint:
        """Return a new endpoint with the service's current models; it is not written yet."""
        endpoint = Endpoint(
            service.workspace,
            service.id,
            name,
            self._random_source.hex32(),
            self._random_source.key(),
            self._random_source.key(),
            now,
            service.version,
            {**UNSAID, **settings},
            publish_models(service),
        )
        self._hold_endpoint(endpoint)
        return endpoint

    def keep(self, endpoint: Endpoint) -> None:
        """Write an endpoint."""
        self._write([_row(endpoint)])

    def bring_back(self, endpoint: Endpoint) -> None:
        """Restore a deleted endpoint in memory and in the file."""
        self._hold_endpoint(endpoint)
        self.keep(endpoint)

    def drop_endpoint(self, endpoint: Endpoint) -> None:
        """Delete an endpoint."""
        self._forget(endpoint)
        self._write([], [("endpoint", endpoint.key)])

    def drop_service(self, service: WebService) -> None:
        """Delete a web service and its endpoints."""
        key = (service.workspace, service.id)
        endpoints = list(self.endpoints[key].values())
        for endpoint in endpoints:
            self._forget(endpoint)
        del self.services[key], self.endpoints[key]
        gone = [("endpoint", endpoint.key) for endpoint in endpoints]
        self._write([], [("classic-service", key), *gone])

    def _hold_service(self, service: WebService) -> None:
        self.services[service.workspace, service.id] = service
        self.endpoints.setdefault((service.workspace, service.id), {})

    def _hold_endpoint(self, endpoint: Endpoint) -> None:
        self.endpoints[endpoint.workspace, endpoint.service][endpoint.name] = endpoint
        self.by_api_id[endpoint.api_id] = endpoint

    def _forget(self, endpoint: Endpoint) -> None:
        del self.endpoints[endpoint.workspace, endpoint.service][endpoint.name]
        del self.by_api_id[endpoint.api_id]

    def _write(
        self,
        rows: list[tuple[str, tuple[str, ...], Json]],
        gone: Iterable[tuple[str, tuple[str, ...]]] = (),
    ) -> None:
        self._state.write(rows, gone, count=self._random_source.count)


def publish_models(service: WebService) -> Json:
    """Return the models of a service as they were published."""
    return {name: {"published": service.version} for name in service.resources}


def _row(record: WebService | Endpoint) -> tuple[str, tuple[str, ...], Json]:
    if isinstance(record, Endpoint):
        return "endpoint", record.key, asdict(record)
    return "classic-service", (record.workspace, record.id), asdict(record)
