"""A write whose lock is lost during a wait is not sent, whatever it waited for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import LedgerConflict, Throttled
from reconciler.kinds.endpoint import KIND as ENDPOINT
from reconciler.kinds.web_service import KIND as WEB_SERVICE
from reconciler.kinds.web_service.provider import WebServiceProvider
from reconciler.ledgers.leadership import LeaderLock, lead_in_folder
from reconciler.ledgers.lock import Heartbeat
from reconciler.model import ABSENT, Absent, CloneSource, Live, LockOwner, Step
from reconciler.ports import Provider, RateLimiter
from reconciler.transport.connections import Connections
from reconciler.transport.loopback import LoopbackConnections
from reconciler.transport.remote import RemoteConnections
from tests.access import access
from tests.clocks import FakeClock
from tests.scripted import Answer, Call, Script, Scripted, answers, run_scripted
from tests.wire import test_endpoint as endpoints
from tests.wire import test_provider
from tests.wire import test_web_service as services
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

    def is_wanted(self) -> bool:
        return False


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
def test_a_leader_that_was_suspended_for_longer_than_its_lease_sends_no_write(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    monkeypatch.setattr("reconciler.ledgers.lock.read_clock", clock)
    monkeypatch.setattr("reconciler.ledgers.leadership.read_clock", clock)
    term = lead_in_folder(tmp_path, Heartbeat(30.0, 1e6)).acquire(Standing.lock_owner)
    assert term is not None
    with leased(OK, OK) as (recorder, lease):
        recorder.rate_limiter.require(LeaderLock(lease, term))
        assert recorder.client.send(method, "/x", {}).status == 200
        clock.now += 31
        with pytest.raises(LedgerConflict, match="the lease of the leader"):
            recorder.client.send(method, "/x", {})
        assert len(recorder.calls) == 1
        assert recorder.client.send("GET", "/x").status == 200
    term.release()


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
    return lambda url: request.param(url, 60.0, 60.0)


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


# What each provider still has to send after its first call.


def _send_until_lost(
    provider: Provider, limiter: RateLimiter, step: Step, before: Live | Absent
) -> None:
    """Let a provider write; the lock is lost as soon as a part may have been accepted."""
    lease = Standing()
    limiter.require(lease)
    written = iter(provider.write(step, before, lambda _: endpoints.SAS))
    next(written)
    lease.lost = True
    with pytest.raises(LedgerConflict):
        list(written)


def _sent(server: Scripted) -> list[str]:
    return [call.method for call in server.calls if call.method != "GET"]


@contextmanager
def _run_service() -> Iterator[Scripted]:
    """A service that has a web service, and its copy for a region as soon as it was made."""
    lacks = {"error": {"code": "PerRegionPayloadNotFound", "message": "no"}}

    def script(call: Call, _: int) -> Answer:
        made = any(one.method == "POST" for one in server.calls)
        if call.method == "GET" and "region=" in call.target and not made:
            return Answer(404, lacks)
        return Answer(200, services.live() if call.method == "GET" else {})

    with run_scripted(script) as server:
        yield server


@pytest.mark.parametrize("case", ["replacement", "copy for a region"])
def test_of_a_web_service_only_the_first_call_is_sent(case: str) -> None:
    before = Live(services.live(), services.live(), datetime.now(UTC))
    if case == "replacement":
        step, first = test_provider.replacement(), "DELETE"
    else:
        made = services.created({"location": "West Europe", "properties": {}})
        source = CloneSource(services.RESOURCE.id, "census", "westeurope", "missing")
        step, first = replace(made, source=source), "POST"
    with _run_service() as server:
        reach = access(server.url)
        provider = WebServiceProvider(reach, WEB_SERVICE.field)
        _send_until_lost(provider, reach.rate_limiter, step, before)
        assert _sent(server) == [first]


@pytest.mark.parametrize(
    ("script", "new", "sent"),
    [
        (answers(Answer(drop=True)), False, ["PATCH"]),
        (answers(Answer(200, {})), True, ["PUT"]),
    ],
    ids=["a patch whose reply is lost", "models after a new endpoint"],
)
def test_of_an_endpoint_only_the_first_call_is_sent(
    script: Script, new: bool, sent: list[str]
) -> None:
    before: Any = ABSENT if new else endpoints.document()
    step = endpoints.step_for(before, trainedModels=endpoints.SIGNED)
    with run_scripted(script) as server:
        reach = access(server.url, secret=endpoints.SAS)
        provider = ENDPOINT.connect(reach)
        _send_until_lost(provider, reach.rate_limiter, step, ABSENT)
        assert _sent(server) == sent


def test_a_patch_that_was_refused_at_random_is_not_sent_again_without_the_lock() -> None:
    step = endpoints.step_for(endpoints.document(), trainedModels=endpoints.SIGNED)
    lease = Standing()

    def refuse(_: Call, __: int) -> Answer:
        lease.lost = True
        return Answer(400, {"error": {"code": "BadArgument", "message": "no"}})

    with run_scripted(refuse) as server:
        reach = access(server.url, secret=endpoints.SAS)
        reach.rate_limiter.require(lease)
        with pytest.raises(LedgerConflict):
            list(ENDPOINT.connect(reach).write(step, ABSENT, lambda _: endpoints.SAS))
        assert _sent(server) == ["PATCH"]
