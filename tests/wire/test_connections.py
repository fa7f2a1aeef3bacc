"""What reaches the wire, and what is said where nothing does."""

import gc
import gzip
import socket
import ssl
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from reconciler.transport.client import make_connections
from reconciler.transport.connections import Answer, Connections, Headers, TransportError
from reconciler.transport.loopback import LoopbackConnections
from reconciler.transport.remote import RemoteConnections
from tests.wire.ways import HOST

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Proxy(threading.Thread):
    """A proxy that leads every CONNECT to itself, and notes what comes through it."""

    def __init__(self, certificate: Path) -> None:
        super().__init__(daemon=True)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.came = b""

    def run(self) -> None:
        with closing(self._socket):
            raw, _ = self._socket.accept()
        assert raw.recv(65536).startswith(f"CONNECT {HOST}:443".encode())
        raw.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        try:
            with self._context.wrap_socket(raw, server_side=True) as secure:
                self.came = secure.recv(65536)
                secure.sendall(ANSWER)
        except ssl.SSLError:
            pass  # whoever does not trust the certificate goes away


@pytest.fixture
def proxy(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    proxy = Proxy(certificate)
    proxy.start()
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, proxy.url)
    for name in ("NO_PROXY", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    yield proxy
    proxy.join(10)


def send(base_url: str, target: str = "/a") -> bytes:
    connections = make_connections(base_url, 5.0, 5.0)
    answer = connections.send("GET", target, {"Accept": "application/json"}, None)
    with closing(answer):
        return answer.read(100)


def test_a_target_goes_through_a_proxy_as_it_stands(
    proxy: Proxy, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert send(f"https://{HOST}", "/a?$skiptoken=x%3dy~%41") == b"{}"
    proxy.join(10)
    line, *headers = proxy.came.split(b"\r\n")
    assert line == b"GET /a?$skiptoken=x%3dy~%41 HTTP/1.1"
    named = sorted(header.partition(b":")[0] for header in headers if header)
    assert named == [b"Accept", b"Accept-Encoding", b"Host", b"User-Agent"]


def test_a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent(
    proxy: Proxy,
) -> None:
    with pytest.raises(TransportError, match="its certificate cannot be verified") as refused:
        send(f"https://{HOST}")
    assert refused.value.lasting
    assert not refused.value.sent
    proxy.join(10)
    assert proxy.came == b""


def test_what_nobody_listens_to_was_never_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    with pytest.raises(TransportError, match="cannot be reached") as lost:
        send(f"http://127.0.0.1:{port}")
    assert not lost.value.sent


def test_a_service_on_this_machine_is_called_directly_and_any_other_as_the_environment_says() -> (
    None
):
    made = {
        address: type(make_connections(address, 1.0, 1.0))
        for address in (
            "http://127.0.0.1:1",
            "http://localhost:1",
            "http://[::1]:1",
            "https://127.0.0.1:1",
            "http://service.test",
        )
    }
    assert list(made.values()) == [LoopbackConnections] * 3 + [RemoteConnections] * 2


class Wire(threading.Thread):
    """A service of fixed answers: each connection has its own, and is closed after them."""

    def __init__(self, scripts: Sequence[Sequence[bytes]]) -> None:
        super().__init__(daemon=True)
        self._scripts = scripts
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.came: list[bytes] = []
        self.closed = [threading.Event() for _ in scripts]

    def run(self) -> None:
        with closing(self._socket):
            for script, closed in zip(self._scripts, self.closed, strict=True):
                connection, _ = self._socket.accept()
                with closing(connection):
                    for answer in script:
                        self.came.append(connection.recv(65536))
                        connection.sendall(answer)
                closed.set()


Start = Callable[..., Wire]


@pytest.fixture
def start() -> Iterator[Start]:
    begun: list[Wire] = []

    def begin(*scripts: Sequence[bytes]) -> Wire:
        wire = Wire(scripts)
        begun.append(wire)
        wire.start()
        return wire

    yield begin
    for wire in begun:
        wire.join(60)


@pytest.fixture(params=[LoopbackConnections, RemoteConnections])
def connect(request: pytest.FixtureRequest) -> Callable[[str], Connections]:
    """Connections of either sort, to a service on this machine."""
    return lambda url: request.param(url, 60.0, 60.0)


Connect = Callable[[str], Connections]


def read_all(answer: Answer, size: int = 100) -> bytes:
    parts = []
    with closing(answer):
        while part := answer.read(size):
            parts.append(part)
    return b"".join(parts)


def call(connections: Connections, target: str = "/a") -> bytes:
    return read_all(connections.send("GET", target, {"Accept": "application/json"}, None))


def answer(body: bytes, *lines: bytes) -> bytes:
    head = b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *lines])
    return head + b"\r\n\r\n" + body


def test_a_call_is_sent_as_it_stands(start: Start, connect: Connect) -> None:
    wire = start([ANSWER])
    target = "/a?$skiptoken=x%3dy~%41"
    headers = {"Accept-Encoding": "gzip", "User-Agent": "u", "Content-Length": "2"}
    assert read_all(connect(wire.url).send("PATCH", target, headers, b"{}")) == b"{}"
    head, _, body = wire.came[0].partition(b"\r\n\r\n")
    line, *sent = head.split(b"\r\n")
    assert line == b"PATCH /a?$skiptoken=x%3dy~%41 HTTP/1.1"
    host = wire.url.removeprefix("http://").encode()
    own = [b"Accept-Encoding: gzip", b"Content-Length: 2", b"Host: " + host, b"User-Agent: u"]
    assert sorted(sent) == own
    assert body in {b"{}", b""}  # it may come by itself


