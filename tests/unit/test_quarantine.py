"""Which changes of watch do not hold, by the entries of the ledger."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from reconciler.model import ABSENT, Action, Entry, Json, Step, StepResult
from reconciler.plans.quarantine import count_repeats, name_author
from reconciler.text.times import format_utc
from tests.events import CENSUS

LOOP = name_author("ana")
SAME: Json = {"op": "replace", "path": "/properties/description", "value": "ours"}
OTHER: Json = {"op": "replace", "path": "/properties/description", "value": "another"}
START = datetime.fromisoformat("2026-11-30T03:00:00Z")


def step(*ops: Json) -> Step:
    return Step(CENSUS, Action.UPDATE, (), ops, (), ABSENT, ABSENT)


def entries(*given: dict[str, Any], every: timedelta = timedelta(minutes=10)) -> list[Entry]:
    """Entries of one resource, at equal times from one another."""
    first = Entry(
        CENSUS.id,
        "",
        LOOP,
        "",
        owned={},
        address=CENSUS.address,
        action=Action.UPDATE,
        host="",
        patch=({"op": "test", "path": "/x", "value": 1}, SAME),
        inverse=(),
        result=StepResult.DONE,
    )
    return [
        replace(first, at=format_utc(START + every * number), **one)
        for number, one in enumerate(given)
    ]


def test_the_same_value_counts_each_time() -> None:
    assert count_repeats(step(SAME), []) == 0
    assert count_repeats(step(SAME), entries({}, {}, {})) == 3
    assert count_repeats(step({**SAME, "op": "add"}), entries({}, {})) == 2
    assert count_repeats(step(OTHER), entries({}, {}, {})) == 0


def test_what_another_writes_does_not_end_a_count() -> None:
    # It writes another value each time, or at another place in between.
    elsewhere = {"patch": ({"op": "replace", "path": "/tags/a", "value": "b"},)}
    assert count_repeats(step(SAME), entries({}, elsewhere, {}, elsewhere)) == 2


def test_a_value_that_held_until_the_manifest_declared_another_one_ends_a_count() -> None:
    # By day and by night: each change finds what the one before it has written.
    by_day = {"patch": ({**OTHER, "op": "test"}, SAME)}
    by_night = {"patch": ({**SAME, "op": "test"}, OTHER)}
    flips = entries(*[by_day, by_night] * 4)
    assert count_repeats(step({**OTHER, "op": "test"}, SAME), flips) == 0
    # Somebody wrote in between each time, so neither value holds.
    fought = {"patch": ({**SAME, "op": "test", "value": "theirs"}, OTHER)}
    theirs = {**SAME, "op": "test", "value": "theirs"}
    assert count_repeats(step(theirs, SAME), entries(*[{}, fought] * 3)) == 3


def test_a_value_that_does_not_hold_counts_beside_one_that_does() -> None:
    held = {"op": "test", "path": "/tags/a", "value": "b"}
    tag = {"op": "replace", "path": "/tags/a", "value": "b"}
    lost = {**SAME, "op": "test", "value": "theirs"}
    both = {"patch": (lost, held, SAME, tag)}
    assert count_repeats(step(lost, held, SAME, tag), entries(both, both, both)) == 3


def test_a_person_ends_a_count() -> None:
    assert count_repeats(step(SAME), entries({}, {}, {"by": "ana"})) == 0
    assert count_repeats(step(SAME), entries({}, {}, {"by": "ana"}, {})) == 1


def test_a_change_that_was_not_made_does_not_count() -> None:
    failed = {"result": StepResult.NOT_DONE}
    assert count_repeats(step(SAME), entries({}, failed, {})) == 2


def test_a_change_that_held_for_a_week_ends_a_count() -> None:
    assert count_repeats(step(SAME), entries({}, {}, {}, every=timedelta(days=6))) == 3
    assert count_repeats(step(SAME), entries({}, {}, {}, every=timedelta(days=8))) == 1


def test_another_test_of_the_same_value_is_not_a_write() -> None:
    tests = {"patch": ({**SAME, "op": "test"},)}
    assert count_repeats(step(SAME), entries(tests, tests, tests)) == 0
