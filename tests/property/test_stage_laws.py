"""The stages of fleets: every member has one, as large as was asked for, and none out of order."""

import itertools
import math
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import (
    ABSENT,
    Action,
    Address,
    CloneSource,
    Member,
    Resource,
    Rollout,
    SourceLocation,
    Step,
)
from reconciler.plans.waves import arrange, assign_stages, split

FLEETS = (Address("Fleet", "a"), Address("Fleet", "b"))
SIZES = st.lists(
    st.integers(1, 5) | st.integers(1, 100).map(lambda number: f"{number}%"),
    min_size=1,
    max_size=4,
)
ONE = st.tuples(
    st.sampled_from([Action.CREATE, Action.UPDATE, Action.DELETE]),
    st.sampled_from([None, *FLEETS]),
    st.integers(0, 1),
    st.none() | st.integers(0, 11),
)


def make_step(number: int, said: tuple[Action, Address | None, int, int | None], item: int) -> Step:
    action, fleet, wave, maker = said
    # What is destroyed may have no item any more.
    known = fleet is not None and (action is not Action.DELETE or item % 2)
    made = maker is not None and maker != number and action is not Action.DELETE
    return Step(
        resource=Resource(Address("S", f"s{number:02}"), f"/x/s{number:02}"),
        action=action,
        changes=(),
        ops=(),
        inverse=(),
        before=ABSENT,
        after=ABSENT,
        source=CloneSource(f"/X/s{maker:02}", "") if made else None,
        wave=wave,
        fleet=fleet,
        member=Member(fleet, item, SourceLocation("items.csv", item + 1, 1))
        if fleet and known
        else None,
    )


@given(sizes=SIZES, total=st.integers(0, 200))
def test_waves_are_as_large_as_was_asked_and_never_empty(sizes: list[Any], total: int) -> None:
    found = split(sizes, total)
    assert sum(found) == total
    assert all(size > 0 for size in found)
    assert len(found) <= len(sizes)
    ends = list(itertools.accumulate(found))[:-1]
    asked = {
        size if isinstance(size, int) else max(1, math.ceil(int(size[:-1]) * total / 100))
        for size in sizes[:-1]
    }
    assert set(ends) <= asked


@given(
    said=st.lists(ONE, min_size=4, max_size=12),
    sizes=st.tuples(SIZES, SIZES),
    order=st.permutations(range(12)),
    items=st.permutations(range(1, 13)),
)
def test_no_stage_contradicts_the_order_of_steps(
    said: list[Any], sizes: tuple[list[Any], list[Any]], order: list[int], items: list[int]
) -> None:
    steps = [
        make_step(number, one, item)
        for number, (one, item) in enumerate(zip(said, items, strict=False))
    ]
    shuffled = [steps[number] for number in order if number < len(steps)]
    rollouts = [Rollout(fleet, tuple(given)) for fleet, given in zip(FLEETS, sizes, strict=True)]
    staged = assign_stages(steps, rollouts)

    assert sorted(assign_stages(shuffled, rollouts), key=by_address) == staged
    assert all(step.stage == 0 for step in staged if step.fleet is None)
    for rollout in rollouts:
        members = [step for step in staged if step.fleet == rollout.fleet]
        coming = [step for step in members if step.action is not Action.DELETE]
        filled = Counter(step.stage for step in members)
        expected = split(rollout.sizes, len(coming))
        expected += split(rollout.sizes, len(members) - len(coming))
        assert [filled[stage] for stage in sorted(filled)] == list(expected)
        assert sorted(filled) == list(range(len(filled)))
        # As steps are begun: never a later stage before an earlier one.
        begun = [
            sorted(step.stage for step in wave.steps if step.fleet == rollout.fleet)
            for wave in arrange(staged)
        ]
        flat = [stage for wave in begun for stage in wave]
        assert flat == sorted(flat)
        check_items(coming)
        check_items([step for step in members if step not in coming], backwards=True)


def by_address(step: Step) -> Address:
    return step.resource.address


def check_items(members: list[Step], *, backwards: bool = False) -> None:
    """Of two members that nothing else tells apart, the one whose turn is first is not later."""
    for one, other in itertools.permutations(members, 2):
        first, second = (step.member.number if step.member else math.inf for step in (one, other))
        alike = one.wave == other.wave and one.source is other.source is None
        if alike and first < second:
            assert one.stage >= other.stage if backwards else one.stage <= other.stage
