"""Waits for a ledger's lock, renews it, and refuses to use it once it may be lost.

This is the part that all ledgers share; each ledger acquires, renews and releases its lock in its
own way (`LockHandle`). Time is the machine's monotonic clock, which also counts while the machine
is suspended.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Final, Protocol, TypeVar

from reconciler.errors import LedgerConflict, LockHeld, ReconcilerError
from reconciler.ledgers.chain import START, ChainHead
from reconciler.ledgers.process import describe_process, name_machine
from reconciler.ledgers.records import BadLine, is_count
from reconciler.model import Json, LockAwaited, LockOwner
from reconciler.model.values import dataclass
from reconciler.ports import Emit
from reconciler.text.durations import growing_waits
from reconciler.text.json_text import encode_canonical, read_json

LOCK_NAME: Final = "lock.json"
LONGEST: Final = 1 << 16
VERSION: Final = 1
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 16.0
# How often a command looks whether an owner that yields has released the lock.
_TURN_S: Final = 0.5
_TEXTS: Final = ("id", "who", "why", "host", "started", "since", "commit")
_LONGEST_TEXT: Final = 1000
_Acquired = TypeVar("_Acquired")


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How long a lock is valid without a renewal, and the time between renewals, in seconds."""

    lease_s: float = 60.0
    renew_s: float = 20.0


@dataclass(frozen=True, slots=True)
class LockRecord:
    """The stored lock: its owner, the owner's machine, and the highest fence.

    `chain_head` is the ledger's last line when the lock was last acquired or released. Only its
    sequence and digest are stored. `renewals` counts the renewals by this owner, and `renewed` is
    the time of the last one, for people to read: a record that is equal was not renewed.
    """

    fence: int = 0
    lock_owner: LockOwner | None = None
    machine: str = ""
    chain_head: ChainHead = START
    renewals: int = 0
    renewed: str = ""


class LockHandle(Protocol):
    """A lock that one owner holds."""

    def renew(self) -> bool:
        """Extends the lease; returns False if the lock is lost."""
        ...

    def is_held(self) -> bool:
        """Whether the lock still names us as the owner."""
        ...

    def is_wanted(self) -> bool:
        """Whether a command that waits for the lock has left a note."""
        ...

    def release(self) -> None:
        """Releases the lock, if it is still ours."""
        ...


class WaitingNote(Protocol):
    """The note of a command that waits for a lock whose owner yields.

    It stays until a command removes it: the one that waits, when its wait is over, or an owner that
    yields, when it acquires the lock. So a note that a killed command leaves is removed too.
    """

    def leave(self, lock_owner: LockOwner) -> None:
        """Writes the note, unless it exists; never raises."""
        ...

    def remove(self) -> None:
        """Removes the note, if it exists; never raises."""
        ...


