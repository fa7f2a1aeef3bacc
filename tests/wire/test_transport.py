"""The wire, over real sockets against a server that does as it is told."""

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Self

import pytest

from reconciler.errors import (
    ReconcilerError,
    Rejected,
    ServiceError,
    Throttled,
    Unauthorized,
    Unavailable,
)
from reconciler.model import CallEnded, Event, Retrying, Throttling
from reconciler.transport import Client, CommandRateLimiter
from reconciler.transport.replies import Reply, make_error
from reconciler.transport.timeouts import Timeouts, read_timeouts
from tests.clocks import FakeClock
from tests.scripted import Answer, Call, Script, answers, run_scripted
from tests.wild import run_wild

OK = Answer(200, {"value": 1})
TIMEOUTS = Timeouts(retries=3, total_s=60, connect_s=60, read_s=60)
# For a first answer that comes too late; `Recorder` has patience with the next one.
HASTY = replace(TIMEOUTS, read_s=0.5)


class Recorder:
    """A client of a scripted server: what was slept, what was emitted, what was asked."""

    def __init__(self, script: Script, timeouts: Timeouts = TIMEOUTS) -> None:
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.outcomes: list[tuple[str, str]] = []
        self._server = run_scripted(self._wait_longer(script) if timeouts is HASTY else script)
        self._stack = ExitStack()
        self._patience = timeouts

    def __enter__(self) -> Self:
        self.server = self._stack.enter_context(self._server)
        clock = self.clock
        self.rate_limiter = CommandRateLimiter(self.events.append, clock=clock, sleep=clock.sleep)
        self.client = Client(
            self.server.url,
            self.hear,
            self.rate_limiter,
            timeouts=self._patience,
            clock=clock,
            sleep=clock.sleep,
        )
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _wait_longer(self, script: Script) -> Script:
        """On a busy machine, an answer that comes at once takes a while."""

        def answer(call: Call, number: int) -> Answer:
            connections: Any = self.client._connections
            connections._read_s = TIMEOUTS.read_s
            return script(call, number)

        return answer

    def await_call(self) -> None:
        """Wait until the server has the first call; its client may have given up before."""
        while not self.server.calls:
            time.sleep(0.01)

    def hear(self, event: Event) -> None:
        if isinstance(event, CallEnded):
            self.outcomes.append((event.method, event.outcome))
        else:
            self.events.append(event)

    @property
    def slept(self) -> list[float]:
        return self.clock.slept

    @property
    def calls(self) -> list[Call]:
        return self.server.calls


def failing(recorder: Recorder, method: str = "GET", body: Any = None) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        recorder.client.send(method, "/x", body)
    return caught.value


def test_a_read_carries_the_token_and_asks_for_json() -> None:
    with Recorder(answers(OK)) as recorder:
        assert recorder.client.send("GET", "/a%2Fb?q=%20x").document == {"value": 1}
        (call,) = recorder.calls
    assert call.target == "/a%2Fb?q=%20x"
    assert call.headers["Authorization"] == "Bearer emulator"
    assert call.headers["Accept"] == "application/json"
    assert not {"Cookie", "X-Exact-Target"} & set(call.headers)


def test_the_token_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_EMULATOR_TOKEN", "another")
    with Recorder(answers(OK)) as recorder:
        recorder.client.send("GET", "/x")
        assert recorder.calls[0].headers["Authorization"] == "Bearer another"


def test_a_write_is_json_with_its_length() -> None:
    with Recorder(answers(Answer(202))) as recorder:
        assert recorder.client.send("PATCH", "/x", {"ä": [1, None]}).document is None
        (call,) = recorder.calls
    assert json.loads(call.body) == {"ä": [1, None]}
    assert call.headers["Content-Type"] == "application/json; charset=utf-8"


