"""Operations that a service tells of, late, wrongly or not at all, over real sockets."""

from collections.abc import Callable, Generator
from typing import Any, TypeVar

import pytest

from reconciler.errors import (
    OperationFailed,
    ReconcilerError,
    Rejected,
    ReplyLost,
    StillRunning,
    Unavailable,
)
from reconciler.transport import follow_operation, wait_until_idle
from tests.scripted import Answer, Call, answers, run_scripted
from tests.wire.test_transport import OK, TIMEOUTS, Recorder

Ended = TypeVar("Ended")
HTML = {"Content-Type": "text/html"}


class Followed:
    """A write that was answered, and what came of following its operation.

    `looks` is how often it was looked at, `told_end` whether the service told of the end.
    """

    def __init__(
        self,
        *polls: Answer,
        deadline_s: float = 1800.0,
        first: Callable[[str], Answer] | None = None,
    ) -> None:
        self.looks = 0
        self.told_end: bool | None = None
        self.error: ReconcilerError | None = None

        def script(call: Call, number: int) -> Answer:
            operation = f"http://{call.headers['Host']}/operations/4f1c"
            if number == 0:
                return (first or accepted)(operation)
            return polls[min(number - 1, len(polls) - 1)]

        with Recorder(script) as reported:
            reply = reported.client.send("PATCH", "/x", {})
            try:
                steps = follow_operation(reported.client, reply, deadline_s=deadline_s)
                self.told_end = self._listen(steps)
            except ReconcilerError as error:
                self.error = error
            self.slept = reported.slept
            self.targets = [call.target for call in reported.calls[1:]]

    def _listen(self, steps: Generator[None, None, Ended]) -> Ended:
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            self.looks += 1


def accepted(operation: str) -> Answer:
    return Answer(200, {}, {"Azure-AsyncOperation": operation})


def located(operation: str) -> Answer:
    return Answer(202, None, {"Location": operation})


def poll(status: Any, **more: Any) -> Answer:
    return Answer(200, {"status": status, **more})


RUNNING, DONE = poll("Provisioning"), poll("Succeeded")


def test_an_operation_is_followed_at_growing_intervals() -> None:
    followed = Followed(*[poll("Provisioning")] * 12, DONE)
    assert (followed.looks, followed.told_end) == (13, True)
    assert followed.slept[0] == 0.2
    assert followed.slept == sorted(followed.slept)
    assert max(followed.slept) == 5.0


@pytest.mark.parametrize("word", ["Succeeded", "succeeded", "SUCCEEDED", " Succeeded\n"])
def test_success_in_any_case(word: str) -> None:
    assert Followed(poll(word)).told_end is True


