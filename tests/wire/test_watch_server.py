"""The pages of `watch` over real sockets: four of them, for reading, whatever is asked."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.errors import ReconcilerError
from reconciler.model import Verdict
from reconciler.model.watch import CycleOutcome
from reconciler.telemetry import server as pages
from reconciler.telemetry.health import Health
from reconciler.telemetry.metrics import Metrics
from reconciler.telemetry.server import WatchServer, parse_listen
from tests.clocks import FakeClock
from tests.cycles import cycle, report
from tests.storage import leave_out

PAGE = b"<!doctype html><meta http-equiv=Content-Security-Policy content=\"default-src 'none'\">"


@dataclass
class Site:
    """A server with what it shows; `report` is its last page."""

    server: WatchServer
    health: Health
    clock: FakeClock
    report: list[bytes]

    @property
    def where(self) -> tuple[str, int]:
        return "127.0.0.1", int(self.server.url.rpartition(":")[2])

    def open(self) -> socket.socket:
        return socket.create_connection(self.where, timeout=60)

    def send(self, data: bytes) -> tuple[bytes, dict[str, str], bytes]:
        """The first line of the answer, its headers and its body."""
        with self.open() as connection:
            connection.sendall(data)
            return receive(connection)

    def ask(self, path: str, method: str = "GET") -> tuple[bytes, dict[str, str], bytes]:
        host = f"{self.where[0]}:{self.where[1]}"
        return self.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())


def receive(connection: socket.socket) -> tuple[bytes, dict[str, str], bytes]:
    answer = b""
    while part := connection.recv(65_536):
        answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    headers = dict(field.decode().split(": ", 1) for field in fields)
    return line, headers, body


@pytest.fixture
def site() -> Iterator[Site]:
    clock, shown = FakeClock(), list[bytes]()
    metrics, health = Metrics("1.2.3"), Health(600, clock)

    def find_report() -> bytes | None:
        if shown and shown[-1] == b"broken":
            raise ValueError("a secret")
        return shown[-1] if shown else None

    with WatchServer("127.0.0.1", 0, metrics, health, find_report) as server:
        yield Site(server, health, clock, shown)


def test_health_and_readiness(site: Site) -> None:
    assert site.ask("/healthz")[0] == b"HTTP/1.1 200 OK"
    line, _, body = site.ask("/readyz")
    assert (line, body) == (b"HTTP/1.1 503 Service Unavailable", b"no cycle has ended yet\n")
    site.health.note_cycle(cycle(CycleOutcome.IN_SYNC, report(a=Verdict.IN_SYNC)))
    assert site.ask("/readyz")[::2] == (b"HTTP/1.1 200 OK", b"ready\n")
    site.clock.now += 1801
    line, _, body = site.ask("/healthz")
    assert line == b"HTTP/1.1 503 Service Unavailable"
    assert body == b"prod: no cycle has read anything for 31 min\n"


def test_metrics_are_in_the_text_format(site: Site) -> None:
    line, headers, body = site.ask("/metrics")
    assert line == b"HTTP/1.1 200 OK"
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    names = {one.name for one in text_string_to_metric_families(body.decode())}
    assert "reconciler_build_info" in names


def test_the_report_is_the_last_page_with_a_policy_of_its_own(site: Site) -> None:
    line, headers, body = site.ask("/report")
    assert line.startswith(b"HTTP/1.1 503 ")
    assert body == b"no cycle has made a report yet\n"
    site.report += [b"old", PAGE]
    line, headers, body = site.ask("/report?from=mail")
    assert (line, body) == (b"HTTP/1.1 200 OK", PAGE)
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"


def test_a_page_that_cannot_be_made_says_nothing_more(site: Site) -> None:
    site.report.append(b"broken")
    line, _, body = site.ask("/report")
    assert line == b"HTTP/1.1 500 Internal Server Error"
    assert body == b"this page cannot be made\n"
    assert site.ask("/healthz")[0] == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/report", "/nothing"])
def test_each_answer_is_guarded(site: Site, path: str) -> None:
    site.report.append(PAGE)
    _, headers, body = site.ask(path)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Connection"] == "close"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Content-Length"] == str(len(body))
    assert "Server" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/index.html",
        "/metrics/",
        "//metrics",
        "/../metrics",
        "/%6detrics",
        "/debug",
        "/Report",
    ],
)
def test_there_is_no_other_page(site: Site, path: str) -> None:
    site.report.append(PAGE)
    for method in ("GET", "POST"):
        line, _, body = site.ask(path, method)
        assert line == b"HTTP/1.1 404 Not Found"
        assert b"/healthz, /readyz, /metrics and /report" in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
def test_a_page_can_only_be_read(site: Site, method: str) -> None:
    line, headers, _ = site.ask("/metrics", method)
    assert line == b"HTTP/1.1 405 Method Not Allowed"
    assert headers["Allow"] == "GET, HEAD"


def test_the_answer_to_a_request_with_a_body_arrives(site: Site) -> None:
    body = b"x" * 100_000
    head = b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
    assert site.send(head + body)[0] == b"HTTP/1.1 405 Method Not Allowed"


def test_head_has_the_head_alone(site: Site) -> None:
    line, headers, body = site.ask("/metrics", "HEAD")
    assert (line, body) == (b"HTTP/1.1 200 OK", b"")
    assert int(headers["Content-Length"]) > 1000


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /healthz\r\n\r\n", b"400"),
        (b"get /healthz HTTP/1.1\r\n\r\n", b"400"),
        (b"GET healthz HTTP/1.1\r\n\r\n", b"400"),
        (b"GET http://127.0.0.1/healthz HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /a b HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/2.0\r\n\r\n", b"400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", b"400"),
        (b"GET /\xff HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", b"431"),
        (b"GET /healthz HTTP/1.0\r\n\r\n", b"200"),
    ],
)
def test_what_is_not_a_request_is_refused(site: Site, request_: bytes, status: bytes) -> None:
    assert site.send(request_)[0].split(b" ")[1] == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9464", b"200"),
        ("localhost", b"200"),
        ("LOCALHOST:1", b"200"),
        ("[::1]:80", b"200"),
        ("rebound.example.org", b"421"),
        ("127.0.0.1.example.org", b"421"),
        ("[::1", b"421"),
    ],
)
def test_a_loopback_address_answers_only_names_of_this_machine(
    site: Site, host: str, status: bytes
) -> None:
    """A web page could give its own name the address 127.0.0.1, and would read the report."""
    site.report.append(PAGE)
    line, _, body = site.send(f"GET /report HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert line.split(b" ")[1] == status
    assert (body == PAGE) == (status == b"200")


def test_any_other_address_answers_any_name() -> None:
    clock, metrics = FakeClock(), Metrics("1.2.3")
    with WatchServer("0.0.0.0", 0, metrics, Health(600, clock), lambda: None) as server:  # noqa: S104
        assert server.url.startswith("http://0.0.0.0:")
        site = Site(server, Health(600, clock), clock, [])
        said = site.send(b"GET /healthz HTTP/1.1\r\nHost: pod.example.org\r\n\r\n")
        assert said[0] == b"HTTP/1.1 200 OK"
        assert site.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")[0] == b"HTTP/1.1 404 Not Found"


def test_all_addresses_are_those_of_both_families() -> None:
    if not socket.has_dualstack_ipv6():
        leave_out("pages at [::]", "This machine has no IPv6 for both families.")
    with WatchServer("::", 0, Metrics("1"), Health(600), lambda: None) as server:
        port = int(server.url.rpartition(":")[2])
        for address in ("127.0.0.1", "::1"):
            with socket.create_connection((address, port)) as connection:
                connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                assert receive(connection)[0] == b"HTTP/1.1 200 OK"


def test_slow_clients_keep_no_one_out(site: Site) -> None:
    with ExitStack() as slow:
        for _ in range(80):
            connection = slow.enter_context(site.open())
            connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert site.ask("/healthz")[0] == b"HTTP/1.1 200 OK"


def test_a_head_that_does_not_end_is_not_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_HEAD_S", 0.2)
    with site.open() as connection:
        started = time.monotonic()
        for byte in b"GET /healthz HTTP/1.1\r\n":
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                break
            time.sleep(0.02)
        with suppress(ConnectionError):
            assert connection.recv(1) == b""
        assert time.monotonic() - started < 60


def test_a_client_that_goes_away_ends_nothing(site: Site) -> None:
    for data in (b"", b"GET", b"GET /metrics HTTP/1.1\r\n\r\n"):
        with site.open() as connection:
            connection.sendall(data)
    assert site.ask("/healthz")[0] == b"HTTP/1.1 200 OK"


def test_a_taken_port_is_an_error_at_once(site: Site) -> None:
    with pytest.raises(ReconcilerError) as caught:
        WatchServer(*site.where, Metrics("1"), site.health, lambda: None)
    assert caught.value.message == "the port is taken by another process"
    assert caught.value.subject == f"127.0.0.1:{site.where[1]}"
    assert "--listen ADDRESS:PORT" in caught.value.next_step


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("192.0.2.1", "this machine does not have the address"),
        ("no such name", "the name has no address"),
    ],
)
def test_an_address_that_cannot_be_used(site: Site, address: str, message: str) -> None:
    with pytest.raises(ReconcilerError) as caught:
        WatchServer(address, 0, Metrics("1"), site.health, lambda: None)
    assert caught.value.message == message


def test_the_port_is_free_after_the_end(site: Site) -> None:
    port = 0
    for _ in range(2):
        metrics, health = Metrics("1"), Health(600)
        with WatchServer("127.0.0.1", port, metrics, health, lambda: None) as server:
            port = int(server.url.rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                assert receive(connection)[0] == b"HTTP/1.1 200 OK"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:80", ("localhost", 80)),
        ("192.0.2.7:65535", ("192.0.2.7", 65535)),
    ],
)
def test_an_address_with_a_port(text: str, found: tuple[str, int]) -> None:
    assert parse_listen(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9464",
        ":9464",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "::1:80",
        "a:-1",
        "http://a:80",
        "a b:80",
        "[g]:80",
        "127.0.0.1:9464\n",
    ],
)
def test_anything_else_is_not_an_address(text: str) -> None:
    with pytest.raises(ReconcilerError) as caught:
        parse_listen(text)
    assert "ADDRESS:PORT" in caught.value.next_step
