"""Fleets in a plan and in an apply: who is meant, in which waves, and what stops them."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler.engine.applying.apply import FailurePolicy
from reconciler.engine.drift import report_drift
from reconciler.engine.planning.plan import make_plan
from reconciler.engine.planning.selection import PlanRequest
from reconciler.engine.runtime import Runtime
from reconciler.errors import ManifestInvalid, Rejected, Unplannable
from reconciler.model import (
    Absent,
    Action,
    Address,
    Event,
    FleetStopped,
    GuardLimits,
    Json,
    Live,
    Manifest,
    Member,
    Outcome,
    Plan,
    Rollout,
    SourceLocation,
    Step,
    StepSkipped,
    StepStarted,
    Stopped,
    WavePaused,
    WaveStarted,
)
from reconciler.plans.plan_file import plan_document, read_plan
from reconciler.plans.waves import assign_stages, compute_pause, split
from reconciler.render.plan.text import render_plan_json
from tests.plans import SPEC, live
from tests.plans import step as make_step
from tests.unit.test_engine import MODEL, NEW, OLD, World, carry_out, make_request

BIKES, CARS = Address("Fleet", "bikes"), Address("Fleet", "cars")
FILE = "manifests/bikes.csv"


@dataclass
class Town(World):
    """A service that refuses the writes of those it is told to, and notes when each was begun."""

    refuses: set[str] = field(default_factory=set)
    begun: list[str] = field(default_factory=list)

    def write(self, step: Step, live: Live | Absent, resolve_request: Any) -> Iterator[None]:
        name = step.resource.address.name
        self.begun.append(name)
        if name in self.refuses:
            raise Rejected("no such region", subject=str(step.resource.address), status=400)
        yield from super().write(step, live, resolve_request)

    def reported(self, *kinds: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kinds)]


def town(*names: str) -> Town:
    made = Town()
    for name in names:
        made.add(name)
    return made


def names_of(letter: str, count: int) -> list[str]:
    return [f"{letter}{number:02}" for number in range(1, count + 1)]


def member(name: str, number: int, fleet: Address = BIKES, **spec: Json) -> Manifest:
    return Manifest(
        Address("WebService", name),
        {"trainedModels": {MODEL: {"uri": NEW}}, **spec},
        "manifests/fleet.yaml",
        "sha256:0",
        member=Member(fleet, number, SourceLocation(FILE, number + 1, 1)),
    )


def fleet_request(*manifests: Manifest, **more: Any) -> PlanRequest:
    given = {"rollouts": (Rollout(BIKES, (1, "50%", "100%")),), "limits": None, **more}
    return replace(make_request(**given), manifests=manifests)


def bikes(count: int, **more: Any) -> PlanRequest:
    made = [member(name, number) for number, name in enumerate(names_of("b", count), start=1)]
    return fleet_request(*made, **more)


def stages(plan: Plan) -> dict[str, int]:
    return {step.resource.address.name: step.stage for step in plan.steps}


# Who is in which wave.


@pytest.mark.parametrize(
    ("sizes", "total", "expected"),
    [
        ((1, "10%", "100%"), 1000, (1, 99, 900)),
        ((1, "10%", "100%"), 5, (1, 4)),
        (("1%", "100%"), 3, (1, 2)),
        (("33.3%", "100%"), 10, (4, 6)),
        ((5, 3), 10, (5, 5)),
        ((50,), 10, (10,)),
        ((), 10, (10,)),
        ((1, 2), 0, ()),
    ],
)
def test_how_many_go_in_each_wave(sizes: Any, total: int, expected: Any) -> None:
    assert split(sizes, total) == expected


def test_only_what_changes_is_counted_in_the_order_of_the_items() -> None:
    world = town(*names_of("b", 6))
    world.add("b02", NEW)
    made = [member(name, 7 - int(name[1:])) for name in names_of("b", 6)]
    plan = make_plan(world.runtime(), fleet_request(*made))
    assert stages(plan) == {"b06": 0, "b05": 1, "b04": 1, "b03": 2, "b01": 2}
    assert {step.fleet for step in plan.steps} == {BIKES}
    assert plan.rollouts == (Rollout(BIKES, (1, "50%", "100%")),)
    assert [one.address.name for one in plan.unchanged] == ["b02"]


def test_a_plan_of_a_fleet_is_saved_and_read_as_it_was() -> None:
    plan = make_plan(town(*names_of("b", 3)).runtime(), bikes(3))
    assert read_plan(render_plan_json(plan))[0] == plan
    (first, *_) = plan_document(plan)["resource_changes"]
    assert first["member"] == {"number": 1, "place": {"file": FILE, "line": 2, "column": 1}}


def test_what_is_no_member_has_neither_fleet_nor_item() -> None:
    plan = make_plan(town("a").runtime(), make_request("a"))
    assert (plan.steps[0].fleet, plan.steps[0].member, plan.rollouts) == (None, None, ())
    assert "member" not in plan_document(plan)["resource_changes"][0]


def test_what_has_no_item_any_more_is_destroyed_first_in_an_order_of_its_own() -> None:
    plan = make_plan(town(*names_of("b", 4)).runtime(), bikes(4, destroy=True))
    assert {step.action for step in plan.steps} == {Action.DELETE}
    assert stages(plan) == {"b04": 0, "b03": 1, "b02": 2, "b01": 2}
    old = ("b03", "b04")
    bare = [
        replace(step, member=None if step.resource.address.name in old else step.member)
        for step in plan.steps
    ]
    for steps in itertools.permutations(bare):
        staged = assign_stages(steps, plan.rollouts)
        found = {step.resource.address.name: step.stage for step in staged}
        assert found == {"b04": 0, "b03": 1, "b02": 2, "b01": 2}


def test_the_estimate_holds_the_pauses() -> None:
    world = town(*names_of("b", 4))
    at_once = make_plan(world.runtime(), bikes(4))
    rollouts = (Rollout(BIKES, (1, "50%", "100%"), pause_s=600.0),)
    plan = make_plan(world.runtime(), bikes(4, rollouts=rollouts))
    assert plan.estimate.seconds == at_once.estimate.seconds + 1200.0


# Whom an address means.


def test_the_address_of_a_fleet_means_all_its_members() -> None:
    world = town("a", *names_of("b", 3), "c")
    other = member("c", 1, CARS)
    made = (*bikes(3).manifests, *make_request("a").manifests, other)
    rollouts = (Rollout(BIKES), Rollout(CARS))

    def changed(**more: Any) -> str:
        plan = make_plan(world.runtime(), fleet_request(*made, rollouts=rollouts, **more))
        return " ".join(step.resource.address.name for step in plan.steps)

    one = Address("WebService", "b02")
    assert changed() == "a b01 b02 b03 c"
    assert changed(targets=[BIKES]) == "b01 b02 b03"
    assert changed(targets=[BIKES, CARS], excluded=[one]) == "b01 b03 c"
    assert changed(excluded=[BIKES]) == "a c"
    assert changed(targets=[one]) == "b02"
    report = report_drift(world.runtime(), fleet_request(*made, targets=[CARS]))
    assert [one.resource.address.name for one in report.statuses] == ["c"]


def test_a_fleet_without_members_means_nothing_rather_than_everything() -> None:
    plan = make_plan(
        town("a").runtime(), replace(make_request("a", targets=[CARS]), rollouts=[Rollout(CARS)])
    )
    assert (plan.steps, plan.unchanged) == ((), ())


def test_an_unknown_fleet_is_named_with_the_one_that_was_meant() -> None:
    wrong = Address("Fleet", "bike")
    asked = {
        "targets": [wrong],
        "excluded": [wrong],
        "rotate": [wrong],
        "allowed": [f"replace={wrong}"],
    }
    for name, value in asked.items():
        with pytest.raises(ManifestInvalid) as caught:
            make_plan(town().runtime(), bikes(2, **{name: value}))
        (finding,) = caught.value.findings()
        # The lifting of a guard proposes no address.
        step = (
            "See the addresses: reconciler list"
            if name == "allowed"
            else "Did you mean Fleet/bikes?"
        )
        assert (finding.subject, finding.next_step) == ("Fleet/bike", step)


def test_a_guard_is_lifted_for_a_whole_fleet() -> None:
    world = town(*names_of("b", 2), "c")
    moved: Json = {"definition": {"properties": {"readOnly": True}}}
    made = [member("b01", 1, **moved), member("b02", 2, **moved), member("c", 1, CARS, **moved)]
    plan = make_plan(world.runtime(), fleet_request(*made, allowed=[f"irreversible={BIKES}"]))
    assert {found.subject for found in plan.findings if found.severity == "error"} == {
        "WebService/c"
    }


def test_the_secrets_of_a_whole_fleet_are_written_again() -> None:
    world = town("b01", "b02")
    secrets: Json = {"/properties/keys/primary": {"env": "KEY", "version": "1"}}
    made = [member(name, number, secrets=secrets) for number, name in enumerate(["b01", "b02"], 1)]
    carry_out(world.runtime(), make_plan(world.runtime(), fleet_request(*made)))
    assert make_plan(world.runtime(), fleet_request(*made)).steps == ()
    assert len(make_plan(world.runtime(), fleet_request(*made, rotate=[BIKES])).steps) == 2


def removed(world: Town, **more: Any) -> Plan:
    """What follows once the rows of all but the first are gone, and an order of its own remains."""
    limits = GuardLimits(max_deletes=9, blobs="skip")
    return make_plan(world.runtime(), bikes(1, limits=limits, prune=True, **more))


def test_what_was_a_member_is_remembered_so_and_pruned_with_its_fleet() -> None:
    world = town(*names_of("b", 4), "lone")
    both = replace(bikes(4), manifests=(*bikes(4).manifests, *make_request("lone").manifests))
    carry_out(world.runtime(), make_plan(world.runtime(), both))
    assert {one.fleet for one in world.ledger.load().last_applied_by_address.values()} == {
        BIKES,
        None,
    }

    plan = removed(world)
    gone = {step.resource.address.name: step.fleet for step in plan.steps}
    assert gone == {"b02": BIKES, "b03": BIKES, "b04": BIKES, "lone": None}
    assert stages(plan) == {"b04": 0, "b03": 1, "b02": 2, "lone": 0}
    assert set(stages(removed(world, targets=[BIKES]))) == {"b02", "b03", "b04"}
    assert set(stages(removed(world, excluded=[BIKES]))) == {"lone"}
    assert set(stages(removed(world, targets=[Address("WebService", "b03")]))) == {"b03"}
    reported = make_plan(world.runtime(), replace(bikes(1), targets=[BIKES]))
    assert (reported.steps, reported.orphans) == ((), ())
    # The manifest of the fleet itself is gone.
    nothing = replace(make_request(), whole=True, prune=True, targets=[BIKES])
    assert set(stages(make_plan(world.runtime(), nothing))) == set(names_of("b", 4))


# What is said of a member.


def test_an_obstacle_of_a_member_names_its_row() -> None:
    world = town("b01")
    world.fails["b02"] = Rejected("no", subject="WebService/b02", status=400)
    with pytest.raises(Unplannable) as caught:
        make_plan(world.runtime(), bikes(2))
    (finding,) = caught.value.findings()
    assert finding.detail[-1] == f"Item 2 is on {FILE}:3:1."


def test_two_rows_of_one_service_are_both_named() -> None:
    same: Json = {"resource": {"name": "one"}}
    with pytest.raises(ManifestInvalid) as caught:
        make_plan(
            town().runtime(), fleet_request(member("b01", 1, **same), member("b02", 2, **same))
        )
    (finding,) = caught.value.findings()
    assert finding.detail[0] == f"WebService/b01 declares it too, on {FILE}:2:1."
    assert finding.detail[1] == f"Item 2 is on {FILE}:3:1."


def test_a_failure_of_a_member_names_its_row() -> None:
    world = town("b01")
    world.refuses = {"b01"}
    (found,) = run(world, bikes(1)).failures
    assert found.detail[-1] == f"Item 1 is on {FILE}:2:1."


# How it is carried out.


def run(
    world: Town, asked: PlanRequest, policy: FailurePolicy | None = None, parallelism: int = 4
) -> Outcome:
    plan = make_plan(world.runtime(), asked)
    return carry_out(world.runtime(parallelism), plan, policy)


def test_a_wave_begins_once_the_one_before_has_ended() -> None:
    world = town(*names_of("b", 8))
    outcome = run(world, bikes(8))
    assert len(outcome.changed) == 8
    assert world.begun[0] == "b01"
    assert set(world.begun[1:4]) == {"b02", "b03", "b04"}
    assert world.reported(WaveStarted) == [
        WaveStarted(1, 1, BIKES, 3),
        WaveStarted(2, 3, BIKES, 3),
        WaveStarted(3, 4, BIKES, 3),
    ]
    assert outcome.stopped == ()


def test_a_fleet_in_one_wave_tells_of_none() -> None:
    world = town(*names_of("b", 3))
    run(world, bikes(3, rollouts=(Rollout(BIKES),)))
    assert world.reported(WaveStarted, WavePaused) == []


def test_between_two_waves_it_is_paused() -> None:
    world = town(*names_of("b", 3))
    run(world, bikes(3, rollouts=(Rollout(BIKES, (1, "100%"), pause_s=30.0),)))
    reported = world.reported(WaveStarted, WavePaused)
    assert reported == [
        WaveStarted(1, 1, BIKES, 2),
        WavePaused(BIKES, 30.0),
        WaveStarted(2, 2, BIKES, 2),
    ]
    assert 29.9 < sum(world.slept) <= 30.1
    assert max(world.slept) <= 0.21


def test_nobody_else_waits_for_the_pause_of_a_fleet() -> None:
    world = town("a", "b01", "b02", "c1", "c2")
    cars = [member("c1", 1, CARS), member("c2", 2, CARS)]
    rollouts = (Rollout(BIKES, (1, "100%"), pause_s=30.0), Rollout(CARS, (1, "100%")))
    made = (*bikes(2).manifests, *cars, *make_request("a").manifests)
    plan = make_plan(world.runtime(), fleet_request(*made, rollouts=rollouts))
    runtime = world.runtime(parallelism=1)  # one thread does all of it: a pause may not hold it
    outcome = carry_out(runtime, plan)
    assert len(outcome.changed) == 5
    assert world.begun[-1] == "b02"


def test_more_failures_than_may_be_stop_the_rest_of_that_fleet_alone() -> None:
    world = town("a", *names_of("b", 8), "c1", "c2", "late")
    world.refuses = {"b01"}
    cars = [member("c1", 1, CARS), member("c2", 2, CARS)]
    late = [replace(one, spec={**one.spec, "wave": 1}) for one in make_request("late").manifests]
    made = (*bikes(8).manifests, *cars, *make_request("a").manifests, *late)
    rollouts = (Rollout(BIKES, (1, "100%")), Rollout(CARS, (1, "100%")))
    outcome = run(world, fleet_request(*made, rollouts=rollouts))
    assert {one.name for one in outcome.changed} == {"a", "c1", "c2"}
    assert [one.subject for one in outcome.failures] == ["WebService/b01"]
    left = tuple(Address("WebService", name) for name in names_of("b", 8)[1:])
    assert outcome.stopped == (Stopped(BIKES, 1, 0, left),)
    assert set(outcome.not_started) == {*left, Address("WebService", "late")}
    assert world.reported(FleetStopped) == [FleetStopped(BIKES, 1, 0)]


def test_of_one_wave_too_what_has_not_begun_is_not_begun() -> None:
    world = town(*names_of("b", 6))
    world.refuses = {"b02", "b03"}
    rollouts = (Rollout(BIKES, max_failures=1),)
    outcome = run(world, bikes(6, rollouts=rollouts), parallelism=1)
    assert [one.name for one in outcome.changed] == ["b01"]
    assert [one.name for one in outcome.stopped[0].not_started] == ["b04", "b05", "b06"]
    assert (outcome.stopped[0].failed, outcome.stopped[0].max_failures) == (2, 1)


@pytest.mark.parametrize("policy", [FailurePolicy(), FailurePolicy(on_failure="continue")])
def test_as_many_failures_as_may_be_stop_no_later_wave_of_the_fleet(policy: FailurePolicy) -> None:
    world = town(*names_of("b", 5))
    world.refuses = {"b01"}
    made = [member(name, number, wave=number) for number, name in enumerate(names_of("b", 5), 1)]
    outcome = run(
        world, fleet_request(*made, rollouts=(Rollout(BIKES, (1, "100%"), 0.0, 1),)), policy
    )
    assert [one.name for one in outcome.changed] == names_of("b", 5)[1:]
    assert [one.subject for one in outcome.failures] == ["WebService/b01"]
    assert (outcome.stopped, outcome.not_started) == ((), ())


def test_a_failure_elsewhere_keeps_later_waves_from_a_fleet_as_from_all() -> None:
    world = town("a", "b01", "b02")
    world.refuses = {"a"}
    made = (*make_request("a").manifests, member("b01", 1), member("b02", 2, wave=1))
    outcome = run(world, fleet_request(*made, rollouts=(Rollout(BIKES, (1, "100%"), 0.0, 9),)))
    assert [one.name for one in outcome.changed] == ["b01"]
    assert [one.name for one in outcome.not_started] == ["b02"]
    assert outcome.stopped == ()


def test_nothing_is_destroyed_of_a_fleet_that_was_stopped() -> None:
    world = town(*names_of("b", 4))
    carry_out(world.runtime(), make_plan(world.runtime(), bikes(4)))
    world.add("b01")
    world.refuses = {"b01"}
    plan = removed(world, refresh="full")
    outcome = carry_out(world.runtime(), plan, FailurePolicy(on_failure="continue"))
    assert outcome.destroyed == ()
    assert (outcome.stopped[0].destroys, len(outcome.stopped[0].not_started)) == (True, 3)


def test_a_deletion_that_fails_stops_the_others() -> None:
    world = town(*names_of("b", 4))
    carry_out(world.runtime(), make_plan(world.runtime(), bikes(4)))
    world.refuses = {"b04"}
    outcome = carry_out(world.runtime(), removed(world))
    assert outcome.destroyed == ()
    assert {one.name for one in outcome.stopped[0].not_started} == {"b02", "b03"}


def test_fail_fast_stops_every_fleet_and_waits_for_no_pause() -> None:
    world = town("a", *names_of("b", 4))
    world.refuses = {"a"}
    made = (*make_request("a").manifests, *bikes(4).manifests)
    rollouts = (Rollout(BIKES, (1, "100%"), pause_s=3600.0, max_failures=9),)
    outcome = run(world, fleet_request(*made, rollouts=rollouts), FailurePolicy(fail_fast=True))
    assert outcome.changed in {(), (Address("WebService", "b01"),)}
    assert len(outcome.not_started) + len(outcome.changed) == 4
    assert sum(world.slept) < 1.0


def test_one_failure_stops_every_fleet_where_all_is_to_be_led_back() -> None:
    world = town(*names_of("b", 8))
    world.refuses = {"b02"}
    rollouts = (Rollout(BIKES, (1, "50%", "100%"), max_failures=5),)
    outcome = run(
        world, bikes(8, rollouts=rollouts), FailurePolicy(on_failure="rollback"), parallelism=1
    )
    assert [one.name for one in outcome.rolled_back] == ["b01"]
    assert [one.name for one in outcome.not_started] == names_of("b", 8)[2:]
    assert world.begun == ["b01", "b02", "b01"]


def test_an_interruption_ends_a_pause_at_once() -> None:
    world = town(*names_of("b", 3))
    plan = make_plan(world.runtime(), bikes(3, rollouts=(Rollout(BIKES, (1, "100%"), 3600.0),)))

    def halted() -> str:
        return "interrupted" if sum(world.slept) > 1.0 else ""

    outcome = carry_out(replace(world.runtime(), halted=halted), plan)
    assert [one.name for one in outcome.changed] == ["b01"]
    assert [one.name for one in outcome.not_started] == ["b02", "b03"]
    assert sum(world.slept) < 2.0


# What was cut off.


def cut_after(world: Town, plan: Plan, count: int) -> None:
    """As if the process had died once so many were done."""
    halted = replace(
        world.runtime(parallelism=1), halted=lambda: "killed" if len(world.written) >= count else ""
    )
    carry_out(halted, plan)
    world.begun.clear()
    world.events.clear()
    world.slept.clear()


def at(world: Town, minute: int) -> Runtime:
    return replace(world.runtime(), clock=lambda: datetime(2026, 11, 20, 12, minute, tzinfo=UTC))


def test_a_plan_that_is_applied_again_goes_on_in_the_wave_that_was_cut_off() -> None:
    world = town(*names_of("b", 8))
    rollouts = (Rollout(BIKES, (1, "50%", "100%"), pause_s=60.0),)
    plan = make_plan(world.runtime(), bikes(8, rollouts=rollouts))
    cut_after(world, plan, 2)
    outcome = carry_out(world.runtime(), plan)
    assert set(world.begun[:2]) == {"b03", "b04"}
    assert sorted(world.begun) == names_of("b", 8)[2:]
    assert len(outcome.changed) == 6
    assert len(world.reported(StepSkipped)) == 2
    assert world.reported(WaveStarted, WavePaused) == [
        WaveStarted(2, 2, BIKES, 3),
        WavePaused(BIKES, 60.0),
        WaveStarted(3, 4, BIKES, 3),
    ]


def test_a_canary_that_somebody_led_back_runs_first_again() -> None:
    world = town(*names_of("b", 8))
    plan = make_plan(world.runtime(), bikes(8))
    cut_after(world, plan, 3)
    live = world.documents["b01"]["properties"]
    live["assets"]["asset3"]["locationInfo"]["uri"] = OLD
    outcome = carry_out(world.runtime(), plan)
    assert world.begun[0] == "b01"
    assert sorted(world.begun) == ["b01", *names_of("b", 8)[3:]]
    assert len(outcome.changed) == 6
    assert world.reported(WaveStarted) == [
        WaveStarted(1, 1, BIKES, 3),
        WaveStarted(2, 1, BIKES, 3),
        WaveStarted(3, 4, BIKES, 3),
    ]


@pytest.mark.parametrize("minute", [0, 2, 59])
def test_a_pause_that_was_cut_off_starts_again_whatever_the_clock_says(minute: int) -> None:
    world = town(*names_of("b", 3))
    plan = make_plan(world.runtime(), bikes(3, rollouts=(Rollout(BIKES, (1, "100%"), 300.0),)))
    cut_after(world, plan, 1)
    carry_out(at(world, minute), plan)
    assert [one.seconds for one in world.reported(WavePaused) if isinstance(one, WavePaused)] == [
        300.0
    ]
    assert sorted(world.begun) == ["b02", "b03"]


def test_what_failed_before_does_not_count_again() -> None:
    world = town(*names_of("b", 4))
    plan = make_plan(
        world.runtime(), bikes(4, rollouts=(Rollout(BIKES, (1, "50%", "100%"), 0.0, 0),))
    )
    world.refuses = {"b02"}
    assert len(carry_out(world.runtime(parallelism=1), plan).stopped) == 1
    world.refuses = set()
    outcome = carry_out(world.runtime(parallelism=1), plan)
    assert (len(outcome.changed), outcome.failures, outcome.stopped) == (3, (), ())
    started = [one.resource.address.name for one in world.events if isinstance(one, StepStarted)]
    assert started.count("b01") == 1


def test_a_pause_follows_the_waves_of_a_rollout_and_a_rollback_has_none() -> None:
    steps = [replace(make_step(live(), SPEC), fleet=BIKES, stage=stage) for stage in (0, 2)]
    assert compute_pause(steps, [Rollout(BIKES, pause_s=30.0), Rollout(CARS)]) == 60.0
    assert compute_pause(steps, []) == 0.0
    assert compute_pause([], [Rollout(BIKES, pause_s=30.0)]) == 0.0
