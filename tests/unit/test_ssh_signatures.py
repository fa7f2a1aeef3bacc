"""OpenSSH signatures: ours are accepted by ssh-keygen, its by us, and no changed one by either."""

import base64
import contextlib
import hashlib
import re
import struct
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from reconciler.plans.approvals import NAMESPACE
from reconciler.plans.ssh_signatures import (
    KEY_TYPES,
    BadSignature,
    find_public,
    parse_key,
    parse_signature,
    sign,
    verify,
)
from tests.ssh import (
    KINDS,
    HardwareKey,
    make_key,
    need_ssh_keygen,
    sign_by_ssh_keygen,
    string,
    verify_by_ssh_keygen,
    write_key,
)

KEY = find_public(make_key())
MESSAGE = b'{"changes_digest":"sha256:00"}\n'


@pytest.mark.parametrize("kind", KINDS)
def test_ssh_keygen_accepts_what_is_signed_here(tmp_path: Path, kind: str) -> None:
    key = make_key(kind)
    signature = sign(key, MESSAGE, NAMESPACE)
    keyring = f"bob@example.com {find_public(key).line}\n"
    said = verify_by_ssh_keygen(tmp_path, keyring, "bob@example.com", MESSAGE, signature)
    assert f'Good "{NAMESPACE}" signature for bob@example.com' in said
    assert find_public(key).fingerprint in said
    assert not verify_by_ssh_keygen(tmp_path, keyring, "bob@example.com", b"!", signature)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [(), ("-O", "hashalg=sha256")], ids=["sha512", "sha256"])
def test_what_ssh_keygen_signs_is_accepted_here(
    tmp_path: Path, kind: str, options: tuple[str, ...]
) -> None:
    need_ssh_keygen()
    public = write_key(tmp_path / "key", make_key(kind))
    found = parse_signature(sign_by_ssh_keygen(tmp_path / "key", MESSAGE, *options))
    verify(found, MESSAGE)
    assert (found.key, found.namespace) == (public, NAMESPACE)
    with pytest.raises(BadSignature, match="one of the two was changed"):
        verify(found, MESSAGE + b" ")


@pytest.mark.parametrize("kind", ["sk-ed25519", "sk-ecdsa"])
def test_hardware_keys_are_accepted_by_both(tmp_path: Path, kind: str) -> None:
    key = HardwareKey(kind)
    signature = key.sign(MESSAGE)
    verify(parse_signature(signature), MESSAGE)
    with pytest.raises(BadSignature, match="one of the two was changed"):
        verify(parse_signature(signature), b"!")
    keyring = f"bob {key.public.line}\n"
    assert verify_by_ssh_keygen(tmp_path, keyring, "bob", MESSAGE, signature)


@pytest.mark.parametrize("kind", ["sk-ed25519", "sk-ecdsa"])
def test_a_hardware_key_must_be_touched(kind: str) -> None:
    signature = parse_signature(HardwareKey(kind).sign(MESSAGE, touched=False))
    with pytest.raises(BadSignature, match="hardware key that was not touched"):
        verify(signature, MESSAGE)


def test_the_counter_and_the_application_of_a_hardware_key_are_signed() -> None:
    key = HardwareKey("sk-ed25519")
    data = _open(key.sign(MESSAGE, counter=7))
    changed = data[:-4] + struct.pack(">I", 8)
    with pytest.raises(BadSignature, match="one of the two was changed"):
        verify(parse_signature(_close(changed)), MESSAGE)
    other = _open(key.sign(MESSAGE)).replace(b"ssh:", b"web:")
    with pytest.raises(BadSignature, match="one of the two was changed"):
        verify(parse_signature(_close(other)), MESSAGE)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-256", "rsa", "sk-ed25519", "sk-ecdsa"])
def test_no_flipped_byte_of_a_signature_is_accepted(kind: str) -> None:
    hardware = kind.startswith("sk-")
    made = HardwareKey(kind) if hardware else None
    key = None if hardware else make_key(kind)
    data = _open(made.sign(MESSAGE) if made else sign(key, MESSAGE, NAMESPACE) if key else b"")
    public = made.public if made else find_public(key) if key else None
    for at in range(0, len(data), 3):
        flipped = data[:at] + bytes([data[at] ^ 0x01]) + data[at + 1 :]
        try:
            found = parse_signature(_close(flipped))
            verify(found, MESSAGE)
        except BadSignature:
            continue
        raise AssertionError(f"byte {at} of {len(data)} is not protected ({found.key == public})")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:-1], "is cut off"),
        (lambda data: data + b"!", "has bytes after its end"),
        (lambda data: b"SSHSIH" + data[6:], "is not an OpenSSH signature of version 1"),
        (lambda data: data[:9] + b"\x02" + data[10:], "is not an OpenSSH signature of version 1"),
        (lambda data: data.replace(b"sha512", b"sha1xx"), "has the hash 'sha1xx'"),
        (lambda data: data[:6], "is cut off"),
        (lambda data: data[:10] + b"\xff\xff\xff\xff", "is cut off"),
    ],
)
def test_a_damaged_signature_is_refused_with_the_reason(change: object, said: str) -> None:
    data = _open(sign(make_key(), MESSAGE, NAMESPACE))
    assert callable(change)
    with pytest.raises(BadSignature, match=re.escape(said)):
        verify(parse_signature(_close(change(data))), MESSAGE)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"-----BEGIN SSH SIGNATURE-----\n",
        b"-----BEGIN PGP SIGNATURE-----\nU1NI\n-----END PGP SIGNATURE-----\n",
        b"-----BEGIN SSH SIGNATURE-----\n%%%\n-----END SSH SIGNATURE-----\n",
        b"-----BEGIN SSH SIGNATURE-----\n" + b"\n" * 60_000 + b"A",
    ],
)
def test_what_is_not_armoured_is_not_a_signature(text: bytes) -> None:
    with pytest.raises(BadSignature, match="is not an OpenSSH signature"):
        parse_signature(text)


