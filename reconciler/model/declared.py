"""What people write, and what it says of a service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Literal

from reconciler.model.core import (
    ABSENT,
    Absent,
    Address,
    Finding,
    Json,
    Path,
    SecretReference,
    SourceLocation,
)
from reconciler.model.values import dataclass


@dataclass(frozen=True, slots=True)
class Member:
    """Which item of which fleet something is made from.

    `number` counts items from 1; `place` is where the item stands: a row of a file, or an entry.
    """

    fleet: Address
    number: int
    place: SourceLocation


@dataclass(frozen=True, slots=True)
class Rollout:
    """How the changes of a fleet are spread over waves.

    `sizes` says of each wave how many of the changing members are done when it ends: a count, or a
    percentage such as `"10%"`; the last one takes all that is left. After each wave but the last
    `pause_s` seconds are waited. More than `max_failures` failed members stop the rest of it.
    """

    fleet: Address
    sizes: tuple[int | str, ...] = ("100%",)
    pause_s: float = 0.0
    max_failures: int = 0


@dataclass(frozen=True)
class Manifest:
    """One document that a person wrote, checked against its schema, files inlined.

    `places` maps a JSON pointer into the document ("/spec/trainedModels") to where it stands.
    `member` says which item of a fleet it was made from; None where a person wrote it as it is.
    """

    address: Address
    spec: Json
    file: str
    digest: str
    labels: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, SourceLocation] = field(default_factory=dict)
    member: Member | None = None

    def place(self, pointer: str) -> SourceLocation:
        """Where `pointer` stands, or the nearest thing around it."""
        while pointer and pointer not in self.places:
            pointer = pointer.rpartition("/")[0]
        return self.places.get(pointer, SourceLocation(self.file, 1, 1))


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """What a plan may do without being asked again. `max_updates` is a count or `"30%"`."""

    max_deletes: int = 0
    max_updates: int | str = "30%"
    blobs: Literal["required", "warn", "skip"] = "required"


@dataclass(frozen=True, slots=True)
class Cloud:
    """Where calls go: base URLs without a trailing slash, by the names that kinds give them.

    `name` says what a plan is made for: a plan for one cloud is not applied to another. `blob` is
    empty where the addresses of models say where storage is.
    """

    name: str
    planes: Mapping[str, str]
    blob: str = ""


@dataclass(frozen=True)
class Project:
    """What `reconciler.yaml` says. `root` is the folder it stands in, absolute.

    `ledger` is the folder of the ledger and of what is kept beside it; where `ledger_container` is
    not empty, the ledger itself is in that container, in blobs whose names begin with
    `ledger_prefix`. `moved` maps addresses that were renamed to what they are called now.
    """

    name: str
    root: str
    file: str
    cloud: Cloud
    defaults: Mapping[str, Json]
    guards: GuardLimits
    ledger: str
    digest: str
    moved: Mapping[Address, Address] = field(default_factory=dict)
    ledger_container: str = ""
    ledger_prefix: str = ""


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A trained model that a manifest names. `path` is the place of its address in the document.

    Where the service opens it by a signature, `sas_path` is the place at which that is sent.
    `entry` points to the manifest's own entry for it, which may hold `uri`, `sha256` and `sas`; it
    is empty where the definition brings the model in.
    """

    name: str
    uri: str
    path: Path
    sha256: str = ""
    sas: SecretReference | None = None
    sas_path: Path = ()
    entry: str = ""
    find_place: Callable[[], SourceLocation] | None = field(default=None, compare=False, repr=False)

    @property
    def place(self) -> SourceLocation | None:
        """Where the manifest names it; looked up when somebody must be told."""
        return self.find_place() if self.find_place is not None else None


@dataclass(frozen=True)
class Declared:
    """The part of the service's document that a manifest speaks of.

    Leaves of `document` may be `SecretReference`. `places` maps a pointer into `document` to
    where a person wrote it. With `exact` it is all that there is to be: the rest is removed.
    `starting_document` is what a resource that is not there yet starts from; nobody owns what is
    only in it.
    """

    document: Json
    models: tuple[ModelReference, ...] = ()
    findings: tuple[Finding, ...] = ()
    places: Mapping[str, SourceLocation] = field(default_factory=dict)
    exact: bool = False
    starting_document: Json | Absent = ABSENT


@dataclass(frozen=True, slots=True)
class CloneSource:
    """The resource whose definition a new one is made from.

    `name` is what people call it. Where secrets must be sealed anew for another `region`, those of
    the service's own copy for that region are sent; `copy` says whether it was there when the plan
    was made, or must be made first.
    """

    id: str
    name: str
    region: str = ""
    copy: Literal["", "there", "missing"] = ""


@dataclass(frozen=True)
class ExportedSpec:
    """What a person would write for a live resource: a manifest's spec, and notes beside it."""

    spec: Json
    notes: tuple[str, ...] = ()