def test_cookies_are_never_sent_back() -> None:
    with Recorder(answers(Answer(200, {}, {"Set-Cookie": "session=1; Path=/"}))) as recorder:
        recorder.client.send("GET", "/x")
        recorder.client.send("GET", "/x")
        assert "Cookie" not in recorder.calls[1].headers


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_what_the_service_did_not_take_is_sent_again(method: str, status: int) -> None:
    with Recorder(answers(Answer(status, {}), OK)) as recorder:
        recorder.client.send(method, "/x")
        assert len(recorder.calls) == 2
        assert recorder.rate_limiter.sent == 2
        (event,) = recorder.events
    assert isinstance(event, Throttling)
    assert (
        event.subject == f"{'reads' if method == 'GET' else 'writes'} of {recorder.server.url[7:]}"
    )


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_write_that_may_have_been_done_is_not_sent_again(status: int) -> None:
    with Recorder(answers(Answer(status, {}), OK)) as recorder:
        assert recorder.client.send("GET", "/x").status == 200
    with Recorder(answers(Answer(status, {}), OK)) as recorder:
        assert isinstance(failing(recorder, "PATCH", {}), Unavailable)
        assert len(recorder.calls) == 1


@pytest.mark.parametrize("lost", [Answer(drop=True), Answer(200, {"a": 1}, cut=True)])
def test_a_lost_answer_is_asked_for_again_and_a_write_is_not(lost: Answer) -> None:
    with Recorder(answers(lost, OK)) as recorder:
        assert recorder.client.send("GET", "/x").document == {"value": 1}
    with Recorder(answers(lost, OK)) as recorder:
        assert isinstance(failing(recorder, "PUT", {}), Unavailable)
        assert len(recorder.calls) == 1


def test_an_answer_that_does_not_come_is_given_up() -> None:
    with Recorder(answers(Answer(200, {}, wait=60), OK), HASTY) as recorder:
        assert recorder.client.send("GET", "/x").status == 200
    with Recorder(answers(Answer(200, {}, wait=60)), replace(HASTY, read_s=0.4)) as recorder:
        error = failing(recorder, "DELETE")
        assert "no answer within 0.4 s" in error.message


def test_a_write_that_never_reached_anybody_is_sent_again() -> None:
    slept: list[float] = []
    events: list[Event] = []
    with socket.socket() as taken:  # so that no other process listens there
        taken.bind(("127.0.0.1", 0))
        client = Client(
            f"http://127.0.0.1:{taken.getsockname()[1]}",
            events.append,
            CommandRateLimiter(events.append),
            timeouts=TIMEOUTS,
            sleep=slept.append,
        )
        with pytest.raises(Unavailable, match="cannot be reached"):
            client.send("PUT", "/x", {})
    assert len(slept) == TIMEOUTS.retries
    lost = [event for event in events if isinstance(event, CallEnded)]
    assert lost == [CallEnded("PUT", "lost")] * (TIMEOUTS.retries + 1)
    assert [type(one) for one in events if one not in lost] == [Retrying] * TIMEOUTS.retries


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (OK, "ok"),
        (Answer(204), "ok"),
        (Answer(302, headers={"Location": "/y"}), "refused"),
        (Answer(404, {}), "refused"),
        (Answer(500, {}), "failed"),
        (Answer(200, b"<html>"), "lost"),
        (Answer(drop=True), "lost"),
    ],
)
def test_each_call_is_reported_with_its_outcome(answer: Answer, outcome: str) -> None:
    with Recorder(answers(answer), replace(TIMEOUTS, retries=0)) as recorder:
        with suppress(ServiceError):
            recorder.client.send("GET", "/x?token=secret")
        assert recorder.outcomes == [("GET", outcome)]
    with Recorder(answers(Answer(429, {}), OK)) as recorder:
        recorder.client.send("PUT", "/x", {})
        assert recorder.outcomes == [("PUT", "throttled"), ("PUT", "ok")]


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        ("7", 7, 7),
        ("0", 0, 0),
        (lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True), 17, 21),
        (lambda: format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True), 0, 0),
        ("soon", 0.0, 0.3),
        ("99999", 59, 60),
    ],
)
def test_retry_after_is_obeyed_in_both_forms(
    said: str | Callable[[], str], least: float, most: float
) -> None:
    header, started = said() if callable(said) else said, time.monotonic()
    with Recorder(
        answers(Answer(429, {}, {"Retry-After": header}), OK), Timeouts(throttled_s=200)
    ) as recorder:
        recorder.client.send("GET", "/x")
        slept = sum(recorder.slept)
    passed = time.monotonic() - started if callable(said) else 0.0
    assert least - passed <= slept <= most


