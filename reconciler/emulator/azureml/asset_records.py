"""The records of registered assets: their owners, names and versions. Keys ignore case."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from reconciler.emulator.azureml.state import OnlineWorkspace

Json = Any
AssetKey = tuple[str, str, str]


@dataclass(frozen=True)
class Owner:
    """A workspace or a registry. `id` is the beginning of the ids of its versions."""

    id: str
    workspace: OnlineWorkspace | None = None

    @classmethod
    def of_workspace(cls, workspace: OnlineWorkspace) -> Owner:
        """Return the owner of a workspace's assets."""
        return cls(workspace.path, workspace)

    @classmethod
    def of_registry(cls, name: str) -> Owner:
        """Return the owner of a registry's assets; its name is unique in the cloud."""
        return cls(f"azureml://registries/{name}")

    def make_key(self, kind: str, name: str) -> AssetKey:
        """Return the key of an asset; keys ignore case."""
        return self.id.casefold(), kind, name.casefold()


@dataclass
class AssetVersion:
    """A version of an asset. Times are in seconds since 1970.

    `number` counts the versions of the asset. `sent` is the address that the request had, which the
    service writes in another way. A `deleted` version is kept, since it may not be made again.
    """

    owner: str
    kind: str
    name: str
    version: str
    properties: Json
    sent: str
    created: float
    modified: float
    number: int = 0
    deleted: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        """Return the key of the version."""
        return self.owner.casefold(), self.kind, self.name.casefold(), self.version.casefold()


@dataclass
class AssetContainer:
    """An asset with its versions in the order of their creation; `properties` are its own.

    `highest` is the highest version that is a number, and `made` how many versions there have been.
    """

    owner: str
    kind: str
    name: str
    properties: Json
    created: float
    modified: float
    highest: int = 0
    made: int = 0
    versions: dict[str, AssetVersion] = field(default_factory=dict)

    @property
    def key(self) -> AssetKey:
        """Return the key of the asset."""
        return self.owner.casefold(), self.kind, self.name.casefold()

    @property
    def live(self) -> list[AssetVersion]:
        """Return the versions that were not deleted."""
        return [one for one in self.versions.values() if not one.deleted]
