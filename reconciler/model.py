"""The words everything else is written in: frozen values without behaviour beyond their own form.

A JSON value is `Json`. A value that is not there is `ABSENT`, which is not JSON's null: the
service says 404, or the document has no such property. It never stands for a read that failed.
No secret can be held by anything here but `Live.raw`; a `SecretReference` says where a secret is.
The module is long because it is a dictionary: forms and what they mean, to be read in one place.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

Json: TypeAlias = Any
Path: TypeAlias = tuple[str | int, ...]


class Absent(enum.Enum):
    """The type of `ABSENT`, so that a type checker can tell it from every JSON value."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> bool:
        return False


ABSENT: Final = Absent.ABSENT


class Action(enum.StrEnum):
    """What is done to a resource, in Terraform's words; what is forgotten is left as it is."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    FORGET = "forget"

    @property
    def symbol(self) -> str:
        """The sign that stands before the resource in every face."""
        return _SYMBOLS[self]


_SYMBOLS: Final[Mapping[Action, str]] = {
    Action.CREATE: "+",
    Action.UPDATE: "~",
    Action.REPLACE: "-/+",
    Action.DELETE: "-",
    Action.FORGET: ".",
}


class Verb(enum.StrEnum):
    """What a change does to one place. `WRITE` is for a value that can never be read back."""

    ADD = "add"
    REPLACE = "replace"
    REMOVE = "remove"
    WRITE = "write"


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """`Kind/name`: how people name a resource."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `Kind/name`; raises ValueError for anything else."""
        kind, slash, name = text.partition("/")
        if not (kind and slash and name):
            raise ValueError(text)
        return cls(kind, name)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where in a file something stands; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a person must know: what, where, and the next step.

    `guard` names the guard that refuses, one of the words of `--allow`; empty for any other
    finding. `detail` holds further lines, `next_step` a sentence or a command.
    """

    message: str
    subject: str = ""
    place: Place | None = None
    detail: tuple[str, ...] = ()
    next_step: str = ""
    severity: Literal["error", "warning"] = "error"
    guard: str = ""


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a secret is found when a call is made: an environment variable or a file.

    `version` is a label that people change to have the secret written again. The value itself
    is never held here. A reference may stand as a leaf of a declared document.
    """

    env: str = ""
    file: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"env {self.env}" if self.env else f"file {self.file}"


@dataclass(frozen=True, slots=True)
class Resource:
    """An address and what the service calls it (for Resource Manager: the whole id)."""

    address: Address
    id: str

    @property
    def short_id(self) -> str:
        """The last segment of the id, as shown in brackets."""
        return self.id.rstrip("/").rpartition("/")[2]


@dataclass(frozen=True)
class Manifest:
    """One document that a person wrote, checked against its schema, files inlined.

    `places` maps a JSON pointer into the document ("/spec/trainedModels") to where it stands.
    """

    address: Address
    spec: Json
    file: str
    digest: str
    labels: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)

    def place(self, pointer: str) -> Place:
        """Where `pointer` stands, or the nearest thing around it."""
        while pointer and pointer not in self.places:
            pointer = pointer.rpartition("/")[0]
        return self.places.get(pointer, Place(self.file, 1, 1))


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """What a plan may do without being asked again. `max_updates` is a count or `"30%"`."""

    max_deletes: int = 0
    max_updates: int | str = "30%"
    blobs: Literal["required", "warn", "skip"] = "required"


@dataclass(frozen=True, slots=True)
class Cloud:
    """The planes that calls go to: base URLs without a trailing slash."""

    resource_manager: str
    studio_management: str
    services: str
    blob: str


@dataclass(frozen=True)
class Project:
    """What `reconciler.yaml` says. `root` is the folder it stands in, absolute.

    `moved` maps addresses that were renamed to what they are called now.
    """

    name: str
    root: str
    file: str
    cloud: Cloud
    defaults: Mapping[str, str]
    guards: GuardLimits
    ledger: str
    digest: str
    moved: Mapping[Address, Address] = field(default_factory=dict)


