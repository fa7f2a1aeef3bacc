"""What an answer that is lost, broken or refused says of the call, over real sockets."""

import ipaddress
import logging
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reconciler.errors import Busy, Rejected, ReplyLost, ServiceError, Throttled, Unavailable
from reconciler.model import Retrying
from reconciler.transport import Client, CommandRateLimiter
from reconciler.transport.remote import RemoteConnections
from reconciler.transport.timeouts import Timeouts
from tests.scripted import Answer, answers
from tests.wild import run_wild
from tests.wire.test_transport import HASTY, OK, TIMEOUTS, Recorder, failing

WRITES = ("PUT", "PATCH", "DELETE", "POST")
HTML = {"Content-Type": "text/html; charset=utf-8"}
PAGE = b"<!DOCTYPE html><title>Sign in</title>"
# Answers that say nothing of whether the write was done.
LOST = {
    "dropped": Answer(drop=True),
    "cut": Answer(200, {"a": 1}, cut=True),
    "late": Answer(200, {}, wait=60),
    "html": Answer(200, PAGE, HTML),
    "html-accepted": Answer(202, PAGE, HTML),
    "half": Answer(200, b'{"id": '),
    "no-text": Answer(200, b"\xff\xfe\x00"),
    "not-a-number": Answer(200, b'{"a": NaN}'),
    "no-gzip": Answer(200, b"{}", {"Content-Encoding": "gzip"}),
    "nested": Answer(200, b"[" * 500 + b"]" * 500),
    "500": Answer(500, {}),
    "502": Answer(502, PAGE, HTML),
    "504": Answer(504, {}),
}


def timeouts_for(lost: Answer) -> Timeouts:
    """Short ones only where an answer comes too late."""
    return HASTY if lost.wait else TIMEOUTS


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
def test_a_write_without_a_clear_answer_may_have_been_done(lost: Answer, method: str) -> None:
    with Recorder(answers(lost, OK), timeouts_for(lost)) as recorder:
        error = failing(recorder, method, {})
        recorder.await_call()
        assert len(recorder.calls) == 1
    assert isinstance(error, ReplyLost)
    assert "done" not in f"{error.message} {error.next_step}", "only a read can tell"
    assert recorder.events == []


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
def test_a_read_without_a_clear_answer_is_tried_again_and_says_so(lost: Answer) -> None:
    with Recorder(answers(lost, OK), timeouts_for(lost)) as recorder:
        assert recorder.client.send("GET", "/x").document == {"value": 1}
        (event,) = recorder.events
    assert isinstance(event, Retrying)
    assert event.subject == "GET 127.0.0.1"
    assert event.reason


@pytest.mark.parametrize("name", ["html", "cut", "half", "no-gzip"])
def test_a_read_whose_answer_never_becomes_one_fails(name: str) -> None:
    with Recorder(answers(LOST[name])) as recorder:
        error = failing(recorder)
        assert len(recorder.calls) == 1 + TIMEOUTS.retries
    assert isinstance(error, Unavailable)
    assert not isinstance(error, ReplyLost)


REFUSED = {
    "400": (Answer(400, {}), Rejected),
    "400-html": (Answer(400, PAGE, HTML), Rejected),
    "404": (Answer(404, {}), Rejected),
    "409": (Answer(409, {}), Busy),
    "412": (Answer(412, b"\xff"), Rejected),
    "302": (Answer(302, None, {"Location": "/elsewhere"}), Rejected),
    "302-nowhere": (Answer(302, None, {"Location": "http://[/"}), Rejected),
    "429": (Answer(429, {}, {"Retry-After": "99"}), Throttled),
    "503": (Answer(503, PAGE, {**HTML, "Retry-After": "99"}), Throttled),
}


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize(("refusal", "kind"), REFUSED.values(), ids=REFUSED)
def test_a_write_that_was_refused_was_not_done(
    refusal: Answer, kind: type[ServiceError], method: str
) -> None:
    with Recorder(answers(refusal)) as recorder:
        error = failing(recorder, method, {})
    assert type(error) is kind