@pytest.mark.parametrize("ahead_s", [-7200, 7200])
def test_a_time_to_retry_after_is_held_against_the_time_of_the_service(ahead_s: int) -> None:
    there = datetime.now(UTC) + timedelta(seconds=ahead_s)
    now, until = (format_datetime(there + timedelta(seconds=s), usegmt=True) for s in (0, 20))
    busy = Answer(429, {}, {"Retry-After": until, "Date": now})
    with Recorder(answers(busy, OK), Timeouts(throttled_s=200)) as recorder:
        recorder.client.send("GET", "/x")
        assert sum(recorder.slept) == pytest.approx(20, abs=1)


def test_the_time_of_the_service_goes_on_after_its_last_reply() -> None:
    told = Answer(200, {}, {"Date": "Fri, 20 Nov 2026 12:00:00 GMT"})
    with Recorder(answers(told)) as recorder:
        recorder.client.send("GET", "/x")
        recorder.clock.sleep(90)
        assert recorder.client.now() == datetime(2026, 11, 20, 12, 1, 30, tzinfo=UTC)


def test_patience_ends() -> None:
    with Recorder(answers(Answer(502, {}))) as recorder:
        assert isinstance(failing(recorder), Unavailable)
        assert len(recorder.calls) == 1 + TIMEOUTS.retries
    with Recorder(
        answers(Answer(502, {}, {"Retry-After": "50"})), Timeouts(total_s=10)
    ) as recorder:
        assert isinstance(failing(recorder), Unavailable)
        assert (len(recorder.calls), recorder.slept) == (1, [])
    with Recorder(
        answers(Answer(429, {}, {"Retry-After": "50"})), Timeouts(throttled_s=10)
    ) as recorder:
        error = failing(recorder)
        assert len(recorder.calls) == 1
    assert isinstance(error, Throttled)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("headers", [{}, {"Retry-After": "7"}])
def test_what_is_refused_is_sent_again_for_as_long_as_patience_lasts(
    status: int, headers: dict[str, str]
) -> None:
    """However often that is: the few retries are for answers that were lost."""
    refusal, timeouts = Answer(status, {}, headers), Timeouts(retries=1, throttled_s=300)
    with Recorder(answers(*[refusal] * 12, OK), timeouts) as recorder:
        assert recorder.client.send("PATCH", "/x", {}).status == 200
        assert len(recorder.calls) == 13
    with Recorder(answers(refusal), timeouts) as recorder:
        started = recorder.clock()
        assert isinstance(failing(recorder, "PATCH", {}), Throttled)
        assert 285 <= recorder.clock() - started <= 300


def test_one_call_that_is_always_refused_is_given_up_though_others_are_taken() -> None:
    def script(call: Call, _: int) -> Answer:
        other = recorder.rate_limiter.admit("GET", recorder.server.url, 300)
        other.learn(200, {}, "", 300)
        return Answer(429, {}, {"Retry-After": "7"})

    with Recorder(script, Timeouts(throttled_s=300)) as recorder:
        started = recorder.clock()
        assert isinstance(failing(recorder), Throttled)
        assert 280 <= recorder.clock() - started <= 300


def test_waiting_for_its_turn_costs_a_call_none_of_its_retries() -> None:
    slow, lost = Answer(429, {}, {"Retry-After": "100"}), Answer(drop=True)
    with Recorder(answers(slow, slow, lost, lost, OK)) as recorder:
        assert recorder.client.send("GET", "/x").status == 200


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_in_any_words_is_one(status: int) -> None:
    """A gate before the service may speak for it, and speaks HTML."""
    html = Answer(status, b"<html>busy", {"Content-Type": "text/html"})
    with Recorder(answers(html, OK)) as recorder:
        assert recorder.client.send("PATCH", "/x", {}).status == 200


