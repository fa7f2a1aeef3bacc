"""Planning and applying over ports that a test holds: what the service may lie about."""

import copy
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler.document.patch import apply_operations
from reconciler.engine.applying.apply import FailurePolicy, apply_plan
from reconciler.engine.applying.journal import Author
from reconciler.engine.planning.plan import make_plan
from reconciler.engine.planning.selection import PlanRequest
from reconciler.engine.runtime import Runtime
from reconciler.errors import (
    LedgerInvalid,
    PlanRefused,
    StalePlan,
    Throttled,
    TooManyCalls,
    Unauthorized,
    Unavailable,
    Unplannable,
)
from reconciler.kinds.web_service import KIND
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    CachedStamp,
    Cause,
    CloneSource,
    CompressedDocument,
    Entry,
    Event,
    GuardLimits,
    Inputs,
    Json,
    LastApplied,
    Live,
    LockOwner,
    Manifest,
    Outcome,
    Plan,
    Reason,
    Refreshing,
    Resource,
    ServiceTiming,
    Snapshot,
    Step,
    StepDone,
    StepFailed,
    StepResult,
    Summary,
)
from reconciler.plans.guards import count_managed
from reconciler.transport import CommandRateLimiter
from tests.e2e.world import definition
from tests.ledgers import MemoryHistory, MemoryLedger

OLD, NEW = (f"https://acct.blob.core.windows.net/m/{name}.ilearner" for name in ("old", "new"))
MODEL = "Census Model [trained model]"
PROVIDER = "/providers/Microsoft.MachineLearning/webServices/"
AUTHOR = Author("ci", "builder", "4f1c2aa", "sha256:0")


@dataclass
class Seen:
    """A cache of observations in memory."""

    kept: dict[str, tuple[CachedStamp, CompressedDocument]] = field(default_factory=dict)

    def load(self) -> Mapping[str, CachedStamp]:
        return {name: cached_stamp for name, (cached_stamp, _) in self.kept.items()}

    def recall(self, resource_id: str) -> CompressedDocument | Absent:
        return self.kept[resource_id.casefold()][1]

    def keep(self, seen: Iterable[tuple[str, CachedStamp, CompressedDocument]]) -> None:
        for name, cached_stamp, document in seen:
            self.kept[name.casefold()] = (cached_stamp, document)

    def drop(self, resource_ids: Iterable[str]) -> None:
        for name in resource_ids:
            self.kept.pop(name.casefold(), None)


@dataclass
class Ledger(MemoryLedger):
    """A ledger that may remember more than was recorded in it."""

    more: dict[Address, LastApplied] = field(default_factory=dict)

    def load(self) -> Snapshot:
        loaded = super().load()
        last_applied_by_address = {**loaded.last_applied_by_address, **self.more}
        return replace(
            loaded,
            last_applied_by_address=last_applied_by_address,
            known=loaded.known or bool(self.more),
        )


class Counted(CommandRateLimiter):
    """A budget that reports the calls of a service in memory, which asks nobody."""

    def __init__(self, world: "World") -> None:
        super().__init__(world.events.append)
        self._world = world

    @property
    def sent(self) -> int:
        return self._world.calls


