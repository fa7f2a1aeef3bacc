"""The documents in replies about assets, and the refusals of calls on them.

The documents and the 404 of a model are recorded; the texts of the other refusals are not known.
"""

from __future__ import annotations

from typing import Any, Final

from reconciler.emulator.azureml.asset_records import AssetContainer, AssetVersion, Owner
from reconciler.emulator.azureml.replies import (
    refuse_absent,
    refuse_online,
    refuse_request,
    write_moment,
)
from reconciler.emulator.replies import Refusal
from reconciler.emulator.requests import Call

Json = Any
# From this api-version on, a model shows its stage and what became of its registration.
_STAGES_SINCE: Final = "2023-04-01"


def show_container(container: AssetContainer, owner: Owner) -> Json:
    """Return the document of an asset (recorded)."""
    live = container.live
    numbers = {
        "latestVersion": live[-1].version if live else None,
        "nextVersion": str(container.highest + 1),
    }
    return {
        "id": f"{owner.id}/{container.kind}/{container.name}",
        "name": container.name,
        "type": _name_type(owner, container.kind, versions=False),
        "properties": {**container.properties, **numbers},
        "systemData": _show_times(container.created, container.modified),
    }


def show_version(version: AssetVersion, owner: Owner, call: Call) -> Json:
    """Return the document of a version; its name is the version, in a registry the asset's name."""
    properties = dict(version.properties)
    stage = properties.pop("stage", "Development")
    if version.kind == "models" and call.query.get("api-version", "") >= _STAGES_SINCE:
        properties |= {"stage": stage, "provisioningState": "Succeeded"}
    return {
        "id": f"{owner.id}/{version.kind}/{version.name}/versions/{version.version}",
        "name": version.version if owner.workspace else version.name,
        "type": _name_type(owner, version.kind, versions=True),
        "properties": properties,
        "systemData": _show_times(version.created, version.modified),
    }


def _name_type(owner: Owner, kind: str, *, versions: bool) -> str:
    if owner.workspace is None:
        return kind
    return f"Microsoft.MachineLearningServices/workspaces/{kind}{'/versions' * versions}"


def _show_times(created: float, modified: float) -> Json:
    return {
        "createdAt": write_moment(created),
        "createdBy": "A User",
        "createdByType": "User",
        "lastModifiedAt": write_moment(modified),
        "lastModifiedBy": "A User",
        "lastModifiedByType": "User",
    }


def refuse_body(place: str, text: str) -> Refusal:
    """Return the refusal of a body; `place` is the member that is missing or wrong."""
    return refuse_request("ValidationError", f"The member {place} {text}.", target=place)


def no_such_container(kind: str, name: str) -> Refusal:
    """Return the recorded 404 of a model; those of the other kinds are alike."""
    word = kind.removesuffix("s").capitalize()
    text = f"{word} container with name: {name[:255]} not found."
    return refuse_absent(f"{word}NotFound", text, outer="UserError")


def no_such_version(owner: Owner, place: tuple[str, str, str], *, has_container: bool) -> Refusal:
    """Return the 404 of a version; that of a registry and of a missing asset are recorded."""
    kind, name, number = (part[:255] for part in place)
    if owner.workspace is None:
        text = f"Could not find asset with ID: {owner.id}/{kind}/{name}/versions/{number}"
        return refuse_online(404, "UserError", text)
    if not has_container:
        return no_such_container(kind, name)
    word = kind.removesuffix("s").capitalize()
    text = f"{word} {name} with version: {number} not found."
    return refuse_absent(f"{word}NotFound", text, outer="UserError")


def refuse_change(version: AssetVersion) -> Refusal:
    """Return the refusal of a version with another content."""
    text = (
        f"Asset {version.name} with version {version.version} is already linked to an asset, its"
        " content cannot be overwritten."
    )
    return refuse_request("ImmutableAsset", text)


def refuse_recreation(version: AssetVersion) -> Refusal:
    """Return the refusal of a version that was deleted before (reported for registries)."""
    text = (
        f"Asset {version.name} with version {version.version} was deleted at"
        f" {write_moment(version.modified)}, it cannot be recreated."
    )
    return refuse_request("AssetDeleted", text, status=409)
