"""Secrets, read where they are referred to, at the moment of the call; never kept.

A message names the variable or the file, never a byte of what is in it. A secret's file stays
inside the project's folder, whatever links lead to it.
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

_MOST_BYTES: Final = 64 * 1024


def secret_resolver(
    root: Path,
    environment: Mapping[str, str],
    know: Callable[[str], None] = lambda _: None,
) -> ResolveSecret:
    """What turns a reference into the secret, which is text of one character at least.

    Files are named from `root`, the project's folder, and must lie in it once links are followed;
    one line end at the end is not part of the secret. `know` is told each secret before it is
    given out. Raises SecretMissing.
    """

    def resolve(reference: SecretReference) -> str:
        if reference.env:
            secret = _from_environment(reference.env, environment)
        else:
            secret = _from_file(root, reference.file)
        know(secret)
        return secret

    return resolve


def resolve_known(resolve: ResolveSecret, references: Iterable[SecretReference]) -> None:
    """Read the secrets that are there, so that they are known; what is missing is nobody's yet."""
    for reference in references:
        with contextlib.suppress(SecretMissing):
            resolve(reference)


def _from_environment(name: str, environment: Mapping[str, str]) -> str:
    value = environment.get(name, "")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        # Not chained: the error carries the value.
        raise _missing(f"env {name}", "is not text in UTF-8", f"Set {name} anew.") from None
    if not value:
        state = "is empty" if name in environment else "is not set"
        raise _missing(f"env {name}", state, f"Set {name} where reconciler runs.")
    return value


def _from_file(root: Path, name: str) -> str:
    subject = f"file {name}"
    path = os.path.realpath(root / name)
    if not Path(path).is_relative_to(os.path.realpath(root)):
        hint = "Put the file inside the project, and keep it out of git."
        raise _missing(subject, "lies outside the project's folder", hint)
    data = _read(path, subject)
    try:
        value = data.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        # Not chained: the error carries the bytes.
        raise _missing(subject, "is not text in UTF-8", "Save it as plain text.") from None
    if not value or "\0" in value:
        state = "is not text" if value else "is empty"
        raise _missing(subject, state, "Put the secret there, as one line of text.")
    return value


def _read(path: str, subject: str) -> bytes:
    """The bytes of a regular file: a pipe would wait for ever, a device might never end."""
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