@dataclass
class World:
    """A service, a ledger and a storage in memory. `lies` and `fails` are by resource name."""

    documents: dict[str, Json] = field(default_factory=dict)
    lies: set[str] = field(default_factory=set)
    fails: dict[str, Exception] = field(default_factory=dict)
    written: list[tuple[str, Action]] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    events: list[Event] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)
    idle: bool = True
    slept: list[float] = field(default_factory=list)
    copies: set[str] = field(default_factory=set)
    calls: int = 0
    seen: Seen = field(default_factory=Seen)
    history: MemoryHistory = field(default_factory=MemoryHistory)
    timing: ServiceTiming = field(
        default_factory=lambda: ServiceTiming(15.0, 10, 250, 25.0, 200, 10.0)
    )
    lock: Any = field(default_factory=threading.Lock)

    @property
    def kept(self) -> list[Entry]:
        """What was done, and written down."""
        return [entry for entry in self.ledger.entries() if entry.result is StepResult.DONE]

    def add(self, name: str, uri: str = OLD) -> None:
        body = definition(uri)
        body["properties"]["storageAccount"].pop("key")
        body["properties"].pop("commitmentPlan")
        self.documents[name] = {"id": f"/x/{name}", **body}

    def uri(self, name: str) -> str:
        return str(self.documents[name]["properties"]["assets"]["asset3"]["locationInfo"]["uri"])

    # The ports.

    def scan(self, scope: str, _: Any = None) -> Iterator[Summary]:
        self.calls += 1
        if "list" in self.fails:
            raise self.fails["list"]
        for name in sorted(set(self.documents) - self.left_out):
            document = self.documents[name]
            yield Summary(f"{scope}{PROVIDER}{name}", str(document.get("stamp", "1")), idle=True)

    def read(self, resource: Resource) -> Live | Absent:
        with self.lock:
            self.calls += 1
        if resource.address.name in self.fails:
            raise self.fails[resource.address.name]
        document = self.documents.get(resource.short_id)
        if document is None:
            return ABSENT
        stamp = str(document.get("stamp", "1"))
        return Live(copy.deepcopy(document), {}, datetime.now(UTC), stamp, self.idle)

    def read_many(self, resources: Sequence[Resource]) -> Mapping[Resource, Live]:
        return {}

    def find_peers(self, resource: Resource) -> Sequence[Json]:
        return ()

    def has_copy(self, source: CloneSource) -> bool:
        if source.region in self.fails:
            raise self.fails[source.region]
        return source.region in self.copies

    def write(self, step: Step, live: Live | Absent, _: Any) -> Iterator[None]:
        name = step.resource.address.name
        self.written.append((name, step.action))
        yield
        if name in self.lies:
            return
        if step.action is Action.DELETE:
            del self.documents[name]
            return
        start = ABSENT if live is ABSENT else live.document
        self.documents[name] = apply_operations(step.ops, start)

    def wait_until_idle(self, resource: Resource) -> Iterator[None]:
        return iter(())

    def inspect(self, _: Any) -> Any:
        return ABSENT

    def runtime(self, parallelism: int = 4) -> Runtime:
        return Runtime(
            kinds={"WebService": KIND},
            providers={"WebService": self},
            ledger=self.ledger,
            observations=self.seen,
            drift_history=self.history,
            blobs=self,
            resolve=lambda _: "secret",
            emit=self.events.append,
            clock=lambda: datetime(2026, 11, 20, 12, tzinfo=UTC),
            rate_limiter=Counted(self),
            parallelism=parallelism,
            sleep=self.slept.append,
        )


def make_request(
    *names: str, uri: str = NEW, limits: GuardLimits | None = None, **more: Any
) -> PlanRequest:
    return PlanRequest(
        manifests=[
            Manifest(
                Address("WebService", name),
                {"trainedModels": {MODEL: {"uri": uri}}},
                f"{name}.yaml",
                "sha256:0",
            )
            for name in names
        ],
        defaults={"subscription": "s", "resourceGroup": "g"},
        limits=limits or GuardLimits(max_updates="100%", blobs="skip"),
        inputs=Inputs("p", {}),
        **more,
    )


LOCK_OWNER = LockOwner("1", "ci", "apply", "builder", 1, "", "2026-11-20T12:00:00Z")


def carry_out(runtime: Runtime, plan: Plan, policy: FailurePolicy | None = None) -> Outcome:
    with runtime.ledger.lock(LOCK_OWNER, 0.0, runtime.emit) as lease:
        return apply_plan(runtime, plan, AUTHOR, lease, policy)


def run(world: World, *names: str, **more: Any) -> tuple[Plan, Outcome]:
    plan = make_plan(world.runtime(), make_request(*names, **more))
    return plan, carry_out(world.runtime(), plan)


def world_of(*names: str) -> World:
    world = World()
    for name in names:
        world.add(name)
    return world


def test_what_was_applied_is_proven_recorded_and_told() -> None:
    world = world_of("a", "b")
    _, outcome = run(world, "a", "b")
    assert [str(one) for one in outcome.changed] == ["WebService/a", "WebService/b"]
    assert world.uri("a") == world.uri("b") == NEW
    entry = next(one for one in world.kept if one.address.name == "a")
    assert (entry.by, entry.commit, entry.at) == ("ci", "4f1c2aa", "2026-11-20T12:00:00Z")
    assert entry.owned == {"/properties/assets/asset3/locationInfo/uri": NEW}
    assert (
        apply_operations(entry.inverse, world.documents["a"])["properties"]["assets"]
        == (world_of("a").documents["a"]["properties"]["assets"])
    )
    assert sum(isinstance(event, StepDone) for event in world.events) == 2


def test_success_with_the_old_value_is_not_applied() -> None:
    world = world_of("a", "b")
    world.lies = {"a"}
    _, outcome = run(world, "a", "b")
    (failure,) = outcome.failures
    assert failure.subject == "WebService/a"
    assert failure.message == (
        f'not applied: the service reports success and it still has "{OLD}" at'
        " /properties/assets/asset3/locationInfo/uri"
    )
    assert [str(one) for one in outcome.changed] == ["WebService/b"]
    assert [entry.address.name for entry in world.kept] == ["b"]
    assert any(isinstance(event, StepFailed) for event in world.events)


