"""The calls to a forge over real sockets, against a server that does as it is told."""

import base64
import contextlib
import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from reconciler.errors import (
    Busy,
    ReconcilerError,
    Rejected,
    ReplyLost,
    ServiceError,
    Throttled,
    Unauthorized,
    Unavailable,
)
from reconciler.model import Event, Retrying
from reconciler.secrets.redaction import Redaction
from reconciler.transport.forge import ForgeToken, Speaker
from reconciler.transport.timeouts import Timeouts
from tests.clocks import FakeClock
from tests.scripted import Answer, Script, Scripted, answers, run_scripted

SECRET = "ghs_plantedTokenOfThisJob0123456789"
TOKEN = ForgeToken(SECRET, "GITHUB_TOKEN")
TIMEOUTS = Timeouts(retries=3, total_s=60, throttled_s=600, connect_s=60, read_s=60)
OK = Answer(200, {"id": 1})
RIGHT = "Give the job the right: permissions: {pull-requests: write}."


class Heard:
    """A speaker to a scripted server; `clock` moves only where the speaker sleeps."""

    def __init__(self, server: Scripted, **more: Any) -> None:
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.redaction = Redaction()
        self.speaker = Speaker(
            "GitHub",
            f"{server.url}/api",
            more.pop("token", TOKEN),
            self.events.append,
            redaction=self.redaction,
            timeouts=more.pop("timeouts", TIMEOUTS),
            clock=self.clock,
            sleep=self.clock.sleep,
            **more,
        )


def send(script: Script, method: str = "GET", body: Any = None, **more: Any) -> tuple[Any, Heard]:
    with run_scripted(script) as server:
        heard = Heard(server, **more)
        return heard.speaker.send(method, "/x", body, right=RIGHT).document, heard


def fail(script: Script, method: str = "GET", *, again: bool = False) -> tuple[ServiceError, int]:
    """The error of a call, and how many requests were made."""
    body = {"body": "text"} if method != "GET" else None
    with run_scripted(script) as server:
        speaker = Heard(server).speaker
        with pytest.raises(ServiceError) as raised:
            speaker.send(method, "/x", body, right=RIGHT, again=again)
    return raised.value, len(server.calls)


def test_a_call_carries_the_token_and_the_headers_of_the_forge() -> None:
    with run_scripted(answers(OK)) as server:
        heard = Heard(server, headers={"X-GitHub-Api-Version": "2022-11-28", "Accept": "a/b"})
        heard.speaker.send("POST", "/x?a=%2F", {"body": "é"})
    call = server.calls[0]
    assert (call.method, call.target) == ("POST", "/api/x?a=%2F")
    assert json.loads(call.body) == {"body": "é"}
    assert call.headers["Authorization"] == f"Bearer {SECRET}"
    assert call.headers["X-GitHub-Api-Version"] == "2022-11-28"
    assert call.headers["Accept"] == "a/b"
    assert call.headers["User-Agent"].startswith("reconciler/")


def test_a_token_of_a_person_on_azure_is_sent_as_a_password() -> None:
    token = ForgeToken("personal-token-0123", "SYSTEM_ACCESSTOKEN", scheme="Basic ")
    with run_scripted(answers(Answer(200, {"echo": "OnBlcnNvbmFsLXRva2VuLTAxMjM="}))) as server:
        reply = Heard(server, token=token).speaker.send("GET", "/x")
    sent = server.calls[0].headers["Authorization"].split(" ")
    assert sent[0] == "Basic"
    assert base64.b64decode(sent[1]) == b":personal-token-0123"
    assert sent[1][2:-2] not in json.dumps(reply.document)


def test_a_redirect_within_the_api_is_a_new_name_and_no_page_to_sign_in() -> None:
    with (
        run_scripted(
            lambda *_: Answer(301, None, {"Location": f"{server.url}/api/login"})
        ) as server,
        pytest.raises(Rejected, match="redirects to"),
    ):
        Heard(server).speaker.send("GET", "/x")