def test_a_connection_serves_the_next_call_too(start: Start, connect: Connect) -> None:
    wire = start([answer(b"one"), answer(b""), answer(b"three")])
    connections = connect(wire.url)
    assert [call(connections), call(connections), call(connections)] == [b"one", b"", b"three"]


def test_a_connection_that_the_other_side_has_closed_is_not_used_again(
    start: Start, connect: Connect
) -> None:
    wire = start([answer(b"one")], [answer(b"two")])
    connections = connect(wire.url)
    assert call(connections) == b"one"
    assert wire.closed[0].wait(60)
    assert call(connections) == b"two"


def test_a_connection_whose_answer_was_not_read_is_not_used_again(
    start: Start, connect: Connect
) -> None:
    wire = start([answer(b"one")], [answer(b"two")])
    connections = connect(wire.url)
    connections.send("GET", "/a", {}, None).close()
    assert call(connections) == b"two"


def test_an_answer_that_ends_with_its_connection_is_read_whole(
    start: Start, connect: Connect
) -> None:
    ending = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\none"
    wire = start([ending], [answer(b"two")])
    connections = connect(wire.url)
    assert [call(connections), call(connections)] == [b"one", b"two"]


def test_an_answer_in_chunks_is_read_whole(start: Start, connect: Connect) -> None:
    chunks = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n2\r\n--\r\n0\r\n\r\n"
    )
    wire = start([chunks, answer(b"two")])
    connections = connect(wire.url)
    assert [call(connections), call(connections)] == [b"one--", b"two"]


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body, wbits=-15)),
        ("gzip, gzip", lambda body: gzip.compress(gzip.compress(body))),
    ],
)
def test_a_compressed_answer_is_read_as_it_was(
    coding: str, pack: Callable[[bytes], bytes], start: Start, connect: Connect
) -> None:
    body = b"a text " * 1000
    packed = answer(pack(body), b"Content-Encoding: " + coding.encode())
    wire = start([packed, answer(b"two")])
    connections = connect(wire.url)
    assert [call(connections), call(connections)] == [body, b"two"]


def test_no_more_of_a_compressed_answer_is_read_than_is_asked_for(
    start: Start, connect: Connect
) -> None:
    wire = start([answer(gzip.compress(b" " * 10_000_000), b"Content-Encoding: gzip")])
    with closing(connect(wire.url).send("GET", "/a", {}, None)) as came:
        assert len(came.read(1000)) == 1000


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\none",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\none",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\none\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-9223372036854775809\r\none",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\na: " + b"b" * 70_000 + b"\r\n\r\n",
        b"no answer\r\n\r\n",
        answer(b"no gzip", b"Content-Encoding: gzip"),
    ],
)
def test_an_answer_that_is_not_whole_may_have_been_acted_upon(
    broken: bytes, start: Start, connect: Connect
) -> None:
    wire = start([broken])
    with pytest.raises(TransportError, match="the answer broke off") as lost:
        call(connect(wire.url))
    assert lost.value.sent
    assert not lost.value.lasting


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 1, 2",
        b"Content-Length: 1\r\nContent-Length: 2",
        b"Content-Length: 1, 2\r\nContent-Encoding: gzip",
    ],
)
def test_an_answer_of_two_lengths_is_not_whole(lines: bytes, start: Start) -> None:
    wire = start([b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n\r\n{}"])
    with pytest.raises(TransportError, match="the answer broke off"):
        call(LoopbackConnections(wire.url, 5.0, 5.0))


@pytest.mark.parametrize("made", [LoopbackConnections, RemoteConnections])
def test_an_answer_that_does_not_come_may_have_been_acted_upon(
    made: Callable[..., Connections],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TransportError, match=r"no answer within 0\.05 s") as lost:
            call(made(url, 5.0, 0.049731))  # what is left of a longer limit
    assert lost.value.sent
    assert lost.value.name == "ReadTimeoutError"


def test_what_a_connection_could_not_reach_was_not_sent(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    with pytest.raises(TransportError, match="cannot be reached") as lost:
        call(connect(f"http://127.0.0.1:{port}"))
    assert not lost.value.sent
    assert lost.value.name == "NewConnectionError"


def test_headers_are_found_in_any_case_and_twice_is_one_text(
    start: Start, connect: Connect
) -> None:
    wire = start([answer(b"", b"X-One: a", b"x-one: b", b"Retry-After: 3")])
    came = connect(wire.url).send("GET", "/a", {}, None)
    assert read_all(came) == b""
    assert came.headers["x-oNe"] == "a, b"
    assert came.headers.get("RETRY-AFTER") == "3"
    assert came.headers.get("X-Two") is None
    assert dict(came.headers) == {"Content-Length": "0", "X-One": "a, b", "Retry-After": "3"}


def test_what_could_not_be_sent_whole_may_be_answered(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = HTTPConnection.request

    def send_part(*given: Any) -> None:
        sent(*given)
        raise BrokenPipeError

    monkeypatch.setattr(HTTPConnection, "request", send_part)
    wire = start([answer(b"too much")])
    assert call(LoopbackConnections(wire.url, 5.0, 5.0)) == b"too much"


def test_an_answer_is_freed_without_the_collector(start: Start) -> None:
    connections = LoopbackConnections(start([ANSWER]).url, 5.0, 5.0)
    gc.disable()
    try:
        came = connections.send("GET", "/a", {}, None)
        assert read_all(came) == b"{}"
        kept = weakref.ref(came)
        del came
        assert kept() is None
    finally:
        gc.enable()


def test_headers_are_a_mapping() -> None:
    headers = Headers([("A", "1"), ("B", "2")])
    assert "a" in headers
    assert list(headers) == ["A", "B"]
    assert len(headers) == 2
