"""Writes the spec of a service that exists already.

By default the spec holds the models that the service serves, its tags and its settings. On demand
it holds the whole definition, from which the service can be created again. The kind calls it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from reconciler.document.pointers import find, format_pointer, set_at
from reconciler.document.schema import Field, Shape, walk_fields
from reconciler.kinds.base import make_spec
from reconciler.model import ABSENT, Absent, ExportedSpec, Json, Path

_SETTINGS: Final[tuple[Path, ...]] = (
    ("tags",),
    ("properties", "description"),
    ("properties", "realtimeConfiguration"),
    ("properties", "diagnostics"),
)
_MODEL_URI: Final = re.compile(r"https?://[^?#\s]+")
_QUIET: Final[tuple[Json, ...]] = ({}, [], None, "")


def export_spec(field: Field, place: dict[str, str], document: Json, *, full: bool) -> ExportedSpec:
    """Return the spec of a live document, and notes for the person who completes it."""
    whole = _known(field, document)
    definition = {} if whole is ABSENT else whole
    if not full:
        definition = _settings(definition)
    spec = make_spec(place, dict(_find_models(document)), definition)
    return ExportedSpec(spec, tuple(_notes(field, full=full)))


def _find_models(document: Json) -> Iterator[tuple[str, str]]:
    """Yield name and address of each trained model with a unique name and a plain address."""
    assets = find(document, ("properties", "assets"))
    named: dict[str, list[Json]] = {}
    for asset in assets.values() if isinstance(assets, dict) else ():
        if isinstance(asset, dict) and str(asset.get("type", "")).casefold() == "resource":
            named.setdefault(str(asset.get("name", "")), []).append(asset)
    for name, bearers in sorted(named.items()):
        uri = find(bearers[0], ("locationInfo", "uri"))
        if name and len(bearers) == 1 and isinstance(uri, str) and _MODEL_URI.fullmatch(uri):
            yield name, uri


def _known(field: Field, document: Json) -> Json | Absent:
    """Return the values that the schema describes and people may declare, without nulls."""
    if field.read_only or field.secret or document is None:
        return ABSENT
    if isinstance(document, dict) and field.branches:
        kept = (
            (name, _known(field.child(name), value))
            for name, value in document.items()
            if name in field.properties or field.items is not None
        )
        return {name: value for name, value in kept if value is not ABSENT}
    if isinstance(document, list) and field.shape is Shape.LIST and field.items is not None:
        return [None if item is None else _known(field.items, item) for item in document]
    return document


def _settings(definition: Json) -> Json:
    chosen: Json = {}
    for path in _SETTINGS:
        value = find(definition, path)
        if value is not ABSENT and value not in _QUIET:
            set_at(chosen, path, value)
    return chosen


def _notes(field: Field, *, full: bool) -> Iterator[str]:
    if not full:
        return
    yield "The service never shows these values. To create the service again, set them here:"
    yield "  secrets:"
    for path, below in walk_fields(field):
        if below.secret and below.shape is Shape.SCALAR and "*" not in path and path[-1] != "uri":
            name = re.sub(r"[^A-Z0-9]+", "_", "_".join(path[1:]).upper())
            yield f"    {format_pointer(path)}: {{env: {name}}}"
    yield "and set the commitment plan: definition: properties: commitmentPlan: {id: …}"
