"""The ports between the engine and its hands: protocols without behaviour.

A third target, ledger or storage is a class with these methods; nothing else needs to know it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol, TypeAlias, runtime_checkable

from reconciler.document.schema import Field
from reconciler.errors import ManifestInvalid
from reconciler.model import (
    Absent,
    Address,
    Blob,
    CachedStamp,
    CloneSource,
    Cloud,
    CompressedDocument,
    Declared,
    Entry,
    Event,
    ExportedSpec,
    Finding,
    Intent,
    Json,
    Live,
    LockOwner,
    Manifest,
    ModelReference,
    Resource,
    SecretReference,
    ServiceTiming,
    Snapshot,
    Step,
    Summary,
    VerifyReport,
)
from reconciler.model.values import dataclass
from reconciler.secrets.redaction import Redaction

Emit: TypeAlias = Callable[[Event], None]
Clock: TypeAlias = Callable[[], datetime]
ResolveSecret: TypeAlias = Callable[[SecretReference], str]


class Permit(Protocol):
    """Leave to send one call."""

    @property
    def waited_s(self) -> float:
        """How long it was waited for, in seconds."""
        ...

    def learn(self, status: int, headers: Mapping[str, str], said: str, within_s: float) -> float:
        """Take in what came back; returns for how many seconds no call like it will go now."""
        ...


class RateLimiter(Protocol):
    """How many calls a command may send, and when each may go; one for all of its workers."""

    @property
    def sent(self) -> int:
        """How many calls were let go so far, repeated ones included."""
        ...

    def admit(self, method: str, url: str, within_s: float) -> Permit:
        """Wait until a call may go.

        Raises TooManyCalls for one more than may be sent, Throttled where the service has taken
        none for `within_s` seconds, ReconcilerError where it would wait after the budget's end.
        """
        ...

    def check(self, needed: int) -> None:
        """Raise TooManyCalls where so many more calls may not be sent."""
        ...

    def stop(self, within_s: float) -> None:
        """Let nobody wait for a call any longer than that: the command is ending."""
        ...


@dataclass(frozen=True, slots=True)
class Access:
    """What a provider reaches its service by.

    An operation is followed for `deadline_s` seconds; `resolve` finds a resource's own token.
    Secrets that are known to `redaction` are taken out of all that comes back.
    """

    cloud: Cloud
    emit: Emit
    rate_limiter: RateLimiter
    deadline_s: float
    resolve: ResolveSecret
    redaction: Redaction

    def find_url(self, plane: str) -> str:
        """The base URL of a plane; raises ManifestInvalid where the project gives none."""
        if plane not in self.cloud.planes:
            finding = Finding(
                f"spec.cloud gives no address of {plane}",
                subject="Project",
                next_step=f"Add it to the project file: spec: {{cloud: {{{plane}: URL}}}}",
            )
            raise ManifestInvalid((finding,))
        return self.cloud.planes[plane]


class Provider(Protocol):
    """One service's calls. Safe to use from several threads at once.

    These three methods are all that a provider must have. What else it can do is said by the
    capabilities below: `ReadsMany`, `ShowsPeers`, `WaitsUntilIdle`, `KeepsCopies`, `HasTiming`.
    """

    def scan(self, scope: str, token: SecretReference | None = None, /) -> Iterable[Summary]:
        """One cheap pass over `scope`, following pages; `token` is that of what is in it."""
        ...

    def read(self, resource: Resource) -> Live | Absent:
        """The document now; ABSENT only for an authoritative 404; raises ServiceError else."""
        ...

    def write(self, step: Step, live: Live | Absent, resolve: ResolveSecret) -> Iterator[None]:
        """Send the step's one verb and follow its operation to the end; yields at each look at it.

        A regional copy of its source that is not there is made before anything else. `live` is
        what was read immediately before. Yields at least once as soon as the service may have
        taken a part of the step, before anything else is sent. Returning says only that the service
        claims success: read back before you believe it. Raises ReplyLost where the write may have
        been done, StillRunning where its operation has not ended in time, and any other error
        where this write was not done; what was yielded before may have been.
        """
        ...


@runtime_checkable
class ReadsMany(Protocol):
    """A provider whose lists show whole documents. Without it each resource is read alone."""

    def read_many(self, resources: Sequence[Resource], /) -> Mapping[Resource, Live]:
        """What one pass over the scope of all of these shows whole, without raising ServiceError.

        What is left out must be read: that it is not in a list proves nothing.
        """
        ...


@runtime_checkable
class ShowsPeers(Protocol):
    """A provider that can list what shares a scope. Without it `check_scope` gets no peers."""

    def find_peers(self, resource: Resource, /) -> Sequence[Json]:
        """The documents of all that is in the scope of a resource, as far as one pass shows them.

        What was listed before in the same run is not listed again. Raises no ServiceError.
        """
        ...


@runtime_checkable
class WaitsUntilIdle(Protocol):
    """A provider that can follow operations of others. Without it nothing is waited for."""

    def wait_until_idle(self, resource: Resource) -> Iterator[None]:
        """Wait until no operation runs on the resource, whoever began it; sends no write.

        Sends no write. Raises StillRunning where one has not ended in time.
        """
        ...


@runtime_checkable
class KeepsCopies(Protocol):
    """A provider whose service keeps a copy of a resource for another region."""

    def has_copy(self, source: CloneSource) -> bool:
        """Whether the source has a copy for the region that is as the source is now.

        False where the source is not there; raises ServiceError where it cannot be told.
        """
        ...


@runtime_checkable
class HasTiming(Protocol):
    """A provider that knows how fast its service takes calls. Without it `UNKNOWN_TIMING` holds."""

    @property
    def timing(self) -> ServiceTiming:
        """How fast the service takes calls, as far as it is published or recorded."""
        ...


@dataclass(frozen=True, slots=True)
class Plane:
    """One base URL under `spec.cloud` of the project, and its values for the named clouds.

    `azure` and `emulator` are empty where that cloud has none; the project must then give it. What
    `manages` resources is part of the name of the cloud that a plan is made for.
    """

    name: str
    description: str
    azure: str = ""
    emulator: str = ""
    manages: bool = True


class Kind(Protocol):
    """What a kind of resource knows: its schemas, how a manifest binds to it, what to call it.

    Pure: only `connect` leads to calls. `kinds.base.BaseKind` has the usual answers, so that a
    kind writes `bind`, `export` and `connect`. What else a kind can do is said by the capabilities
    below: `ClonesFrom`, `KnowsOwner`, `ChecksSteps`, `ChecksScopes`.
    """

    name: str
    # Names for `package_data.read_schema`: "service/web-service", or "PACKAGE:schemas/shelf".
    schema_name: str
    manifest_schema_name: str

    @property
    def field(self) -> Field:
        """The service's document, compiled."""
        ...

    @property
    def planes(self) -> Sequence[Plane]:
        """The base URLs that the kind's calls go to."""
        ...

    @property
    def defaults(self) -> Mapping[str, Json]:
        """What the project may give for all its resources: a JSON Schema for each name."""
        ...

    @property
    def guards(self) -> Mapping[str, str]:
        """Guards of its own: for each name, for `--allow`, what it protects."""
        ...

    def identify(self, manifest: Manifest, defaults: Mapping[str, Json]) -> Resource:
        """Where the resource is; raises ManifestInvalid naming what is missing."""
        ...

    def locate(self, address: Address, resource_id: str, defaults: Mapping[str, Json]) -> Resource:
        """What an id means, given whole or as a name; raises ManifestInvalid for what is none."""
        ...

    def scope(self, resource: Resource) -> str:
        """The scope whose scan lists this resource."""
        ...

    def bind(self, manifest: Manifest, live: Json | Absent) -> Declared:
        """The part of the service's document that the manifest speaks of, with findings."""
        ...

    def export(
        self, resource: Resource, document: Json, defaults: Mapping[str, Json], *, full: bool
    ) -> ExportedSpec:
        """What a person would write for a live document: what matters of it, or all."""
        ...

    def connect(self, access: Access, /) -> Provider:
        """Open the calls to this kind's service, each within the budget."""
        ...


