"""A ledger in memory that holds to the whole port, for tests of what works with ledgers."""

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.errors import LedgerConflict, LedgerInvalid, LockHeld, ReconcilerError
from reconciler.ledgers.chain import Replay
from reconciler.model import (
    Action,
    Address,
    Drift,
    DriftPast,
    DriftRun,
    Entry,
    Fact,
    Finding,
    Intent,
    LockOwner,
    Snapshot,
    VerifyReport,
)
from reconciler.plans.drift_history import add_overwritten, add_run
from reconciler.ports import Emit


@dataclass
class HeldLock:
    """The lock while it is held."""

    ledger: "MemoryLedger"
    lock_owner: LockOwner

    def check(self) -> None:
        if self.ledger.lock_owner != self.lock_owner:
            raise LedgerConflict("another process acquired the lock", subject="memory")

    def is_wanted(self) -> bool:
        return False


@dataclass
class MemoryLedger:
    """What is recorded stays in `lines`, in order; `broken` is raised by whoever reads.

    `record_error` is raised instead of recording, `findings` are what `verify` finds.
    """

    lines: list[Entry | Intent | Fact] = field(default_factory=list)
    archives: list[tuple[Entry | Intent | Fact, ...]] = field(default_factory=list)
    lock_owner: LockOwner | None = None
    fence: int = 0
    broken: LedgerInvalid | None = None
    record_error: Exception | None = None
    findings: tuple[Finding, ...] = ()
    guard: Any = field(default_factory=threading.RLock)

    def load(self) -> Snapshot:
        if self.broken is not None:
            raise self.broken
        replay = Replay()
        with self.guard:
            for line in self.lines:
                replay.apply(line)
        return replay.snapshot()

    @contextmanager
    def lock(self, lock_owner: LockOwner, within_s: float, emit: Emit) -> Iterator[HeldLock]:
        with self.guard:
            if self.lock_owner is not None:
                raise LockHeld("the ledger is locked", self.lock_owner, subject="memory")
            self.fence += 1
            self.lock_owner = replace(lock_owner, fence=self.fence)
            held = HeldLock(self, self.lock_owner)
        try:
            yield held
        finally:
            with self.guard:
                if self.lock_owner == held.lock_owner:
                    self.lock_owner = None

    def find_lock_owner(self) -> LockOwner | None:
        return self.lock_owner

    def unlock(self, lock_id: str) -> LockOwner:
        with self.guard:
            if self.lock_owner is None or self.lock_owner.id != lock_id:
                raise ReconcilerError("no lock has the id", subject=lock_id)
            lock_owner, self.lock_owner = self.lock_owner, None
        return lock_owner

    def intend(self, intent: Intent) -> int:
        return self._append(intent)

    def record(self, record: Entry | Fact) -> None:
        self._append(record)

    def facts(self, topic: str) -> Iterator[Fact]:
        with self.guard:
            lines = list(self.lines)
        yield from (one for one in lines if isinstance(one, Fact) and one.topic == topic)

    def entries(self, address: Address | None = None) -> Iterator[Entry]:
        if self.broken is not None:
            raise self.broken
        with self.guard:
            lines = list(self.lines)
        begun = {line.sequence: line for line in lines if isinstance(line, Intent)}
        for line in lines:
            if isinstance(line, Entry) and address in {None, line.address}:
                intent = begun.get(line.intent)
                if intent is not None and not line.patch:
                    yield replace(line, patch=intent.patch, inverse=intent.inverse)
                else:
                    yield line

    def verify(self) -> VerifyReport:
        intents = sum(1 for _ in self._intents())
        facts = sum(1 for one in self.lines if isinstance(one, Fact))
        entries = len(self.lines) - intents - facts
        return VerifyReport(entries, intents, self.findings, facts=facts)

    def compact(self) -> str:
        snapshot = self.load()
        kept = {one.sequence for one in snapshot.last_applied_by_address.values()}
        kept |= {one.sequence for one in snapshot.facts.values()}
        with self.guard:
            self.archives.append(tuple(self.lines))
            self.lines = [one for one in self.lines if one.sequence in kept]
        return f"archive-{len(self.archives)}"

    def set_aside(self, fence: int = 0) -> str:
        with self.guard:
            if not self.lines and self.broken is None:
                return ""
            self.archives.append(tuple(self.lines))
            self.lines, self.broken = [], None
        return f"aside-{len(self.archives)}"

    def _intents(self) -> Iterator[Intent]:
        return (line for line in self.lines if isinstance(line, Intent))

    def _append(self, line: Entry | Intent | Fact) -> int:
        if self.record_error is not None:
            raise self.record_error
        with self.guard:
            if line.fence < self.fence and line.fence:
                raise LedgerConflict("a later lock has been taken", subject="memory")
            number = max((one.sequence for one in self.lines), default=0) + 1
            self.lines.append(replace(line, sequence=number))
        return number


def make_entry(name: str = "census", action: Action = Action.UPDATE, **more: Any) -> Entry:
    """An entry of a ledger, such as tests need."""
    return Entry(
        **{
            "address": Address("WebService", name),
            "id": f"/x/{name}",
            "action": action,
            "at": "2026-11-20T12:00:00Z",
            "by": "ci",
            "host": "builder",
            "commit": "4f1c2aa9b1d2",
            "plan_digest": f"sha256:9f86d081{'0' * 56}",
            "patch": (),
            "inverse": (),
            "owned": {},
            "secrets": {},
            **more,
        }
    )


@dataclass
class MemoryHistory:
    """A drift history in memory; `error` is raised by whoever reads or writes it."""

    past: DriftPast = field(default_factory=DriftPast)
    error: LedgerInvalid | None = None

    def load(self) -> DriftPast:
        if self.error is not None:
            raise self.error
        return self.past

    def append(self, run: DriftRun | None, since: Mapping[str, str]) -> None:
        self.past = add_run(self.load(), self.past, run, since)

    def keep_overwritten(self, findings: Collection[Drift], now: str) -> None:
        self.past = add_overwritten(self.load(), findings, now)

    def note_sent(self, keys: Collection[str]) -> None:
        self.past = replace(self.load(), sent=self.past.sent | set(keys))


def make_fact(topic: str = "job", subject: str = "Retraining/census", **more: Any) -> Fact:
    """A fact of a ledger, such as tests need."""
    return Fact(
        **{
            "topic": topic,
            "subject": subject,
            "data": {},
            "at": "2026-11-20T12:00:00Z",
            "by": "ci",
            "host": "builder",
            "commit": "4f1c2aa9b1d2",
            **more,
        }
    )


def make_intent(name: str = "census", action: Action = Action.UPDATE, **more: Any) -> Intent:
    """An intent of a ledger, such as tests need."""
    return Intent(
        **{
            "address": Address("WebService", name),
            "id": f"/x/{name}",
            "action": action,
            "at": "2026-11-20T12:00:00Z",
            "by": "ci",
            "host": "builder",
            "commit": "4f1c2aa9b1d2",
            "plan_digest": f"sha256:9f86d081{'0' * 56}",
            "step_digest": "sha256:1",
            "attempt": 1,
            "fence": 0,
            "patch": (),
            "inverse": (),
            **more,
        }
    )
