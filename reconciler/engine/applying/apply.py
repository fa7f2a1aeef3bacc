"""Doing what a plan says, and nothing else; believing only what is read back.

Every step is looked at again before the first write of the whole plan, and once more right
before its own. Steps go in waves; a failure leaves what comes in a later wave alone, or everything
is led back, as the policy says. Fleets go in waves of their own within these.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Final, Literal, TypeAlias

from reconciler.document.diff import is_omitted
from reconciler.engine.applying.admission import check_calls, check_secrets, check_steps
from reconciler.engine.applying.journal import Author, Journal, document_of
from reconciler.engine.applying.rollout import Fleets, Task
from reconciler.engine.applying.step_run import Worker
from reconciler.engine.pool import ResumableTask
from reconciler.engine.runtime import Runtime
from reconciler.errors import (
    LedgerConflict,
    LedgerInvalid,
    LedgerUnwritten,
    PlanRefused,
    ReconcilerError,
    TooManyCalls,
)
from reconciler.model import (
    Absent,
    Action,
    Address,
    Agenda,
    Entry,
    Finding,
    LastApplied,
    Live,
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
from reconciler.model.values import dataclass
from reconciler.plans.plan_file import digest_of_step
from reconciler.plans.undo import make_undo
from reconciler.plans.waves import arrange, name_item
from reconciler.ports import Lease

# An interrupted apply finishes what it began; a call of it waits no longer for its turn than this.
_GRACE_S: Final = 30.0
_Done: TypeAlias = tuple[Step, Live | Absent]
_STOPPING: Final = (LedgerInvalid, LedgerConflict, TooManyCalls)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a failure means for the other steps.

    `fail_fast` begins nothing more after the first. Otherwise the steps of its wave go on, and
    what comes later is begun only with `continue`; `rollback` then leads back all that was done.
    What more of a fleet may begin is also told by its own failures: more than it allows stop the
    rest of it, whatever the policy says, and as many as it allows do not stop it in later waves.
    With `rollback`, one failure of anything stops every fleet. A read may lag `read_back_s` seconds
    behind a write before it counts as not applied, or for as long as is known of the service.
    """

    fail_fast: bool = False
    on_failure: Literal["stop", "continue", "rollback"] = "stop"
    read_back_s: float = 10.0


def apply_plan(
    runtime: Runtime, plan: Plan, author: Author, lease: Lease, policy: Policy | None = None
) -> Outcome:
    """Carry out every step and say what came of each.

    Raises PlanRefused, TooManyCalls, Unplannable or StalePlan before anything is written; a step
    that fails later is a failure in the outcome. What this very plan has done before, in a run
    that was cut off, is not done again.
    """
    if plan.refused:
        raise PlanRefused(plan.refused)
    check_calls(runtime, plan)
    policy = policy or Policy()
    runtime.emit(Agenda(steps=tuple((step.resource.address, step.action) for step in plan.steps)))
    remembered = runtime.ledger.load().last_applied_by_address
    done = [step for step in plan.steps if _is_done(step, author, remembered)]
    for step in done:
        runtime.emit(StepSkipped(step.resource, step.action, "this plan has done it before"))
    names = {step.resource.address for step in done}
    left = [step for step in plan.steps if step.resource.address not in names]
    check_secrets(runtime, left)
    left, gone = check_steps(runtime, left)
    journal = Journal(runtime, author, lease, remembered)
    for step in gone:
        journal.note_gone(step)
        runtime.emit(StepSkipped(step.resource, step.action, "it is gone already"))
    fleets = Fleets(runtime, plan, left, strict=policy.on_failure == "rollback")
    fleets.resume(done, remembered, runtime.clock())
    run = _Run(runtime, Worker(runtime, journal, policy.read_back_s), policy, fleets)
    run.carry_out(left)
    if policy.on_failure == "rollback" and run.failures:
        run.roll_back()
    return run.sum_up(plan)


def _is_done(step: Step, author: Author, remembered: Mapping[Address, LastApplied]) -> bool:
    """Whether this plan has done the step before: it is the last thing that is remembered."""
    last_applied = remembered.get(step.resource.address)
    if last_applied is None or last_applied.plan_digest != author.plan_digest:
        return False
    return last_applied.step_digest == digest_of_step(step)


