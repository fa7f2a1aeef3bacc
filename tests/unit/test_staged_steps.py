"""A step of several writes: in order, with pauses and checks, and whole whatever ends it."""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import replace

import pytest

from reconciler.document.schema import compile_schema
from reconciler.engine.applying.journal import Author
from reconciler.engine.applying.recover import recover_intents
from reconciler.engine.planning.plan import make_plan
from reconciler.engine.rollback import plan_rollback
from reconciler.errors import StalePlan, Unavailable, Unplannable
from reconciler.model import (
    ABSENT,
    Change,
    CheckEnded,
    Finding,
    Json,
    Manifest,
    Outcome,
    Plan,
    RevertStarted,
    Step,
    StepFailed,
    StepHalted,
    StepSkipped,
    Verb,
    WriteDelayed,
    WriteDone,
    WriteStarted,
)
from reconciler.plans.plan_file import digest_of_plan, plan_document, read_plan
from reconciler.plans.undo import undo
from reconciler.render.plan.rows import FULL, make_rows
from reconciler.text.json_text import canonical
from tests.ledgers import make_entry
from tests.unit.mixer import MIXER, Desk, Killed, open_desk
from tests.unit.test_engine import LOCK_OWNER

WRITES = ["member green", "green gets 10 %", "green gets 50 %", "green gets 100 %", "remove blue"]
SENT = [
    "put green",
    "weights {'blue': 90, 'green': 10}",
    "weights {'blue': 50, 'green': 50}",
    "weights {'green': 100}",
    "drop blue",
]
SHORT = {"steps": [10, 50], "pause_s": 1.0, "keep_s": 3.0, "probe": True}
CHECKED = ["green answers", "shares of 10", "shares of 50", "shares of 100"]


def plan_of(desk: Desk) -> Plan:
    return make_plan(desk.runtime(), desk.request)


def run(desk: Desk, **policy: Json) -> tuple[Plan, Outcome]:
    plan = plan_of(desk)
    return plan, desk.apply(plan, **policy)


def test_a_plan_has_the_writes_of_its_steps() -> None:
    plan = plan_of(open_desk())
    (step,) = plan.steps
    assert [one.title for one in step.writes] == WRITES
    assert [one.wait_s for one in step.writes] == [0.0, 0.0, 60.0, 60.0, 600.0]
    assert step.strategy == {"steps": [10, 50], "pause_s": 60.0, "keep_s": 600.0, "probe": True}
    text = canonical(plan_document(plan))
    assert canonical(plan_document(read_plan(text)[0])) == text


def test_each_write_is_sent_in_its_turn_after_its_pause_and_its_checks() -> None:
    desk = open_desk()
    _, outcome = run(desk)
    assert [str(one) for one in outcome.changed] == ["Mixer/a"]
    assert outcome.failures == ()
    assert desk.sent == SENT
    assert desk.checked == CHECKED
    assert desk.slept_s == pytest.approx(720.0, abs=0.5)
    assert desk.documents[MIXER.id]["members"] == {"green": {"image": "two", "size": 1}}
    assert desk.list_parts() == [(n, 5, title) for n, title in enumerate(WRITES, start=1)]
    assert len({entry.step_digest for entry in desk.kept}) == 1
    assert plan_of(desk).steps == ()


def test_events_report_each_write_each_pause_and_each_check() -> None:
    desk = open_desk()
    run(desk)
    done = [one for one in desk.events if isinstance(one, WriteDone)]
    assert [(one.number, one.title) for one in done] == list(enumerate(WRITES, start=1))
    assert len([one for one in desk.events if isinstance(one, WriteStarted)]) == 5
    pauses = [one for one in desk.events if isinstance(one, WriteDelayed)]
    assert [(one.number, one.seconds) for one in pauses] == [(3, 60.0), (4, 60.0), (5, 600.0)]
    checks = [one for one in desk.events if isinstance(one, CheckEnded)]
    assert [(one.title, one.passed, one.seen) for one in checks] == [
        (title, True, "3 of 3 calls") for title in CHECKED
    ]


def test_the_checks_that_passed_are_recorded() -> None:
    desk = open_desk()
    run(desk)
    (fact,) = desk.ledger.facts("checks")
    assert (fact.subject, fact.data["passed"], fact.data["part"]) == ("Mixer/a", True, 5)


