"""The ports between the engine and its runtime: protocols without behaviour.

A new target, ledger or storage is a class with these methods. The engine calls a port and never an
implementation. This module must not import an implementation. It is long because the author of a
plugin finds every port and capability on one page.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from reconciler.document.schema import Field
from reconciler.errors import ManifestInvalid
from reconciler.model import (
    Absent,
    Address,
    Blob,
    CachedStamp,
    Check,
    CloneSource,
    Cloud,
    CompressedDocument,
    Declared,
    Drift,
    DriftPast,
    DriftRun,
    DueCall,
    Edit,
    Entry,
    Event,
    ExportedSpec,
    Fact,
    Finding,
    Intent,
    Json,
    Live,
    LockOwner,
    Manifest,
    ModelReference,
    NamedPart,
    Path,
    Resource,
    SecretReference,
    SeparateLimit,
    ServiceTiming,
    Snapshot,
    Step,
    Summary,
    VerifyReport,
    Write,
)
from reconciler.model.values import dataclass
from reconciler.secrets.redaction import Redaction

if TYPE_CHECKING:  # start-up: only retrain and verify need these values
    from reconciler.model.training import BlobReference, JobStatus, TrainingBlob
    from reconciler.plans.proof import Serving

Emit: TypeAlias = Callable[[Event], None]
Clock: TypeAlias = Callable[[], datetime]
ResolveSecret: TypeAlias = Callable[[SecretReference], str]


class Permit(Protocol):
    """The permission to send one call."""

    @property
    def waited_s(self) -> float:
        """How long the call waited for the permit, in seconds."""
        ...

    def check(self) -> None:
        """Raise LedgerConflict when the call may not be sent any more, as `require` says.

        Call it right before the first byte is sent: the lock may be lost during any wait.
        """
        ...

    def learn(self, status: int, headers: Mapping[str, str], said: str, within_s: float) -> float:
        """Report the answer; returns for how many seconds no similar call is sent."""
        ...


class RateLimiter(Protocol):
    """Limits the number and the rate of the calls of a command; all workers share one."""

    @property
    def sent(self) -> int:
        """The number of admitted calls so far, including repeated ones."""
        ...

    def admit(
        self, method: str, url: str, within_s: float, apart: SeparateLimit | None = None
    ) -> Permit:
        """Wait until a call may be sent; `apart` is its own limit, if it has one.

        Raises TooManyCalls for a call above the limit. Raises Throttled when the service has
        accepted no call for `within_s` seconds, and ReconcilerError when the wait would last
        longer than `stop` allows.
        """
        ...

    def check(self, needed: int) -> None:
        """Raise TooManyCalls when `needed` more calls would exceed the limit."""
        ...

    def require(self, lease: Lease) -> None:
        """Let the permits of writes raise what the `check` of this lease raises, from now on."""
        ...

    def stop(self, within_s: float) -> None:
        """Limit every wait for a permit to `within_s` seconds from now: the command is ending."""
        ...


@dataclass(frozen=True, slots=True)
class Access:
    """What a provider needs to call its service.

    A provider follows an operation for `deadline_s` seconds. It waits for `patience_s` seconds, or
    longer, until the service shows or does what it has reported. `resolve` returns a resource's own
    token. Secrets that `redaction` knows are removed from every answer.
    """

    cloud: Cloud
    emit: Emit
    rate_limiter: RateLimiter
    deadline_s: float
    resolve: ResolveSecret
    redaction: Redaction
    patience_s: float = 0.0

    def find_url(self, plane: str) -> str:
        """The base URL of a plane; raises ManifestInvalid when the project does not give it."""
        if plane not in self.cloud.planes:
            finding = Finding(
                f"spec.cloud gives no address of {plane}",
                subject="Project",
                next_step=f"Add it to the project file: spec: {{cloud: {{{plane}: URL}}}}",
            )
            raise ManifestInvalid((finding,))
        return self.cloud.planes[plane]


class Provider(Protocol):
    """The calls to one service. Safe to use from several threads.

    A provider must have these three methods. Capabilities are optional: `ReadsMany`, `ShowsPeers`,
    `ListsNames`, `WaitsUntilIdle`, `KeepsCopies`, `ConfirmsValues`, `HasTiming`, `ChecksWrites`,
    `ChecksReferences`, `LocatesModels`, `ShowsServing`, `Scores`, `Trains`, `RegistersModels`.
    """

    def scan(self, scope: str, token: SecretReference | None = None, /) -> Iterable[Summary]:
        """The resources in the service's list of `scope`, page by page.

        `token` opens the resources of the scope.
        """
        ...

    def read(self, resource: Resource) -> Live | Absent:
        """The current document; ABSENT if the service answers that it does not exist.

        The document must be the one that was asked for. The engine believes an absence only if
        `scan` lacks the resource. Any other answer raises ServiceError.
        """
        ...

    def write(self, step: Step, live: Live | Absent, resolve: ResolveSecret) -> Iterator[None]:
        """Send the step's one write and follow its operation to the end; yields after each poll.

        If the step needs a regional copy of its source that does not exist, the copy is made
        first. `live` was read immediately before. It yields at least once as soon as the service
        may have accepted a part of the step, before it sends anything else. A return says only that
        the service reports success; the caller must read the resource to verify it. Raises
        ReplyLost when the write may have been done, StillRunning when its operation has not ended
        in time, and another error when this write was not done; a part that was yielded before
        may have been done.
        """
        ...


@runtime_checkable
class ReadsMany(Protocol):
    """A provider whose lists show whole documents. Without it each resource is read alone."""

    def read_many(self, resources: Sequence[Resource], /) -> Mapping[Resource, Live]:
        """The documents that a list of the common scope shows whole. Never raises ServiceError.

        The caller must read a resource that is missing here: its absence from a list proves
        nothing.
        """
        ...


@runtime_checkable
class ShowsPeers(Protocol):
    """A provider that can list a scope. Without it `check_scope` gets no peers."""

    def find_peers(self, resource: Resource, /) -> Sequence[Json]:
        """The documents in the scope of a resource, as far as one list shows them.

        Each scope is listed once in a run. Never raises ServiceError.
        """
        ...


@runtime_checkable
class ListsNames(Protocol):
    """A provider that can look up what a kind with `NamesParts` names."""

    def list_names(self, scope: str, token: SecretReference | None, /) -> Iterable[tuple[str, str]]:
        """The id and the name of each thing in `scope`, which is that of a `NamedPart`.

        Raises ServiceError when they cannot be listed.
        """
        ...


@runtime_checkable
class WaitsUntilIdle(Protocol):
    """A provider that can wait for operations of other clients. The default does not wait."""

    def wait_until_idle(self, resource: Resource) -> Iterator[None]:
        """Wait until no operation of any client runs on the resource; yields after each read.

        Sends no write. Raises StillRunning when an operation has not ended in time.
        """
        ...


@runtime_checkable
class KeepsCopies(Protocol):
    """A provider whose service keeps a copy of a resource for another region."""

    def has_copy(self, source: CloneSource) -> bool:
        """Whether the source has a copy for its region that equals the current source.

        False when the source does not exist. Raises ServiceError when the answer is unknown.
        """
        ...


@runtime_checkable
class ConfirmsValues(Protocol):
    """A provider that can prove a value which no read of the resource shows.

    Without it, a value that is set at creation counts as the last applied one.
    """

    def confirms(self, resource: Resource, path: Path, value: Json, /) -> bool:
        """Whether the service shows elsewhere that a resource has this value.

        False proves nothing. Raises ServiceError when the service cannot be asked.
        """
        ...


@runtime_checkable
class HasTiming(Protocol):
    """A provider that knows how fast its service accepts calls. The default is `UNKNOWN_TIMING`."""

    @property
    def timing(self) -> ServiceTiming:
        """How fast the service accepts calls, as far as it is published or recorded."""
        ...


@runtime_checkable
class ChecksWrites(Protocol):
    """A provider that can make the checks of a kind's writes. Needed beside `SplitsSteps`."""

    def check_write(
        self, resource: Resource, check: Check, manifest: Manifest | None, /
    ) -> Iterator[str]:
        """Make one check; yields after each call what is known so far, or "".

        `manifest` is that of the resource; None if no file declares it. A return says that the
        check has passed. Raises CheckFailed with what was seen, and ServiceError when nothing could
        be seen. It sends no write.
        """
        ...


