"""Reads and writes of a web service that is busy, gone or talks nonsense, over real sockets."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from reconciler.errors import (
    Busy,
    ReconcilerError,
    Rejected,
    ReplyLost,
    ServiceError,
    StillRunning,
    Unavailable,
)
from reconciler.kinds.web_service import KIND
from reconciler.kinds.web_service.provider import WebServiceProvider
from reconciler.model import ABSENT, Cause, Json, Reason, Step
from reconciler.plans.step import make_removal
from tests.access import access
from tests.scripted import Answer, Call, Script, Scripted, answers, run_scripted
from tests.wire.test_web_service import MODEL, NEW, RESOURCE, live, step_for


@contextmanager
def serving(
    script: Script, deadline_s: float = 60.0
) -> Iterator[tuple[WebServiceProvider, Scripted]]:
    with run_scripted(script) as server:
        yield WebServiceProvider(access(server.url, deadline_s), KIND.field), server


def refused(status: int, code: str, message: str = "no") -> Answer:
    inner = [{"code": code, "message": message}]
    return Answer(status, {"error": {"code": "X", "message": message, "details": inner}})


GONE = refused(404, "WebServiceNotFound", "No Web Service could be found.")


def state(word: Any) -> Answer:
    return Answer(200, {"id": RESOURCE.id, "properties": {"provisioningState": word}})


def update() -> Step:
    return step_for(live(), trainedModels={MODEL: {"uri": NEW}})


def removal() -> Step:
    return make_removal(RESOURCE, live(), Reason("", Cause.ORPHAN))


def replacement() -> Step:
    return step_for(live(), definition={"properties": {"storageAccount": {"name": "b"}}})


def written(step: Step, write: Answer, *reads: Answer) -> tuple[list[str], ReconcilerError | None]:
    """The methods that a step was sent with, and how it ended; reads come after the first."""

    def script(call: Call, number: int) -> Answer:
        if number == 0:
            return Answer(200, live())
        if call.method != "GET":
            return write
        after = sum(one.method == "GET" for one in server.calls) - 2
        return reads[min(after, len(reads) - 1)]

    with serving(script) as (provider, server):
        before = provider.read(RESOURCE)
        assert before is not ABSENT
        ended = None
        try:
            list(provider.write(step, before, lambda _: "secret"))
        except ReconcilerError as error:
            ended = error
        return [call.method for call in server.calls[1:]], ended


def test_a_service_that_somebody_deleted_meanwhile_is_gone() -> None:
    methods, error = written(update(), GONE)
    assert methods == ["PATCH"]
    assert type(error) is Rejected
    assert error.message == ("it was deleted after it was read: No Web Service could be found.")
    assert (error.subject, error.status) == ("WebService/census", 404)
    assert error.next_step == "Plan again."


def test_a_group_that_is_not_there_is_no_service_that_is_gone() -> None:
    _, error = written(update(), refused(404, "ResourceGroupNotFound"))
    assert error is not None
    assert "was deleted" not in error.message
    assert error.next_step == (
        "Check the subscription and resource group: /subscriptions/s/resourceGroups/g"
    )


def test_what_is_to_go_may_be_gone_already() -> None:
    assert written(removal(), GONE) == (["DELETE"], None)
    _, error = written(removal(), refused(404, "ResourceGroupNotFound"))
    assert isinstance(error, Rejected)


@pytest.mark.parametrize("make", [update, removal, replacement])
def test_a_service_that_is_busy_says_so_at_once(make: Callable[[], Step]) -> None:
    methods, error = written(make(), refused(409, "Conflict", "An operation is running."))
    assert len(methods) == 1
    assert isinstance(error, Busy)
    assert (error.subject, error.message) == ("WebService/census", "An operation is running.")


def test_a_write_whose_answer_is_lost_is_sent_once() -> None:
    methods, error = written(update(), Answer(drop=True))
    assert methods == ["PATCH"]
    assert isinstance(error, ReplyLost)
    assert error.subject == "WebService/census"


def test_a_replacement_whose_delete_is_lost_puts_nothing() -> None:
    methods, error = written(replacement(), Answer(504, {}))
    assert methods == ["DELETE"]
    assert isinstance(error, ReplyLost)


# Where the service does not tell the end of an operation, the resource does.


@pytest.mark.parametrize("reply", [Answer(202), state("Provisioning")])
def test_a_write_that_announces_no_operation_is_waited_for_at_the_resource(reply: Answer) -> None:
    methods, error = written(update(), reply, state("Provisioning"), state("Succeeded"))
    assert (methods, error) == (["PATCH", "GET", "GET"], None)


def test_an_operation_that_nobody_knows_is_waited_for_at_the_resource() -> None:
    def script(call: Call, number: int) -> Answer:
        if call.method == "PATCH":
            return Answer(200, {}, {"Azure-AsyncOperation": f"http://{call.headers['Host']}/op"})
        if call.target == "/op":
            return Answer(404, {})
        return Answer(200, live()) if number == 0 else state("Succeeded")

    with serving(script) as (provider, server):
        before = provider.read(RESOURCE)
        looks = len(list(provider.write(update(), before, lambda _: "")))
        asked = [call.target.partition("?")[0] for call in server.calls[2:]]
    assert (looks, asked) == (2, ["/op", RESOURCE.id])


@pytest.mark.parametrize("inspect", [Answer(403, {}), Answer(200, [])])
def test_a_look_that_fails_after_a_write_was_accepted_leaves_it_open(inspect: Answer) -> None:
    _, error = written(update(), Answer(202), inspect)
    assert isinstance(error, ReplyLost)
    assert "the write cannot be followed" in error.message


# Settling.


def test_what_runs_is_waited_for_and_nothing_is_written() -> None:
    seen = answers(state("Updating"), state("Provisioning"), state("Failed"))
    with serving(seen) as (provider, server):
        looks = len(list(provider.wait_until_idle(RESOURCE)))
        assert {call.method for call in server.calls} == {"GET"}
        assert {call.target.partition("?")[0] for call in server.calls} == {RESOURCE.id}
    assert looks == 3


def test_what_is_gone_has_settled() -> None:
    with serving(answers(GONE)) as (provider, _):
        assert list(provider.wait_until_idle(RESOURCE)) == []


def test_what_does_not_settle_in_time_still_runs() -> None:
    with (
        serving(answers(state("Provisioning")), deadline_s=0.3) as (provider, _),
        pytest.raises(StillRunning) as caught,
    ):
        list(provider.wait_until_idle(RESOURCE))
    assert caught.value.subject == "WebService/census"


# What a service says of its services is data.


ITEMS: list[Json] = [
    None,
    [],
    "text",
    7,
    {},
    {"id": None},
    {"id": 7},
    {"id": {"a": 1}},
    {"id": ""},
    {"id": "census"},
    {"id": "/a\r\nX: y"},
    {"id": "/a\x1b[2J"},
    {"id": "/a?b"},
    {"id": "/" + "x" * 3000},
]


@pytest.mark.parametrize("item", ITEMS, ids=[json.dumps(item)[:20] for item in ITEMS])
def test_what_is_no_service_makes_no_list(item: Json) -> None:
    page = Answer(200, {"value": [{"id": f"{RESOURCE.id}2"}, item]})
    with (
        serving(answers(page)) as (provider, _),
        pytest.raises(Unavailable, match="without an id"),
    ):
        list(provider.scan("/subscriptions/s"))


@pytest.mark.parametrize(
    "item",
    [
        {"id": RESOURCE.id.replace("/g/", "/another/")},
        {"id": RESOURCE.id.replace("webServices", "commitmentPlans")},
        {"id": RESOURCE.id, "name": "another"},
        {"id": RESOURCE.id, "type": "Microsoft.MachineLearning/commitmentPlans"},
        {"id": f"{RESOURCE.id}2".upper(), "name": "census2"},
    ],
    ids=["group", "below", "name", "type", "twice"],
)
def test_a_list_of_other_things_or_with_one_twice_is_not_believed(item: Json) -> None:
    page = Answer(200, {"value": [{"id": f"{RESOURCE.id}2"}, item]})
    with (
        serving(answers(page)) as (provider, _),
        pytest.raises(Unavailable, match="the service lists ") as failed,
    ):
        list(provider.scan("/subscriptions/s/resourceGroups/g"))
    assert failed.value.next_step


@pytest.mark.parametrize(
    "odd",
    [
        {"id": f"{RESOURCE.id}2"},
        {"name": "another"},
        {"type": "Microsoft.MachineLearning/commitmentPlans"},
        {"id": 7},
    ],
    ids=["id", "name", "type", "no id"],
)
def test_the_definition_of_another_service_is_no_answer(odd: Json) -> None:
    with (
        serving(answers(Answer(200, {**live(), **odd}))) as (provider, _),
        pytest.raises(Unavailable, match="another service"),
    ):
        provider.read(RESOURCE)


@pytest.mark.parametrize("status", [202, 203, 206])
def test_a_definition_that_is_not_a_whole_answer_is_no_answer(status: int) -> None:
    refused = pytest.raises(Unavailable, match=f"status {status}, which proves nothing")
    with serving(answers(Answer(status, live()))) as (provider, _), refused:
        provider.read(RESOURCE)
    listed = Answer(status, {"value": [live()]})
    with serving(answers(listed)) as (provider, _), refused:
        list(provider.scan("/subscriptions/s/resourceGroups/g"))


def test_a_service_may_spell_an_id_in_another_casing() -> None:
    spelled = {**live(), "id": RESOURCE.id.upper(), "name": "CENSUS"}
    with serving(answers(Answer(200, spelled))) as (provider, _):
        assert provider.read(RESOURCE) is not ABSENT


@pytest.mark.parametrize("word", [[], {"a": 1}, 7, None, "Succeeded " * 999])
@pytest.mark.parametrize("stamp", [[], {"a": 1}, 7, None, "x" * 9999])
def test_a_stamp_or_state_that_is_none_proves_nothing(word: Json, stamp: Json) -> None:
    odd = live(provisioningState=word, modifiedOn=stamp)
    with serving(answers(Answer(200, odd))) as (provider, _):
        seen = provider.read(RESOURCE)
    assert seen is not ABSENT
    assert (seen.stamp, seen.idle) == ("", False)
    with serving(answers(Answer(200, {"value": [odd]}))) as (provider, _):
        (item,) = provider.scan("/subscriptions/s")
    assert (item.stamp, item.idle) == ("", False)


@pytest.mark.parametrize("body", [[], {}, "text", 7])
def test_a_read_that_is_no_definition_is_no_answer(body: Json) -> None:
    with (
        serving(answers(Answer(200, body))) as (provider, _),
        pytest.raises(ServiceError, match="did not return a definition"),
    ):
        provider.read(RESOURCE)
