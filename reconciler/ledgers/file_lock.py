"""The lock of a ledger in a file: a file beside it, written only while the ledger's file is locked.

The lock's fencing token stays in the file after its owner is gone, and the ledger checks the token
before each line. A writer that lost the lock while it was suspended is therefore refused. A lock
whose owner may live is taken only after this process has watched it for a whole lease, by its own
monotonic clock, and has seen no renewal: times of other clocks are not compared. file.py calls it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

from reconciler.errors import LedgerInvalid
from reconciler.files import replace_file, write_new
from reconciler.ledgers.chain import START, ChainHead, find_loss
from reconciler.ledgers.lock import (
    LONGEST,
    Heartbeat,
    LockRecord,
    held_by,
    make_lock_record,
    name_note,
    not_held,
    read_clock,
    read_lock_record,
    write_lock_record,
    write_note,
)
from reconciler.ledgers.process import is_lock_owner_dead
from reconciler.ledgers.records import BadLine
from reconciler.model import LockOwner
from reconciler.model.values import dataclass
from reconciler.text.times import format_utc

_REPAIR: Final = "Make sure that no command uses the ledger, then move it away."

Guard: TypeAlias = Callable[[], AbstractContextManager[int]]
"""Locks the ledger's file; yields its file descriptor."""
FindChainHead: TypeAlias = Callable[[int], ChainHead]
"""Reads the last line of the ledger's file, by its descriptor; raises LedgerInvalid."""


class FileLock:
    """The lock's file: who holds the lock, and its fencing token.

    After a power failure only a `durable` lock is as it was.
    """

    def __init__(self, file: Path, heartbeat: Heartbeat, *, durable: bool = True) -> None:
        self.file = file
        self._durable = durable
        self.note = FileNote(file)
        self._heartbeat = heartbeat
        # The record that was seen last, and when it was first seen, by `read_clock`.
        self._watched = LockRecord()
        self._watched_since = 0.0
        self._owner_lives = False
        # The bytes that were read last, and their record: the file is read before each line.
        self._last_read: tuple[bytes, LockRecord] = (b"", LockRecord())
        # The fence of the last lock that this process released, which may not be written.
        self._released = -1

    def note_release(self, fence: int) -> None:
        """Lets this process acquire the lock later, even if its release cannot be written."""
        self._released = fence

    def read(self) -> LockRecord:
        """Reads the record; an empty one if the file does not exist. Raises LedgerInvalid."""
        try:
            with self.file.open("rb") as file:
                data = file.read(LONGEST + 1)
        except FileNotFoundError:
            return LockRecord()
        except OSError as error:
            raise self._invalid(f"cannot be read: {error.strerror}") from error
        known, record = self._last_read
        if data == known:
            return record
        try:
            record = read_lock_record(data)
        except BadLine as error:
            raise self._invalid(str(error)) from error
        self._last_read = data, record
        return record

    def find_remembered(self) -> ChainHead:
        """Returns the head that the lock remembers; START if the lock's file is not valid."""
        try:
            return self.read().chain_head
        except LedgerInvalid:
            return START  # the next command that acquires the lock reports it

    def forget_head(self) -> None:
        """Forgets the head, because the ledger is moved away. The ledger must be locked."""
        if self.find_remembered().sequence:
            self.write(replace(self.read(), chain_head=START))

    def acquire(
        self,
        handle: int,
        lock_owner: LockOwner,
        chain_head: ChainHead,
        check_lines: Callable[[ChainHead], None],
    ) -> LockOwner:
        """Acquires the lock if it is free, or not renewed while we watched; else raises LockHeld.

        The ledger's file must be locked. `handle` is its file descriptor, and `chain_head` is its
        last line. `check_lines` gets the head that the lock remembers, and raises LedgerInvalid if
        the ledger has lost lines since.
        """
        found = self.read()
        if found.lock_owner is not None:
            self._watch(handle, found, found.lock_owner)
        check_lines(found.chain_head)
        taken = make_lock_record(lock_owner, max(found.fence, chain_head.fence) + 1, chain_head)
        self.write(taken)
        if lock_owner.yields:
            self.note.remove()
        return taken.lock_owner or lock_owner

    def write(self, lock_record: LockRecord) -> None:
        """Writes the record. The ledger's file must be locked."""
        renewed = format_utc(datetime.now(UTC))
        replace_file(self.file, write_lock_record(lock_record, renewed), durable=self._durable)

    def find_lock_owner(self) -> LockOwner | None:
        """Returns the owner; None if the lock is free or its owner is dead."""
        found = self.read()
        if found.lock_owner is None or is_lock_owner_dead(found.lock_owner, found.machine):
            return None
        return found.lock_owner

    def free(self, lock_id: str, highest: int) -> LockOwner:
        """Removes the owner's lock; the owner cannot write any more. The ledger must be locked."""
        found = self.read()
        if found.lock_owner is None or found.lock_owner.id != lock_id:
            raise not_held(lock_id, found.lock_owner, str(self.file))
        fence = max(found.fence, highest) + 1
        self.write(LockRecord(fence, chain_head=found.chain_head))
        return found.lock_owner

    def _watch(self, handle: int, found: LockRecord, lock_owner: LockOwner) -> None:
        """Raises LockHeld if the owner may live, and was not watched for a whole lease."""
        if is_lock_owner_dead(lock_owner, found.machine):
            return
        if found.fence == self._released:
            return
        now = read_clock()
        if found != self._watched:
            # An owner that was seen to renew the lock lives, whatever the times of files say.
            self._owner_lives = found.lock_owner == self._watched.lock_owner
            self._watched, self._watched_since = found, now
        left_s = self._watched_since + self._heartbeat.lease_s - now
        if left_s > 0.0:
            watch_s = 0.0 if self._owner_lives or not self._seems_over(handle) else left_s
            raise held_by(lock_owner, str(self.file), watch_s)

    def _seems_over(self, handle: int) -> bool:
        """Whether the lease is over by the time of the file system, which may have been set.

        It only decides whether it is worth to watch the lock for longer than the user asked to.
        """
        os.utime(handle)
        try:
            renewed = self.file.stat().st_mtime
        except FileNotFoundError:
            return True
        return os.fstat(handle).st_mtime - renewed >= self._heartbeat.lease_s

    def _invalid(self, what: str) -> LedgerInvalid:
        return LedgerInvalid(f"the lock file {what}", subject=str(self.file), next_step=_REPAIR)


