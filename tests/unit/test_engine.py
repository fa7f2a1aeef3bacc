"""Planning and applying over ports that a test holds: what the service may lie about."""

import copy
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler.document.patch import apply_operations
from reconciler.engine.applying.apply import Policy, apply_plan
from reconciler.engine.applying.journal import Author
from reconciler.engine.planning.plan import make_plan
from reconciler.engine.planning.selection import Order
from reconciler.engine.runtime import Hands
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
    Cause,
    Entry,
    Event,
    Fate,
    Folded,
    GuardLimits,
    Holder,
    Inputs,
    Json,
    Live,
    Manifest,
    Memory,
    Outcome,
    Pace,
    Plan,
    Progress,
    Reason,
    Refreshing,
    Resource,
    Sighting,
    Snapshot,
    Source,
    Step,
    StepDone,
    StepFailed,
    Summary,
)
from reconciler.transport import RateBudget
from tests.e2e.world import definition
from tests.ledgers import MemoryLedger

OLD, NEW = (f"https://acct.blob.core.windows.net/m/{name}.ilearner" for name in ("old", "new"))
MODEL = "Census Model [trained model]"
PROVIDER = "/providers/Microsoft.MachineLearning/webServices/"
AUTHOR = Author("ci", "builder", "4f1c2aa", "sha256:0")


@dataclass
class Seen:
    """A cache of observations in memory."""

    kept: dict[str, tuple[Sighting, Folded]] = field(default_factory=dict)

    def load(self) -> Mapping[str, Sighting]:
        return {name: sighting for name, (sighting, _) in self.kept.items()}

    def recall(self, resource_id: str) -> Folded | Absent:
        return self.kept[resource_id.casefold()][1]

    def keep(self, seen: Iterable[tuple[str, Sighting, Folded]]) -> None:
        for name, sighting, document in seen:
            self.kept[name.casefold()] = (sighting, document)

    def drop(self, resource_ids: Iterable[str]) -> None:
        for name in resource_ids:
            self.kept.pop(name.casefold(), None)

    def notice(
        self, found: Mapping[str, Collection[str]], now: float
    ) -> Mapping[tuple[str, str], float]:
        return {(name, one): now for name, every in found.items() for one in every}


@dataclass
class Ledger(MemoryLedger):
    """A ledger that may remember more than was recorded in it."""

    more: dict[Address, Memory] = field(default_factory=dict)

    def load(self) -> Snapshot:
        loaded = super().load()
        memories = {**loaded.memories, **self.more}
        return replace(loaded, memories=memories, known=loaded.known or bool(self.more))


class Counted(RateBudget):
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
    settled: bool = True
    slept: list[float] = field(default_factory=list)
    copies: set[str] = field(default_factory=set)
    calls: int = 0
    seen: Seen = field(default_factory=Seen)
    pace: Pace = field(default_factory=lambda: Pace(15.0, 10, 250, 25.0, 200, 10.0))
    lock: Any = field(default_factory=threading.Lock)

    @property
    def kept(self) -> list[Entry]:
        """What was done, and written down."""
        return [entry for entry in self.ledger.entries() if entry.fate is Fate.DONE]

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
            yield Summary(f"{scope}{PROVIDER}{name}", str(document.get("stamp", "1")), settled=True)

    def read(self, resource: Resource) -> Live | Absent:
        with self.lock:
            self.calls += 1
        if resource.address.name in self.fails:
            raise self.fails[resource.address.name]
        document = self.documents.get(resource.short_id)
        if document is None:
            return ABSENT
        stamp = str(document.get("stamp", "1"))
        return Live(copy.deepcopy(document), {}, datetime.now(UTC), stamp, self.settled)

    def read_many(self, resources: Sequence[Resource]) -> Mapping[Resource, Live]:
        return {}

    def find_peers(self, resource: Resource) -> Sequence[Json]:
        return ()

    def has_copy(self, source: Source) -> bool:
        if source.region in self.fails:
            raise self.fails[source.region]
        return source.region in self.copies

    def write(self, step: Step, live: Live | Absent, _: Any) -> Iterator[Progress]:
        name = step.resource.address.name
        self.written.append((name, step.action))
        yield Progress("Provisioning", 0.5)
        if name in self.lies:
            return
        if step.action is Action.DELETE:
            del self.documents[name]
            return
        start = ABSENT if live is ABSENT else live.document
        self.documents[name] = apply_operations(step.ops, start)

    def settle(self, resource: Resource) -> Iterator[Progress]:
        return iter(())

    def look(self, _: Any) -> Any:
        return ABSENT

    def hands(self, parallelism: int = 4) -> Hands:
        return Hands(
            kinds={"WebService": KIND},
            providers={"WebService": self},
            ledger=self.ledger,
            observations=self.seen,
            blobs=self,
            resolve=lambda _: "secret",
            emit=self.events.append,
            clock=lambda: datetime(2026, 11, 20, 12, tzinfo=UTC),
            budget=Counted(self),
            parallelism=parallelism,
            sleep=self.slept.append,
        )


