"""What a write stores of a definition, and what a read shows of it.

These functions change only their arguments and draw from `RandomSource`. `management` and
`operations` call them.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from reconciler.emulator.randomness import RandomSource
from reconciler.emulator.replies import bad_request, invalid_body
from reconciler.emulator.resource_manager import regions, write_checks
from reconciler.emulator.resource_manager.shapes import DefinitionSchema, check_definition, spell
from reconciler.emulator.switches import Choices

Json = Any
LARGE_PARTS: Final = ("assets", "input", "output", "package", "parameters", "exampleRequest")
# These keep the casing of the blob that they come from (recorded: large payloads, 2017).
CASED_PARTS: Final = ("assets", "input", "output", "exampleRequest")
_SERVER_OWNED: Final = ("createdOn", "modifiedOn", "provisioningState", "swaggerLocation")
_ORDER: Final = (
    "payloadsInBlobStorage",
    "provisioningState",
    "createdOn",
    "modifiedOn",
    "title",
    "description",
    "swaggerLocation",
    "readOnly",
    "realtimeConfiguration",
    "diagnostics",
    "storageAccount",
    "machineLearningWorkspace",
    "commitmentPlan",
    "assets",
    "input",
    "output",
    "packageType",
    "exampleRequest",
    "exposeSampleData",
    "parameters",
    "package",
)
# 2016-05-01-preview has another order (recorded: TestCreateGetRemoveWebService, 2016). The places
# of diagnostics and machineLearningWorkspace in it are not known.
_PREVIEW_ORDER: Final = (
    "provisioningState",
    "createdOn",
    "modifiedOn",
    "title",
    "description",
    "swaggerLocation",
    "keys",
    "readOnly",
    "realtimeConfiguration",
    "diagnostics",
    "storageAccount",
    "machineLearningWorkspace",
    "commitmentPlan",
    "assets",
    "parameters",
    "input",
    "output",
    "packageType",
    "package",
    "exampleRequest",
    "exposeSampleData",
)
_SPARSE: Final = frozenset(_ORDER) - frozenset(LARGE_PARTS) - {"commitmentPlan"}
# What GET shows that no PUT set. Recorded for the preview: exposeSampleData and readOnly alone.
_RECORDED_FILL: Final[dict[str, Json]] = {"readOnly": False, "exposeSampleData": False}
_FILLED: Final[dict[str, dict[str, Json]]] = {
    "settings": {
        "description": "",
        "readOnly": False,
        "exposeSampleData": True,
        "realtimeConfiguration": {"maxConcurrentCalls": 4},
        "diagnostics": {"level": "None"},
        "parameters": {},
    },
    "recorded": _RECORDED_FILL,
    "documented": {**_RECORDED_FILL, "exposeSampleData": True},
}


def parse_body(
    body: Json, schema: DefinitionSchema, choices: Choices, *, preview: bool = False
) -> dict[str, Json]:
    """Return a request's body in the schema's spelling; refuse a body that is not a definition.

    Parameters of the preview are plain values. It is not known whether 2017-01-01 shows them as
    such. If it does, it takes them too.
    """
    if not isinstance(body, dict):
        raise invalid_body("")
    taken: dict[str, Json] = spell(schema, body)
    properties = taken.get("properties")
    keeps_bare = choices["preview-parameters"] == "bare"
    given: list[tuple[dict[str, Json], dict[str, Json]]] = []
    if preview or keeps_bare:
        _each_parameter_map(properties, lambda one: given.append((one, {**one})))
        _each_parameter_map(properties, _wrap_bare)
    if isinstance(properties, dict):
        write_checks.check_concurrency(properties)
    wrong = [*check_definition(schema, taken)]
    if wrong or not isinstance(properties, dict):
        raise invalid_body(*(wrong or ["properties"]))
    for parameters, sent in given if keeps_bare else ():
        parameters.update(sent)
    for name in _SERVER_OWNED:
        properties.pop(name, None)
    diagnostics = properties.get("diagnostics")
    if isinstance(diagnostics, dict) and diagnostics.get("expiry") is None:
        diagnostics.pop("expiry", None)  # documented: null never expires, as no expiry does
    return taken


def make_definition(
    body: dict[str, Json],
    old: dict[str, Json] | None,
    random_source: RandomSource,
    choices: Choices,
) -> Json:
    """Return the properties that a PUT stores; of `old`, at most the keys are kept."""
    properties = {name: value for name, value in body["properties"].items() if value is not None}
    keys = {name: v for name, v in (properties.get("keys") or {}).items() if v is not None}
    kept = (old or {}).get("keys", {}) if choices["put-keys"] == "keep" else {}
    properties["keys"] = {
        name: keys.get(name) or kept.get(name) or random_source.key()
        for name in ("primary", "secondary")
    }
    return {**copy.deepcopy(_FILLED[choices["put-fills"]]), **properties}


def merge_patch(old: Json, body: dict[str, Json], choices: Choices) -> Json:
    """Return the properties after a PATCH.

    A PATCH merges at the top level, and inside `keys` and `storageAccount`.
    """
    given = body["properties"]
    if str(given.get("packageType", "")).casefold() != "graph":
        raise invalid_body("properties.packageType")
    write_checks.check_storage_account(old, body)
    write_checks.check_plan(old, body, choices)
    given = _check_nulls(given, choices)
    merged = copy.deepcopy(old)
    for name, value in given.items():
        if name in {"keys", "storageAccount"}:
            kept = {k: v for k, v in (value or {}).items() if v}
            merged[name] = {**merged.get(name, {}), **kept}
        elif name == "assets" and choices["patch-assets"] == "merge":
            merged[name] = {**merged.get(name, {}), **(value or {})}
        elif value is None:
            merged.pop(name, None)
        else:
            merged[name] = value
    if "parameters" not in given and merged.get("parameters") == {}:
        # Recorded: the first update that does not send an empty map removes it.
        del merged["parameters"]
    return merged


def _check_nulls(given: dict[str, Json], choices: Choices) -> dict[str, Json]:
    nulls = [name for name, value in given.items() if value is None]
    if nulls and choices["null-in-patch"] == "reject":
        raise bad_request("NullValue", f"Null is not a value of properties.{nulls[0]}.")
    if choices["null-in-patch"] == "ignore":
        return {name: value for name, value in given.items() if value is not None}
    return given


def merge_tags(old: Json, body: dict[str, Json], choices: Choices) -> Json:
    """Return the tags after a PATCH."""
    if body.get("tags") is None:
        return old
    return {**old, **body["tags"]} if choices["patch-tags"] == "merge" else body["tags"]


def check_seals(body: dict[str, Json], location: str, choices: Choices) -> None:
    """Refuse a value that is sealed for another region (recorded: one certificate a region)."""

    def check(parameters: Json) -> None:
        for name, parameter in parameters.items():
            given = parameter.get("certificateThumbprint") if isinstance(parameter, dict) else None
            region = regions.sealed_for(given) if isinstance(given, str) else ""
            if region and region != regions.display_name(location):
                message = f"The value of parameter '{name}' is encrypted for {region}."
                raise bad_request("InvalidCertificateThumbprint", message)

    if choices["foreign-seal"] == "reject":
        _each_parameter_map(body["properties"], check)


def seal_parameters(
    properties: Json, location: str, random_source: RandomSource, choices: Choices
) -> None:
    """Encrypt every sealed parameter again to the region's certificate, as every write does."""
    if choices["plain-credentials"] == "seal":
        _mark_credentials(properties)

    def seal(parameters: Json) -> None:
        for parameter in parameters.values():
            if isinstance(parameter, dict) and parameter.get("certificateThumbprint"):
                parameter["value"] = random_source.seal()
                parameter["certificateThumbprint"] = regions.thumbprint(location)

    _each_parameter_map(properties, seal)


