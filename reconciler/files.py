"""Reads and writes whole text files, without a change of line ends or BOM.

Python's text mode would convert line ends and lose a BOM. A program that changes one value in a
file must keep both. Writes are atomic.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

# A symbolic link could point to a file of another owner.
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW


_OWNER_ALONE = 0o600


def read_whole(path: Path) -> str:
    """Returns the text of a file in UTF-8, line ends and BOM included.

    Raises OSError, or UnicodeDecodeError if the file is not UTF-8 text.
    """
    return path.read_bytes().decode()


def write_whole(path: Path, text: str, *, mode: int | None = None) -> None:
    """Replaces or creates a file atomically: the file always has the old or the new content.

    `mode` sets its permissions; without `mode` an existing file keeps its permissions, and only the
    owner can access a new file. For a symbolic link, the target is replaced. Raises OSError.
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
    """Writes all of the data, with as many calls as necessary."""
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]


def make_folder(folder: Path) -> None:
    """Creates a folder and its missing parents; only the owner can access them."""
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def write_aside(path: Path, data: bytes) -> None:
    """Writes a whole file and flushes it to disk."""
    handle = os.open(path, _CREATE, 0o600)
    try:
        write_all(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, data: bytes) -> None:
    """Replaces a file atomically with a whole new one."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        write_aside(fresh, data)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flushes the names in a folder to disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
