"""The project file's document as a `Project`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from reconciler.model import Address, Cloud, GuardLimits, Json, Project

# Published addresses of the management and data planes; a blob's own address says where it is.
_AZURE: Final = Cloud(
    resource_manager="https://management.azure.com",
    studio_management="https://management.azureml.net",
    services="https://ussouthcentral.services.azureml.net",
    blob="",
)
_EMULATOR: Final = "http://127.0.0.1:8470"
_EMULATED: Final = Cloud(_EMULATOR, _EMULATOR, _EMULATOR, "http://127.0.0.1:10000")


# Where the ledger is kept, unless the project says otherwise.
LEDGER: Final = ".reconciler"


def make_project(document: Json, root: Path, file: str, digest: str) -> Project:
    """The project that a checked document describes; `root` is where its file stands."""
    spec = document.get("spec") or {}
    guards = spec.get("guards", {})
    ledger = spec.get("ledger", {})
    return Project(
        name=document["metadata"]["name"],
        root=str(root.resolve()),
        file=file,
        cloud=_make_cloud(spec.get("cloud", "azure")),
        defaults=dict(spec.get("defaults", {})),
        guards=GuardLimits(
            max_deletes=guards.get("maxDeletes", 0),
            max_updates=guards.get("maxUpdates", "30%"),
            blobs=guards.get("blobs", "required"),
        ),
        ledger=ledger.get("path", LEDGER),
        digest=digest,
        moved={
            Address.parse(one["from"]): Address.parse(one["to"]) for one in spec.get("moved", ())
        },
        ledger_container=ledger.get("container", "").rstrip("/"),
        ledger_prefix=ledger.get("prefix", ""),
    )


def _make_cloud(given: Json) -> Cloud:
    if given == "emulator":
        return _EMULATED
    if given == "azure":
        return _AZURE
    given = {plane: url.rstrip("/") for plane, url in given.items()}
    first = given.get("resourceManager", _AZURE.resource_manager)
    # What stands on this machine serves every plane; nothing of it may reach Azure by omission.
    local = first.startswith("http:")
    other = replace(_AZURE, studio_management=first, services=first) if local else _AZURE
    return Cloud(
        resource_manager=first,
        studio_management=given.get("studioManagement", other.studio_management),
        services=given.get("services", other.services),
        blob=given.get("blob", ""),
    )


def name_cloud(cloud: Cloud) -> str:
    """The addresses whose services are planned: a plan for these is not for any other.

    Where both are Azure's own, or one origin serves both, the first says it all.
    """
    first, second = cloud.resource_manager, cloud.studio_management
    azure = (first, second) == (_AZURE.resource_manager, _AZURE.studio_management)
    return first if azure or first == second else f"{first} {second}"
