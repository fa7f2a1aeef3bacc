"""Addresses that a service hands out: data, until they have been looked at."""

from collections.abc import Callable
from typing import Any

import pytest

from reconciler.errors import Rejected, Unavailable
from reconciler.kinds.data_plane import open_data_plane
from reconciler.model import Address, Resource
from reconciler.transport import client as wire
from reconciler.transport import follow_operation
from tests.access import access
from tests.scripted import Answer, Call, answers, run_scripted
from tests.wire.test_transport import OK, Recorder

Point = Callable[[str, str], str]
# Ways to point elsewhere, of the own host and another one.
ELSEWHERE: dict[str, Point] = {
    "host": lambda _, other: f"http://{other}/x",
    "port": lambda own, _: f"http://{own.partition(':')[0]}:1/x",
    "scheme": lambda own, _: f"https://{own}/x",
    "user": lambda own, other: f"http://{own}@{other}/x",
    "own-user": lambda own, _: f"http://user:word@{own}/x",
    "backslash": lambda own, other: f"http://{other}\\@{own}/x",
    "backslash-after": lambda own, other: f"http://{own}\\@{other}/x",
    "no-scheme": lambda _, other: f"//{other}/x",
    "file": lambda *_: "file:///etc/passwd",
    "script": lambda *_: "javascript:alert(1)",
    "relative": lambda *_: "x?y",
    "lines": lambda own, _: f"http://{own}/x\r\nX-Planted: 1",
    "blank": lambda own, _: f"http://{own}/x y",
    "letters": lambda own, _: f"http://{own}/ä",
    "port-number": lambda own, _: f"http://{own.partition(':')[0]}:99999/x",
    "port-word": lambda own, _: f"http://{own.partition(':')[0]}:abc/x",
    "bracket": lambda *_: "http://[/x",
    "fragment": lambda own, _: f"http://{own}/x#y",
    "bare": lambda own, _: f"http://{own}?x",
    "long": lambda own, _: f"http://{own}/{'x' * 20_000}",
}


@pytest.mark.parametrize("point", ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_next_page_elsewhere_is_not_asked_for(point: Point) -> None:
    with run_scripted(answers(OK)) as elsewhere:

        def script(call: Call, _: int) -> Answer:
            following = point(call.headers["Host"], elsewhere.url[7:])
            return Answer(200, {"value": [1], "nextLink": following})

        with Recorder(script) as reported:
            with pytest.raises(Rejected, match="the service answers with an") as caught:
                list(reported.client.pages("/list"))
            assert len(reported.calls) == 1
        assert elsewhere.calls == []
    assert "Nothing was sent there." in caught.value.next_step
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("header", ["Azure-AsyncOperation", "Location"])
@pytest.mark.parametrize(
    "name", [name for name in ELSEWHERE if name not in {"lines", "letters", "relative"}]
)
def test_an_operation_elsewhere_is_not_asked_for(name: str, header: str) -> None:
    with run_scripted(answers(OK)) as elsewhere:

        def script(call: Call, _: int) -> Answer:
            following = ELSEWHERE[name](call.headers["Host"], elsewhere.url[7:])
            return Answer(202, None, {header: following})

        with Recorder(script) as reported:
            reply = reported.client.send("PATCH", "/x", {})
            with pytest.raises(Rejected, match="the service answers with an"):
                list(follow_operation(reported.client, reply, deadline_s=60))
            assert len(reported.calls) == 1
        assert elsewhere.calls == []


@pytest.mark.parametrize("link", [7, True, ["/x"], {"a": 1}])
def test_a_next_page_that_is_no_text_is_named(link: Any) -> None:
    page = Answer(200, {"value": [1], "nextLink": link})
    with Recorder(answers(page)) as reported, pytest.raises(Unavailable, match="invalid nextLink"):
        list(reported.client.pages("/list"))


@pytest.mark.parametrize("link", [None, "", 0, False])
def test_no_next_page_is_said_in_many_ways(link: Any) -> None:
    with Recorder(answers(Answer(200, {"value": [1], "nextLink": link}))) as reported:
        assert list(reported.client.pages("/list")) == [1]


def test_a_list_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_MOST_PAGES", 20)

    def script(call: Call, number: int) -> Answer:
        following = f"http://{call.headers['Host']}/list?page={number}"
        return Answer(200, {"value": [number], "nextLink": following})

    with Recorder(script) as reported:
        with pytest.raises(Unavailable, match="more than 20 pages"):
            list(reported.client.pages("/list"))
        assert len(reported.calls) == 20


@pytest.mark.parametrize(
    ("shown", "base"),
    [
        ("https://europewest.services.azureml.net/w/s", "https://europewest.services.azureml.net"),
        ("https://evil.example\\.services.azureml.net/w/s", ""),
        ("https://evil.example%5c.services.azureml.net/w/s", ""),
        ("https://[::1/.services.azureml.net/w/s", ""),
    ],
)
def test_the_key_of_a_service_goes_only_to_a_host_that_all_parsers_read(
    shown: str, base: str
) -> None:
    given = access("https://ussouthcentral.services.azureml.net")
    resource = Resource(Address("WebService", "census"), "/subscriptions/s")
    if base:
        assert open_data_plane(given, shown, "key", resource).client.base_url == base
    else:
        with pytest.raises(Unavailable, match="shows no address for calls"):
            open_data_plane(given, shown, "key", resource)
