"""Text files read and written whole: every character or none.

Python's text mode would turn line ends into its own, and a BOM would be lost: whoever changes one
value in a file must leave both as they are.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

# A link would lead to somebody else's file.
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW


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
    import tempfile  # noqa: PLC0415 - it reads every compression that Python has

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


def write_all(handle: int, data: bytes) -> None:
    """Write all of it, however often it takes."""
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, its owner's alone."""
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def write_aside(path: Path, data: bytes) -> None:
    """Write a whole file, on the disk when this returns."""
    handle = os.open(path, _CREATE, 0o600)
    try:
        write_all(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, data: bytes) -> None:
    """Put a whole file in the place of another; at no moment is there half of one."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        write_aside(fresh, data)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
