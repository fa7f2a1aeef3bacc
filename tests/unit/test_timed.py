"""An answer has a time as a whole, and its socket keeps its own for the next one."""

import socket
from collections.abc import Iterator
from itertools import chain, repeat

import pytest

from reconciler.transport.connections import TimedResponse

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PART_S = 10.0


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(PART_S)
        yield ours, theirs


def begin(monkeypatch: pytest.MonkeyPatch, ours: socket.socket, later_s: float) -> TimedResponse:
    """An answer that is read so long after it was asked for."""
    times = chain([0.0], repeat(later_s))
    monkeypatch.setattr("reconciler.transport.connections.time.monotonic", lambda: next(times))
    return TimedResponse(ours, method="GET")


def test_the_next_answer_has_as_long(
    monkeypatch: pytest.MonkeyPatch, ends: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = ends
    theirs.sendall(ANSWER)
    answer = begin(monkeypatch, ours, 3.5 * PART_S)
    answer.begin()
    assert ours.gettimeout() == pytest.approx(PART_S / 2)
    assert answer.read() == b"ok"
    assert ours.gettimeout() == PART_S


def test_what_is_late_is_not_read(
    monkeypatch: pytest.MonkeyPatch, ends: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = ends
    theirs.sendall(ANSWER)
    with pytest.raises(TimeoutError), begin(monkeypatch, ours, 4.5 * PART_S) as answer:
        answer.begin()
