"""The wire, over real sockets against a server that does as it is told."""

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
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
from reconciler.model import Event, Retrying, Throttling
from reconciler.transport import Client, RateBudget
from reconciler.transport.timeouts import Patience, read_patience
from tests.clocks import FakeClock
from tests.scripted import Answer, Call, Script, answers, run_scripted
from tests.wild import run_wild

OK = Answer(200, {"value": 1})
PATIENCE = Patience(retries=3, total_s=60, connect_s=2, read_s=0.4)


class Told:
    """A client of a scripted server: what was slept, what was emitted, what was asked."""

    def __init__(self, script: Script, patience: Patience = PATIENCE) -> None:
        self.clock = FakeClock()
        self.events: list[Event] = []
        self._server = run_scripted(script)
        self._stack = ExitStack()
        self._patience = patience

    def __enter__(self) -> Self:
        self.server = self._stack.enter_context(self._server)
        clock = self.clock
        self.budget = RateBudget(self.events.append, clock=clock, sleep=clock.sleep)
        self.client = Client(
            self.server.url,
            self.events.append,
            self.budget,
            patience=self._patience,
            clock=clock,
            sleep=clock.sleep,
        )
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def slept(self) -> list[float]:
        return self.clock.slept

    @property
    def calls(self) -> list[Call]:
        return self.server.calls


def failing(told: Told, method: str = "GET", body: Any = None) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        told.client.send(method, "/x", body)
    return caught.value


def test_a_read_carries_the_token_and_asks_for_json() -> None:
    with Told(answers(OK)) as told:
        assert told.client.send("GET", "/a%2Fb?q=%20x").document == {"value": 1}
        (call,) = told.calls
    assert call.target == "/a%2Fb?q=%20x"
    assert call.headers["Authorization"] == "Bearer emulator"
    assert call.headers["Accept"] == "application/json"
    assert not {"Cookie", "X-Exact-Target"} & set(call.headers)


def test_the_token_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_EMULATOR_TOKEN", "another")
    with Told(answers(OK)) as told:
        told.client.send("GET", "/x")
        assert told.calls[0].headers["Authorization"] == "Bearer another"


def test_a_write_is_json_with_its_length() -> None:
    with Told(answers(Answer(202))) as told:
        assert told.client.send("PATCH", "/x", {"ä": [1, None]}).document is None
        (call,) = told.calls
    assert json.loads(call.body) == {"ä": [1, None]}
    assert call.headers["Content-Type"] == "application/json; charset=utf-8"


def test_cookies_are_never_sent_back() -> None:
    with Told(answers(Answer(200, {}, {"Set-Cookie": "session=1; Path=/"}))) as told:
        told.client.send("GET", "/x")
        told.client.send("GET", "/x")
        assert "Cookie" not in told.calls[1].headers


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_what_the_service_did_not_take_is_sent_again(method: str, status: int) -> None:
    with Told(answers(Answer(status, {}), OK)) as told:
        told.client.send(method, "/x")
        assert len(told.calls) == 2
        assert told.client.calls == 2
        (event,) = told.events
    assert isinstance(event, Throttling)
    assert event.subject == f"{'reads' if method == 'GET' else 'writes'} of {told.server.url[7:]}"


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_write_that_may_have_been_done_is_not_sent_again(status: int) -> None:
    with Told(answers(Answer(status, {}), OK)) as told:
        assert told.client.send("GET", "/x").status == 200
    with Told(answers(Answer(status, {}), OK)) as told:
        assert isinstance(failing(told, "PATCH", {}), Unavailable)
        assert len(told.calls) == 1


@pytest.mark.parametrize("lost", [Answer(drop=True), Answer(200, {"a": 1}, cut=True)])
def test_a_lost_answer_is_asked_for_again_and_a_write_is_not(lost: Answer) -> None:
    with Told(answers(lost, OK)) as told:
        assert told.client.send("GET", "/x").document == {"value": 1}
    with Told(answers(lost, OK)) as told:
        assert isinstance(failing(told, "PUT", {}), Unavailable)
        assert len(told.calls) == 1


def test_an_answer_that_does_not_come_is_given_up() -> None:
    with Told(answers(Answer(200, {}, wait=5), OK)) as told:
        assert told.client.send("GET", "/x").status == 200
    with Told(answers(Answer(200, {}, wait=5))) as told:
        error = failing(told, "DELETE")
        assert "no answer within 0.4 s" in error.message


