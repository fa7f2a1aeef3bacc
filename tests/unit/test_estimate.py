"""What an apply will take: the slowest of waiting, reading and writing."""

from dataclasses import replace

import pytest

from reconciler.model import (
    ABSENT,
    Action,
    Address,
    Check,
    Estimate,
    Resource,
    ServiceTiming,
    Step,
    Write,
)
from reconciler.plans.estimate import estimate
from reconciler.text.durations import show_duration
from reconciler.transport import count_polls

TIMING = ServiceTiming(15.0, 10, 250, 25.0, 200, 10.0)
QUICK = ServiceTiming(0.1, 1, 250, 25.0, 200, 10.0)


def steps(number: int, action: Action = Action.UPDATE) -> list[Step]:
    resources = (Resource(Address("WebService", f"s{n}"), "/x") for n in range(number))
    return [Step(one, action, (), (), (), ABSENT, ABSENT) for one in resources]


def test_nothing_takes_nothing() -> None:
    assert estimate([], TIMING, 10) == Estimate(0, 0, 0.0)


def test_few_steps_wait_for_their_operations() -> None:
    assert estimate(steps(1), TIMING, 10) == Estimate(1, 13, 15.0)
    assert estimate(steps(11), TIMING, 10).seconds == 30.0
    assert estimate(steps(11), TIMING, 11).seconds == 15.0


def test_a_replacement_writes_twice() -> None:
    assert estimate(steps(1, Action.REPLACE), TIMING, 1) == Estimate(2, 23, 30.0)


def test_many_steps_wait_for_the_bucket_of_reads() -> None:
    # 3 reads and a poll each: (4,000 - 250) / 25.
    assert estimate(steps(1000), QUICK, 64) == Estimate(1000, 4000, 150.0)
    assert estimate(steps(1000), QUICK, 64, spent=250).seconds == 160.0
    assert estimate(steps(1000), QUICK, 64, spent=9999).seconds == 160.0


def test_writes_may_be_what_takes_longest() -> None:
    reads_free = ServiceTiming(0.1, 0, 250, 1000.0, 200, 10.0)
    assert estimate(steps(1000), reads_free, 64).seconds == 80.0


@pytest.mark.parametrize(
    ("seconds", "polls"), [(0.0, 1), (0.2, 1), (0.21, 2), (0.5, 2), (1.0, 4), (15.0, 10)]
)
def test_polls_are_counted_as_they_are_made(seconds: float, polls: int) -> None:
    assert count_polls(seconds) == polls


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0, "0 s"), (0.4, "1 s"), (15.0, "15 s"), (119.5, "2 min"), (700, "12 min"),
     (7200, "2 h"), (86400 * 3, "3 d")],
)  # fmt: skip
def test_a_length_of_time_is_said_in_its_largest_unit(seconds: float, said: str) -> None:
    assert show_duration(seconds) == said


def test_a_step_of_several_writes_takes_them_one_after_the_other_with_their_pauses() -> None:
    (step,) = steps(1)
    probe = Check("it answers", {"count": 20})
    writes = (Write("one"), Write("two", 60.0, requires=(probe,)), Write("three", 600.0))
    # 3 reads and 3 x 10 polls, 2 x 2 reads of the further writes, and 20 calls of the check.
    staged = step.copy_with(writes=writes)
    assert estimate([staged], TIMING, 10) == Estimate(3, 57, 705.0)
    assert estimate([staged] * 4, TIMING, 10).seconds == 705.0
    odd = replace(writes[1], checks=(Check("odd", {"count": "many"}), Check("odd", {"count": -5})))
    assert estimate([step.copy_with(writes=(writes[0], odd))], TIMING, 10).reads == 47
