"""One step carried out: looked at, noted, sent, followed, read back, and noted again.

What the service says is not believed. A success that does not show is waited for as long as a
read may lag, and sent once more where live is still exactly what the step relies on; a write
whose answer was lost is read back before anything else is sent. An error that ends the step has
as its evidence what is proven of it.
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
from reconciler.text.durations import growing_waits

_FIRST_S: Final = 0.2
_LONGEST_S: Final = 2.0
_GROWTH: Final = 1.5


_SHOWN_EVERY_S: Final = 10.0
_MOST_TRIES: Final = 3
# What became of the write is not known, and cannot be found out now.
_OPEN: Final = (Throttled, TooManyCalls, StillRunning)
_REFUSED: Final = (Throttled, Unauthorized, Rejected)
# Steps of a single write.
_SINGLE: Final = (Action.UPDATE, Action.DELETE)
_UNSENT: Final = "Nothing was sent."
_LOOK: Final = "Plan again to see what is live."


@dataclass(frozen=True)
class Worker:
    """Carries out steps, one on each thread that asks.

    A read may lag `read_back_s` seconds, or for as long as is known of the service. `undoes` says
    that the steps lead back what an apply did.
    """

    runtime: Runtime
    journal: Journal
    read_back_s: float
    undoes: bool = False

    def carry_out(self, step: Step) -> ResumableTask[Live | Absent]:
        """Do a step and prove it; returns what was read back. Rests while a read may lag.

        Raises StalePlan, NotApplied, LedgerInvalid, LedgerConflict or ServiceError. What became of
        a write that cannot be told stays open in the journal, for the next run.
        """
        evidence = _UNSENT
        for number in range(1, _MOST_TRIES + 1):
            attempt = _Attempt(self, step, number, evidence)
            after = yield from attempt.run(last=number == _MOST_TRIES)
            if after is not None:
                cache_observation(self.runtime, step.resource, after)
                return after
            evidence = attempt.evidence
        raise AssertionError  # the last attempt raises what it met


class _Attempt:
    """One write of one step, and what came of it.

    `evidence` is what is proven of the step so far, earlier attempts included.
    """

    def __init__(self, worker: Worker, step: Step, number: int, evidence: str) -> None:
        self._runtime, self._journal = worker.runtime, worker.journal
        self._step, self._number, self.evidence = step, number, evidence
        self._done = "restored" if worker.undoes else "done"
        self._again = _LOOK if worker.undoes else "Apply again."
        self._provider = worker.runtime.provider(step.resource.address)
        self._lag_s = worker.runtime.timing(step.resource.address.kind).lag_s
        self._read_back_s = max(worker.read_back_s, self._lag_s)
        self._field = worker.runtime.kinds[step.resource.address.kind].field
        self._reporter = _ProgressReporter(worker.runtime, step)
        # Whether the service may have taken a part of the step.
        self._begun = False

    def run(self, *, last: bool) -> ResumableTask[Live | Absent | None]:
        """What was read back; None where nothing was done and it may be sent once more."""
        before = self._look_first()
        stale = tuple(check_stale(self._field, self._step, before))
        if stale:
            raise StalePlan(stale)
        intent = self._journal.begin(self._step, before, self._number)
        try:
            self._send(before)
        except ReconcilerError as error:
            return (yield from self._find_out(intent, error, last=last))
        return (yield from self._confirm(intent, before, last=last))

    def _look_first(self) -> Live | Absent:
        try:
            return self._provider.read(self._step.resource)
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
        """Finds out what became of a write that ended by an error.

        Raises the error where the write is not sent again.
        """
        if isinstance(error, StillRunning):
            raise error
        if isinstance(error, _OPEN):
            error.evidence = self._perhaps(error) if self._begun else self._describe_unsent(error)
            raise error
        if isinstance(error, ReplyLost) or self._begun:
            return (yield from self._read_until_known(intent, error, last=last))
        if isinstance(error, Busy):
            self._wait_for_other_operation(intent, error, last=last)
            return None
        self._give_up(intent, error)
        raise error

    def _confirm(
        self, intent: Intent, before: Live | Absent, *, last: bool
    ) -> ResumableTask[Live | Absent | None]:
        """Read until it shows: the service says that it is done.

        Of a service that is known to lag that is no reason for doubt yet.
        """
        told = bool(self._lag_s)

        def doubt(evidence: Evidence) -> None:
            nonlocal told
            if not told:
                told = True
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
        # Whatever undoes it may do so for ever: it is sent once more, not again and again.
        error = not_applied(intent.address, evidence)
        self._retry_or_raise(evidence, error, last=last or self._number > 1)
        return None

    def _wait_for_other_operation(self, intent: Intent, error: Busy, *, last: bool) -> None:
        """Let somebody else's operation end: what it leaves is compared with the plan anew."""
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
        """Read until it shows what became of a write that may have been done, or a part of it.

        That it was not done is believed only once no read can lag any more, or at once where the
        service says so too of the only write there was.
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
            raise self._leave_open(error, unread) from unread
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

    def _leave_open(self, error: ReconcilerError, unread: ReconcilerError) -> ReconcilerError:
        """The error of a step that could not be read back; the next run finds out."""
        if isinstance(unread, _OPEN):
            unread.evidence = self._perhaps(unread, error.message)
            return unread
        why = unread.message.rstrip(".")
        error.evidence = self._perhaps(error, f"it could not be read back ({why})")
        return error

    def _retry_or_raise(self, evidence: Evidence, error: ReconcilerError, *, last: bool) -> None:
        """Sending once more is safe where live is as it was, and nothing was taken away first."""
        safe = evidence.result is StepResult.NOT_DONE and self._step.action is not Action.REPLACE
        if last or not safe or self._runtime.halted():
            raise error
        self._report_doubt(f"{evidence.note}; it is sent again")

    def _give_up(self, intent: Intent, error: ReconcilerError) -> None:
        """Note what a write came to that was not taken; what cannot be read stays open."""
        self.evidence = error.evidence = self._describe_unsent(error)
        try:
            self._reporter.follow(self._runtime.wait_until_idle(self._step.resource))
            live = self._provider.read(self._step.resource)
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
        """Note what became of the write by what was read, and the error that ended it for good."""
        note = f"{evidence.note}; {error.message}" if error else evidence.note
        try:
            if evidence.result is StepResult.DONE:
                self._journal.finish(intent, document_of(live), self._step.after)
            else:
                self._journal.close(intent, evidence.result, note)
        except (LedgerUnwritten, LedgerConflict) as unwritten:
            done = f"It was {self._done}."
            unwritten.evidence = done if evidence.result is StepResult.DONE else self.evidence
            unwritten.evidence += " That is not recorded."
            raise

    def _describe(self, evidence: Evidence, error: ReconcilerError) -> str:
        """The evidence of reads, and what to do."""
        if evidence.result is StepResult.UNKNOWN:
            return f"{self.evidence} {_LOOK}"
        again = evidence.result is StepResult.NOT_DONE and isinstance(error, ReplyLost)
        return f"{self.evidence} {self._again}" if again else self.evidence

    def _describe_unsent(self, error: ReconcilerError) -> str:
        """The evidence of an error where the service has taken nothing of this write."""
        return "The service did not take it." if isinstance(error, _REFUSED) else self.evidence

    def _perhaps(self, error: ReconcilerError, why: str = "") -> str:
        """The evidence where nothing was read back, and what to do unless the error says it."""
        what = "A part of it" if isinstance(error, _REFUSED) else "It"
        said = f"{what} may have been {self._done}{f': {why}' if why else ''}".rstrip(".")
        return f"{said}." if isinstance(error, _OPEN) else f"{said}. {_LOOK}"

    def _report_doubt(self, reason: str) -> None:
        self._runtime.emit(StepDoubted(self._step.resource, self._step.action, reason))


class _ProgressReporter:
    """Waits for one step, and says so every ten seconds."""

    def __init__(self, runtime: Runtime, step: Step) -> None:
        self._runtime, self._step = runtime, step
        self._started = self._shown = time.monotonic()

    def follow(self, looks: Iterable[None]) -> None:
        """Wait for an operation to end."""
        for _ in looks:
            self.report()

    def report(self) -> None:
        """Say that it still runs, where it was not said for a while."""
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
    """The first read that shows that an intent is done, or the last one in `read_back_s` seconds.

    Rests between the reads, and calls `doubt` for each that does not show it. `before` is as in
    `assess_intent`.
    """
    provider, field = runtime.provider(intent.address), runtime.kinds[intent.address.kind].field
    waited, waits = 0.0, growing_waits(_FIRST_S, _LONGEST_S, _GROWTH)
    while True:
        live = provider.read(intent.resource)
        evidence = assess_intent(field, intent, live, before)
        if evidence.result is StepResult.DONE:
            return live, evidence
        doubt(evidence)
        if waited >= read_back_s:
            return live, evidence
        pause = min(next(waits), read_back_s - waited)
        yield pause
        waited += pause