@runtime_checkable
class ChecksReferences(Protocol):
    """A provider that can look up what a step refers to, such as the version of a model."""

    def check_references(self, manifest: Manifest, step: Step, /) -> Iterator[Finding]:
        """What the step refers to and the service does not have; it only reads.

        What cannot be looked up is a warning. Raises ServiceError when no answer comes.
        """
        ...


@runtime_checkable
class LocatesModels(Protocol):
    """A provider whose models are addressed by an id, behind which there is a blob."""

    def locate_model(self, resource: Resource, uri: str, /) -> str | Absent:
        """The address of the model's blob, without a signature, behind the id that `uri` is.

        Empty when it cannot be known or is not one blob; ABSENT when the service answers that it
        has no such model. It only reads. Raises ServiceError when no answer comes.
        """
        ...


@runtime_checkable
class ShowsServing(Protocol):
    """A provider that knows from more than a document which model serves."""

    def show_serving(self, resource: Resource, manifest: Manifest, /) -> Serving:
        """What each deployment serves now, with each sign of it; it asks the live service.

        What cannot be known is an unknown sign. Raises ServiceMissing for a resource that does not
        exist, and ServiceError when it cannot be read.
        """
        ...


class BatchJobs(Protocol):
    """The batch execution of one service. A submitted job runs only after it is started."""

    @property
    def inputs(self) -> Collection[str]:
        """The names of the input ports, empty if the service does not show them."""
        ...

    @property
    def outputs(self) -> Collection[str]:
        """The names of the output ports, empty if the service does not show them."""
        ...

    def submit(
        self,
        inputs: Mapping[str, BlobReference],
        outputs: Mapping[str, BlobReference],
        parameters: Mapping[str, Json],
    ) -> str:
        """Submit a job and return its id; raises ReplyLost if it may exist, without running."""
        ...

    def start(self, job: str) -> None:
        """Start a job; one that runs already is left as it is. Raises ReplyLost."""
        ...

    def poll(self, job: str) -> JobStatus:
        """The state of a job; its results have signatures that were made just now."""
        ...

    def cancel(self, job: str) -> None:
        """Cancel a job; one that has ended is left as it is."""
        ...


