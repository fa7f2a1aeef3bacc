"""Writes manifests for people: the YAML of a document, without values that a manifest cannot hold.

This package reads its own output back without findings. A value that the reader would refuse is
left out, and a comment in the output lists it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import yaml

from reconciler.document.pointers import format_pointer, split_pointer
from reconciler.manifests.definition import check_definition
from reconciler.manifests.schema import check_document, definition_schema
from reconciler.model import Address, ExportedSpec, Json
from reconciler.secrets.suspicion import is_unwritable
from reconciler.text.json_text import escape_json

API_VERSION: Final = "reconciler/v1"
_WIDTH: Final = 100


def write_manifest(
    schema: str, address: Address, exported: ExportedSpec, definition_file: str = ""
) -> tuple[str, str]:
    """Returns the text of a manifest, and the text of its definition file if one is named.

    `schema` is the name of the kind's manifest schema.
    """
    document = {
        "apiVersion": API_VERSION,
        "kind": address.kind,
        "metadata": {"name": address.name},
        "spec": json.loads(json.dumps(exported.spec)),
    }
    left_out = _clean(schema, document)
    definition = ""
    if definition_file and "definition" in document["spec"]:
        whole = document["spec"]["definition"]
        definition = escape_json(json.dumps(whole, indent=2, ensure_ascii=False)) + "\n"
        document["spec"]["definition"] = {"file": definition_file}
    text = yaml.dump(
        document,
        Dumper=yaml.CSafeDumper,
        sort_keys=False,
        allow_unicode=True,
        width=_WIDTH,
        default_flow_style=False,
    )
    return text + _comment(exported, left_out), definition


def _comment(exported: ExportedSpec, left_out: list[str]) -> str:
    lines = list(exported.notes)
    if left_out:
        lines += ["Left out, because a manifest cannot hold it; the service keeps it:", *left_out]
    return "".join(f"# {line.encode('unicode_escape').decode()}\n" for line in lines)


def _clean(schema: str, document: Json) -> list[str]:
    """Removes what the reader would refuse; returns the pointers of it."""
    unwritable = list(_find_unwritable(document, ()))
    removed = [pointer for pointer in unwritable if _remove(document, pointer)]
    for _ in range(_ROUNDS):
        found = {pointer for pointer, _ in check_document(schema, document)}
        found |= set(_find_undeclarable(schema, document))
        # The deepest value first, because its parent may then be valid.
        gone = [one for one in sorted(found, key=len, reverse=True) if _remove(document, one)]
        removed += gone
        if not gone:
            break
    return sorted(removed)


_ROUNDS: Final = 50


def _find_undeclarable(schema: str, document: Json) -> Iterator[str]:
    service = definition_schema(schema)
    definition = document["spec"].get("definition")
    for path, _ in check_definition(service, definition) if service and definition else ():
        yield format_pointer(("spec", "definition", *path))


def _find_unwritable(value: Json, path: tuple[str | int, ...]) -> Iterator[str]:
    """Yields texts that look like a secret, or that UTF-8 cannot encode."""
    if isinstance(value, dict):
        for name, below in value.items():
            if is_unwritable(name):
                yield format_pointer((*path, name))
            else:
                yield from _find_unwritable(below, (*path, name))
    elif isinstance(value, list):
        if any(True for item in value for _ in _find_unwritable(item, ())):
            yield format_pointer(path)
    elif isinstance(value, str) and is_unwritable(value):
        yield format_pointer(path)


def _remove(document: Json, pointer: str) -> bool:
    """Removes a place below spec; a list is removed whole, because its items are one value."""
    path = split_pointer(pointer)
    if path[:1] != ("spec",) or len(path) < 2:
        return False
    parent = document
    for depth, segment in enumerate(path[:-1]):
        if not isinstance(parent, dict) or segment not in parent:
            return False
        if isinstance(parent[segment], list):
            path = path[: depth + 1]
            break
        parent = parent[segment]
    if not isinstance(parent, dict) or path[-1] not in parent:
        return False
    del parent[path[-1]]
    return True
