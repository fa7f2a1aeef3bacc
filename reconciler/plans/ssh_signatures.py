"""Makes and verifies OpenSSH signatures: the form that `ssh-keygen -Y sign` writes.

The form is that of OpenSSH's PROTOCOL.sshsig; those of hardware keys are in PROTOCOL.u2f. A
signature names its key, and only a keyring says who has the key. Import this module late: it needs
`cryptography`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from reconciler.model.values import dataclass

PrivateKey: TypeAlias = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_PublicKey: TypeAlias = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_MAGIC: Final = b"SSHSIG"
_VERSION: Final = 1
_BEGIN: Final = "-----BEGIN SSH SIGNATURE-----"
_END: Final = "-----END SSH SIGNATURE-----"
_WIDTH: Final = 70
_HASHES: Final = ("sha256", "sha512")
# OpenSSH refuses keys outside of these bounds, and NIST the keys below 2048 bits.
_RSA_BITS: Final = range(2048, 16384 + 1)
_PRESENT: Final = 0x01
_CURVES: Final[Mapping[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]]] = {
    "nistp256": (ec.SECP256R1(), hashes.SHA256()),
    "nistp384": (ec.SECP384R1(), hashes.SHA384()),
    "nistp521": (ec.SECP521R1(), hashes.SHA512()),
}
_RSA_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "rsa-sha2-256": hashes.SHA256(),
    "rsa-sha2-512": hashes.SHA512(),
}
_ED25519: Final = "ssh-ed25519"
_RSA: Final = "ssh-rsa"
_ECDSA: Final = "ecdsa-sha2-"
_SK_ED25519: Final = "sk-ssh-ed25519@openssh.com"
_SK_ECDSA: Final = "sk-ecdsa-sha2-nistp256@openssh.com"
HARDWARE: Final = (_SK_ED25519, _SK_ECDSA)
KEY_TYPES: Final = (_ED25519, *(f"{_ECDSA}{name}" for name in _CURVES), _RSA, *HARDWARE)


class BadSignature(ValueError):
    """A key or a signature that does not count; the text says why and follows its name."""


@dataclass(frozen=True, slots=True)
class SshKey:
    """A public key. `blob` is its binary form: two keys are equal if their blobs are equal."""

    type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """The name that OpenSSH prints for it: `SHA256:` and 43 characters."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest())
        return f"SHA256:{digest.decode().rstrip('=')}"

    @property
    def line(self) -> str:
        """The key as in a `.pub` file, without a comment."""
        return f"{self.type} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature as it was read. `value` is that of `algorithm`, in OpenSSH's form."""

    key: SshKey
    namespace: str
    hash_name: str
    reserved: bytes
    algorithm: str
    value: bytes


def parse_key(kind: str, text: str) -> SshKey:
    """Return the key of a `.pub` file's first two words; raises BadSignature."""
    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadSignature("is not a public key: it is not base64") from error
    key = _read_key(blob)
    if key.type != kind:
        raise BadSignature(f"is not a public key of type {kind}")
    return key


def _read_key(blob: bytes) -> SshKey:
    """Return a key whose numbers are valid; raises BadSignature."""
    key = SshKey(_Reader(blob).text(), blob)
    _open_key(key)
    return key


def parse_signature(data: bytes) -> Signature:
    """Return what an armoured signature holds, not verified; raises BadSignature."""
    text = data.decode("ascii", "replace").strip()
    if not (text.startswith(f"{_BEGIN}\n") and text.endswith(f"\n{_END}")):
        raise BadSignature(f"is not an OpenSSH signature: it has no {_BEGIN}")
    armoured = "".join(text.removeprefix(_BEGIN).removesuffix(_END).split())
    try:
        outer = _Reader(base64.b64decode(armoured, validate=True))
    except (binascii.Error, ValueError) as error:
        raise BadSignature("is not an OpenSSH signature: it is not base64") from error
    if outer.take(len(_MAGIC)) != _MAGIC or outer.number() != _VERSION:
        raise BadSignature(f"is not an OpenSSH signature of version {_VERSION}")
    key = _read_key(outer.string())
    namespace, reserved, hash_name = outer.text(), outer.string(), outer.text()
    inner = _Reader(outer.string())
    outer.end()
    if hash_name not in _HASHES:
        raise BadSignature(f"has the hash {hash_name[:20]!r}, which is not accepted")
    algorithm = inner.text()
    return Signature(key, namespace, hash_name, reserved, algorithm, inner.rest())


def verify(signature: Signature, message: bytes) -> None:
    """Raise BadSignature unless the key of a signature has signed the message.

    It does not say whose key it is, and does not compare the namespace with that of a caller.
    """
    signed = _make_signed(signature, message)
    kind = signature.key.type
    allowed = (*_RSA_HASHES,) if kind == _RSA else (kind,)
    if signature.algorithm not in allowed:
        raise BadSignature(f"is made with {signature.algorithm[:40]!r}, which is not accepted")
    try:
        if kind in HARDWARE:
            _verify_hardware(signature, signed)
        else:
            _verify_value(signature.key, signature.algorithm, signature.value, signed)
    except InvalidSignature as error:
        raise BadSignature("does not match what was signed: one of the two was changed") from error


def _make_signed(signature: Signature, message: bytes) -> bytes:
    digest = hashlib.new(signature.hash_name, message).digest()
    parts = (
        signature.namespace.encode(),
        signature.reserved,
        signature.hash_name.encode(),
        digest,
    )
    return _MAGIC + b"".join(map(_string, parts))


