"""Lays an environment over the project file, and finds a ledger that two environments share.

The loader calls it with documents that fit their schemas.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import PurePosixPath

from reconciler.manifests.environments import EnvironmentFile
from reconciler.manifests.project import LEDGER, normalize_url
from reconciler.manifests.yaml_text import SourceMap
from reconciler.model import Environment, Finding, Json, SourceLocation


def lay_over(document: Json, environment: Environment) -> Json:
    """The project file's document with the parts of an environment over it, name by name."""
    spec = document.get("spec") or {}
    laid = {**spec}
    for part in ("cloud", "defaults", "guards", "watch"):
        own, given = environment.spec.get(part), spec.get(part)
        if isinstance(own, dict) and isinstance(given, dict):
            laid[part] = {**given, **own}
        elif own is not None:
            laid[part] = own
    laid["ledger"] = _lay_ledger(spec.get("ledger"), environment)
    return {**document, "spec": laid}


def _lay_ledger(given: Json, environment: Environment) -> Json:
    given = given if isinstance(given, dict) else {}
    own, name = environment.spec.get("ledger"), environment.name
    if not isinstance(own, dict):
        if "container" in given:
            return {**given, "prefix": f"{given.get('prefix', '')}{name}/"}
        return {**given, "path": f"{str(given.get('path', LEDGER)).rstrip('/')}/{name}"}
    if "path" in own:
        return own
    kept = given or {"path": LEDGER}
    if "container" in own:
        kept = {key: value for key, value in given.items() if key != "path"}
    return {**kept, **own}


def find_place(laid: EnvironmentFile, project: SourceMap, pointer: str) -> SourceLocation:
    """The place of a pointer into the laid document: in the environment if it is there."""
    while pointer:
        for places in (laid.places, project):
            if places is not None and pointer in places:
                return places[pointer]
        pointer = pointer.rpartition("/")[0]
    return project[pointer]


def check_ledgers(
    document: Json, laid: EnvironmentFile, others: Collection[Environment]
) -> Iterator[tuple[str, Finding]]:
    """Yields a finding if another environment has the same ledger.

    `document` is the project file's one, without an environment.
    """
    environment = laid.environment
    own = _identify_ledger(document, environment)
    for other in others:
        if any(own) and own == _identify_ledger(document, other):
            said = f'the environment "{other.name}" has the same ledger'
            step = f"Give each a ledger of its own; see also {other.file}."
            yield "/spec/ledger", Finding(said, next_step=step)


def _identify_ledger(document: Json, environment: Environment) -> tuple[str, str]:
    ledger = _lay_ledger((document.get("spec") or {}).get("ledger"), environment)
    container, prefix, path = (ledger.get(key, "") for key in ("container", "prefix", "path"))
    if not all(isinstance(one, str) for one in (container, prefix, path)):
        return "", ""
    return (normalize_url(container), prefix) if container else ("", str(PurePosixPath(path)))