@pytest.mark.parametrize(("lying", "said"), [("create", "not there"), ("delete", "still there")])
def test_a_create_or_delete_that_did_nothing_is_not_applied(lying: str, said: str) -> None:
    from reconciler.plans.step import make_removal

    world = world_of("a")
    world.lies = {"a", "new"}
    plan = make_plan(world.runtime(), make_request("a"))
    resource = plan.steps[0].resource
    if lying == "delete":
        step = make_removal(resource, world.documents["a"], Reason("", Cause.ORPHAN))
    else:
        del world.documents["a"]
        manifest = Manifest(
            Address("WebService", "a"),
            {
                "definition": definition(OLD),
                "secrets": {"/properties/storageAccount/key": {"env": "KEY"}},
            },
            "a.yaml",
            "sha256:0",
        )
        more = PlanRequest(
            [manifest], {"subscription": "s", "resourceGroup": "g"}, GuardLimits(), Inputs("p", {})
        )
        (step,) = make_plan(world.runtime(), more).steps
    outcome = carry_out(world.runtime(), replace(plan, steps=(step,), findings=()))
    assert said in outcome.failures[0].message
    assert world.kept == []


def test_every_read_that_failed_is_said_and_there_is_no_plan() -> None:
    world = world_of("a", "b", "c")
    world.fails = {"a": Unavailable("no answer", status=500), "c": Unavailable("cut", status=500)}
    with pytest.raises(Unplannable) as caught:
        make_plan(world.runtime(), make_request("a", "b", "c"))
    said = {one.subject for one in caught.value.findings()}
    assert {"WebService/a", "WebService/c"} <= said


@pytest.mark.parametrize(
    "error",
    [
        Unauthorized("no", status=401),
        Unavailable("no answer"),
        Throttled("busy", status=429),
        TooManyCalls("all were sent"),
    ],
)
def test_a_service_that_answers_nobody_is_not_asked_a_thousand_times(error: Exception) -> None:
    names = [f"s{number}" for number in range(200)]
    world = world_of(*names)
    world.fails = dict.fromkeys(names, error)
    with pytest.raises(Unplannable):
        make_plan(world.runtime(parallelism=4), make_request(*names))
    assert world.calls < 20


def test_a_stale_step_voids_the_whole_plan_before_the_first_write() -> None:
    world = world_of("a", "b")
    plan = make_plan(world.runtime(), make_request("a", "b"))
    assets = world.documents["b"]["properties"]["assets"]
    assets["asset3"]["locationInfo"]["uri"] = "https://somebody/else"
    with pytest.raises(StalePlan) as caught:
        carry_out(world.runtime(), plan)
    (finding,) = caught.value.findings()
    assert finding.subject == "WebService/b"
    assert "https://somebody/else" in finding.detail[1]
    assert world.written == []


def test_a_service_that_is_gone_or_there_voids_a_plan() -> None:
    world = world_of("a")
    plan = make_plan(world.runtime(), make_request("a"))
    del world.documents["a"]
    with pytest.raises(StalePlan, match="gone"):
        carry_out(world.runtime(), plan)


def test_a_change_between_the_check_and_the_write_stops_that_step() -> None:
    world = world_of("a")
    plan = make_plan(world.runtime(), make_request("a"))
    runtime = world.runtime()
    reads = 0
    real = world.read

    def read(resource: Resource) -> Live | Absent:
        nonlocal reads
        reads += 1
        if reads == 2:
            assets = world.documents["a"]["properties"]["assets"]
            assets["asset3"]["locationInfo"]["uri"] = "https://raced/it"
        return real(resource)

    world.read = read  # type: ignore[method-assign]
    outcome = carry_out(runtime, plan)
    assert "stale" in outcome.failures[0].message
    assert world.written == []


def test_a_ledger_that_cannot_be_written_stops_before_the_next_write() -> None:
    world = world_of("a", "b", "c")
    plan = make_plan(world.runtime(), make_request("a", "b", "c"))
    world.ledger.record_error = LedgerInvalid("the ledger cannot be written: full")
    outcome = carry_out(world.runtime(parallelism=1), plan)
    assert (len(outcome.failures), len(outcome.not_started)) == (1, 2)
    assert world.written == []