@pytest.mark.parametrize(
    ("check", "sent", "back"),
    [
        ("green answers", SENT[:1], ["drop green"]),
        ("shares of 10", SENT[:2], ["weights {'blue': 100}", "drop green"]),
        ("shares of 100", SENT[:4], ["weights {'blue': 100}", "drop green"]),
    ],
)
def test_a_failed_check_reverts_the_step_and_says_what_it_saw(
    check: str, sent: list[str], back: list[str]
) -> None:
    desk = open_desk()
    before = copy.deepcopy(desk.documents)
    desk.failing.add(check)
    _, outcome = run(desk)
    assert desk.sent == [*sent, *back]
    assert desk.documents == before
    (failure,) = outcome.failures
    assert (failure.message, failure.subject) == ("answer 2 has 0.2 for 0.9", "Mixer/a")
    assert failure.detail == ("status 200", "log: oops")
    titles = [one.title for one in desk.kept if one.part == 0]
    done = f"{len(sent)} of 5 writes {'was' if len(sent) == 1 else 'were'} done."
    assert failure.next_step == (
        f"{done} Then it was reverted: {'; '.join(titles)}. Correct the cause, then apply again."
    )
    (fact,) = desk.ledger.facts("checks")
    assert (fact.data["passed"], fact.data["check"]) == (False, check)
    assert [one.writes for one in desk.events if isinstance(one, RevertStarted)] == [len(back)]
    assert desk.list_parts()[len(sent) :] == [(0, 5, title) for title in titles]


@pytest.mark.parametrize(
    ("broken", "back"),
    [("put green", ["drop green"]), (SENT[1], ["weights {'blue': 100}", "drop green"])],
)
def test_a_write_whose_operation_fails_is_reverted_too(broken: str, back: list[str]) -> None:
    desk = open_desk()
    before = copy.deepcopy(desk.documents)
    desk.breaking.add(broken)
    _, outcome = run(desk)
    (failure,) = outcome.failures
    assert failure.message == "the operation failed"
    number = SENT.index(broken)
    assert f"{number} of 5 writes w" in failure.next_step
    assert "Then it was reverted: " in failure.next_step
    assert desk.sent == [*SENT[: number + 1], *back]
    assert desk.documents == before


def test_a_removal_that_fails_takes_nothing_back() -> None:
    desk = open_desk()
    desk.breaking.add("drop blue")
    _, outcome = run(desk)
    (failure,) = outcome.failures
    assert failure.next_step.startswith("4 of 5 writes were done. Write 5 of 5: ")
    assert desk.sent == SENT
    assert desk.documents[MIXER.id]["weights"] == {"green": 100}


def test_a_failed_check_can_keep_what_is_new() -> None:
    desk = open_desk(strategy={"probe": True, "on_failure": "keep"})
    desk.failing.add("green answers")
    _, outcome = run(desk)
    assert desk.sent == ["put green"]
    assert "Then it was reverted" not in outcome.failures[0].next_step
    assert desk.documents[MIXER.id]["weights"] == {"blue": 100}


def test_a_check_that_is_made_again_after_a_correction_passes() -> None:
    desk = open_desk()
    desk.failing.add("shares of 10")
    run(desk)
    (warning,) = [one for one in plan_of(desk).findings if one.severity == "warning"]
    assert warning.message == (
        "the last change of it, at 2026-11-20T12:00:00Z, failed a check:"
        " shares of 10: answer 2 has 0.2 for 0.9"
    )
    desk.failing.clear()
    _, outcome = run(desk)
    assert outcome.failures == ()
    assert desk.ledger.load().facts["checks", "Mixer/a"].data["passed"] is True
    desk.documents[MIXER.id]["weights"] = {}
    assert plan_of(desk).findings == ()