def test_the_token_of_a_job_of_gitlab_is_sent_in_its_own_header() -> None:
    token = ForgeToken("job-token-0123456789", "CI_JOB_TOKEN", "JOB-TOKEN", "", reads_only=True)
    with run_scripted(answers(OK)) as server:
        Heard(server, token=token).speaker.send("GET", "/x")
    assert server.calls[0].headers["JOB-TOKEN"] == "job-token-0123456789"
    assert "Authorization" not in server.calls[0].headers


@pytest.mark.parametrize(
    "answer", [Answer(502), Answer(200, b"<"), Answer(drop=True), Answer(cut=True, body={"a": 1})]
)
def test_a_read_is_sent_again(answer: Answer) -> None:
    document, heard = send(answers(answer, answer, OK))
    assert document == {"id": 1}
    assert len(heard.clock.slept) == 2
    assert isinstance(heard.events[0], Retrying)


@pytest.mark.parametrize("answer", [Answer(502), Answer(200, b"<"), Answer(drop=True)])
def test_a_creating_call_is_not_sent_again(answer: Answer) -> None:
    error, calls = fail(answers(answer, OK), "POST")
    assert isinstance(error, ReplyLost)
    assert calls == 1


@pytest.mark.parametrize("answer", [Answer(502), Answer(drop=True)])
def test_a_call_that_does_no_harm_twice_is_sent_again(answer: Answer) -> None:
    with run_scripted(answers(answer, OK)) as server:
        assert Heard(server).speaker.send("PATCH", "/x", {}, again=True).status == 200
    assert len(server.calls) == 2


def test_a_call_that_would_be_wrong_later_is_sent_once() -> None:
    with run_scripted(answers(limited({"Retry-After": "7"}), OK)) as server:
        heard = Heard(server)
        with pytest.raises(Throttled):
            heard.speaker.send("PATCH", "/x", {}, once=True)
        assert heard.clock.slept == [7.0]
        assert heard.speaker.send("PATCH", "/x", {}, once=True).status == 200
    assert len(server.calls) == 2


def test_a_conflict_is_waited_for_where_a_second_call_does_no_harm() -> None:
    locked = Answer(409, {"message": "locked"})
    with run_scripted(answers(locked, locked, OK)) as server:
        assert Heard(server).speaker.send("POST", "/x", {}, again=True).status == 200
    with run_scripted(answers(locked, OK)) as server:
        speaker = Heard(server).speaker
        with pytest.raises(Busy):
            speaker.send("POST", "/x", {})
    assert len(server.calls) == 1


def test_a_forge_that_never_answers_is_given_up() -> None:
    error, calls = fail(answers(Answer(500)))
    assert isinstance(error, Unavailable)
    assert calls == TIMEOUTS.retries + 1


def limited(headers: Mapping[str, str], status: int = 403, message: str = "No") -> Answer:
    return Answer(status, {"message": message}, headers)


DATE = "Mon, 23 Nov 2026 03:17:00 GMT"
RESET = str(1_795_403_820 + 30)  # 30 s after DATE