def order(*names: str, uri: str = NEW, limits: GuardLimits | None = None, **more: Any) -> Order:
    return Order(
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
        limits=limits or GuardLimits(blobs="skip"),
        inputs=Inputs("p", {}),
        **more,
    )


HOLDER = Holder("1", "ci", "apply", "builder", 1, "", "2026-11-20T12:00:00Z")


def carry_out(hands: Hands, plan: Plan, policy: Policy | None = None) -> Outcome:
    with hands.ledger.lock(HOLDER, 0.0, hands.emit) as lease:
        return apply_plan(hands, plan, AUTHOR, lease, policy)


def run(world: World, *names: str, **more: Any) -> tuple[Plan, Outcome]:
    plan = make_plan(world.hands(), order(*names, **more))
    return plan, carry_out(world.hands(), plan)


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
    plan = make_plan(world.hands(), order("a"))
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
        more = Order(
            [manifest], {"subscription": "s", "resourceGroup": "g"}, GuardLimits(), Inputs("p", {})
        )
        (step,) = make_plan(world.hands(), more).steps
    outcome = carry_out(world.hands(), replace(plan, steps=(step,), findings=()))
    assert said in outcome.failures[0].message
    assert world.kept == []


def test_every_read_that_failed_is_said_and_there_is_no_plan() -> None:
    world = world_of("a", "b", "c")
    world.fails = {"a": Unavailable("no answer", status=500), "c": Unavailable("cut", status=500)}
    with pytest.raises(Unplannable) as caught:
        make_plan(world.hands(), order("a", "b", "c"))
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
        make_plan(world.hands(parallelism=4), order(*names))
    assert world.calls < 20


def test_a_stale_step_voids_the_whole_plan_before_the_first_write() -> None:
    world = world_of("a", "b")
    plan = make_plan(world.hands(), order("a", "b"))
    assets = world.documents["b"]["properties"]["assets"]
    assets["asset3"]["locationInfo"]["uri"] = "https://somebody/else"
    with pytest.raises(StalePlan) as caught:
        carry_out(world.hands(), plan)
    (finding,) = caught.value.findings()
    assert finding.subject == "WebService/b"
    assert "https://somebody/else" in finding.detail[1]
    assert world.written == []


def test_a_service_that_is_gone_or_there_voids_a_plan() -> None:
    world = world_of("a")
    plan = make_plan(world.hands(), order("a"))
    del world.documents["a"]
    with pytest.raises(StalePlan, match="gone"):
        carry_out(world.hands(), plan)


def test_a_change_between_the_check_and_the_write_stops_that_step() -> None:
    world = world_of("a")
    plan = make_plan(world.hands(), order("a"))
    hands = world.hands()
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
    outcome = carry_out(hands, plan)
    assert "stale" in outcome.failures[0].message
    assert world.written == []


