"""Secrets, read where they are referred to, at the moment of the call; never kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from reconciler.errors import SecretMissing
from reconciler.model import SecretReference
from reconciler.ports import ResolveSecret

_MOST_BYTES: Final = 64 * 1024


def secret_resolver(root: Path, environment: Mapping[str, str]) -> ResolveSecret:
    """What turns a reference into the secret.

    Files are named from `root`, the project's folder, and must lie in it once symlinks are
    resolved; one line end at the end is not part of the secret. Raises SecretMissing, which names
    the variable or file and never the value.
    """

    def resolve(reference: SecretReference) -> str:
        if reference.env:
            return _from_environment(reference.env, environment)
        return _from_file(root, reference.file)

    return resolve


def _from_environment(name: str, environment: Mapping[str, str]) -> str:
    value = environment.get(name, "")
    if not value:
        state = "is empty" if name in environment else "is not set"
        raise SecretMissing(
            f"the environment variable {name} {state}",
            next_step=f"Set {name} where reconciler runs.",
        )
    return value


def _from_file(root: Path, name: str) -> str:
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise SecretMissing(f"the secret's file {name} lies outside the project's folder")
    try:
        if path.is_file() and path.stat().st_size > _MOST_BYTES:
            raise SecretMissing(f"the secret's file {name} is too large for a secret")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SecretMissing(
            f"the secret's file {name} cannot be read: {error.strerror}",
            next_step="Put the secret there, on one line.",
        ) from error
    except UnicodeDecodeError as error:
        raise SecretMissing(f"the secret's file {name} is not text in UTF-8") from error
    value = text.removesuffix("\n").removesuffix("\r")
    if not value:
        raise SecretMissing(f"the secret's file {name} is empty")
    return value