@pytest.mark.parametrize(
    ("answer", "waited"),
    [
        (limited({"Retry-After": "7"}), 7.0),
        (limited({"Retry-After": "7"}, 429), 7.0),
        (limited({"x-ratelimit-remaining": "0", "x-ratelimit-reset": RESET, "Date": DATE}), 31.0),
        (limited({"RateLimit-Remaining": "0", "RateLimit-Reset": RESET, "Date": DATE}, 429), 31.0),
        (limited({}, 403, "You have exceeded a secondary rate limit"), 60.0),
        (limited({"x-ratelimit-remaining": "88"}, 403, "secondary rate limit"), 60.0),
        (limited({}, 429), 2.0),
        (limited({"Retry-After": "3"}, 503), 3.0),
        (limited({}, 429, "TF400733: The request has been canceled"), 2.0),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_call_that_is_refused_for_now_waits_as_it_is_asked(
    answer: Answer, waited: float, method: str
) -> None:
    with run_scripted(answers(answer, OK)) as server:
        heard = Heard(server)
        heard.speaker.send(method, "/x", {} if method == "POST" else None)
    assert heard.clock.slept == [waited]


def test_without_a_word_about_the_time_the_wait_doubles() -> None:
    _, heard = send(answers(*[limited({}, 429)] * 3, OK))
    assert heard.clock.slept == [2.0, 4.0, 8.0]


def test_a_limit_that_ends_too_late_is_an_error_that_says_when() -> None:
    late = str(int(RESET) + 3_000)
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": late, "Date": DATE}
    error, calls = fail(answers(limited(headers)), "POST")
    assert isinstance(error, Throttled)
    assert calls == 1
    assert error.next_step == "The limit ends at 2026-11-23T04:07:30Z. Run the job again then."


@pytest.mark.parametrize(
    "headers", [{}, {"x-ratelimit-remaining": "4999", "x-ratelimit-reset": RESET}]
)
def test_a_missing_right_is_not_a_limit_and_is_named(headers: Mapping[str, str]) -> None:
    answer = limited(headers, 403, "Resource not accessible by integration")
    error, calls = fail(answers(answer), "POST")
    assert isinstance(error, Unauthorized)
    assert (error.message, error.next_step, calls) == (
        "Resource not accessible by integration",
        RIGHT,
        1,
    )
    assert re.fullmatch(r"POST http://127\.0\.0\.1:\d+/api/x", error.subject)


def test_a_wait_that_comes_with_an_answer_is_kept_before_the_next_call() -> None:
    with run_scripted(answers(Answer(200, {}, {"Retry-After": "9"}), OK)) as server:
        heard = Heard(server)
        heard.speaker.send("GET", "/x")
        assert heard.clock.slept == []
        heard.speaker.send("GET", "/x")
        heard.speaker.send("GET", "/x")
    assert heard.clock.slept == [9.0]


HTML = {"Content-Type": "text/html; charset=utf-8"}


@pytest.mark.parametrize(
    "answer",
    [
        Answer(203, b"<html>Sign in</html>", HTML),
        Answer(200, b"<html>Sign in</html>", HTML),
        Answer(302, None, {"Location": "https://spsprodeus1.vssps.visualstudio.com/_signin?x=1"}),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_to_sign_in_is_a_token_that_is_not_accepted(answer: Answer, method: str) -> None:
    error, calls = fail(answers(answer), method)
    assert isinstance(error, Unauthorized)
    assert calls == 1
    assert "GITHUB_TOKEN" in error.message
    assert "visualstudio" not in error.message


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404, {"message": "Not Found"}),
        Answer(401, {"message": "Bad credentials"}),
        Answer(500),
        Answer(200, b"<"),
        Answer(drop=True),
        Answer(301, None, {"Location": "/elsewhere"}),
        Answer(203, b"<html>", HTML),
        Answer(200, [1]),
    ],
)
def test_each_error_names_the_call_without_its_query(answer: Answer) -> None:
    with run_scripted(answers(answer)) as server:
        speaker = Heard(server).speaker
        with pytest.raises(ServiceError) as raised:
            list(speaker.read_pages(f"/x?cursor={SECRET}"))
    assert raised.value.subject == f"GET {server.url}/api/x"
    assert raised.value.next_step or answer.status == 500


def test_a_wrong_token_is_named_by_its_variable() -> None:
    error, _ = fail(answers(Answer(401, {"message": "Bad credentials"})))
    assert isinstance(error, Unauthorized)
    assert (error.message, "GITHUB_TOKEN" in error.next_step) == ("Bad credentials", True)


def test_a_redirect_is_not_followed() -> None:
    with run_scripted(answers(OK)) as thief:
        moved = Answer(301, None, {"Location": f"{thief.url.replace('127.0.0.1', 'localhost')}/x"})
        error, calls = fail(answers(moved))
    assert (calls, thief.calls) == (1, [])
    assert isinstance(error, Rejected)
    assert "redirects to localhost" in error.message
    assert SECRET not in f"{error.message}{error.next_step}"


@pytest.mark.parametrize("target", ["http://[", "//", "", "javascript:x", "http://a b/", "\xff"])
def test_a_redirect_to_anything_is_refused(target: str) -> None:
    error, calls = fail(answers(Answer(302, None, {"Location": target})))
    assert isinstance(error, Rejected)
    assert calls == 1


@pytest.mark.parametrize("link", ["<http://[>; rel=next", '<>; rel="next"', "x; rel=next", ";;=,<"])
def test_a_next_page_with_a_wrong_address_is_refused(link: str) -> None:
    with run_scripted(answers(page([], link))) as server:
        speaker = Heard(server).speaker
        with contextlib.suppress(Rejected):
            assert list(speaker.read_pages("/x")) == []
    assert len(server.calls) == 1


def page(items: list[Any], link: str = "", **headers: str) -> Answer:
    return Answer(200, items, {**({"Link": link} if link else {}), **headers})


def test_three_pages_are_followed_byte_for_byte() -> None:
    with run_scripted(lambda call, number: pages[number]) as server:
        following = (
            f'<{server.url}/api/x?page=2&cursor=a%3Db>; rel="next", <{server.url}>; rel="last"'
        )
        pages = [
            page([{"id": 1}], following),
            page([{"id": 2}], f'<{server.url}/api/x?page=3>; rel="next"'),
            page([{"id": 3}], f'<{server.url}/api/x?page=1>; rel="first"'),
        ]
        items = list(Heard(server).speaker.read_pages("/x"))
    assert [one["id"] for one in items] == [1, 2, 3]
    assert [one.target for one in server.calls][1:] == [
        "/api/x?page=2&cursor=a%3Db",
        "/api/x?page=3",
    ]


def test_pages_without_links_are_counted() -> None:
    script = answers(
        page([{"id": 1}], **{"x-next-page": "2"}), page([{"id": 2}], **{"x-next-page": ""})
    )
    with run_scripted(script) as server:
        items = list(Heard(server).speaker.read_pages("/x?per_page=100&page=1"))
    assert [one["id"] for one in items] == [1, 2]
    assert server.calls[1].target == "/api/x?per_page=100&page=2"


def test_a_page_elsewhere_is_not_asked_for() -> None:
    with run_scripted(answers(OK)) as thief:
        link = f'<{thief.url.replace("127.0.0.1", "localhost")}/x>; rel="next"'
        with run_scripted(answers(page([], link))) as server, pytest.raises(Rejected):
            list(Heard(server).speaker.read_pages("/x"))
    assert thief.calls == []


def test_a_list_that_repeats_a_page_ends() -> None:
    with (
        run_scripted(lambda call, _: page([], f'<{server.url}/api/x>; rel="next"')) as server,
        pytest.raises(Unavailable, match="repeats no page"),
    ):
        list(Heard(server).speaker.read_pages("/x"))
    assert len(server.calls) == 1


@pytest.mark.parametrize("body", [{"value": 1}, {}, "x", [1], [None], 7])
def test_a_list_of_another_form_is_refused(body: Any) -> None:
    with run_scripted(answers(Answer(200, body))) as server, pytest.raises(Unavailable):
        list(Heard(server).speaker.read_pages("/x"))


def test_a_wrapped_list_is_read() -> None:
    with run_scripted(answers(Answer(200, {"count": 1, "value": [{"id": 1}]}))) as server:
        assert list(Heard(server).speaker.read_pages("/x")) == [{"id": 1}]


def test_an_endless_answer_is_refused_at_once() -> None:
    big = Answer(200, b'"' + b"x" * (17 * 1024 * 1024) + b'"')
    error, calls = fail(answers(big))
    assert isinstance(error, Unavailable)
    assert (calls, "16 MB" in error.message) == (1, True)


def test_an_answer_of_too_many_values_is_refused_at_once() -> None:
    error, calls = fail(answers(Answer(200, b"[" + b"1," * 600_000 + b"1]")))
    assert (calls, "values" in error.message) == (1, True)


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (404, {"message": "Not Found"}, Rejected, "Not Found"),
        (409, {"message": "locked"}, Busy, "locked"),
        (
            422,
            {
                "message": "Validation Failed",
                "errors": [{"resource": "IssueComment", "message": "Body is too long"}],
            },
            Rejected,
            "Validation Failed. Body is too long",
        ),
        (400, {"message": {"state": ["does not exist"]}}, Rejected, "state does not exist"),
        (400, {"error": "bad", "error_description": "very"}, Rejected, "bad. very"),
        (400, {"message": ["a", {"b": ["c"]}]}, Rejected, "a. b c"),
        (400, None, Rejected, "GitHub answers with status 400"),
    ],
)
def test_the_text_of_a_refusal_is_shown(
    status: int, body: Any, kind: type[ServiceError], message: str
) -> None:
    error, _ = fail(answers(Answer(status, body)))
    assert (type(error), error.message, error.status) == (kind, message, status)