@runtime_checkable
class ClonesFrom(Protocol):
    """A kind whose new resources can start from another one."""

    def find_source(
        self, manifest: Manifest, defaults: Mapping[str, Json]
    ) -> Address | Resource | None:
        """What a new resource is to start from; raises ManifestInvalid naming what is missing."""
        ...

    def bind_clone(self, manifest: Manifest, source: Json) -> Declared:
        """As `bind`, of a resource that is not there and starts from the document `source`."""
        ...

    def find_region(self, source: Json, after: Json) -> str:
        """The region for which secrets of `source` must be sealed anew to serve in `after`.

        Empty where they can go as they are.
        """
        ...


@runtime_checkable
class KnowsOwner(Protocol):
    """A kind whose documents name who manages them."""

    def find_owner(self, live: Json, project: str) -> str:
        """Who manages what is live, where it says so and it is not this project; else empty."""
        ...


@runtime_checkable
class ChecksSteps(Protocol):
    """A kind that knows why its service would refuse a step."""

    def check_step(self, manifest: Manifest, step: Step) -> Iterable[Finding]:
        """Why the service would refuse the step; what names a guard can be allowed."""
        ...


@runtime_checkable
class ChecksScopes(Protocol):
    """A kind whose resources restrict one another."""

    def check_scope(
        self, steps: Sequence[tuple[Manifest | None, Step]], peers: Sequence[Json], /
    ) -> Iterable[Finding]:
        """What speaks against the steps of one scope together, beside all that is there.

        `peers` are as `find_peers` gives them; what is removed has no manifest.
        """
        ...


