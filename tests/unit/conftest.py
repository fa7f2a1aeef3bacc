"""No test here opens a socket: what needs one is in tests/wire, tests/contract or tests/e2e."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tasks that sleep, time passes only where they sleep, and not while the machine is busy."""
    clocks = SimpleNamespace(monotonic=lambda: 1000.0, process_time=lambda: 10.0)
    monkeypatch.setattr("reconciler.engine.pool.time", clocks)


_CALLS = ("connect", "connect_ex", "bind", "sendto")


@pytest.fixture(autouse=True)
def refused_sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Fail a test that opens a socket, also where the tested code hides the failure."""
    opened: list[str] = []

    def refuse(call: str) -> Any:
        def refused(*arguments: Any, **_: Any) -> Any:
            opened.append(f"{call}{arguments[-1:]}")
            pytest.fail(f"a unit test opens a socket: {call}", pytrace=True)

        return refused

    for call in _CALLS:
        monkeypatch.setattr(socket.socket, call, refuse(call))
    monkeypatch.setattr(socket, "getaddrinfo", refuse("getaddrinfo"))
    yield opened
    assert not opened, f"a unit test opens sockets: {opened}"
