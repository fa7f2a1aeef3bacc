"""Signs an approval with a person's SSH key.

A private key signs in this process; one with a passphrase asks for it on the terminal. For a public
key, ssh-keygen asks the SSH agent or the hardware key. No passphrase and no private key is kept.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import getpass
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_ssh_private_key,
)

from reconciler.cli.context import may_ask
from reconciler.errors import ReconcilerError
from reconciler.plans.approvals import NAMESPACE
from reconciler.plans.ssh_signatures import (
    HARDWARE,
    KEY_TYPES,
    BadSignature,
    PrivateKey,
    SshKey,
    find_public,
    parse_signature,
    sign,
    verify,
)
from reconciler.render.words.escape import escape

_MOST_BYTES: Final = 64 * 1024
_OPENSSH: Final = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_TRIES: Final = 3
_USUAL: Final = "Name a private key, such as ~/.ssh/id_ed25519, or a public one: its .pub file."
_NOISE: Final = "Signing data on standard input"


def sign_statement(
    key_file: str, data: bytes, report: Callable[[str], None]
) -> tuple[bytes, SshKey]:
    """The armoured signature of a statement, and the public key that it names.

    `report` prints what ssh-keygen asks of a person. Raises ReconcilerError for a key that cannot
    sign, or whose signature does not count.
    """
    path = Path(key_file).expanduser()
    text = _read_key(path, key_file)
    key = None if _is_public(text) else _load_private(text, key_file)
    try:
        if key is None:
            signature = _ask_ssh_keygen(path, data, report)
        else:
            find_public(key)
            signature = sign(key, data, NAMESPACE)
        public = _check(signature, data)
    except BadSignature as error:
        raise ReconcilerError(
            f"cannot be used: it {error}", subject=key_file, next_step=_list_types()
        ) from error
    return signature, public


def _check(signature: bytes, data: bytes) -> SshKey:
    """The key of a new signature; raises BadSignature for one that no apply would accept."""
    found = parse_signature(signature)
    verify(found, data)
    if found.namespace != NAMESPACE:
        raise BadSignature(f"has signed for the namespace {found.namespace[:40]!r}")
    return found.key


def _list_types() -> str:
    return f"Use a key of one of these types: {', '.join(KEY_TYPES)}."


def _read_key(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise ReconcilerError("the key does not exist", subject=name, next_step=_USUAL) from error
    except OSError as error:
        said = f"the key cannot be read: {error.strerror}"
        raise ReconcilerError(said, subject=name, next_step=_USUAL) from error
    if len(text) > _MOST_BYTES or not (_is_public(text) or b"PRIVATE KEY-----" in text):
        raise ReconcilerError("is not an SSH key", subject=name, next_step=_USUAL)
    return text


def _is_public(text: bytes) -> bool:
    word = text.split(maxsplit=1)[:1]
    return bool(word) and word[0].decode("ascii", "replace").startswith(("ssh-", "ecdsa-", "sk-"))


def _load_private(text: bytes, name: str) -> PrivateKey | None:
    """The private key; None for one that only ssh-keygen can use, such as a hardware key."""
    if _is_hardware(text):
        return None
    try:
        found = _load(text, name)
    except UnsupportedAlgorithm:
        return None
    except ValueError as error:
        raise ReconcilerError("the key is damaged", subject=name, next_step=_USUAL) from error
    if isinstance(
        found, (ed25519.Ed25519PrivateKey, ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)
    ):
        return found
    raise ReconcilerError(
        "the key is of a type that is not accepted", subject=name, next_step=_list_types()
    )


def _is_hardware(text: bytes) -> bool:
    """Whether a file names a hardware key; its public half is never encrypted."""
    body = b"".join(line for line in text.split() if b"-" not in line)
    with contextlib.suppress(binascii.Error):
        data = base64.b64decode(body)
        return any(kind.encode() in data for kind in HARDWARE)
    return False


def _load(text: bytes, name: str) -> object:
    load = load_ssh_private_key if text.lstrip().startswith(_OPENSSH) else load_pem_private_key
    try:
        return load(text, None)
    except TypeError:  # it has a passphrase
        return _load_encrypted(lambda passphrase: load(text, passphrase), name)


def _load_encrypted(load: Callable[[bytes], object], name: str) -> object:
    """The private key, with a passphrase from the terminal; three attempts, as ssh has them."""
    for _ in range(_TRIES):
        try:
            return load(_ask_passphrase(name))
        except (ValueError, TypeError):
            continue
    raise ReconcilerError(
        f"the passphrase is wrong: {_TRIES} attempts", subject=name, next_step="Nothing was signed."
    )


def _ask_passphrase(name: str) -> bytes:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        asks = False
    else:
        asks = may_ask()
    if not asks:
        raise ReconcilerError(
            "the key has a passphrase, and it cannot be asked for: no terminal, or"
            " RECONCILER_INPUT switches questions off",
            subject=name,
            next_step=f"Add it to the agent (ssh-add), and name the public key: --key {name}.pub",
        )
    try:
        return getpass.getpass(f"Passphrase of {escape(name)}: ").encode()
    except EOFError:
        raise ReconcilerError(
            "no passphrase was given", subject=name, next_step="Nothing was signed."
        ) from None


def _ask_ssh_keygen(path: Path, data: bytes, report: Callable[[str], None]) -> bytes:
    """The signature that ssh-keygen makes with the agent, a hardware key, or the file beside it."""
    command = ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", str(path.absolute())]
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell, our own arguments
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise ReconcilerError(
            f"ssh-keygen cannot be started: {error.strerror}",
            subject=str(path),
            next_step="Install OpenSSH's client: a public key signs with its help.",
        ) from error
    said: list[str] = []
    with process:
        assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018 - PIPE
        with contextlib.suppress(BrokenPipeError):  # it says why on stderr
            process.stdin.write(data)
            process.stdin.close()
        for line in process.stderr:
            text = line.decode("utf-8", "replace").strip()
            if text and text != _NOISE:
                said.append(text)
                report(escape(text))
        signature = process.stdout.read(_MOST_BYTES)
    if process.returncode:
        raise ReconcilerError(
            f"ssh-keygen could not sign: {said[-1] if said else f'exit {process.returncode}'}",
            subject=str(path),
            next_step="Connect the hardware key, or add the key to the agent: ssh-add. What the"
            " agent has: ssh-add -l",
        )
    return signature
