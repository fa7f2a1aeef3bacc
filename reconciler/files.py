"""Text files read and written whole: every character or none.

Python's text mode would turn line ends into its own, and a BOM would be lost: whoever changes one
value in a file must leave both as they are.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

_OWNER_ALONE = 0o600


def read_whole(path: Path) -> str:
    """The text of a file in UTF-8, line ends and BOM included.

    Raises OSError, or UnicodeDecodeError for what is no text.
    """
    return path.read_bytes().decode()


def write_whole(path: Path, text: str, *, mode: int | None = None) -> None:
    """Replace a file, or make it; at every moment it is the old one or the new one, whole.

    `mode` is its permissions; without it the file keeps those that it has, and a new one is its
    owner's alone. A symbolic link stays one: the file that it leads to is replaced. Raises OSError.
    """
    target = path.resolve()
    data = text.encode()
    handle, partial = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), _permissions(target) if mode is None else mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(partial).unlink()


def _permissions(target: Path) -> int:
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except FileNotFoundError:
        return _OWNER_ALONE