SHAPES: dict[str, Callable[[str], Any]] = {
    "status": lambda word: {"status": word},
    "spec": lambda word: {"provisioningState": word},
    "resource": lambda word: {"properties": {"provisioningState": word}},
    "pascal": lambda word: {"Properties": {"ProvisioningState": word}},
    "upper": lambda word: {"STATUS": word},
    "both": lambda word: {"status": word, "provisioningState": "Provisioning"},
    "empty-first": lambda word: {"status": "", "provisioningState": word},
    "null-first": lambda word: {"status": None, "properties": {"provisioningState": word}},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("write", [accepted, located])
def test_the_status_may_stand_under_another_name(
    write: Callable[[str], Answer], shape: Callable[[str], Any]
) -> None:
    polls = [Answer(200, shape(word)) for word in ("Provisioning", "succeeded")]
    followed = Followed(*polls, first=write)
    assert (followed.looks, followed.told_end) == (2, True)
    failed = Followed(Answer(200, shape("FAILED")), first=write)
    assert type(failed.error) is OperationFailed


@pytest.mark.parametrize("name", ["error", "errorInfo", "Error", "ERRORINFO"])
@pytest.mark.parametrize("word", ["Failed", "Canceled", "cancelled"])
def test_a_failure_says_why_in_both_shapes(name: str, word: str) -> None:
    why = {"Code": "BadRequest", "details": [{"code": "ModelNotFound", "message": "no such model"}]}
    error = Followed(RUNNING, poll(word, **{name: why})).error
    assert isinstance(error, OperationFailed)
    assert error.code == "ModelNotFound"
    assert "no such model" in error.message


def test_a_failure_without_a_reason_is_one() -> None:
    error = Followed(poll("Failed")).error
    assert isinstance(error, OperationFailed)
    assert "does not say why" in error.message


@pytest.mark.parametrize("word", ["", "Accepted", "Paused", "Unknown"])
def test_any_other_word_means_go_on(word: str) -> None:
    followed = Followed(poll(word), DONE)
    assert (followed.looks, followed.told_end) == (2, True)


# What tells nothing of how the write ended.


@pytest.mark.parametrize("polls", [[Answer(404, {})], [RUNNING, Answer(404, {})]])
def test_an_operation_that_nobody_knows_has_not_told_its_end(polls: list[Answer]) -> None:
    followed = Followed(*polls)
    assert (followed.told_end, followed.error) == (False, None)


def test_a_poll_that_is_lost_is_asked_again() -> None:
    lost = (Answer(drop=True), Answer(500, {}), Answer(200, b"<html>", HTML))
    followed = Followed(RUNNING, *lost, DONE)
    assert (followed.looks, followed.told_end) == (2, True)


@pytest.mark.parametrize("status", [400, 401, 403, 409, 500])
def test_an_operation_that_cannot_be_followed_may_still_be_done(status: int) -> None:
    """The write was accepted; nothing that is said of a look at its operation undoes that."""
    error = Followed(RUNNING, Answer(status, {"error": {"code": "C", "message": "no"}})).error
    assert isinstance(error, ReplyLost)
    assert error.message == "the operation 4f1c cannot be followed: no"
    assert (error.status, error.code) == (status, "C")
    assert "done" not in f"{error.message} {error.next_step}", "only a read can tell"


def test_an_operation_that_cannot_be_reached_any_more_may_still_be_done() -> None:
    followed = Followed(RUNNING, Answer(drop=True))
    assert isinstance(followed.error, ReplyLost)
    assert len(followed.targets) == 2 + TIMEOUTS.retries


HOSTILE: dict[str, Any] = {
    "list": [],
    "null": None,
    "text": "Succeeded",
    "number": 7,
}


@pytest.mark.parametrize("document", HOSTILE.values(), ids=HOSTILE)
def test_an_operation_of_another_shape_tells_nothing(document: Any) -> None:
    error = Followed(Answer(200, document)).error
    assert isinstance(error, ReplyLost)
    assert "without a status" in error.message


@pytest.mark.parametrize("status", [7, True, [], {"a": 1}, None, [["x"] * 99] * 99])
def test_a_status_that_is_no_word_means_go_on(status: Any) -> None:
    followed = Followed(poll(status), DONE)
    assert (followed.looks, followed.told_end) == (2, True)


@pytest.mark.parametrize("why", [7, [], "text", {"code": []}, {"details": {"a": 1}}, None])
def test_a_failure_of_another_shape_is_one(why: Any) -> None:
    error = Followed(poll("Failed", error=why)).error
    assert isinstance(error, OperationFailed)


def test_a_deep_operation_is_no_answer() -> None:
    deep = Answer(200, b'{"status": "Succeeded", "error": ' + b"[" * 900 + b"]" * 900 + b"}")
    error = Followed(deep).error
    assert isinstance(error, ReplyLost)
    assert "not JSON" in error.message


# How long is waited.


@pytest.mark.parametrize(
    ("said", "slept"),
    [("9", 9.0), ("0", 0.2), ("99999", 60.0), ("9" * 400, 60.0), ("soon", 0.3), ("-5", 0.3)],
)
def test_retry_after_of_a_poll_is_obeyed_within_bounds(said: str, slept: float) -> None:
    waiting = Answer(200, {"status": "Provisioning"}, {"Retry-After": said})
    followed = Followed(waiting, DONE)
    assert followed.slept == [0.2, pytest.approx(slept)]


def test_an_operation_that_does_not_end_in_time_still_runs() -> None:
    followed = Followed(RUNNING, deadline_s=1800.0)
    assert type(followed.error) is StillRunning
    assert followed.error.message == "the operation 4f1c is still running after 30 minutes"
    assert (
        followed.error.next_step
        == "Run apply again: it follows the operation and does not repeat the write."
    )
    assert sum(followed.slept) == pytest.approx(1800.0)


def test_a_short_time_is_told_in_seconds_and_never_overslept() -> None:
    asked = Answer(200, {"status": "Provisioning"}, {"Retry-After": "50"})
    followed = Followed(asked, deadline_s=20.0)
    assert followed.error is not None
    assert "after 20 seconds" in followed.error.message
    assert sum(followed.slept) == pytest.approx(20.0)


def test_even_without_time_there_is_one_look() -> None:
    assert Followed(DONE, deadline_s=0.0).told_end is True
    assert isinstance(Followed(RUNNING, deadline_s=0.0).error, StillRunning)


# Where only the address of a result is given.


@pytest.mark.parametrize("end", [Answer(200, {"id": "/x"}), Answer(204), Answer(200)])
def test_a_result_that_is_there_is_the_end(end: Answer) -> None:
    followed = Followed(Answer(202), Answer(202, {}), end, first=located)
    assert (followed.looks, followed.told_end) == (3, True)


def test_the_address_of_a_result_may_move() -> None:
    def script(call: Call, number: int) -> Answer:
        if number == 3:
            return Answer(204)
        return Answer(202, None, {"Location": f"http://{call.headers['Host']}/result/{number}"})

    with Recorder(script) as reported:
        reply = reported.client.send("DELETE", "/x")
        list(follow_operation(reported.client, reply, deadline_s=60))
        assert [call.target for call in reported.calls[1:]] == [
            "/result/0",
            "/result/1",
            "/result/2",
        ]


def test_a_result_that_nobody_knows_has_not_told_the_end() -> None:
    followed = Followed(Answer(202), Answer(404, {}), first=located)
    assert (followed.told_end, followed.error) == (False, None)


def test_a_result_that_never_comes_still_runs() -> None:
    followed = Followed(Answer(202), deadline_s=60.0, first=located)
    assert isinstance(followed.error, StillRunning)


def test_the_status_of_an_operation_goes_before_its_result() -> None:
    def both(operation: str) -> Answer:
        links = {"Azure-AsyncOperation": operation, "Location": f"{operation}/result"}
        return Answer(202, None, links)

    assert Followed(RUNNING, DONE, first=both).targets == ["/operations/4f1c"] * 2


def test_where_a_new_resource_is_is_no_operation() -> None:
    followed = Followed(first=lambda url: Answer(201, {}, {"Location": url}))
    assert (followed.told_end, followed.targets) == (True, [])


def test_a_result_elsewhere_is_not_asked_for() -> None:
    with run_scripted(answers(OK)) as elsewhere:
        moved = Answer(202, None, {"Location": f"{elsewhere.url}/result"})
        followed = Followed(moved, first=located)
        assert elsewhere.calls == []
    assert type(followed.error) is Rejected
    assert "another origin" in followed.error.message


@pytest.mark.parametrize(
    ("answer", "told_end"),
    [
        (OK, True),
        (Answer(204), True),
        (Answer(200, {"properties": {"provisioningState": "Succeeded"}}), True),
        (Answer(202), False),
        (Answer(200, {"properties": {"provisioningState": "Provisioning"}}), False),
    ],
)
def test_a_reply_without_an_operation_is_done_unless_it_says_otherwise(
    answer: Answer, told_end: bool
) -> None:
    followed = Followed(first=lambda _: answer)
    assert (followed.told_end, followed.targets) == (told_end, [])


# Waiting for whatever runs on a resource.


def settling(*seen: Answer, deadline_s: float = 60.0) -> tuple[int, list[float]]:
    """How often a resource was looked at, and the pauses between the looks."""
    with Recorder(answers(*seen)) as reported:
        looks = len(list(wait_until_idle(reported.client, "/x", deadline_s=deadline_s)))
        assert {call.method for call in reported.calls} == {"GET"}
        return looks, reported.slept


def state(word: Any, name: str = "provisioningState") -> Answer:
    return Answer(200, {"id": "/x", "properties": {name: word}})


@pytest.mark.parametrize("word", ["Succeeded", "Failed", "failed", "Canceled"])
def test_what_has_settled_is_looked_at_once_and_at_once(word: str) -> None:
    assert settling(state(word)) == (1, [])


@pytest.mark.parametrize("seen", [state(None), state(""), Answer(200, {"id": "/x"}), state(7)])
def test_what_tells_no_state_has_settled(seen: Answer) -> None:
    assert settling(seen) == (1, [])


@pytest.mark.parametrize("word", ["Provisioning", "Updating", "Unknown", "anything"])
def test_whatever_runs_is_waited_for_at_growing_intervals(word: str) -> None:
    looks, slept = settling(*[state(word, "ProvisioningState")] * 11, state("Succeeded"))
    assert looks == 12
    assert slept[0] == 0.2
    assert slept == sorted(slept)
    assert max(slept) == 5.0


def test_a_status_of_another_part_is_none_of_the_resource() -> None:
    seen = Answer(200, {"status": "Running", "properties": {"provisioningState": "Succeeded"}})
    assert settling(seen) == (1, [])


def test_what_is_gone_has_settled() -> None:
    assert settling(state("Deleting"), Answer(404, {})) == (1, [0.2])


def test_what_does_not_settle_in_time_still_runs() -> None:
    with pytest.raises(StillRunning, match="still running after 60 seconds") as caught:
        settling(state("Provisioning"))
    assert (
        caught.value.next_step
        == "Run apply again: it follows the operation and does not repeat the write."
    )


@pytest.mark.parametrize("document", [[], None, "text", 7])
def test_what_is_no_resource_has_not_settled(document: Any) -> None:
    with pytest.raises(Unavailable, match="no definition"):
        settling(Answer(200, document))


def test_a_look_that_fails_says_nothing() -> None:
    with pytest.raises(Rejected):
        settling(state("Provisioning"), Answer(400, {}))
