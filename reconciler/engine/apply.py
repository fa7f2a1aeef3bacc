"""Doing what a plan says, and nothing else; believing only what is read back.

Every step is looked at again before the first write of the whole plan, and once more right
before its own. Steps go in waves; a failure leaves what comes in a later wave alone, or everything
is led back, as the policy says.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from reconciler.engine.hands import Hands, Work
from reconciler.engine.journal import Author, Journal
from reconciler.engine.observe import observe
from reconciler.engine.staleness import PLAN_AGAIN, find_stale
from reconciler.engine.undoing import make_undo
from reconciler.engine.worker import Worker
from reconciler.errors import (
    LedgerConflict,
    LedgerInvalid,
    LedgerUnwritten,
    PlanRefused,
    ReconcilerError,
    StalePlan,
    TooManyCalls,
    Unplannable,
)
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Agenda,
    Entry,
    Finding,
    Live,
    Memory,
    Outcome,
    Plan,
    Resource,
    RollbackStarted,
    Step,
    StepDone,
    StepFailed,
    StepSkipped,
    StepStarted,
    WaveStarted,
)
from reconciler.plan_document import digest_of_step
from reconciler.ports import Lease
from reconciler.waves import arrange

# An interrupted apply finishes what it began; a call of it waits no longer for its turn than this.
_GRACE_S: Final = 30.0
_Done: TypeAlias = tuple[Step, Live | Absent]
_STOPPING: Final = (LedgerInvalid, LedgerConflict, TooManyCalls)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a failure means for the other steps.

    `fail_fast` begins nothing more after the first. Otherwise the steps of its wave go on, and
    what comes later is begun only with `continue`; `rollback` then leads back all that was done.
    A read may lag `patience_s` seconds behind a write before it counts as not applied.
    """

    fail_fast: bool = False
    on_failure: Literal["stop", "continue", "rollback"] = "stop"
    patience_s: float = 10.0


def apply_plan(
    hands: Hands, plan: Plan, author: Author, lease: Lease, policy: Policy | None = None
) -> Outcome:
    """Carry out every step and say what came of each.

    Raises PlanRefused, TooManyCalls, Unplannable or StalePlan before anything is written; a step
    that fails later is a failure in the outcome. What this very plan has done before, in a run
    that was cut off, is not done again.
    """
    if plan.refused:
        raise PlanRefused(plan.refused)
    check_calls(hands, plan)
    policy = policy or Policy()
    hands.emit(Agenda(steps=tuple((step.resource.address, step.action) for step in plan.steps)))
    remembered = hands.ledger.load().memories
    left = [step for step in plan.steps if not _is_done(hands, step, author, remembered)]
    _check_secrets(hands, left)
    left, gone = _check_all(hands, left)
    journal = Journal(hands, author, lease, remembered)
    for step in gone:
        journal.note_gone(step)
        hands.emit(StepSkipped(step.resource, step.action, "it is gone already"))
    run = _Run(hands, Worker(hands, journal, policy.patience_s), policy)
    run.carry_out(left)
    if policy.on_failure == "rollback" and run.failures:
        run.roll_back()
    return run.sum_up(plan)


def _is_done(
    hands: Hands, step: Step, author: Author, remembered: Mapping[Address, Memory]
) -> bool:
    """Whether this plan has done the step before: it is the last thing that is remembered."""
    memory = remembered.get(step.resource.address)
    if memory is None or memory.plan_digest != author.plan_digest:
        return False
    done = memory.step_digest == digest_of_step(step)
    if done:
        said = "this plan has done it before"
        hands.emit(StepSkipped(step.resource, step.action, said))
    return done


def check_calls(hands: Hands, plan: Plan) -> None:
    """Raise TooManyCalls where the apply needs more calls than may still be sent."""
    hands.budget.check(plan.estimate.reads + plan.estimate.writes)


def _check_secrets(hands: Hands, steps: Sequence[Step]) -> None:
    """Every secret must be there before the first write; none is kept."""
    missing: list[Finding] = []
    for step in steps:
        for _, reference in step.secrets:
            try:
                hands.resolve(reference)
            except ReconcilerError as error:
                subject = str(step.resource.address)
                found = (replace(one, subject=subject) for one in error.findings())
                missing.extend(replace(one, detail=(f"{reference}",)) for one in found)
    if missing:
        raise Unplannable(tuple(missing))


def _check_all(hands: Hands, steps: Sequence[Step]) -> tuple[list[Step], list[Step]]:
    """The steps still to be done, and deletions of what is gone; raises StalePlan for the rest."""
    sources = {step.resource: _find_regional(step) for step in steps}
    named = [step.resource for step in steps]
    seen = observe(hands, [*named, *(one for one in sources.values() if one)])
    unread = tuple(one.finding for one in seen.seen.values() if one.finding is not None)
    if unread:
        raise StalePlan(unread)
    stale: list[Finding] = []
    left: list[Step] = []
    gone: list[Step] = []
    for step in steps:
        live = seen[step.resource].live
        if live is ABSENT and step.action is Action.DELETE:
            gone.append(step)
            continue
        left.append(step)
        if live is not None:
            stale.extend(find_stale(hands, step, live))
        source = sources[step.resource]
        if source is not None and step.source is not None and seen[source].document is ABSENT:
            said = f"Saved plan is stale: {step.source.name}, which it is made from, is gone"
            stale.append(Finding(said, subject=str(step.resource.address), next_step=PLAN_AGAIN))
    if stale:
        raise StalePlan(tuple(stale))
    return left, gone