def test_an_rsa_signature_with_sha1_is_refused() -> None:
    data = _open(sign(make_key("rsa"), MESSAGE, NAMESPACE))
    weak = data.replace(string(b"rsa-sha2-512"), string(b"ssh-rsa"))
    inner = data.index(string(b"rsa-sha2-512")) - 4
    size = struct.pack(">I", struct.unpack(">I", data[inner : inner + 4])[0] - 5)
    weak = weak[:inner] + size + weak[inner + 4 :]
    with pytest.raises(BadSignature, match="is made with 'ssh-rsa', which is not accepted"):
        verify(parse_signature(_close(weak)), MESSAGE)


def test_an_rsa_signature_with_sha256_is_accepted_by_both(tmp_path: Path) -> None:
    key = make_key("rsa")
    assert isinstance(key, rsa.RSAPrivateKey)
    public = find_public(key)
    parts = (NAMESPACE.encode(), b"", b"sha512", hashlib.sha512(MESSAGE).digest())
    value = key.sign(b"SSHSIG" + b"".join(map(string, parts)), padding.PKCS1v15(), hashes.SHA256())
    whole = string(b"rsa-sha2-256") + string(value)
    names = (public.blob, NAMESPACE.encode(), b"", b"sha512", whole)
    signature = _close(b"SSHSIG\0\0\0\1" + b"".join(map(string, names)))
    verify(parse_signature(signature), MESSAGE)
    with pytest.raises(BadSignature, match="one of the two was changed"):
        verify(parse_signature(signature), b"!")
    assert verify_by_ssh_keygen(tmp_path, f"bob {public.line}\n", "bob", MESSAGE, signature)


def test_keys_that_are_not_accepted_are_named() -> None:
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it is refused
    with pytest.raises(BadSignature, match="an RSA key of 1024 bits; the least is 2048"):
        sign(short, MESSAGE, NAMESPACE)
    with pytest.raises(BadSignature, match="has a curve that OpenSSH does not have"):
        sign(ec.generate_private_key(ec.SECP256K1()), MESSAGE, NAMESPACE)
    numbers = dsa.generate_private_key(2048).public_key().public_numbers()
    blob = string(b"ssh-dss") + string(numbers.y.to_bytes(257, "big"))
    with pytest.raises(BadSignature, match="a key of type 'ssh-dss', which is not accepted"):
        parse_key("ssh-dss", base64.b64encode(blob).decode())
    blob = string(b"ssh-ed25519-cert-v01@openssh.com") + string(b"nonce")
    with pytest.raises(BadSignature, match="certificates are not accepted"):
        parse_key("ssh-ed25519-cert-v01@openssh.com", base64.b64encode(blob).decode())


def test_a_point_that_is_not_on_its_curve_is_not_a_key() -> None:
    public = find_public(make_key("ecdsa-256"))
    blob = public.blob[:-1] + bytes([public.blob[-1] ^ 1])
    with pytest.raises(BadSignature, match="has a public key that is not valid"):
        parse_key(public.type, base64.b64encode(blob).decode())
    other = public.blob.replace(b"nistp256", b"nistp384")
    with pytest.raises(BadSignature):
        parse_key("ecdsa-sha2-nistp384", base64.b64encode(other).decode())
    mixed = public.blob.replace(string(b"nistp256"), string(b"nistp521"))
    with pytest.raises(BadSignature, match="of another curve than its type says"):
        parse_key(public.type, base64.b64encode(mixed).decode())


_PARTS = st.sampled_from(
    [b"SSHSIG", struct.pack(">I", 1), string(b"ssh-ed25519"), string(b"sha512"), string(b""), b"\0"]
)


@given(
    data=st.lists(_PARTS | st.binary(max_size=40), max_size=12).map(b"".join), begun=st.booleans()
)
def test_any_bytes_are_a_bad_signature_and_nothing_worse(data: bytes, *, begun: bool) -> None:
    start = b"SSHSIG\0\0\0\1" + string(KEY.blob) if begun else b""
    for text in (data, _close(start + data)):
        with pytest.raises(BadSignature):
            verify(parse_signature(text), MESSAGE)


@given(st.sampled_from(KEY_TYPES), st.lists(_PARTS | st.binary(max_size=40)).map(b"".join))
def test_any_bytes_are_a_bad_key_and_nothing_worse(kind: str, data: bytes) -> None:
    blob = string(kind.encode()) + data
    with contextlib.suppress(BadSignature):
        assert parse_key(kind, base64.b64encode(blob).decode()).blob == blob


def _open(armoured: bytes) -> bytes:
    return base64.b64decode("".join(armoured.decode().splitlines()[1:-1]))


def _close(data: bytes) -> bytes:
    text = base64.b64encode(data)
    return b"-----BEGIN SSH SIGNATURE-----\n" + text + b"\n-----END SSH SIGNATURE-----\n"
