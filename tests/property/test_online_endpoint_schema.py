"""The schema of online endpoints against the published description of the service."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from reconciler.document.schema import UNKNOWN, Shape
from reconciler.kinds.online_endpoint import KIND
from reconciler.package_data import read_schema

pytestmark = pytest.mark.property
_FILE: Final = Path(__file__).parents[1] / "contract" / "openapi" / "azureml-online.json"
PUBLISHED: Final[dict[str, Any]] = json.loads(_FILE.read_text(encoding="utf-8"))["definitions"]
# A default that recordings contradict: nothing queues.
_RECORDED: Final = {"deployments/x/properties/requestSettings/maxQueueWait": ("PT0.5S", "PT0S")}


def _resolve(node: dict[str, Any]) -> dict[str, Any]:
    """A node with what it refers to, and with the properties of what it is made of."""
    if "$ref" in node:
        own = {word: said for word, said in node.items() if word != "$ref"}
        node = {**_resolve(PUBLISHED[node["$ref"].rpartition("/")[2]]), **own}
    properties: dict[str, Any] = {}
    for part in node.get("allOf", ()):
        properties |= _resolve(part).get("properties", {})
    return {**node, "properties": {**properties, **node.get("properties", {})}}


def _walk(node: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    node = _resolve(node)
    for name, below in node["properties"].items():
        if name != "systemData":
            yield "/".join((*path, name)), _resolve(below)
            yield from _walk(below, (*path, name))
    if isinstance(node.get("additionalProperties"), dict):
        yield from _walk(node["additionalProperties"], (*path, "x"))


def _list_published() -> dict[str, dict[str, Any]]:
    found = dict(_walk({"$ref": "#/definitions/OnlineEndpointTrackedResource"}, ()))
    found |= _walk({"$ref": "#/definitions/OnlineDeploymentTrackedResource"}, ("deployments", "x"))
    for name in ("ManagedOnlineDeployment", "TargetUtilizationScaleSettings"):
        below = ("scaleSettings",) if name.startswith("Target") else ()
        at = ("deployments", "x", "properties", *below)
        found |= _walk({"$ref": f"#/definitions/{name}"}, at)
    return found


ALL: Final = _list_published()


def test_the_description_is_walked_to_its_end() -> None:
    assert len(ALL) > 80
    assert "deployments/x/properties/dataCollector/collections/x/samplingRate" in ALL


def test_the_schema_has_each_published_property() -> None:
    opaque = ("sku/", "deployments/x/identity/")
    missing = [
        path
        for path in ALL
        if KIND.field.at(tuple(path.split("/"))) is UNKNOWN and not path.startswith(opaque)
    ]
    assert missing == []


def test_the_schema_has_each_published_default() -> None:
    differing = {
        path: (node["default"], field.default)
        for path, node in ALL.items()
        if "default" in node
        and (field := KIND.field.at(tuple(path.split("/")))).shape is Shape.SCALAR
        and field.default != node["default"]
        and "scaleSettings" not in path
    }
    assert differing == _RECORDED


def test_what_only_the_service_sets_is_never_declared() -> None:
    wrong = [
        path
        for path, node in ALL.items()
        if node.get("readOnly")
        and not KIND.field.at(tuple(path.split("/"))).read_only
        and "provisioningState" not in path
        and not path.startswith(("sku", "deployments/x/identity"))
    ]
    assert wrong == []


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    for word in ("properties", "patternProperties"):
        for below in schema.get(word, {}).values():
            yield below
            yield from _nodes(below)
    if isinstance(schema.get("additionalProperties"), dict):
        yield schema["additionalProperties"]
        yield from _nodes(schema["additionalProperties"])


def test_each_property_has_its_meaning_and_its_source() -> None:
    nodes = list(_nodes(read_schema("service/online-endpoint")))
    assert len(nodes) > 100
    assert [one for one in nodes if not (one.get("description") and one.get("x-source"))] == []
