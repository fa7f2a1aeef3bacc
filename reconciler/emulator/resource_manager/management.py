"""Answers the calls on web services: PUT, PATCH, GET, DELETE, lists, keys and regional copies.

The server routes the calls to this module. Operations are in `operations`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Final

from reconciler.emulator.randomness import RandomSource
from reconciler.emulator.replies import (
    Answer,
    Refusal,
    bad_request,
    describe_lost_blob,
    invalid_body,
    render,
    write_time,
)
from reconciler.emulator.requests import PREVIEW, Call, check_name
from reconciler.emulator.resource_manager import definitions, regions, views, write_checks
from reconciler.emulator.resource_manager.operations import Operations
from reconciler.emulator.resource_manager.pages import make_page
from reconciler.emulator.resource_manager.plans import read_plan_key
from reconciler.emulator.resource_manager.shapes import DefinitionSchema
from reconciler.emulator.state import Key, Service, State, make_key
from reconciler.emulator.storage import Storage
from reconciler.emulator.switches import Choices

Json = Any
_MOST_RENDERED: Final = 20_000
_PROVISIONING = {"provisioningState": "Provisioning"}
_PROVISIONING_WHOLE = {"payloadsInBlobStorage": False, **_PROVISIONING}


@dataclass(frozen=True)
class Parts:
    """What the calls use."""

    state: State
    random_source: RandomSource
    choices: Choices
    schema: DefinitionSchema
    storage: Storage
    operations: Operations


class Management:
    """Answers the calls on web services from the state. Use it from one thread only."""

    def __init__(self, parts: Parts) -> None:
        self._state = parts.state
        self._random_source = parts.random_source
        self._choices = parts.choices
        self._schema = parts.schema
        self._storage = parts.storage
        self._operations = parts.operations
        self._rendered: dict[Key, tuple[tuple[str, float, str, str], bytes]] = {}

    async def put(self, call: Call, subscription: str, group: str, name: str) -> Answer:
        """Create a service, or replace the whole definition of one."""
        body = self._parse_definition(call)
        preview = call.version == PREVIEW
        write_checks.check_put(body, self._choices, preview=preview)
        self._check_plan_exists(body)
        definitions.check_seals(body, body["location"], self._choices)
        old = self._operations.finish_due(make_key(subscription, group, check_name(name)))
        if old is not None:
            self._refuse_write(old)
            write_checks.check_storage_account(old.properties, body)
            write_checks.check_plan(old.properties, body, self._choices)
        sent = copy.deepcopy(body) if preview else body
        new = await self._make_new(body, old)
        service = old or Service(
            subscription,
            group,
            name,
            new["location"],
            self._random_source.hex32(),
            0.0,
            0.0,
            exists=False,
        )
        headers = await self._start(service, call, new)
        if preview:
            return Answer(201 if old is None else 200, views.show_echo(service, sent), headers)
        if old is not None and self._choices["put-existing-reply"] == "definition":
            return Answer(200, views.show_whole(service, new, self._choices), headers)
        stub = views.show_stub(service, new, _PROVISIONING_WHOLE)
        return Answer(201 if old is None else 200, stub, headers)

    async def _make_new(self, body: dict[str, Json], old: Service | None) -> dict[str, Json]:
        cased = await self._take_in_payload(body)
        before = old.properties if old else None
        properties = definitions.make_definition(body, before, self._random_source, self._choices)
        location = regions.display_name(body["location"])
        definitions.seal_parameters(properties, location, self._random_source, self._choices)
        tags = body.get("tags") or {}
        return {"properties": properties, "cased": cased, "tags": tags, "location": location}

    async def patch(self, call: Call, subscription: str, group: str, name: str) -> Answer:
        """Change a part of a definition."""
        service = self._existing(subscription, group, name)
        body = self._parse_definition(call)
        self._refuse_write(service)
        write_checks.check_location(service.location, body)
        definitions.check_seals(body, service.location, self._choices)
        properties = definitions.merge_patch(service.properties, body, self._choices)
        definitions.seal_parameters(
            properties, service.location, self._random_source, self._choices
        )
        given = body["properties"]
        new = {
            "properties": properties,
            "cased": {part: raw for part, raw in service.cased.items() if part not in given},
            "tags": definitions.merge_tags(service.tags, body, self._choices),
            "location": service.location,
        }
        self._check_plan_exists(body)
        headers = await self._start(service, call, new)
        if call.version == PREVIEW:
            # Recorded: the old definition, with the state and the time of the write.
            shown = views.show_whole(service, None, self._choices)
            shown["properties"]["modifiedOn"] = write_time(self._operations.now())
            return Answer(200, _as_preview(shown), headers)
        return Answer(200, views.show_stub(service, new, _PROVISIONING), headers)

    def get(self, call: Call, subscription: str, group: str, name: str) -> Answer:
        """Return the whole definition, or the copy that is encrypted for another region."""
        service = self._existing(subscription, group, name)
        region = call.query.get("region")
        if region is None and call.version != PREVIEW:
            return Answer(200, data=self._render(service))
        if region is None:
            running = self._operations.running(service)
            shown = views.show_current(service, running, self._choices)
        else:
            copied = _regional(service, region)
            shown = views.show_whole(service, {"properties": copied}, self._choices)
        return Answer(200, _as_preview(shown) if call.version == PREVIEW else shown)

    def _render(self, service: Service) -> bytes:
        """Return the bytes of a definition; they are cached until the next write."""
        plan = write_checks.read_plan_id(service.properties)
        version = (service.service_id, service.modified, service.operation, plan)
        cached = self._rendered.get(service.key)
        if cached is None or cached[0] != version:
            if len(self._rendered) > _MOST_RENDERED:
                self._rendered.clear()
            running = self._operations.running(service)
            cached = (version, render(views.show_current(service, running, self._choices)))
            self._rendered[service.key] = cached
        return cached[1]

    def delete(self, call: Call, subscription: str, group: str, name: str) -> Answer:
        """Delete a service; a missing service is not an error."""
        service = self._operations.finish_due(make_key(subscription, group, name))
        if service is None:
            return Answer(204, timed=False)
        self._refuse_busy(service)
        operation = self._operations.begin(service, "DELETE", None)
        return Answer(202, None, self._operations.announce(operation, call.version, results=True))

    def list_keys(self, subscription: str, group: str, name: str) -> Answer:
        """Return the keys; no other call shows them."""
        keys = self._existing(subscription, group, name).properties.get("keys", {})
        return Answer(200, {part: keys.get(part, "") for part in ("primary", "secondary")})

    def create_regional(self, call: Call, subscription: str, group: str, name: str) -> Answer:
        """Make the copy of a definition whose secrets are sealed for another region."""
        service = self._existing(subscription, group, name)
        region = call.query.get("region", "")
        if not region:
            message = "Invalid query parameter 'region'. It is required."
            raise bad_request("InvalidQueryParameter", message)
        self._refuse_busy(service)
        operation = self._operations.begin(service, "REGION", {"region": region})
        body = views.show_stub(service, None, _PROVISIONING_WHOLE)
        body["id"] = service.name  # recorded: the bare name, not the whole id
        body.pop("tags", None)
        return Answer(202, body, self._operations.announce(operation, call.version))

    def list_services(self, call: Call, subscription: str, group: str | None) -> Answer:
        """Return a page of services: of a group by name, of a subscription by region."""
        chosen = self._choose(subscription, group)
        page = make_page(
            call,
            chosen,
            int(self._choices["list-page-size"]),
            lambda one: views.show_sparse(one, self._operations.running(one), self._choices),
        )
        if group is not None:
            return Answer(200, page)
        ids = {"x-ms-original-request-ids": RandomSource(None).guid()}
        return Answer(200, page, ids, front=True, timed=False)

    def _choose(self, subscription: str, group: str | None) -> list[Service]:
        casefolded, within = subscription.casefold(), (group or "").casefold()
        keys = [
            key
            for key in self._state.services
            if key[0] == casefolded and (group is None or key[1] == within)
        ]
        found = [service for key in keys if (service := self._operations.finish_due(key))]
        found.sort(key=lambda one: one.name.casefold())
        return sorted(found, key=lambda one: one.location) if group is None else found

    async def _start(self, service: Service, call: Call, outcome: Json) -> dict[str, str]:
        failure = await self._find_failure(outcome["properties"])
        operation = self._operations.begin(service, call.method, outcome, failure)
        return self._operations.announce(operation, call.version)

    def _check_plan_exists(self, body: dict[str, Json]) -> None:
        """Refuse a commitment plan that does not exist, if the emulator checks it."""
        plan_id = write_checks.read_plan_id(body["properties"])
        checked = plan_id and self._choices["commitment-plan"] == "check"
        if checked and read_plan_key(plan_id) not in self._state.plans:
            raise invalid_body("properties.commitmentPlan.id")

    async def _find_failure(self, properties: Json) -> Json:
        """Return the error of an operation whose model cannot be read; None if it will succeed."""
        if self._choices["model-uri"] != "check":
            return None
        for asset_id, asset in (properties.get("assets") or {}).items():
            uri = ((asset or {}).get("locationInfo") or {}).get("uri") or ""
            if uri.startswith("http") and not await self._storage.has_blob(uri):
                return {
                    "code": "BadRequest",
                    "target": f"assets.{asset_id}.locationInfo.uri",
                    "message": "The request is invalid.",
                    "details": [describe_lost_blob(uri)],
                }
        return None

    def _parse_definition(self, call: Call) -> dict[str, Json]:
        preview = call.version == PREVIEW
        body = definitions.parse_body(call.document(), self._schema, self._choices, preview=preview)
        write_checks.check_diagnostics(body, self._operations.now())
        return body

    async def _take_in_payload(self, body: dict[str, Json]) -> Json:
        """Read large parts from the blob of a PUT into `body`.

        Returns the parts that keep the casing of the blob.
        """
        properties = body["properties"]
        location = properties.pop("payloadsLocation", None)
        if not properties.pop("payloadsInBlobStorage", False):
            return {}
        if not isinstance(location, dict) or not location.get("uri"):
            raise invalid_body("properties.payloadsLocation.uri")
        inline = [part for part in definitions.LARGE_PARTS if properties.get(part)]
        if inline:
            raise invalid_body(*(f"properties.{part}" for part in inline))
        raw = await self._storage.fetch_json(location["uri"])
        casefolded = {name.casefold(): value for name, value in raw.items()}
        wrapped = {
            part: casefolded[part.casefold()]
            for part in definitions.LARGE_PARTS
            if part.casefold() in casefolded
        }
        taken = definitions.parse_body({"properties": wrapped}, self._schema, self._choices)
        properties.update(taken["properties"])
        return {part: wrapped[part] for part in definitions.CASED_PARTS if part in wrapped}

    def _existing(self, subscription: str, group: str, name: str) -> Service:
        key = make_key(subscription, group, name)
        service = self._operations.finish_due(key)
        if service is None:
            self._rendered.pop(key, None)
            raise no_such_service(name)
        return service

    def _refuse_write(self, service: Service) -> None:
        self._refuse_busy(service)
        if service.properties.get("readOnly"):
            detail = ("WebServiceReadOnly", f"The web service {service.name} is read-only.")
            status = int(self._choices["read-only-status"])
            raise Refusal(status, "BadRequest", "The request is invalid.", detail)

    def _refuse_busy(self, service: Service) -> None:
        if service.operation and self._choices["write-while-provisioning"] == "conflict":
            message = f"Another operation on {service.name} is still in progress."
            raise Refusal(
                409,
                "Conflict",
                "The request conflicts with the current state of the resource.",
                ("WebServiceProvisioning", message),
            )


def _as_preview(shown: Json) -> Json:
    return {**shown, "properties": definitions.show_preview(shown["properties"])}


def no_such_service(name: str) -> Refusal:
    """Return the recorded 404 for a missing service."""
    message = f"No Web Service could be found with the provided name: {name}."
    return _not_found("WebServiceNotFound", message)


def _not_found(code: str, message: str) -> Refusal:
    return Refusal(404, "NotFound", "The specified resource was not found.", (code, message))


def _regional(service: Service, region: str) -> Json:
    copied = service.regions.get(regions.short_name(region))
    if copied is None:
        message = (
            f"Web Service Definition for region {region} was not found. Please use the same URL"
            " making a POST call and wait for it succeeded, then try GET again."
        )
        raise _not_found("PerRegionPayloadNotFound", message)
    return copied
