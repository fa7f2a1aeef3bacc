"""Authorizes and routes Classic's management calls, and answers those on web services.

The server calls it. The calls on endpoints are in `endpoints`.
"""

from __future__ import annotations

import hmac
import re
from typing import Any, Final

from reconciler.emulator.classic import endpoint_rules as rules
from reconciler.emulator.classic.endpoints import ClassicParts, Endpoints
from reconciler.emulator.classic.views import render_compact, show_service
from reconciler.emulator.classic.workspaces import WebService
from reconciler.emulator.classic.world_file import Publication
from reconciler.emulator.replies import (
    Answer,
    Refusal,
    refuse,
    refuse_body,
    refuse_web_service,
)
from reconciler.emulator.requests import Call

Json = Any
_ID: Final = re.compile(r"[0-9a-f]{32}")
_PUBLISHED: Final = ("Name", "Description", "Resources")


class Classic:
    """Answers the calls on Classic web services; passes calls on endpoints to Endpoints."""

    def __init__(self, parts: ClassicParts, token: str) -> None:
        self._parts = parts
        self._workspaces = parts.workspaces
        self._token = token
        self.endpoints = Endpoints(parts)

    def authorize(self, call: Call, given: str) -> None:
        """Refuse a wrong token.

        A workspace's token opens all calls on it. An endpoint's key opens the calls on that
        endpoint.
        """
        workspace = self._workspaces.workspaces.get(call.segments[1])
        tokens = [workspace.token or self._token] if workspace else []
        match call.segments:
            case (_, known, _, service, _, name, *_):
                endpoint = self._workspaces.endpoints.get((known, service), {}).get(name)
                tokens += [endpoint.primary, endpoint.secondary] if endpoint else []
        if not any(is_same(given, token) for token in tokens):
            raise refuse("Unauthorized", "ManagementRequestUnauthorized", "Unauthorized")

    async def answer(self, call: Call) -> Answer:
        """Answer the call of a path and method; ids and names are case-sensitive."""
        self.endpoints.begin()
        workspace, rest = call.segments[1], call.segments[3:]
        words = [segment.casefold() for segment in rest]
        match words:
            case []:
                allow(call, "GET")
                return self._list_services(workspace)
            case [_]:
                return self._route_service(call, workspace, rest[0])
            case [_, "endpoints"]:
                allow(call, "GET")
                return self.endpoints.list_all(self._find(workspace, rest[0]))
            case [_, "endpoints", _]:
                return await self._route_endpoint(call, self._find(workspace, rest[0]), rest[2])
            case [_, "endpoints", _, "refresh"]:
                allow(call, "POST")
                return self.endpoints.refresh(call, self._find(workspace, rest[0]), rest[2])
        raise Refusal(404, "NotFound", "Resource not found.")

    def _route_service(self, call: Call, workspace: str, service_id: str) -> Answer:
        allow(call, "GET", "PUT", "DELETE")
        if call.method == "PUT":
            return self._publish(call, workspace, service_id)
        service = self._find(workspace, service_id)
        if call.method == "DELETE":
            self._workspaces.drop_service(service)
            return Answer(int(self._parts.choices["classic-delete-status"]))
        return Answer(200, data=render_compact(self._show(service)))

    async def _route_endpoint(self, call: Call, service: WebService, name: str) -> Answer:
        allow(call, "GET", "PUT", "PATCH", "DELETE")
        if call.method == "PUT":
            return self.endpoints.put(call, service, name)
        if call.method == "PATCH":
            return await self.endpoints.patch(call, service, name)
        if call.method == "DELETE":
            return self.endpoints.delete(service, name)
        return self.endpoints.get(service, name)

    def _list_services(self, workspace: str) -> Answer:
        services = self._workspaces.services
        shown = [self._show(services[key]) for key in sorted(services) if key[0] == workspace]
        return Answer(200, data=render_compact(shown)) if shown else Answer(204)

    def _publish(self, call: Call, workspace: str, service_id: str) -> Answer:
        """Publish a web service, or publish it again.

        The field `Resources`, a list of names, exists only in the emulator. Without it, a new web
        service has no updatable resources, and an existing one keeps its resources.
        """
        old = self._workspaces.services.get((workspace, service_id))
        body = call.document()
        if not _ID.fullmatch(service_id):
            message = "Invalid web service id provided. Web service id should be a valid guid."
            raise refuse("BadArgument", "WebServiceIdInvalid", message)
        if not isinstance(body, dict):
            raise refuse_body()
        before = (old.name, old.description, old.resources) if old else ("", "", [])
        name, description, resources = (
            body.get(field, value) for field, value in zip(_PUBLISHED, before, strict=True)
        )
        if not (isinstance(name, str) and name and isinstance(description, str)):
            raise rules.bad_argument("The value of Name or Description is not valid.")
        if not isinstance(resources, list) or not all(isinstance(one, str) for one in resources):
            raise rules.bad_argument("The value of Resources is not valid.")
        kind = old.kind if old else "predictive"
        publication = Publication(service_id, name, tuple(dict.fromkeys(resources)), kind)
        now = self._parts.clock()
        service = self._workspaces.publish(workspace, publication, description, now)
        self.endpoints.forget_rendered()
        return Answer(200 if old else 201, data=render_compact(self._show(service)))

    def _show(self, service: WebService) -> Json:
        count = len(self._workspaces.endpoints[service.workspace, service.id])
        return show_service(service, count, self._parts.choices)

    def _find(self, workspace: str, service_id: str) -> WebService:
        service = self._workspaces.services.get((workspace, service_id))
        if service is None:
            raise self._refuse_missing(service_id)
        return service

    def _refuse_missing(self, service_id: str) -> Refusal:
        if any(service_id == one for _, one in self._workspaces.services):
            message = (
                "Web service under this workspace not found. There is a mismatch between the"
                " webServiceId and the workspaceId. Verify the web service provided is part of the"
                " workspace and try again."
            )
            return refuse("NotFound", "WebServiceIdNotFoundInWorkspace", message)
        return refuse_web_service()


def allow(call: Call, *methods: str) -> None:
    """Refuse a method that the address does not support."""
    if call.method not in methods:
        message = f"The method {call.method[:20]} is not supported here."
        raise Refusal(405, "MethodNotAllowed", message, headers={"Allow": ", ".join(methods)})


def is_same(given: str, wanted: str) -> bool:
    """Return whether two secrets are equal, in constant time."""
    return hmac.compare_digest(
        given.encode("utf-8", "surrogateescape"), wanted.encode("utf-8", "surrogateescape")
    )
