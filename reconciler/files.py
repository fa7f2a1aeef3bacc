"""Reads and writes whole files: atomic, without a change of line ends or BOM, not through links.

Python's text mode would convert line ends and lose a BOM. A program that changes one value in a
file must keep both. Every file that a command writes is written here.

A checkout can contain symbolic links to any file of its reader. `check_path` refuses them.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

# A symbolic link could point to a file of another owner.
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW


_OWNER_ALONE = 0o600


class LinkRefused(OSError):
    """A file would be written through a symbolic link; `filename` is the link."""

    def __init__(self, link: Path, why: str) -> None:
        super().__init__(errno.ELOOP, why, str(link))


def find_checkout(folder: Path) -> Path:
    """Returns the top folder of the checkout that contains a folder; without one, the folder."""
    here = resolve_path(folder)
    return next((one for one in (here, *here.parents) if (one / ".git").exists()), here)


def check_path(path: Path, checkout: Path) -> None:
    """Raises LinkRefused if a write to a path would follow a link that a checkout may contain.

    A link in place of the file is always refused, except a link to a device or a pipe. A link in
    place of a folder is refused if it is in the checkout and leads out of it. `checkout` must be
    resolved.
    """
    if path.is_symlink() and not is_stream(path):
        raise LinkRefused(path, "is a symbolic link, and nothing is written through it")
    for folder in (Path.cwd() / path).parents:
        brought = folder.is_symlink() and resolve_path(folder.parent).is_relative_to(checkout)
        if brought and not resolve_path(folder).is_relative_to(checkout):
            raise LinkRefused(folder, "is a symbolic link that leads out of the checkout")


def is_stream(path: Path) -> bool:
    """Whether a path is a device, a pipe or a socket: nothing in it can be overwritten."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def write_new(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Creates a file and flushes it to disk; raises FileExistsError for an existing one or a link.

    The umask applies to `mode`.
    """
    handle = os.open(path, _CREATE & ~os.O_TRUNC | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()
        raise


@contextlib.contextmanager
def writing(texts: Mapping[Path, str]) -> Iterator[None]:
    """Writes all files, and restores every one if the block or a write raises.

    Missing folders are created, and removed again after an error. An existing file is replaced.
    """
    with contextlib.ExitStack() as undo:
        for path, text in texts.items():
            for folder in reversed([one for one in path.parents if not one.exists()]):
                folder.mkdir()
                undo.callback(folder.rmdir)
            if path.exists():
                undo.callback(write_whole, path, path.read_bytes())
                write_whole(path, text)
            else:
                write_new(path, text.encode())
                undo.callback(path.unlink)
        yield
        undo.pop_all()


def resolve_path(path: Path) -> Path:
    """Returns a path with its symbolic links resolved; a circle of links stays as it is.

    Python's own method raises RuntimeError for a circle. Raises OSError, or ValueError for a path
    with a null character.
    """
    return Path(os.path.realpath(path))


def read_whole(path: Path) -> str:
    """Returns the text of a file in UTF-8, line ends and BOM included.

    Raises OSError, or UnicodeDecodeError if the file is not UTF-8 text.
    """
    return path.read_bytes().decode()


def write_output(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Writes to a device, a pipe or a socket, and replaces any other file as `write_whole` does."""
    if is_stream(path):
        path.write_bytes(data)
    else:
        write_whole(path, data, mode=mode)


def write_whole(path: Path, text: str | bytes, *, mode: int | None = None) -> None:
    """Replaces or creates a file atomically: the file always has the old or the new content.

    `mode` sets its permissions; without `mode` an existing file keeps its permissions, and only the
    owner can access a new file. For a symbolic link, the target is replaced. Raises OSError.
    """
    import tempfile  # noqa: PLC0415 - it reads every compression that Python has

    target = resolve_path(path)
    data = text.encode() if isinstance(text, str) else text
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


def write_aside(path: Path, data: Iterable[bytes], *, durable: bool = True) -> None:
    """Writes a whole file from parts, and flushes it to disk if it must be `durable`."""
    handle = os.open(path, _CREATE, 0o600)
    try:
        for part in data:
            write_all(handle, part)
        if durable:
            os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(
    path: Path, *data: bytes, parts: Iterable[bytes] = (), durable: bool = True
) -> None:
    """Replaces a file atomically with a whole new one, of `data` and then of `parts`.

    A file that is not `durable` may be empty or the old one after a power failure.
    """
    fresh = path.with_name(f"{path.name}.new")
    try:
        write_aside(fresh, itertools.chain(data, parts), durable=durable)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flushes the names in a folder to disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
