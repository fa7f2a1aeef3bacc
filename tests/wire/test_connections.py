"""What reaches the wire, and what is said where nothing does."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reconciler.transport.connections import Connections, TransportError

HOST = "service.test"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of the host with its key, signed by nobody else."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.TraditionalOpenSSL
    file = tmp_path / "certificate.pem"
    file.write_bytes(
        made.public_bytes(pem) + key.private_bytes(pem, plain, serialization.NoEncryption())
    )
    return file


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
    connections = Connections(base_url, 5.0, 5.0)
    answer = connections.send("GET", target, {"Accept": "application/json"}, None)
    with closing(answer):
        return connections.read(answer, 100)


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
    assert refused.value.distrusted
    assert not refused.value.sent
    proxy.join(10)
    assert proxy.came == b""


def test_what_nobody_listens_to_was_never_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    with pytest.raises(TransportError, match="cannot be reached") as lost:
        send(f"http://127.0.0.1:{port}")
    assert not lost.value.sent


@pytest.mark.parametrize("address", ["http://", "nonsense://x"])
def test_a_proxy_that_is_none_is_no_way_to_the_service(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, address)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(TransportError, match="cannot be reached"):
        send(f"https://{HOST}")
