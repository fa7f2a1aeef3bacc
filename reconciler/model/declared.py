"""The project, the manifests, and the part of a document that a manifest declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Literal

from reconciler.model.compressed import CompressedField
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
    """The item of a fleet that a manifest is made from.

    `number` counts items from 1. `place` is the place of the item: a row of a file, or an entry.
    """

    fleet: Address
    number: int
    place: SourceLocation


@dataclass(frozen=True, slots=True)
class Rollout:
    """The waves of a fleet.

    `sizes` has one item for each wave: how many of the changing members are done when the wave
    ends. An item is a count, or a percentage such as `"10%"`; the last wave takes the rest. The
    apply waits `pause_s` seconds after each wave but the last. The fleet stops when more than
    `max_failures` members have failed.
    """

    fleet: Address
    sizes: tuple[int | str, ...] = ("100%",)
    pause_s: float = 0.0
    max_failures: int = 0


@dataclass(frozen=True, slots=True)
class UnreadFile:
    """A file in the project's folder that is not read and may declare resources.

    `why` says why it is not read. `names` are the names in it; None if they cannot be known.
    """

    file: str
    why: str
    names: frozenset[str] | None


@dataclass(frozen=True)
class Manifest:
    """One manifest document, checked against its schema, with included files inlined.

    `places` maps a JSON pointer into the document ("/spec/definition") to its place in a file.
    `member` is the item of a fleet that it is made from; None when a person wrote it. Each read of
    a compressed `spec` parses it again.
    """

    address: Address
    spec: CompressedField = CompressedField()
    file: str = ""
    digest: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, SourceLocation] = field(default_factory=dict)
    member: Member | None = None

    @property
    def secrets(self) -> dict[str, SecretReference]:
        """The references in `spec.secrets`, by pointer."""
        given = self.spec.get("secrets", {})
        return {pointer: SecretReference(**one) for pointer, one in given.items()}

    def place(self, pointer: str) -> SourceLocation:
        """The place of `pointer`, or of its nearest parent that has a place."""
        while pointer and pointer not in self.places:
            pointer = pointer.rpartition("/")[0]
        return self.places.get(pointer, SourceLocation(self.file, 1, 1))


@dataclass(frozen=True)
class Edit:
    """A value for a place in a document that people wrote, or ABSENT to remove it.

    `pointer` is a JSON pointer in the document's own spelling: `/spec/definition/tags/team`.
    Missing mappings on the path are created; `-`, or the length of a list, appends an item. With a
    `name`, the member keeps its value and its place, and gets this name.
    """

    pointer: str
    value: Json | Absent = ABSENT
    name: str = ""


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """The limits of a plan that needs no `--allow`. `max_updates` is a count or `"30%"`.

    `liftable` names the guards that `--allow` may lift; None means every guard.
    """

    max_deletes: int = 0
    max_updates: int | str = "30%"
    blobs: Literal["required", "warn", "skip"] = "required"
    liftable: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Cloud:
    """The base URLs of the calls, without a trailing slash, by the plane names of the kinds.

    `name` is part of a plan: a plan for one cloud is not applied to another. `blob` is empty when
    the address of each model already names the storage. `emulated` says that the project names the
    emulator and not its address; `token` is the emulator's own one.
    """

    name: str
    planes: Mapping[str, str]
    blob: str = ""
    emulated: bool = False
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address to which `watch` reports each new finding; the address is a secret."""

    url: SecretReference
    format: Literal["generic", "slack"] = "generic"