class Scorer(Protocol):
    """The live model of one service."""

    def score(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]]
    ) -> Sequence[Mapping[str, str]]:
        """The columns of the answer for each row, by name; all values are text."""
        ...


@runtime_checkable
class Scores(Protocol):
    """A provider of services that score rows of a table. Without it a model cannot be compared."""

    def open_scorer(self, resource: Resource, within_s: float | None = None, /) -> Scorer:
        """The scoring of a live service; its key is read now and kept nowhere.

        A call that the service refuses for now is sent again for `within_s` seconds, or for as long
        as any other call.
        """
        ...


@runtime_checkable
class Trains(Scores, Protocol):
    """A provider of services with batch execution and scoring. Without it a service has none."""

    def open_jobs(self, resource: Resource, /) -> BatchJobs:
        """The batch execution of a live service; its key is read now and kept nowhere."""
        ...


@runtime_checkable
class RegistersModels(Protocol):
    """A provider whose service keeps versions of models. Without it a model is only a blob."""

    def register_model(
        self, resource: Resource, model: str, uri: str, digest: str, tags: Mapping[str, str], /
    ) -> str:
        """Register a blob as the next version of a model, and return the version's id.

        `model` is the id of an earlier version, as the manifest of the resource writes it, and so
        is the result. The same digest is registered once: the result is the id of its version.
        `tags` are notes about it for people.
        """
        ...