def _find_regional(step: Step) -> Resource | None:
    """The other resource that must be there to seal secrets anew; what else is made is planned."""
    source = step.source
    if source is None or not source.region or source.id == step.resource.id:
        return None
    return Resource(step.resource.address, source.id)


class _Run:
    """One apply under way: what is done, what failed, and whether anything more may begin."""

    def __init__(self, hands: Hands, worker: Worker, policy: Policy) -> None:
        self._hands, self._worker, self._policy = hands, worker, policy
        self._stopped = threading.Event()
        self._turns = _Turns()
        self._guard = threading.Lock()
        self._done: list[_Done] = []
        self.failures: dict[Resource, Finding] = {}
        self._not_started: list[Address] = []
        self._unrecorded: list[Entry] = []
        self._rolled_back: list[Address] = []
        self._unrestored: list[Finding] = []

    def carry_out(self, steps: Sequence[Step]) -> None:
        """Every step in its wave, as far as failures and interruptions allow."""
        waves = arrange(steps)
        for wave in waves:
            if self.failures and self._policy.on_failure != "continue":
                self._stopped.set()
            if len({one.number for one in waves}) > 1 and not self._may_not():
                self._hands.emit(WaveStarted(wave.number, len(wave.steps)))
            self._run_wave(wave.steps)

    def _run_wave(self, steps: Sequence[Step]) -> None:
        try:
            for _ in self._hands.weave(self._run, steps, _GRACE_S):
                pass
        except BaseException:
            self._stopped.set()
            raise

    def _may_not(self) -> str:
        """Why nothing more may begin, or ""."""
        if self._stopped.is_set():
            return "an earlier step failed"
        return self._hands.halted()

    def _run(self, step: Step) -> Work[None]:
        """Do one step; what goes wrong is noted, so that the others go on."""
        why = self._may_not()
        if why:
            with self._guard:
                self._not_started.append(step.resource.address)
            return
        error = yield from self._attempt(step, self._done)
        if error is not None:
            with self._guard:
                self.failures[step.resource] = _tell(step, error)
            if self._policy.fail_fast or isinstance(error, _STOPPING):
                self._stopped.set()

    def _attempt(self, step: Step, done: list[_Done]) -> Work[ReconcilerError | None]:
        """Do one step and note it in `done`; returns what went wrong."""
        started = time.monotonic()
        self._hands.emit(StepStarted(step.resource, step.action))
        try:
            with self._turns.hold(step):
                after = yield from self._worker.carry_out(step)
        except Exception as error:  # noqa: BLE001 - one step's surprise must not stop the others
            known = error if isinstance(error, ReconcilerError) else _surprise(step, error)
            if isinstance(error, LedgerUnwritten):
                with self._guard:
                    self._unrecorded.append(error.entry)
            self._hands.emit(StepFailed(step.resource, step.action, _tell(step, known)))
            return known
        with self._guard:
            done.append((step, after))
        self._hands.emit(StepDone(step.resource, step.action, time.monotonic() - started))
        return None

    def roll_back(self) -> None:
        """Lead back what was done, the last first, each proven; what cannot be is said."""
        self._hands.emit(RollbackStarted(len(self._done)))
        for step, after in reversed(self._done):
            field = self._hands.kinds[step.resource.address.kind].field
            try:
                undo = make_undo(field, step, after)
            except ReconcilerError as error:
                self._unrestored.extend(error.findings())
                continue
            (failed,) = self._hands.weave(lambda one: self._attempt(one, []), [undo])
            if failed is None:
                self._rolled_back.append(step.resource.address)
            else:
                self._unrestored.extend(failed.findings())

    def sum_up(self, plan: Plan) -> Outcome:
        """What it came to; what was led back does not count as done."""
        kept = {step.resource.address for step, _ in self._done} - {*self._rolled_back}
        done = [step for step in plan.steps if step.resource.address in kept]
        added = {Action.CREATE, Action.REPLACE}
        destroyed = {Action.DELETE, Action.REPLACE}
        return Outcome(
            added=tuple(step.resource.address for step in done if step.action in added),
            changed=tuple(step.resource.address for step in done if step.action is Action.UPDATE),
            destroyed=tuple(step.resource.address for step in done if step.action in destroyed),
            failures=tuple(self.failures.values()),
            not_started=tuple(self._not_started),
            rolled_back=tuple(self._rolled_back),
            unrestored=tuple(self._unrestored),
            unrecorded=tuple(self._unrecorded),
        )


class _Turns:
    """Steps that touch the same resource, their own or as a source, go one after another."""

    def __init__(self) -> None:
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()

    @contextmanager
    def hold(self, step: Step) -> Iterator[None]:
        """Keep every other step away from what this one touches."""
        source = step.source.id if step.source is not None else step.resource.id
        with self._guard:
            ids = sorted({step.resource.id.casefold(), source.casefold()})
            locks = [self._locks[one] for one in ids]
        with ExitStack() as held:
            for lock in locks:
                held.enter_context(lock)
            yield


def _tell(step: Step, error: ReconcilerError) -> Finding:
    """What a step failed by; it is named, also where something else is to blame."""
    finding, address = error.findings()[0], str(step.resource.address)
    if finding.subject in {"", address}:
        return replace(finding, subject=address)
    return replace(finding, detail=(*finding.detail, f"It stopped {address}."))


def _surprise(step: Step, error: Exception) -> ReconcilerError:
    """A defect of this program or of the machine; its text might hold anything, so is left out."""
    return ReconcilerError(
        f"ended by an unexpected {type(error).__name__}",
        subject=str(step.resource.address),
        next_step="Plan again to see what was done; RECONCILER_LOG=debug shows where it happened.",
    )
