"""Copies blobs of a ledger to a temporary file, and reads their lines."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Final, Self

from reconciler.errors import LedgerInvalid
from reconciler.ledgers.chain import LONGEST, Numbered

_PART: Final = 8 << 20
# A smaller copy stays in memory.
_LEAST_FILE: Final = 16 << 20


class Copy:
    """A copy of blobs in a temporary file: a ledger may have more bytes than there is memory."""

    def __init__(self) -> None:
        self._file = _open()
        # The first part is the last that was added.
        self._parts: list[tuple[str, int, int]] = []

    def add_before(self, address: str, data: Iterable[bytes]) -> None:
        """Adds a blob before those that are there."""
        with _writing():
            start = end = self._file.seek(0, os.SEEK_END)
            for part in data:
                end += self._file.write(part)
            self._file.flush()
        self._parts.append((address, start, end - start))

    def read_first_line(self) -> bytes:
        """Returns the first line, without its end."""
        _, start, size = self._parts[-1]
        return next(self._read_lines(start, size), b"")

    def number(self) -> Iterator[Numbered]:
        """Yields the numbered lines of each blob; bytes after the last line end are a line too."""
        for address, start, size in reversed(self._parts):
            for number, line in enumerate(self._read_lines(start, size), start=1):
                yield address, number, line

    def _read_lines(self, start: int, size: int) -> Iterator[bytes]:
        end = start + size
        while start < end:
            self._file.seek(start)
            line = self._file.readline(min(LONGEST + 2, end - start))
            start += len(line)
            yield line.removesuffix(b"\n")

    def join(self, more: bytes = b"") -> IO[bytes]:
        """Returns a temporary file with all bytes in their order, and these after them."""
        joined = _open()
        with _writing():
            for _, start, size in reversed(self._parts):
                self._file.seek(start)
                for left in range(size, 0, -_PART):
                    joined.write(self._file.read(min(_PART, left)))
            joined.write(more)
            joined.seek(0)
        return joined

    def close(self) -> None:
        """Removes the copy."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open() -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=_LEAST_FILE)


@contextmanager
def _writing() -> Iterator[None]:
    """A failed write of the temporary file becomes LedgerInvalid."""
    try:
        yield
    except OSError as error:
        raise LedgerInvalid(
            f"the ledger cannot be copied to a temporary file: {error.strerror}",
            next_step="Free disk space in the folder of temporary files, or set TMPDIR.",
        ) from error
