"""A holder of the ledger's lock that was overtaken: what it sends, what it says, what it hands on."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from reconciler.engine.applying.apply import FailurePolicy
from reconciler.errors import LedgerConflict, Unavailable
from reconciler.model import Absent, Action, Live, Outcome, Step, StepResult
from tests.unit.test_apply import Liar, in_waves, liar, planned
from tests.unit.test_engine import NEW, carry_out

LOST = "the lock of the ledger was acquired by another process"
LOOK = "Plan again to see what is live."
URI = "/properties/assets/asset3/locationInfo/uri"


def overtake(world: Liar) -> None:
    """Another process takes the lock."""
    world.ledger.unlock("1")
    world.ledger.fence += 1


def overtaken_in(world: Liar, write: Callable[[Step, Live | Absent], Iterator[None]]) -> None:
    """Have the steps of `a` written by `write`."""
    real = world.write

    def either(step: Step, live: Live | Absent, resolve: Any) -> Iterator[None]:
        if step.resource.address.name != "a":
            yield from real(step, live, resolve)
        else:
            yield from write(step, live)

    world.write = either  # type: ignore[method-assign]


def test_the_permit_of_a_write_is_good_only_under_the_lock_of_the_apply() -> None:
    world = liar("a", "b")
    plan, runtime = planned(world, "a", "b"), world.runtime(parallelism=1)
    limiter, said = runtime.rate_limiter, []

    def write(step: Step, live: Live | Absent) -> Iterator[None]:
        first = limiter.admit("PATCH", "https://x/a", 1.0)
        first.check()
        overtake(world)
        for method in ("PATCH", "PUT", "POST", "DELETE"):
            with pytest.raises(LedgerConflict):
                limiter.admit(method, "https://x/a", 1.0).check()
            said.append(method)
        limiter.admit("GET", "https://x/a", 1.0).check()
        first.check()
        yield

    overtaken_in(world, write)
    outcome = carry_out(runtime, plan)
    assert len(said) == 4
    assert [one.message for one in outcome.failures] == ["another process acquired the lock"]


def test_what_was_not_sent_is_left_to_whoever_has_the_lock() -> None:
    world = liar("a", "b")
    plan = planned(world, "a", "b")

    def write(step: Step, live: Live | Absent) -> Iterator[None]:
        overtake(world)
        raise LedgerConflict(LOST, next_step="Plan again.")
        yield

    overtaken_in(world, write)
    reads = world.calls
    outcome = carry_out(world.runtime(parallelism=1), plan)
    (failure,) = outcome.failures
    assert (failure.message, failure.next_step) == (LOST, "It was not done. Plan again.")
    assert [one.name for one in outcome.not_started] == ["b"]
    assert outcome.unrecorded == ()
    assert [one.address.name for one in world.ledger.load().open] == ["a"]
    assert world.calls - reads == 3, "two before the first write, and one before the write of a"
    assert world.slept == []


def test_what_a_read_has_proven_before_stays_the_evidence() -> None:
    world = liar("a", a=["lost-request"])
    plan, real = planned(world, "a"), world.write
    begun = []

    def write(step: Step, live: Live | Absent, resolve: Any) -> Iterator[None]:
        begun.append(step)
        if len(begun) == 2:
            raise LedgerConflict(LOST)
        yield from real(step, live, resolve)

    world.write = write  # type: ignore[method-assign]
    (failure,) = carry_out(world.runtime(), plan).failures
    assert failure.next_step == "Nothing was changed: live is as it was before."


def half_sent(world: Liar, *, readable: bool = True) -> Outcome:
    """The outcome of a replacement whose delete was sent, and whose PUT was not."""
    step = replace(planned(world, "a").steps[0], action=Action.REPLACE)
    plan = replace(planned(world, "a"), steps=(step,))

    def write(step: Step, live: Live | Absent) -> Iterator[None]:
        del world.documents["a"]
        yield
        overtake(world)
        if not readable:
            world.fails["a"] = Unavailable("no answer")
        raise LedgerConflict(LOST)

    overtaken_in(world, write)
    return carry_out(world.runtime(), plan)


def test_a_part_that_was_sent_is_read_back_and_handed_on() -> None:
    outcome = half_sent(liar("a"))
    (failure,), (entry,) = outcome.failures, outcome.unrecorded
    assert "It is gone, and its replacement does not exist." in failure.next_step
    assert "That is not recorded." in failure.next_step
    assert (entry.address.name, entry.result) == ("a", StepResult.UNKNOWN)
    assert entry.note.endswith(LOST)


def test_a_part_that_cannot_be_read_back_is_handed_on_as_unknown() -> None:
    outcome = half_sent(liar("a"), readable=False)
    (failure,), (entry,) = outcome.failures, outcome.unrecorded
    assert "It may have been done: it could not be read back (no answer)." in failure.next_step
    assert "That is not recorded." in failure.next_step
    assert entry.result is StepResult.UNKNOWN


def test_what_was_done_and_the_ledger_refuses_is_handed_on() -> None:
    world = liar("a", "b")
    plan, real = planned(world, "a", "b"), world.write

    def write(step: Step, live: Live | Absent) -> Iterator[None]:
        yield from real(step, live, None)
        overtake(world)

    overtaken_in(world, write)
    outcome = carry_out(world.runtime(parallelism=1), plan)
    (failure,), (entry,) = outcome.failures, outcome.unrecorded
    assert failure.message == "a later lock has been taken"
    assert failure.next_step == "It was done. That is not recorded."
    assert (entry.address.name, entry.result) == ("a", StepResult.DONE)
    assert entry.owned == {URI: NEW}
    assert [one.name for one in outcome.not_started] == ["b"]


def test_a_rollback_without_the_lock_sends_nothing_and_says_so() -> None:
    world = liar("a", "b", b=["rejected"])
    plan, real = in_waves(planned(world, "a", "b"), a=0, b=1), world.write

    def write(step: Step, live: Live | Absent, resolve: Any) -> Iterator[None]:
        if step.resource.address.name == "b":
            overtake(world)
        yield from real(step, live, resolve)

    world.write = write  # type: ignore[method-assign]
    outcome = carry_out(world.runtime(), plan, FailurePolicy(on_failure="rollback"))
    assert world.uri("a") == NEW
    assert [one.message for one in outcome.unrestored] == ["another process acquired the lock"]
    assert [one.next_step for one in outcome.unrestored] == ["Nothing was sent."]
    assert [name for name, _ in world.written].count("a") == 1
