"""The lock of a ledger in a container: a lease on one blob, which contains the lock's owner.

Storage ends a lease that is not renewed. A process that acquires the lock appends a line with its
fencing token to the chain. A previous owner that still writes is refused from then on. blob.py
calls it.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from reconciler.errors import LedgerInvalid
from reconciler.ledgers.blob_client import BlobNotFound, Container, LeasedBlob, PreconditionFailed
from reconciler.ledgers.blob_segments import Segments
from reconciler.ledgers.chain import START, ChainHead, find_loss
from reconciler.ledgers.lock import (
    LONGEST,
    Heartbeat,
    LockRecord,
    held_by,
    make_lock_record,
    name_note,
    not_held,
    read_lock_record,
    write_lock_record,
    write_note,
)
from reconciler.ledgers.process import is_lock_owner_dead
from reconciler.ledgers.records import BadLine, Marker
from reconciler.model import LockOwner
from reconciler.model.values import dataclass
from reconciler.text.times import format_utc

# A new owner needs two calls between acquiring the lease and writing its name.
_LOOKS: Final = 20
_BETWEEN_LOOKS_S: Final = 0.1
_NAMELESS: Final = LockOwner("", "unknown", "unknown", "unknown", 0, "", "unknown")
_REPAIR: Final = "Make sure that no command uses the ledger, then delete it."


class BlobLock:
    """The lock's blob: who holds the lock, and its fencing token.

    `segments` have the lines that the lock protects; None for a lock that protects no lines.
    """

    def __init__(
        self, container: Container, name: str, heartbeat: Heartbeat, segments: Segments | None
    ) -> None:
        self._container = container
        self._name = name
        self.note = BlobNote(container, name)
        self._segments = segments
        self._heartbeat = heartbeat
        self.subject = f"{container.address}/{self._name}"
        # The head that our own lock remembers; the blob of a held lock is written only at release.
        self._remembered = START

    def read_remembered(self) -> ChainHead:
        """Returns the head of the ledger that the lock remembers; raises LedgerInvalid."""
        try:
            return self._parse(self._container.read_all(self._name)).chain_head
        except BlobNotFound:
            return START

    def find_remembered(self) -> ChainHead:
        """Returns the head that the lock remembers; START if the lock's blob is not valid."""
        try:
            blob = self._container.read_all(self._name)
        except BlobNotFound:
            return START
        try:
            return self._parse(blob).chain_head
        except LedgerInvalid:
            return START  # the next command that acquires the lock reports it

    def forget_head(self) -> None:
        """Forgets the head, because the ledger is moved away."""
        self._remembered = START
        with contextlib.suppress(BlobNotFound, PreconditionFailed, LedgerInvalid):
            blob, found = self._read()
            # The blob of a held lock can be written only by its owner, who writes it at release.
            if found.chain_head.sequence and not blob.leased:
                self._write(replace(found, chain_head=START), etag=blob.etag)

    def acquire(
        self, lock_owner: LockOwner, check_lines: Callable[[ChainHead], ChainHead]
    ) -> BlobLockHandle:
        """Acquires the lock if it is free; otherwise raises LockHeld.

        `check_lines` gets the head that the lock remembers, and returns the ledger's head. It
        raises LedgerInvalid if the ledger has lost lines since the lock was released.
        """
        for look in range(_LOOKS):
            if look:
                time.sleep(_BETWEEN_LOOKS_S)
            blob, found = self._read()
            if blob.leased and not self._break_dead(blob, found):
                if found.lock_owner is not None:
                    raise held_by(found.lock_owner, self.subject)
                continue
            lock_handle = self._take_lease(lock_owner, check_lines)
            if lock_handle is not None:
                return lock_handle
        raise held_by(_NAMELESS, self.subject)

    def _break_dead(self, blob: LeasedBlob, found: LockRecord) -> bool:
        """Ends the lease of a dead process; returns whether the owner is dead."""
        if found.lock_owner is None or not is_lock_owner_dead(found.lock_owner, found.machine):
            return False
        # If the lease just ended or has another owner, the next attempt sees it.
        with contextlib.suppress(PreconditionFailed, BlobNotFound):
            self._container.break_lease(self._name, blob.etag)
        return True

    def _take_lease(
        self, lock_owner: LockOwner, check_lines: Callable[[ChainHead], ChainHead]
    ) -> BlobLockHandle | None:
        lease = str(uuid.uuid4())
        try:
            self._container.acquire(self._name, lease, int(self._heartbeat.lease_s))
            # The record that was read before the lease was acquired may be out of date.
            _, found = self._read()
            chain_head = check_lines(found.chain_head)
            fence = max(found.fence, chain_head.fence) + 1
            acquired = make_lock_record(lock_owner, fence, chain_head)
            self._write(acquired, lease=lease)
        except (PreconditionFailed, BlobNotFound):
            return None
        except LedgerInvalid:
            # Without the error in the ledger, the lock would be free again at once.
            with contextlib.suppress(PreconditionFailed, BlobNotFound, LedgerInvalid):
                self._container.release(self._name, lease)
            raise
        self._remembered = chain_head
        if lock_owner.yields:
            self.note.remove()
        lock_handle = BlobLockHandle(self, acquired.lock_owner or lock_owner, lease)
        try:
            self._append_marker(acquired.fence)
        except BaseException:
            lock_handle.release()
            raise
        return lock_handle

    def renew(self, lease: str) -> bool:
        """Extends the lease; returns False if the lock is lost."""
        try:
            self._container.renew(self._name, lease)
        except (PreconditionFailed, BlobNotFound):
            return False
        return True

    def release(self, lease: str, fence: int) -> None:
        """Releases the lock, if it is still ours; its fencing token and the ledger's head stay."""
        try:
            self._write(LockRecord(fence, chain_head=self._find_newer()), lease=lease)
            self._container.release(self._name, lease)
        except (PreconditionFailed, BlobNotFound):
            return

    def _find_newer(self) -> ChainHead:
        """Returns the ledger's head; the remembered one if lines after it are lost."""
        try:
            chain_head = self._find_chain_head()
        except LedgerInvalid:
            return self._remembered
        return self._remembered if find_loss(self._remembered, chain_head) else chain_head

    def find_lock_owner(self) -> LockOwner | None:
        """Returns the owner; None if the lock is free or its owner is dead."""
        try:
            blob = self._container.read_all(self._name)
        except BlobNotFound:
            return None
        found = self._parse(blob)
        if (
            not blob.leased
            or found.lock_owner is None
            or is_lock_owner_dead(found.lock_owner, found.machine)
        ):
            return None
        return found.lock_owner

    def free(self, lock_id: str) -> LockOwner:
        """Removes the owner's lock; the owner cannot write any more."""
        blob, found = self._read()
        if not blob.leased or found.lock_owner is None or found.lock_owner.id != lock_id:
            lock_owner = found.lock_owner if blob.leased else None
            raise not_held(lock_id, lock_owner, self.subject)
        fence = max(found.fence, self._find_chain_head().fence) + 1
        self._append_marker(fence)
        # The owner may release the lock at the same time.
        with contextlib.suppress(PreconditionFailed, BlobNotFound):
            self._container.break_lease(self._name, blob.etag)
            self._write(LockRecord(fence, chain_head=found.chain_head), etag=blob.etag)
        return found.lock_owner

    def _find_chain_head(self) -> ChainHead:
        return self._segments.find_append_position().chain_head if self._segments else START

    def _append_marker(self, fence: int) -> None:
        """Refuses every earlier owner that appends a line from now on."""
        if self._segments:
            self._segments.append(Marker("lock", fence))

    def _read(self) -> tuple[LeasedBlob, LockRecord]:
        try:
            blob = self._container.read_all(self._name)
        except BlobNotFound:
            # Another process may create it at the same time.
            with contextlib.suppress(PreconditionFailed):
                self._container.write_new(self._name, write_lock_record(LockRecord(), ""))
            blob = self._container.read_all(self._name)
        return blob, self._parse(blob)

    def _parse(self, blob: LeasedBlob) -> LockRecord:
        try:
            return read_lock_record(blob.data[: LONGEST + 1])
        except BadLine as error:
            raise LedgerInvalid(
                f"the lock file {error}", subject=self.subject, next_step=_REPAIR
            ) from error

    def _write(self, lock_record: LockRecord, lease: str = "", etag: str = "") -> None:
        renewed = format_utc(datetime.now(UTC))
        self._container.write(self._name, write_lock_record(lock_record, renewed), lease, etag)


