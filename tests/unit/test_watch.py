"""The cycles of watch: when they start, what they leave for later, and what they may say."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest

from reconciler.engine import watch
from reconciler.engine.applying.apply import Declarations, FailurePolicy
from reconciler.engine.applying.journal import Author
from reconciler.engine.back_off import BackOff
from reconciler.engine.planning.selection import PlanRequest
from reconciler.engine.runtime import Runtime
from reconciler.engine.unattended import Applied, Applying
from reconciler.engine.watch import Prepared, Watcher, WatchPorts
from reconciler.engine.watch_loop import Loop, Schedule
from reconciler.errors import LedgerInvalid, ManifestInvalid
from reconciler.model import (
    Address,
    CycleEnded,
    CycleStarted,
    Drift,
    DriftReport,
    Event,
    Finding,
    GuardLimits,
    LockOwner,
    Manifest,
    ResourceStatus,
    Verdict,
)
from reconciler.model.watch import Cycle, CycleOutcome
from reconciler.ports import LeaderTerm
from reconciler.render.events.cycles import CycleMemory, describe_cycle
from tests.events import AT, CENSUS, LOCK_OWNER, make_report

WRONG = Finding("it is wrong", subject="Project")


class Seconds:
    """A monotonic clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


class Lead:
    """The lead that one process has at a time, and a test takes away."""

    def __init__(self) -> None:
        self.other: LockOwner | None = None
        self.terms: list[Any] = []

    def acquire(self, lock_owner: LockOwner) -> LeaderTerm | None:
        if self.other is not None:
            return None
        term = SimpleNamespace(lock_owner=lock_owner, held=True, released=False)
        term.is_held = lambda: term.held
        term.release = lambda: setattr(term, "released", True)
        self.terms.append(term)
        return cast("LeaderTerm", term)

    def find_leader(self) -> LockOwner | None:
        return self.other


@dataclass(frozen=True)
class FakeRuntime:
    """The part of a runtime that a cycle uses itself."""

    halted: Callable[[], str]
    drift_history: Any


