"""The lock while it is held: waited for, kept alive, and no longer believed once it may be lost.

How a lock is taken, renewed and given back is each ledger's own business (`LockHandle`); what is
the same for all of them is here. Time is counted by the machine's own clock, which no one sets and
which goes on while it sleeps.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Final, Protocol, TypeVar

from reconciler.errors import LedgerConflict, LockHeld, ReconcilerError
from reconciler.ledgers.process import describe_process, name_machine
from reconciler.ledgers.records import BadLine, is_count
from reconciler.model import Json, LockAwaited, LockOwner
from reconciler.model.values import dataclass
from reconciler.ports import Emit
from reconciler.text.durations import growing_waits
from reconciler.text.json_text import encode_canonical, read_json

LONGEST: Final = 1 << 16
VERSION: Final = 1
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 16.0
_TEXTS: Final = ("id", "who", "why", "host", "started", "since", "commit")
_LONGEST_TEXT: Final = 1000
_Acquired = TypeVar("_Acquired")


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """For how long a lock is good that nobody renews, and how often it is renewed, in seconds."""

    lease_s: float = 60.0
    renew_s: float = 20.0


@dataclass(frozen=True, slots=True)
class LockRecord:
    """What is written about the lock: who holds it, on which machine, and the highest fence."""

    fence: int = 0
    lock_owner: LockOwner | None = None
    machine: str = ""


class LockHandle(Protocol):
    """One holder's hold on the lock."""

    def renew(self) -> bool:
        """Hold it for another lease; False where it is somebody else's or nobody's now."""
        ...

    def is_held(self) -> bool:
        """Whether it is still written that it is ours."""
        ...

    def release(self) -> None:
        """Give it back, if it is still ours."""
        ...


class HeldLock:
    """A lock that is renewed by a thread of its own until the block ends."""

    def __init__(
        self,
        lock_owner: LockOwner,
        lock_handle: LockHandle,
        heartbeat: Heartbeat,
        *,
        acquired_at: float,
        subject: str,
    ) -> None:
        """`acquired_at` is when taking it began, by `read_clock`."""
        self.lock_owner = lock_owner
        self._lock_handle = lock_handle
        self._heartbeat = heartbeat
        self._renewed = acquired_at
        self._subject = subject
        self._lost = threading.Event()
        self._ended = threading.Event()

    def check(self) -> None:
        """Raise LedgerConflict once the lock is no longer surely ours."""
        if read_clock() - self._renewed >= self._heartbeat.lease_s:
            raise self._conflict("could not be renewed in time")
        if self._lost.is_set() or not self._lock_handle.is_held():
            self._lost.set()
            raise self._conflict("was taken by somebody else")

    @contextlib.contextmanager
    def keep_alive(self) -> Iterator[HeldLock]:
        """Keep it alive while the block runs, then give it back."""
        beat = threading.Thread(target=self._keep, name="ledger-lock", daemon=True)
        beat.start()
        try:
            yield self
        finally:
            self._ended.set()
            beat.join()
            # Whoever cannot give it back loses it by being silent.
            with contextlib.suppress(OSError, ReconcilerError):
                self._lock_handle.release()

    def _keep(self) -> None:
        pause = self._heartbeat.renew_s
        while not self._ended.wait(pause):
            started = read_clock()
            pause = self._heartbeat.renew_s
            try:
                if not self._lock_handle.renew():
                    self._lost.set()
                    return
                self._renewed = started
            except (OSError, ReconcilerError):
                pause /= 4

    def _conflict(self, what: str) -> LedgerConflict:
        return LedgerConflict(
            f"the lock of the ledger {what}",
            subject=self._subject,
            next_step="Nothing more was written. See who works, then plan again.",
        )


def read_clock() -> float:
    """Seconds that only ever grow, also while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wait_for(
    acquire: Callable[[], _Acquired],
    within_s: float,
    emit: Emit,
    sleep: Callable[[float], None] = time.sleep,
) -> _Acquired:
    """What `acquire` returns once it raises LockHeld no more; that is raised when time is over."""
    ends = read_clock() + within_s
    waits = growing_waits(_FIRST_WAIT_S, _LONGEST_WAIT_S, 2.0)
    while True:
        try:
            return acquire()
        except LockHeld as error:
            left = ends - read_clock()
            if left <= 0:
                raise
            pause = min(next(waits), left)
            emit(LockAwaited(error.lock_owner, pause))
        sleep(pause)


def complete(lock_owner: LockOwner, fence: int) -> LockOwner:
    """A holder with its fence, and with when its process began where that is our own.

    What it says of itself is cut, so that whoever is refused can read it.
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


def held_by(lock_owner: LockOwner, subject: str) -> LockHeld:
    """The refusal that names who holds the lock."""
    return LockHeld(
        f"the ledger is locked by {lock_owner.who}@{lock_owner.host} (pid {lock_owner.pid})"
        f" since {lock_owner.since}: {lock_owner.why}",
        lock_owner,
        subject=subject,
        next_step=(
            f"Wait for it with --lock-timeout, or run reconciler force-unlock {lock_owner.id}"
            " if it is sure that nobody works."
        ),
    )


def not_held(lock_id: str, lock_owner: LockOwner | None, subject: str) -> ReconcilerError:
    """The refusal to take a lock from somebody who does not hold it."""
    hint = (
        f"It is held as {lock_owner.id} by {lock_owner.who}@{lock_owner.host}."
        if lock_owner
        else "It is free."
    )
    return ReconcilerError(f"nobody holds the lock {lock_id}", subject=subject, next_step=hint)


def write_lock_record(lock_record: LockRecord, renewed: str) -> bytes:
    """The lock's file; `renewed` is for people to read."""
    document = {
        "version": VERSION,
        "fence": lock_record.fence,
        "holder": asdict(lock_record.lock_owner) if lock_record.lock_owner else None,
        "machine": lock_record.machine,
        "renewed": renewed,
    }
    return encode_canonical(document) + b"\n"


def read_lock_record(data: bytes) -> LockRecord:
    """What the lock's file says; nothing where it is empty. Raises BadLine."""
    if not data:
        return LockRecord()
    try:
        document = read_json(data) if len(data) <= LONGEST else None
    except ValueError as error:
        raise BadLine("is not JSON") from error
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise BadLine("is not that of a lock")
    fence, machine = document.get("fence"), document.get("machine")
    if type(fence) is not int or not is_count(fence) or type(machine) is not str:
        raise BadLine("is not that of a lock")
    return LockRecord(fence, _read_lock_owner(document.get("holder")), machine)


def _read_lock_owner(said: Json) -> LockOwner | None:
    if said is None:
        return None
    if not isinstance(said, dict) or not all(type(said.get(name)) is str for name in _TEXTS):
        raise BadLine("names no usable holder")
    pid, fence = said.get("pid"), said.get("fence")
    if type(pid) is not int or type(fence) is not int:
        raise BadLine("names no usable holder")
    return LockOwner(pid=pid, fence=fence, **{name: said[name] for name in _TEXTS})


def make_lock_record(lock_owner: LockOwner, fence: int) -> LockRecord:
    """What is written when a holder on this machine takes the lock."""
    return LockRecord(fence, complete(lock_owner, fence), name_machine())
