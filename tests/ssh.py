"""SSH keys and keyrings for tests, and the real `ssh-keygen` where the machine has it."""

import base64
import hashlib
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from reconciler.plans.approvals import NAMESPACE
from reconciler.plans.ssh_signatures import PrivateKey, SshKey, find_public
from tests.storage import leave_out

KINDS: Final = ("ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa")
_CURVES: Final = {"256": ec.SECP256R1(), "384": ec.SECP384R1(), "521": ec.SECP521R1()}


def make_key(kind: str = "ed25519") -> PrivateKey:
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(_CURVES[kind.removeprefix("ecdsa-")])


def write_key(path: Path, key: PrivateKey | None = None, passphrase: str = "") -> SshKey:
    """Write a private key and its public half beside it, as ssh-keygen does."""
    key = key or make_key()
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, encryption))
    path.chmod(0o600)
    public = find_public(key)
    Path(f"{path}.pub").write_text(f"{public.line} a comment\n")
    return public


def need_ssh_keygen() -> str:
    """The path of ssh-keygen; leaves the test out where it is not installed."""
    return shutil.which("ssh-keygen") or leave_out(
        "that OpenSSH accepts the same signatures", "Debian's openssh-client is not installed."
    )


def sign_by_ssh_keygen(
    key: Path, message: bytes, *options: str, namespace: str = NAMESPACE
) -> bytes:
    command = [need_ssh_keygen(), "-Y", "sign", "-n", namespace, "-f", str(key), *options]
    return subprocess.run(command, input=message, capture_output=True, check=True).stdout


def verify_by_ssh_keygen(
    folder: Path, keyring: str, principal: str, message: bytes, signature: bytes
) -> str:
    """What ssh-keygen prints of a signature that it accepts; empty for one that it refuses."""
    (folder / "signers").write_text(keyring)
    (folder / "message.sig").write_bytes(signature)
    command = [need_ssh_keygen(), "-Y", "verify", "-n", NAMESPACE, "-I", principal]
    done = subprocess.run(
        [*command, "-f", str(folder / "signers"), "-s", str(folder / "message.sig")],
        input=message,
        capture_output=True,
        text=False,
        check=False,
    )
    return done.stdout.decode() if done.returncode == 0 else ""


class HardwareKey:
    """A security key in software: it signs as PROTOCOL.u2f says."""

    def __init__(self, kind: str, application: str = "ssh:") -> None:
        self._application = application.encode()
        self._key = make_key("ed25519" if kind == "sk-ed25519" else "ecdsa-256")
        plain = find_public(self._key)
        self._type = f"sk-{plain.type}@openssh.com"
        rest = plain.blob[4 + len(plain.type) :]
        blob = string(self._type.encode()) + rest + string(self._application)
        self.public = SshKey(self._type, blob)

    def write(self, path: Path, *, encrypted: bool = False) -> None:
        """Write the private file of it, which has no secret: only what the key calls itself."""
        pair = struct.pack(">II", 7, 7) + self.public.blob + b"\1" + string(b"handle") + string(b"")
        private = pair + string(b"a comment")
        private += bytes(range(1, 1 + -len(private) % 8))
        names = [b"aes256-ctr", b"bcrypt"] if encrypted else [b"none", b"none"]
        options = string(b"salt" * 4) + struct.pack(">I", 16) if encrypted else b""
        data = b"openssh-key-v1\0" + b"".join(map(string, (*names, options)))
        data += struct.pack(">I", 1) + string(self.public.blob) + string(private)
        begin, end = (f"-----{word} OPENSSH PRIVATE KEY-----\n" for word in ("BEGIN", "END"))
        path.write_text(begin + base64.encodebytes(data).decode() + end)
        path.chmod(0o600)

    def sign(
        self, message: bytes, *, touched: bool = True, namespace: str = NAMESPACE, counter: int = 7
    ) -> bytes:
        from reconciler.plans.ssh_signatures import _armour

        parts = (namespace.encode(), b"", b"sha512", hashlib.sha512(message).digest())
        signed = b"SSHSIG" + b"".join(map(string, parts))
        state = struct.pack(">BI", int(touched), counter)
        digests = [hashlib.sha256(one).digest() for one in (self._application, signed)]
        value = self._sign(digests[0] + state + digests[1])
        whole = string(self._type.encode()) + string(value) + state
        names = (self.public.blob, namespace.encode(), b"", b"sha512", whole)
        return _armour(b"SSHSIG" + struct.pack(">I", 1) + b"".join(map(string, names)))

    def _sign(self, data: bytes) -> bytes:
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(data)
        assert isinstance(self._key, ec.EllipticCurvePrivateKey)
        numbers = utils.decode_dss_signature(self._key.sign(data, ec.ECDSA(hashes.SHA256())))
        return b"".join(string(one.to_bytes(one.bit_length() // 8 + 1, "big")) for one in numbers)


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
