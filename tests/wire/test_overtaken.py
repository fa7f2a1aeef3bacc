"""A write whose lock is lost during a wait is not sent, whatever it waited for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from reconciler.errors import LedgerConflict, Throttled
from reconciler.model import LockOwner
from reconciler.transport.connections import Connections
from reconciler.transport.loopback import LoopbackConnections
from reconciler.transport.remote import RemoteConnections
from tests.scripted import Answer, Call, Scripted, answers, run_scripted
from tests.wire.test_transport import OK, TIMEOUTS, Recorder

WRITES = ("PUT", "PATCH", "DELETE", "POST")
BUSY = Answer(429, {"error": {"code": "TooManyRequests", "message": "slow down"}})


class Standing:
    """A lease that stands until it is lost; it counts how often it was looked at."""

    lock_owner = LockOwner("one", "ci", "apply", "host", 1, "", "")

    def __init__(self) -> None:
        self.lost = False
        self.looks = 0

    def check(self) -> None:
        self.looks += 1
        if self.lost:
            raise LedgerConflict("the lock of the ledger was acquired by another process")


@contextmanager
def leased(*script: Answer) -> Iterator[tuple[Recorder, Standing]]:
    """A client under a lease."""
    lease = Standing()
    with Recorder(answers(*script), TIMEOUTS) as recorder:
        recorder.rate_limiter.require(lease)
        yield recorder, lease


@pytest.mark.parametrize("method", WRITES)
def test_a_write_is_not_sent_without_the_lock(method: str) -> None:
    with leased(OK) as (recorder, lease):
        lease.lost = True
        with pytest.raises(LedgerConflict):
            recorder.client.send(method, "/x", {})
        assert recorder.calls == []
        assert recorder.client.send("GET", "/x").status == 200


@pytest.mark.parametrize("method", WRITES)
def test_a_lock_that_is_lost_while_a_write_waits_for_its_turn_stops_it(method: str) -> None:
    asked = Answer(429, BUSY.body, {"Retry-After": "15"})
    with leased(asked, OK) as (recorder, lease):
        rest = recorder.clock.sleep

        def lose(seconds: float) -> None:
            lease.lost = True
            rest(seconds)

        recorder.rate_limiter._time._sleep = lose
        with pytest.raises(LedgerConflict):
            recorder.client.send(method, "/x", {})
        assert len(recorder.calls) == 1, "only the call that was refused"
        assert recorder.slept, "it waited"


def test_a_lock_that_is_lost_while_the_token_is_fetched_stops_the_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with leased(OK) as (recorder, lease):

        def fetch() -> str:
            lease.lost = True
            return "token"

        monkeypatch.setattr(recorder.client._tokens, "get", fetch)
        with pytest.raises(LedgerConflict):
            recorder.client.send("PATCH", "/x", {})
        assert recorder.calls == []


def test_each_try_of_a_write_looks_at_the_lock_and_no_read_does() -> None:
    with leased(BUSY, BUSY, OK) as (recorder, lease):
        recorder.client.send("PATCH", "/x", {})
        assert (lease.looks, len(recorder.calls)) == (3, 3)
        recorder.client.send("GET", "/x")
        assert lease.looks == 3


def test_a_call_that_is_not_sent_leaves_the_others_their_turn() -> None:
    with leased(OK) as (recorder, lease):
        lease.lost = True
        for _ in range(3):
            with pytest.raises(LedgerConflict):
                recorder.client.send("PATCH", "/x", {})
        lease.lost = False
        assert recorder.client.send("PATCH", "/x", {}).status == 200


def test_a_write_that_is_refused_for_too_long_is_still_throttled() -> None:
    with leased(Answer(429, BUSY.body, {"Retry-After": "3600"})) as (recorder, lease):
        with pytest.raises(Throttled):
            recorder.client.send("PATCH", "/x", {})
        assert lease.looks == len(recorder.calls) > 0


@pytest.fixture(params=[LoopbackConnections, RemoteConnections])
def connect(request: pytest.FixtureRequest) -> Callable[[str], Connections]:
    """Connections of either sort, to a service on this machine."""
    return lambda url: request.param(url, 5.0, 5.0)


Connect = Callable[[str], Connections]


class _LostError(Exception):
    """What a check raises."""


def _send(connections: Connections, body: bytes, check: Callable[[], None]) -> int:
    headers = {"Content-Length": str(len(body))}
    answer = connections.send("PUT", "/x", headers, body, check)
    while answer.read(1000):
        pass
    return answer.status


@contextmanager
def _run_noting() -> Iterator[Scripted]:
    def script(call: Call, _: int) -> Answer:
        return Answer(200, {"size": len(call.body)})

    with run_scripted(script) as server:
        yield server


@pytest.mark.parametrize("again", [False, True])
def test_a_check_is_made_when_the_connection_is_open_and_before_the_first_byte(
    connect: Connect, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with _run_noting() as server:
        connections = connect(server.url)
        if again:  # a connection that is kept from an earlier call
            _send(connections, b"{}", lambda: None)
        before = len(server.calls)

        def check() -> None:
            said.append("check")
            raise _LostError

        _note_connects(monkeypatch, said)
        with pytest.raises(_LostError):
            _send(connections, b"{}", check)
        assert said == (["check"] if again else ["connect", "check"])
        assert _send(connections, b"{}", lambda: None) == 200
        assert len(server.calls) == before + 1


def _note_connects(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    import socket

    connect: Any = socket.socket.connect

    def noting(self: socket.socket, address: Any) -> None:
        said.append("connect")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", noting)


def test_a_long_body_ends_only_after_another_check(connect: Connect) -> None:
    body = bytes(range(256)) * 4096
    with _run_noting() as server:
        looks: list[int] = []

        def check() -> None:
            looks.append(len(server.calls))
            if len(looks) == 2:
                raise _LostError

        with pytest.raises(_LostError):
            _send(connect(server.url), body, check)
        assert looks == [0, 0]
        assert _send(connect(server.url), body, lambda: None) == 200
    whole = [call for call in server.calls if len(call.body) == len(body)]
    assert [call.body for call in whole] == [body]