def test_a_403_names_the_role_and_keeps_code_and_request_id() -> None:
    body = {"error": {"code": "AuthorizationFailed", "message": "no right"}}
    with Recorder(answers(Answer(403, body, {"x-ms-request-id": "r-1"}))) as recorder:
        error = failing(recorder)
    assert isinstance(error, Unauthorized)
    assert error.next_step == "The role Contributor on the service is needed."
    assert (error.status, error.code, error.request_id) == (403, "AuthorizationFailed", "r-1")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"message": "No model.", "target": "assets.a"}, "No model. (target: assets.a)"),
        (
            {
                "message": "m",
                "target": "outer",
                "details": [{"message": "No data.", "target": "Train"}],
            },
            "No data. (target: Train)",
        ),
        (
            {"message": "m", "target": "outer", "details": [{"message": "No data."}]},
            "No data. (target: outer)",
        ),
        ({"message": "assets.a is wrong.", "target": "assets.a"}, "assets.a is wrong."),
        ({"message": "No.", "target": ["x"]}, "No."),
        ({"target": "assets.a"}, "the service answers with status 400"),
    ],
)
def test_an_error_names_its_target(error: Any, said: str) -> None:
    with Recorder(answers(Answer(400, {"error": error}))) as recorder:
        assert failing(recorder).message == said


QUOTED = {
    'error detail: {"errors":{"VmSize":["Not enough quota. Limit: 6."]},"status":400}': (
        "Not enough quota. Limit: 6 (VmSize)"
    ),
    'x {"errors":{"A":["one","two"],"B":"three","C":[7,""]}}': "one (A); two (A); three (B)",
    'InferencingClientCallFailed {"title":"Not Found"}': "Not Found",
    '{"error":{"message":"inner {\\"title\\":\\"innermost\\"}"},"title":"outer"}': "innermost",
    # What is not such an error stays as it is.
    'says {"a": 1}': 'says {"a": 1}',
    'cut off {"errors": {"VmSize": ["Not': 'cut off {"errors": {"VmSize": ["Not',
    'more {"title": "T"} after it': 'more {"title": "T"} after it',
    '{"title": 7}': '{"title": 7}',
}


@pytest.mark.parametrize(("text", "said"), QUOTED.items())
def test_the_error_of_another_service_inside_a_message_is_read(text: str, said: str) -> None:
    error = make_error(Reply(400, {}, {"error": {"code": "BadRequest", "message": text}}))
    assert error.message == said


def test_a_hostile_text_inside_a_message_is_left_as_it_is() -> None:
    for text in ('{"a":' * 3_000, '{"errors":' * 2_000, '{"errors":{"A":["' + "x" * 20_000):
        error = make_error(Reply(400, {}, {"error": {"code": "c", "message": text}}))
        assert error.message == f"{text[:300]}…"


def test_the_innermost_code_is_the_one_that_tells() -> None:
    details = [{"code": "CannotChangeStorageAccount", "message": "The StorageAccount …"}]
    body = {"error": {"code": "BadRequest", "message": "invalid", "details": details}}
    with Recorder(answers(Answer(400, body))) as recorder:
        error = failing(recorder)
    assert (error.code, error.message) == ("CannotChangeStorageAccount", "The StorageAccount …")


def test_a_detail_of_one_word_leaves_the_sentence_around_it() -> None:
    details = [{"code": "ManagementRequestUnauthorized", "message": "Unauthorized"}]
    sentence = "Request is unauthorized to access resource."
    body = {"error": {"code": "Unauthorized", "message": sentence, "details": details}}
    with Recorder(answers(Answer(401, body))) as recorder:
        error = failing(recorder)
    assert (error.code, error.message) == ("ManagementRequestUnauthorized", sentence)


def test_a_login_is_the_cure_only_where_no_emulator_answers() -> None:
    reply = Reply(401, {}, {"error": {"code": "Unauthorized", "message": "no"}})
    assert "az login" in make_error(reply).next_step
    assert "emulator" not in make_error(reply).next_step
    assert "az login" not in make_error(reply, local=True).next_step