def _verify_hardware(signature: Signature, signed: bytes) -> None:
    """Verify what a hardware key signs: the application, the flags, a counter, the message."""
    key = _Reader(signature.key.blob)
    key.text()
    if signature.key.type == _SK_ECDSA:
        key.text()
    key.string()
    application = key.string()
    reader = _Reader(signature.value)
    value, state = reader.string(), reader.take(5)
    reader.end()
    if not state[0] & _PRESENT:
        raise BadSignature("is made by a hardware key that was not touched")
    digests = [hashlib.sha256(one).digest() for one in (application, signed)]
    message = digests[0] + state + digests[1]
    _verify_value(signature.key, signature.algorithm, _string(value), message)


def _verify_value(key: SshKey, algorithm: str, encoded: bytes, signed: bytes) -> None:
    """Verify a signature without the parts of a hardware key; raises InvalidSignature."""
    reader, public = _Reader(encoded), _open_key(key)
    value = reader.string()
    reader.end()
    if isinstance(public, ed25519.Ed25519PublicKey):
        public.verify(value, signed)
    elif isinstance(public, rsa.RSAPublicKey):
        size = (public.key_size + 7) // 8
        # OpenSSH removes leading zeros from the value.
        public.verify(value.rjust(size, b"\0"), signed, padding.PKCS1v15(), _RSA_HASHES[algorithm])
    else:
        numbers = _Reader(value)
        parts = numbers.integer(), numbers.integer()
        numbers.end()
        _, digest = _CURVES[_name_curve(key.type)]
        public.verify(utils.encode_dss_signature(*parts), signed, ec.ECDSA(digest))


def sign(key: PrivateKey, message: bytes, namespace: str) -> bytes:
    """Return the armoured signature of a message, as OpenSSH makes it."""
    public = find_public(key)
    algorithm = "rsa-sha2-512" if public.type == _RSA else public.type
    signature = Signature(public, namespace, "sha512", b"", algorithm, b"")
    value = _string(_sign_value(key, _make_signed(signature, message)))
    parts = (public.blob, namespace.encode(), b"", b"sha512", _string(algorithm.encode()) + value)
    return _armour(_MAGIC + struct.pack(">I", _VERSION) + b"".join(map(_string, parts)))


def _armour(data: bytes) -> bytes:
    text = base64.b64encode(data).decode()
    lines = [text[at : at + _WIDTH] for at in range(0, len(text), _WIDTH)]
    return "\n".join((_BEGIN, *lines, _END, "")).encode()


def find_public(key: PrivateKey) -> SshKey:
    """Return the public key of a private one; raises BadSignature for one that is not accepted."""
    try:
        line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadSignature("has a curve that OpenSSH does not have") from error
    kind, text = line.split(" ")[:2]
    return parse_key(kind, text)


def _sign_value(key: PrivateKey, signed: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(signed)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(signed, padding.PKCS1v15(), hashes.SHA512())
    _, digest = _CURVES[_name_curve(find_public(key).type)]
    return b"".join(map(_integer, utils.decode_dss_signature(key.sign(signed, ec.ECDSA(digest)))))


def _name_curve(kind: str) -> str:
    return kind.removeprefix("sk-").removesuffix("@openssh.com").removeprefix(_ECDSA)


def _open_key(key: SshKey) -> _PublicKey:
    """Return the key that verifies; raises BadSignature for a type or numbers not accepted."""
    if "-cert-" in key.type:
        raise BadSignature("has a certificate, and certificates are not accepted: use a plain key")
    open_key = _OPENERS.get(key.type)
    if open_key is None:
        raise BadSignature(f"has a key of type {key.type[:40]!r}, which is not accepted")
    reader = _Reader(key.blob)
    reader.text()
    try:
        public = open_key(key.type, reader)
    except (ValueError, UnsupportedAlgorithm) as error:
        if isinstance(error, BadSignature):
            raise
        raise BadSignature("has a public key that is not valid") from error
    if key.type in HARDWARE:
        reader.string()
    reader.end()
    return public


def _open_ed25519(_: str, reader: _Reader) -> _PublicKey:
    return ed25519.Ed25519PublicKey.from_public_bytes(reader.string())


def _open_ecdsa(kind: str, reader: _Reader) -> _PublicKey:
    name = _name_curve(kind)
    if reader.text() != name:
        raise BadSignature("has a public key of another curve than its type says")
    curve, _ = _CURVES[name]
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, reader.string())


def _open_rsa(_: str, reader: _Reader) -> _PublicKey:
    exponent, modulus = reader.integer(), reader.integer()
    if modulus.bit_length() not in _RSA_BITS:
        raise BadSignature(f"has an RSA key of {modulus.bit_length()} bits; the least is 2048")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


_OPENERS: Final[Mapping[str, Callable[[str, _Reader], _PublicKey]]] = {
    _ED25519: _open_ed25519,
    _SK_ED25519: _open_ed25519,
    _RSA: _open_rsa,
    **dict.fromkeys((f"{_ECDSA}{name}" for name in _CURVES), _open_ecdsa),
    _SK_ECDSA: _open_ecdsa,
}


class _Reader:
    """Reads the binary form of SSH from its start; raises BadSignature where data is missing."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        found = self._data[self._at : self._at + size]
        if len(found) != size:
            raise BadSignature("is cut off")
        self._at += size
        return found

    def rest(self) -> bytes:
        return self._data[self._at :]

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        return self.string().decode("utf-8", "replace")

    def integer(self) -> int:
        value = self.string()
        if value[:1] >= b"\x80":
            raise BadSignature("has a negative number")
        return int.from_bytes(value, "big")

    def end(self) -> None:
        if self._at != len(self._data):
            raise BadSignature("has bytes after its end")


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _integer(number: int) -> bytes:
    return _string(number.to_bytes(number.bit_length() // 8 + 1, "big") if number else b"")
