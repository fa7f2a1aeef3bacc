"""Runs one step: checks live, records the intent, sends the write, reads back, records the result.

Only a read proves a write. If a reported success does not show, the step reads again for as long
as a read may lag, and sends the write once more if live still meets all preconditions. If the
reply to a write is lost, the step reads before it sends anything else. An error that ends a step
has in `evidence` what is known of the step. The apply calls this module.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from reconciler.engine.applying.journal import Journal, document_of
from reconciler.engine.observe import cache_observation
from reconciler.engine.pool import ResumableTask
from reconciler.engine.runtime import Runtime
from reconciler.errors import (
    Busy,
    Contradicted,
    LedgerConflict,
    LedgerUnwritten,
    OperationFailed,
    ReconcilerError,
    Rejected,
    ReplyLost,
    StalePlan,
    StillRunning,
    Throttled,
    TooManyCalls,
    Unauthorized,
)
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Intent,
    Live,
    Step,
    StepDoubted,
    StepResult,
    StepWaiting,
)
from reconciler.model.values import dataclass
from reconciler.plans.evidence import Evidence, assess_intent, check_stale, not_applied
from reconciler.plans.parts import StepPart
from reconciler.text.durations import growing_waits

_FIRST_S: Final = 0.2
_LONGEST_S: Final = 2.0
_GROWTH: Final = 1.5


_SHOWN_EVERY_S: Final = 10.0
_MOST_TRIES: Final = 3
# After these errors the result of the write is not known and cannot be determined now.
_OPEN: Final = (Throttled, TooManyCalls, StillRunning)
_REFUSED: Final = (Throttled, Unauthorized, Rejected)
# Steps of a single write.
_SINGLE: Final = (Action.UPDATE, Action.DELETE)
_UNSENT: Final = "Nothing was sent."
_LOOK: Final = "Plan again to see what is live."


@dataclass(frozen=True)
class Worker:
    """Runs steps, one on each calling thread.

    A read may lag `read_back_s` seconds, or the known lag of the service if that is longer.
    `undoes` is True for the steps of a rollback.
    """

    runtime: Runtime
    journal: Journal
    read_back_s: float
    undoes: bool = False

    def carry_out(self, step: Step, part: StepPart | None = None) -> ResumableTask[Live | Absent]:
        """Run a step and verify it; returns what was read back. Sleeps while a read may lag.

        `part` is the part of a larger step that `step` is, if any.

        Raises StalePlan, NotApplied, LedgerInvalid, LedgerConflict or ServiceError. If the result
        of a write is not known, its intent stays open in the journal for the next run.
        """
        evidence = _UNSENT
        for number in range(1, _MOST_TRIES + 1):
            attempt = _Attempt(self, step, number, evidence, part)
            after = yield from attempt.run(last=number == _MOST_TRIES)
            if after is not None:
                cache_observation(self.runtime, step.resource, after)
                return after
            evidence = attempt.evidence
        raise AssertionError  # not reached: the last attempt raises its error


class _Attempt:
    """One attempt to write one step.

    `evidence` says what is known of the step so far, from this and earlier attempts.
    """

    def __init__(
        self, worker: Worker, step: Step, number: int, evidence: str, part: StepPart | None
    ) -> None:
        self._runtime, self._journal = worker.runtime, worker.journal
        self._step, self._number, self.evidence = step, number, evidence
        self._part = part
        self._done = "restored" if worker.undoes else "done"
        self._again = _LOOK if worker.undoes else "Apply again."
        self._provider = worker.runtime.provider(step.resource.address)
        self._lag_s = worker.runtime.timing(step.resource.address.kind).lag_s
        self._read_back_s = max(worker.read_back_s, self._lag_s)
        self._field = worker.runtime.kinds[step.resource.address.kind].field
        self._reporter = _ProgressReporter(worker.runtime, step)
        # Whether the service may have applied a part of the step.
        self._begun = False

    def run(self, *, last: bool) -> ResumableTask[Live | Absent | None]:
        """Return what was read back; None if nothing was done and the step may be tried again."""
        before = self._look_first()
        stale = tuple(check_stale(self._field, self._step, before))
        if stale:
            raise StalePlan(stale)
        intent = self._begin(before)
        try:
            self._send(before)
        except ReconcilerError as error:
            return (yield from self._find_out(intent, error, last=last))
        return (yield from self._confirm(intent, before, last=last))

    def _look_first(self) -> Live | Absent:
        try:
            return self._runtime.read(self._step.resource)
        except ReconcilerError as error:
            error.evidence = self.evidence
            raise

    def _begin(self, before: Live | Absent) -> Intent:
        try:
            return self._journal.begin(self._step, before, self._number, self._part)
        except ReconcilerError as error:
            error.evidence = self.evidence
            raise

    def _send(self, before: Live | Absent) -> None:
        for _ in self._provider.write(self._step, before, self._runtime.resolve):
            self._begun = True
            self._reporter.report()

    def _find_out(
        self, intent: Intent, error: ReconcilerError, *, last: bool
    ) -> ResumableTask[Live | Absent | None]:
        """Find the result of a write that ended with an error.

        Raises the error if the write is not sent again.
        """
        if isinstance(error, StillRunning):
            raise error
        if isinstance(error, _OPEN):
            error.evidence = self._perhaps(error) if self._begun else self._describe_unsent(error)
            raise error
        if isinstance(error, ReplyLost) or self._begun:
            return (yield from self._read_until_known(intent, error, last=last))
        if isinstance(error, LedgerConflict):
            # The intent stays open: the process that has the lock now records its result.
            error.evidence = self.evidence if self._number > 1 else f"It was not {self._done}."
            raise error
        if isinstance(error, Busy):
            self._wait_for_other_operation(intent, error, last=last)
            return None
        self._give_up(intent, error)
        raise error

    def _confirm(
        self, intent: Intent, before: Live | Absent, *, last: bool
    ) -> ResumableTask[Live | Absent | None]:
        """Read until the write shows, after the service has reported success.

        A missing value is not reported as doubtful if the service is known to lag.
        """
        reported = bool(self._lag_s)

        def doubt(evidence: Evidence) -> None:
            nonlocal reported
            if not reported:
                reported = True
                self._report_doubt(not_applied(intent.address, evidence).message)
            self._reporter.report()

        try:
            after, evidence = yield from self._read(intent, self._read_back_s, doubt, before)
        except ReconcilerError as unread:
            unread.evidence = self._perhaps(unread, "the service reports success")
            raise
        self.evidence = evidence.claim(self._done)
        self._close(intent, evidence, after)
        if evidence.result is StepResult.DONE:
            return after
        # Another client may undo the write every time, so it is sent only once more.
        error = not_applied(intent.address, evidence)
        self._retry_or_raise(evidence, error, last=last or self._number > 1)
        return None

    def _wait_for_other_operation(self, intent: Intent, error: Busy, *, last: bool) -> None:
        """Wait until another client's operation ends; the next attempt compares live again."""
        self._report_doubt(error.message)
        self.evidence = error.evidence = self._describe_unsent(error)
        try:
            self._reporter.follow(self._runtime.wait_until_idle(self._step.resource))
        except ReconcilerError as unread:
            unread.evidence = self.evidence
            raise (unread if isinstance(unread, _OPEN) else error) from unread
        evidence = Evidence(StepResult.NOT_DONE, "the service was busy")
        self._close(intent, evidence, ABSENT)
        self._retry_or_raise(evidence, error, last=last)

    def _read_until_known(
        self, intent: Intent, error: ReconcilerError, *, last: bool
    ) -> ResumableTask[Live | Absent | None]:
        """Read until the result of a write that may have been applied, or partly applied, is known.

        "Not done" is accepted only when no read can lag any more, or at once if the step has a
        single write and the service reports that it failed.
        """
        lost = isinstance(error, ReplyLost)
        agreed = isinstance(error, OperationFailed) and self._step.action in _SINGLE
        read_back_s = 0.0 if agreed else self._read_back_s
        if not agreed:
            self._report_doubt(error.message)
        try:
            self._reporter.follow(self._runtime.wait_until_idle(self._step.resource))
            after, evidence = yield from self._read(
                intent, read_back_s, lambda _: self._reporter.report()
            )
        except ReconcilerError as unread:
            raise self._leave_open(intent, error, unread) from unread
        self.evidence = evidence.claim(self._done)
        self._close(intent, evidence, after, None if lost else error)
        if lost and evidence.result is StepResult.DONE:
            return after
        error.evidence = self._describe(evidence, error)
        self._retry_or_raise(evidence, error, last=last or not lost)
        return None

    def _read(
        self,
        intent: Intent,
        read_back_s: float,
        doubt: Callable[[Evidence], None],
        before: Live | Absent | None = None,
    ) -> ResumableTask[tuple[Live | Absent, Evidence]]:
        return (yield from read_evidence(self._runtime, intent, read_back_s, before, doubt))

    def _leave_open(
        self, intent: Intent, error: ReconcilerError, unread: ReconcilerError
    ) -> ReconcilerError:
        """Return the error of a step that could not be read back; its intent stays open.

        Without the lock, the result is closed as unknown, so that LedgerUnwritten keeps it.
        """
        if isinstance(error, LedgerConflict):
            self.evidence = self._perhaps(error, f"it could not be read back ({unread.message})")
            self._close(intent, Evidence(StepResult.UNKNOWN, "it was not read back"), ABSENT, error)
        if isinstance(unread, _OPEN):
            unread.evidence = self._perhaps(unread, error.message)
            return unread
        why = unread.message.rstrip(".")
        error.evidence = self._perhaps(error, f"it could not be read back ({why})")
        return error

    def _retry_or_raise(self, evidence: Evidence, error: ReconcilerError, *, last: bool) -> None:
        """Allow another attempt, or raise the error.

        Another attempt is safe if live is unchanged and the step does not delete first.
        """
        safe = evidence.result is StepResult.NOT_DONE and self._step.action is not Action.REPLACE
        if last or not safe or self._runtime.halted():
            raise error
        self._report_doubt(f"{evidence.note}; it is sent again")

    def _give_up(self, intent: Intent, error: ReconcilerError) -> None:
        """Record the result of a refused write; its intent stays open if live cannot be read."""
        self.evidence = error.evidence = self._describe_unsent(error)
        try:
            self._reporter.follow(self._runtime.wait_until_idle(self._step.resource))
            live = self._runtime.read(self._step.resource)
        except ReconcilerError:
            return
        evidence = assess_intent(self._field, intent, live)
        if evidence.result is StepResult.NOT_DONE:
            self.evidence = error.evidence = evidence.claim(self._done)
        self._close(intent, evidence, live, error)

    def _close(
        self,
        intent: Intent,
        evidence: Evidence,
        live: Live | Absent,
        error: ReconcilerError | None = None,
    ) -> None:
        """Record the result that a read shows, and the error that ended the step."""
        note = f"{evidence.note}; {error.message}" if error else evidence.note
        try:
            if evidence.result is StepResult.DONE:
                self._journal.finish(intent, document_of(live), lambda: self._step.after)
            else:
                self._journal.close(intent, evidence.result, note)
        except LedgerUnwritten as unwritten:
            done = f"It was {self._done}."
            unwritten.evidence = done if evidence.result is StepResult.DONE else self.evidence
            unwritten.evidence += " That is not recorded."
            raise

    def _describe(self, evidence: Evidence, error: ReconcilerError) -> str:
        """Return the evidence of the reads, and the next step."""
        if evidence.result is StepResult.UNKNOWN:
            return f"{self.evidence} {_LOOK}"
        again = evidence.result is StepResult.NOT_DONE and isinstance(error, ReplyLost)
        return f"{self.evidence} {self._again}" if again else self.evidence

    def _describe_unsent(self, error: ReconcilerError) -> str:
        """Return the evidence for an error after which no part of this write was applied."""
        return "The service did not take it." if isinstance(error, _REFUSED) else self.evidence

    def _perhaps(self, error: ReconcilerError, why: str = "") -> str:
        """Return the evidence if nothing was read back, and the next step if the error has none."""
        what = "A part of it" if isinstance(error, _REFUSED) else "It"
        said = f"{what} may have been {self._done}{f': {why}' if why else ''}".rstrip(".")
        return f"{said}." if isinstance(error, _OPEN) else f"{said}. {_LOOK}"

    def _report_doubt(self, reason: str) -> None:
        self._runtime.emit(StepDoubted(self._step.resource, self._step.action, reason))


