"""What became of a step is told by live alone, over documents made from the schema itself."""

import copy
import random
from datetime import UTC, datetime

from hypothesis import assume, given
from hypothesis import strategies as st

from reconciler.document.diff import diff
from reconciler.document.overlay import says_nothing
from reconciler.document.patch import apply_operations
from reconciler.document.pointers import find
from reconciler.document.schema import Field
from reconciler.model import (
    ABSENT,
    Absent,
    Address,
    Declared,
    Intent,
    Json,
    Live,
    Path,
    Resource,
    Step,
    StepResult,
)
from reconciler.plans.evidence import assess_intent
from reconciler.plans.step import Comparison, make_step_to
from tests.ledgers import make_intent
from tests.property.documents import respell
from tests.property.test_diff_laws import FIELDS, lives, pytestmark

RESOURCE = Resource(Address("WebService", "census"), "/x/census")
__all__ = ["pytestmark"]


def step_between(field: Field, one: Json, other: Json) -> Step:
    step = make_step_to(Comparison(RESOURCE, field, one, Declared({})), other)
    assume(step is not None)
    assert step is not None
    return step


def intent_of(step: Step) -> Intent:
    return make_intent(
        action=step.action, patch=step.ops, absences=step.absences, body=step.body, stamp="1"
    )


def seen(document: Json | Absent, stamp: str = "1") -> Live | Absent:
    if document is ABSENT:
        return ABSENT
    return Live(document, {}, datetime.now(UTC), stamp, idle=True)


@FIELDS
@given(data=st.data())
def test_what_is_live_as_it_was_wanted_is_done(field: Field, data: st.DataObject) -> None:
    one, other, seed = data.draw(lives(field)), data.draw(lives(field)), data.draw(st.integers())
    step = step_between(field, one, other)
    after = apply_operations((op for op in step.ops if op["op"] != "test"), one)
    spelled = respell(field, after, random.Random(seed))
    assert (
        assess_intent(field, intent_of(step), seen(spelled, "2")).result is not StepResult.NOT_DONE
    )


@FIELDS
@given(data=st.data())
def test_what_is_live_as_it_was_is_not_done(field: Field, data: st.DataObject) -> None:
    one, other = data.draw(lives(field)), data.draw(lives(field))
    step = step_between(field, one, other)
    assert (
        assess_intent(field, intent_of(step), seen(copy.deepcopy(one))).result
        is StepResult.NOT_DONE
    )


@FIELDS
@given(data=st.data())
def test_what_is_called_done_differs_nowhere_that_can_be_seen(
    field: Field, data: st.DataObject
) -> None:
    one, other, part = data.draw(lives(field)), data.draw(lives(field)), data.draw(st.floats(0, 1))
    step = step_between(field, one, other)
    changing = [op for op in step.ops if op["op"] != "test"]
    half = apply_operations(changing[: round(part * len(changing))], one)
    after = apply_operations(changing, one)
    wrong = [change.path for change in diff(field, half, after)]
    if assess_intent(field, intent_of(step), seen(half, "2")).result is StepResult.DONE:
        assert [path for path in wrong if not is_nothing(field, half, after, path)] == []


def is_nothing(field: Field, half: Json, after: Json, path: Path) -> bool:
    """Whether a difference is between one nothing and another, or cannot be seen."""
    below = field.at(path)
    return below.write_only or all(
        says_nothing(below, find(document, path)) for document in (half, after)
    )
