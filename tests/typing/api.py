"""What a kind of another vendor imports: checked by mypy with everything else, and never run.

A name, a parameter or a type that changes here breaks plugins. Whoever changes it on purpose says so
in the changelog.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import assert_type

from reconciler.document.pointers import copy_document, find
from reconciler.document.schema import Field
from reconciler.errors import (
    CheckFailed,
    ManifestInvalid,
    ReconcilerError,
    ReplyLost,
    ServiceError,
    StillRunning,
)
from reconciler.kinds.base import BaseKind, make_reference
from reconciler.kinds.ids import IdForm, quote_path
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Check,
    CloneSource,
    Declared,
    DueCall,
    ExportedSpec,
    Finding,
    Json,
    Live,
    Manifest,
    ModelReference,
    NamedPart,
    Resource,
    SecretReference,
    ServiceTiming,
    Step,
    Summary,
    Write,
)
from reconciler.plans.guards import forbid
from reconciler.plans.proof import (
    MODEL_ID,
    TRAFFIC,
    ServedDeployment,
    Serving,
    ServingSign,
    SignState,
)
from reconciler.ports import (
    Access,
    AsksForCalls,
    ChecksReferences,
    ChecksScopes,
    ChecksSteps,
    ChecksWrites,
    ClonesFrom,
    HasTiming,
    KeepsCopies,
    Kind,
    KnowsOwner,
    ListsNames,
    ListsWider,
    LocatesModels,
    NamesParts,
    Plane,
    Provider,
    ReadsMany,
    ResolveSecret,
    Scorer,
    Scores,
    ShowsPeers,
    ShowsServing,
    SplitsSteps,
    WaitsUntilIdle,
)
from reconciler.transport import Client


class LeastProvider:
    """The three methods that a provider must have."""

    def __init__(self, access: Access) -> None:
        url = assert_type(access.find_url("plane"), str)
        self.client = Client(url, access.emit, access.rate_limiter, redaction=access.redaction)

    def scan(self, scope: str, _token: SecretReference | None = None) -> Iterable[Summary]:
        yield Summary(f"{scope}/a", "a stamp", idle=True)

    def read(self, resource: Resource) -> Live | Absent:
        try:
            reply = self.client.send("GET", quote_path(resource.id, "a thing"))
        except ServiceError as error:
            if assert_type(error.status, int) == 404 and assert_type(error.code, str):
                return ABSENT
            raise
        return Live(reply.document, None, datetime.now(UTC), "a stamp", idle=True)

    def write(self, step: Step, live: Live | Absent, resolve: ResolveSecret) -> Iterator[None]:
        assert_type(step.action, Action)
        assert_type(resolve(SecretReference(env="NAME")), str)
        if isinstance(live, Absent):
            raise StillRunning("it runs", subject="a")
        if step.action is Action.DELETE:
            raise ReplyLost("it may have been done", subject="a")
        yield


class WholeProvider(LeastProvider):
    """All that a provider can do beside."""

    def read_many(self, resources: Sequence[Resource]) -> Mapping[Resource, Live]:
        return {}

    def find_peers(self, resource: Resource) -> Sequence[Json]:
        return [resource.id]

    def list_names(self, scope: str, token: SecretReference | None) -> Iterator[tuple[str, str]]:
        yield f"{scope}/{token}", "a name"

    def wait_until_idle(self, resource: Resource) -> Iterator[None]:
        assert_type(resource.id, str)
        yield

    def has_copy(self, source: CloneSource) -> bool:
        return assert_type(source.region, str) == ""

    @property
    def timing(self) -> ServiceTiming:
        return ServiceTiming(1.0, 0, 10, 1.0, 10, 1.0)

    def check_write(
        self, resource: Resource, check: Check, manifest: Manifest | None
    ) -> Iterator[str]:
        yield f"{check.title} of {resource.id}: {check.settings}"
        raise CheckFailed(
            "it answers nothing", detail=("status 500",), next_step="Look at its log."
        )

    def check_references(self, manifest: Manifest, step: Step) -> Iterator[Finding]:
        yield Finding("it does not exist", subject=str(manifest.address), place=manifest.place(""))

    def locate_model(self, resource: Resource, uri: str) -> str | Absent:
        return f"https://account/{uri}" if uri else ABSENT

    def show_serving(self, resource: Resource, manifest: Manifest) -> Serving:
        sign = ServingSign(MODEL_ID, SignState.AGREES, f"it is that of {manifest.address}")
        served = ServedDeployment("main", 100, resource.id, (sign,))
        return Serving((served,), ServingSign(TRAFFIC, SignState.UNKNOWN, "nobody was asked"))

    def open_scorer(self, resource: Resource, within_s: float | None = None) -> Scorer:
        raise StillRunning("it starts", subject=f"{resource.id} within {within_s}")


class LeastKind(BaseKind):
    """What a kind must say of itself."""

    name = "Thing"
    schema_name = "package:schemas/thing"
    manifest_schema_name = "package:schemas/manifest"
    id_form = IdForm.__new__(IdForm)
    planes = (Plane("plane", "Manages things."),)
    guards: Mapping[str, str] = {"idle": "a thing that nobody uses"}

    def bind(self, manifest: Manifest, live: Json | Absent) -> Declared:
        document: Json = copy_document(self.declare(manifest.spec.get("definition", {})))
        reference = make_reference(manifest, ("spec", "model"), "model", {"uri": "u"}, ("model",))
        assert_type(reference, ModelReference)
        removed = (("parts", "old"),)
        return Declared(document, (reference,), strategy={"steps": [10]}, removed=removed)

    def export(
        self, resource: Resource, document: Json, defaults: Mapping[str, Json], *, full: bool
    ) -> ExportedSpec:
        if document is None:
            raise ManifestInvalid((Finding("it cannot be exported", subject=resource.id),))
        return ExportedSpec({"resource": self.export_place(resource, defaults), "full": full})

    def connect(self, access: Access) -> LeastProvider:
        return WholeProvider(access)


class WholeKind(LeastKind):
    """All that a kind can say beside."""

    def find_named_part(self, manifest: Manifest, defaults: Mapping[str, Json]) -> NamedPart | None:
        return NamedPart("shelf", "spec.resource.shelfName", "a name", "shelf", "/shelves")

    def find_wider_part(self, manifest: Manifest, defaults: Mapping[str, Json]) -> NamedPart | None:
        return self.find_named_part(manifest, defaults)

    def asks_for_call(self, manifest: Manifest) -> bool:
        return "renew" in manifest.spec

    def find_due_call(
        self, manifest: Manifest, live: Json, peers: Sequence[Json]
    ) -> DueCall | Finding | None:
        return DueCall("renewal", {"lease": len(peers)}, "it ends soon", undoes_models=False)

    def find_source(
        self, manifest: Manifest, defaults: Mapping[str, Json]
    ) -> Address | Resource | None:
        return Address(self.name, "other") if manifest.spec else None

    def bind_clone(self, manifest: Manifest, source: Json) -> Declared:
        return self.bind(manifest, source)

    def find_region(self, source: Json, after: Json) -> str:
        return "" if source == after else "elsewhere"

    def find_owner(self, live: Json, project: str) -> str:
        return project if live else ""

    def check_step(self, manifest: Manifest, step: Step) -> Iterator[Finding]:
        if find(step.after, ("replicas",)) == 0:
            yield forbid(step.resource.address, "idle", "would be idle", lift="To stop it")

    def split_step(self, step: Step) -> Sequence[tuple[Write, Json | Absent]]:
        check = Check("it answers", {"count": 3})
        write = Write("send it", wait_s=1.5, requires=(check,), checks=(check,), sends=("parts",))
        assert_type(step.strategy, Json)
        return [(write, step.after)]

    def retreat(self, step: Step, reached: Json) -> Sequence[tuple[Write, Json | Absent]]:
        return [] if reached == step.before else [(Write("take it back"), step.before)]

    def check_scope(
        self, steps: Sequence[tuple[Manifest | None, Step]], peers: Sequence[Json]
    ) -> Iterable[Finding]:
        return [Finding(f"{len(steps)} beside {len(peers)}", subject=self.name)]


def use(kind: Kind, provider: Provider, error: ReconcilerError) -> None:
    """What the engine gets: a kind and a provider, and errors that say what to do."""
    assert_type(kind.field, Field)
    assert_type(kind.planes, Sequence[Plane])
    assert_type(error.findings(), tuple[Finding, ...])
    assert_type(error.next_step, str)
    if isinstance(provider, ReadsMany):
        provider.read_many([])


def fit(access: Access) -> None:
    """Each class above is what its port asks for."""
    least, whole = LeastKind(), WholeKind()
    provider = WholeProvider(access)
    _kinds: list[Kind] = [least, whole]
    _providers: list[Provider] = [LeastProvider(access), provider]
    _named: NamesParts = whole
    _wider: ListsWider = whole
    _calls: AsksForCalls = whole
    _clones: ClonesFrom = whole
    _owners: KnowsOwner = whole
    _steps: ChecksSteps = whole
    _scopes: ChecksScopes = whole
    _split: SplitsSteps = whole
    _many: ReadsMany = provider
    _peers: ShowsPeers = provider
    _names: ListsNames = provider
    _idle: WaitsUntilIdle = provider
    _copies: KeepsCopies = provider
    _timing: HasTiming = provider
    _checks: ChecksWrites = provider
    _references: ChecksReferences = provider
    _models: LocatesModels = provider
    _serving: ShowsServing = provider
    _scores: Scores = provider