class TrainingStorage(Protocol):
    """The blobs of training jobs. No blob is ever written over."""

    def refer(self, blob: TrainingBlob, uri: str) -> BlobReference:
        """The reference to a blob with its secret; raises SecretMissing."""
        ...

    def exists(self, reference: BlobReference, *, create: bool = True) -> bool:
        """Whether a blob exists; with `create`, its container is created if the secret allows it.

        Raises BlobForbidden or Unavailable.
        """
        ...

    def check_file(self, file: str) -> str:
        """Why a file of the project cannot be read, "" if it can."""
        ...

    def upload(self, file: str, reference: BlobReference) -> bool:
        """Upload a file of the project; False if the blob has the same bytes already.

        Raises ReconcilerError if another blob has the address, or the file cannot be read.
        """
        ...

    def read(self, reference: BlobReference, most_bytes: int) -> bytes:
        """The bytes of a blob; raises ReconcilerError for a blob that is longer or missing."""
        ...

    def digest(self, reference: BlobReference) -> str:
        """The `sha256:` digest of every byte of a blob."""
        ...


@dataclass(frozen=True, slots=True)
class Plane:
    """One base URL under `spec.cloud` of the project, and its values for the named clouds.

    `azure` and `emulator` are empty when that cloud has no such URL; the project must then give it.
    With `manages`, the URL is part of the name of the cloud that a plan is made for.
    """

    name: str
    description: str
    azure: str = ""
    emulator: str = ""
    manages: bool = True


class Kind(Protocol):
    """A kind of resource: its schemas, its ids, and the binding of a manifest to its document.

    Its methods are pure; only the provider that `connect` returns makes calls.
    `kinds.base.BaseKind` has the usual defaults, so that a kind defines `bind`, `export` and
    `connect`. Capabilities are optional: `NamesParts`, `ListsWider`, `AsksForCalls`, `ClonesFrom`,
    `KnowsOwner`, `PlacesValues`, `ChecksManifests`, `ChecksSteps`, `ChecksScopes`, `SplitsSteps`,
    `AlternatesDeployments`.
    """

    name: str
    # Names for `package_data.read_schema`: "service/web-service", or "PACKAGE:schemas/shelf".
    schema_name: str
    manifest_schema_name: str

    @property
    def field(self) -> Field:
        """The compiled schema of the service's document."""
        ...

    @property
    def planes(self) -> Sequence[Plane]:
        """The base URLs that the kind's provider calls."""
        ...

    @property
    def defaults(self) -> Mapping[str, Json]:
        """The names under `spec.defaults` of the project, each with its JSON Schema."""
        ...

    @property
    def guards(self) -> Mapping[str, str]:
        """The kind's own guards: what each protects against, by its name for `--allow`."""
        ...

    def identify(self, manifest: Manifest, defaults: Mapping[str, Json]) -> Resource:
        """The resource of a manifest; raises ManifestInvalid with the names of missing values.

        The engine calls `Runtime.identify` instead, which first looks up a part that is named.
        """
        ...

    def locate(self, address: Address, resource_id: str, defaults: Mapping[str, Json]) -> Resource:
        """The resource of a whole id or a name; raises ManifestInvalid for a wrong id."""
        ...

    def scope(self, resource: Resource) -> str:
        """The scope whose scan lists this resource."""
        ...

    def bind(self, manifest: Manifest, live: Json | Absent) -> Declared:
        """The part of the service's document that the manifest declares, with findings."""
        ...

    def list_models(self, manifest: Manifest) -> Sequence[ModelReference]:
        """The models that have an entry of their own in the manifest.

        Their places in the service's document may be empty, because only `bind` has the live
        document. A retraining names one of them, and writes the new model into its entry.
        """
        ...

    def export(
        self, resource: Resource, document: Json, defaults: Mapping[str, Json], *, full: bool
    ) -> ExportedSpec:
        """The manifest of a live document: its important properties, or all with `full`."""
        ...

    def connect(self, access: Access, /) -> Provider:
        """The provider of this kind; its calls go through the rate limiter of `access`."""
        ...


