"""The lock of a ledger in a file: a file beside it, written only while the ledger's file is locked.

The lock's fencing token stays in the file after its owner is gone, and the ledger checks the token
before each line. A writer that lost the lock while it was suspended is therefore refused. file.py
calls it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

from reconciler.errors import LedgerInvalid
from reconciler.files import replace_file
from reconciler.ledgers.lock import (
    LONGEST,
    Heartbeat,
    LockRecord,
    held_by,
    make_lock_record,
    not_held,
    read_lock_record,
    write_lock_record,
)
from reconciler.ledgers.process import is_lock_owner_dead
from reconciler.ledgers.records import BadLine
from reconciler.model import LockOwner
from reconciler.model.values import dataclass
from reconciler.text.times import format_utc

NAME: Final = "lock.json"
_REPAIR: Final = "Make sure that no command uses the ledger, then move it away."

Guard: TypeAlias = Callable[[], AbstractContextManager[int]]
"""Locks the ledger's file; yields its file descriptor."""


class FileLock:
    """The lock's file: who holds the lock, and its fencing token."""

    def __init__(self, folder: Path, heartbeat: Heartbeat) -> None:
        self.file = folder / NAME
        self._heartbeat = heartbeat

    def read(self) -> LockRecord:
        """Reads the record; an empty one if the file does not exist. Raises LedgerInvalid."""
        try:
            with self.file.open("rb") as file:
                return read_lock_record(file.read(LONGEST + 1))
        except FileNotFoundError:
            return LockRecord()
        except OSError as error:
            raise self._invalid(f"cannot be read: {error.strerror}") from error
        except BadLine as error:
            raise self._invalid(str(error)) from error

    def acquire(self, handle: int, lock_owner: LockOwner, highest: int) -> LockOwner:
        """Acquires the lock if it is free; otherwise raises LockHeld.

        The ledger's file must be locked. `handle` is its file descriptor, and `highest` is the
        highest fence in it.
        """
        found = self.read()
        if found.lock_owner is not None and not self._is_free(handle, found, found.lock_owner):
            raise held_by(found.lock_owner, str(self.file))
        taken = make_lock_record(lock_owner, max(found.fence, highest) + 1)
        self.write(taken)
        return taken.lock_owner or lock_owner

    def write(self, lock_record: LockRecord) -> None:
        """Writes the record durably. The ledger's file must be locked."""
        renewed = format_utc(datetime.now(UTC))
        replace_file(self.file, write_lock_record(lock_record, renewed))

    def find_lock_owner(self) -> LockOwner | None:
        """Returns the owner; None if the lock is free, its owner dead, or its lease expired."""
        found = self.read()
        now = datetime.now(UTC).timestamp()
        if found.lock_owner is None or self._is_over(found, found.lock_owner, now):
            return None
        return found.lock_owner

    def free(self, lock_id: str, highest: int) -> LockOwner:
        """Removes the owner's lock; the owner cannot write any more. The ledger must be locked."""
        found = self.read()
        if found.lock_owner is None or found.lock_owner.id != lock_id:
            raise not_held(lock_id, found.lock_owner, str(self.file))
        self.write(LockRecord(max(found.fence, highest) + 1))
        return found.lock_owner

    def _is_free(self, handle: int, found: LockRecord, lock_owner: LockOwner) -> bool:
        # The time of the file system, because the clocks of machines that share it may differ.
        os.utime(handle)
        return self._is_over(found, lock_owner, os.fstat(handle).st_mtime)

    def _is_over(self, found: LockRecord, lock_owner: LockOwner, now: float) -> bool:
        if is_lock_owner_dead(lock_owner, found.machine):
            return True
        try:
            return now - self.file.stat().st_mtime >= self._heartbeat.lease_s
        except FileNotFoundError:
            return True

    def _invalid(self, what: str) -> LedgerInvalid:
        return LedgerInvalid(f"the lock file {what}", subject=str(self.file), next_step=_REPAIR)


@dataclass(frozen=True, slots=True)
class FileLockHandle:
    """A lock that one owner holds on a ledger in a file."""

    lock: FileLock
    guard: Guard
    lock_owner: LockOwner

    def renew(self) -> bool:
        """Extends the lease; returns False if the lock is lost."""
        with self.guard():
            found = self.lock.read()
            if not self._names_us(found):
                return False
            self.lock.write(found)
            return True

    def is_held(self) -> bool:
        """Whether the lock's file still names us as the owner."""
        return self._names_us(self.lock.read())

    def release(self) -> None:
        """Releases the lock, if it is still ours; its fencing token stays."""
        with self.guard():
            found = self.lock.read()
            if self._names_us(found):
                self.lock.write(LockRecord(found.fence))

    def _names_us(self, found: LockRecord) -> bool:
        held = found.lock_owner
        return held is not None and (held.id, held.fence) == (
            self.lock_owner.id,
            self.lock_owner.fence,
        )