@dataclass(frozen=True)
class Live:
    """The service's document now, in the schema's casing, without any secret.

    `raw` is the reply as it came (it may hold credentials): only the provider may look at it,
    to send back unchanged what it must send whole. It is never written or shown. `stamp` and
    `settled` are as in `Sighting`.
    """

    document: Json
    raw: Json = field(repr=False, compare=False)
    read_at: datetime
    stamp: str = ""
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """What one cheap pass over a scope tells of a resource.

    `stamp` moves with every change; `settled` is False while one is under way.
    """

    id: str
    stamp: str
    settled: bool


@dataclass(frozen=True, slots=True)
class Sighting:
    """When a document was read (`at`, in seconds since 1970), and what its stamp was then.

    `settled` says that no change was under way and none so recent that the read may lag behind it:
    only then does an equal stamp prove that the document is still the same.
    """

    stamp: str
    settled: bool
    at: float


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A trained model that a manifest names. `path` is the place of its address in the document."""

    name: str
    uri: str
    path: Path
    sha256: str = ""
    sas: SecretReference | None = None
    place: Place | None = None


@dataclass(frozen=True)
class Declared:
    """The part of the service's document that a manifest speaks of.

    Leaves of `document` may be `SecretReference`. `places` maps a pointer into `document` to
    where a person wrote it. With `exact` it is all that there is to be: the rest is removed.
    `seed` is what a resource that is not there yet starts from; nobody owns what is only in it.
    """

    document: Json
    models: tuple[ModelReference, ...] = ()
    findings: tuple[Finding, ...] = ()
    places: Mapping[str, Place] = field(default_factory=dict)
    exact: bool = False
    seed: Json | Absent = ABSENT


@dataclass(frozen=True, slots=True)
class Source:
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
class Draft:
    """What a person would write for a live resource: a manifest's spec, and notes beside it."""

    spec: Json
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between live and desired, at one place.

    `path` is where the place is when the changes are applied in order (list indexes shift).
    For `WRITE`, `after` is the `SecretReference` and `before` is ABSENT.
    """

    path: Path
    verb: Verb
    before: Json
    after: Json
    sensitive: bool = False
    immutable: bool = False
    irreversible: bool = False
    opaque: bool = False


@dataclass(frozen=True, slots=True)
class Blob:
    """What is known of a model's bytes.

    `trust` says how far `digest` can be relied on: `streamed` (every byte was read and hashed
    here), `metadata` (the uploader's word), `md5` (the storage's own digest), `none`.
    """

    uri: str
    length: int
    etag: str
    digest: str = ""
    trust: Literal["streamed", "metadata", "md5", "none"] = "none"
    expires: str = ""


@dataclass(frozen=True, slots=True)
class ModelChange:
    """One trained model before and after, for people: addresses and digests of both."""

    name: str
    path: Path
    before: str
    after: str
    digest_before: str = ""
    digest_after: str = ""
    trust: str = ""


class Cause(enum.StrEnum):
    """Why something is planned.

    `NEW`: there is none yet. `SOURCE`: what it is made from. `GONE`: it was there when last
    applied. `MANIFEST`: what is declared moved, or was never applied. `UNDECLARED`: the manifest
    is exact and does not declare it. `DRIFT`: live moved. `CONFLICT`: both did. `VERSION`: the
    label of a secret moved. `ROTATE`: it was asked for. `UNKNOWN`: no ledger tells who moved.
    `ORPHAN`: no manifest names it. `DESTROY`: all is to go.
    """

    NEW = "new"
    SOURCE = "source"
    GONE = "gone"
    MANIFEST = "manifest"
    UNDECLARED = "undeclared"
    DRIFT = "drift"
    CONFLICT = "conflict"
    VERSION = "version"
    ROTATE = "rotate"
    UNKNOWN = "unknown"
    ORPHAN = "orphan"
    DESTROY = "destroy"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one change is planned; the pointer is "" where the whole resource is meant.

    `note` is what a person must know beyond that the manifest asks for it. `remembered` is the
    value when it was last applied, for `DRIFT` and `CONFLICT`; ABSENT where it may not be shown.
    """

    pointer: str
    cause: Cause
    note: str = ""
    remembered: Json | Absent = ABSENT