@runtime_checkable
class AlternatesDeployments(Protocol):
    """A kind whose new model goes to another deployment than the one in service.

    Without it, a new model replaces `uri` and `sha256` in the entry of the old one.
    """

    def find_served(self, manifest: Manifest, /, *, followed: bool = False) -> ModelReference:
        """The model of the deployment that the manifest gives all traffic.

        Raises ManifestInvalid without one; with `followed`, also if `RegistersModels` cannot make
        the next version of it.
        """
        ...

    def is_served(self, manifest: Manifest, owned: Mapping[str, Json], /) -> bool:
        """Whether an apply that recorded the values `owned` left this model in service, alone."""
        ...

    def propose_model(
        self, manifest: Manifest, deployments: Sequence[str], uri: str, sha256: str, /
    ) -> Sequence[Edit]:
        """The edits of the manifest with which the other deployment serves a model.

        `deployments` are the two that alternate; empty for the kind's usual two. `sha256` may be
        empty. Raises ManifestInvalid if the other deployment cannot take it.
        """
        ...


@runtime_checkable
class NamesParts(Protocol):
    """A kind whose manifests may give a part of an id by the name that people see."""

    def find_named_part(
        self, manifest: Manifest, defaults: Mapping[str, Json], /
    ) -> NamedPart | None:
        """The part of the id that the manifest or the defaults name; None without a name.

        Its provider must have `ListsNames`.
        """
        ...


@runtime_checkable
class ListsWider(Protocol):
    """A kind whose provider can scan a wider scope than that of one resource.

    So a resource is found by its name where a part of its id is missing or wrong.
    """

    def find_wider_part(
        self, manifest: Manifest, defaults: Mapping[str, Json], /
    ) -> NamedPart | None:
        """The part of the id that a list of the wider scope shows, given or not.

        Its `scope` is the wider scope, for `scan` and for `ListsNames`. None where too little is
        given to know that scope.
        """
        ...


@runtime_checkable
class AsksForCalls(Protocol):
    """A kind whose manifests may ask for a call of its own, beside the declared values."""

    def asks_for_call(self, manifest: Manifest, /) -> bool:
        """Whether the manifest asks for the call; only then its scope is listed."""
        ...

    def find_due_call(
        self, manifest: Manifest, live: Json, peers: Sequence[Json], /
    ) -> DueCall | Finding | None:
        """The call if it is due now; a finding when this is not known, or the call is impossible.

        `peers` are the result of `find_peers`. A call that was done must not be due any more: the
        read-only values that it sets decide this.
        """
        ...


@runtime_checkable
class ClonesFrom(Protocol):
    """A kind whose new resources can start from another one."""

    def find_source(
        self, manifest: Manifest, defaults: Mapping[str, Json]
    ) -> Address | Resource | None:
        """The source of a new resource; raises ManifestInvalid with the names of missing values."""
        ...

    def bind_clone(self, manifest: Manifest, source: Json) -> Declared:
        """Like `bind`, for a resource that does not exist yet and starts as a copy of `source`."""
        ...

    def find_region(self, source: Json, after: Json) -> str:
        """The region for which the secrets of `source` must be encrypted again for `after`.

        Empty when they can be sent unchanged.
        """
        ...


@runtime_checkable
class KnowsOwner(Protocol):
    """A kind whose documents name who manages them."""

    def find_owner(self, live: Json, project: str) -> str:
        """The other project that the live document names as its manager; empty without one."""
        ...


