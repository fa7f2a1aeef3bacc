"""One step carried out: looked at, noted, sent, followed, read back, and noted again.

What the service says is not believed. A success that does not show is waited for as long as a
read may lag, and sent once more where live is still exactly what the step relies on; a write
whose answer was lost is read back before anything else is sent.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from reconciler.engine.hands import Hands
from reconciler.engine.journal import Journal
from reconciler.engine.observe import keep_sight
from reconciler.engine.proof import prove
from reconciler.engine.staleness import find_stale
from reconciler.errors import (
    Busy,
    NotApplied,
    ReconcilerError,
    ReplyLost,
    ServiceError,
    StalePlan,
    StillRunning,
    Throttled,
    TooManyCalls,
)
from reconciler.fate import Judgement, judge_intent
from reconciler.model import (
    Absent,
    Action,
    Fate,
    Intent,
    Live,
    Progress,
    Step,
    StepDoubted,
    StepWaiting,
)

_SHOWN_EVERY_S: Final = 10.0
_FIRST_S: Final = 0.2
_LONGEST_S: Final = 2.0
_GROWTH: Final = 1.5
_MOST_TRIES: Final = 3
# What became of the write is not known, and cannot be found out now.
_OPEN: Final = (Throttled, TooManyCalls, StillRunning)


@dataclass(frozen=True)
class Worker:
    """Carries out steps, one on each thread that asks. A read may lag `patience_s` seconds."""

    hands: Hands
    journal: Journal
    patience_s: float

    def carry_out(self, step: Step) -> Live | Absent:
        """Do a step and prove it; returns what was read back.

        Raises StalePlan, NotApplied, LedgerInvalid, LedgerConflict or ServiceError. What became of
        a write that cannot be told stays open in the journal, for the next run.
        """
        for attempt in range(1, _MOST_TRIES + 1):
            last = attempt == _MOST_TRIES
            after = _Attempt(self, step, attempt).run(last=last)
            if after is not None:
                keep_sight(self.hands, step.resource, after)
                return after
        raise AssertionError  # the last attempt raises what it met


class _Attempt:
    """One write of one step, and what came of it."""

    def __init__(self, worker: Worker, step: Step, number: int) -> None:
        self._hands, self._journal = worker.hands, worker.journal
        self._patience_s = worker.patience_s
        self._step, self._number = step, number
        self._provider = worker.hands.provider(step.resource.address)
        self._field = worker.hands.kinds[step.resource.address.kind].field
        self._waiting = _Waiting(worker.hands, step)

    def run(self, *, last: bool) -> Live | Absent | None:
        """What was read back; None where nothing was done and it may be sent once more."""
        before = self._provider.read(self._step.resource)
        stale = tuple(find_stale(self._hands, self._step, before))
        if stale:
            raise StalePlan(stale)
        intent = self._journal.begin(self._step, before, self._number)
        try:
            written = self._provider.write(self._step, before, self._hands.resolve)
            self._waiting.follow(written)
        except _OPEN:
            raise
        except (Busy, ReplyLost) as error:
            return self._look_again(intent, error, last=last)
        except ReconcilerError as error:
            self._give_up(intent, error)
            raise
        return self._confirm(intent, before, last=last)

    def _confirm(
        self, intent: Intent, before: Live | Absent, *, last: bool
    ) -> Live | Absent | None:
        """Read until it shows: the service says that it is done."""
        doubt: NotApplied | None = None
        for after in self._waiting.read(self._patience_s):
            try:
                proven = prove(self._field, self._step, before, after)
            except NotApplied as error:
                if doubt is None:
                    self._tell(error.message)
                doubt = error
            else:
                self._journal.finish(intent, proven, self._step.after)
                return after
            seen = after
        assert doubt is not None  # noqa: S101 - there is at least one read
        self._retry_or_raise(intent, judge_intent(self._field, intent, seen), doubt, last=last)
        return None

    def _look_again(
        self, intent: Intent, error: ServiceError, *, last: bool
    ) -> Live | Absent | None:
        """Read until it shows what became of a write without an answer, or of one refused as busy.

        That it was not done is believed only once no read can lag any more.
        """
        self._tell(error.message)
        self._waiting.follow(self._provider.settle(self._step.resource))
        patience_s = 0.0 if isinstance(error, Busy) else self._patience_s
        for after in self._waiting.read(patience_s):
            judged = judge_intent(self._field, intent, after)
            if judged.fate is Fate.DONE:
                document = after if isinstance(after, Absent) else after.document
                self._journal.finish(intent, document, self._step.after)
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
            self._waiting.follow(self._provider.settle(self._step.resource))
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
            self._tell()

    def read(self, patience_s: float) -> Iterator[Live | Absent]:
        """Read once, and again at growing intervals for as long as a read may lag."""
        provider = self._hands.provider(self._step.resource.address)
        waited, pause = 0.0, _FIRST_S
        while True:
            yield provider.read(self._step.resource)
            if waited >= patience_s:
                return
            self._hands.sleep(min(pause, patience_s - waited))
            waited += pause
            pause = min(pause * _GROWTH, _LONGEST_S)
            self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._shown >= _SHOWN_EVERY_S:
            self._shown = now
            resource, action = self._step.resource, self._step.action
            self._hands.emit(StepWaiting(resource, action, now - self._started))