class Lease(Protocol):
    """The lock, held until its context ends and kept alive meanwhile."""

    @property
    def lock_owner(self) -> LockOwner:
        """Who holds it: ourselves, with the fence that it was taken with."""
        ...

    def check(self) -> None:
        """Raise LedgerConflict once the lock is no longer surely ours."""
        ...


class Ledger(Protocol):
    """What was begun and what came of it, in order, never lost and never a secret.

    Readers take no lock and never see half a line. Safe to use from several threads at once.
    """

    def load(self) -> Snapshot:
        """Everything remembered, in one read; raises LedgerInvalid naming the first bad line."""
        ...

    def lock(
        self, lock_owner: LockOwner, within_s: float, emit: Emit
    ) -> AbstractContextManager[Lease]:
        """Take the lock, waiting for it up to `within_s` seconds: 1 s, doubling to 16 s.

        Raises LockHeld naming who holds it. A holder that is dead or silent for a minute loses it.
        """
        ...

    def find_lock_owner(self) -> LockOwner | None:
        """Who holds the lock now."""
        ...

    def unlock(self, lock_id: str) -> LockOwner:
        """Take the lock from whoever holds it by that id; raises ReconcilerError for none."""
        ...

    def intend(self, intent: Intent) -> int:
        """Durable before it returns; returns the sequence it was given.

        Raises LedgerInvalid where it cannot be written, LedgerConflict where a later lock than
        `fence` has been taken.
        """
        ...

    def record(self, entry: Entry) -> None:
        """Durable before it returns; raises as `intend` does."""
        ...

    def entries(self, address: Address | None = None) -> Iterator[Entry]:
        """The entries, oldest first, each with the patch and inverse of its intent."""
        ...

    def verify(self) -> VerifyReport:
        """Look at every line, archives included; nothing is raised for what does not fit."""
        ...

    def compact(self) -> str:
        """Begin anew with what is remembered, chained to what was; returns the archive's name."""
        ...

    def set_aside(self) -> str:
        """Move away whatever is there, whole or broken; returns where it is kept, or ""."""
        ...


class ObservationStore(Protocol):
    """What was seen before: a cache, which may be empty at any time and never fails."""

    def load(self) -> Mapping[str, CachedStamp]:
        """What there is, by casefolded id, without the documents."""
        ...

    def recall(self, resource_id: str) -> CompressedDocument | Absent:
        """The document of one; ABSENT where there is none any more."""
        ...

    def keep(self, seen: Iterable[tuple[str, CachedStamp, CompressedDocument]]) -> None:
        """Keep documents, each by its id."""
        ...

    def drop(self, resource_ids: Iterable[str]) -> None:
        """Forget what is no longer there."""
        ...

    def notice(
        self, found: Mapping[str, Collection[str]], now: float
    ) -> Mapping[tuple[str, str], float]:
        """When each finding of each resource was first noticed; `now` for a new one.

        What was noticed of these resources and is not found any more is forgotten.
        """
        ...


class Blobs(Protocol):
    """Identity of model blobs."""

    def inspect(self, model: ModelReference) -> Blob | Absent:
        """What is known of the bytes; ABSENT when storage authoritatively has none.

        Raises BlobForbidden, BlobExpired or Unavailable.
        """
        ...