def test_what_a_forge_repeats_of_the_token_is_hidden() -> None:
    error, _ = fail(answers(Answer(400, {"message": f"bad token {SECRET}"})))
    assert SECRET not in error.message
    document, heard = send(answers(Answer(200, {"echo": SECRET})))
    assert SECRET not in json.dumps(document)
    assert SECRET not in heard.redaction.redact(f"x {SECRET}")


def test_the_log_of_requests_holds_neither_token_nor_query(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, "reconciler.requests"), run_scripted(answers(OK)) as server:
        Heard(server).speaker.send("POST", f"/x/{SECRET}?token={SECRET}", {"body": SECRET})
    assert len(caplog.messages) == 1
    assert SECRET not in caplog.text
    assert caplog.messages[0].startswith("POST ")


def test_a_dry_run_prints_each_request_and_sends_only_reads() -> None:
    printed: list[str] = []
    with run_scripted(answers(OK)) as server:
        speaker = Heard(server, print_request=printed.append).speaker
        assert speaker.send("GET", "/x").document == {"id": 1}
        for method in ("POST", "PATCH", "PUT", "DELETE"):
            assert speaker.send(method, "/y", {"body": f"é {SECRET}"}).document is None
    assert [one.method for one in server.calls] == ["GET"]
    assert len(printed) == 5
    assert printed[0] == f"GET {server.url}/api/x"
    assert printed[1] == (f'POST {server.url}/api/y\n{{\n  "body": "é (sensitive value)"\n}}')
    assert SECRET not in "".join(printed)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://github.example/api", "no token is sent over plain http"),
        ("", "is not a URL"),
        ("ftp://x", "is not a URL"),
        ("https://user:pw@github.example", "is not a URL"),
        ("https://github.example\\@evil", "is not a URL"),
    ],
)
def test_a_wrong_address_is_refused_before_anything_is_sent(url: str, said: str) -> None:
    with pytest.raises(ReconcilerError, match=said):
        Speaker("GitHub", url, TOKEN, lambda _: None, timeouts=TIMEOUTS)


