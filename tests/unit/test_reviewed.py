"""Which plan may be applied after a merge: one whose every step was reviewed."""

import pytest

from reconciler.model import Action, Plan
from reconciler.plans.changes_digest import digest_of_changes, digest_of_one
from reconciler.plans.reviewed import (
    MOST_STEPS,
    Reviewed,
    ReviewResult,
    compare_reviewed,
    describe_changes,
    is_start_of,
    mark_applied,
    read_reviewed,
    write_reviewed,
)
from tests.plans import NEW, live, step
from tests.plans import plan as a_plan

TREE = "a" * 40


def plan_of(*names: str) -> Plan:
    spec = {"trainedModels": {"Census Model [trained model]": {"uri": NEW}}}
    return a_plan(*(step(live(), spec, name=name) for name in names))


def review(plan: Plan, request: str = "#1") -> Reviewed:
    return read_reviewed(request, digest_of_changes(plan), write_reviewed(plan, TREE))


def test_a_record_is_read_back() -> None:
    plan = plan_of("a", "b")
    found = review(plan)
    assert found.tree == TREE
    assert set(found.steps or ()) == {digest_of_one(one) for one in plan.steps}


def test_the_same_changes_were_reviewed() -> None:
    assert compare_reviewed(plan_of("a", "b"), [review(plan_of("a", "b"))]) == ReviewResult()


def test_two_requests_together_are_the_union() -> None:
    both = [review(plan_of("a")), review(plan_of("b", "c"), "#2")]
    assert compare_reviewed(plan_of("a", "b", "c"), both).is_reviewed
    found = compare_reviewed(plan_of("a", "b", "d"), both)
    assert [str(one.resource.address) for one in found.unreviewed] == ["WebService/d"]
    assert found.gone == 1


def test_a_review_gives_leave_once() -> None:
    plan = plan_of("a")
    body = f"{write_reviewed(plan, TREE)}\nA plan.\n"
    applied = mark_applied(body)
    assert mark_applied(applied) == applied
    assert applied.partition("\n")[2] == "A plan.\n"
    found = read_reviewed("#1", digest_of_changes(plan), applied)
    assert found.applied
    assert found.tree == TREE
    assert not compare_reviewed(plan, [found]).is_reviewed
    assert not read_reviewed("#1", digest_of_changes(plan), body).applied


def test_an_applied_request_beside_another_gives_no_leave() -> None:
    applied, other = plan_of("a"), plan_of("b")
    body = mark_applied(write_reviewed(applied, TREE))
    both = [read_reviewed("#1", digest_of_changes(applied), body), review(other, "#2")]
    found = compare_reviewed(plan_of("a", "b"), both)
    assert [str(one.resource.address) for one in found.unreviewed] == ["WebService/a"]
    assert compare_reviewed(other, both).is_reviewed


@pytest.mark.parametrize("body", ["", "text", "<!-- reconciler reviewed untouched -->\ntext"])
def test_nothing_else_is_marked(body: str) -> None:
    assert mark_applied(body) == body


def test_what_is_done_already_does_not_forbid_the_rest() -> None:
    found = compare_reviewed(plan_of("a"), [review(plan_of("a", "b"))])
    assert found.is_reviewed
    assert found.gone == 1


def test_a_plan_without_steps_needs_no_review() -> None:
    assert compare_reviewed(plan_of(), []).is_reviewed
    assert compare_reviewed(plan_of(), [Reviewed("#1", "sha256:0")]).is_reviewed


def test_nothing_reviewed_refuses_every_step() -> None:
    assert len(compare_reviewed(plan_of("a", "b"), []).unreviewed) == 2


def test_without_single_steps_only_the_whole_counts() -> None:
    plan = plan_of("a")
    whole = Reviewed("#1", digest_of_changes(plan))
    assert compare_reviewed(plan, [whole]).is_reviewed
    assert compare_reviewed(plan, [whole, Reviewed("#2", "sha256:0")]).is_reviewed
    found = compare_reviewed(plan_of("a", "b"), [whole])
    assert found.unknown
    assert not found.is_reviewed


def test_the_steps_of_a_long_plan_are_not_listed() -> None:
    plan = plan_of(*(f"s{number}" for number in range(MOST_STEPS + 1)))
    assert "steps=many" in write_reviewed(plan, "")
    assert review(plan).steps is None
    assert compare_reviewed(plan, [review(plan)]).is_reviewed


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<!-- reconciler reviewed tree=x steps=- -->",
        "<!-- reconciler reviewed tree=- steps=0123 -->",
        f"text\n<!-- reconciler reviewed tree={TREE} steps=0123456789abcdef -->",
        f"<!-- reconciler reviewed tree={TREE} steps=0123456789abcdeg -->",
    ],
)
def test_no_other_line_is_a_record(body: str) -> None:
    assert read_reviewed("#1", "sha256:0", body) == Reviewed("#1", "sha256:0")


def test_a_status_names_the_counts_and_the_digest() -> None:
    plan = plan_of("a", "b")
    said = describe_changes(plan)
    assert said == f"2 to change · {digest_of_changes(plan)[:23]}"
    assert is_start_of(said, digest_of_changes(plan)) is True
    assert is_start_of(said, digest_of_changes(plan_of("a"))) is False
    assert is_start_of("planning", digest_of_changes(plan)) is None
    assert len(said) < 140


def test_each_action_has_a_word() -> None:
    plan = plan_of("a")
    for action in Action:
        changed = a_plan(plan.steps[0].copy_with(action=action))
        assert describe_changes(changed).startswith("1 to ")
    assert describe_changes(a_plan()).startswith("no changes · ")
