"""What is said, and whether it is repeated, where a connection fails before a request is sent."""

import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from azure.core.rest import HttpRequest

from reconciler.errors import ReplyLost, ServiceError
from reconciler.model import Event, Retrying
from reconciler.transport import Client, CommandRateLimiter
from reconciler.transport.azure_core import AzureTransport
from reconciler.transport.client import make_connections
from reconciler.transport.connections import TransportError
from reconciler.transport.credentials import Identity, NoToken, Tokens
from tests.wire.ways import HOST, run_peer, write_certificate

AWAY = f"https://{HOST}"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names no proxy and no certificates."""
    for name in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


def call(url: str) -> bytes:
    answer = make_connections(url, 5.0, 5.0).send("GET", "/a", {}, None)
    return answer.read(100)


def fail(url: str) -> TransportError:
    """The error of a call, which was not sent."""
    with pytest.raises(TransportError) as failed:
        call(url)
    assert not failed.value.sent
    return failed.value


def close(_: socket.socket) -> None:
    """Close the connection at once."""


def read_and_close(came: socket.socket) -> None:
    came.recv(65536)


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers there does not speak TLS"),
        (b"220 mail.test ESMTP\r\n", "what answers there does not speak TLS"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "TLS was not agreed: "),
        (close, "the connection was closed before TLS began"),
        (read_and_close, "the connection was closed before TLS began"),
    ],
)
def test_a_peer_without_tls_is_named_as_that(
    serve: Callable[[socket.socket], None] | bytes, said: str
) -> None:
    with run_peer(serve) as peer:
        failed = fail(f"https://127.0.0.1:{peer.port}")
    assert said in failed.said
    assert failed.lasting
    if "agreed" not in said:
        assert "http://" in failed.next_step


def test_a_peer_that_stays_silent_may_answer_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TransportError, match="TLS does not begin") as failed:
            make_connections(url, 0.05, 5.0).send("GET", "/a", {}, None)
    assert (failed.value.sent, failed.value.lasting) == (False, False)


def test_a_service_that_has_spoken_tls_before_may_do_so_again(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with run_peer(OK, certificate) as peer:
        connections = make_connections(f"https://127.0.0.1:{peer.port}", 5.0, 5.0)
        connections.send("GET", "/a", {}, None).close()
        port = peer.port
    with run_peer(close, port=port), pytest.raises(TransportError) as lost:
        connections.send("GET", "/a", {}, None)
    assert (lost.value.sent, lost.value.lasting) == (False, False)


def test_a_service_that_speaks_tls_is_not_called_in_plain_http() -> None:
    with run_peer(b"\x15\x03\x01\x00\x02\x02\x28") as peer:
        failed = fail(f"http://127.0.0.1:{peer.port}")
    assert (failed.said, failed.lasting) == ("what answers there speaks TLS", True)
    assert "https://" in failed.next_step


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_certificates_of_each_variable_are_used(
    variable: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_peer(OK, certificate) as peer:
        url = f"https://127.0.0.1:{peer.port}"
        failed = fail(url)
        assert "its certificate cannot be verified" in failed.said
        assert "REQUESTS_CA_BUNDLE" in failed.next_step
        monkeypatch.setenv(variable, str(certificate))
        assert call(url) == b"{}"


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
@pytest.mark.parametrize("holds", [None, "", "no certificate"])
def test_certificates_that_cannot_be_read_are_named_with_their_variable(
    variable: str,
    holds: str | None,
    certificate: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = tmp_path / "bundle.pem"
    if holds is not None:
        bundle.write_text(holds)
    monkeypatch.setenv(variable, str(bundle))
    with run_peer(OK, certificate) as peer:
        failed = fail(f"https://127.0.0.1:{peer.port}")
    assert failed.said == f"the certificates that {variable} names cannot be read: {bundle}"
    assert failed.lasting
    assert variable in failed.next_step


def test_certificates_that_do_not_vouch_for_the_service_are_named(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_certificate(tmp_path / "other.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
    with run_peer(OK, certificate) as peer:
        failed = fail(f"https://127.0.0.1:{peer.port}")
    assert "its certificate cannot be verified" in failed.said
    assert str(other) in failed.next_step


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("serve", "said", "lasting"),
    [
        (b"HTTP/1.1 407 Log in\r\n\r\n", "asks for a login (407)", True),
        (b"HTTP/1.1 403 No\r\n\r\n", "refuses (403)", True),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "refuses (502)", False),
        (b"no HTTP\r\n\r\n", "does not answer in HTTP", True),
        (close, "cannot be reached", True),
    ],
)
def test_a_proxy_that_refuses_is_named_with_its_variable(
    variable: str,
    serve: Callable[[socket.socket], None] | bytes,
    said: str,
    lasting: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with run_peer(serve) as peer:
        monkeypatch.setenv(variable, f"http://user:PLANTED@127.0.0.1:{peer.port}")
        failed = fail(AWAY)
    assert failed.said == f"the proxy of {variable} {said}"
    assert failed.lasting is lasting
    assert variable in failed.next_step
    assert "PLANTED" not in failed.said + failed.next_step


def test_a_proxy_that_nobody_runs_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    failed = fail(AWAY)
    assert (failed.said, failed.lasting) == ("the proxy of HTTPS_PROXY cannot be reached", True)


def test_a_proxy_that_does_not_speak_tls_is_named_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    with run_peer(b"HTTP/1.1 400 Bad Request\r\n\r\n") as peer:
        monkeypatch.setenv("HTTPS_PROXY", f"https://127.0.0.1:{peer.port}")
        failed = fail(AWAY)
    assert failed.said == "the proxy of HTTPS_PROXY does not speak TLS"


@pytest.mark.parametrize("address", ["http://", "nonsense://x", "http://[x"])
def test_a_proxy_whose_address_is_invalid_is_named_with_its_variable(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)
    failed = fail(AWAY)
    assert failed.said == "the proxy of HTTPS_PROXY has an invalid address"
    assert failed.lasting


def test_a_socks_proxy_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5h://127.0.0.1:9")
    failed = fail(AWAY)
    assert "is a SOCKS proxy, and the package for it is not installed" in failed.said
    assert "requests[socks]" in failed.next_step
    assert failed.lasting


def test_no_proxy_leads_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with run_peer(b"no TLS") as peer:
        assert "does not speak TLS" in fail(f"https://127.0.0.1:{peer.port}").said


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_what_cannot_get_better_is_not_repeated_and_a_write_counts_as_not_sent(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    with run_peer(b"HTTP/1.1 400 Bad Request\r\n\r\n") as peer:
        url = f"https://127.0.0.1:{peer.port}"
        client = Client(url, events.append, CommandRateLimiter(events.append))
        with pytest.raises(ServiceError, match="does not speak TLS") as failed:
            client.send(method, "/a", {"a": 1} if method == "PATCH" else None)
    assert len(peer.came) == 1
    assert not isinstance(failed.value, ReplyLost)
    assert "http://" in failed.value.next_step
    assert not any(isinstance(event, Retrying) for event in events)


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_without_a_token_nothing_is_repeated_and_a_write_counts_as_not_sent(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def get(_: Tokens) -> str:
        asked.append(method)
        raise NoToken("azure-identity gets no token: the proxy of HTTPS_PROXY refuses (407)")

    monkeypatch.setattr(Tokens, "get", get)
    events: list[Event] = []
    client = Client(AWAY, events.append, CommandRateLimiter(events.append))
    with pytest.raises(NoToken, match="gets no token") as failed:
        client.send(method, "/a", {"a": 1} if method == "PATCH" else None)
    assert not isinstance(failed.value, ReplyLost)
    assert asked == [method]
    assert not any(isinstance(event, Retrying) for event in events)


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_login_that_cannot_be_reached_is_not_called_a_missing_credential(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        url = f"{scheme}://127.0.0.1:{held.getsockname()[1]}/token"
    transport = AzureTransport()

    class Chain:
        """Stands for azure-identity's chain, which hides why its call has no answer."""

        def get_token(self, *_: str) -> None:
            try:
                transport.send(HttpRequest("GET", url))
            except ServiceRequestError:
                raise ClientAuthenticationError("a credential has failed") from None

    identity = Identity()
    identity._chain, identity._transport = Chain(), transport
    with pytest.raises(ServiceError) as failed:
        identity.get_token("x")
    if scheme == "https":
        assert isinstance(failed.value, NoToken)
        assert "127.0.0.1: cannot be reached" in failed.value.message
        assert "AZURE_AUTHORITY_HOST" in failed.value.next_step
    else:  # azure-identity looks over plain HTTP for machines that may not exist
        assert "finds no credential" in failed.value.message


@pytest.mark.usefixtures("hurried_calls")
@pytest.mark.parametrize("host", ["https://login.example.test", "login.example.test", ""])
def test_a_login_of_ones_own_is_the_only_one_that_is_asked(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("TENANT_ID", "t"), ("CLIENT_ID", "c"), ("CLIENT_SECRET", "s")):
        monkeypatch.setenv(f"AZURE_{name}", value)
    monkeypatch.delenv("AZURE_AUTHORITY_HOST", raising=False)
    if host:
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", host)
    monkeypatch.setenv("PATH", "")  # no other program that logs in
    asked: set[str] = set()

    def send(_: AzureTransport, request: HttpRequest, **__: object) -> None:
        asked.add(urlsplit(request.url).hostname or "")
        raise ServiceRequestError("no network")

    monkeypatch.setattr(AzureTransport, "send", send)
    with pytest.raises(ServiceError):
        Identity().get_token("https://management.azure.com/.default")
    logins = {one for one in asked if one.startswith("login.")}
    assert logins == {"login.example.test" if host else "login.microsoftonline.com"}
