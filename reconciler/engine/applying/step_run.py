"""One step carried out: looked at, noted, sent, followed, read back, and noted again.

What the service says is not believed. A success that does not show is waited for as long as a
read may lag, and sent once more where live is still exactly what the step relies on; a write
whose answer was lost is read back before anything else is sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from reconciler.engine.applying.journal import Journal, document_of
from reconciler.engine.observe import keep_sight
from reconciler.engine.pool import Work
from reconciler.engine.runtime import Hands
from reconciler.errors import (
    Busy,
    NotApplied,
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
    Fate,
    Intent,
    Live,
    Progress,
    Resource,
    Step,
    StepDoubted,
    StepWaiting,
)
from reconciler.model.values import dataclass
from reconciler.plans.evidence import Judgement, find_stale, judge_intent, prove

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

    A read may lag `patience_s` seconds, or for as long as is known of the service.
    """

    hands: Hands
    journal: Journal
    patience_s: float

    def carry_out(self, step: Step) -> Work[Live | Absent]:
        """Do a step and prove it; returns what was read back. Rests while a read may lag.

        Raises StalePlan, NotApplied, LedgerInvalid, LedgerConflict or ServiceError. What became of
        a write that cannot be told stays open in the journal, for the next run.
        """
        for attempt in range(1, _MOST_TRIES + 1):
            last = attempt == _MOST_TRIES
            after = yield from _Attempt(self, step, attempt).run(last=last)
            if after is not None:
                keep_sight(self.hands, step.resource, after)
                return after
        raise AssertionError  # the last attempt raises what it met


class _Attempt:
    """One write of one step, and what came of it."""

    def __init__(self, worker: Worker, step: Step, number: int) -> None:
        self._hands, self._journal = worker.hands, worker.journal
        self._step, self._number = step, number
        self._provider = worker.hands.provider(step.resource.address)
        self._lag_s = worker.hands.timing(step.resource.address.kind).lag_s
        self._patience_s = max(worker.patience_s, self._lag_s)
        self._field = worker.hands.kinds[step.resource.address.kind].field
        self._waiting = _Waiting(worker.hands, step)

    def run(self, *, last: bool) -> Work[Live | Absent | None]:
        """What was read back; None where nothing was done and it may be sent once more."""
        before = self._provider.read(self._step.resource)
        stale = tuple(find_stale(self._field, self._step, before))
        if stale:
            raise StalePlan(stale)
        intent = self._journal.begin(self._step, before, self._number)
        try:
            written = self._provider.write(self._step, before, self._hands.resolve)
            self._waiting.follow(written)
        except _OPEN:
            raise
        except Busy as error:
            self._yield(intent, error, last=last)
            return None
        except ReplyLost as error:
            return (yield from self._look_again(intent, error, last=last))
        except ReconcilerError as error:
            self._give_up(intent, error)
            raise
        return (yield from self._confirm(intent, before, last=last))

    def _confirm(
        self, intent: Intent, before: Live | Absent, *, last: bool
    ) -> Work[Live | Absent | None]:
        """Read until it shows: the service says that it is done.

        Of a service that is known to lag that is no reason for doubt yet.
        """
        doubts: list[NotApplied] = []

        def shows(after: Live | Absent) -> bool:
            try:
                prove(self._field, self._step, before, after)
            except NotApplied as error:
                if not doubts and not self._lag_s:
                    self._tell(error.message)
                doubts.append(error)
                self._waiting.tell()
                return False
            doubts.clear()
            return True

        after = yield from read_until(self._hands, self._step.resource, self._patience_s, shows)
        if not doubts:
            self._journal.finish(intent, document_of(after), self._step.after)
            return after
        judged = judge_intent(self._field, intent, after)
        # Whatever undoes it may do so for ever: it is sent once more, not again and again.
        self._retry_or_raise(intent, judged, doubts[-1], last=last or self._number > 1)
        return None

    def _yield(self, intent: Intent, error: Busy, *, last: bool) -> None:
        """Let somebody else's operation end: what it leaves is compared with the plan anew."""
        self._tell(error.message)
        self._waiting.follow(self._hands.wait_until_idle(self._step.resource))
        judged = Judgement(Fate.NOT_DONE, "the service was busy")
        if self._step.action is Action.REPLACE:
            judged = judge_intent(self._field, intent, self._provider.read(self._step.resource))
        self._retry_or_raise(intent, judged, error, last=last)

    def _look_again(
        self, intent: Intent, error: ReplyLost, *, last: bool
    ) -> Work[Live | Absent | None]:
        """Read until it shows what became of a write without an answer.

        That it was not done is believed only once no read can lag any more.
        """
        self._tell(error.message)
        self._waiting.follow(self._hands.wait_until_idle(self._step.resource))

        def shows(after: Live | Absent) -> bool:
            self._waiting.tell()
            return judge_intent(self._field, intent, after).fate is Fate.DONE

        after = yield from read_until(self._hands, self._step.resource, self._patience_s, shows)
        judged = judge_intent(self._field, intent, after)
        if judged.fate is Fate.DONE:
            self._journal.finish(intent, document_of(after), self._step.after)
            return after
        self._retry_or_raise(intent, judged, error, last=last)
        return None

    def _retry_or_raise(
        self, intent: Intent, judged: Judgement, error: ReconcilerError, *, last: bool
    ) -> None:
        """Sending once more is safe where live is as it was, and nothing was taken away first."""
        self._journal.close(intent, judged.fate, judged.note)
        safe = judged.fate is Fate.NOT_DONE and self._step.action is not Action.REPLACE
        if last or not safe or self._hands.halted():
            raise error
        self._tell(f"{judged.note}; it is sent again")

    def _give_up(self, intent: Intent, error: ReconcilerError) -> None:
        """Note what a write came to that failed; what cannot be read stays open."""
        try:
            self._waiting.follow(self._hands.wait_until_idle(self._step.resource))
            live = self._provider.read(self._step.resource)
        except ReconcilerError:
            return
        judged = judge_intent(self._field, intent, live)
        self._journal.close(intent, judged.fate, f"{judged.note}; {error.message}")

    def _tell(self, reason: str) -> None:
        self._hands.emit(StepDoubted(self._step.resource, self._step.action, reason))


class _Waiting:
    """Waits for one step, and says so every ten seconds."""

    def __init__(self, hands: Hands, step: Step) -> None:
        self._hands, self._step = hands, step
        self._started = self._shown = time.monotonic()

    def follow(self, progress: Iterable[Progress]) -> None:
        """Wait for an operation to end."""
        for _ in progress:
            self.tell()

    def tell(self) -> None:
        """Say that it still runs, where it was not said for a while."""
        now = time.monotonic()
        if now - self._shown >= _SHOWN_EVERY_S:
            self._shown = now
            resource, action = self._step.resource, self._step.action
            self._hands.emit(StepWaiting(resource, action, now - self._started))


def read_until(
    hands: Hands,
    resource: Resource,
    patience_s: float,
    shows: Callable[[Live | Absent], bool],
) -> Work[Live | Absent]:
    """The first read that shows what is looked for, or the last one within `patience_s` seconds.

    Rests between them.
    """
    provider = hands.provider(resource.address)
    waited, pause = 0.0, _FIRST_S
    while True:
        live = provider.read(resource)
        if shows(live) or waited >= patience_s:
            return live
        pause = min(pause, patience_s - waited)
        yield pause
        waited += pause
        pause = min(pause * _GROWTH, _LONGEST_S)
