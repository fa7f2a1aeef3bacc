"""The world file: workspaces, their tokens and their web services, which only Studio creates.

The command reads the file and knows the line numbers. This module checks the document and makes
the values from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from reconciler.emulator.file_findings import FileFinding, check_unknown, check_values

Json = Any
_ID: Final = re.compile(r"[0-9a-f]{32}")
_TIERS: Final = ("free", "standard")
_KINDS: Final = ("predictive", "training")
_WORKSPACE_FIELDS: Final = ("id", "region", "tier", "token", "webServices")
_SERVICE_FIELDS: Final = ("id", "name", "kind", "resources", "training")
_TRAINING_FIELDS: Final = ("label", "data", "rows", "outputs", "parameters")
_ROLES: Final = ("model", "evaluation", "scored")
_MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class Publication:
    """A web service as Studio published it; a training service has no `resources`."""

    id: str
    name: str
    resources: tuple[str, ...] = ()
    kind: str = "predictive"
    training: Json = None


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace. Without its own `token`, the management token opens it."""

    id: str
    region: str = "South Central US"
    tier: Literal["free", "standard"] = "standard"
    token: str = ""
    web_services: tuple[Publication, ...] = ()


_BIKES: Final = "Bike Rental"
DEFAULT_WORLD: Final = (
    Workspace(
        "333533ce0e6e44b38365410aec94d7f2",
        web_services=(
            Publication(
                "a0cba3efb20040e195abc08c1fb08e6b",
                f"{_BIKES} [Predictive Exp.]",
                (f"{_BIKES} [trained model]",),
            ),
            Publication(
                "7d1c52a90b3e4f68a2c4e6f8091b3d5f", f"{_BIKES} [Training Exp.]", kind="training"
            ),
        ),
    ),
)


def make_world(document: Json) -> tuple[Workspace, ...]:
    """Return the workspaces of a document that `check_world` accepts."""
    return tuple(
        Workspace(
            one["id"],
            one.get("region", "South Central US"),
            one.get("tier", "standard"),
            one.get("token", ""),
            tuple(
                Publication(
                    service["id"],
                    service["name"],
                    tuple(service.get("resources", ())),
                    service.get("kind", "predictive"),
                    service.get("training"),
                )
                for service in one.get("webServices", ())
            ),
        )
        for one in document["workspaces"]
    )


def check_world(document: Json) -> Iterator[FileFinding]:
    """Yield the problems of a world document."""
    if not isinstance(document, dict):
        yield FileFinding((), "must be a mapping with workspaces", "Begin with: workspaces:")
        return
    yield from check_unknown(document, ("workspaces",))
    if "workspaces" not in document:
        yield FileFinding((), "the world has no workspaces")
        return
    yield from _check_list(document, "workspaces", _check_workspace)


def _check_list(
    parent: Mapping[str, Json],
    field: str,
    find: Callable[[Mapping[str, Json]], Iterator[FileFinding]],
) -> Iterator[FileFinding]:
    """Yield the problems of a list of mappings; each id may occur once."""
    items = parent[field]
    if not isinstance(items, list):
        yield FileFinding((field,), f"{field} must be a list")
        return
    if len(items) > _MOST:
        yield FileFinding((field, _MOST), f"is one entry too many: at most {_MOST:,} {field}")
        return
    seen = set()
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            yield FileFinding((field, index), f"must be a mapping, like every entry of {field}")
            continue
        for file_finding in find(item):
            yield replace(file_finding, path=(field, index, *file_finding.path))
        if "id" in item and str(item["id"]) in seen:
            yield FileFinding((field, index, "id"), "the id occurs twice")
        seen.add(str(item.get("id")))


def _check_workspace(workspace: Mapping[str, Json]) -> Iterator[FileFinding]:
    yield from check_unknown(workspace, _WORKSPACE_FIELDS)
    if "id" not in workspace:
        yield FileFinding((), "the workspace has no id")
    yield from check_values(workspace, _WORKSPACE_DEMANDS, {"tier": _TIERS})
    if "webServices" in workspace:
        yield from _check_list(workspace, "webServices", _check_service)


def _check_service(service: Mapping[str, Json]) -> Iterator[FileFinding]:
    yield from check_unknown(service, _SERVICE_FIELDS)
    for name in ("id", "name"):
        if name not in service:
            yield FileFinding((), f"the web service has no {name}")
    yield from check_values(service, _SERVICE_DEMANDS, {"kind": _KINDS})
    if service.get("kind") == "training" and service.get("resources"):
        step = "Remove resources, or set kind: predictive."
        yield FileFinding(("resources",), "a training service has no updatable resources", step)
    if "training" in service:
        if service.get("kind") != "training":
            yield FileFinding(("training",), "only a service of kind: training trains")
        for one in _check_training(service["training"]):
            yield replace(one, path=("training", *one.path))


def _check_training(training: Json) -> Iterator[FileFinding]:
    """Yield the problems of what a training service does with its ports."""
    if not isinstance(training, dict):
        yield FileFinding((), "must be a mapping with label, data and outputs")
        return
    yield from check_unknown(training, _TRAINING_FIELDS)
    for name in ("label", "outputs"):
        if name not in training:
            yield FileFinding((), f"the training service has no {name}")
    yield from check_values(training, _TRAINING_DEMANDS, {})


def _check_id(value: Json) -> str:
    known = isinstance(value, str) and _ID.fullmatch(value)
    return "" if known else "must be 32 hexadecimal digits in lower case"


def _check_text(value: Json) -> str:
    return "" if isinstance(value, str) and 0 < len(value) <= 500 else "must be text"


def _check_resources(value: Json) -> str:
    if not isinstance(value, list) or any(_check_text(one) for one in value):
        return "must be a list of names"
    return "" if len(set(value)) == len(value) else "contains a name twice"


def _check_roles(value: Json) -> str:
    known = isinstance(value, dict) and all(one in _ROLES for one in value.values())
    return "" if known else f"must map ports to {' or '.join(_ROLES)}"


def _make_word_check(words: tuple[str, ...]) -> Callable[[Json], str]:
    return lambda value: "" if value in words else f"must be {' or '.join(words)}"


_WORKSPACE_DEMANDS: Final[Mapping[str, Callable[[Json], str]]] = {
    "id": _check_id,
    "region": _check_text,
    "tier": _make_word_check(_TIERS),
    "token": _check_text,
}
_SERVICE_DEMANDS: Final[Mapping[str, Callable[[Json], str]]] = {
    "id": _check_id,
    "name": _check_text,
    "kind": _make_word_check(_KINDS),
    "resources": _check_resources,
}
_TRAINING_DEMANDS: Final[Mapping[str, Callable[[Json], str]]] = {
    **dict.fromkeys(("label", "data", "rows"), _check_text),
    "outputs": _check_roles,
    "parameters": _check_resources,
}
