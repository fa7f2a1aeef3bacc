"""Ways that do not lead to a service: peers without TLS, proxies that refuse, and a certificate."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOST = "service.test"


def write_certificate(file: Path) -> Path:
    """A certificate of HOST and of this machine with its key, signed by nobody else."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    names = [x509.DNSName(HOST), x509.IPAddress(ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.TraditionalOpenSSL
    file.write_bytes(
        made.public_bytes(pem) + key.private_bytes(pem, plain, serialization.NoEncryption())
    )
    return file


@dataclass
class Peer:
    """What listens at a port. `came` has the first bytes of each connection."""

    port: int
    came: list[bytes] = field(default_factory=list)


Serve = Callable[[socket.socket], None]


@contextmanager
def run_peer(
    serve: Serve | bytes, certificate: Path | None = None, port: int = 0
) -> Iterator[Peer]:
    """Serve each connection until the block ends: with a function, or with these bytes as answer.

    With a certificate the connection is a TLS connection.
    """
    listening = socket.create_server(("127.0.0.1", port))
    peer = Peer(listening.getsockname()[1])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if certificate is not None:
        context.load_cert_chain(certificate)

    def answer(raw: socket.socket) -> None:
        with suppress(OSError):
            came = context.wrap_socket(raw, server_side=True) if certificate is not None else raw
            with came:
                if not isinstance(serve, bytes):
                    serve(came)
                    return
                peer.came.append(came.recv(65536))
                came.sendall(serve)

    def listen() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield peer
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(60)