def test_what_was_done_and_cannot_be_recorded_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of("a", "b", "c")
    plan = make_plan(world.runtime(), make_request("a", "b", "c"))

    def record(_: Entry) -> None:
        raise LedgerInvalid("the ledger cannot be written: full")

    monkeypatch.setattr(world.ledger, "record", record)
    outcome = carry_out(world.runtime(parallelism=1), plan)
    assert world.written == [("a", Action.UPDATE)]
    assert [entry.address.name for entry in outcome.unrecorded] == ["a"]
    assert outcome.unrecorded[0].owned == {"/properties/assets/asset3/locationInfo/uri": NEW}
    assert [one.name for one in outcome.not_started] == ["b", "c"]


class Ended(CommandRateLimiter):
    """A budget that remembers how long those who wait were given."""

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self.given: list[float] = []

    def stop(self, within_s: float) -> None:
        self.given.append(within_s)


def test_an_interrupt_ends_the_waiting_of_readers_at_once_and_of_writers_soon() -> None:
    world = world_of("a", "b")
    plan, ended = make_plan(world.runtime(), make_request("a", "b")), Ended()
    runtime = replace(world.runtime(), rate_limiter=ended)

    def write(step: Step, live: Live | Absent, _: Any) -> Iterator[None]:
        raise KeyboardInterrupt

    world.write = write  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        carry_out(runtime, plan)
    assert ended.given == [30.0]

    def read(resource: Resource) -> Live | Absent:
        raise KeyboardInterrupt

    world.read = read  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        make_plan(runtime, make_request("a", "b", refresh="full"))
    assert ended.given == [30.0, 0.0]


def test_once_no_call_may_be_sent_any_more_no_further_step_begins() -> None:
    world = world_of("a", "b", "c")
    plan = make_plan(world.runtime(), make_request("a", "b", "c"))
    begun: list[str] = []

    def write(step: Step, live: Live | Absent, _: Any) -> Iterator[None]:
        begun.append(step.resource.address.name)
        raise TooManyCalls("all were sent")

    world.write = write  # type: ignore[method-assign]
    outcome = carry_out(world.runtime(parallelism=1), plan)
    assert begun == ["a"]
    assert [one.message for one in outcome.failures] == ["all were sent"]
    assert [one.name for one in outcome.not_started] == ["b", "c"]


def test_what_needs_more_calls_than_may_be_sent_is_refused_before_the_first() -> None:
    world = world_of("a", "b", "c")
    plan = make_plan(world.runtime(), make_request("a", "b", "c"))
    needed, calls = plan.estimate.reads + plan.estimate.writes, world.calls
    few = replace(
        world.runtime(), rate_limiter=CommandRateLimiter(world.events.append, most=needed - 1)
    )
    with pytest.raises(TooManyCalls, match=f"{needed} calls are needed"):
        carry_out(few, plan)
    with pytest.raises(TooManyCalls, match="3 calls are needed"):
        make_plan(
            replace(few, rate_limiter=CommandRateLimiter(world.events.append, most=2)),
            make_request("a", "b", "c", refresh="full"),
        )
    assert (world.calls, world.written) == (calls, [])


def test_a_surprise_in_one_step_leaves_the_others_alone_and_tells_nothing_secret() -> None:
    world = world_of("a", "b")
    plan = make_plan(world.runtime(), make_request("a", "b"))
    real = world.write

    def write(step: Step, live: Live | Absent, _: Any) -> Iterator[None]:
        if step.resource.address.name == "a":
            raise RuntimeError("planted-secret")
        return real(step, live, _)

    world.write = write  # type: ignore[method-assign]
    outcome = carry_out(world.runtime(), plan)
    assert [str(one) for one in outcome.changed] == ["WebService/b"]
    assert "RuntimeError" in outcome.failures[0].message
    assert "planted-secret" not in str(outcome.failures)


def test_a_refused_plan_is_never_applied() -> None:
    world = world_of("a", "b")
    limits = GuardLimits(max_updates=1, blobs="skip")
    plan = make_plan(world.runtime(), make_request("a", "b", limits=limits))
    assert [one.guard for one in plan.refused] == ["updates"]
    with pytest.raises(PlanRefused):
        carry_out(world.runtime(), plan)
    assert world.written == []
    allowed = make_plan(world.runtime(), make_request("a", "b", limits=limits, allowed=["updates"]))
    assert allowed.refused == ()


def last_applied_by_address(count: int) -> Mapping[Address, LastApplied]:
    return {
        Address("WebService", f"m{n}"): LastApplied(f"/{n}", "2026-11-02", "ci", "", {}, sequence=n)
        for n in range(count)
    }