@runtime_checkable
class PlacesValues(Protocol):
    """A kind whose manifests have words of their own for the values of the document."""

    def place_value(self, path: Path, value: Json | Absent, /) -> tuple[Path, Json | Absent] | None:
        """Where a manifest declares the value at a path of the document, and the value there.

        The path in the manifest begins with `spec`. None if a manifest has no word for the value.
        """
        ...


@runtime_checkable
class ChecksManifests(Protocol):
    """A kind that knows what is wrong with a manifest beyond its schema, without a call."""

    def check_manifest(self, manifest: Manifest, /) -> Iterable[Finding]:
        """What is wrong with a manifest, whatever the service has; every command reports it."""
        ...


@runtime_checkable
class ChecksSteps(Protocol):
    """A kind that knows why its service would refuse a step."""

    def check_step(self, manifest: Manifest, step: Step) -> Iterable[Finding]:
        """Why the service would refuse the step; `--allow` lifts a finding that names a guard."""
        ...


@runtime_checkable
class SplitsSteps(Protocol):
    """A kind whose service takes some changes only in several writes, one after the other."""

    def split_step(self, step: Step, /) -> Sequence[tuple[Write, Json | Absent]]:
        """The writes in their order, each with the document that it leaves.

        The last document is that of the step. It depends only on the step's action, its documents,
        its changes, its secrets and its strategy, and it must work from any document: a step that
        was interrupted is planned again from where it ended. Fewer than two writes: the step is
        sent in one write as it is.
        """
        ...

    def retreat(self, step: Step, reached: Json, /) -> Sequence[tuple[Write, Json | Absent]]:
        """The writes that lead from `reached` to a safe state, after a check or a write failed.

        `reached` is the live document then, or that before the step if nothing was sent. May be
        empty.
        """
        ...


@runtime_checkable
class ChecksScopes(Protocol):
    """A kind whose resources restrict one another."""

    def check_scope(
        self, steps: Sequence[tuple[Manifest | None, Step]], peers: Sequence[Json], /
    ) -> Iterable[Finding]:
        """Why the service would refuse the steps of one scope together with the existing resources.

        `peers` are the result of `find_peers`. A step that removes a resource has no manifest.
        """
        ...


class Lease(Protocol):
    """The lock; it is held and renewed until its context ends."""

    @property
    def lock_owner(self) -> LockOwner:
        """This process as the owner, with the fencing token of the lock."""
        ...

    def check(self) -> None:
        """Raise LedgerConflict when another process may hold the lock."""
        ...

    def is_wanted(self) -> bool:
        """Whether a command waits for this lock; `watch` releases it before its next step."""
        ...


class Ledger(Protocol):
    """The intents and their results, in order. It loses no line and never holds a secret.

    Readers take no lock and never see a partial line. Safe to use from several threads.
    """

    def load(self) -> Snapshot:
        """The current state, in one read; raises LedgerInvalid with the first bad line."""
        ...

    def lock(
        self, lock_owner: LockOwner, within_s: float, emit: Emit
    ) -> AbstractContextManager[Lease]:
        """Take the lock; waits at most `within_s` seconds, with pauses of 1 s, doubled up to 16 s.

        An owner that yields learns that this process waits; `within_s` begins when it has released
        the lock. Raises LockHeld with the owner. An owner loses the lock that is dead, or that has
        not renewed it for a minute, by the clock of the storage or by that of the waiting process.
        """
        ...

    def find_lock_owner(self) -> LockOwner | None:
        """The current owner of the lock; None when the ledger is not locked."""
        ...

    def unlock(self, lock_id: str) -> LockOwner:
        """Remove the lock with that id; raises ReconcilerError when no lock has it."""
        ...

    def intend(self, intent: Intent) -> int:
        """Write an intent durably; returns its sequence.

        Raises LedgerInvalid when it cannot be written, and LedgerConflict when a lock with a higher
        fencing token has been taken.
        """
        ...

    def record(self, record: Entry | Fact) -> None:
        """Write an entry or a fact durably; raises as `intend` does."""
        ...

    def entries(self, address: Address | None = None) -> Iterator[Entry]:
        """The entries, oldest first, each with the patch and inverse of its intent."""
        ...

    def facts(self, topic: str) -> Iterator[Fact]:
        """The facts of a topic, oldest first, also those that a later one replaces."""
        ...

    def verify(self) -> VerifyReport:
        """Check every line, archives included; an error in a line is a finding and never raises."""
        ...

    def compact(self) -> str:
        """Archive the ledger and start a new one with the current state.

        The new ledger continues the chain of the archive. Returns the name of the archive.
        """
        ...

    def set_aside(self, fence: int = 0) -> str:
        """Move the ledger away, even a broken one; returns its new place, or "" if none exists.

        Raises LedgerConflict when a later lock than that with the number `fence` was taken; 0 means
        that the caller has no lock.
        """
        ...