@pytest.mark.parametrize(
    "body", [[], "x", {"error": []}, {"error": {"code": 7, "details": [3]}}, None]
)
def test_an_error_of_another_shape_is_still_one(body: Any) -> None:
    with Recorder(answers(Answer(400, body))) as recorder:
        error = failing(recorder)
    assert isinstance(error, Rejected)
    assert error.message == "the service answers with status 400"


def test_a_services_words_are_bounded_and_lose_what_could_be_a_credential() -> None:
    words = "see https://a/b?sv=1&sig=PLANTED and Bearer PLANTED " + "x" * 5000
    with Recorder(answers(Answer(400, {"error": {"code": "C", "message": words}}))) as recorder:
        error = failing(recorder)
    assert "PLANTED" not in str(error.findings())
    assert len(error.message) < 400


def test_304_is_an_answer_only_where_it_is_asked_for() -> None:
    with Recorder(answers(Answer(304))) as recorder:
        client = recorder.client
        assert client.send("POST", "/a", {}, answers={304}).status == 304
        with pytest.raises(Rejected, match="redirects"):
            client.send("POST", "/a", {})
        with pytest.raises(Rejected, match="redirects"):
            client.send("GET", "/a")


def test_a_refusal_is_an_answer_where_it_is_asked_for() -> None:
    with Recorder(answers(Answer(424, b"Traceback", {"X-Why": "it died"}))) as recorder:
        reply = recorder.client.send("POST", "/a", {}, repeats=True, answers={424})
        assert (reply.status, reply.document, reply.headers["X-Why"]) == (424, None, "it died")
        with pytest.raises(Rejected, match="status 424"):
            recorder.client.send("POST", "/a", {}, repeats=True)
        assert len(recorder.calls) == 2


@pytest.mark.parametrize("lost", [Answer(drop=True), Answer(500), Answer(200, b"<html>")])
def test_a_call_that_changes_nothing_is_sent_again_whatever_its_method_is(lost: Answer) -> None:
    with Recorder(answers(lost, OK)) as recorder:
        assert recorder.client.send("POST", "/a", {"x": 1}, repeats=True).document == {"value": 1}
        assert [json.loads(call.body) for call in recorder.calls] == [{"x": 1}] * 2


def test_the_headers_of_a_call_are_those_of_no_other_and_replace_no_token() -> None:
    own = {"azureml-model-deployment": "green", "Authorization": "Bearer stolen"}
    with Recorder(answers(OK)) as recorder:
        recorder.client.send("POST", "/a", {}, headers=own)
        recorder.client.send("POST", "/a", {})
        first, second = recorder.calls
    assert first.headers["azureml-model-deployment"] == "green"
    assert first.headers["Authorization"] == "Bearer emulator"
    assert "azureml-model-deployment" not in second.headers


def test_a_redirect_is_not_followed_and_takes_no_token_along() -> None:
    with run_scripted(answers(OK)) as elsewhere:
        away = Answer(302, None, {"Location": f"{elsewhere.url}/x"})
        with Recorder(answers(away)) as recorder:
            error = failing(recorder)
        assert elsewhere.calls == []
    assert "redirects" in error.message


def test_an_answer_without_end_is_cut() -> None:
    huge = Answer(200, b'"' + b"x" * (20 * 1024 * 1024) + b'"')
    with (
        Recorder(answers(huge), Timeouts(read_s=60)) as recorder,
        pytest.raises(Unavailable, match="18 MB"),
    ):
        recorder.client.send("PUT", "/x", {})


def test_an_answer_of_too_many_values_is_refused_at_once() -> None:
    """Each is small on the way, and takes a hundred times as much memory."""
    many = Answer(200, b'{"value":[' + b"[]," * 400_000 + b"1]}")
    with Recorder(answers(many)) as recorder:
        assert "the service answers more than" in failing(recorder).message
        assert (len(recorder.calls), recorder.slept) == (1, [])
        # A list of resources may be longer.
        assert sum(1 for _ in recorder.client.pages("/x")) == 400_001


def test_a_refusal_of_too_many_values_is_a_refusal() -> None:
    many = Answer(400, b"[" + b"[]," * 700_000 + b"1]")
    with Recorder(answers(many)) as recorder:
        assert failing(recorder).status == 400


