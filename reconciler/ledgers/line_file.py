"""Files that are only added to: where their last whole line ends, and how a write gets there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from reconciler.files import write_all, write_aside
from reconciler.ledgers.chain import LONGEST

_TAIL_BYTES: Final = 1 << 16


def find_end_shared(handle: int) -> int:
    """Where the chain ends while nobody writes; what is before that never changes again."""
    fcntl.flock(handle, fcntl.LOCK_SH)
    try:
        return find_end(handle)[0]
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)


def find_end(handle: int) -> tuple[int, bytes]:
    """Where the last whole line ends, and that line; 0 and nothing where there is none."""
    size = os.fstat(handle).st_size
    *whole, torn = _read_tail(handle, size).split(b"\n")
    end = size - len(torn)
    if whole and not _is_json(whole[-1]):
        end -= len(whole.pop()) + 1
    return end, whole[-1] if whole else b""


def _read_tail(handle: int, size: int) -> bytes:
    """The last two whole lines at least, and what follows them; all where there are fewer."""
    length = _TAIL_BYTES
    while True:
        start = max(0, size - length)
        data = os.pread(handle, size - start, start)
        if start == 0 or data.count(b"\n") >= 3:
            return data
        length *= 4


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def read_lines(file: BinaryIO, end: int) -> Iterator[bytes]:
    """The lines before `end`, without their ends; one that is too long comes in pieces."""
    left = end
    while line := file.readline(LONGEST + 2):
        left -= len(line)
        if left < 0:
            return
        yield line.removesuffix(b"\n")


def append_durably(handle: int, end: int, line: bytes) -> None:
    """Add a line at the end; it is on the disk when this returns, or nothing of it is there."""
    try:
        write_all(handle, line)
        os.fsync(handle)
    except OSError:
        # Half an entry must not stay, nor a whole one that is reported as not recorded.
        os.ftruncate(handle, end)
        raise


def set_torn_aside(handle: int, file: Path, end: int) -> None:
    """Move what an unfinished write left behind the chain's end to a file of its own."""
    torn = os.pread(handle, os.fstat(handle).st_size - end, end)
    if torn:
        name = f"{file.name}.torn-{hashlib.sha256(torn).hexdigest()[:12]}"
        write_aside(file.with_name(name), torn)
        os.ftruncate(handle, end)
