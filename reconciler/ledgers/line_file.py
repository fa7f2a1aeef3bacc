"""Reads and appends lines of append-only files: locks, the last whole line, durable writes.

It knows JSON and the maximum length of a line, and no record. file.py calls it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from reconciler.files import write_all, write_aside
from reconciler.ledgers.chain import LONGEST, MOST_VALUES
from reconciler.ledgers.records import BadLine
from reconciler.text.json_text import TooMuch, check_count, load_fast

# What is read first to find the last two lines: a line mostly has less than four kB.
_TAIL_BYTES: Final = 1 << 14
_PART: Final = 8 << 20
_NO_LOCKS: Final = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


class LocksMissing(Exception):
    """The file system does not lock files, or reports locks that lock nothing."""


def lock_file(handle: int, how: int) -> None:
    """Locks a file as `fcntl.flock` does; raises LocksMissing if its file system cannot."""
    try:
        fcntl.flock(handle, how)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise LocksMissing from error
        raise


def check_locks(file: Path) -> None:
    """Raises LocksMissing if a second lock on a locked file succeeds."""
    second = os.open(file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        lock_file(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    finally:
        os.close(second)
    raise LocksMissing


def find_end_shared(handle: int) -> int:
    """Returns the end of the chain under a shared lock; bytes before it never change."""
    lock_file(handle, fcntl.LOCK_SH)
    try:
        return find_end(handle)[0]
    finally:
        lock_file(handle, fcntl.LOCK_UN)


def find_end(handle: int) -> tuple[int, bytes]:
    """Returns the end of the last whole line, and the line; 0 and empty without a line."""
    size = os.fstat(handle).st_size
    *whole, torn = _read_tail(handle, size).rsplit(b"\n", 3)  # no line before them is needed
    end = size - len(torn)
    if whole and not _is_json(whole[-1]):
        end -= len(whole.pop()) + 1
    return end, whole[-1] if whole else b""


def _read_tail(handle: int, size: int) -> bytes:
    """Returns at least the last two whole lines and the bytes after them, or the whole file.

    Raises BadLine if they are longer than lines can be.
    """
    length = _TAIL_BYTES
    while True:
        start = max(0, size - length)
        data = os.pread(handle, size - start, start)
        if start == 0 or data.count(b"\n") >= 3:
            return data
        if length == 3 * LONGEST:
            raise BadLine(f"is longer than {LONGEST >> 20} MiB")
        length = min(4 * length, 3 * LONGEST)


def _is_json(line: bytes) -> bool:
    try:
        check_count(line, MOST_VALUES)
        if load_fast(line) is None:  # Python's parser accepts more
            json.loads(line)
    except TooMuch:
        return True  # the reader of the chain reports it
    except (ValueError, RecursionError):
        return False
    return True


def read_lines(file: BinaryIO, end: int) -> Iterator[bytes]:
    """Yields the lines before `end`, without line ends; too long a line is split."""
    left = end
    while line := file.readline(LONGEST + 2):
        left -= len(line)
        if left < 0:
            return
        yield line.removesuffix(b"\n")


def append_durably(handle: int, end: int, line: bytes) -> None:
    """Appends a line and flushes it to disk; if this fails, removes it from the file."""
    try:
        write_all(handle, line)
        os.fsync(handle)
    except OSError:
        # Neither a part of an entry may stay, nor a whole one that is reported as not recorded.
        os.ftruncate(handle, end)
        raise


def set_torn_aside(handle: int, file: Path, end: int) -> None:
    """Moves the bytes of an unfinished write after the chain's end to a file of their own."""
    size = os.fstat(handle).st_size
    if size > end:
        name = f"{file.name}.torn-{digest_part(handle, end, size)[7:19]}"
        write_aside(file.with_name(name), read_parts(handle, end, size))
        os.ftruncate(handle, end)


def read_parts(handle: int, start: int, end: int) -> Iterator[bytes]:
    """Yields the bytes of a file from `start` to before `end`, in parts."""
    while part := os.pread(handle, min(_PART, end - start), start):
        start += len(part)
        yield part


def digest_part(handle: int, start: int, end: int) -> str:
    """Returns the `sha256:` digest of the bytes from `start` to before `end`."""
    running = hashlib.sha256()
    for part in read_parts(handle, start, end):
        running.update(part)
    return f"sha256:{running.hexdigest()}"
