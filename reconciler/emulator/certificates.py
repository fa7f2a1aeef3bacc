"""Makes the certificate with which the emulator and its blob storage speak TLS.

It signs itself, so that a client trusts it by its file alone. The command makes one at each start.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # these are imported only if a certificate is made
    import ssl

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

_NAME: Final = "reconciler emulator"
_ADDRESSES: Final = ("127.0.0.1", "::1")
_VALID: Final = dt.timedelta(days=397)
# A client whose clock is late must accept it too.
_BEFORE: Final = dt.timedelta(days=1)


@dataclass(frozen=True)
class Certificate:
    """The files of a certificate and of its private key, in PEM."""

    path: Path
    key: Path

    def make_server_context(self) -> ssl.SSLContext:
        """Return the context of a server with this certificate."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path, self.key)
        return context

    def make_client_context(self) -> ssl.SSLContext:
        """Return the context of a client that trusts this certificate alone."""
        import ssl

        return ssl.create_default_context(cafile=str(self.path))


@contextlib.contextmanager
def make_certificate(host: str) -> Iterator[Certificate]:
    """Make a certificate for this machine and for `host`; remove its files when the block ends.

    The private key is readable by its owner only. A process that is killed leaves the files.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign(key, host)
    pem = serialization.Encoding.PEM
    with tempfile.TemporaryDirectory(prefix="reconciler-tls-") as folder:
        files = Certificate(Path(folder, "certificate.pem"), Path(folder, "key.pem"))
        secret = key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _write(files.key, secret, 0o600)
        _write(files.path, certificate.public_bytes(pem), 0o644)
        yield files


def _sign(key: ec.EllipticCurvePrivateKey, host: str) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    now, public = dt.datetime.now(dt.UTC), key.public_key()
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    builder = x509.CertificateBuilder(name, name, public, x509.random_serial_number())
    builder = builder.not_valid_before(now - _BEFORE).not_valid_after(now + _VALID)
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.SubjectAlternativeName(_list_names(host)), False),
        # It verifies itself, so it is an authority too.
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (x509.KeyUsage(digital_signature=True, key_cert_sign=True, **usage), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectKeyIdentifier.from_public_key(public), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(public), False),
    ]
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key, hashes.SHA256())


def _list_names(host: str) -> list[x509.GeneralName]:
    """Return the names of this machine, and the host that the emulator listens on."""
    from cryptography import x509

    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    addresses = [*_ADDRESSES]
    try:
        addresses.append(str(ipaddress.ip_address(host)))
    except ValueError:
        if host != "localhost" and host.isascii():
            names.append(x509.DNSName(host))
    given = (ipaddress.ip_address(one) for one in dict.fromkeys(addresses))
    return [*names, *(x509.IPAddress(one) for one in given)]


def _write(file: Path, data: bytes, mode: int) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as opened:
        opened.write(data)