def test_a_revert_that_fails_is_reported() -> None:
    desk = open_desk()
    desk.failing.add("shares of 10")
    plan = plan_of(desk)
    desk.refuses_after = 2
    (failure,) = desk.apply(plan).failures
    assert failure.message == "answer 2 has 0.2 for 0.9"
    assert "2 of 5 writes were done. Reverting failed: no such image." in failure.next_step


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("saved", [False, True])
def test_killed_at_any_call_it_goes_on_and_sends_nothing_twice(*, saved: bool, after: bool) -> None:
    total = open_desk(strategy=SHORT)
    run(total)
    for number in range(1, total.calls + 1):
        desk = open_desk(strategy=SHORT)
        desk.dies_at, desk.dies_after = number, after
        plan = plan_of(desk) if number > 1 else None
        digest = digest_of_plan(plan) if plan is not None else ""
        try:
            if plan is not None:
                desk.apply(plan, digest)
        except Killed:
            assert_whole(desk)
        desk.dies_at = 0
        recover(desk)
        again = plan if saved and plan is not None else plan_of(desk)
        slept_s = desk.slept_s
        if again.steps:
            outcome = desk.apply(again, digest if saved else "sha256:again")
            assert outcome.failures == (), number
        assert desk.sent == SENT, number
        assert desk.slept_s <= slept_s + 5.6
        assert plan_of(desk).steps == ()
        assert set(CHECKED) <= set(desk.checked), number


def recover(desk: Desk) -> None:
    desk.ledger.lock_owner = None
    author = Author("ci", "builder", "4f1c2aa", "")
    with desk.ledger.lock(LOCK_OWNER, 0.0, desk.emit) as lease:
        recover_intents(desk.runtime(), author, lease, 10.0)


def assert_whole(desk: Desk) -> None:
    document = desk.documents[MIXER.id]
    assert sum(document["weights"].values()) == 100
    assert set(document["weights"]) <= set(document["members"])


def test_a_pause_counts_from_the_last_recorded_write() -> None:
    desk = open_desk()
    plan = plan_of(desk)
    desk.halts_after = "green gets 10 %"
    desk.apply(plan, "sha256:1")
    desk.halted, desk.halts_after = "", ""
    desk.slept_s += 45.0
    before = desk.slept_s
    outcome = desk.apply(plan, "sha256:1")
    assert outcome.failures == ()
    assert desk.slept_s - before == pytest.approx(15.0 + 60.0 + 600.0, abs=0.5)


def test_a_pause_of_a_clock_that_is_ahead_lasts_at_most_as_declared() -> None:
    desk = open_desk()
    plan = plan_of(desk)
    desk.halts_after = "green gets 10 %"
    desk.apply(plan, "sha256:1")
    desk.halted, desk.halts_after = "", ""
    desk.slept_s -= 3600.0
    before = desk.slept_s
    desk.apply(plan, "sha256:1")
    assert desk.slept_s - before == pytest.approx(720.0, abs=0.5)


@pytest.mark.parametrize("title", [*WRITES[:4], "green answers"])
def test_an_interruption_ends_between_two_writes(title: str) -> None:
    desk = open_desk()
    plan = plan_of(desk)
    desk.halts_after = title
    outcome = desk.apply(plan, "sha256:1")
    (unfinished,) = outcome.unfinished
    halted = next(one for one in desk.events if isinstance(one, StepHalted))
    assert (outcome.changed, outcome.failures, outcome.not_started) == ((), (), ())
    assert unfinished.message == f"stopped after {halted.done} of 5 writes"
    assert not [one for one in desk.events if isinstance(one, StepFailed)]
    assert_whole(desk)
    desk.halted, desk.halts_after = "", ""
    assert desk.apply(plan, "sha256:1").changed
    assert desk.sent == SENT


def test_a_write_that_fails_says_how_many_were_done_before() -> None:
    desk = open_desk()
    plan = plan_of(desk)
    desk.refuses_after = 1
    (failure,) = desk.apply(plan).failures
    assert failure.message == "no such image"
    assert failure.next_step == (
        "1 of 5 writes was done. Write 2 of 5: nothing was changed: live is as it was before."
    )


def test_with_rollback_the_writes_of_a_step_that_failed_are_undone() -> None:
    desk = open_desk()
    before = copy.deepcopy(desk.documents)
    plan = plan_of(desk)
    desk.refusing.add("blue")
    outcome = desk.apply(plan, on_failure="rollback")
    assert outcome.failures[0].message == "no such image"
    assert desk.documents == before
    assert desk.sent == [*SENT[:4], "weights {'blue': 100}", "drop green"]


