"""What comes in from a service, brought once to the form in which everything else thinks.

Property names take the schema's spelling (the service returns PascalCase for large payloads);
map keys keep theirs. Secrets that a service should not have returned are dropped here, and
addresses lose their signatures, so that no later floor can keep one by accident.
"""

from __future__ import annotations

from typing import Final

from reconciler.comparers import strip_credentials
from reconciler.model import ABSENT, Absent, Json
from reconciler.schema import Field, Shape

_NESTED: Final = (dict, list)


def normalize(field: Field, document: Json) -> Json:
    """The document in the schema's spelling and without secrets; shares what needs no change."""
    if isinstance(document, dict) and field.branches:
        return _normalize_object(field, document)
    if isinstance(document, list) and field.shape is Shape.LIST and field.items is not None:
        items = [normalize(field.items, item) for item in document]
        return document if all(map(_same_object, items, document)) else items
    if field.compare == "blob-uri" and isinstance(document, str):
        return strip_credentials(document)
    return document


def _same_object(one: object, other: object) -> bool:
    return one is other


def _normalize_object(field: Field, document: dict[str, Json]) -> Json:
    result: dict[str, Json] = {}
    changed = False
    properties = field.properties
    if field.flat and document.keys() <= properties.keys():
        return document
    for name, value in document.items():
        child, spelling = properties.get(name), name
        if child is None:
            spelling = _spelling(field, name, document) if properties else name
            child = field.child(spelling)
        if child.secret and value not in ("", None):
            changed = True
            continue
        # Most values are plain; a call for each of them would cost more than reading the reply.
        kept = normalize(child, value) if child.compare or type(value) in _NESTED else value
        changed = changed or kept is not value or spelling != name
        result[spelling] = kept
    return result if changed else document


def _spelling(field: Field, name: str, document: dict[str, Json]) -> str:
    """The schema's spelling, unless the document holds that spelling too: then both are kept."""
    spelling = field.spelling(name)
    return name if spelling in document else spelling


def without_server_fields(field: Field, document: Json | Absent) -> Json | Absent:
    """The part of a document that people may declare: an exported definition can be declared."""
    if field.read_only or document is ABSENT:
        return ABSENT
    if isinstance(document, dict) and field.branches:
        kept = (
            (name, without_server_fields(field.child(name), value))
            for name, value in document.items()
        )
        return {name: value for name, value in kept if value is not ABSENT}
    return document
