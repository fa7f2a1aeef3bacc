"""The project file's document as a `Project`."""

from __future__ import annotations

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
    return Cloud(
        resource_manager=given.get("resourceManager", _AZURE.resource_manager).rstrip("/"),
        studio_management=given.get("studioManagement", _AZURE.studio_management).rstrip("/"),
        services=given.get("services", _AZURE.services).rstrip("/"),
        blob=given.get("blob", "").rstrip("/"),
    )
