"""Laws of what `watch` shows: any request, any name of a resource, any order of cycles."""

import json
import re
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import Address, Drift, Resource, Verdict
from reconciler.model.watch import CycleOutcome
from reconciler.telemetry.health import Health
from reconciler.telemetry.messages import Origin, make_messages
from reconciler.telemetry.metrics import Metrics
from reconciler.telemetry.server import WatchServer
from tests.clocks import FakeClock
from tests.cycles import cycle, report

pytestmark = pytest.mark.property
PAGES = (b"/healthz", b"/readyz", b"/metrics", b"/report")
LINE = re.compile(rb"(GET|HEAD) (/healthz|/readyz|/metrics|/report)(\?[!-~]*)? HTTP/1\.[01]")


@pytest.fixture(scope="module")
def where() -> Iterator[tuple[str, int]]:
    metrics, health = Metrics("1"), Health(600)
    with WatchServer("127.0.0.1", 0, metrics, health, lambda: b"<!doctype html>") as server:
        yield "127.0.0.1", int(server.url.rpartition(":")[2])


def ask(where: tuple[str, int], data: bytes) -> bytes:
    with socket.create_connection(where, timeout=60) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
        return answer


REQUESTS = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda method, path, rest: b"%s %s HTTP/1.1\r\n%s" % (method, path, rest),
        st.sampled_from([b"GET", b"HEAD", b"POST", b"get", b""]),
        st.one_of(st.sampled_from(PAGES), st.binary(max_size=20)),
        st.binary(max_size=60),
    ),
)


@given(REQUESTS)
def test_nothing_but_a_page_is_ever_answered_with_content(
    where: tuple[str, int], request_: bytes
) -> None:
    answer = ask(where, request_ + b"\r\n\r\n")
    line = (request_ + b"\r\n").partition(b"\r\n")[0]
    if LINE.fullmatch(line) and b"host" not in request_.lower():
        assert re.match(rb"HTTP/1\.1 (200|503) ", answer)
    else:
        assert re.match(rb"HTTP/1\.1 (400|404|405|421|431|200|503) ", answer)
        assert LINE.fullmatch(line) or not re.match(rb"HTTP/1\.1 (200|503) ", answer)


@given(st.text(max_size=400), st.text(max_size=400), st.text(max_size=400))
def test_no_text_is_a_command_for_slack(name: str, pointer: str, note: str) -> None:
    resource = Resource(Address("WebService", name), "/x")
    one = Drift(resource, Verdict.DRIFTED, pointer, note=note, commands=(note,), key="k")
    origin = Origin("bikes", "prod", "")
    (slack,) = make_messages("slack", [one], origin)
    text = json.loads(slack.body)["blocks"][0]["text"]["text"]
    assert len(text) <= 3_000
    assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", text)
    outside = re.sub(r"`[^`\n]*`", "", text)
    assert re.fullmatch(r"(: | |is \*drifted\*|at |resolve it: |\n)*", outside), outside


STEPS = st.lists(
    st.tuples(
        st.floats(0, 1000),
        st.sampled_from(["read", "blind", "failed", "standby", "interrupted"]),
    ),
    max_size=12,
)


@given(STEPS)
def test_it_is_alive_exactly_while_the_last_read_is_younger_than_three_intervals(
    steps: list[tuple[float, str]],
) -> None:
    cycles = {
        "read": cycle(CycleOutcome.IN_SYNC, report(a=Verdict.IN_SYNC)),
        "blind": cycle(CycleOutcome.INCOMPLETE, report(a=Verdict.INCOMPLETE)),
        "failed": cycle(CycleOutcome.FAILED),
        "standby": cycle(CycleOutcome.STANDBY),
        "interrupted": cycle(CycleOutcome.INTERRUPTED),
    }
    clock = FakeClock()
    health, seen_at = Health(600, clock), clock.now
    for wait, kind in steps:
        clock.now += wait
        assert health.is_alive()[0] == (clock.now - seen_at <= 1800)
        health.note_cycle(cycles[kind])
        seen_at = clock.now if kind in {"read", "standby"} else seen_at
        assert health.is_alive()[0] == (clock.now - seen_at <= 1800)