def _mark_credentials(properties: Json) -> None:
    package = properties.get("package") or {}
    nodes = package.get("nodes") or {}
    for parameter in (package.get("graphParameters") or {}).values():
        if parameter and parameter.get("type") == "Credential":
            for link in filter(None, parameter.get("links") or ()):
                node = nodes.get(link.get("nodeId")) or {}
                parameters, key = node.get("parameters") or {}, link.get("parameterKey")
                if isinstance(parameters.get(key), str):
                    parameters[key] = {"value": parameters[key]}
                fed = parameters.get(key)
                if isinstance(fed, dict) and fed.get("value"):
                    fed["certificateThumbprint"] = fed.get("certificateThumbprint") or "plain"


def _each_parameter_map(properties: Json, act: Any) -> None:
    """Call `act` with the top parameters and with those of each node."""
    if not isinstance(properties, dict):
        return
    if isinstance(properties.get("parameters"), dict):
        act(properties["parameters"])
    package = properties.get("package")
    nodes = package.get("nodes") if isinstance(package, dict) else None
    for node in nodes.values() if isinstance(nodes, dict) else ():
        if isinstance(node, dict) and isinstance(node.get("parameters"), dict):
            act(node["parameters"])


def _wrap_bare(parameters: Json) -> None:
    for name, value in parameters.items():
        if not isinstance(value, dict):
            parameters[name] = {"value": value, "certificateThumbprint": ""}