@dataclass(frozen=True)
class Step:
    """All that will be done to one resource.

    `ops` is RFC 6902 on `before`: first `test` operations on the values relied upon, then the
    changes; `inverse` leads back. `absences` are pointers that must still be absent, which RFC
    6902 cannot say. `secrets` are written beside the patch and stand in no operation; `owns` are
    the pointers that the manifest speaks of, to be remembered once the step is proven.
    `before` and `after` are documents without secrets, or ABSENT. `extent` says how much of the
    document the write holds: the whole, or each part that changes. `source` is what a new
    resource is made from, where that is not its manifest alone.
    """

    resource: Resource
    action: Action
    changes: tuple[Change, ...]
    ops: tuple[Json, ...]
    inverse: tuple[Json, ...]
    before: Json
    after: Json
    absences: tuple[str, ...] = ()
    secrets: tuple[tuple[str, SecretReference], ...] = ()
    replace_paths: tuple[str, ...] = ()
    models: tuple[ModelChange, ...] = ()
    not_observable: tuple[str, ...] = ()
    unchanged: int = 0
    reason: str = ""
    because: tuple[Reason, ...] = ()
    extent: Literal["none", "parts", "whole"] = "parts"
    source: Source | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    owns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refresh:
    """How live was read.

    `mode` is auto, full or none; `oldest` the age in seconds of the oldest observation that was
    relied upon instead of a read.
    """

    mode: str
    read: int
    total: int
    calls: int
    oldest: float = 0.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a service takes calls.

    `step_s` is how long one write takes with all that follows it; `polls` how often its operation
    is asked for meanwhile. Of reads and of writes a burst is taken at once, then so many a second.
    """

    step_s: float
    polls: int
    read_burst: int
    read_rate: float
    write_burst: int
    write_rate: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an apply will take: writes and reads that are sent, and about how many seconds."""

    writes: int = 0
    reads: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Inputs:
    """What a plan was made from: digests of files, and where the work tree stood.

    `cloud` is the address whose services were read; a plan is never applied to another one.
    """

    project: str
    files: Mapping[str, str]
    cloud: str = ""
    commit: str = ""
    dirty: bool = False
    schemas: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Everything that will happen, and what is known of how and why. Holds no secret.

    `orphans` are in the ledger and in no manifest, and this plan leaves them as they are.
    """

    steps: tuple[Step, ...]
    unchanged: tuple[Resource, ...]
    findings: tuple[Finding, ...]
    inputs: Inputs
    refresh: Refresh
    made_at: str
    baseline: Literal["kept", "lost"]
    orphans: tuple[Resource, ...] = ()
    not_observable: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    estimate: Estimate = Estimate()

    @property
    def refused(self) -> tuple[Finding, ...]:
        """The findings that forbid applying."""
        return tuple(found for found in self.findings if found.severity == "error")


@dataclass(frozen=True)
class Memory:
    """What the ledger remembers of one resource: the last thing applied to it.

    `owned` maps pointers that a manifest declared to the values that were read back; `secrets`
    maps the pointers of secrets to the version label that was written; `digests` the pointers of
    models to the digest of their bytes when they were applied. `baseline` maps what no manifest
    declared to what it was then: short values, or `{"digest": …}`.
    """

    id: str
    owned: Mapping[str, Json]
    secrets: Mapping[str, str]
    at: str
    by: str
    commit: str
    sequence: int
    digests: Mapping[str, str] = field(default_factory=dict)
    baseline: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """The ledger at one moment. `known` is False when there is no ledger to remember by."""

    memories: Mapping[Address, Memory]
    known: bool


@dataclass(frozen=True)
class Entry:
    """One line of the ledger: what was done to one resource, by whom, from which commit."""

    address: Address
    id: str
    action: Action
    at: str
    by: str
    host: str
    commit: str
    plan_digest: str
    patch: tuple[Json, ...]
    inverse: tuple[Json, ...]
    owned: Mapping[str, Json]
    secrets: Mapping[str, str]
    digests: Mapping[str, str] = field(default_factory=dict)
    baseline: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at a running operation; `percent` from 0 to 1, or None where it is not told."""

    status: str
    percent: float | None = None


