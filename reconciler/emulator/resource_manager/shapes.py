"""The shape of a web service's document, from the schema that is shipped as data.

Used to bring property names to one spelling (the service takes any case, map keys keep theirs)
and to refuse values of a wrong type.
"""

from __future__ import annotations

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
class Shape:
    """One place of the document: `properties` by folded name, with spelling, or free `keys`."""

    types: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    least: float = -math.inf
    most: float = math.inf
    properties: dict[str, tuple[str, Shape]] = field(default_factory=dict)
    keys: Shape | None = None
    items: Shape | None = None


def load_shape() -> Shape:
    """The shape of the whole document."""
    for folder in _FOLDERS:
        if (folder / _FILE).is_file():
            schema = json.loads((folder / _FILE).read_text(encoding="utf-8"))
            return _make(schema, schema)
    raise FileNotFoundError(str(_FILE))


def _make(node: Any, root: Any) -> Shape:
    if "$ref" in node:
        node = {**root["$defs"][node["$ref"].rpartition("/")[2]], **node}
    said = node.get("type", ())
    shape = Shape(
        types=tuple(t for t in ([said] if isinstance(said, str) else said) if t != "null"),
        values=tuple(node.get("enum", ())),
        least=node.get("minimum", -math.inf),
        most=node.get("maximum", math.inf),
    )
    for name, below in node.get("properties", {}).items():
        shape.properties[name.casefold()] = (name, _make(below, root))
    if isinstance(node.get("additionalProperties"), dict):
        shape.keys = _make(node["additionalProperties"], root)
    if isinstance(node.get("items"), dict):
        shape.items = _make(node["items"], root)
    return shape


def spell(shape: Shape, value: Any) -> Any:
    """The value with the schema's property names; unknown properties are dropped."""
    if isinstance(value, dict) and shape.properties:
        spelled = {}
        for name, below in value.items():
            known = shape.properties.get(name.casefold())
            if known is not None:
                spelled[known[0]] = spell(known[1], below)
        return spelled
    if isinstance(value, dict) and shape.keys is not None:
        return {name: spell(shape.keys, below) for name, below in value.items()}
    if isinstance(value, list) and shape.items is not None:
        return [spell(shape.items, item) for item in value]
    return value


def find_faults(shape: Shape, value: Any, path: str = "") -> Iterator[str]:
    """What a spelled value breaks; null is judged elsewhere."""
    if value is None:
        return
    if shape.types and not any(_is_type(value, name) for name in shape.types):
        yield f"{path}: expected {' or '.join(shape.types)}"
        return
    if isinstance(value, str) and shape.values:
        allowed = {known.casefold() for known in shape.values}
        if value.casefold() not in allowed:
            yield f"{path}: expected one of {', '.join(shape.values)}"
    if isinstance(value, (int, float)) and not shape.least <= value <= shape.most:
        yield f"{path}: expected {shape.least} to {shape.most}"
    yield from _find_faults_below(shape, value, path)


def _is_type(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name])


def _find_faults_below(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, below in value.items():
            known = shape.properties.get(name.casefold())
            child = known[1] if known else shape.keys
            if child is not None:
                yield from find_faults(child, below, f"{path}.{name}".lstrip("."))
    if isinstance(value, list) and shape.items is not None:
        for index, item in enumerate(value):
            yield from find_faults(shape.items, item, f"{path}[{index}]")