class HeldLock:
    """An acquired lock; a thread renews it from `start` until `release`."""

    what = "the lock of the ledger"
    next_step = "Nothing more was written. Check who uses the ledger, then plan again."

    def __init__(
        self,
        lock_owner: LockOwner,
        lock_handle: LockHandle,
        heartbeat: Heartbeat,
        *,
        acquired_at: float,
        subject: str,
    ) -> None:
        """`acquired_at` is the `read_clock` time at which the acquisition began."""
        self.lock_owner = lock_owner
        self._lock_handle = lock_handle
        self._heartbeat = heartbeat
        self._renewed = acquired_at
        self._subject = subject
        self._lost = threading.Event()
        self._ended = threading.Event()
        self._beat = threading.Thread(target=self._keep, name="ledger-lock", daemon=True)

    def check(self) -> None:
        """Raises LedgerConflict if the lock may be lost.

        The age of the lease is looked at last: the process may be suspended during the other look.
        """
        if self._lost.is_set() or not self._lock_handle.is_held():
            self._lost.set()
            raise self._conflict("was acquired by another process")
        if self._is_over():
            raise self._conflict("could not be renewed in time")

    def is_wanted(self) -> bool:
        """Whether a command waits for the lock; False if that cannot be read."""
        try:
            return self._lock_handle.is_wanted()
        except (OSError, ReconcilerError):
            return False

    @contextlib.contextmanager
    def keep_alive(self) -> Iterator[HeldLock]:
        """Renews the lock while the block runs, then releases it."""
        self.start()
        try:
            yield self
        finally:
            self.release()

    def start(self) -> None:
        """Begins to renew the lock."""
        self._beat.start()

    def release(self) -> None:
        """Ends the renewals and releases the lock; never raises."""
        self._ended.set()
        self._beat.join()
        # A lock that cannot be released expires, because it is not renewed.
        with contextlib.suppress(OSError, ReconcilerError):
            self._lock_handle.release()

    def _keep(self) -> None:
        pause = self._heartbeat.renew_s
        while not self._ended.wait(pause):
            started = read_clock()
            pause = self._heartbeat.renew_s
            try:
                if not self._renew():
                    self._lost.set()
                    return
                self._renewed = started
            except (OSError, ReconcilerError):
                pause /= 4

    def _renew(self) -> bool:
        return self._lock_handle.renew()

    def _is_over(self) -> bool:
        return read_clock() - self._renewed >= self._heartbeat.lease_s

    def _conflict(self, said: str) -> LedgerConflict:
        return LedgerConflict(
            f"{self.what} {said}", subject=self._subject, next_step=self.next_step
        )


def read_clock() -> float:
    """Returns monotonic seconds, which also count while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wait_for(
    acquire: Callable[[], _Acquired],
    within_s: float,
    emit: Emit,
    sleep: Callable[[float], None] = time.sleep,
) -> _Acquired:
    """Calls `acquire` until it succeeds; raises its LockHeld after `within_s` seconds.

    A lock that seems to be abandoned is watched until its lease is over, even if that is later.
    """
    left_s, waits = within_s, _growing_waits()
    while True:
        try:
            return acquire()
        except LockHeld as error:
            most_s = max(left_s, error.watch_s)
            if most_s <= 0:
                raise
            pause = min(next(waits), most_s)
            emit(LockAwaited(error.lock_owner, pause))
        # What passes while `acquire` waits for its turn does not count.
        before = read_clock()
        sleep(pause)
        left_s -= read_clock() - before


def wait_for_turn(
    acquire: Callable[[], _Acquired],
    lock_owner: LockOwner,
    note: WaitingNote,
    emit: Emit,
    sleep: Callable[[float], None] = time.sleep,
) -> _Acquired:
    """Calls `acquire` as long as it raises LockHeld with an owner that yields to `lock_owner`.

    It leaves a note for that owner, which is removed at the end. Raises LockHeld of other owners.
    """
    waits, reported, noted = _growing_waits(), -math.inf, False
    try:
        while True:
            try:
                return acquire()
            except LockHeld as error:
                if lock_owner.yields or not error.lock_owner.yields:
                    raise
                noted = True  # before it: a signal may come between
                note.leave(lock_owner)
                if read_clock() >= reported:
                    pause = next(waits)
                    reported = read_clock() + pause
                    emit(LockAwaited(error.lock_owner, pause))
            sleep(_TURN_S)
    finally:
        if noted:
            note.remove()


def _growing_waits() -> Iterator[float]:
    return growing_waits(_FIRST_WAIT_S, _LONGEST_WAIT_S, 2.0)


def complete(lock_owner: LockOwner, fence: int) -> LockOwner:
    """Returns an owner with its fence and host, and with the start time of our own process.

    Long texts are truncated, so that the refusal of another process stays readable.
    """
    host, pid, started = describe_process()
    own = lock_owner.pid == pid
    said = {name: getattr(lock_owner, name)[:_LONGEST_TEXT] for name in _TEXTS}
    return replace(
        lock_owner,
        **{
            **said,
            "host": said["host"] or host,
            "started": said["started"] or (started if own else ""),
        },
        fence=fence,
    )


def held_by(lock_owner: LockOwner, subject: str, watch_s: float = 0.0) -> LockHeld:
    """Returns the error that names the owner of the lock."""
    return LockHeld(
        f"the ledger is locked by {lock_owner.who}@{lock_owner.host} (pid {lock_owner.pid})"
        f" since {lock_owner.since}: {lock_owner.why}",
        lock_owner,
        subject=subject,
        next_step=(
            "Wait for it with --lock-timeout. If its process does not run any more, run"
            f" reconciler force-unlock {lock_owner.id}."
        ),
        watch_s=watch_s,
    )


def not_held(lock_id: str, lock_owner: LockOwner | None, subject: str) -> ReconcilerError:
    """Returns the error for an unlock with an id that does not hold the lock."""
    hint = (
        f"The lock has the id {lock_owner.id}; {lock_owner.who}@{lock_owner.host} holds it."
        if lock_owner
        else "The lock is free."
    )
    return ReconcilerError(f"no lock has the id {lock_id}", subject=subject, next_step=hint)


def write_lock_record(lock_record: LockRecord, renewed: str) -> bytes:
    """Encodes the lock's file; `renewed` is for people to read."""
    document = {
        "version": VERSION,
        "fence": lock_record.fence,
        "holder": asdict(lock_record.lock_owner) if lock_record.lock_owner else None,
        "machine": lock_record.machine,
        "renewed": renewed,
        "renewals": lock_record.renewals,
        "head": _write_chain_head(lock_record.chain_head),
    }
    return encode_canonical(document) + b"\n"


