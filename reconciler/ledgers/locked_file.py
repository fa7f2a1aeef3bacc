"""A file that one writer at a time locks: the processes by its lock, the threads by another one.

The ledger in a file and the lease of its leader use it. Opening creates the file and its folder.
"""

from __future__ import annotations

import fcntl
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from reconciler.errors import LedgerInvalid
from reconciler.files import make_folder, sync_folder
from reconciler.ledgers.line_file import LocksMissing, check_locks, lock_file

_LOCAL: Final = (
    "Set a folder on a local disk in spec.ledger.path, or keep the ledger in blob storage:"
    " spec.ledger.container."
)
_LOOK_S: Final = 0.02


class LockedFile:
    """A file with its lock. `threads` excludes the threads of this process.

    A lock that all files of the process share does not depend on what a file system promises.
    Without `within_s`, the wait for another process does not end.
    """

    def __init__(self, file: Path, threads: threading.Lock, within_s: float = math.inf) -> None:
        self._file = file
        self._threads = threads
        self._within_s = within_s
        self._has_locks = False

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Opens the file, locked for writing; yields its descriptor.

        Raises LedgerInvalid if the file system does not lock files, BlockingIOError if another
        process has locked the file for `within_s` seconds, and other OSErrors.
        """
        with self._threads:
            handle = self._open_locked()
            try:
                self._check_locks()
                yield handle
            finally:
                os.close(handle)

    def describe_missing_locks(self) -> LedgerInvalid:
        """Returns the error for a file system that does not lock files."""
        return LedgerInvalid(
            "the file system of the ledger does not lock files, so two commands could write it at"
            " the same time",
            subject=str(self._file),
            next_step=_LOCAL,
        )

    def _check_locks(self) -> None:
        """Raises LedgerInvalid if the file's lock does not exclude others; checks it once."""
        if not self._has_locks:
            try:
                check_locks(self._file)
            except LocksMissing as error:
                raise self.describe_missing_locks() from error
            self._has_locks = True

    def _open_locked(self) -> int:
        """Opens the file, locked for writing; creates it and its folder if necessary."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        while True:
            self._make_folder()
            handle = os.open(self._file, flags, 0o600)
            try:
                wait_for_lock(handle, self._within_s)
                if self._is_current(handle):
                    return handle
            except LocksMissing as error:
                os.close(handle)
                raise self.describe_missing_locks() from error
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)

    def _is_current(self, handle: int) -> bool:
        """Whether the file is still at its path after the wait for its lock."""
        try:
            return os.path.samestat(os.fstat(handle), self._file.stat())
        except FileNotFoundError:
            return False

    def _make_folder(self) -> None:
        folder = self._file.parent
        if not folder.is_dir():
            make_folder(folder)
            sync_folder(folder.parent)


def wait_for_lock(handle: int, within_s: float) -> None:
    """Locks a file; raises BlockingIOError if another process holds the lock for `within_s`.

    Raises LocksMissing if the file system does not lock files.
    """
    if within_s == math.inf:
        lock_file(handle, fcntl.LOCK_EX)
        return
    ends = time.monotonic() + within_s
    while True:
        try:
            lock_file(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= ends:
                raise
        else:
            return
        time.sleep(_LOOK_S)
