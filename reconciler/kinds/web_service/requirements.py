"""Checks that a definition is complete before it is sent whole, or declared as exact.

A PUT replaces the whole definition (documented). A value that GET never returns is lost unless the
PUT sends it again, and a service does not work without the parts of its graph. The kind calls
these checks; they send no call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.model import ABSENT, Absent, Action, Finding, Json, Manifest, Path, Step
from reconciler.text.patterns import compile_lazily

COMMITMENT_PLAN: Final[Path] = ("properties", "commitmentPlan", "id")
PLAN_ID: Final = compile_lazily(
    r"/subscriptions/(?!\.\.?/)[^/?#%\s]{1,260}/resourceGroups/(?!\.\.?/)[^/?#%]{1,260}"
    r"/providers/Microsoft\.MachineLearning/commitmentPlans/(?!\.\.?/?$)[^/?#%]{1,260}/?",
    re.IGNORECASE,
)
# Plans have an API version of their own (OpenAPI 2016-05-01-preview).
_PLAN_VERSION: Final = "?api-version=2016-05-01-preview"
ASSOCIATIONS: Final = f"/commitmentAssociations{_PLAN_VERSION}"
_ASSETS: Final[Path] = ("properties", "assets")
_NODES: Final[Path] = ("properties", "package", "nodes")

# What a PUT must hold (recorded: every PUT sends them; documented as required for a fresh
# deployment: how-to-deploy-to-multiple-regions). A workspace is not one of them: a PUT of
# 2016-05-01-preview without it was recorded to succeed, and the OpenAPI does not require it.
_DEMANDED: Final[Mapping[Path, str]] = {
    ("location",): "a region, such as South Central US",
    ("properties", "packageType"): "Graph",
    ("properties", "storageAccount", "name"): "the storage account of the region",
    ("properties", "storageAccount", "key"): "the key of the storage account",
    COMMITMENT_PLAN: "the commitment plan, as a Resource Manager id",
}
# It is not known whether a PUT without keys keeps the keys of a service or makes new ones.
_KEPT: Final[Mapping[Path, str]] = {
    ("properties", "keys", "primary"): "a key that callers send; GET …/listKeys shows it",
    ("properties", "keys", "secondary"): "a key that callers send; GET …/listKeys shows it",
}
# A web service does not work without these.
_GRAPH: Final[tuple[Path, ...]] = (
    ("location",),
    ("properties", "packageType"),
    ("properties", "storageAccount", "name"),
    _ASSETS,
    ("properties", "input"),
    ("properties", "output"),
    ("properties", "package"),
)
# What every asset has (OpenAPI 2017-01-01: required).
_ASSET: Final[tuple[Path, ...]] = (("name",), ("type",), ("locationInfo", "uri"))
# Each region needs its own (documented: how-to-deploy-to-multiple-regions).
_REGIONAL: Final = frozenset({("properties", "storageAccount", "name"), COMMITMENT_PLAN})
_SECRET: Final = frozenset({"key", "primary", "secondary"})
_NONE: Final[tuple[Json | Absent, ...]] = (ABSENT, None, "", {}, [])


def check_required(manifest: Manifest, step: Step) -> Iterator[Finding]:
    """Yield what a step lacks that sends the whole definition."""
    secrets = {pointer for pointer, _ in step.secrets}
    over = step.action is Action.UPDATE
    for path, meaning in {**_DEMANDED, **(_KEPT if over else {})}.items():
        pointer = format_pointer(path)
        if pointer not in secrets and _is_lacking(step, path):
            yield Finding(
                f"{_MISSING[over]} without {_dotted(path)}",
                subject=str(manifest.address),
                place=manifest.place("/spec/ownership" if over else "/spec/definition"),
                detail=tuple(_explain(step, path, meaning)),
                next_step=f"Set spec.secrets: {{{pointer}: {{env: NAME}}}}"
                if path[-1] in _SECRET
                else "Set it in spec.definition or in the file of spec.definition.",
            )


def check_plan(manifest: Manifest, step: Step) -> Iterator[Finding]:
    """Yield how a service gets another commitment plan, if only the plan forces a replacement.

    A plan is set at creation and cannot be changed (documented). A plan's own call moves a service
    to another plan (OpenAPI 2016-05-01-preview). A service that is replaced anyway gets the new
    plan when it is created again.
    """
    pointer = format_pointer(COMMITMENT_PLAN)
    if step.action is not Action.REPLACE or step.replace_paths != (pointer,):
        return
    (change,) = (one for one in step.changes if one.path == COMMITMENT_PLAN)
    old = str(change.before).rstrip("/")
    yield Finding(
        "has another commitment plan, and a service keeps the plan that it was created with",
        subject=str(manifest.address),
        place=manifest.place(f"/spec/definition{pointer}"),
        detail=(
            f"{pointer} cannot be changed in place. It was last applied with:",
            f"  {change.before}",
            "Two calls move it. NAME is the name of its association, which the first call lists:",
            f"  GET {old}{ASSOCIATIONS}",
            f"  POST {old}/commitmentAssociations/NAME/move{_PLAN_VERSION}",
            f'  {{"destinationPlanId": "{change.after}"}}',
        ),
        next_step="Move the service to the new plan with these calls, then plan again.",
    )


_MISSING: Final = ("cannot be created", "the whole definition cannot be sent")
_WHY: Final = (
    "The change removes a value. Only a PUT of the whole definition is known to remove values, and"
    " the service never returns this value."
)


def _is_lacking(step: Step, path: Path) -> bool:
    moved = step.source is not None and bool(step.source.region) and path in _REGIONAL
    return find(step.after, path) in (ABSENT, None, "") or (
        moved and format_pointer(path) not in step.owned_paths
    )


def _explain(step: Step, path: Path, meaning: str) -> Iterator[str]:
    yield f"It is {meaning}."
    if step.action is Action.UPDATE:
        yield _WHY
    elif step.source is not None and step.source.region and path in _REGIONAL:
        yield f"The region {step.source.region} needs its own."
    elif step.source is not None:
        yield f"It cannot be copied from {step.source.name}: the service never returns it."


def check_undeclared(
    manifest: Manifest, live: Json | Absent, definition: Json, document: Json
) -> Iterator[Finding]:
    """Yield the required parts of a web service that an exact manifest does not declare.

    `document` is the definition with the trained models bound to it. A part that the live
    document lacks too is not reported, because nothing is lost.
    """
    paths = [path for path in _GRAPH if find(definition, path) in _NONE]
    if _ASSETS not in paths:
        named = _named_assets(manifest, document)
        paths += [path for path in named if find(document, path) in _NONE]
    for path in paths:
        if live is ABSENT or find(live, path) not in _NONE:
            yield Finding(
                f"ownership: exact needs the whole definition: {_dotted(path)} is not declared",
                subject=str(manifest.address),
                place=manifest.place("/spec/ownership"),
                detail=("An apply removes the values that an exact manifest does not declare.",),
                next_step="Write the whole definition with: "
                f"reconciler export {manifest.address} --full",
            )


def _named_assets(manifest: Manifest, document: Json) -> Iterator[Path]:
    """Yield the required places of each asset that is declared or that a secret or node names."""
    assets: dict[str, Json] = dict(document["properties"]["assets"])
    for pointer in manifest.spec.get("secrets", {}):
        path = split_pointer(pointer)
        if path[:2] == _ASSETS and len(path) > 2:
            assets.setdefault(path[2], None)
    nodes = find(document, _NODES)
    for node in nodes.values() if isinstance(nodes, dict) else ():
        asset_id = find(node, ("assetId",))
        if isinstance(asset_id, str) and asset_id not in assets:
            yield (*_ASSETS, asset_id)
    for asset_id in assets:
        yield from ((*_ASSETS, asset_id, *part) for part in _ASSET)


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))