def test_a_ledger_that_cannot_be_written_stops_before_the_next_write() -> None:
    world = world_of("a", "b", "c")
    plan = make_plan(world.hands(), order("a", "b", "c"))
    world.ledger.record_error = LedgerInvalid("the ledger cannot be written: full")
    outcome = carry_out(world.hands(parallelism=1), plan)
    assert (len(outcome.failures), len(outcome.not_started)) == (1, 2)
    assert world.written == []


def test_what_was_done_and_cannot_be_recorded_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of("a", "b", "c")
    plan = make_plan(world.hands(), order("a", "b", "c"))

    def record(_: Entry) -> None:
        raise LedgerInvalid("the ledger cannot be written: full")

    monkeypatch.setattr(world.ledger, "record", record)
    outcome = carry_out(world.hands(parallelism=1), plan)
    assert world.written == [("a", Action.UPDATE)]
    assert [entry.address.name for entry in outcome.unrecorded] == ["a"]
    assert outcome.unrecorded[0].owned == {"/properties/assets/asset3/locationInfo/uri": NEW}
    assert [one.name for one in outcome.not_started] == ["b", "c"]


class Ended(RateBudget):
    """A budget that remembers how long those who wait were given."""

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self.given: list[float] = []

    def stop(self, within_s: float) -> None:
        self.given.append(within_s)


def test_an_interrupt_ends_the_waiting_of_readers_at_once_and_of_writers_soon() -> None:
    world = world_of("a", "b")
    plan, ended = make_plan(world.hands(), order("a", "b")), Ended()
    hands = replace(world.hands(), budget=ended)

    def write(step: Step, live: Live | Absent, _: Any) -> Iterator[Progress]:
        raise KeyboardInterrupt

    world.write = write  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        carry_out(hands, plan)
    assert ended.given == [30.0]

    def read(resource: Resource) -> Live | Absent:
        raise KeyboardInterrupt

    world.read = read  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        make_plan(hands, order("a", "b", refresh="full"))
    assert ended.given == [30.0, 0.0]


def test_once_no_call_may_be_sent_any_more_no_further_step_begins() -> None:
    world = world_of("a", "b", "c")
    plan = make_plan(world.hands(), order("a", "b", "c"))
    begun: list[str] = []

    def write(step: Step, live: Live | Absent, _: Any) -> Iterator[Progress]:
        begun.append(step.resource.address.name)
        raise TooManyCalls("all were sent")

    world.write = write  # type: ignore[method-assign]
    outcome = carry_out(world.hands(parallelism=1), plan)
    assert begun == ["a"]
    assert [one.message for one in outcome.failures] == ["all were sent"]
    assert [one.name for one in outcome.not_started] == ["b", "c"]


def test_what_needs_more_calls_than_may_be_sent_is_refused_before_the_first() -> None:
    world = world_of("a", "b", "c")
    plan = make_plan(world.hands(), order("a", "b", "c"))
    needed, calls = plan.estimate.reads + plan.estimate.writes, world.calls
    few = replace(world.hands(), budget=RateBudget(world.events.append, most=needed - 1))
    with pytest.raises(TooManyCalls, match=f"{needed} calls are needed"):
        carry_out(few, plan)
    with pytest.raises(TooManyCalls, match="3 calls are needed"):
        make_plan(
            replace(few, budget=RateBudget(world.events.append, most=2)),
            order("a", "b", "c", refresh="full"),
        )
    assert (world.calls, world.written) == (calls, [])