def test_a_stranger_who_moves_the_weights_stops_the_step() -> None:
    desk = open_desk()
    plan = plan_of(desk)
    real = desk.sleep

    def sleep(seconds: float) -> None:
        real(seconds)
        desk.documents[MIXER.id]["weights"] = {"green": 30, "blue": 70}

    desk.sleep = sleep  # type: ignore[method-assign]
    (failure,) = desk.apply(plan).failures
    assert "/weights/" in failure.message
    assert "has changed" in failure.message
    assert desk.documents[MIXER.id]["weights"] == {"green": 30, "blue": 70}


def test_a_saved_plan_of_which_a_stranger_has_moved_the_rest_is_stale() -> None:
    desk = open_desk()
    plan = plan_of(desk)
    desk.halts_after = "green gets 10 %"
    desk.apply(plan, "sha256:1")
    desk.halted, desk.halts_after = "", ""
    desk.documents[MIXER.id]["weights"] = {"green": 30, "blue": 70}
    with pytest.raises(StalePlan, match="/weights/blue has changed"):
        desk.apply(plan, "sha256:1")


def test_a_plan_from_where_a_step_has_ended_has_only_the_rest() -> None:
    desk = open_desk()
    desk.halts_after = "green gets 10 %"
    desk.apply(plan_of(desk))
    desk.halted, desk.halts_after = "", ""
    (step,) = plan_of(desk).steps
    assert [one.title for one in step.writes] == WRITES[2:]


def test_one_write_with_a_pause_is_sent_after_it() -> None:
    desk = open_desk()
    desk.halts_after = "green gets 100 %"
    desk.apply(plan_of(desk))
    desk.halted, desk.halts_after = "", ""
    before = desk.slept_s
    _, outcome = run(desk)
    assert outcome.failures == ()
    assert desk.sent == SENT
    assert desk.slept_s - before == pytest.approx(600.0, abs=0.5)


def test_a_wrong_split_is_refused_before_the_first_write() -> None:
    desk = open_desk()
    desk.kind.wrong = True
    with pytest.raises(Unplannable) as found:
        plan_of(desk)
    assert "the last write does not leave what is planned" in found.value.findings()[0].message


def test_a_new_resource_is_made_in_several_writes() -> None:
    desk = Desk()
    desk.declare({"note": "n", "members": {"blue": {"image": "one"}}, "weights": {"blue": 100}})
    _, outcome = run(desk)
    assert [str(one) for one in outcome.added] == ["Mixer/a"]
    assert desk.sent == ["settings", "put blue", "weights {'blue': 100}"]
    assert plan_of(desk).steps == ()


def test_a_secret_is_sent_with_the_write_of_its_place_and_not_again() -> None:
    desk = open_desk(secrets={"/members/green/key": {"env": "KEY", "version": "v1"}})
    _, outcome = run(desk)
    assert outcome.failures == ()
    assert desk.sent == ["put green with KEY", *SENT[1:]]
    assert desk.ledger.load().last_applied_by_address[MIXER.address].secrets == {
        "/members/green/key": "v1"
    }
    assert plan_of(desk).steps == ()
    desk.wanted["secrets"] = {"/members/green/key": {"env": "KEY", "version": "v2"}}
    desk.sent.clear()
    run(desk)
    assert desk.sent == ["put green with KEY"]


def test_a_rollback_undoes_all_writes_of_the_last_step() -> None:
    desk = open_desk(strategy={"steps": [10], "probe": True})
    before = copy.deepcopy(desk.documents)
    run(desk)
    rollback = plan_rollback(desk.runtime(), desk.request, MIXER.address)
    (step,) = rollback.steps
    assert step.strategy is None
    assert [one.title for one in step.writes] == ["member blue", "blue gets 100 %", "remove green"]
    desk.apply(rollback)
    assert desk.documents == before


def test_a_rollback_of_a_step_that_was_interrupted_undoes_what_it_did() -> None:
    desk = open_desk()
    before = copy.deepcopy(desk.documents)
    run(desk)
    blue = copy.deepcopy(desk.documents)
    desk.declare(
        {"members": {"blue": {"image": "one"}}, "weights": {"blue": 100}}, remove=["green"]
    )
    desk.halts_after = "blue gets 100 %"
    desk.apply(plan_of(desk), "sha256:2")
    desk.halted, desk.halts_after = "", ""
    desk.apply(plan_of(desk), "sha256:3")
    assert desk.documents == before
    desk.apply(plan_rollback(desk.runtime(), desk.request, MIXER.address))
    assert desk.documents == blue