class FileNote:
    """The note beside a lock's file that a command waits for the lock."""

    def __init__(self, lock: Path) -> None:
        self._file = lock.with_name(name_note(lock.name))

    def exists(self) -> bool:
        """Whether a command has left the note."""
        return self._file.exists()

    def leave(self, lock_owner: LockOwner) -> None:
        """Writes the note, unless it exists; never raises."""
        with contextlib.suppress(OSError):
            write_new(self._file, write_note(lock_owner), mode=0o600)

    def remove(self) -> None:
        """Removes the note, if it exists; never raises."""
        with contextlib.suppress(OSError):
            self._file.unlink()


@dataclass(frozen=True, slots=True)
class FileLockHandle:
    """A lock that one owner holds on a ledger in a file."""

    lock: FileLock
    guard: Guard
    find_chain_head: FindChainHead
    lock_owner: LockOwner

    def renew(self) -> bool:
        """Extends the lease; returns False if the lock is lost."""
        with self.guard():
            found = self.lock.read()
            if not self._names_us(found):
                return False
            self.lock.write(replace(found, renewals=found.renewals + 1))
            return True

    def is_held(self) -> bool:
        """Whether the lock's file still names us as the owner."""
        return self._names_us(self.lock.read())

    def is_wanted(self) -> bool:
        """Whether a command that waits for the lock has left a note."""
        return self.lock.note.exists()

    def release(self) -> None:
        """Releases the lock, if it is still ours; its fencing token and the ledger's head stay.

        If that cannot be written, this process does not wait for the lock; others wait for its end.
        """
        self.lock.note_release(self.lock_owner.fence)
        with self.guard() as handle:
            found = self.lock.read()
            if self._names_us(found):
                chain_head = self._find_newer(handle, found.chain_head)
                self.lock.write(LockRecord(found.fence, chain_head=chain_head))

    def _find_newer(self, handle: int, remembered: ChainHead) -> ChainHead:
        """Returns the ledger's head; the remembered one if lines after it are lost."""
        try:
            chain_head = self.find_chain_head(handle)
        except LedgerInvalid:
            return remembered
        return remembered if find_loss(remembered, chain_head) else chain_head

    def _names_us(self, found: LockRecord) -> bool:
        held = found.lock_owner
        return held is not None and (held.id, held.fence) == (
            self.lock_owner.id,
            self.lock_owner.fence,
        )
