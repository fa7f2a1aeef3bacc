"""One step carried out: looked at, noted, sent, followed, read back, and noted again.

What the service says is not believed. A success that does not show is waited for as long as a
read may lag, and sent once more where live is still exactly what the step relies on; a write
whose answer was lost is read back before anything else is sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from reconciler.engine.applying.journal import Journal, document_of
from reconciler.engine.observe import cache_observation
from reconciler.engine.pool import ResumableTask
from reconciler.engine.runtime import Runtime
from reconciler.errors import (
    Busy,
    ReconcilerError,
    ReplyLost,
    StalePlan,
    StillRunning,
    Throttled,
    TooManyCalls,
)
from reconciler.model import (
    Absent,
    Action,
    Intent,
    Live,
    Step,
    StepDoubted,
    StepResult,
    StepWaiting,
)
from reconciler.plans.evidence import Evidence, assess_intent, check_stale, not_applied
from reconciler.text.durations import growing_waits

_FIRST_S: Final = 0.2
_LONGEST_S: Final = 2.0
_GROWTH: Final = 1.5


_SHOWN_EVERY_S: Final = 10.0
_MOST_TRIES: Final = 3
# What became of the write is not known, and cannot be found out now.
_OPEN: Final = (Throttled, TooManyCalls, StillRunning)


@dataclass(frozen=True)
class Worker:
    """Carries out steps, one on each thread that asks.

    A read may lag `read_back_s` seconds, or for as long as is known of the service.
    """

    runtime: Runtime
    journal: Journal
    read_back_s: float

    def carry_out(self, step: Step) -> ResumableTask[Live | Absent]:
        """Do a step and prove it; returns what was read back. Rests while a read may lag.

        Raises StalePlan, NotApplied, LedgerInvalid, LedgerConflict or ServiceError. What became of
        a write that cannot be told stays open in the journal, for the next run.
        """
        for attempt in range(1, _MOST_TRIES + 1):
            last = attempt == _MOST_TRIES
            after = yield from _Attempt(self, step, attempt).run(last=last)
            if after is not None:
                cache_observation(self.runtime, step.resource, after)
                return after
        raise AssertionError  # the last attempt raises what it met


class _Attempt:
    """One write of one step, and what came of it."""

    def __init__(self, worker: Worker, step: Step, number: int) -> None:
        self._runtime, self._journal = worker.runtime, worker.journal
        self._step, self._number = step, number
        self._provider = worker.runtime.provider(step.resource.address)
        self._lag_s = worker.runtime.timing(step.resource.address.kind).lag_s
        self._read_back_s = max(worker.read_back_s, self._lag_s)
        self._field = worker.runtime.kinds[step.resource.address.kind].field
        self._reporter = _ProgressReporter(worker.runtime, step)

    def run(self, *, last: bool) -> ResumableTask[Live | Absent | None]:
        """What was read back; None where nothing was done and it may be sent once more."""
        before = self._provider.read(self._step.resource)
        stale = tuple(check_stale(self._field, self._step, before))
        if stale:
            raise StalePlan(stale)
        intent = self._journal.begin(self._step, before, self._number)
        try:
            written = self._provider.write(self._step, before, self._runtime.resolve)
            self._reporter.follow(written)
        except _OPEN:
            raise
        except Busy as error:
            self._wait_for_other_operation(intent, error, last=last)
            return None
        except ReplyLost as error:
            return (yield from self._read_until_known(intent, error, last=last))
        except ReconcilerError as error:
            self._give_up(intent, error)
            raise
        return (yield from self._confirm(intent, before, last=last))

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

        after, evidence = yield from self._read(intent, doubt, before)
        if self._finish(intent, after, evidence):
            return after
        # Whatever undoes it may do so for ever: it is sent once more, not again and again.
        error = not_applied(intent.address, evidence)
        self._retry_or_raise(intent, evidence, error, last=last or self._number > 1)
        return None

    def _read_until_known(
        self, intent: Intent, error: ReplyLost, *, last: bool
    ) -> ResumableTask[Live | Absent | None]:
        """Read until it shows what became of a write without an answer.

        That it was not done is believed only once no read can lag any more.
        """
        self._report_doubt(error.message)
        self._reporter.follow(self._runtime.wait_until_idle(self._step.resource))
        after, evidence = yield from self._read(intent, lambda _: self._reporter.report())
        if self._finish(intent, after, evidence):
            return after
        self._retry_or_raise(intent, evidence, error, last=last)
        return None

    def _read(
        self,
        intent: Intent,
        doubt: Callable[[Evidence], None],
        before: Live | Absent | None = None,
    ) -> ResumableTask[tuple[Live | Absent, Evidence]]:
        return (yield from read_evidence(self._runtime, intent, self._read_back_s, before, doubt))

    def _finish(self, intent: Intent, after: Live | Absent, evidence: Evidence) -> bool:
        """Note that it is done, where that is so."""
        if evidence.result is StepResult.DONE:
            self._journal.finish(intent, document_of(after), self._step.after)
        return evidence.result is StepResult.DONE

    def _wait_for_other_operation(self, intent: Intent, error: Busy, *, last: bool) -> None:
        """Let somebody else's operation end: what it leaves is compared with the plan anew."""
        self._report_doubt(error.message)
        self._reporter.follow(self._runtime.wait_until_idle(self._step.resource))
        evidence = Evidence(StepResult.NOT_DONE, "the service was busy")
        if self._step.action is Action.REPLACE:
            live = self._provider.read(self._step.resource)
            evidence = assess_intent(self._field, intent, live)
        self._retry_or_raise(intent, evidence, error, last=last)

    def _retry_or_raise(
        self, intent: Intent, evidence: Evidence, error: ReconcilerError, *, last: bool
    ) -> None:
        """Sending once more is safe where live is as it was, and nothing was taken away first."""
        self._journal.close(intent, evidence.result, evidence.note)
        safe = evidence.result is StepResult.NOT_DONE and self._step.action is not Action.REPLACE
        if last or not safe or self._runtime.halted():
            raise error
        self._report_doubt(f"{evidence.note}; it is sent again")

    def _give_up(self, intent: Intent, error: ReconcilerError) -> None:
        """Note what a write came to that failed; what cannot be read stays open."""
        try:
            self._reporter.follow(self._runtime.wait_until_idle(self._step.resource))
            live = self._provider.read(self._step.resource)
        except ReconcilerError:
            return
        evidence = assess_intent(self._field, intent, live)
        self._journal.close(intent, evidence.result, f"{evidence.note}; {error.message}")

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