class BlobNote:
    """The note beside a lock's blob that a command waits for the lock."""

    def __init__(self, container: Container, lock: str) -> None:
        self._container = container
        self._name = name_note(lock)

    def exists(self) -> bool:
        """Whether a command has left the note; raises LedgerInvalid."""
        try:
            self._container.find_size(self._name)
        except BlobNotFound:
            return False
        return True

    def leave(self, lock_owner: LockOwner) -> None:
        """Writes the note, unless it exists; never raises."""
        with contextlib.suppress(PreconditionFailed, BlobNotFound, LedgerInvalid):
            self._container.write_new(self._name, write_note(lock_owner))

    def remove(self) -> None:
        """Removes the note, if it exists; never raises."""
        with contextlib.suppress(PreconditionFailed, BlobNotFound, LedgerInvalid):
            self._container.delete(self._name)


@dataclass(frozen=True, slots=True)
class BlobLockHandle:
    """A lock that one owner holds on a ledger in a container."""

    lock: BlobLock
    lock_owner: LockOwner
    lease: str

    def renew(self) -> bool:
        """Extends the lease; returns False if the lock is lost."""
        return self.lock.renew(self.lease)

    def is_held(self) -> bool:
        """Renews the lease; returns whether it is still ours."""
        return self.lock.renew(self.lease)

    def is_wanted(self) -> bool:
        """Whether a command that waits for the lock has left a note."""
        return self.lock.note.exists()

    def release(self) -> None:
        """Releases the lock, if it is still ours."""
        self.lock.release(self.lease, self.lock_owner.fence)