def test_what_is_no_json_is_named() -> None:
    html = Answer(200, b"<html>", {"Content-Type": "text/html; charset=utf-8"})
    with Recorder(answers(html)) as recorder:
        assert "text/html that is not JSON" in failing(recorder).message


def test_pages_are_followed_byte_for_byte() -> None:
    def script(call: Call, number: int) -> Answer:
        if number == 0:
            host = call.headers["Host"]
            following = f"http://{host}/list?api-version=1&%24skiptoken=a%2Fb%3D%3d"
            return Answer(200, {"value": [1], "nextLink": following})
        return Answer(200, {"value": [2]})

    with Recorder(script) as recorder:
        assert list(recorder.client.pages("/list?api-version=1")) == [1, 2]
        assert recorder.calls[1].target == "/list?api-version=1&%24skiptoken=a%2Fb%3D%3d"


def test_a_page_elsewhere_is_not_asked_for() -> None:
    with run_scripted(answers(OK)) as elsewhere:
        page = Answer(200, {"value": [1], "nextLink": f"{elsewhere.url}/list"})
        with Recorder(answers(page)) as recorder, pytest.raises(Rejected, match="another origin"):
            list(recorder.client.pages("/list"))
        assert elsewhere.calls == []


def test_pages_in_a_circle_end() -> None:
    def script(call: Call, _: int) -> Answer:
        return Answer(200, {"value": [1], "nextLink": f"http://{call.headers['Host']}/list"})

    with Recorder(script) as recorder, pytest.raises(Unavailable, match="repeats a page"):
        list(recorder.client.pages("/list"))


@pytest.mark.parametrize("page", [{}, [], {"value": 7}, None])
def test_a_list_that_is_none_is_named(page: Any) -> None:
    with Recorder(answers(Answer(200, page))) as recorder, pytest.raises(Unavailable, match="list"):
        list(recorder.client.pages("/list"))


# Where a token may go.


def test_plain_http_beyond_this_machine_gets_no_token() -> None:
    with pytest.raises(ReconcilerError, match="plain http"):
        Client("http://management.azure.com", lambda _: None, CommandRateLimiter(lambda _: None))


@pytest.mark.parametrize("given", ["0", "-1", "ten", "1e3", "99999", "3601"])
def test_a_timeout_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(ReconcilerError, match="seconds"):
        read_timeouts({"RECONCILER_TIMEOUT": given})


def test_a_timeout_can_be_chosen() -> None:
    assert read_timeouts({}) == Timeouts()
    chosen = read_timeouts({"RECONCILER_TIMEOUT": "2.5"})
    assert (chosen.read_s, chosen.total_s, chosen.throttled_s) == (2.5, 10, 50)


# A server that never comes to an end.


ENDLESS = {
    "a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n", b" "),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"x"),
    "answers to come": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_an_answer_that_comes_little_by_little_is_not_waited_for_for_ever(name: str) -> None:
    """Each part of it comes in time, so that a socket's own timeout never passes."""
    timeouts = Timeouts(retries=0, total_s=60, connect_s=60, read_s=0.2)
    with run_wild(*ENDLESS[name]) as url:
        client = Client(url, lambda _: None, CommandRateLimiter(lambda _: None), timeouts=timeouts)
        with pytest.raises(Unavailable):
            client.send("GET", "/x")


def test_an_answer_that_comes_in_parts_is_read_whole() -> None:
    parts = [b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n", b'{"a"', b": 1}"]
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            caller, _ = listening.accept()
            with caller:
                caller.recv(65_536)
                for part in parts:
                    caller.sendall(part)
                    time.sleep(0.1)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        client = Client(url, lambda _: None, CommandRateLimiter(lambda _: None), timeouts=TIMEOUTS)
        assert client.send("GET", "/x").document == {"a": 1}
        thread.join()


def test_a_list_that_goes_on_without_items_ends() -> None:
    def script(_: Call, number: int) -> Answer:
        return Answer(200, {"value": [], "nextLink": f"/list/{number}"})

    with Recorder(script) as recorder, pytest.raises(Unavailable, match="too many empty pages"):
        list(recorder.client.pages("/list"))