class DriftHistory(Protocol):
    """What earlier drift runs found, beside the ledger. If it is lost, only dates are lost."""

    def load(self) -> DriftPast:
        """The last runs and the open findings; an empty one where nothing was ever kept.

        Raises LedgerInvalid where it cannot be read.
        """
        ...

    def append(self, run: DriftRun | None, since: Mapping[str, str]) -> None:
        """Keep a run, and when each finding that is open after it was first seen, by its key.

        The run is None if it was over a part of the project, and then only the dates are kept.
        Raises LedgerInvalid where it cannot be written.
        """
        ...

    def keep_overwritten(self, findings: Collection[Drift], now: str) -> None:
        """Keep what an apply is going to overwrite and no run has found; raises as `append` does.

        `now` is the time of the apply, in UTC. What is older than some days is dropped.
        """
        ...

    def note_sent(self, keys: Collection[str]) -> None:
        """Keep that a webhook has reported these findings; raises as `append` does.

        Each key may end with eight digits that name the webhook.
        """
        ...


class LeaderTerm(Lease, Protocol):
    """The time in which this process leads; it is renewed until it is lost or released.

    `check` raises LedgerConflict once another process may lead.
    """

    def is_held(self) -> bool:
        """Whether this process surely leads now; False is final."""
        ...

    def release(self) -> None:
        """End the term, so that another process can lead at once; never raises."""
        ...


class Leadership(Protocol):
    """Which of several `watch` processes leads; it does not touch the lock of the ledger.

    A leader that is silent loses the lease to an object that has watched it for a whole lease, so
    a process keeps one object and asks it every few seconds.
    """

    def acquire(self, lock_owner: LockOwner) -> LeaderTerm | None:
        """Begin a term; None while another process leads. Does not wait.

        Raises LedgerInvalid where the lease cannot be read or written.
        """
        ...

    def find_leader(self) -> LockOwner | None:
        """The process that leads now; None if no process is known to lead."""
        ...


class ObservationStore(Protocol):
    """A cache of earlier observations. It may be empty at any time, and it never raises."""

    def load(self) -> Mapping[str, CachedStamp]:
        """The stamps of all cached documents, by casefolded id."""
        ...

    def recall(self, resource_id: str) -> CompressedDocument | Absent:
        """The cached document of a resource; ABSENT when it is no longer cached."""
        ...

    def keep(self, seen: Iterable[tuple[str, CachedStamp, CompressedDocument]]) -> None:
        """Cache documents, each by its id."""
        ...

    def drop(self, resource_ids: Iterable[str]) -> None:
        """Remove the documents of resources that no longer exist."""
        ...


class Blobs(Protocol):
    """Reads the properties of model blobs."""

    def inspect(self, model: ModelReference) -> Blob | Absent:
        """The properties of the blob; ABSENT only when storage authoritatively has no such blob.

        Raises BlobForbidden, BlobExpired or Unavailable.
        """
        ...