def test_a_write_that_never_reached_anybody_was_not_done() -> None:
    with Recorder(answers(OK)) as recorder:
        pass  # nobody listens at its address any more
    error = failing(recorder, "PATCH", {})
    assert type(error) is Unavailable
    assert "cannot be reached" in error.message


def test_a_service_that_is_busy_is_told_from_one_that_refuses() -> None:
    body = {"error": {"code": "Conflict", "message": "Another operation is running."}}
    with Recorder(answers(Answer(409, body))) as recorder:
        error = failing(recorder, "PATCH", {})
        assert len(recorder.calls) == 1
    assert isinstance(error, Busy)
    assert (error.status, error.code) == (409, "Conflict")
    assert error.next_step == "Wait until the running operation has ended, then plan again."


def test_a_page_in_place_of_a_refusal_is_named() -> None:
    with Recorder(answers(Answer(404, PAGE, HTML))) as recorder:
        error = failing(recorder)
    assert error.message == "the service answers with status 404 and text/html that is not JSON"
    assert "a proxy may be answering" in error.next_step


def test_a_deep_document_is_no_answer_and_a_text_of_brackets_is() -> None:
    deep = Answer(200, b'{"a":' * 101 + b"1" + b"}" * 101)
    with Recorder(answers(deep)) as recorder:
        assert "not JSON" in failing(recorder).message
    flat = {"text": "[" * 500, "list": [[1], {"a": "}"}]}
    with Recorder(answers(Answer(200, flat))) as recorder:
        assert recorder.client.send("GET", "/x").document == flat


WILD = {
    "no-http": b"SSH-2.0-x\r\n\r\n",
    "status": b"HTTP/1.1 abc\r\n\r\n",
    "lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nxxxxx",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
    "header": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    "headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    "nothing": b"\x00" * 9,
}


@pytest.mark.parametrize("bytes_", WILD.values(), ids=WILD)
def test_what_is_no_http_is_a_lost_answer(bytes_: bytes) -> None:
    with run_wild(bytes_) as url:
        client = Client(
            url,
            lambda _: None,
            CommandRateLimiter(lambda _: None),
            timeouts=TIMEOUTS,
            sleep=lambda _: None,
        )
        with pytest.raises(ReplyLost):
            client.send("PATCH", "/x", {})
        with pytest.raises(Unavailable):
            client.send("GET", "/x")


@contextmanager
def secure_server(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A service with a certificate that nobody signed, and the methods that reached it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    file = folder / "server.pem"
    file.write_bytes(private + signed.public_bytes(encoding))
    reached: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            reached.append(self.command)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that trusts nobody is part of the test."""

    server = Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}", reached
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_who_cannot_be_trusted_was_sent_nothing(tmp_path: Path) -> None:
    with secure_server(tmp_path) as (url, reached):
        client = Client(url, lambda _: None, CommandRateLimiter(lambda _: None), timeouts=TIMEOUTS)
        with pytest.raises(Unavailable, match="certificate") as caught:
            client.send("PATCH", "/x", {})
        assert reached == []
    assert not isinstance(caught.value, ReplyLost)


def test_no_token_is_logged_however_much_is(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_EMULATOR_TOKEN", "PLANTED")
    monkeypatch.setenv("RECONCILER_LOG", "debug")
    monkeypatch.setattr("reconciler.transport.client.make_connections", RemoteConnections)
    caplog.set_level(logging.DEBUG)
    with Recorder(answers(LOST["dropped"], LOST["html"], OK)) as recorder:
        recorder.client.send("GET", "/x")
        recorder.client.send("PATCH", "/x", {"secret": "PLANTED"})
        assert recorder.calls[0].headers["Authorization"] == "Bearer PLANTED"
    assert "urllib3" in {record.name.partition(".")[0] for record in caplog.records}
    assert "PLANTED" not in caplog.text
