"""The cycles of `watch` in one environment: read, report, and put right what needs no approval.

A cycle never ends the loop: an error is in its `errors`. It never reports "in sync" for what it did
not read, or for another state of the project than that of now. The command line reads the project
before each cycle; this module knows neither YAML nor a command.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from traceback import format_tb
from typing import Final, Literal, TypeAlias

from reconciler.engine.back_off import BackOff
from reconciler.engine.drift import report_drift
from reconciler.engine.planning.selection import PlanRequest
from reconciler.engine.runtime import Runtime
from reconciler.engine.unattended import Applied, Applying, apply_unattended
from reconciler.errors import ReconcilerError
from reconciler.model import (
    Address,
    CycleEnded,
    CycleStarted,
    Drift,
    DriftPast,
    DriftReport,
    DriftRun,
    Finding,
    LockOwner,
    Verdict,
)
from reconciler.model.values import dataclass
from reconciler.model.watch import Cycle, CycleOutcome
from reconciler.ports import Clock, DriftHistory, Emit, Leadership, LeaderTerm, Lease
from reconciler.text.counting import count
from reconciler.text.times import format_utc
from reconciler.tracing import span

_LOG: Final = logging.getLogger(__name__)
Mode: TypeAlias = Literal["report", "apply"]
Observer: TypeAlias = Callable[[Cycle], None]

_NOTHING_READ: Final = Finding(
    "no resource was read in this cycle, so nothing is proven to be in sync",
    next_step="Declare a resource, or see why each read failed.",
    severity="warning",
)

_LEDGER_GONE: Final = Finding(
    "the ledger is gone that an earlier cycle has read, so only declared values are compared, and"
    " nothing is applied",
    next_step="Restore it, or make it again with: reconciler ledger rebuild",
)

_OVERTAKEN: Final = (
    "this process did not lead until the end of the cycle, so what it read is not reported"
)
_PAUSED: Final = Finding(
    "nothing is applied in this cycle: another command has just used the lock of the ledger",
    severity="warning",
)
_OUTDATED: Final = Finding(
    "nothing is applied in this cycle: the project is not valid now, and an older state of it may"
    " undo what its newer one declares",
    severity="warning",
)
# A command that waits for the lock looks more often than this, in seconds.
_LEAST_PAUSE_S: Final = 2.0


@dataclass(frozen=True)
class Prepared:
    """What one cycle works with.

    `errors` say why it is not the project of now: that one is invalid, and this is the last one
    that was valid. `lock_owner` is this process. Without `applying`, nothing is changed.
    """

    runtime: Runtime
    request: PlanRequest
    lock_owner: LockOwner
    leadership: Leadership | None = None
    applying: Applying | None = None
    errors: tuple[Finding, ...] = ()
    lists_unmanaged: bool = False


@dataclass(frozen=True)
class WatchPorts:
    """What the cycles of all environments share.

    `clock` has the time of day, which is only shown. `observers` get each finished cycle; what one
    of them raises is logged. `combine` makes one lease of the ledger's lock and the leader's term.
    """

    emit: Emit
    clock: Clock
    monotonic: Callable[[], float] = time.monotonic
    observers: Sequence[Observer] = ()
    combine: Callable[[Lease, LeaderTerm], Lease] = lambda lock, _: lock


@dataclass
class _Running:
    """A cycle that runs."""

    id: str
    environment: str
    started_at: str
    outcome: CycleOutcome = CycleOutcome.FAILED
    report: DriftReport | None = None
    found: DriftReport | None = None
    applied: Applied = field(default_factory=Applied)
    errors: list[Finding] = field(default_factory=list)
    leader: LockOwner | None = None

    def fail(self, errors: Sequence[Finding]) -> None:
        """End without a report: what it may have read is not that of now."""
        self.outcome, self.report = CycleOutcome.FAILED, None
        self.errors += errors


class Watcher:
    """The cycles of one environment, with what they must remember of one another."""

    def __init__(
        self,
        environment: str,
        prepare: Callable[[], Prepared],
        ports: WatchPorts,
        interval_s: float,
    ) -> None:
        self._environment, self._prepare, self._ports = environment, prepare, ports
        self._interval_s = interval_s
        self._leadership: Leadership | None = None
        self._owner: LockOwner | None = None
        self._reads, self._changes = BackOff(interval_s), BackOff(interval_s)
        self._applies_at = float("-inf")
        self._term: LeaderTerm | None = None
        self._had_ledger = False
        self._silent_until = 0.0

    def run_cycle(self) -> Cycle | None:
        """Run one cycle; returns None while another process leads and this was reported.

        A signal to end raises KeyboardInterrupt, after the cycle was reported.
        """
        running = _Running(
            uuid.uuid4().hex[:12], self._environment, format_utc(self._ports.clock())
        )
        try:
            self._run(running)
        except KeyboardInterrupt:
            running.outcome = CycleOutcome.INTERRUPTED
            self._end(running)
            raise
        except ReconcilerError as error:
            running.fail(error.findings())
        except Exception as error:  # noqa: BLE001 - a defect must not end the loop
            running.fail((_describe_defect(error),))
        if running.outcome is CycleOutcome.STANDBY and not self._may_report_standby():
            return None
        return self._end(running)

    def close(self) -> None:
        """Let another process lead at once."""
        if self._term is not None:
            self._term.release()
            self._term = None

    def _run(self, running: _Running) -> None:
        # A process that stands by does not read the project: it may have thousands of files.
        if not self._leads():
            self._stand_by(running)
            return
        prepared = self._prepare()
        if prepared.leadership is not self._leadership:
            self.close()
            self._leadership, self._owner = prepared.leadership, prepared.lock_owner
            self._had_ledger = False
        if not self._leads():
            self._stand_by(running)
            return
        self._silent_until = 0.0
        self._ports.emit(CycleStarted(running.id, running.environment))
        running.errors += prepared.errors
        with span("cycle", id=running.id, environment=running.environment) as recorded:
            self._observe(prepared, running)
            has_ledger = _LEDGER_GONE not in running.errors
            if prepared.applying is not None and running.report is not None and has_ledger:
                self._apply(prepared, prepared.applying, running, running.report)
            recorded.set("outcome", running.outcome.value)

    def _leads(self) -> bool:
        """Whether this process leads now; it begins a term if no other process leads.

        True before the first cycle: where the lease is, the project says.
        """
        if self._leadership is None or self._owner is None:
            return True
        if self._term is not None and self._term.is_held():
            return True
        self.close()
        self._term = self._leadership.acquire(self._owner)
        return self._term is not None

    def _stand_by(self, running: _Running) -> None:
        running.outcome = CycleOutcome.STANDBY
        with suppress(ReconcilerError):
            running.leader = self._leadership.find_leader() if self._leadership else None

    def _observe(self, prepared: Prepared, running: _Running) -> None:
        """Make a drift report, and decide the outcome of the cycle by it."""
        digests = _list_digests(prepared.request)
        waiting = self._reads.find_waiting(digests, self._ports.monotonic())
        postponed = {
            address: f"it was not read in this cycle: {_describe_wait('read', times)}"
            for address, times in waiting.items()
        }
        request = replace(prepared.request, postponed=postponed)
        runtime = prepared.runtime
        if self._term is not None:
            history = _LedHistory(runtime.drift_history, self._term)
            runtime = replace(runtime, drift_history=history)
        report = report_drift(runtime, request, list_unmanaged=prepared.lists_unmanaged)
        _check_term(self._term)
        running.report = report
        lost = (report.lost, report.history_lost)
        running.errors += [one for one in lost if one is not None and one not in running.errors]
        self._had_ledger = self._had_ledger or report.baseline == "kept"
        # Its lines that are missing have a finding of their own.
        if self._had_ledger and report.baseline == "lost" and report.lost is None:
            running.errors.append(_LEDGER_GONE)
        self._note_reads(report, digests, waiting)
        running.outcome = CycleOutcome(report.outcome)
        if _LEDGER_GONE in running.errors and running.outcome is CycleOutcome.IN_SYNC:
            running.outcome = CycleOutcome.INCOMPLETE
        if running.outcome is not CycleOutcome.IN_SYNC:
            return
        if not any(one.observed_at for one in report.statuses):
            running.errors.append(_NOTHING_READ)
            running.outcome = CycleOutcome.INCOMPLETE
        elif prepared.errors:  # what the project declares now is not known
            running.outcome = CycleOutcome.INCOMPLETE

    def _note_reads(
        self, report: DriftReport, digests: Mapping[Address, str], waiting: Mapping[Address, int]
    ) -> None:
        tried = [one for one in report.statuses if one.resource.address not in waiting]
        read = {one.resource.address for one in tried if one.observed_at}
        # If nothing can be read, the service is out of reach and no resource is at fault.
        if not read:
            return
        unread = [
            one.resource.address
            for one in tried
            if not one.observed_at and one.verdict is Verdict.INCOMPLETE
        ]
        self._reads.note(unread, read, digests, self._ports.monotonic())

    def _apply(
        self, prepared: Prepared, applying: Applying, running: _Running, report: DriftReport
    ) -> None:
        """Apply what needs no approval, and report again what that left."""
        now = self._ports.monotonic()
        if now < self._applies_at:
            running.applied.left += [_PAUSED] if report.outcome == "drift" else []
            return
        if prepared.errors:
            running.applied.left += [_OUTDATED] if report.outcome == "drift" else []
            return
        digests = _list_digests(prepared.request)
        waiting = {
            address: _describe_wait("changed", times)
            for address, times in self._changes.find_waiting(digests, now).items()
        }
        term = self._term
        if term is not None:
            applying = replace(applying, combine=lambda lock: self._ports.combine(lock, term))
        applied = apply_unattended(prepared.runtime, prepared.request, report, applying, waiting)
        running.applied = applied
        running.errors += applied.errors
        self._changes.note(applied.failed, applied.changed, digests, self._ports.monotonic())
        if applied.yields:
            # At least one interval in which the person may apply again.
            self._applies_at = self._ports.monotonic() + max(self._interval_s, _LEAST_PAUSE_S)
        if prepared.runtime.halted():
            raise KeyboardInterrupt
        if applied.has_tried:
            running.found = report
            self._observe(prepared, running)

    def _may_report_standby(self) -> bool:
        """Whether an interval has passed since the last cycle in which another process led."""
        now = self._ports.monotonic()
        if now < self._silent_until:
            return False
        self._silent_until = now + self._interval_s
        return True

    def _end(self, running: _Running) -> Cycle:
        cycle = Cycle(
            id=running.id,
            environment=running.environment,
            started_at=running.started_at,
            ended_at=format_utc(self._ports.clock()),
            outcome=running.outcome,
            report=running.report,
            found=running.found,
            applied=running.applied.changed,
            quarantined=tuple(running.applied.quarantined),
            left=tuple(running.applied.left),
            errors=tuple(running.errors),
            plan_s=running.applied.plan_s,
            apply_s=running.applied.apply_s,
            leader=running.leader,
        )
        self._ports.emit(CycleEnded(cycle))
        for observe in self._ports.observers:
            try:
                observe(cycle)
            except Exception as error:  # noqa: BLE001 - an observer ends no loop
                _log_defect(error)
        return cycle


@dataclass(frozen=True, slots=True)
class _LedHistory:
    """The drift history in the hands of the leader: a process that does not lead writes nothing."""

    history: DriftHistory
    term: LeaderTerm

    def load(self) -> DriftPast:
        return self.history.load()

    def append(self, run: DriftRun | None, since: Mapping[str, str]) -> None:
        _check_term(self.term)
        self.history.append(run, since)

    def keep_overwritten(self, findings: Collection[Drift], now: str) -> None:
        _check_term(self.term)
        self.history.keep_overwritten(findings, now)

    def note_sent(self, keys: Collection[str]) -> None:
        _check_term(self.term)
        self.history.note_sent(keys)


def _check_term(term: LeaderTerm | None) -> None:
    """Raise ReconcilerError if another process may lead."""
    if term is not None and not term.is_held():
        raise ReconcilerError(_OVERTAKEN, next_step="Another process may lead now.")


def _list_digests(request: PlanRequest) -> Mapping[Address, str]:
    return {one.address: one.digest for one in request.manifests}


def _describe_wait(done: str, times: int) -> str:
    said = count(times, "time")
    return f"it could not be {done} {said} in a row, so it is tried less often"


def _describe_defect(error: Exception) -> Finding:
    """Return a finding for an unexpected exception, without its text, which may hold a secret."""
    _log_defect(error)
    if isinstance(error, OSError):
        return Finding(error.strerror or type(error).__name__, subject=str(error.filename or ""))
    return Finding(
        f"the cycle ended by an unexpected {type(error).__name__}: this is a defect of reconciler",
        next_step="RECONCILER_LOG=debug shows where it happened.",
    )


def _log_defect(error: Exception) -> None:
    _LOG.debug("%s\n%s", type(error).__name__, "".join(format_tb(error.__traceback__)))