class _Run:
    """One apply under way: what is done, what failed, and whether anything more may begin."""

    def __init__(self, runtime: Runtime, worker: Worker, policy: Policy, fleets: Fleets) -> None:
        self._runtime, self._worker, self._policy, self._fleets = runtime, worker, policy, fleets
        self._stopped = threading.Event()
        self._resource_locks = _ResourceLocks()
        self._guard = threading.Lock()
        self._done: list[_Done] = []
        self.failures: dict[Resource, Finding] = {}
        # The fleets, and None, of which something failed in an earlier wave.
        self._failed: set[Address | None] = set()
        self._barring: frozenset[Address | None] = frozenset()
        self._not_started: list[Step] = []
        self._unrecorded: list[Entry] = []
        self._rolled_back: list[Address] = []
        self._unrestored: list[Finding] = []

    def carry_out(self, steps: Sequence[Step]) -> None:
        """Every step in its wave, as far as failures and interruptions allow."""
        waves = arrange(steps)
        for wave in waves:
            if self._policy.on_failure != "continue":
                self._barring = frozenset(self._failed)
            goes_on = any(not self._may_not(step.fleet) for step in wave.steps)
            if len({one.number for one in waves}) > 1 and goes_on:
                self._runtime.emit(WaveStarted(wave.number, len(wave.steps)))
            self._run_wave(wave.steps)

    def _run_wave(self, steps: Sequence[Step]) -> None:
        tasks = self._fleets.schedule(steps, self._run, self._may_not)
        try:
            for _ in self._runtime.run_resumable(_begin, tasks, _GRACE_S):
                pass
        except BaseException:
            self._stopped.set()
            raise

    def _may_not(self, fleet: Address | None) -> bool:
        """Whether nothing more of a fleet may begin, or of what is no member of one."""
        barred = bool(self._barring) and (fleet is None or self._barring != {fleet})
        stopped = self._stopped.is_set() or barred or self._fleets.is_stopped(fleet)
        return stopped or bool(self._runtime.halted())

    def _run(self, step: Step) -> ResumableTask[None]:
        """Do one step; what goes wrong is noted, so that the others go on."""
        error = None
        if self._may_not(step.fleet):
            with self._guard:
                self._not_started.append(step)
        else:
            error = yield from self._attempt(step, self._done)
        if error is not None:
            with self._guard:
                self.failures[step.resource] = _make_finding(step, error)
                self._failed.add(step.fleet)
            if self._policy.fail_fast or isinstance(error, _STOPPING):
                self._stopped.set()
        self._fleets.end(step.fleet, failed=error is not None)

    def _attempt(
        self, step: Step, done: list[_Done], worker: Worker | None = None
    ) -> ResumableTask[ReconcilerError | None]:
        """Do one step and note it in `done`; returns what went wrong."""
        started = time.monotonic()
        self._runtime.emit(StepStarted(step.resource, step.action))
        try:
            with self._resource_locks.hold(step):
                after = yield from (worker or self._worker).carry_out(step)
        except Exception as error:  # noqa: BLE001 - one step's surprise must not stop the others
            known = error if isinstance(error, ReconcilerError) else _make_defect_error(step, error)
            if isinstance(error, LedgerUnwritten):
                with self._guard:
                    self._unrecorded.append(error.entry)
            self._runtime.emit(StepFailed(step.resource, step.action, _make_finding(step, known)))
            return known
        with self._guard:
            done.append((step, after))
        self._runtime.emit(StepDone(step.resource, step.action, time.monotonic() - started))
        return None

    def roll_back(self) -> None:
        """Lead back what was done, the last first, each proven; what cannot be is said."""
        self._runtime.emit(RollbackStarted(len(self._done)))
        undoer = replace(self._worker, undoes=True)
        for step, after in reversed(self._done):
            field = self._runtime.kinds[step.resource.address.kind].field
            try:
                undo = make_undo(field, step, after)
            except ReconcilerError as error:
                self._unrestored.extend(error.findings())
                continue
            (failed,) = self._runtime.run_resumable(
                lambda one: self._attempt(one, [], undoer), [undo]
            )
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
            not_started=tuple(step.resource.address for step in self._not_started),
            rolled_back=tuple(self._rolled_back),
            unrestored=tuple(self._unrestored),
            unrecorded=tuple(self._unrecorded),
            stopped=tuple(self._fleets.sum_up(self._not_started)),
            not_observable=tuple(self._find_not_observable(kept)),
        )

    def _find_not_observable(self, kept: Collection[Address]) -> Iterator[Address]:
        """What was taken by a service that need not show it, and does not."""
        for step, after in self._done:
            address = step.resource.address
            field, live = self._runtime.kinds[address.kind].field, document_of(after)
            paths = (change.path for change in step.changes)
            if address in kept and any(is_omitted(field, path, live) for path in paths if path):
                yield address


def _begin(task: Task) -> ResumableTask[None]:
    return task()


class _ResourceLocks:
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


def _make_finding(step: Step, error: ReconcilerError) -> Finding:
    """What a step failed by; it is named, also where something else is to blame."""
    finding, address = name_item(error.findings()[0], step.member), str(step.resource.address)
    if finding.subject in {"", address}:
        return replace(finding, subject=address)
    return replace(finding, detail=(*finding.detail, f"It stopped {address}."))


def _make_defect_error(step: Step, error: Exception) -> ReconcilerError:
    """A defect of this program or of the machine; its text might hold anything, so is left out."""
    return ReconcilerError(
        f"ended by an unexpected {type(error).__name__}",
        subject=str(step.resource.address),
        next_step="Plan again to see what was done; RECONCILER_LOG=debug shows where it happened.",
    )
