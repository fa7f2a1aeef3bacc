"""Reads the bodies of writes: their shape, and what an endpoint or deployment becomes by them.

Names of properties match in any case, and properties that the service does not know are dropped.
The calls of the control plane use it.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

from reconciler.emulator.azureml.replies import refuse_request
from reconciler.emulator.replies import Refusal
from reconciler.emulator.requests import Call
from reconciler.emulator.resource_manager.shapes import check_definition, make_schema, spell

Json = Any
SERVER_VARIABLES: Final = ("AZUREML_MODEL_DIR", "AZUREML_ENTRY_SCRIPT", "AML_APP_ROOT")
SERVER_PROPERTIES: Final = ("azureml.onlineendpointid", "AzureAsyncOperationUri")
_TEXT: Final = {"type": "string"}
_TEXTS: Final = {"type": "object", "additionalProperties": _TEXT}
_ACCESS: Final = ("Enabled", "Disabled")
_AUTH_MODES: Final = ("Key", "AMLToken", "AADToken")
_SWITCHED: Final = {"type": "string", "enum": _ACCESS}
_SHARES: Final = {"type": "object", "additionalProperties": {"type": "integer"}}
_COUNT: Final = {"type": "integer", "minimum": 1}
_IDENTITY: Final = {
    "type": "object",
    "properties": {
        "type": {
            "type": "string",
            "enum": ["None", "SystemAssigned", "UserAssigned", "SystemAssigned,UserAssigned"],
        },
        "userAssignedIdentities": {"type": "object"},
    },
}
_SKU: Final = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "tier": _TEXT,
        "capacity": {"type": "integer", "minimum": 1, "maximum": 50},
    },
}
_PROBE: Final = {
    "type": "object",
    "properties": {
        "failureThreshold": _COUNT,
        "successThreshold": _COUNT,
        "timeout": _TEXT,
        "period": _TEXT,
        "initialDelay": _TEXT,
    },
}
_COMMON: Final = {"tags": _TEXTS, "location": _TEXT, "kind": _TEXT}
_ENDPOINT: Final = {
    "type": "object",
    "properties": {
        **_COMMON,
        "identity": _IDENTITY,
        "sku": {"type": "object"},
        "properties": {
            "type": "object",
            "properties": {
                "authMode": {"type": "string", "enum": _AUTH_MODES},
                "description": _TEXT,
                "properties": _TEXTS,
                "keys": {
                    "type": "object",
                    "properties": {"primaryKey": _TEXT, "secondaryKey": _TEXT},
                },
                "compute": _TEXT,
                "publicNetworkAccess": _SWITCHED,
                "traffic": _SHARES,
                "mirrorTraffic": _SHARES,
            },
        },
    },
}
_DEPLOYMENT: Final = {
    "type": "object",
    "properties": {
        **_COMMON,
        "identity": _IDENTITY,
        "sku": _SKU,
        "properties": {
            "type": "object",
            "properties": {
                "endpointComputeType": {"type": "string", "enum": ["Managed"]},
                "description": _TEXT,
                "properties": _TEXTS,
                "model": _TEXT,
                "modelMountPath": _TEXT,
                "codeConfiguration": {
                    "type": "object",
                    "properties": {"codeId": _TEXT, "scoringScript": _TEXT},
                },
                "environmentId": _TEXT,
                "environmentVariables": _TEXTS,
                "instanceType": _TEXT,
                "scaleSettings": {"type": "object", "properties": {"scaleType": _TEXT}},
                "requestSettings": {
                    "type": "object",
                    "properties": {
                        "requestTimeout": _TEXT,
                        "maxConcurrentRequestsPerInstance": _COUNT,
                        "maxQueueWait": _TEXT,
                    },
                },
                **dict.fromkeys(("livenessProbe", "readinessProbe", "startupProbe"), _PROBE),
                "appInsightsEnabled": {"type": "boolean"},
                "egressPublicNetworkAccess": _SWITCHED,
                "dataCollector": {"type": "object"},
                "privateNetworkConnection": {"type": "boolean"},
            },
        },
    },
}
_ENDPOINT_PATCH: Final = {
    "type": "object",
    "properties": {"tags": _TEXTS, "identity": _IDENTITY},
}
_DEPLOYMENT_PATCH: Final = {"type": "object", "properties": {"tags": _TEXTS, "sku": _SKU}}
_SCHEMAS: Final = {
    "endpoint": make_schema(_ENDPOINT, _ENDPOINT),
    "deployment": make_schema(_DEPLOYMENT, _DEPLOYMENT),
    "endpoint-patch": make_schema(_ENDPOINT_PATCH, _ENDPOINT_PATCH),
    "deployment-patch": make_schema(_DEPLOYMENT_PATCH, _DEPLOYMENT_PATCH),
}
_AS_SENT: Final = (
    "description",
    "codeConfiguration",
    "environmentId",
    "modelMountPath",
    "instanceType",
    "model",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "dataCollector",
)
# What a deployment has that its PUT does not say (recorded).
PROBE_DEFAULTS: Final = {
    "failureThreshold": 30,
    "successThreshold": 1,
    "timeout": "PT2S",
    "period": "PT10S",
    "initialDelay": "PT10S",
}


def read_body(call: Call, kind: str) -> dict[str, Json]:
    """Return the body of a write with the names of the schema; refuse values of a wrong type."""
    document = call.document()
    if not isinstance(document, dict):
        raise _refuse_places([""])
    spelled = spell(_SCHEMAS[kind], document)
    wrong = [*check_definition(_SCHEMAS[kind], spelled)] or [*_find_null_entries(spelled)]
    if wrong:
        raise _refuse_places(wrong)
    return dict(spelled)


def refuse_unknown(call: Call, kind: str) -> None:
    """Refuse a PATCH of members that it cannot change, such as traffic (documented: OpenAPI)."""
    known = _SCHEMAS[kind].properties
    unknown = [name for name in call.document() if name.casefold() not in known]
    if unknown:
        raise _refuse_places(unknown)


def make_endpoint(body: Mapping[str, Json], old: Json) -> dict[str, Json]:
    """Return the document of an endpoint after a PUT over the document `old` (None: a new one)."""
    given = body.get("properties") or {}
    for name in ("location", "properties.authMode"):
        _demand(body, name)
    before = old["properties"] if old else {"properties": {}}
    return {
        "location": body["location"],
        "tags": body.get("tags") or {},
        "kind": "Managed",
        "identity": _make_identity(body.get("identity")),
        "properties": {
            "description": given.get("description"),
            "properties": _add_properties(given, before),
            "authMode": _write_word(given["authMode"], _AUTH_MODES),
            "compute": given.get("compute"),
            "traffic": given.get("traffic") or {},
            "mirrorTraffic": given.get("mirrorTraffic") or {},
            "publicNetworkAccess": _write_switch(given, "publicNetworkAccess"),
        },
    }


def make_deployment(body: Mapping[str, Json], old: Json) -> dict[str, Json]:
    """Return the document of a deployment after a PUT over the document `old` (None: a new one).

    Members that the PUT leaves out are null; `fill_deployment` sets their defaults.
    """
    given = body.get("properties") or {}
    for name in ("location", "properties.endpointComputeType", "properties.instanceType"):
        _demand(body, name)
    before = old["properties"] if old else {"properties": {}}
    sku = body.get("sku") or {}
    return {
        "location": body["location"],
        "tags": body.get("tags") or {},
        "kind": "Managed",
        "sku": {"name": "Default", "tier": "Standard", "capacity": sku.get("capacity") or 1},
        "properties": {
            **{name: copy.deepcopy(given.get(name)) for name in _AS_SENT},
            "properties": _add_properties(given, before),
            "environmentVariables": dict(given.get("environmentVariables") or {}),
            "scaleSettings": given.get("scaleSettings") or {"scaleType": "Default"},
            "requestSettings": {
                "maxQueueWait": "PT0S",
                "requestTimeout": "PT0S",
                "maxConcurrentRequestsPerInstance": 1,
                **_drop_nulls(given.get("requestSettings")),
            },
            "appInsightsEnabled": given.get("appInsightsEnabled") or False,
            "egressPublicNetworkAccess": _write_switch(given, "egressPublicNetworkAccess"),
            "privateNetworkConnection": given.get("privateNetworkConnection") or False,
            "endpointComputeType": "Managed",
        },
    }


def fill_deployment(document: Json, body: Mapping[str, Json]) -> dict[str, Json]:
    """Return the document after the operation: with the defaults that its PUT reply lacks."""
    filled = copy.deepcopy(document)
    properties = filled["properties"]
    sent = (body.get("properties") or {}).get("requestSettings") or {}
    if sent.get("requestTimeout") is None:
        properties["requestSettings"]["requestTimeout"] = "PT5S"
    # Recorded: the older field is not kept.
    properties["requestSettings"]["maxQueueWait"] = "PT0S"
    for name in ("livenessProbe", "readinessProbe"):
        properties[name] = {**PROBE_DEFAULTS, **_drop_nulls(properties[name])}
    return dict(filled)


def patch_endpoint(old: Json, body: Mapping[str, Json], *, merges: bool) -> dict[str, Json]:
    """Return the document of an endpoint after a PATCH of its tags or identity."""
    new = copy.deepcopy(old)
    if body.get("identity") is not None:
        new["identity"] = _make_identity(body["identity"])
    return _patch_tags(new, body, merges=merges)


def patch_deployment(old: Json, body: Mapping[str, Json], *, merges: bool) -> dict[str, Json]:
    """Return the document of a deployment after a PATCH of its tags or its instance count."""
    new = copy.deepcopy(old)
    capacity = (body.get("sku") or {}).get("capacity")
    if capacity is not None:
        new["sku"]["capacity"] = capacity
    return _patch_tags(new, body, merges=merges)


def _patch_tags(new: Json, body: Mapping[str, Json], *, merges: bool) -> dict[str, Json]:
    tags = body.get("tags")
    if tags is not None:
        new["tags"] = {**new["tags"], **tags} if merges else tags
    return dict(new)


def _make_identity(given: Json) -> Json:
    """Return an identity with the ids that the service adds; null without one."""
    if not given or given.get("type") in {None, "None"}:
        return None
    made: dict[str, Json] = {"type": given["type"]}
    if "SystemAssigned" in given["type"]:
        made["principalId"] = "33333333-4444-5555-6666-777777777777"
        made["tenantId"] = "22222222-3333-4444-5555-666666666666"
    if "UserAssigned" in given["type"].split(","):
        ids = {"principalId": str(uuid.UUID(int=4)), "clientId": str(uuid.UUID(int=5))}
        named = given.get("userAssignedIdentities") or {}
        made["userAssignedIdentities"] = {name: dict(ids) for name in named}
    return made


def _write_word(given: str, words: tuple[str, ...]) -> str:
    """Return a word of the API in the spelling of its documents."""
    return next(word for word in words if word.casefold() == given.casefold())


def _write_switch(given: Mapping[str, Json], name: str) -> str:
    return _write_word(given.get(name) or "Enabled", _ACCESS)


def _add_properties(given: Mapping[str, Json], before: Mapping[str, Json]) -> dict[str, Json]:
    """Return the free properties: they can be added, and not removed or altered (OpenAPI)."""
    sent = {
        name: value
        for name, value in (given.get("properties") or {}).items()
        if name not in SERVER_PROPERTIES
    }
    old = before["properties"]
    altered = [name for name, value in sent.items() if name in old and old[name] != value]
    if altered:
        raise _refuse_places([f"properties.properties.{name}" for name in altered])
    return {**old, **sent}


def _drop_nulls(given: Json) -> dict[str, Json]:
    return {name: value for name, value in (given or {}).items() if value is not None}


def _find_null_entries(body: Mapping[str, Json]) -> Iterator[str]:
    """Yield the shares that are null: the check of types accepts null everywhere."""
    for name in ("traffic", "mirrorTraffic"):
        shares = (body.get("properties") or {}).get(name) or {}
        yield from (f"properties.{name}.{key}" for key, value in shares.items() if value is None)


def _demand(body: Mapping[str, Json], name: str) -> None:
    value: Json = body
    for part in name.split("."):
        value = (value or {}).get(part)
    if not isinstance(value, str) or not value.strip():
        raise _refuse_places([name])


def _refuse_places(places: list[str]) -> Refusal:
    named = ", ".join(one or "the body" for one in places[:20])
    return refuse_request("InvalidProperty", f"Missing or wrong: {named[:500]}", target=places[0])