def show_preview(properties: Json) -> Json:
    """Return the properties as 2016-05-01-preview shows them: its order, and plain parameters."""
    shown = copy.deepcopy(properties)

    def unwrap(parameters: Json) -> None:
        for name, value in parameters.items():
            if isinstance(value, dict) and "value" in value:
                parameters[name] = value["value"]

    _each_parameter_map(shown, unwrap)
    if isinstance(shown.get("package"), dict):
        package = shown["package"]
        order = ("nodes", "edges", "graphParameters")
        shown["package"] = {name: package[name] for name in order if name in package}
    return {name: shown[name] for name in _PREVIEW_ORDER if name in shown}


def show_full(properties: Json, cased: Json, choices: Choices) -> Json:
    """Return what GET shows: in the recorded order, without the values that GET never returns."""
    shown = {**properties, **cased}
    shown.pop("keys", None)
    shown["storageAccount"] = _without(shown.get("storageAccount") or {}, "key")
    if choices["commitment-plan-returned"] == "no":
        shown.pop("commitmentPlan", None)
    if choices["credentials-returned"] == "no" and "assets" not in cased:
        shown["assets"] = {k: _hide_credentials(v) for k, v in (shown.get("assets") or {}).items()}
    if "assets" not in properties:
        shown.pop("assets", None)
    for name in ("input", "output"):
        if name in shown and name not in cased:
            shown[name] = _order_columns(shown[name])
    if isinstance(shown.get("exampleRequest"), dict) and "exampleRequest" not in cased:
        example = shown["exampleRequest"]
        shown["exampleRequest"] = {k: v for k, v in example.items() if v is not None}
    if isinstance(shown.get("package"), dict):
        package = shown["package"]
        order = ("edges", "graphParameters", "nodes")
        shown["package"] = {name: package[name] for name in order if name in package}
    return {name: shown[name] for name in _ORDER if name in shown}


def show_sparse(shown: Json) -> Json:
    """Return what LIST shows of a definition; a failed service shows even less."""
    sparse = {name: value for name, value in shown.items() if name in _SPARSE}
    if not sparse.get("title"):
        sparse.pop("title", None)
    if sparse.get("provisioningState") == "Failed":
        sparse["storageAccount"] = {}
        for name in ("packageType", "diagnostics", "title"):
            sparse.pop(name, None)
    return sparse


def _without(part: Json, name: str) -> Json:
    return {key: value for key, value in part.items() if key != name}


def _hide_credentials(asset: Json) -> Json:
    info = asset.get("locationInfo") if isinstance(asset, dict) else None
    if not isinstance(info, dict) or not info.get("credentials"):
        return asset
    return {**asset, "locationInfo": _without(info, "credentials")}


def _order_columns(ports: Json) -> Json:
    """Return ports with columns whose names are numbers first, ascending (recorded)."""
    if not isinstance(ports, dict) or not isinstance(ports.get("properties"), dict):
        return ports
    tables = {}
    for port, table in ports["properties"].items():
        columns = table.get("properties") if isinstance(table, dict) else None
        if isinstance(columns, dict):
            numbers = sorted((name for name in columns if _is_index(name)), key=int)
            others = [name for name in columns if not _is_index(name)]
            ordered = {name: columns[name] for name in numbers + others}
            tables[port] = {**table, "properties": ordered}
        else:
            tables[port] = table
    return {**ports, "properties": tables}


def _is_index(name: str) -> bool:
    return name.isascii() and name.isdecimal() and (name == "0" or name[0] != "0")