@pytest.mark.parametrize(
    ("managed", "updates", "refused"), [(9, 9, False), (10, 3, False), (10, 4, True)]
)
def test_a_percentage_counts_from_ten_managed_resources_on(
    managed: int, updates: int, refused: bool
) -> None:
    names = [f"s{number}" for number in range(updates)]
    world = world_of(*names)
    world.ledger.more = dict(last_applied_by_address(managed - updates))
    plan = make_plan(world.runtime(), make_request(*names, limits=GuardLimits(blobs="skip")))
    assert bool(plan.refused) is refused


@pytest.mark.parametrize("remembered", [0, 4, 20])
def test_a_percentage_is_the_same_whatever_the_ledger_remembers(remembered: int) -> None:
    names = [f"s{number}" for number in range(20)]
    world = world_of(*names)
    known = {Address("WebService", one) for one in names[:remembered]}
    ours = last_applied_by_address(1).values()
    scope = f"/subscriptions/s/resourceGroups/g{PROVIDER}"
    world.ledger.more = {
        address: replace(one, id=f"{scope}{address.name}") for address in known for one in ours
    }
    for most, refused in (("100%", False), ("95%", True)):
        limits = GuardLimits(max_updates=most, blobs="skip")
        plan = make_plan(world.runtime(), make_request(*names, limits=limits))
        said = f"20 to change, and spec.guards.maxUpdates is {most} of 20 managed resources"
        assert [one.message for one in plan.refused] == [said] * refused


def test_a_percentage_counts_neither_what_is_absent_nor_anything_twice() -> None:
    one, two, gone, orphan = (Address("WebService", name) for name in ("a", "b", "gone", "old"))
    assert count_managed([one, two, gone], [gone], [two, orphan]) == 3
    assert count_managed([one, two, gone], [gone], []) == 2


@pytest.mark.parametrize(("mode", "severity"), [("required", "error"), ("warn", "warning")])
def test_a_model_that_is_missing_is_a_finding_by_the_guard(mode: Any, severity: str) -> None:
    world = world_of("a")
    plan = make_plan(world.runtime(), make_request("a", limits=GuardLimits(blobs=mode)))
    (finding,) = plan.findings
    assert finding.message == f'trained model "{MODEL}": the model blob does not exist'
    assert finding.severity == severity


def test_two_manifests_for_one_service_are_refused_before_any_call() -> None:
    world = world_of("a")
    twice = make_request("a", "b")
    for manifest in twice.manifests:
        manifest.spec["resource"] = {"name": "Same" if manifest.file == "a.yaml" else "same"}
    with pytest.raises(Exception, match="two manifests declare"):
        make_plan(world.runtime(), twice)
    assert world.calls == 0


def test_no_more_runs_at_once_than_is_allowed() -> None:
    world = world_of(*[f"s{number}" for number in range(30)])
    running, most = 0, 0
    real, lock, together = world.read, threading.Lock(), threading.Barrier(3)

    def read(resource: Resource) -> Live | Absent:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if not together.broken and resource.id.endswith(("/s0", "/s1", "/s2")):
            together.wait(60)
        found = real(resource)
        threading.Event().wait(0.002)
        with lock:
            running -= 1
        return found

    world.read = read  # type: ignore[method-assign]
    make_plan(world.runtime(parallelism=3), make_request(*world.documents))
    assert most == 3
    assert sum(isinstance(event, Refreshing) for event in world.events) == 30


def test_a_credential_in_the_clear_over_a_sealed_one_makes_no_plan() -> None:
    world = world_of("a")
    node = {"parameters": {"Password": {"value": "MIICx", "certificateThumbprint": "A" * 40}}}
    world.documents["a"]["properties"]["package"]["nodes"]["n"] = node
    asked = make_request("a")
    clear = {"Password": {"value": "planted-password", "certificateThumbprint": ""}}
    asked.manifests[0].spec["definition"] = {
        "properties": {"package": {"nodes": {"n": {"parameters": clear}}}}
    }
    with pytest.raises(Unplannable, match="here it is plain text") as raised:
        make_plan(world.runtime(), asked)
    assert "planted-password" not in str(raised.value.findings())


def test_what_was_allowed_is_still_told() -> None:
    names = [f"s{number}" for number in range(3)]
    limits = GuardLimits(max_updates=1, blobs="skip")
    asked = make_request(*names, limits=limits, allowed=["updates"])
    plan = make_plan(world_of(*names).runtime(), asked)
    assert plan.refused == ()
    (finding,) = plan.findings
    assert (finding.severity, finding.guard) == ("warning", "updates")
    assert finding.next_step == "Allowed by --allow updates."