class World:
    """One watched environment whose report a test decides."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds, self.lead = Seconds(), Lead()
        self.report: Callable[[PlanRequest], DriftReport] = lambda _: make_report()
        self.errors: tuple[Finding, ...] = ()
        self.fails: Exception | None = None
        self.events: list[Event] = []
        self.cycles: list[Cycle] = []
        self.requests: list[PlanRequest] = []
        self.manifests = (Manifest(CENSUS.address, {"model": 1}, "census.yaml", "{}"),)
        monkeypatch.setattr(watch, "report_drift", self._report_drift)
        ports = WatchPorts(
            self.events.append,
            lambda: datetime(2026, 11, 30, tzinfo=UTC),
            self.seconds,
            (self._observe, self.cycles.append),
        )
        self.watcher = Watcher("prod", self._prepare, ports, 60.0)
        self.applying: Applying | None = None
        self.applies: list[Mapping[Address, str]] = []
        self.applied: Callable[[], Applied] = Applied
        self.halted = ""
        self.history = mock.Mock()
        monkeypatch.setattr(watch, "apply_unattended", self._apply_unattended)

    def _observe(self, cycle: Cycle) -> None:
        raise ValueError(cycle)  # an observer ends nothing

    def _report_drift(self, runtime: Runtime, request: PlanRequest, **_: object) -> DriftReport:
        self.requests.append(request)
        report = self.report(request)
        runtime.drift_history.append(None, {})
        return report

    def _apply_unattended(
        self, _: Runtime, __: PlanRequest, ___: DriftReport, ____: Applying, waiting: Any
    ) -> Applied:
        self.applies.append(waiting)
        return self.applied()

    def _prepare(self) -> Prepared:
        if self.fails is not None:
            raise self.fails
        inputs = make_report().inputs
        request = PlanRequest(self.manifests, {}, GuardLimits(), inputs)
        runtime = cast("Runtime", FakeRuntime(lambda: self.halted, self.history))
        return Prepared(runtime, request, LOCK_OWNER, self.lead, self.applying, self.errors)

    def run(self) -> Cycle:
        cycle = self.watcher.run_cycle()
        assert cycle is not None
        self.seconds.now += 60
        return cycle


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def unread(report: DriftReport | None = None) -> DriftReport:
    """The report of a resource that could not be read."""
    finding = Drift(CENSUS, Verdict.INCOMPLETE, key="0")
    statuses = (ResourceStatus(CENSUS, Verdict.INCOMPLETE),)
    return replace(report or make_report(), statuses=statuses, findings=(finding,))


def also_read(report: DriftReport) -> DriftReport:
    """A report with one more resource, that was read."""
    other = replace(CENSUS, address=Address("WebService", "other"), id="/x/other")
    status = ResourceStatus(other, Verdict.IN_SYNC, observed_at=AT)
    return replace(report, statuses=(*report.statuses, status))


def test_cycles_start_an_interval_apart_with_a_tenth_of_jitter() -> None:
    for draw, wait in ((0.0, 54.0), (0.5, 60.0), (0.999999, 66.0)):
        schedule = Schedule(60.0, 100.0, partial(float, draw))
        assert schedule.due == 100.0
        schedule.plan_next(100.0, 103.0)
        assert schedule.due == pytest.approx(100.0 + wait, abs=0.01)


def test_a_cycle_longer_than_the_interval_makes_up_for_no_start() -> None:
    schedule = Schedule(60.0, 0.0, lambda: 0.5)
    schedule.plan_next(0.0, 1000.0)
    assert schedule.due == 1000.0
    schedule.plan_next(1000.0, 1001.0)
    assert schedule.due == 1060.0


def test_a_standby_asks_again_soon() -> None:
    schedule = Schedule(600.0, 0.0, lambda: 0.5)
    schedule.plan_standby(5.0)
    assert schedule.due == 15.0


def test_what_fails_is_tried_less_often_and_at_least_each_hour() -> None:
    back_off, specs = BackOff(600.0), {CENSUS.address: "1"}
    now, tries = 0.0, []
    for cycle in range(60):
        now = 600.0 * cycle
        if not back_off.find_waiting(specs, now):
            tries.append(cycle)
            back_off.note([CENSUS.address], [], specs, now)
    assert tries[:5] == [0, 1, 3, 7, 13]
    assert {later - earlier for earlier, later in pairwise(tries[4:])} == {6}


def test_the_wait_ends_with_a_success_and_with_another_manifest() -> None:
    ends: list[Callable[[BackOff], object]] = [
        lambda back_off: back_off.note([], [CENSUS.address], {CENSUS.address: "1"}, 10.0),
        lambda back_off: back_off.find_waiting({CENSUS.address: "2"}, 10.0),
        lambda back_off: back_off.find_waiting({}, 10.0),
    ]
    for end in ends:
        back_off = BackOff(60.0)
        for _ in range(3):
            back_off.note([CENSUS.address], [], {CENSUS.address: "1"}, 0.0)
        assert back_off.find_waiting({CENSUS.address: "1"}, 10.0) == {CENSUS.address: 3}
        end(back_off)
        assert not back_off.find_waiting({CENSUS.address: "1"}, 10.0)


def test_a_cycle_that_reads_all_is_in_sync(world: World) -> None:
    cycle = world.run()
    assert (cycle.outcome, cycle.has_evidence) == (CycleOutcome.IN_SYNC, True)
    assert world.events == [CycleStarted(cycle.id, "prod"), CycleEnded(cycle)]
    assert world.cycles == [cycle]  # although the first observer raised


def test_a_cycle_that_read_nothing_is_not_in_sync(world: World) -> None:
    world.report = lambda _: replace(make_report(), statuses=())
    cycle = world.run()
    assert (cycle.outcome, cycle.has_evidence) == (CycleOutcome.INCOMPLETE, False)
    assert "nothing is proven" in cycle.errors[0].message


def test_with_an_invalid_project_nothing_is_in_sync_but_drift_is_drift(world: World) -> None:
    world.errors = (WRONG,)
    assert world.run().outcome is CycleOutcome.INCOMPLETE
    assert world.cycles[-1].errors == (WRONG,)
    drifted = Drift(CENSUS, Verdict.DRIFTED, key="1")
    world.report = lambda _: replace(make_report(), findings=(drifted,))
    assert world.run().outcome is CycleOutcome.DRIFT


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ManifestInvalid((WRONG,)), "it is wrong"),
        (LedgerInvalid("cannot be read"), "cannot be read"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (KeyError("a secret"), "unexpected KeyError"),
    ],
)
def test_an_error_ends_one_cycle_and_not_the_loop(
    world: World, error: Exception, said: str
) -> None:
    world.fails = error
    cycle = world.run()
    assert cycle.outcome is CycleOutcome.FAILED
    assert said in cycle.errors[0].message
    assert "a secret" not in str(cycle)
    world.fails = None
    assert world.run().outcome is CycleOutcome.IN_SYNC


def test_a_signal_is_reported_and_ends_the_loop(world: World) -> None:
    def interrupt(_: PlanRequest) -> DriftReport:
        raise KeyboardInterrupt

    world.report = interrupt
    with pytest.raises(KeyboardInterrupt):
        world.watcher.run_cycle()
    assert world.cycles[-1].outcome is CycleOutcome.INTERRUPTED


def test_a_resource_that_cannot_be_read_is_left_out_and_never_in_sync(world: World) -> None:
    world.report = lambda _: also_read(unread())
    for _ in range(8):
        assert world.run().outcome is CycleOutcome.INCOMPLETE
    left_out = [bool(request.postponed) for request in world.requests]
    assert left_out == [False, False, True, False, True, True, True, False]
    assert "could not be read 2 times in a row" in world.requests[2].postponed[CENSUS.address]


def test_a_service_out_of_reach_blames_no_resource(world: World) -> None:
    world.report = lambda _: unread()
    for _ in range(5):
        assert not world.run().has_evidence
    assert not any(request.postponed for request in world.requests)


def test_a_process_that_does_not_lead_reads_nothing(world: World) -> None:
    world.lead.other = LOCK_OWNER
    cycle = world.watcher.run_cycle()
    assert cycle is not None
    assert (cycle.outcome, cycle.leader, world.requests) == (CycleOutcome.STANDBY, LOCK_OWNER, [])
    world.seconds.now += 10
    assert world.watcher.run_cycle() is None  # it was reported
    world.seconds.now += 50
    assert world.run().outcome is CycleOutcome.STANDBY
    world.lead.other = None
    assert world.run().outcome is CycleOutcome.IN_SYNC


def test_a_lost_term_is_given_up_before_the_next_one(world: World) -> None:
    world.run()
    world.run()
    assert len(world.lead.terms) == 1
    world.lead.terms[0].held = False
    world.lead.other = LOCK_OWNER
    assert world.run().outcome is CycleOutcome.STANDBY
    assert world.lead.terms[0].released
    world.lead.other = None
    world.run()
    world.watcher.close()
    assert [term.released for term in world.lead.terms] == [True, True]


def test_the_environments_take_turns_and_one_that_is_gone_gives_up_the_lead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worlds = {"dev": World(monkeypatch), "prod": World(monkeypatch)}
    seconds = Seconds()
    loop = Loop(lambda name: worlds[name].watcher, 60.0, seconds.wait, seconds, lambda: 0.5)
    loop.select(["dev", "prod"])
    for _ in range(6):
        while loop.run_next(5.0) is None:
            pass
    assert seconds.now == 220.0
    assert [len(one.cycles) for one in worlds.values()] == [3, 3]
    loop.select(["prod"])
    assert worlds["dev"].lead.terms[0].released
    assert not worlds["prod"].lead.terms[0].released
    assert len(loop.run_once()) == 1


def test_only_what_is_new_is_shown() -> None:
    memory, report = CycleMemory(), make_report()

    def compare(*keys: str, report: DriftReport = report, **more: Any) -> tuple[Any, ...]:
        findings = tuple(Drift(CENSUS, Verdict.DRIFTED, key=key) for key in keys)
        seen = replace(report, findings=findings)
        cycle = Cycle("1", "prod", AT, AT, CycleOutcome.DRIFT, seen, **more)
        news = memory.compare(cycle)
        found = [one.key for one in news.drift.findings] if news.drift is not None else []
        return found, [one.key for one in news.ended], list(news.findings)

    assert compare("a", "b", errors=(WRONG, WRONG)) == (["a", "b"], [], [WRONG])
    assert compare("a", "b", errors=(WRONG,)) == ([], [], [])
    assert compare("b", "c") == (["c"], ["a"], [])
    assert compare("b", errors=(WRONG,)) == ([], ["c"], [WRONG])
    # What could not be read has not ended.
    assert compare(report=unread()) == ([], [], [])
    assert compare("b") == ([], [], [])
    memory.compare(Cycle("2", "prod", AT, AT, CycleOutcome.STANDBY))
    assert compare("b") == ([], [], [])


def test_a_process_that_stands_by_does_not_read_the_project(world: World) -> None:
    world.run()
    world.lead.terms[-1].held = False
    world.lead.other = LOCK_OWNER
    world.fails = AssertionError("the project is read")
    assert world.run().outcome is CycleOutcome.STANDBY
    assert world.lead.terms[-1].released
    world.lead.other = world.fails = None
    assert world.run().outcome is not CycleOutcome.STANDBY
    assert len(world.lead.terms) == 2


def test_a_cycle_is_not_reported_that_ends_when_another_process_may_lead(world: World) -> None:
    def be_suspended(_: PlanRequest) -> DriftReport:
        world.lead.terms[-1].held = False
        return make_report()

    world.report = be_suspended
    cycle = world.run()
    assert (cycle.outcome, cycle.report) == (CycleOutcome.FAILED, None)
    assert "did not lead until the end of the cycle" in cycle.errors[-1].message
    assert not world.history.append.called
    world.report = lambda _: make_report()
    assert world.run().report is not None


def test_a_ledger_in_another_place_has_another_leader(world: World) -> None:
    world.run()
    first, world.lead = world.lead, Lead()
    world.lead.other = LOCK_OWNER
    assert world.run().outcome is CycleOutcome.STANDBY
    assert first.terms[-1].released


def test_a_ledger_that_disappears_ends_what_is_proven_and_what_is_applied(applying: World) -> None:
    lost = replace(make_report(), baseline="lost")
    applying.report = lambda _: lost
    # A project that was never applied has none, and its first apply makes it.
    assert applying.run().outcome is CycleOutcome.IN_SYNC
    applying.report = lambda _: make_report()
    applying.run()
    applying.applies.clear()
    applying.report = lambda _: lost
    cycle = applying.run()
    assert cycle.outcome is CycleOutcome.INCOMPLETE
    assert "the ledger is gone" in cycle.errors[0].message
    assert not applying.applies
    applying.report = lambda _: replace(drifted(), baseline="lost")
    assert applying.run().outcome is CycleOutcome.DRIFT
    assert not applying.applies
    applying.report = lambda _: make_report()
    assert applying.run().outcome is CycleOutcome.IN_SYNC
    # Another place of the ledger may have none yet.
    applying.lead, applying.report = Lead(), lambda _: lost
    assert applying.run().outcome is CycleOutcome.IN_SYNC


def test_without_a_ledger_a_cycle_says_what_it_compared() -> None:
    report = replace(make_report(), baseline="lost")
    cycle = Cycle("1", "", AT, AT, CycleOutcome.IN_SYNC, report)
    assert describe_cycle(cycle).endswith("No ledger exists, so only declared values are compared.")


def test_what_a_cycle_put_right_is_shown_once_and_has_not_ended() -> None:
    memory, finding = CycleMemory(), Drift(CENSUS, Verdict.DRIFTED, key="a")
    found = replace(make_report(), findings=(finding,))
    later = Drift(CENSUS, Verdict.DRIFTED, key="later")
    left = replace(make_report(), findings=(later,))
    cycle = Cycle("1", "", AT, AT, CycleOutcome.DRIFT, left, found=found)
    news = memory.compare(cycle)
    assert news.drift is not None
    assert (news.drift.findings, news.ended) == ((finding,), ())
    news = memory.compare(replace(cycle, found=None))
    assert news.drift is not None
    assert (news.drift.findings, news.ended) == ((later,), ())


def drifted() -> DriftReport:
    return replace(make_report(), findings=(Drift(CENSUS, Verdict.DRIFTED, key="1"),))


@pytest.fixture
def applying(world: World) -> World:
    """A world in mode apply; its resource has drifted."""
    world.applying = Applying(
        lock=nullcontext,  # type: ignore[arg-type]
        combine=lambda lock: lock,
        make_author=lambda digest: Author("ana", "host", "", digest),
        judge=lambda plan: plan,
        keep=lambda _: (),
        declared=Declarations(),
        policy=FailurePolicy(),
    )
    world.report = lambda _: drifted()
    return world


def test_a_cycle_that_applied_reports_again_and_keeps_what_it_found(applying: World) -> None:
    reports = [drifted(), make_report()]
    applying.report = lambda _: reports.pop(0)
    applying.applied = lambda: Applied(changed=(CENSUS.address,), plan_s=0.1, apply_s=0.2)
    cycle = applying.run()
    assert (cycle.outcome, cycle.found) == (CycleOutcome.IN_SYNC, drifted())
    assert (cycle.applied, cycle.plan_s, cycle.apply_s) == ((CENSUS.address,), 0.1, 0.2)


def test_a_cycle_that_applied_nothing_reports_once(applying: World) -> None:
    cycle = applying.run()
    assert (cycle.outcome, cycle.found, len(applying.requests)) == (CycleOutcome.DRIFT, None, 1)


def test_a_change_that_fails_is_tried_less_often_until_the_manifest_changes(
    applying: World,
) -> None:
    applying.applied = lambda: (
        Applied() if applying.applies[-1] else Applied(failed=(CENSUS.address,), apply_s=0.1)
    )
    for _ in range(7):
        applying.run()
    assert [bool(one) for one in applying.applies] == [False, False, True, False, True, True, True]
    applying.manifests = (replace(applying.manifests[0], digest="another"),)
    applying.run()
    assert not applying.applies[-1]


def test_after_a_person_nothing_is_applied_for_an_interval(applying: World) -> None:
    applying.applied = lambda: Applied(yields=True)
    applying.run()
    applying.seconds.now -= 1  # the jitter: the next cycle is early
    cycle = applying.run()
    assert len(applying.applies) == 1
    assert "nothing is applied in this cycle" in cycle.left[0].message
    applying.run()
    assert len(applying.applies) == 2


def test_an_older_state_of_an_invalid_project_is_not_applied(applying: World) -> None:
    applying.errors = (WRONG,)
    cycle = applying.watcher.run_cycle()
    assert cycle is not None
    assert not applying.applies
    assert [one.message for one in cycle.left] == [watch._OUTDATED.message]
    applying.errors = ()
    applying.watcher.run_cycle()
    assert len(applying.applies) == 1


def test_a_signal_during_an_apply_ends_the_loop_after_it(applying: World) -> None:
    def apply() -> Applied:
        applying.halted = "interrupted"
        return Applied(changed=(CENSUS.address,), apply_s=0.1)

    applying.applied = apply
    with pytest.raises(KeyboardInterrupt):
        applying.watcher.run_cycle()
    cycle = applying.cycles[-1]
    assert (cycle.outcome, cycle.applied) == (CycleOutcome.INTERRUPTED, (CENSUS.address,))
