"""Reads secrets from their sources at the moment of the call, and never stores them.

A message names the variable or the file, and never contains a byte of the secret. A secret's file
must be inside the project's folder, symbolic links resolved.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from reconciler.errors import SecretMissing
from reconciler.model import SecretReference
from reconciler.ports import ResolveSecret
from reconciler.secrets.sas import trim_signature

_MOST_BYTES: Final = 64 * 1024


def secret_resolver(
    root: Path,
    environment: Mapping[str, str],
    know: Callable[[str], None] = lambda _: None,
) -> ResolveSecret:
    """Returns the function that reads the secret of a reference: a text that is not empty.

    File names are relative to `root`, the project's folder, and the files must be inside it,
    symbolic links resolved. One line break at the end is not part of the secret. Before a secret
    is returned, `know` receives it, and what a signature in it is without the text around it. The
    function raises SecretMissing.
    """

    def resolve(reference: SecretReference) -> str:
        if reference.env:
            secret = _from_environment(reference.env, environment)
        else:
            secret = _from_file(root, reference.file)
        for known in {secret, trim_signature(secret)}:
            know(known)
        return secret

    return resolve


def resolve_known(resolve: ResolveSecret, references: Iterable[SecretReference]) -> None:
    """Reads the secrets that exist, so that they are known; ignores missing ones for now."""
    for reference in references:
        with contextlib.suppress(SecretMissing):
            resolve(reference)


def _from_environment(name: str, environment: Mapping[str, str]) -> str:
    value = _without_line_break(environment.get(name, ""))
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        # Not chained, because the error contains the value.
        raise _missing(f"env {name}", "is not text in UTF-8", f"Set {name} again.") from None
    if not value:
        state = "is empty" if name in environment else "is not set"
        raise _missing(f"env {name}", state, f"Set {name} where reconciler runs.")
    return value


def _without_line_break(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _from_file(root: Path, name: str) -> str:
    subject = f"file {name}"
    path = os.path.realpath(root / name)
    if not Path(path).is_relative_to(os.path.realpath(root)):
        hint = "Put the file inside the project, and keep it out of git."
        raise _missing(subject, "is outside the project's folder", hint)
    data = _read(path, subject)
    try:
        value = _without_line_break(data.decode("utf-8"))
    except UnicodeDecodeError:
        # Not chained, because the error contains the bytes.
        raise _missing(subject, "is not text in UTF-8", "Save it as plain text.") from None
    if not value or "\0" in value:
        state = "is not text" if value else "is empty"
        raise _missing(subject, state, "Put the secret there, as one line of text.")
    return value


def _read(path: str, subject: str) -> bytes:
    """The bytes of a regular file: a pipe would block for ever, and a device might never end."""
    if os.path.lexists(path) and not Path(path).is_file():
        raise _missing(subject, "is not a regular file", "Name a file that holds the secret.")
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        state = f"cannot be read: {error.strerror}"
        raise _missing(subject, state, "Put the secret there, as one line of text.") from error
    if len(data) > _MOST_BYTES:
        state = f"is larger than {_MOST_BYTES // 1024} kB"
        raise _missing(subject, state, "Name a file that holds the secret alone.")
    return data


def _missing(subject: str, state: str, next_step: str) -> SecretMissing:
    return SecretMissing(f"the secret {state}", subject=subject, next_step=next_step)
