"""Renders the fields of what people write: the values that each may have, and their meaning.

`reconciler schema` prints them, and the reference is made from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from reconciler.model.values import dataclass

_HEAD: Final = ("FIELD", "VALUE", "MEANING")
# It has the service's own words, which `render_fields` lists.
_DEFINITION: Final = "spec.definition"
_SHAPES: Final = frozenset({"type", "const", "enum", "$ref", "oneOf", "anyOf"})


@dataclass(frozen=True, slots=True)
class ManifestField:
    """One field. In `name`, `*` is any name and `[]` is an item; `value` is Markdown."""

    name: str
    required: bool
    value: str
    meaning: str


def render_manifest_fields(schema: Mapping[str, Any]) -> str:
    """Returns one line for each field of a bundled schema; all columns but the last are aligned."""
    fields = list_manifest_fields(schema)
    rows = [_HEAD, *((one.name, one.value.replace("`", ""), _mean(one)) for one in fields)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(
        f"{name.ljust(widths[0])}  {value.ljust(widths[1])}  {meaning}".rstrip()
        for name, value, meaning in rows
    )


def _mean(field: ManifestField) -> str:
    return f"{'Required. ' if field.required else ''}{field.meaning}".strip()


def list_manifest_fields(schema: Mapping[str, Any]) -> Iterator[ManifestField]:
    """Yields each field of a bundled schema, with those below it."""
    yield from _list_fields(schema, schema)


def _list_fields(
    node: Mapping[str, Any], root: Mapping[str, Any], path: str = ""
) -> Iterator[ManifestField]:
    for below, given in _list_children(node):
        child = resolve(given, root)
        name = f"{path}.{below}" if path and below != "[]" else f"{path}{below}"
        meaning = child.get("description", "")
        if "default" in child:
            meaning += f" Default: `{_write(child['default'])}`."
        required = below in node.get("required", ())
        yield ManifestField(name, required, describe_value(child, root), meaning.strip())
        for shape in list_shapes(child, root):
            if name != _DEFINITION or "file" in shape.get("properties", {}):
                yield from _list_fields(shape, root, name)


def _list_children(node: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from node.get("properties", {}).items()
    for word, below in (("additionalProperties", "*"), ("items", "[]")):
        child = node.get(word)
        if isinstance(child, dict) and _has_fields(child):
            yield below, child


def _has_fields(child: Mapping[str, Any]) -> bool:
    return bool({"properties", "additionalProperties", "items", "oneOf", "$ref"} & child.keys())


def list_shapes(node: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yields a node, and then each of its alternatives."""
    yield node
    for word in ("oneOf", "anyOf"):
        for one in node.get(word, ()):
            yield resolve(one, root)


def resolve(node: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a node with what it refers to; its own words count more."""
    found = node
    while "$ref" in found:
        target: Any = root
        for word in found["$ref"].lstrip("#").split("/")[1:]:
            target = target[word]
        found = {**target, **{name: said for name, said in found.items() if name != "$ref"}}
    return found


def describe_value(node: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """Returns which values a field may have, as Markdown."""
    if "const" in node:
        return f"`{_write(node['const'])}`"
    if "enum" in node:
        return " or ".join(f"`{_write(one)}`" for one in node["enum"])
    # Alternatives that only say which fields are required are of the type of the node.
    choices = [
        one
        for word in ("oneOf", "anyOf")
        for one in node.get(word, ())
        if _SHAPES & one.keys() or "type" not in node
    ]
    if choices:
        said = (describe_value(resolve(one, root), root) for one in choices)
        return " or ".join(dict.fromkeys(said))
    kind = node.get("type", "any value")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _write(value: object) -> str:
    return value if isinstance(value, str) else str(value).lower()