def test_a_surprise_in_one_step_leaves_the_others_alone_and_tells_nothing_secret() -> None:
    world = world_of("a", "b")
    plan = make_plan(world.hands(), order("a", "b"))
    real = world.write

    def write(step: Step, live: Live | Absent, _: Any) -> Iterator[Progress]:
        if step.resource.address.name == "a":
            raise RuntimeError("planted-secret")
        return real(step, live, _)

    world.write = write  # type: ignore[method-assign]
    outcome = carry_out(world.hands(), plan)
    assert [str(one) for one in outcome.changed] == ["WebService/b"]
    assert "RuntimeError" in outcome.failures[0].message
    assert "planted-secret" not in str(outcome.failures)


def test_a_refused_plan_is_never_applied() -> None:
    world = world_of("a", "b")
    limits = GuardLimits(max_updates=1, blobs="skip")
    plan = make_plan(world.hands(), order("a", "b", limits=limits))
    assert [one.guard for one in plan.refused] == ["updates"]
    with pytest.raises(PlanRefused):
        carry_out(world.hands(), plan)
    assert world.written == []
    allowed = make_plan(world.hands(), order("a", "b", limits=limits, allowed=["updates"]))
    assert allowed.refused == ()


def memories(count: int) -> Mapping[Address, Memory]:
    return {
        Address("WebService", f"m{n}"): Memory(f"/{n}", {}, {}, "2026-11-02", "ci", "", n)
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
    world.ledger.more = dict(memories(managed))
    plan = make_plan(world.hands(), order(*names))
    assert bool(plan.refused) is refused


@pytest.mark.parametrize(("mode", "severity"), [("required", "error"), ("warn", "warning")])
def test_a_model_that_is_missing_is_a_finding_by_the_guard(mode: Any, severity: str) -> None:
    world = world_of("a")
    plan = make_plan(world.hands(), order("a", limits=GuardLimits(blobs=mode)))
    (finding,) = plan.findings
    assert finding.message == f'trained model "{MODEL}": the model blob does not exist'
    assert finding.severity == severity


def test_two_manifests_for_one_service_are_refused_before_any_call() -> None:
    world = world_of("a")
    twice = order("a", "b")
    for manifest in twice.manifests:
        manifest.spec["resource"] = {"name": "Same" if manifest.file == "a.yaml" else "same"}
    with pytest.raises(Exception, match="two manifests declare"):
        make_plan(world.hands(), twice)
    assert world.calls == 0


def test_no_more_runs_at_once_than_is_allowed() -> None:
    world = world_of(*[f"s{number}" for number in range(30)])
    running, most = 0, 0
    real, lock = world.read, threading.Lock()

    def read(resource: Resource) -> Live | Absent:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        found = real(resource)
        threading.Event().wait(0.002)
        with lock:
            running -= 1
        return found

    world.read = read  # type: ignore[method-assign]
    make_plan(world.hands(parallelism=3), order(*world.documents))
    assert most == 3
    assert sum(isinstance(event, Refreshing) for event in world.events) == 30


def test_a_credential_in_the_clear_over_a_sealed_one_makes_no_plan() -> None:
    world = world_of("a")
    node = {"parameters": {"Password": {"value": "MIICx", "certificateThumbprint": "A" * 40}}}
    world.documents["a"]["properties"]["package"]["nodes"]["n"] = node
    asked = order("a")
    clear = {"Password": {"value": "planted-password", "certificateThumbprint": ""}}
    asked.manifests[0].spec["definition"] = {
        "properties": {"package": {"nodes": {"n": {"parameters": clear}}}}
    }
    with pytest.raises(Unplannable, match="stands here in the clear") as raised:
        make_plan(world.hands(), asked)
    assert "planted-password" not in str(raised.value.findings())


def test_what_was_allowed_is_still_told() -> None:
    names = [f"s{number}" for number in range(3)]
    limits = GuardLimits(max_updates=1, blobs="skip")
    asked = order(*names, limits=limits, allowed=["updates"])
    plan = make_plan(world_of(*names).hands(), asked)
    assert plan.refused == ()
    (finding,) = plan.findings
    assert (finding.severity, finding.guard) == ("warning", "updates")
    assert finding.next_step == "Allowed by --allow updates."
