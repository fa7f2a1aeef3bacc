"""However fleets fail: no wave before its turn, nothing lost, and nobody stopped by another."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.applying.apply import FailurePolicy
from reconciler.engine.planning.plan import make_plan
from reconciler.model import (
    Address,
    Rollout,
    Step,
    StepDone,
    StepFailed,
    StepStarted,
    WavePaused,
)
from tests.laws import examples
from tests.unit.test_engine import carry_out, make_request
from tests.unit.test_rollouts import Town, fleet_request, member, names_of, town

FLEETS = [Address("Fleet", name) for name in ("a", "b")]
NAMES = {FLEETS[0]: names_of("a", 6), FLEETS[1]: names_of("b", 6), None: names_of("x", 3)}
ROLLOUTS = st.tuples(
    st.lists(st.integers(1, 4), max_size=3).map(lambda sizes: (*sizes, "100%")),
    st.sampled_from([0.0, 5.0]),
    st.integers(0, 3),
)


@examples(60)
@given(
    said=st.tuples(ROLLOUTS, ROLLOUTS),
    refused=st.sets(st.sampled_from([name for names in NAMES.values() for name in names])),
    parallelism=st.integers(1, 5),
    policy=st.sampled_from(
        [FailurePolicy(), FailurePolicy(on_failure="continue"), FailurePolicy(fail_fast=True)]
    ),
)
def test_fleets_go_in_their_waves_and_stop_by_themselves(
    said: Any, refused: set[str], parallelism: int, policy: FailurePolicy
) -> None:
    world = town(*(name for names in NAMES.values() for name in names))
    world.refuses = refused
    rollouts = [Rollout(fleet, *given) for fleet, given in zip(FLEETS, said, strict=True)]
    made = [
        member(name, number, fleet)
        for fleet in FLEETS
        for number, name in enumerate(NAMES[fleet], start=1)
    ]
    asked = fleet_request(*made, *make_request(*NAMES[None]).manifests, rollouts=rollouts)
    plan = make_plan(world.runtime(), asked)
    outcome = carry_out(world.runtime(parallelism), plan, policy)

    done = {one.name for one in outcome.changed}
    failed = {str(one.subject).partition("/")[2] for one in outcome.failures}
    left = {one.name for one in outcome.not_started}
    assert sorted([*done, *failed, *left]) == sorted(
        step.resource.address.name for step in plan.steps
    )
    assert failed == set(world.begun) & refused
    stopped = {one.fleet: one for one in outcome.stopped}
    for rollout in rollouts:
        check_waves(world, plan.steps, rollout)
        mine = set(NAMES[rollout.fleet])
        too_many = len(mine & failed) > rollout.max_failures
        assert (rollout.fleet in stopped) == (too_many and bool(mine & left))
        assert len(mine & failed) <= rollout.max_failures + parallelism
        if not policy.fail_fast:
            assert too_many or not mine & left
    if not policy.fail_fast:
        assert not left & set(NAMES[None])


def check_waves(world: Town, steps: tuple[Step, ...], rollout: Rollout) -> None:
    """Nothing of a wave begins before all of the one before has ended, and been paused after."""
    stages = {step.resource: step.stage for step in steps if step.fleet == rollout.fleet}
    running: set[Any] = set()
    now, pauses = 0, 0
    for event in world.events:
        pauses += isinstance(event, WavePaused) and event.fleet == rollout.fleet
        if not isinstance(event, StepStarted | StepDone | StepFailed):
            continue
        if event.resource not in stages:
            continue
        if isinstance(event, StepStarted):
            stage = stages[event.resource]
            assert stage == now or (stage > now and not running)
            now = stage
            assert pauses == (now if rollout.pause_s else 0)
            running.add(event.resource)
        else:
            running.remove(event.resource)
    assert not running
