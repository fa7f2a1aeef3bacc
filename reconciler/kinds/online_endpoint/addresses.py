"""The ids of online endpoints, and the ids of the assets that their deployments use.

An asset is a version of a model, an environment, a code or a data asset. People write it as
`azureml:NAME:VERSION`, which means the endpoint's own workspace, or as the id of a registry. The
service returns whole ids; the document has the short form of the own workspace.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

from reconciler.document.pointers import copy_along, find, set_at
from reconciler.kinds.ids import IdForm
from reconciler.model import Json, Path
from reconciler.model.values import dataclass
from reconciler.text.patterns import compile_lazily

Collection: TypeAlias = Literal["models", "environments", "codes", "data"]

_SEGMENT: Final = r"(?!\.\.?/)[^/?#%\s\x00-\x1f\x7f\ud800-\udfff]{1,260}"
_GROUP: Final = r"(?!\.\.?/)[^/?#%\x00-\x1f\x7f\ud800-\udfff]{1,260}"
_WORKSPACE: Final = (
    rf"/subscriptions/(?P<subscription>{_SEGMENT})/resourceGroups/(?P<resourceGroup>{_GROUP})"
    r"/providers/Microsoft\.MachineLearningServices/workspaces/(?P<workspace>[A-Za-z0-9._-]{1,100})"
)
ID_FORM: Final = IdForm(
    noun="an online endpoint",
    scope="/subscriptions/{subscription}/resourceGroups/{resourceGroup}"
    "/providers/Microsoft.MachineLearningServices/workspaces/{workspace}",
    below="/onlineEndpoints/",
    pattern=compile_lazily(
        rf"{_WORKSPACE}/onlineEndpoints/(?P<name>(?!\.\.?/?$)[A-Za-z0-9._-]{{1,260}})/?",
        re.IGNORECASE | re.ASCII,
    ),
    example="/subscriptions/…/resourceGroups/…/providers/Microsoft.MachineLearningServices"
    "/workspaces/…/onlineEndpoints/NAME",
)
# Clients write the keys of traffic in lower case (code: azure-ai-ml 1.35), so names are.
DEPLOYMENT_NAME: Final = re.compile(r"(?=.{3,32}\Z)[a-z](?:-?[a-z0-9])*", re.ASCII)
# Names and versions of assets (published OpenAPI: names have 255 characters at most).
_NAME: Final = r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,254})"
_VERSION: Final = r"(?P<version>[A-Za-z0-9][A-Za-z0-9._-]{0,254})"
_ASSET: Final = rf"(?P<collection>models|environments|codes|data)/{_NAME}/versions/{_VERSION}/?"
# The forms of the id of an asset.
_FORMS: Final = tuple(
    compile_lazily(form, re.IGNORECASE | re.ASCII)
    for form in (
        rf"azureml:{_NAME}:{_VERSION}",
        rf"(?:azureml:)?(?P<scope>{_WORKSPACE})/{_ASSET}",
        rf"azureml://registries/(?P<registry>[A-Za-z0-9_-]{{1,255}})/{_ASSET}",
    )
)
# Where a deployment's document has the id of an asset, and of which collection.
ASSETS: Final[Mapping[Path, Collection]] = {
    ("properties", "model"): "models",
    ("properties", "environmentId"): "environments",
    ("properties", "codeConfiguration", "codeId"): "codes",
}
_COLLECTIONS: Final[Path] = ("properties", "dataCollector", "collections")


@dataclass(frozen=True, slots=True)
class AssetId:
    """One version of an asset.

    `registry` is empty for an asset of a workspace. `workspace` is the whole id of its workspace if
    the text names one; an empty one means the endpoint's own. `collection` is empty for a short id,
    which does not name it.
    """

    name: str
    version: str
    collection: str = ""
    registry: str = ""
    workspace: str = ""


def parse_id(text: Json) -> AssetId | None:
    """Return the asset that an id names; None for any other text."""
    if not isinstance(text, str):
        return None
    found = next(filter(None, (form.fullmatch(text) for form in _FORMS)), None)
    if found is None:
        return None
    parts = found.groupdict()
    return AssetId(
        parts["name"],
        parts["version"],
        (parts.get("collection") or "").lower(),
        parts.get("registry") or "",
        parts.get("scope") or "",
    )


def compare_id(value: Json) -> Json:
    """Return the comparison form of an asset's id: the case does not count.

    A whole id means its short form: a deployment can use no other workspace than its own, and a
    finding refuses one.
    """
    asset = parse_id(value)
    if asset is None:
        return value.casefold() if isinstance(value, str) else value
    if asset.registry:
        return str(value).rstrip("/").casefold()
    return f"azureml:{asset.name}:{asset.version}".casefold()


def shorten_id(text: Json, workspace: str) -> Json:
    """Return `azureml:NAME:VERSION` for the id of an asset of that workspace; else the text."""
    asset = parse_id(text)
    if asset is None or asset.workspace.casefold() != workspace.casefold():
        return text
    return f"azureml:{asset.name}:{asset.version}"


def expand_id(text: Json, collection: str, workspace: str) -> Json:
    """Return the whole id for a short one, as the service takes it; else the text."""
    asset = parse_id(text)
    if asset is None or asset.registry:
        return text
    place = asset.workspace or workspace
    return f"{place}/{asset.collection or collection}/{asset.name}/versions/{asset.version}"


def shorten_ids(deployment: Json, workspace: str) -> Json:
    """Return a deployment as the document has it; the argument is not changed."""
    return _convert(deployment, lambda text, _: shorten_id(text, workspace))


def expand_ids(deployment: Json, workspace: str) -> Json:
    """Return a deployment of the document as the service takes it; the argument is not changed."""
    return _convert(deployment, lambda text, collection: expand_id(text, collection, workspace))


def _convert(deployment: Json, change: Callable[[Json, str], Json]) -> Json:
    assets = _list_assets(deployment)
    converted = copy_along(deployment, assets)
    for path, collection in assets.items():
        value = find(deployment, path)
        if isinstance(value, str):
            set_at(converted, path, change(value, collection))
    return converted


def _list_assets(deployment: Json) -> Mapping[Path, str]:
    collections = find(deployment, _COLLECTIONS)
    names = collections if isinstance(collections, dict) else ()
    return {**ASSETS, **{(*_COLLECTIONS, name, "dataId"): "data" for name in names}}
