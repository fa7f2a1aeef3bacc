"""The lease of the leader: of several `watch` processes on one ledger, one leads.

It is a lock of its own beside the lock of the ledger, in the same storage and by the same rules. It
protects no lines, and its term is short, so that another process leads soon after a leader is gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from reconciler.errors import LedgerConflict, LedgerInvalid, LockHeld, ReconcilerError
from reconciler.ledgers.chain import START
from reconciler.ledgers.file_lock import FileLock, FileLockHandle
from reconciler.ledgers.lock import Heartbeat, HeldLock, LockHandle, read_clock
from reconciler.ledgers.locked_file import LockedFile
from reconciler.model import LockOwner
from reconciler.model.values import dataclass
from reconciler.ports import LeaderTerm, Lease

if TYPE_CHECKING:  # start-up: only teams need blob storage
    from reconciler.ledgers.blob_client import Container

NAME: Final = "leader.json"
TERM: Final = Heartbeat(lease_s=30.0, renew_s=10.0)
_GUARD: Final = "leader.lock"
# The file is locked for a moment only, or by a process that is suspended.
_GUARD_S: Final = 1.0
# Not that of the ledgers: a slow write of the ledger must not end a term.
_THREADS: Final = threading.Lock()
_UNWRITTEN: Final = "Free disk space or allow this user to write in its folder."


class HeldTerm(HeldLock):
    """The time in which this process leads. A term that was once over stays over."""

    what = "the lease of the leader"
    next_step = "Nothing more was written. Another process may lead now."

    def is_held(self) -> bool:
        """Whether this process surely leads now; while storage is away, until the lease is over."""
        try:
            self.check()
        except LedgerConflict:
            return False
        except (OSError, ReconcilerError):
            return not self._is_over()
        return True

    def _renew(self) -> bool:
        return not self._is_over() and super()._renew()

    def _is_over(self) -> bool:
        if super()._is_over():
            self._lost.set()
        return self._lost.is_set()


@dataclass(frozen=True, slots=True)
class LeaderLock:
    """The lock of the ledger in the hands of the leader: a write needs both."""

    lock: Lease
    term: LeaderTerm

    @property
    def lock_owner(self) -> LockOwner:
        """The owner of the lock of the ledger."""
        return self.lock.lock_owner

    def check(self) -> None:
        """Raises LedgerConflict if the lock may be lost, or another process may lead."""
        self.lock.check()
        self.term.check()

    def is_wanted(self) -> bool:
        """Whether another process waits for the lock."""
        return self.lock.is_wanted()


class NamedLockHandle(LockHandle, Protocol):
    """A lock that one owner holds, and the owner."""

    @property
    def lock_owner(self) -> LockOwner:
        """The owner as it is stored."""
        ...


@dataclass(frozen=True)
class StoredLeadership:
    """Who leads, by a lock in storage. One object watches the same leader over many calls.

    `take` acquires the lock and raises LockHeld; `find` returns its owner. `subject` is its place.
    """

    take: Callable[[LockOwner], NamedLockHandle]
    find: Callable[[], LockOwner | None]
    subject: str
    heartbeat: Heartbeat

    def acquire(self, lock_owner: LockOwner) -> HeldTerm | None:
        """Begins a term; returns None while another process leads.

        A leader that is silent loses the lease only to an object that has watched it for a whole
        lease: call this every few seconds. Raises LedgerInvalid.
        """
        started = read_clock()
        try:
            held = self.take(lock_owner)
        except (LockHeld, BlockingIOError):
            return None
        except OSError as error:
            raise LedgerInvalid(
                f"the lease of the leader cannot be written: {error.strerror}",
                subject=self.subject,
                next_step=_UNWRITTEN,
            ) from error
        term = HeldTerm(
            held.lock_owner, held, self.heartbeat, acquired_at=started, subject=self.subject
        )
        term.start()
        return term

    def find_leader(self) -> LockOwner | None:
        """Returns the process that leads; None if none is known to."""
        return self.find()


def lead_in_folder(folder: Path, heartbeat: Heartbeat = TERM) -> StoredLeadership:
    """Returns the leadership beside a ledger in a folder, without a read."""
    # Nobody leads after a power failure, so a lost write does no harm. A short write makes it
    # unlikely that a process is suspended while it locks the file.
    lock = FileLock(folder / NAME, heartbeat, durable=False)
    guard = LockedFile(folder / _GUARD, _THREADS, _GUARD_S).lock

    def take(lock_owner: LockOwner) -> FileLockHandle:
        with guard() as handle:
            taken = lock.acquire(handle, lock_owner, START, lambda _: None)
        return FileLockHandle(lock, guard, lambda _: START, taken)

    return StoredLeadership(take, lock.find_lock_owner, str(lock.file), heartbeat)


def lead_in_container(
    container: Container, prefix: str, heartbeat: Heartbeat = TERM
) -> StoredLeadership:
    """Returns the leadership beside a ledger in a container, without a call."""
    from reconciler.ledgers.blob_lock import BlobLock  # noqa: PLC0415 - only teams need it

    lock = BlobLock(container, f"{prefix}{NAME}", heartbeat, None)
    return StoredLeadership(
        lambda lock_owner: lock.acquire(lock_owner, lambda _: START),
        lock.find_lock_owner,
        lock.subject,
        heartbeat,
    )
