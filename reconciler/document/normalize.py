"""Normalizes a document that a service returned; all other code uses the normalized form.

Property names take the schema's spelling (the service returns PascalCase for large payloads).
Map keys keep their spelling. Secrets are removed here, and signatures are removed from each
address, so that later code cannot store one by accident. `restore_texts` puts the removed texts
back from the raw reply before an unchanged value is sent again. Providers call this module.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Final

from reconciler.document.schema import Field, Shape
from reconciler.model import ABSENT, Absent, Json
from reconciler.secrets.signatures import (
    find_signatures,
    may_hold_signed_text,
    strip_credentials,
    strip_signatures,
)
from reconciler.secrets.suspicion import find_secret_names, is_secret
from reconciler.text.json_text import encode_canonical

_NESTED: Final = (dict, list)


def normalize(field: Field, document: Json) -> Json:
    """Return the document in the schema's spelling and without secrets.

    Unchanged parts are shared with the argument.
    """
    if document == {}:
        return document  # nothing is in it, as in what most manifests of a new model define
    bare = _without_secrets(document)
    return bare if _is_normal(field, bare) else _normalize(field, bare)


def restore_texts(
    field: Field, document: Json, raw: Json | Absent, redact: Callable[[Json], Json] = lambda v: v
) -> Json:
    """Return the document with its unchanged texts as they are in `raw`.

    `raw` is the document before redaction and normalization. The document may have changed since.
    """
    if document == raw:
        return document  # nothing was taken away
    if isinstance(document, str) and isinstance(raw, str):
        return raw if normalize(field, redact(raw)) == document else document
    if isinstance(document, dict) and isinstance(raw, dict):
        came = {**{field.spelling(name): value for name, value in raw.items()}, **raw}
        restored = {
            name: restore_texts(field.child(name), value, came.get(name, ABSENT), redact)
            for name, value in document.items()
        }
        hidden = {name: value for name, value in raw.items() if is_secret(name, value)}
        return {**hidden, **restored}
    if isinstance(document, list) and isinstance(raw, list):
        return _restore_items(field.child(0), document, raw, redact)
    return document


def _restore_items(
    field: Field, items: list[Json], raw: list[Json], redact: Callable[[Json], Json]
) -> list[Json]:
    """Restore items: find a shortened item by its value and any other item by its index."""
    taken = [(one, bare) for one in raw if (bare := normalize(field, redact(one))) != one]
    restored = []
    for index, item in enumerate(items):
        there = raw[index] if index < len(raw) else ABSENT
        came = next((one for one, bare in taken if bare == item), there)
        restored.append(restore_texts(field, item, came, redact))
    return restored


def find_secrets(field: Field, document: Json) -> Iterator[str]:
    """Yield every secret and signature in a document, for example before it is sent."""
    if isinstance(document, str):
        yield from (document,) if field.secret else find_signatures(document)
    elif isinstance(document, dict):
        for name, value in document.items():
            yield from (value,) if is_secret(name, value) else ()
            yield from find_secrets(field.child(name), value)
    elif isinstance(document, list):
        for item in document:
            yield from find_secrets(field.child(0), item)


def _without_secrets(document: Json) -> Json:
    """Return the document without properties that are secrets, and its texts without signatures.

    Every reply is checked, so the check searches the bytes first.
    """
    text = encode_canonical(document)
    names, signed = find_secret_names(text), may_hold_signed_text(text)
    strip = strip_signatures if signed else _keep
    return _clean(document, names, strip) if names or signed else document


def _keep(text: str) -> str:
    return text


def _clean(document: Json, names: Collection[str], strip: Callable[[str], str]) -> Json:
    """Return the document without secrets of these names; parts without change are shared."""
    if isinstance(document, dict):
        bare = {
            name: _clean(value, names, strip)
            for name, value in document.items()
            if not (name in names and is_secret(name, value))
        }
        same = len(bare) == len(document) and all(
            map(_same_object, bare.values(), document.values())
        )
        return document if same else bare
    if isinstance(document, list):
        items = [_clean(item, names, strip) for item in document]
        return document if all(map(_same_object, items, document)) else items
    return strip(document) if isinstance(document, str) else document


def _is_normal(field: Field, document: Json) -> bool:
    """Whether a document without secrets is normal already: fast, and True is certain.

    Most replies are, and a new document for each of them would take longer. It is a loop, because
    a call for each value would take longer than to read the reply.
    """
    left = [(field, document)]
    while left:
        field, value = left.pop()
        if isinstance(value, dict):
            if field.branches and not _list_uneven(field, value, left):
                return False
        elif isinstance(value, list):
            items = field.items if field.shape is Shape.LIST else None
            if items is not None and not items.inert:
                left += [(items, item) for item in value]
        elif field.bare and isinstance(value, str) and strip_credentials(value) is not value:
            return False
    return True


def _list_uneven(field: Field, document: dict[str, Json], found: list[tuple[Field, Json]]) -> bool:
    """Add the values that must be looked at; False for an object that may not be normal."""
    properties, items = field.properties, field.items
    if field.patterns or (properties and not document.keys() <= field.names):
        return False  # a name has another spelling or is not known
    for name, child in field.uneven:
        value = document.get(name)
        if child.secret:
            if value not in ("", None):
                return False
        elif child.flat and type(value) is dict:
            if not value.keys() <= child.names:
                return False
        elif value is not None:
            found.append((child, value))
    if properties or items is None or items.inert or field.is_plain(document):
        return True
    if items.secret:
        return all(value in ("", None) for value in document.values())
    found += [(items, value) for value in document.values()]
    return True


def _normalize(field: Field, document: Json) -> Json:
    if isinstance(document, dict) and field.branches:
        return _normalize_object(field, document)
    if isinstance(document, list) and field.shape is Shape.LIST and field.items is not None:
        items = [_normalize(field.items, item) for item in document]
        return document if all(map(_same_object, items, document)) else items
    if field.bare and isinstance(document, str):
        return strip_credentials(document)
    return document


def _same_object(one: object, other: object) -> bool:
    return one is other


def _normalize_object(field: Field, document: dict[str, Json]) -> Json:
    result: dict[str, Json] = {}
    changed = False
    properties = field.properties
    items = field.items
    if not (properties or field.patterns) and items is not None and items.verbatim:
        return document  # a map of plain values, of which there may be very many
    if field.is_plain(document):
        return document
    for name, value in document.items():
        child, spelling = properties.get(name), name
        if child is None:
            spelling = _spelling(field, name, document) if properties else name
            child = field.child(spelling)
        if child.secret and value not in ("", None):
            changed = True
            continue
        # Most values are scalars. A call for each of them would cost more than reading the reply.
        kept = _normalize(child, value) if child.compare or type(value) in _NESTED else value
        changed = changed or kept is not value or spelling != name
        result[spelling] = kept
    return result if changed else document


def _spelling(field: Field, name: str, document: dict[str, Json]) -> str:
    """Return the schema's spelling, unless the document has that name too: then both are kept."""
    spelling = field.spelling(name)
    return name if spelling in document else spelling


def without_server_fields(field: Field, document: Json | Absent) -> Json | Absent:
    """Return the document without read-only fields, so that a manifest can declare the result.

    Unchanged parts are shared with the argument.
    """
    if field.read_only or document is ABSENT:
        return ABSENT
    if not field.guarded:
        return document
    if isinstance(document, dict) and field.branches:
        kept = (
            (name, without_server_fields(field.child(name), value))
            for name, value in document.items()
        )
        return {name: value for name, value in kept if value is not ABSENT}
    return document
