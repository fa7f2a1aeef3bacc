"""The documents in replies about a service: whole, sparse (lists), or a stub (after a write).

They read the state and never change it. `management` and `operations` call them.
"""

from __future__ import annotations

from typing import Any, Final

from reconciler.emulator.replies import write_time
from reconciler.emulator.resource_manager import definitions, regions
from reconciler.emulator.state import Operation, Service
from reconciler.emulator.switches import Choices

Json = Any
PROVIDER: Final = "Microsoft.MachineLearning"


def make_id(subscription: str, group: str, kind: str, name: str) -> str:
    """Return a Resource Manager id in the casing of its parts."""
    scope = f"/subscriptions/{subscription}/resourceGroups/{group}"
    return f"{scope}/providers/{PROVIDER}/{kind}/{name}"


def show_current(service: Service, running: Operation | None, choices: Choices) -> dict[str, Json]:
    """Return what GET shows now, also while an operation runs."""
    reading = choices["get-while-provisioning"]
    outcome = running.outcome if running and running.verb in {"PUT", "PATCH"} else None
    if running and (reading == "stub" or not service.exists):
        return show_stub(service, outcome or {}, {"provisioningState": "Provisioning"})
    return show_whole(service, outcome if reading == "new" else None, choices)


def show_whole(service: Service, outcome: Json, choices: Choices) -> dict[str, Json]:
    """Return the definition; the values of a write's `outcome` replace the stored values."""
    new: dict[str, Json] = outcome or {}
    stored: dict[str, Json] = new.get("properties") or service.properties
    properties = {**stored, **_server_owned(service)}
    cased = new.get("cased", service.cased)
    shown = _envelope(service, new)
    shown["properties"] = definitions.show_full(properties, cased, choices)
    return shown


def show_stub(service: Service, outcome: Json, properties: Json) -> dict[str, Json]:
    """Return the envelope with only the given properties."""
    return {**_envelope(service, outcome or {}), "properties": properties}


def show_echo(service: Service, sent: dict[str, Json]) -> dict[str, Json]:
    """Return the reply to a PUT of 2016-05-01-preview: what was sent, with its secrets (recorded).

    It has no tags if none were sent.
    """
    echoed = show_stub(
        service,
        {"location": regions.display_name(sent["location"]), "tags": sent.get("tags") or {}},
        definitions.show_preview({**sent["properties"], "provisioningState": "Provisioning"}),
    )
    if "tags" not in sent:
        del echoed["tags"]
    return echoed


def show_sparse(service: Service, running: Operation | None, choices: Choices) -> Json:
    """Return the item of a list."""
    shown = show_current(service, running, choices)
    full = {**shown["properties"], **_server_owned(service)}
    item = {**shown, "properties": definitions.show_sparse(full)}
    if service.state == "Failed":
        item.pop("tags", None)
    return item


def _envelope(service: Service, new: dict[str, Json]) -> dict[str, Json]:
    return {
        "id": make_id(service.subscription, service.group, "webServices", service.name),
        "name": service.name,
        "type": f"{PROVIDER}/webServices",
        "location": new.get("location", service.location),
        "tags": new.get("tags", service.tags),
    }


def _server_owned(service: Service) -> dict[str, Json]:
    host = regions.services_host(service.location)
    plain = service.subscription.replace("-", "")
    swagger = f"https://{host}/subscriptions/{plain}/services/{service.service_id}/swagger.json"
    return {
        "payloadsInBlobStorage": False,
        "provisioningState": service.state,
        "createdOn": write_time(service.created),
        "modifiedOn": write_time(service.modified),
        "swaggerLocation": swagger,
    }