@dataclass(frozen=True, slots=True)
class Agenda:
    """The first event: what is about to happen, so that a face can draw its frame."""

    reads: int = 0
    steps: tuple[tuple[Address, Action], ...] = ()


@dataclass(frozen=True, slots=True)
class Refreshing:
    """A resource is being read."""

    resource: Resource


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step has begun; its first call follows."""

    resource: Resource
    action: Action


@dataclass(frozen=True, slots=True)
class StepWaiting:
    """A step still runs after `elapsed` seconds."""

    resource: Resource
    action: Action
    elapsed: float


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step was done and proven by reading back; `elapsed` in seconds."""

    resource: Resource
    action: Action
    elapsed: float


@dataclass(frozen=True, slots=True)
class StepFailed:
    """A step failed; `finding` says what happened and what to do."""

    resource: Resource
    action: Action
    finding: Finding


@dataclass(frozen=True, slots=True)
class Retrying:
    """A call is tried again in `seconds`, because of `reason`."""

    subject: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Throttling:
    """None of the calls that `subject` names goes for `seconds`, whoever asks, by `reason`."""

    subject: str
    reason: str
    seconds: float


Event: TypeAlias = (
    Agenda | Refreshing | StepStarted | StepWaiting | StepDone | StepFailed | Retrying | Throttling
)


class Verdict(enum.StrEnum):
    """What is to be said of a resource, or of one place in it, since the last apply.

    `DRIFTED`: live moved and the manifest did not. `PENDING`: the manifest moved, or was never
    applied. `CONFLICT`: both moved, apart. `MISSING`: it was there when last applied.
    `UNMANAGED`: no manifest names it. `MODEL_SWAPPED`: it serves another model than was applied.
    `ARTIFACT_MUTATED`: other bytes lie at the same address. `CREDENTIAL_EXPIRING`: a signature
    ends soon. `NOT_OBSERVABLE`: the service never shows it. `INCOMPLETE`: it could not be read.
    """

    IN_SYNC = "in sync"
    DRIFTED = "drifted"
    PENDING = "pending"
    CONFLICT = "conflict"
    MISSING = "missing"
    UNMANAGED = "unmanaged"
    MODEL_SWAPPED = "model-swapped"
    ARTIFACT_MUTATED = "artifact-mutated"
    CREDENTIAL_EXPIRING = "credential-expiring"
    NOT_OBSERVABLE = "not observable"
    INCOMPLETE = "evidence incomplete"


@dataclass(frozen=True, slots=True)
class Drift:
    """One finding of who moved what.

    `pointer` is "" where the whole resource is meant. `remembered`, `live` and `declared` are
    ABSENT where there is none; `hidden` says that they may not be shown. `since` is when it was
    first seen, in UTC; `note` says more, `settle` are the commands that settle it.
    """

    resource: Resource
    verdict: Verdict
    pointer: str = ""
    remembered: Json | Absent = ABSENT
    live: Json | Absent = ABSENT
    declared: Json | Absent = ABSENT
    hidden: bool = False
    note: str = ""
    since: str = ""
    settle: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """What is said of one resource as a whole.

    `memory` is what the ledger remembers of it, `observed_at` when it was read, in UTC, or empty.
    """

    resource: Resource
    verdict: Verdict
    memory: Memory | None = None
    observed_at: str = ""


@dataclass(frozen=True)
class DriftReport:
    """Who moved what since the last apply, how much of it is known, and how fresh that is."""

    standings: tuple[Standing, ...]
    findings: tuple[Drift, ...]
    inputs: Inputs
    refresh: Refresh
    made_at: str
    baseline: Literal["kept", "lost"]

    @property
    def outcome(self) -> Literal["in-sync", "drift", "evidence-incomplete"]:
        """Drift that is proven counts, whatever else could not be read."""
        said = {finding.verdict for finding in self.findings} - {Verdict.NOT_OBSERVABLE}
        if said - {Verdict.INCOMPLETE}:
            return "drift"
        return "evidence-incomplete" if said else "in-sync"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an apply came to: addresses by what was done, and a finding for each failure."""

    added: tuple[Address, ...] = ()
    changed: tuple[Address, ...] = ()
    destroyed: tuple[Address, ...] = ()
    failures: tuple[Finding, ...] = ()
