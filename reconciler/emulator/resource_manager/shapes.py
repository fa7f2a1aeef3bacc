"""The shape of a web service's document, from the schema that the package ships as data.

`definitions` uses it to give property names one spelling (the service accepts any case; map keys
keep their case) and to refuse values of a wrong type.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_FILE = Path("service", "web-service.schema.json")
_PACKAGE = Path(__file__).parents[2]
_FOLDERS = (_PACKAGE / "_schemas", _PACKAGE.parent / "schemas")
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


@dataclass
class DefinitionSchema:
    """The schema of one place.

    `properties` holds spelling and schema by lower-case name. `keys` is the schema of free keys.
    """

    types: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    least: float = -math.inf
    most: float = math.inf
    properties: dict[str, tuple[str, DefinitionSchema]] = field(default_factory=dict)
    keys: DefinitionSchema | None = None
    items: DefinitionSchema | None = None


@functools.cache
def load_definition_schema() -> DefinitionSchema:
    """Return the shape of the whole document. It is the same one each time, and never changes."""
    for folder in _FOLDERS:
        if (folder / _FILE).is_file():
            schema = json.loads((folder / _FILE).read_text(encoding="utf-8"))
            return make_schema(schema, schema)
    raise FileNotFoundError(str(_FILE))


def make_schema(node: Any, root: Any) -> DefinitionSchema:
    """Return the shape that a JSON Schema describes; `root` has its `$defs`."""
    if "$ref" in node:
        node = {**root["$defs"][node["$ref"].rpartition("/")[2]], **node}
    said = node.get("type", ())
    schema = DefinitionSchema(
        types=tuple(t for t in ([said] if isinstance(said, str) else said) if t != "null"),
        values=tuple(node.get("enum", ())),
        least=node.get("minimum", -math.inf),
        most=node.get("maximum", math.inf),
    )
    for name, below in node.get("properties", {}).items():
        schema.properties[name.casefold()] = (name, make_schema(below, root))
    if isinstance(node.get("additionalProperties"), dict):
        schema.keys = make_schema(node["additionalProperties"], root)
    if isinstance(node.get("items"), dict):
        schema.items = make_schema(node["items"], root)
    return schema


def spell(schema: DefinitionSchema, value: Any) -> Any:
    """Return the value with the schema's property names; unknown properties are dropped."""
    if isinstance(value, dict) and schema.properties:
        spelled = {}
        for name, below in value.items():
            known = schema.properties.get(name.casefold())
            if known is not None:
                spelled[known[0]] = spell(known[1], below)
        return spelled
    if isinstance(value, dict) and schema.keys is not None:
        return {name: spell(schema.keys, below) for name, below in value.items()}
    if isinstance(value, list) and schema.items is not None:
        return [spell(schema.items, item) for item in value]
    return value


def check_definition(schema: DefinitionSchema, value: Any, path: str = "") -> Iterator[str]:
    """Yield the places that are wrong in a spelled value; null is checked elsewhere."""
    if value is None:
        return
    if schema.types and not any(_is_type(value, name) for name in schema.types):
        yield path
        return
    if isinstance(value, str) and schema.values:
        allowed = {known.casefold() for known in schema.values}
        if value.casefold() not in allowed:
            yield path
    if isinstance(value, (int, float)) and not schema.least <= value <= schema.most:
        yield path
    yield from _check_below(schema, value, path)


def _is_type(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name])


def _check_below(schema: DefinitionSchema, value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, below in value.items():
            known = schema.properties.get(name.casefold())
            child = known[1] if known else schema.keys
            if child is not None:
                yield from check_definition(child, below, f"{path}.{name}".lstrip("."))
    if isinstance(value, list) and schema.items is not None:
        for index, item in enumerate(value):
            yield from check_definition(schema.items, item, f"{path}[{index}]")