def test_a_write_that_never_reached_anybody_is_sent_again() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    slept: list[float] = []
    events: list[Event] = []
    client = Client(
        f"http://127.0.0.1:{port}",
        events.append,
        RateBudget(events.append),
        patience=PATIENCE,
        sleep=slept.append,
    )
    with pytest.raises(Unavailable, match="cannot be reached"):
        client.send("PUT", "/x", {})
    assert len(slept) == PATIENCE.retries
    assert [type(event) for event in events] == [Retrying] * PATIENCE.retries


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
    header = said() if callable(said) else said
    with Told(
        answers(Answer(429, {}, {"Retry-After": header}), OK), Patience(throttled_s=200)
    ) as told:
        told.client.send("GET", "/x")
        slept = sum(told.slept)
    assert least <= slept <= most


def test_patience_ends() -> None:
    with Told(answers(Answer(502, {}))) as told:
        assert isinstance(failing(told), Unavailable)
        assert len(told.calls) == 1 + PATIENCE.retries
    with Told(answers(Answer(502, {}, {"Retry-After": "50"})), Patience(total_s=10)) as told:
        assert isinstance(failing(told), Unavailable)
        assert (len(told.calls), told.slept) == (1, [])
    with Told(answers(Answer(429, {}, {"Retry-After": "50"})), Patience(throttled_s=10)) as told:
        error = failing(told)
        assert len(told.calls) == 1
    assert isinstance(error, Throttled)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("headers", [{}, {"Retry-After": "7"}])
def test_what_is_refused_is_sent_again_for_as_long_as_patience_lasts(
    status: int, headers: dict[str, str]
) -> None:
    """However often that is: the few retries are for answers that were lost."""
    refusal, patience = Answer(status, {}, headers), Patience(retries=1, throttled_s=300)
    with Told(answers(*[refusal] * 12, OK), patience) as told:
        assert told.client.send("PATCH", "/x", {}).status == 200
        assert len(told.calls) == 13
    with Told(answers(refusal), patience) as told:
        started = told.clock()
        assert isinstance(failing(told, "PATCH", {}), Throttled)
        assert 285 <= told.clock() - started <= 300


def test_one_call_that_is_always_refused_is_given_up_though_others_are_taken() -> None:
    def script(call: Call, _: int) -> Answer:
        other = told.budget.admit("GET", told.server.url, 300)
        other.learn(200, {}, "", 300)
        return Answer(429, {}, {"Retry-After": "7"})

    with Told(script, Patience(throttled_s=300)) as told:
        started = told.clock()
        assert isinstance(failing(told), Throttled)
        assert 280 <= told.clock() - started <= 300


def test_waiting_for_its_turn_costs_a_call_none_of_its_retries() -> None:
    slow, lost = Answer(429, {}, {"Retry-After": "100"}), Answer(drop=True)
    with Told(answers(slow, slow, lost, lost, OK)) as told:
        assert told.client.send("GET", "/x").status == 200


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_in_any_words_is_one(status: int) -> None:
    """A gate before the service may speak for it, and speaks HTML."""
    html = Answer(status, b"<html>busy", {"Content-Type": "text/html"})
    with Told(answers(html, OK)) as told:
        assert told.client.send("PATCH", "/x", {}).status == 200


def test_a_403_names_the_role_and_keeps_code_and_request_id() -> None:
    body = {"error": {"code": "AuthorizationFailed", "message": "no right"}}
    with Told(answers(Answer(403, body, {"x-ms-request-id": "r-1"}))) as told:
        error = failing(told)
    assert isinstance(error, Unauthorized)
    assert error.next_step == "The role Contributor on the service is needed."
    assert (error.status, error.code, error.request_id) == (403, "AuthorizationFailed", "r-1")


def test_the_innermost_code_is_the_one_that_tells() -> None:
    details = [{"code": "CannotChangeStorageAccount", "message": "The StorageAccount …"}]
    body = {"error": {"code": "BadRequest", "message": "invalid", "details": details}}
    with Told(answers(Answer(400, body))) as told:
        error = failing(told)
    assert (error.code, error.message) == ("CannotChangeStorageAccount", "The StorageAccount …")


@pytest.mark.parametrize(
    "body", [[], "x", {"error": []}, {"error": {"code": 7, "details": [3]}}, None]
)
def test_an_error_of_another_shape_is_still_one(body: Any) -> None:
    with Told(answers(Answer(400, body))) as told:
        error = failing(told)
    assert isinstance(error, Rejected)
    assert error.message == "the service answers with status 400"


