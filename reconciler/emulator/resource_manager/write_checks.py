"""Refuses writes of web services that lack a part, or that change what cannot be changed.

These functions only read their arguments. `management` and `definitions` call them before a write
begins.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from reconciler.emulator.replies import Refusal, bad_request, invalid_body
from reconciler.emulator.resource_manager import regions
from reconciler.emulator.switches import Choices

Json = Any
# Only these characters: the region becomes part of addresses. Every known region matches.
_LOCATION: Final = re.compile(r"[A-Za-z0-9 ._-]{1,64}", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DEMANDED: Final = (
    ("storageAccount", "name"),
    ("storageAccount", "key"),
    ("commitmentPlan", "id"),
)
_WORKSPACE: Final = ("machineLearningWorkspace", "id")
_MOST_CALLS: Final = 200


def check_put(body: dict[str, Json], choices: Choices, *, preview: bool) -> None:
    """Refuse a PUT that lacks required parts; the refusal names every missing part.

    A PUT of the preview without a workspace was recorded to succeed.
    """
    located = isinstance(body.get("location"), str) and _LOCATION.fullmatch(body["location"])
    missing = [] if located else ["location"]
    properties = body["properties"]
    missing += [] if _given(properties, "packageType") else ["properties.packageType"]
    demanded = _DEMANDED if choices["put-demands"] == "all" else ()
    if choices["workspace-demanded"] == "yes" and not preview:
        demanded = (*demanded, _WORKSPACE)
    missing += [
        f"properties.{part}.{name}"
        for part, name in demanded
        if not _given(properties.get(part) or {}, name)
    ]
    if missing:
        raise invalid_body(*missing)


def check_concurrency(properties: dict[str, Json]) -> None:
    """Refuse more concurrent calls than a service may have (documented)."""
    limits = properties.get("realtimeConfiguration")
    calls = limits.get("maxConcurrentCalls") if isinstance(limits, dict) else None
    if isinstance(calls, (int, float)) and not isinstance(calls, bool) and calls > _MOST_CALLS:
        raise bad_request(
            "WebServiceTooManyConcurrentRequestRequirement",
            f"Cannot set concurrent request requirement to more than {_MOST_CALLS}.",
            "properties.realtimeConfiguration.maxConcurrentCalls",
        )


def check_diagnostics(body: dict[str, Json], now: float) -> None:
    """Refuse diagnostics without a level, or that have ended (documented: error codes)."""
    diagnostics = body["properties"].get("diagnostics")
    if not isinstance(diagnostics, dict):
        return
    if not diagnostics.get("level"):
        message = "Diagnostics settings are incomplete."
        raise bad_request("IncompleteSettings", message, "properties.diagnostics.level")
    expiry = diagnostics.get("expiry")
    if expiry is None:
        return
    try:
        moment = datetime.fromisoformat(str(expiry))
    except ValueError as error:
        raise invalid_body("properties.diagnostics.expiry") from error
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if zoned - _EPOCH <= timedelta(seconds=now):
        raise bad_request(
            "ExpiryTimeInThePast",
            f"Expiry time provided is in the past: {expiry}. Provide a future expiry time in UTC"
            " and try again. To never expire, set expiry time to NULL.",
            "properties.diagnostics.expiry",
        )


def _given(part: dict[str, Json], name: str) -> bool:
    return part.get(name) not in (None, "")


def check_storage_account(old: Json, body: dict[str, Json]) -> None:
    """Refuse another storage account (public report azure-powershell#3465)."""
    given = (body["properties"].get("storageAccount") or {}).get("name") or ""
    name = old.get("storageAccount", {}).get("name", "")
    if given and name and given.casefold() != name.casefold():
        raise bad_request(
            "CannotChangeStorageAccount",
            "The StorageAccount cannot be changed. Currently configured storage account name"
            f" = '{name}'.",
            "properties.storageAccount.name",
        )


def check_plan(old: Json, body: dict[str, Json], choices: Choices) -> None:
    """Refuse another commitment plan than the service has, or drop it from `body`.

    A plan is set at creation and cannot be changed (documented). How the service answers a try is
    not known. A PATCH that repeats the plan succeeds (recorded).
    """
    given, now = (read_plan_id(one) for one in (body["properties"], old))
    if not now or not given or given.casefold() == now.casefold():
        return
    if choices["commitment-plan-change"] == "reject":
        message = "The CommitmentPlan cannot be changed."
        raise bad_request("CannotChangeCommitmentPlan", message, "properties.commitmentPlan.id")
    body["properties"]["commitmentPlan"] = old["commitmentPlan"]


def read_plan_id(properties: Json) -> str:
    """Return the id of the plan in a definition's properties; empty without one."""
    plan = properties.get("commitmentPlan")
    found = plan.get("id") if isinstance(plan, dict) else ""
    return found.rstrip("/") if isinstance(found, str) else ""


def check_location(old: str, body: dict[str, Json]) -> None:
    """Refuse a PATCH that changes the location; it may repeat the location."""
    given = body.get("location")
    if given and regions.short_name(given) != regions.short_name(old):
        raise Refusal(
            400,
            "InvalidResourceLocation",
            f"The resource already exists in location '{regions.short_name(old)}'.",
        )