class _ProgressReporter:
    """Waits for one step, and reports this every ten seconds."""

    def __init__(self, runtime: Runtime, step: Step) -> None:
        self._runtime, self._step = runtime, step
        self._started = self._shown = time.monotonic()

    def follow(self, looks: Iterable[None]) -> None:
        """Wait for an operation to end."""
        for _ in looks:
            self.report()

    def report(self) -> None:
        """Report that the step still runs, if the last report is ten seconds old."""
        now = time.monotonic()
        if now - self._shown >= _SHOWN_EVERY_S:
            self._shown = now
            resource, action = self._step.resource, self._step.action
            self._runtime.emit(StepWaiting(resource, action, now - self._started))


def read_evidence(
    runtime: Runtime,
    intent: Intent,
    read_back_s: float,
    before: Live | Absent | None = None,
    doubt: Callable[[Evidence], None] = lambda _: None,
) -> ResumableTask[tuple[Live | Absent, Evidence]]:
    """Return the first read that shows an intent as done, or the last in `read_back_s` seconds.

    Sleeps between the reads, and calls `doubt` for each read that does not show it. `before` has
    the same meaning as in `assess_intent`. A list may lag as a read may: Contradicted is raised
    only after that time.
    """
    field = runtime.kinds[intent.address.kind].field
    waited, waits = 0.0, growing_waits(_FIRST_S, _LONGEST_S, _GROWTH)
    while True:
        try:
            live = runtime.read(intent.resource)
        except Contradicted:
            if waited >= read_back_s:
                raise
        else:
            evidence = assess_intent(field, intent, live, before)
            if evidence.result is StepResult.DONE:
                return live, evidence
            doubt(evidence)
            if waited >= read_back_s:
                return live, evidence
        pause = min(next(waits), read_back_s - waited)
        yield pause
        waited += pause