class Clerk(Desk):
    """A service that is asked what a step refers to."""

    answer: Exception | None = None

    def check_references(self, manifest: Manifest, step: Step) -> Iterator[Finding]:
        if self.answer is not None:
            raise self.answer
        for name, member in step.after["members"].items():
            if member["image"] == "two":
                place = manifest.place(f"/spec/definition/members/{name}")
                yield Finding("the image two does not exist", subject="Mixer/a", place=place)


def test_what_a_step_refers_to_must_exist_before_the_first_write() -> None:
    desk = Clerk(documents=open_desk().documents)
    desk.wanted = open_desk().wanted
    with pytest.raises(Unplannable) as found:
        plan_of(desk)
    (finding,) = found.value.findings()
    assert (finding.message, str(finding.place)) == ("the image two does not exist", "a.yaml:1:1")
    desk.answer = Unavailable("no answer", next_step="Try again.")
    with pytest.raises(Unplannable, match="could not be looked up: no answer"):
        plan_of(desk)
    plan = make_plan(desk.runtime(), replace(desk.request, refresh="none"))
    assert plan.steps


def test_a_share_of_zero_that_the_service_does_not_show_can_be_undone() -> None:
    share = {"type": "integer", "description": "Percent.", "x-server-default": 0}
    field = compile_schema(
        {
            "type": "object",
            "description": "Shares.",
            "properties": {
                "shares": {"type": "object", "description": "All.", "additionalProperties": share}
            },
        }
    )
    entry = make_entry(
        patch=({"op": "replace", "path": "/shares/blue", "value": 0},),
        inverse=({"op": "replace", "path": "/shares/blue", "value": 100},),
    )
    assert undo(field, [entry], {"shares": {}}) == ({"shares": {"blue": 100}}, ())
    moved = replace(entry, patch=({**entry.patch[0], "value": 5},))
    _, misfits = undo(field, [moved], {"shares": {}})
    assert [one.why for one in misfits] == ["the place does not exist any more"]


def test_what_is_shown_of_a_large_removal_is_its_size() -> None:
    member = {"image": "one", **{f"x{number}": number for number in range(20)}}
    removal = Change(("members", "blue"), Verb.REMOVE, member, ABSENT)
    step = plan_of(open_desk()).steps[0].copy_with(changes=(removal,), reasons=())
    rows, _ = make_rows(step, FULL)
    assert [(row.sign, row.name, row.said) for row in rows] == [
        ("-", "members.blue", "(21 attributes)")
    ]


def test_a_saved_plan_that_is_done_is_done_though_the_service_has_filled_in_values() -> None:
    desk = open_desk()
    plan = plan_of(desk)
    desk.apply(plan, "sha256:1")
    sent = len(desk.sent)
    outcome = desk.apply(plan, "sha256:1")
    assert (outcome.changed, len(desk.sent)) == ((), sent)
    (skipped,) = [one for one in desk.events if isinstance(one, StepSkipped)]
    assert skipped.reason == "this plan has already done it"
    desk.documents[MIXER.id]["members"]["green"]["image"] = "three"
    with pytest.raises(StalePlan, match="image has changed since this plan wrote it"):
        desk.apply(plan, "sha256:1")


def open_new() -> Desk:
    """A manifest of a mixer that does not exist yet."""
    desk = Desk()
    desk.declare(
        {"note": "n", "members": {"blue": {"image": "one"}}, "weights": {"blue": 100}},
        strategy={"probe": True},
    )
    return desk


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("saved", [False, True])
def test_a_creation_that_is_killed_at_any_call_goes_on_too(*, saved: bool, after: bool) -> None:
    total = open_new()
    run(total)
    for number in range(2, total.calls + 1):
        desk = open_new()
        plan = plan_of(desk)
        desk.calls, desk.dies_at, desk.dies_after = 0, number, after
        with contextlib.suppress(Killed):
            desk.apply(plan, "sha256:1")
        desk.dies_at = 0
        recover(desk)
        again = plan if saved else plan_of(desk)
        outcome = desk.apply(again, "sha256:1" if saved else "sha256:2")
        assert outcome.failures == (), number
        assert desk.sent == total.sent, number
        assert plan_of(desk).steps == ()