@dataclass(frozen=True)
class Project:
    """The contents of `reconciler.yaml`. `root` is the absolute path of its folder.

    `ledger` is the folder of the ledger and of the files beside it. When `ledger_container` is not
    empty, the ledger itself is in that container, in blobs whose names begin with `ledger_prefix`.
    `moved` maps the old address of a renamed resource to its current one; `moved_places` has the
    place of each entry, by the old address. `environments` are the names of all environments, and
    `environment` is the one whose values are laid over the project's; both are empty if the project
    has no environments. `requirements` are what a merged request must meet before it is applied:
    approved, mergeable, undiverged. `webhooks` get the new findings of `watch`, and `report_url` is
    where people open its report, or empty.
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
    moved_places: Mapping[Address, SourceLocation] = field(default_factory=dict)
    ledger_container: str = ""
    ledger_prefix: str = ""
    environment: str = ""
    environments: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    report_url: str = ""


@dataclass(frozen=True)
class Environment:
    """The contents of a file of `environments/`.

    `spec` has the parts that are laid over the project's: cloud, defaults, ledger, guards, watch.
    `values` are those of `${values.NAME}`. `manifests` are folders relative to the project's; empty
    for the folder of the project. Each manifest gets `labels` that it does not have itself.
    """

    name: str
    file: str
    spec: Mapping[str, Mapping[str, Json] | str] = field(default_factory=dict)
    values: Mapping[str, str | float | bool] = field(default_factory=dict)
    manifests: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A trained model that a manifest names. `path` is the place of its URI in the document.

    When the service needs a shared access signature, `sas_path` is its place in the document.
    `entry` points to the manifest's entry of the model, which may hold `uri`, `sha256` and `sas`;
    it is empty when only the definition names the model.
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
    def pin(self) -> str:
        """The digest that the manifest demands, in the form of every digest; empty without one."""
        return f"sha256:{self.sha256.lower()}" if self.sha256 else ""

    @property
    def place(self) -> SourceLocation | None:
        """Where the manifest names it; computed only when a finding needs it."""
        return self.find_place() if self.find_place is not None else None


@dataclass(frozen=True, slots=True)
class NamedPart:
    """A part of an id that a manifest gives by the name that people see.

    `part` is the name of the part below `spec.resource`. `key` is where the name is given:
    `spec.resource.KEY` of the manifest, or `spec.defaults.KEY` of the project. `noun` is what has
    the name, such as "web service". `scope` is the id of what contains everything that has such a
    name, and `token` opens it. `id` is the value of the part where it is given beside the name,
    else empty. `value_noun` is what the part holds, such as "id" or "resource group". With
    `any_case`, names that differ only in case are one name.
    """

    part: str
    key: str
    name: str
    noun: str
    scope: str
    token: SecretReference | None = None
    id: str = ""
    value_noun: str = "id"
    any_case: bool = False


@dataclass(frozen=True, slots=True)
class DueCall:
    """A call of its own that a manifest asks for and that is due, such as a refresh.

    `name` is its name for people. `values` are the properties of the service's document that it
    sets: read-only ones, which show later that it was done, and its arguments, which are never
    shown. `note` says why it is due. With `undoes_models`, it replaces the models that the resource
    has.
    """

    name: str
    values: Mapping[str, Json]
    note: str
    undoes_models: bool


@dataclass(frozen=True)
class Declared:
    """The part of the service's document that a manifest declares.

    Leaves of `document` may be `SecretReference`. `places` maps a pointer into `document` to its
    place in a file. With `exact`, every property that is not in `document` is removed.
    `starting_document` is the first document of a resource that does not exist yet. A property that
    is only in it is not owned. `call` is the call that is due, if any; its values are not in
    `document`, and no manifest owns them. `secrets` are references beside those of `spec.secrets`,
    by pointer into the service's document. `strategy` is what the manifest says about the way of a
    change: an object in the kind's own words, or None. `removed` are places of live that the
    manifest asks to remove, although it is not exact.
    """

    document: Json
    models: tuple[ModelReference, ...] = ()
    findings: tuple[Finding, ...] = ()
    places: Mapping[str, SourceLocation] = field(default_factory=dict)
    exact: bool = False
    starting_document: Json | Absent = ABSENT
    call: DueCall | None = None
    secrets: Mapping[str, SecretReference] = field(default_factory=dict)
    strategy: Json = None
    removed: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class CloneSource:
    """The resource whose definition a new resource copies.

    `name` is its name for people. When secrets must be encrypted again for another `region`, the
    write sends those of the service's own copy for that region. `copy` says whether that copy
    existed when the plan was made, or must be made first.
    """

    id: str
    name: str
    region: str = ""
    copy: Literal["", "there", "missing"] = ""


@dataclass(frozen=True)
class ExportedSpec:
    """The exported manifest of a live resource: its spec, and notes for the reader."""

    spec: Json
    notes: tuple[str, ...] = ()