def test_a_services_words_are_bounded_and_lose_what_could_be_a_credential() -> None:
    words = "see https://a/b?sv=1&sig=PLANTED and Bearer PLANTED " + "x" * 5000
    with Told(answers(Answer(400, {"error": {"code": "C", "message": words}}))) as told:
        error = failing(told)
    assert "PLANTED" not in str(error.findings())
    assert len(error.message) < 400


def test_a_redirect_is_not_followed_and_takes_no_token_along() -> None:
    with run_scripted(answers(OK)) as elsewhere:
        away = Answer(302, None, {"Location": f"{elsewhere.url}/x"})
        with Told(answers(away)) as told:
            error = failing(told)
        assert elsewhere.calls == []
    assert "redirects" in error.message


def test_an_answer_without_end_is_cut() -> None:
    huge = Answer(200, b'"' + b"x" * (65 * 1024 * 1024) + b'"')
    with (
        Told(answers(huge), Patience(read_s=20)) as told,
        pytest.raises(Unavailable, match="64 MB"),
    ):
        told.client.send("PUT", "/x", {})


def test_what_is_no_json_is_named() -> None:
    html = Answer(200, b"<html>", {"Content-Type": "text/html; charset=utf-8"})
    with Told(answers(html)) as told:
        assert "text/html that is not JSON" in failing(told).message


def test_pages_are_followed_byte_for_byte() -> None:
    def script(call: Call, number: int) -> Answer:
        if number == 0:
            host = call.headers["Host"]
            following = f"http://{host}/list?api-version=1&%24skiptoken=a%2Fb%3D%3d"
            return Answer(200, {"value": [1], "nextLink": following})
        return Answer(200, {"value": [2]})

    with Told(script) as told:
        assert list(told.client.pages("/list?api-version=1")) == [1, 2]
        assert told.calls[1].target == "/list?api-version=1&%24skiptoken=a%2Fb%3D%3d"


def test_a_page_elsewhere_is_not_asked_for() -> None:
    with run_scripted(answers(OK)) as elsewhere:
        page = Answer(200, {"value": [1], "nextLink": f"{elsewhere.url}/list"})
        with Told(answers(page)) as told, pytest.raises(Rejected, match="another origin"):
            list(told.client.pages("/list"))
        assert elsewhere.calls == []


def test_pages_in_a_circle_end() -> None:
    def script(call: Call, _: int) -> Answer:
        return Answer(200, {"value": [1], "nextLink": f"http://{call.headers['Host']}/list"})

    with Told(script) as told, pytest.raises(Unavailable, match="circle"):
        list(told.client.pages("/list"))


@pytest.mark.parametrize("page", [{}, [], {"value": 7}, None])
def test_a_list_that_is_none_is_named(page: Any) -> None:
    with Told(answers(Answer(200, page))) as told, pytest.raises(Unavailable, match="list"):
        list(told.client.pages("/list"))


# Where a token may go.


def test_plain_http_beyond_this_machine_gets_no_token() -> None:
    with pytest.raises(ReconcilerError, match="plain http"):
        Client("http://management.azure.com", lambda _: None, RateBudget(lambda _: None))


@pytest.mark.parametrize("given", ["0", "-1", "ten", "1e3", "99999", "3601"])
def test_a_timeout_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(ReconcilerError, match="seconds"):
        read_patience({"RECONCILER_TIMEOUT": given})


def test_a_timeout_can_be_chosen() -> None:
    assert read_patience({}) == Patience()
    chosen = read_patience({"RECONCILER_TIMEOUT": "2.5"})
    assert (chosen.read_s, chosen.total_s, chosen.throttled_s) == (2.5, 10, 50)


# A server that never comes to an end.


ENDLESS = {
    "a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n", b" "),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"x"),
    "answers to come": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ENDLESS)
def test_an_answer_that_comes_little_by_little_is_not_waited_for_for_ever(name: str) -> None:
    """Each part of it comes in time, so that a socket's own timeout never passes."""
    patience = Patience(retries=0, total_s=60, connect_s=2, read_s=0.2)
    with run_wild(*ENDLESS[name]) as url:
        client = Client(url, lambda _: None, RateBudget(lambda _: None), patience=patience)
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
        client = Client(url, lambda _: None, RateBudget(lambda _: None), patience=PATIENCE)
        assert client.send("GET", "/x").document == {"a": 1}
        thread.join()


def test_a_list_that_goes_on_without_items_ends() -> None:
    def script(_: Call, number: int) -> Answer:
        return Answer(200, {"value": [], "nextLink": f"/list/{number}"})

    with Told(script) as told, pytest.raises(Unavailable, match="goes on without items"):
        list(told.client.pages("/list"))
