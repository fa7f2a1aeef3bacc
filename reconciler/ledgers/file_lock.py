"""The lock of a ledger in a file: a file beside it, written only while the ledger's own is locked.

The lock outlives whoever holds it, and so does its number: a writer that was overtaken while it
slept is refused when it wakes, because the ledger looks at that number before each line.
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
_REPAIR: Final = "If it is sure that nobody works, move it away."

Guard: TypeAlias = Callable[[], AbstractContextManager[int]]
"""Keeps everybody else from the ledger; gives the handle of its file."""


class FileLock:
    """Who holds the lock, as its file says."""

    def __init__(self, folder: Path, heartbeat: Heartbeat) -> None:
        self.file = folder / NAME
        self._heartbeat = heartbeat

    def read(self) -> LockRecord:
        """What is written; nothing where there is no file. Raises LedgerInvalid."""
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
        """Become the holder, where nobody is; raises LockHeld. The ledger must be locked.

        `handle` is the ledger's, `highest` the highest fence that stands in it.
        """
        found = self.read()
        if found.lock_owner is not None and not self._is_free(handle, found, found.lock_owner):
            raise held_by(found.lock_owner, str(self.file))
        taken = make_lock_record(lock_owner, max(found.fence, highest) + 1)
        self.write(taken)
        return taken.lock_owner or lock_owner

    def write(self, lock_record: LockRecord) -> None:
        """Write it down durably. The ledger must be locked."""
        renewed = format_utc(datetime.now(UTC))
        replace_file(self.file, write_lock_record(lock_record, renewed))

    def find_lock_owner(self) -> LockOwner | None:
        """Who holds it and is neither dead nor silent."""
        found = self.read()
        now = datetime.now(UTC).timestamp()
        if found.lock_owner is None or self._is_over(found, found.lock_owner, now):
            return None
        return found.lock_owner

    def free(self, lock_id: str, highest: int) -> LockOwner:
        """Take it from a holder, who can then write no more. The ledger must be locked."""
        found = self.read()
        if found.lock_owner is None or found.lock_owner.id != lock_id:
            raise not_held(lock_id, found.lock_owner, str(self.file))
        self.write(LockRecord(max(found.fence, highest) + 1))
        return found.lock_owner

    def _is_free(self, handle: int, found: LockRecord, lock_owner: LockOwner) -> bool:
        # The file system's own time: the clocks of machines that share it may differ.
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
        return LedgerInvalid(
            f"the file of the lock {what}", subject=str(self.file), next_step=_REPAIR
        )


@dataclass(frozen=True, slots=True)
class FileLockHandle:
    """One holder's hold on the lock of a ledger in a file."""

    lock: FileLock
    guard: Guard
    lock_owner: LockOwner

    def renew(self) -> bool:
        """Hold it for another lease; False where it is somebody else's or nobody's now."""
        with self.guard():
            found = self.lock.read()
            if not self._names_us(found):
                return False
            self.lock.write(found)
            return True

    def is_held(self) -> bool:
        """Whether it is still written that it is ours."""
        return self._names_us(self.lock.read())

    def release(self) -> None:
        """Give it back, if it is still ours; its number stays."""
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
