"""Answers the calls on the endpoints of Classic web services.

Classic has no operation that a client can poll: a PATCH is accepted, and it takes effect some
seconds later. `management` routes the calls to this module.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from reconciler.emulator.classic import endpoint_rules as rules
from reconciler.emulator.classic.views import render_compact, show_endpoint
from reconciler.emulator.classic.workspaces import (
    DEFAULT,
    UNSAID,
    Endpoint,
    EndpointKey,
    WebService,
    Workspaces,
    publish_models,
)
from reconciler.emulator.replies import Answer, Refusal, refuse_web_service
from reconciler.emulator.requests import Call
from reconciler.emulator.state import Before
from reconciler.emulator.storage import Storage
from reconciler.emulator.switches import Choices
from reconciler.emulator.training.learner import Model

Json = Any
NOT_MODIFIED: Final = Answer(304)


@dataclass(frozen=True)
class ClassicParts:
    """What the calls of Classic use. A PATCH takes effect after `seconds`.

    With `remembers`, the state before each write is kept for `get_before_last_write`.
    """

    workspaces: Workspaces
    choices: Choices
    storage: Storage
    clock: Callable[[], float]
    seconds: float
    blob_url: str
    remembers: bool


class Endpoints:
    """Answers the calls on endpoints from the state. Use it from one thread only."""

    def __init__(self, parts: ClassicParts) -> None:
        self._parts = parts
        self._workspaces = parts.workspaces
        self._choices = parts.choices
        self._rendered: dict[str, bytes] = {}
        self._befores: dict[EndpointKey, Before] = {}
        self._undo: Callable[[], None] | None = None

    def list_all(self, service: WebService) -> Answer:
        """Return all endpoints of a web service; 204 and no body if it has no endpoint."""
        endpoints = self._workspaces.endpoints[service.workspace, service.id]
        if not endpoints:
            return Answer(204)
        rendered = [self._render(endpoints[name]) for name in sorted(endpoints)]
        return Answer(200, data=b"[" + b",".join(rendered) + b"]")

    def get(self, service: WebService, name: str) -> Answer:
        """Return one endpoint."""
        endpoint = self.find(service, name)
        return Answer(200, data=self._render(endpoint)) if endpoint else self._answer_missing()

    def _answer_missing(self) -> Answer:
        if self._choices["classic-missing-endpoint"] == "204":
            return Answer(204)
        return Answer(404, refuse_web_service().body)

    def put(self, call: Call, service: WebService, name: str) -> Answer:
        """Create an endpoint with the web service's current models."""
        rules.check_name(name)
        tier = self._workspaces.workspaces[service.workspace].tier
        settings = rules.parse_new_settings(call.document(), tier, self._choices)
        old = self.find(service, name)
        if old is not None:
            return self._put_over(old, settings)
        rules.check_room(tier, len(self._workspaces.endpoints[service.workspace, service.id]))
        now = self._parts.clock()
        endpoint = self._workspaces.make_endpoint(service, name, settings, now)
        self._remember(endpoint.key, None, now)
        self._workspaces.keep(endpoint)
        self._undo = lambda: self._drop(endpoint)
        return self._reply("put", endpoint)

    def _put_over(self, endpoint: Endpoint, settings: Json) -> Answer:
        if self._choices["classic-put-existing"] == "reject":
            raise rules.bad_argument(f"The endpoint '{endpoint.name}' exists already.")
        self._accept(endpoint, {"settings": {**UNSAID, **settings}}, {})
        return self._reply("put", endpoint)

    async def patch(self, call: Call, service: WebService, name: str) -> Answer:
        """Change an endpoint: its model later, its settings at once or later."""
        try:
            return await self._patch(call, service, name)
        except Refusal as refusal:
            if refusal.status == 400:
                refusal.status = int(self._choices["classic-refused-patch-status"])
                if self._choices["classic-refused-patch-body"] == "empty":
                    refusal.body = {}
            raise

    async def _patch(self, call: Call, service: WebService, name: str) -> Answer:
        endpoint = self.find(service, name) or _refuse_missing()
        body, tier = call.document(), self._workspaces.workspaces[service.workspace].tier
        self._check_default(endpoint, body)
        foreseen = endpoint.preview()
        settings = rules.parse_changed_settings(body, foreseen, tier, self._choices)
        located = rules.parse_models(body, foreseen, self._parts.clock())
        models = {one: await self._take_in(location) for one, location in located.items()}
        # During the reads other calls may have changed or deleted the endpoint.
        self.begin()
        endpoint = self.find(service, name) or _refuse_missing()
        reading = self._choices["classic-patch-default"]
        if name != DEFAULT or reading != "ignore":
            # Documented: the default endpoint follows the publications and takes no other model.
            located = {"models": models} if models and name != DEFAULT else {}
            self._accept(endpoint, {"settings": settings}, located)
        return self._reply("patch", endpoint)

    def _check_default(self, endpoint: Endpoint, body: Json) -> None:
        reading = self._choices["classic-patch-default"]
        models = isinstance(body, dict) and body.get("Resources")
        if endpoint.name == DEFAULT and (
            reading == "reject" or (reading == "reject-model" and models)
        ):
            raise rules.bad_argument("The default endpoint cannot be patched.")

    async def _take_in(self, location: Json) -> Json:
        """Return a model as an endpoint stores it, with the digest of its bytes now.

        The service copies the bytes, so later changes of the blob have no effect. If the bytes
        cannot be read (other storage, or trusted), the digest is that of the address.
        """
        uri = rules.join_address(location["BaseLocation"], location["RelativeLocation"])
        data = None
        if self._parts.blob_url and uri.startswith(f"{self._parts.blob_url.rstrip('/')}/"):
            token = location["SasBlobToken"].lstrip("?")
            data = await self._parts.storage.fetch(f"{uri}?{token}")
            if data is None and self._choices["classic-model"] == "check":
                raise rules.bad_model("the blob cannot be read")
        digest = hashlib.sha256(uri.encode() if data is None else data).hexdigest()
        learned = data is not None and Model.load(data) is not None
        kept = {"learned": data.decode()} if data is not None and learned else {}
        return {"location": location, "digest": digest, **kept}

    def refresh(self, call: Call, service: WebService, name: str) -> Answer:
        """Update an endpoint to the service's version; its models only with OverwriteResources."""
        endpoint = self.find(service, name) or _refuse_missing()
        overwrite = rules.wants_overwrite(call.document() if call.body else {})
        if name == DEFAULT:
            raise rules.bad_argument("The default endpoint cannot be refreshed.")
        foreseen, published = endpoint.preview(), publish_models(service)
        models = published if overwrite else _keep_models(foreseen.models, published)
        if foreseen.version == service.version and foreseen.models == models:
            return NOT_MODIFIED
        if foreseen.settings["PreventUpdate"]:
            if self._choices["classic-prevent-update"] == "not-modified":
                return NOT_MODIFIED
            raise rules.bad_argument(f"The endpoint '{name}' prevents updates.")
        self._accept(endpoint, {"version": service.version, "all_models": models}, {})
        return Answer(int(self._choices["classic-refresh-status"]))

    def delete(self, service: WebService, name: str) -> Answer:
        """Delete an endpoint; the default endpoint only if it is the last."""
        endpoint = self.find(service, name) or _refuse_missing()
        others = len(self._workspaces.endpoints[service.workspace, service.id]) - 1
        if name == DEFAULT and others:
            raise rules.bad_argument(
                "The default endpoint cannot be deleted while there are other endpoints."
            )
        self._remember(endpoint.key, self._render(endpoint), self._parts.clock())
        self._drop(endpoint)
        self._undo = lambda: self._workspaces.bring_back(endpoint)
        return Answer(int(self._choices["classic-delete-status"]))

    def find(self, service: WebService, name: str) -> Endpoint | None:
        """Return an endpoint after its due writes have taken effect; None if it does not exist."""
        endpoint = self._workspaces.endpoints[service.workspace, service.id].get(name)
        if endpoint is not None:
            self.finish_due(endpoint)
        return endpoint

    def finish_due(self, endpoint: Endpoint) -> None:
        """Apply the writes that are due."""
        if endpoint.pending and endpoint.finish_due(self._parts.clock()):
            self._rendered.pop(endpoint.api_id, None)

    def forget_rendered(self) -> None:
        """Clear the rendered documents, because a publication has changed endpoints."""
        self._rendered.clear()

    def get_before_last_write(self, call: Call) -> Before | None:
        """Return what GET showed before the last write since the start; None without a write."""
        match call.segments:
            case (_, workspace, _, service, _, name):
                return self._befores.get((workspace, service, name))
        return None

    def show_before(self, before: Before) -> Answer:
        """Return the reply to a GET before the last write."""
        if before.document is not None:
            return Answer(200, data=before.document)
        return self._answer_missing()

    def spoil(self, answer: Answer) -> bool:
        """Undo the write that an answer accepted. Returns False if the answer accepted no write."""
        undo, self._undo = self._undo, None
        if undo is None or answer.status >= 300:
            return False
        undo()
        return True

    def begin(self) -> None:
        """Begin a call; the write of an earlier call can no longer be undone."""
        self._undo = None

    def _accept(self, endpoint: Endpoint, change: Json, delayed: Json) -> None:
        """Accept a write: `delayed` takes effect later; the switch decides it for `change`."""
        now = self._parts.clock()
        later = now + self._parts.seconds
        soon = later if self._choices["classic-delayed"] == "all" else now
        added = [{"due": soon, **change}, *([{"due": later, **delayed}] if delayed else [])]
        self._remember(endpoint.key, self._render(endpoint), added[-1]["due"])
        endpoint.pending += added
        self._workspaces.keep(endpoint)

        def undo() -> None:
            endpoint.pending = [
                one for one in endpoint.pending if all(one is not each for each in added)
            ]
            self._workspaces.keep(endpoint)

        self._undo = undo

    def _reply(self, method: str, endpoint: Endpoint) -> Answer:
        status = int(self._choices[f"classic-{method}-status"])
        if status == 204 or self._choices["classic-write-body"] == "empty":
            return Answer(status)
        return Answer(status, data=self._render(endpoint))

    def _render(self, endpoint: Endpoint) -> bytes:
        """Return the bytes of a document; they are cached until the next change."""
        self.finish_due(endpoint)
        data = self._rendered.get(endpoint.api_id)
        if data is None:
            workspace = self._workspaces.workspaces[endpoint.workspace]
            data = render_compact(show_endpoint(endpoint, workspace, self._choices))
            self._rendered[endpoint.api_id] = data
        return data

    def _drop(self, endpoint: Endpoint) -> None:
        self._rendered.pop(endpoint.api_id, None)
        self._workspaces.drop_endpoint(endpoint)

    def _remember(self, key: EndpointKey, document: bytes | None, ended: float) -> None:
        if self._parts.remembers:
            self._befores[key] = Before(key, document, ended)


def _keep_models(models: Json, published: Json) -> Json:
    """Return the published models, but keep each model that an endpoint already has."""
    return {name: copy.deepcopy(models.get(name, model)) for name, model in published.items()}


def _refuse_missing() -> Endpoint:
    raise refuse_web_service()