@pytest.mark.parametrize("value", ["", "a\nb", "a b", "é", "x\r\nHost: evil"])
def test_a_token_that_no_header_holds_is_refused(value: str) -> None:
    with pytest.raises(Unauthorized) as raised:
        Speaker("GitHub", "https://x/", replace(TOKEN, value=value), lambda _: None)
    assert raised.value.subject == "GITHUB_TOKEN"
    assert not value or value not in str(raised.value.findings())


def test_a_server_that_is_not_there_is_named() -> None:
    with run_scripted(answers(OK)) as server:
        heard = Heard(server)
    with pytest.raises(Unavailable) as raised:
        heard.speaker.send("POST", "/x", {})
    assert not isinstance(raised.value, ReplyLost)
    assert "cannot be reached" in raised.value.message
    assert "spec.cloud" not in raised.value.next_step


def test_a_slow_answer_ends_in_time() -> None:
    hasty = replace(TIMEOUTS, read_s=0.5, retries=0)
    with run_scripted(answers(Answer(200, {}, wait=60))) as server:
        heard = Heard(server, timeouts=hasty)
        started = time.monotonic()
        with pytest.raises(ReplyLost, match="no answer within"):
            heard.speaker.send("POST", "/x", {})
    assert time.monotonic() - started < 50
