"""An apply over a service that lies, breaks off and is busy, and over a journal that was cut off."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from reconciler.engine.applying.apply import FailurePolicy
from reconciler.engine.applying.recover import recover_intents
from reconciler.engine.planning.plan import make_plan
from reconciler.errors import (
    Busy,
    LedgerConflict,
    LedgerInvalid,
    OperationFailed,
    ReconcilerError,
    Rejected,
    ReplyLost,
    ServiceError,
    StalePlan,
    StillRunning,
    Throttled,
    TooManyCalls,
    Unavailable,
    Unplannable,
)
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Cause,
    Event,
    IntentResolved,
    Json,
    Live,
    Plan,
    Reason,
    Resource,
    RollbackStarted,
    Step,
    StepDoubted,
    StepResult,
    StepSkipped,
    WaveStarted,
)
from reconciler.plans.step import make_removal
from tests.unit.test_engine import AUTHOR, LOCK_OWNER, NEW, OLD, World, carry_out, make_request

URI = "/properties/assets/asset3/locationInfo/uri"
LOST = ReplyLost("the answer broke off")
LOOK = "Plan again to see what is live."


@dataclass
class Liar(World):
    """A service whose writes go as `script` says, one word a write: see `_write`."""

    script: dict[str, list[str]] = field(default_factory=dict)
    stale_reads: int = 0
    behind: dict[str, Json | Absent] = field(default_factory=dict)
    settled_for: list[str] = field(default_factory=list)
    running: Exception | None = None

    def read(self, resource: Resource) -> Live | Absent:
        name = resource.short_id
        if self.stale_reads > 0 and name in self.behind:
            self.stale_reads -= 1
            now, self.documents = self.documents, {**self.documents, name: self.behind[name]}
            if self.behind[name] is ABSENT:
                del self.documents[name]
            try:
                return super().read(resource)
            finally:
                self.documents = now
        return super().read(resource)

    def wait_until_idle(self, resource: Resource) -> Iterator[None]:
        self.settled_for.append(resource.short_id)
        if self.running is not None:
            raise self.running
        yield

    def write(self, step: Step, live: Live | Absent, resolve: Any) -> Iterator[None]:
        name = step.resource.short_id
        words = self.script.get(name, [])
        word = words.pop(0) if words else "done"
        self.behind[name] = copy.deepcopy(self.documents.get(name, ABSENT))
        if word in {"done", "lost-reply", "lags", "still-running", "done-and-failed"}:
            yield from super().write(step, live, resolve)
            self.stale_reads = 3 if word == "lags" else 0
        else:
            self.written.append((name, Action.FORGET))
        if word in {"failed", "rejected-later", "throttled-later", "cut-short"}:
            yield
        errors: dict[str, ServiceError] = {
            "lost-reply": LOST,
            "lost-request": LOST,
            "busy": Busy("another operation runs", status=409),
            "rejected": Rejected("no such region", status=400),
            "rejected-later": Rejected("no such region", status=400),
            "failed": OperationFailed("the operation failed", status=200),
            "done-and-failed": OperationFailed("the operation failed", status=200),
            "throttled": Throttled("too many requests", status=429),
            "throttled-later": Throttled("too many requests", status=429),
            "still-running": StillRunning("the operation has not ended"),
        }
        if word == "cut-short":
            raise TooManyCalls("all calls were sent")
        if word in errors:
            raise errors[word]


def liar(*names: str, **script: list[str]) -> Liar:
    world = Liar(script=script)
    for name in names:
        world.add(name)
    return world


def planned(world: World, *names: str, **more: Any) -> Plan:
    return make_plan(world.runtime(), make_request(*names, **more))


def fates(world: World) -> list[StepResult]:
    return [entry.result for entry in world.ledger.entries()]


def reported(world: World, kind: type[Event]) -> list[Any]:
    return [event for event in world.events if isinstance(event, kind)]


def test_what_is_about_to_be_sent_is_written_down_first() -> None:
    world = liar("a")
    plan = planned(world, "a")
    seen: list[int] = []
    real = world.write

    def write(step: Step, live: Live | Absent, resolve: Any) -> Iterator[None]:
        (intent,) = world.ledger.load().open
        assert intent.patch == step.ops
        assert (intent.fence, intent.attempt) == (1, 1)
        seen.append(intent.sequence)
        return real(step, live, resolve)

    world.write = write  # type: ignore[method-assign]
    carry_out(world.runtime(), plan)
    (entry,) = world.kept
    assert [entry.intent] == seen == [1]
    assert world.ledger.load().open == ()


def test_a_write_whose_reply_was_lost_is_read_back_and_not_sent_again() -> None:
    world = liar("a", a=["lost-reply"])
    outcome = carry_out(world.runtime(), planned(world, "a"))
    assert (len(outcome.changed), outcome.failures) == (1, ())
    assert world.written == [("a", Action.UPDATE)]
    assert world.settled_for == ["a"]
    assert fates(world) == [StepResult.DONE]
    assert [one.reason for one in reported(world, StepDoubted)] == ["the answer broke off"]
    assert world.slept == []


def test_a_write_that_never_arrived_is_sent_once_no_read_can_lag_any_more() -> None:
    world = liar("a", a=["lost-request", "done"])
    outcome = carry_out(world.runtime(), planned(world, "a"))
    assert outcome.failures == ()
    assert world.uri("a") == NEW
    assert fates(world) == [StepResult.NOT_DONE, StepResult.DONE]
    assert sum(world.slept) == pytest.approx(10.0, abs=0.1)


def test_a_write_that_never_arrives_is_given_up_after_three_tries() -> None:
    world = liar("a", a=["lost-request"] * 9)
    outcome = carry_out(world.runtime(), planned(world, "a"))
    (failure,) = outcome.failures
    assert failure.message == "the answer broke off"
    assert failure.next_step == "Nothing was changed: live is as it was before. Apply again."
    assert len(world.written) == 3
    assert fates(world) == [StepResult.NOT_DONE] * 3
    assert world.ledger.load().open == ()


def test_a_lost_reply_and_a_second_writer_are_told_apart() -> None:
    world = liar("a", a=["lost-request"])
    plan = planned(world, "a")

    def recover(resource: Resource) -> Iterator[None]:
        assets = world.documents["a"]["properties"]["assets"]
        assets["asset3"]["locationInfo"]["uri"] = "https://somebody/else.ilearner"
        return iter(())

    world.wait_until_idle = recover  # type: ignore[method-assign]
    outcome = carry_out(world.runtime(), plan)
    (failure,) = outcome.failures
    assert failure.next_step == (
        f"It is not known whether it was done: live has another value at {URI}."
        " Plan again to see what is live."
    )
    assert len(world.written) == 1
    (entry,) = world.ledger.entries()
    assert (entry.result, entry.note) == (StepResult.UNKNOWN, f"live has another value at {URI}")


@pytest.mark.parametrize(
    ("word", "written", "result"),
    [
        ("lost-reply", 1, [StepResult.DONE]),
        ("lost-request", 2, [StepResult.NOT_DONE, StepResult.DONE]),
    ],
)
def test_a_delete_whose_reply_was_lost_is_read_back(
    word: str, written: int, result: list[StepResult]
) -> None:
    world = liar("a", a=[word])
    plan = planned(world, "a")
    gone = make_removal(plan.steps[0].resource, world.documents["a"], Reason("", Cause.ORPHAN))
    outcome = carry_out(world.runtime(), replace(plan, steps=(gone,)))
    assert [one.name for one in outcome.destroyed] == ["a"]
    assert len(world.written) == written
    assert fates(world) == result


@pytest.mark.parametrize(
    ("word", "written", "result"),
    [
        ("lost-reply", 1, [StepResult.DONE]),
        ("lost-request", 2, [StepResult.NOT_DONE, StepResult.DONE]),
    ],
)
def test_a_create_whose_reply_was_lost_is_read_back(
    word: str, written: int, result: list[StepResult]
) -> None:
    world = liar("a", a=[word])
    outcome = carry_out(world.runtime(), creation(world))
    assert [one.name for one in outcome.added] == ["a"]
    assert len(world.written) == written
    assert fates(world) == result


def creation(world: World) -> Plan:
    """A plan that creates `a`, which was there and is gone."""
    plan = planned(world, "a")
    document = world.documents.pop("a")
    body = {name: value for name, value in document.items() if name != "id"}
    step = replace(
        plan.steps[0],
        action=Action.CREATE,
        before=ABSENT,
        after=body,
        ops=({"op": "add", "path": "", "value": body},),
        inverse=(),
        absences=(),
        changes=(),
        body="whole",
    )
    return replace(plan, steps=(step,))


def test_a_service_that_is_busy_is_waited_for_and_looked_at_anew() -> None:
    world = liar("a", a=["busy", "busy", "done"])
    outcome = carry_out(world.runtime(), planned(world, "a"))
    assert outcome.failures == ()
    assert world.settled_for == ["a", "a"]
    assert fates(world) == [StepResult.NOT_DONE, StepResult.NOT_DONE, StepResult.DONE]


def test_what_somebody_elses_operation_leaves_may_make_the_step_stale() -> None:
    world = liar("a", a=["busy"])
    plan = planned(world, "a")

    def recover(resource: Resource) -> Iterator[None]:
        world.documents["a"]["properties"]["assets"]["asset3"]["locationInfo"]["uri"] = "https://b"
        return iter(())

    world.wait_until_idle = recover  # type: ignore[method-assign]
    outcome = carry_out(world.runtime(), plan)
    assert "stale" in outcome.failures[0].message
    assert fates(world) == [StepResult.NOT_DONE]


def test_what_has_no_place_any_more_makes_the_plan_stale() -> None:
    world = liar("a")
    wanted = make_request("a")
    named = [replace(one, spec={"definition": {"tags": {"new": "x"}}}) for one in wanted.manifests]
    plan = make_plan(world.runtime(), replace(wanted, manifests=named))
    del world.documents["a"]["tags"]
    with pytest.raises(StalePlan, match="/tags/new does not fit the live document any more"):
        carry_out(world.runtime(), plan)
    assert world.written == []
    assert fates(world) == []


def test_a_read_that_lags_behind_the_write_is_waited_for() -> None:
    world = liar("a", a=["lags"])
    outcome = carry_out(world.runtime(), planned(world, "a"))
    assert outcome.failures == ()
    assert world.written == [("a", Action.UPDATE)]
    assert world.slept == pytest.approx([0.2, 0.3, 0.45], abs=0.05)


def test_success_that_does_not_show_is_sent_once_more_and_then_not_believed() -> None:
    world = liar("a", a=["nothing"] * 9)
    outcome = carry_out(world.runtime(), planned(world, "a"), FailurePolicy(read_back_s=1.0))
    assert "the service reports success and it still has" in outcome.failures[0].message
    assert len(world.written) == 2
    assert fates(world) == [StepResult.NOT_DONE, StepResult.NOT_DONE]
    assert sum(world.slept) == pytest.approx(2.0, abs=0.1)


def test_success_that_shows_at_the_second_go_is_success() -> None:
    world = liar("a", a=["nothing", "done"])
    outcome = carry_out(world.runtime(), planned(world, "a"))
    assert outcome.failures == ()
    assert len(reported(world, StepDoubted)) == 2


def test_an_operation_that_does_not_end_stays_open_and_is_followed_by_the_next_run() -> None:
    world = liar("a", a=["still-running"])
    outcome = carry_out(world.runtime(), planned(world, "a"))
    assert outcome.failures[0].message == "the operation has not ended"
    (intent,) = world.ledger.load().open
    assert intent.address.name == "a"
    recover(world)
    assert fates(world) == [StepResult.DONE]
    assert world.written == [("a", Action.UPDATE)]


def test_what_was_refused_is_read_back_and_closed() -> None:
    world = liar("a", a=["rejected"])
    outcome = carry_out(world.runtime(), planned(world, "a"))
    (failure,) = outcome.failures
    assert failure.message == "no such region"
    assert failure.next_step == "Nothing was changed: live is as it was before."
    (entry,) = world.ledger.entries()
    assert (entry.result, entry.note) == (
        StepResult.NOT_DONE,
        "live is as it was before; no such region",
    )
    assert world.slept == []


@pytest.mark.parametrize(
    ("word", "action", "waited"),
    [
        ("rejected-later", Action.UPDATE, 10.0),
        ("failed", Action.UPDATE, 0.0),
        ("failed", Action.CREATE, 10.0),
    ],
)
def test_what_failed_after_it_was_accepted_is_looked_at_and_not_sent_again(
    word: str, action: Action, waited: float
) -> None:
    world = liar("a", a=[word])
    plan = creation(world) if action is Action.CREATE else planned(world, "a")
    (failure,) = carry_out(world.runtime(), plan).failures
    said = {Action.CREATE: "it is not there", Action.UPDATE: "live is as it was before"}[action]
    assert failure.next_step == f"Nothing was changed: {said}."
    assert len(world.written) == 1
    (entry,) = world.ledger.entries()
    assert (entry.result, entry.note) == (StepResult.NOT_DONE, f"{said}; {failure.message}")
    assert sum(world.slept) == pytest.approx(waited, abs=0.1)


def test_what_failed_and_is_live_all_the_same_is_remembered() -> None:
    world = liar("a", a=["done-and-failed"])
    (failure,) = carry_out(world.runtime(), planned(world, "a")).failures
    assert failure.next_step == "It was done despite the error: live has what was sent."
    (entry,) = world.kept
    assert entry.owned == {URI: NEW}


@pytest.mark.parametrize(
    ("word", "proven"),
    [
        ("busy", "The service did not take it."),
        ("throttled", "The service did not take it."),
        ("throttled-later", "A part of it may have been done."),
        ("cut-short", "It may have been done."),
        ("still-running", ""),
    ],
)
def test_what_is_not_read_back_has_no_other_evidence(word: str, proven: str) -> None:
    world = liar("a", a=[word] * 3)
    (failure,) = carry_out(world.runtime(), planned(world, "a")).failures
    assert failure.next_step == proven
    assert (word == "busy") is (world.ledger.load().open == ())


@pytest.mark.parametrize(
    ("word", "error", "message", "proven"),
    [
        (
            "lost-reply",
            Unavailable("no answer."),
            "the answer broke off",
            f"It may have been done: it could not be read back (no answer). {LOOK}",
        ),
        (
            "failed",
            Unavailable("no answer"),
            "the operation failed",
            f"A part of it may have been done: it could not be read back (no answer). {LOOK}",
        ),
        (
            "lost-reply",
            StillRunning("it is still running"),
            "it is still running",
            "It may have been done: the answer broke off.",
        ),
        ("rejected", Unavailable("no answer"), "no such region", "The service did not take it."),
        (
            "busy",
            Unavailable("no answer"),
            "another operation runs",
            "The service did not take it.",
        ),
        ("busy", TooManyCalls("no more calls"), "no more calls", "The service did not take it."),
    ],
)
def test_what_cannot_be_read_back_stays_open(
    word: str, error: ReconcilerError, message: str, proven: str
) -> None:
    world = liar("a", a=[word])
    plan = planned(world, "a")
    world.running = error
    (failure,) = carry_out(world.runtime(), plan).failures
    assert (failure.message, failure.next_step) == (message, proven)
    assert len(world.ledger.load().open) == 1


def test_a_success_that_cannot_be_read_back_may_have_been_done() -> None:
    world = liar("a", a=["done"])
    plan = planned(world, "a")
    write = world.write

    def write_last(step: Step, live: Live | Absent, resolve: Any) -> Iterator[None]:
        yield from write(step, live, resolve)
        world.fails["a"] = Unavailable("no answer")

    world.write = write_last  # type: ignore[method-assign]
    (failure,) = carry_out(world.runtime(), plan).failures
    assert failure.message == "no answer"
    assert failure.next_step == (
        "It may have been done: the service reports success. Plan again to see what is live."
    )
    assert len(world.ledger.load().open) == 1


@pytest.mark.parametrize(
    ("words", "proven"),
    [
        ([], "Nothing was sent."),
        (["lost-request"], "Nothing was changed: live is as it was before."),
        (["busy"], "The service did not take it."),
    ],
)
def test_what_cannot_be_read_before_it_is_sent_leaves_the_evidence_so_far(
    words: list[str], proven: str
) -> None:
    world = liar("a", a=words.copy())
    plan = planned(world, "a")
    real, checked = world.read, iter([True])

    def read(resource: Resource) -> Live | Absent:
        # All steps are read once before the first write of the plan.
        first, reading_back = next(checked, False), world.ledger.load().open
        if len(world.written) == len(words) and not first and not reading_back:
            raise Unavailable("no answer")
        return real(resource)

    world.read = read  # type: ignore[method-assign]
    (failure,) = carry_out(world.runtime(), plan).failures
    assert (failure.message, failure.next_step) == ("no answer", proven)
    assert len(world.written) == len(words)


# What an earlier run began.


def recover(world: World, read_back_s: float = 0.0, ahead_s: int = 0) -> None:
    now = world.runtime().clock() + timedelta(seconds=ahead_s)
    runtime = replace(world.runtime(), clock=lambda: now)
    with world.ledger.lock(LOCK_OWNER, 0.0, runtime.emit) as lease:
        recover_intents(runtime, replace(AUTHOR, by="another"), lease, read_back_s)


def cut_off(world: World, *, sent: bool, action: str = "update") -> Plan:
    """A plan of which one step was begun, and perhaps done, when the run was killed."""

    class Killed(BaseException):
        pass

    plan = planned(world, "a")
    if action == "create":
        plan = creation(world)
    if action == "delete":
        live = world.documents["a"]
        gone = make_removal(plan.steps[0].resource, live, Reason("", Cause.ORPHAN))
        plan = replace(plan, steps=(gone,))
    real = world.write

    def write(step: Step, live: Live | Absent, resolve: Any) -> Iterator[None]:
        if sent:
            yield from real(step, live, resolve)
        raise Killed

    world.write = write  # type: ignore[method-assign, assignment]
    with pytest.raises(Killed):
        carry_out(world.runtime(), plan)
    world.write = real  # type: ignore[method-assign]
    assert len(world.ledger.load().open) == 1
    return plan


@pytest.mark.parametrize("action", ["create", "update", "delete"])
@pytest.mark.parametrize("sent", [True, False])
def test_what_was_begun_is_settled_by_what_is_live(action: str, sent: bool) -> None:
    world = liar("a")
    cut_off(world, sent=sent, action=action)
    writes = len(world.written)
    recover(world)
    (entry,) = world.ledger.entries()
    assert entry.result is (StepResult.DONE if sent else StepResult.NOT_DONE)
    assert entry.by == "ci"
    assert len(world.written) == writes
    assert world.ledger.load().open == ()
    (event,) = reported(world, IntentResolved)
    assert (event.resource.address, event.result) == (Address("WebService", "a"), entry.result)
    assert event.note


def test_what_was_done_before_the_end_is_remembered_as_if_nothing_had_happened() -> None:
    killed, whole = liar("a"), liar("a")
    cut_off(killed, sent=True)
    recover(killed)
    carry_out(whole.runtime(), planned(whole, "a"))
    (found,), (wanted,) = (
        killed.ledger.load().last_applied_by_address.values(),
        whole.ledger.load().last_applied_by_address.values(),
    )
    assert (found.owned, found.baseline) == (wanted.owned, wanted.baseline)
    assert planned(killed, "a", refresh="full").steps == ()


def test_what_somebody_else_wrote_since_is_unknown() -> None:
    world = liar("a")
    cut_off(world, sent=False)
    world.documents["a"]["properties"]["assets"]["asset3"]["locationInfo"]["uri"] = "https://else"
    recover(world)
    assert fates(world) == [StepResult.UNKNOWN]


@pytest.mark.parametrize("ahead_s", [-7200, 0, 12, 7200])
def test_a_write_that_may_still_arrive_is_waited_for_whatever_the_clock_says(ahead_s: int) -> None:
    world = liar("a")
    cut_off(world, sent=False)
    recover(world, read_back_s=3.0, ahead_s=ahead_s)
    assert sum(world.slept) == pytest.approx(3.0, abs=0.1)


def test_what_reads_show_late_is_done_though_our_clock_is_ahead() -> None:
    world = liar("a", a=["lags"])
    cut_off(world, sent=True)
    world.stale_reads = 3
    recover(world, read_back_s=10.0, ahead_s=3600)
    assert fates(world) == [StepResult.DONE]


def test_what_cannot_be_told_now_stays_open_and_stops_the_run() -> None:
    world = liar("a")
    cut_off(world, sent=True)
    world.running = StillRunning("the operation has not ended")
    with pytest.raises(Unplannable) as caught:
        recover(world)
    (finding,) = caught.value.findings()
    assert finding.subject == "WebService/a"
    assert finding.next_step == (
        "A write of an earlier run may have been applied. The next run checks it again."
    )
    assert len(world.ledger.load().open) == 1


@pytest.mark.parametrize(
    ("word", "proven"),
    [
        ("failed", "Nothing was changed: live is as it was before."),
        ("done", "It was done."),
        ("done-and-failed", "It was done."),
        ("lost-reply", "It was done."),
    ],
)
@pytest.mark.parametrize("kind", [LedgerInvalid, LedgerConflict])
def test_what_is_proven_is_said_also_where_the_ledger_cannot_be_written(
    word: str, proven: str, kind: type[ReconcilerError]
) -> None:
    world = liar("a", a=[word])
    plan = planned(world, "a")
    real = world.write

    def write(step: Step, live: Live | Absent, resolve: Any) -> Iterator[None]:
        world.ledger.record_error = kind("no room", next_step="Make room.")
        return real(step, live, resolve)

    world.write = write  # type: ignore[method-assign]
    (failure,) = carry_out(world.runtime(), plan).failures
    assert failure.message == "no room"
    assert failure.next_step == f"{proven} That is not recorded. Make room."


def test_a_plan_tells_of_what_was_begun_and_changes_nothing() -> None:
    world = liar("a")
    cut_off(world, sent=False)
    plan = planned(world, "a", refresh="full")
    (found,) = plan.findings
    assert "began to update it" in found.message
    assert found.severity == "warning"
    assert len(world.ledger.load().open) == 1


def test_a_saved_plan_goes_on_where_it_was_cut_off() -> None:
    world = liar("a", "b")
    plan = planned(world, "a", "b")
    carry_out(world.runtime(), replace(plan, steps=plan.steps[:1]))
    world.written.clear()
    outcome = carry_out(world.runtime(), plan)
    assert [one.name for one in outcome.changed] == ["b"]
    assert world.written == [("b", Action.UPDATE)]
    assert [one.reason for one in reported(world, StepSkipped)] == ["this plan has already done it"]


def applied_once(*names: str) -> tuple[Liar, Plan]:
    """A world in which a plan was applied as a whole; what was written so far is left out."""
    world = liar(*names)
    plan = planned(world, *names)
    assert not carry_out(world.runtime(), plan).failures
    world.written.clear()
    world.events.clear()
    return world, plan


def set_model(world: World, name: str, uri: str) -> None:
    world.documents[name]["properties"]["assets"]["asset3"]["locationInfo"]["uri"] = uri


def test_a_step_that_was_done_is_done_again_where_live_is_as_it_was_before() -> None:
    world, plan = applied_once("a", "b")
    set_model(world, "a", OLD)
    outcome = carry_out(world.runtime(), plan)
    assert [one.name for one in outcome.changed] == ["a"]
    assert world.written == [("a", Action.UPDATE)]
    assert (world.uri("a"), world.uri("b")) == (NEW, NEW)
    assert [one.resource.short_id for one in reported(world, StepSkipped)] == ["b"]


def test_a_plan_that_was_done_is_stale_where_live_is_something_else() -> None:
    world, plan = applied_once("a", "b")
    set_model(world, "a", "https://b/x.ilearner")
    with pytest.raises(StalePlan) as stale:
        carry_out(world.runtime(), plan)
    (finding,) = stale.value.findings()
    assert finding.subject == "WebService/a"
    assert finding.message == f"Saved plan is stale: {URI} has changed since this plan wrote it"
    assert finding.detail == (
        f'The plan wrote:  "{NEW}"',
        'The service has: "https://b/x.ilearner"',
    )
    assert (world.written, reported(world, StepSkipped)) == ([], [])


def test_a_plan_that_was_done_is_stale_where_the_service_is_gone() -> None:
    world, plan = applied_once("a")
    del world.documents["a"]
    with pytest.raises(StalePlan) as stale:
        carry_out(world.runtime(), plan)
    assert [one.message for one in stale.value.findings()] == ["Saved plan is stale: it is gone"]


def test_a_plan_that_was_done_needs_a_read_of_every_service() -> None:
    world, plan = applied_once("a")
    world.fails["a"] = Unavailable("no answer", status=503)
    with pytest.raises(StalePlan) as stale:
        carry_out(world.runtime(), plan)
    assert [one.message for one in stale.value.findings()] == ["no answer"]


def test_what_a_plan_created_and_somebody_deleted_is_created_again() -> None:
    world = liar("a")
    plan = creation(world)
    assert not carry_out(world.runtime(), plan).failures
    carry_out(world.runtime(), plan)
    assert [one.reason for one in reported(world, StepSkipped)] == ["this plan has already done it"]
    del world.documents["a"]
    world.written.clear()
    outcome = carry_out(world.runtime(), plan)
    assert ([one.name for one in outcome.added], world.written) == (["a"], [("a", Action.CREATE)])


def test_what_a_plan_created_and_somebody_changed_is_stale_at_its_place() -> None:
    world = liar("a")
    plan = creation(world)
    carry_out(world.runtime(), plan)
    set_model(world, "a", "https://b/x.ilearner")
    with pytest.raises(StalePlan) as stale:
        carry_out(world.runtime(), plan)
    assert [one.message for one in stale.value.findings()] == [
        f"Saved plan is stale: {URI} has changed since this plan wrote it"
    ]


def test_an_intent_that_was_found_done_is_read_before_it_is_passed_over() -> None:
    world = liar("a")
    plan = cut_off(world, sent=True)
    recover(world)
    set_model(world, "a", OLD)
    world.written.clear()
    outcome = carry_out(world.runtime(), plan)
    assert ([one.name for one in outcome.changed], world.uri("a")) == (["a"], NEW)


def test_a_ledger_that_wrongly_says_done_is_not_believed() -> None:
    world, plan = applied_once("a")
    said = world.ledger.load().last_applied_by_address
    world = liar("a")
    world.ledger.more = dict(said)
    outcome = carry_out(world.runtime(), plan)
    assert ([one.name for one in outcome.changed], world.uri("a")) == (["a"], NEW)


def test_what_is_to_be_destroyed_and_is_gone_is_remembered_no_more() -> None:
    world = liar("a")
    plan = planned(world, "a")
    carry_out(world.runtime(), plan)
    live = world.documents.pop("a")
    gone = make_removal(plan.steps[0].resource, live, Reason("", Cause.ORPHAN))
    world.written.clear()
    outcome = carry_out(world.runtime(), replace(plan, steps=(gone,)))
    assert (outcome.failures, world.written) == ((), [])
    assert [one.reason for one in reported(world, StepSkipped)] == ["it is already gone"]
    assert world.ledger.load().last_applied_by_address == {}
    assert world.kept[-1].note == "it was already gone"


# Waves, failures, and the way back.


def in_waves(plan: Plan, **waves: int) -> Plan:
    return replace(
        plan,
        steps=tuple(replace(step, wave=waves[step.resource.address.name]) for step in plan.steps),
    )


def test_waves_go_one_after_another() -> None:
    world = liar("a", "b", "c")
    plan = in_waves(planned(world, "a", "b", "c"), a=2, b=0, c=1)
    carry_out(world.runtime(parallelism=8), plan)
    assert [name for name, _ in world.written] == ["b", "c", "a"]
    assert reported(world, WaveStarted) == [WaveStarted(0, 1), WaveStarted(1, 1), WaveStarted(2, 1)]


def test_what_is_destroyed_goes_last_and_in_the_opposite_order() -> None:
    world = liar("a", "b", "c")
    plan = in_waves(planned(world, "a", "b", "c"), a=0, b=1, c=5)
    steps = [
        replace(
            make_removal(
                one.resource, world.documents[one.resource.short_id], Reason("", Cause.ORPHAN)
            ),
            wave=one.wave,
        )
        for one in plan.steps[:2]
    ]
    carry_out(world.runtime(), replace(plan, steps=(*steps, plan.steps[2])))
    assert [name for name, _ in world.written] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("policy", "written", "left"),
    [
        (FailurePolicy(), ["a", "b"], ["c"]),
        (FailurePolicy(on_failure="continue"), ["a", "b", "c"], []),
        (FailurePolicy(fail_fast=True), ["a"], ["b", "c"]),
    ],
)
def test_a_failure_stops_as_much_as_the_policy_says(
    policy: FailurePolicy, written: list[str], left: list[str]
) -> None:
    world = liar("a", "b", "c", a=["rejected"])
    plan = in_waves(planned(world, "a", "b", "c"), a=0, b=0, c=1)
    outcome = carry_out(world.runtime(parallelism=1), plan, policy)
    assert [name for name, _ in world.written] == written
    assert [one.name for one in outcome.not_started] == left
    assert len(outcome.failures) == 1


def test_a_rollback_leads_back_what_was_done_in_reverse_order_and_proves_it() -> None:
    world = liar("a", "b", "c", c=["rejected"])
    before = copy.deepcopy(world.documents)
    plan = in_waves(planned(world, "a", "b", "c"), a=0, b=1, c=2)
    outcome = carry_out(world.runtime(), plan, FailurePolicy(on_failure="rollback"))
    assert world.documents == before
    assert [name for name, _ in world.written] == ["a", "b", "c", "b", "a"]
    assert [one.name for one in outcome.rolled_back] == ["b", "a"]
    assert (outcome.changed, outcome.unrestored) == ((), ())
    assert reported(world, RollbackStarted) == [RollbackStarted(2)]
    assert fates(world)[-2:] == [StepResult.DONE, StepResult.DONE]


def test_what_was_created_is_destroyed_again_by_a_rollback() -> None:
    world = liar("a", "b", b=["rejected"])
    update = planned(world, "b")
    plan = replace(update, steps=(*creation(world).steps, replace(update.steps[0], wave=1)))
    outcome = carry_out(world.runtime(), plan, FailurePolicy(on_failure="rollback"))
    assert "a" not in world.documents
    assert [one.name for one in outcome.rolled_back] == ["a"]
    assert outcome.added == ()


def test_what_cannot_be_led_back_is_said() -> None:
    world = liar("a", "b", "c", c=["rejected"])
    update = planned(world, "a", "b", "c")
    replaced = replace(update.steps[0], action=Action.REPLACE)
    plan = replace(update, steps=(replaced, replace(update.steps[2], wave=1)))
    outcome = carry_out(world.runtime(), plan, FailurePolicy(on_failure="rollback"))
    (finding,) = outcome.unrestored
    assert "it was replaced, and its keys and secrets are not known here" in finding.message
    assert [one.name for one in outcome.added] == ["a"]


def test_a_rollback_that_does_not_take_is_said() -> None:
    world = liar("a", "b", b=["rejected"], a=["done", "rejected"])
    plan = in_waves(planned(world, "a", "b"), a=0, b=1)
    outcome = carry_out(world.runtime(), plan, FailurePolicy(on_failure="rollback"))
    assert [one.message for one in outcome.unrestored] == ["no such region"]
    assert [one.name for one in outcome.changed] == ["a"]


@pytest.mark.parametrize(
    ("words", "running", "proven"),
    [
        (["rejected"], None, "Nothing was restored: live is as it was before."),
        (
            ["lost-request"] * 3,
            None,
            "Nothing was restored: live is as it was before. Plan again to see what is live.",
        ),
        (
            ["lost-reply"],
            Unavailable("no answer"),
            f"It may have been restored: it could not be read back (no answer). {LOOK}",
        ),
    ],
)
def test_what_a_rollback_has_not_restored_is_said_of_the_rollback(
    words: list[str], running: Exception | None, proven: str
) -> None:
    world = liar("a", "b", b=["rejected"], a=["done", *words])
    plan = in_waves(planned(world, "a", "b"), a=0, b=1)
    emit = world.events.append

    def hear(event: Event) -> None:
        emit(event)
        if isinstance(event, RollbackStarted):
            world.running = running

    runtime = replace(world.runtime(), emit=hear)
    outcome = carry_out(runtime, plan, FailurePolicy(on_failure="rollback"))
    assert [one.next_step for one in outcome.unrestored] == [proven]


def test_somebody_who_takes_the_lock_stops_us_before_the_next_write() -> None:
    world = liar("a", "b")
    plan = planned(world, "a", "b")
    real = world.write

    def write(step: Step, live: Live | Absent, resolve: Any) -> Iterator[None]:
        yield from real(step, live, resolve)
        world.ledger.unlock("1")

    world.write = write  # type: ignore[method-assign]
    outcome = carry_out(world.runtime(parallelism=1), plan)
    assert world.written == [("a", Action.UPDATE)]
    assert [one.name for one in outcome.changed] == ["a"]
    assert [one.message for one in outcome.failures] == ["another process acquired the lock"]


def test_an_interruption_finishes_what_was_begun_and_begins_nothing_more() -> None:
    world = liar("a", "b", "c")
    plan = planned(world, "a", "b", "c")
    runtime = world.runtime(parallelism=1)
    halted = replace(runtime, halted=lambda: "interrupted" if world.written else "")
    outcome = carry_out(halted, plan)
    assert [one.name for one in outcome.changed] == ["a"]
    assert [one.name for one in outcome.not_started] == ["b", "c"]
    assert outcome.failures == ()
