"""Writes the spec of an online endpoint that exists already, in the words of `az ml`.

By default the spec holds what the endpoint serves, and each setting that is not the service's
default. On demand it holds all settings. The kind calls this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from reconciler.document.diff import same
from reconciler.document.pointers import find, set_at
from reconciler.document.schema import Field
from reconciler.kinds.online_endpoint.addresses import DEPLOYMENT_NAME
from reconciler.kinds.online_endpoint.bind import HIDDEN
from reconciler.kinds.online_endpoint.forms import DEPLOYMENT, ENDPOINT, Word, export_words
from reconciler.model import ABSENT, ExportedSpec, Json

_EMPTY: Final[tuple[Json, ...]] = ({}, [], "", None)
_AUTOSCALE: Final = "Remove instance_count where autoscale sets the number of instances."


def export_spec(field: Field, place: dict[str, str], document: Json, *, full: bool) -> ExportedSpec:
    """Return the spec of a live document, and notes for the person who completes it."""
    spec: Json = {"resource": place} if place else {}
    spec |= export_words(ENDPOINT, _select(field, ENDPOINT, document, full=full))
    deployments = document.get("deployments") or {}
    named, left = {}, []
    for name, deployment in sorted(deployments.items()):
        if DEPLOYMENT_NAME.fullmatch(name):
            below = field.at(("deployments", name))
            chosen = _select(below, DEPLOYMENT, deployment, full=full)
            named[name] = export_words(DEPLOYMENT, chosen)
        else:
            left.append(name)
    if named:
        spec["deployments"] = named
    return ExportedSpec(spec, tuple(_notes(left, named, deployments)))


def _select(field: Field, words: Iterable[Word], document: Json, *, full: bool) -> Json:
    """Return the values of the entries that belong in the spec, in the form of the document."""
    chosen: Json = {}
    for word in words:
        value, below = find(document, word.place), field.at(word.place)
        if value is ABSENT or value in _EMPTY:
            continue
        value = _without_foreign(below, value)
        if value not in _EMPTY and (full or not same(below, value, ABSENT)):
            set_at(chosen, word.place, value)
    return chosen


def _without_foreign(field: Field, value: Json) -> Json:
    """Return a map without what the service sets, and without shares of 0."""
    if not isinstance(value, dict):
        return value
    kept = ((name, below, field.child(name)) for name, below in value.items())
    return {
        name: below
        for name, below, child in kept
        if not (child.read_only or child.secret) and not same(child, below, ABSENT)
    }


def _notes(left: list[str], named: Json, deployments: Json) -> Iterator[str]:
    if any("instance_count" in given for given in named.values()):
        yield _AUTOSCALE
    for name in named:
        hidden = deployments[name].get(HIDDEN) or ()
        if hidden:
            yield f"{name} has secrets in its variables, which stay: {', '.join(hidden)}."
            yield f"To declare one: environment_variables: {{{hidden[0]}: {{env: NAME}}}}"
    if left:
        yield "Left out, because their names are not in lower case: " + ", ".join(left)