def name_note(lock: str) -> str:
    """Returns the name of the note of commands that wait for the lock with this name."""
    return f"{lock.removesuffix('.json')}.waiting.json"


def write_note(lock_owner: LockOwner) -> bytes:
    """Encodes the note of a command that waits; it is for people to read."""
    return encode_canonical(asdict(complete(lock_owner, 0))) + b"\n"


def read_lock_record(data: bytes) -> LockRecord:
    """Decodes the lock's file; empty bytes give an empty record. Raises BadLine."""
    if not data:
        return LockRecord()
    try:
        document = read_json(data) if len(data) <= LONGEST else None
    except ValueError as error:
        raise BadLine("is not JSON") from error
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise BadLine("is not a valid lock file")
    fence, machine = document.get("fence"), document.get("machine")
    if type(fence) is not int or not is_count(fence) or type(machine) is not str:
        raise BadLine("is not a valid lock file")
    # The lock of an earlier version does not count its renewals.
    renewals = document.get("renewals", 0)
    if type(renewals) is not int or not is_count(renewals):
        raise BadLine("is not a valid lock file")
    return LockRecord(
        fence,
        _read_lock_owner(document.get("holder")),
        machine,
        _read_chain_head(document.get("head")),
        renewals,
        str(document.get("renewed", "")),
    )


def _write_chain_head(chain_head: ChainHead) -> Json:
    if not chain_head.sequence:
        return None
    return {"sequence": chain_head.sequence, "digest": chain_head.digest}


def _read_chain_head(said: Json) -> ChainHead:
    """Decodes a head; the lock of an earlier version remembers none. Raises BadLine."""
    if said is None:
        return START
    sequence = said.get("sequence") if isinstance(said, dict) else None
    digest = said.get("digest") if isinstance(said, dict) else None
    if type(sequence) is not int or not is_count(sequence) or type(digest) is not str:
        raise BadLine("names no usable head of the ledger")
    return ChainHead(sequence, digest)


def _read_lock_owner(said: Json) -> LockOwner | None:
    if said is None:
        return None
    if not isinstance(said, dict) or not all(type(said.get(name)) is str for name in _TEXTS):
        raise BadLine("names no usable holder")
    pid, fence = said.get("pid"), said.get("fence")
    if type(pid) is not int or type(fence) is not int:
        raise BadLine("names no usable holder")
    return LockOwner(pid=pid, fence=fence, **{name: said[name] for name in _TEXTS})


def make_lock_record(lock_owner: LockOwner, fence: int, chain_head: ChainHead) -> LockRecord:
    """Returns the record of an owner on this machine that acquires the lock."""
    return LockRecord(fence, complete(lock_owner, fence), name_machine(), chain_head)
