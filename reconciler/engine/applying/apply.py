"""Applies a plan: runs its steps in waves and reports the outcome.

The preconditions of every step are checked before the first write of the plan, and again
immediately before the step's own write. A step counts as done only when a read shows it. After a
failure the policy decides: later waves are not started, or the apply is rolled back. Each fleet
has its own waves within these. This module must not change a plan. The commands call it. It is long
because one class holds the state of a run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from traceback import format_tb
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from reconciler.document.diff import is_omitted
from reconciler.engine.applying.admission import check_calls, check_secrets, check_steps
from reconciler.engine.applying.journal import PROOFS, Author, Journal, document_of
from reconciler.engine.applying.rollout import Fleets, Task
from reconciler.engine.applying.staged_step import StagedStep, Staging
from reconciler.engine.applying.step_run import Worker
from reconciler.engine.drift_history import keep_overwritten
from reconciler.engine.pool import ResumableTask
from reconciler.engine.runtime import Runtime
from reconciler.errors import (
    Interrupted,
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
    Manifest,
    Outcome,
    Plan,
    Resource,
    RollbackStarted,
    Snapshot,
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
from reconciler.tracing import trace_task

if TYPE_CHECKING:  # imported only where a manifest asks for it
    from reconciler.engine.applying.proving import Prover

# An interrupted apply finishes the steps that have started. Their calls wait at most this long
# for the rate limit.
_GRACE_S: Final = 30.0
_LOG: Final = logging.getLogger(__name__)
_Done: TypeAlias = tuple[Step, Live | Absent]
_STOPPING: Final = (LedgerInvalid, LedgerConflict, TooManyCalls)


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """What a failed step means for the other steps.

    With `fail_fast`, no step starts after the first failure. Otherwise the other steps of the
    wave run. Later waves start only with `continue`. With `rollback`, all completed steps are
    then undone.

    A fleet has its own limit of failures. More failures stop the rest of the fleet under every
    policy. Failures up to the limit do not stop its later waves. With `rollback`, one failure of
    any step stops every fleet.

    `read_back_s` is how many seconds a read may lag behind a write before the write counts as not
    applied. A longer known lag of the service replaces it.
    """

    fail_fast: bool = False
    on_failure: Literal["stop", "continue", "rollback"] = "stop"
    read_back_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Declarations:
    """The manifests of the project, for what they ask beside the changes. `root` is its folder."""

    root: str = ""
    manifests: Sequence[Manifest] = ()


def apply_plan(
    runtime: Runtime,
    plan: Plan,
    author: Author,
    lease: Lease,
    policy: FailurePolicy | None = None,
    declared: Declarations | None = None,
) -> Outcome:
    """Apply every step and return the outcome of each.

    After an update of a model, its resource is verified if its manifest has `spec.verify`. Raises
    PlanRefused, TooManyCalls, Unplannable or StalePlan before the first write. A step that
    fails later is a failure in the outcome. A step that an interrupted run of the same plan has
    done is skipped if a read shows that it still holds.
    """
    if plan.refused:
        raise PlanRefused(plan.refused)
    check_calls(runtime, plan)
    policy = policy or FailurePolicy()
    runtime.emit(Agenda(steps=tuple((step.resource.address, step.action) for step in plan.steps)))
    meant = runtime.ledger.load().of_resources(step.resource for step in plan.steps)
    remembered, declared = meant.last_applied_by_address, declared or Declarations()
    before = {
        step.resource: remembered[step.resource.address]
        for step in plan.steps
        if _is_recorded(step, author, remembered)
    }
    check_secrets(runtime, [step for step in plan.steps if step.resource not in before])
    checked = check_steps(runtime, plan.steps, before, plan.inputs, meant.facts)
    check_secrets(runtime, [step for step in checked.left if step.resource in before])
    for step in checked.done:
        runtime.emit(StepSkipped(step.resource, step.action, "this plan has already done it"))
    journal = Journal(runtime, author, lease, remembered)
    for step in checked.gone:
        journal.note_gone(step)
        runtime.emit(StepSkipped(step.resource, step.action, "it is already gone"))
    journal.note_reason(plan, checked.left, meant.facts)
    journal.note_approvals(plan, checked.left, meant.facts)
    unkept = keep_overwritten(runtime, checked.left, author.by, author.commit)
    fleets = Fleets(runtime, plan, checked.left, strict=policy.on_failure == "rollback")
    fleets.resume(checked.done)
    prover = _make_prover(runtime, journal, checked.left, meant, declared)
    staging = Staging(declared.manifests, remembered, checked.begun)
    worker = Worker(runtime, journal, policy.read_back_s)
    run = _Run(runtime, worker, policy, fleets, prover, staging)
    run.carry_out(checked.left)
    if policy.on_failure == "rollback" and run.failures:
        run.roll_back()
    run.settle()
    return replace(run.sum_up(plan), unkept=unkept)


def _make_prover(
    runtime: Runtime,
    journal: Journal,
    steps: Sequence[Step],
    snapshot: Snapshot,
    declared: Declarations,
) -> Prover | None:
    """Return what verifies models; None, without an import, if nothing asks for it."""
    addresses = {one.resource.address for one in steps if one.models}
    addresses |= {address for address, _ in snapshot.list_facts(PROOFS)}
    asking = [
        one for one in declared.manifests if one.address in addresses and "verify" in one.spec
    ]
    if not asking:
        return None
    from reconciler.engine.applying.proving import Prover, list_cases  # noqa: PLC0415 - start-up

    cases = list_cases(Path(declared.root), asking, steps, snapshot, runtime.kinds)
    return Prover(runtime, journal, snapshot, cases)


def _is_recorded(step: Step, author: Author, remembered: Mapping[Address, LastApplied]) -> bool:
    """Whether the last entry of the resource is of this step, from an earlier run of this plan.

    It does not prove that live still has what the step wrote. Of a step of several writes, the
    entry may be that of any of them.
    """
    last_applied = remembered.get(step.resource.address)
    if last_applied is None or last_applied.plan_digest != author.plan_digest:
        return False
    return last_applied.step_digest == digest_of_step(step)


class _Run:
    """The state of one apply: completed steps, failures, and whether another step may start."""

    def __init__(
        self,
        runtime: Runtime,
        worker: Worker,
        policy: FailurePolicy,
        fleets: Fleets,
        prover: Prover | None,
        staging: Staging,
    ) -> None:
        self._runtime, self._worker, self._policy, self._fleets = runtime, worker, policy, fleets
        self._prover, self._staging = prover, staging
        self._stopped = threading.Event()
        self._resource_locks = _ResourceLocks()
        self._guard = threading.Lock()
        self._done: list[_Done] = []
        self.failures: dict[Resource, Finding] = {}
        # The fleets with a failed step in an earlier wave; None for steps without a fleet.
        self._failed: set[Address | None] = set()
        self._barring: frozenset[Address | None] = frozenset()
        self._not_started: list[Step] = []
        self._unfinished: dict[Resource, Finding] = {}
        self._unrecorded: list[Entry] = []
        self._rolled_back: list[Address] = []
        self._unrestored: list[Finding] = []

    def carry_out(self, steps: Sequence[Step]) -> None:
        """Run every step in its wave, unless a failure or an interruption stops it."""
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
        """Whether no more steps of a fleet may start; None means steps without a fleet."""
        barred = bool(self._barring) and (fleet is None or self._barring != {fleet})
        stopped = self._stopped.is_set() or barred or self._fleets.is_stopped(fleet)
        return stopped or bool(self._runtime.halted())

    def _run(self, step: Step) -> ResumableTask[None]:
        """Run one step; an error is recorded and does not stop the other steps."""
        error = None
        if self._may_not(step.fleet):
            with self._guard:
                self._not_started.append(step)
        else:
            error = yield from self._attempt(step, self._done)
        failed = error is not None and not isinstance(error, Interrupted)
        if error is not None:
            self._keep_error(step, error, failed=failed)
        self._fleets.end(step.fleet, failed=failed)

    def _keep_error(self, step: Step, error: ReconcilerError, *, failed: bool) -> None:
        with self._guard:
            if not failed:
                stopped = replace(_make_finding(step, error), severity="warning")
                self._unfinished[step.resource] = stopped
                return
            self.failures[step.resource] = _make_finding(step, error)
            self._failed.add(step.fleet)
        if self._policy.fail_fast or isinstance(error, _STOPPING):
            self._stopped.set()

    def _attempt(
        self, step: Step, done: list[_Done], worker: Worker | None = None
    ) -> ResumableTask[ReconcilerError | None]:
        """Run one step and add it to `done`; returns the error of a failed step.

        A step with which the old model still answers has failed, and is in `done`: what it wrote
        can be undone. So are the finished writes of a step that failed at a later one.
        """
        started, proof = time.monotonic(), ""
        self._runtime.emit(StepStarted(step.resource, step.action))
        prover = self._prover if worker is None else None
        worker = worker or self._worker
        staged: StagedStep | None = None
        try:
            with self._resource_locks.hold(step):
                if prover is not None:
                    prover.expect(step)
                staged = self._staging.open(worker, step)
                task = worker.carry_out(step) if staged is None else staged.carry_out()
                traced = trace_task(
                    "step", task, address=str(step.resource.address), action=step.action.value
                )
                after = yield from traced
                with self._guard:
                    done.append((step, after))
                if prover is not None:
                    proof = yield from prover.prove(step)
        except Exception as error:  # noqa: BLE001 - a defect in one step must not stop the others
            known = error if isinstance(error, ReconcilerError) else _make_defect_error(step, error)
            with self._guard:
                if isinstance(error, LedgerUnwritten):
                    self._unrecorded.append(error.entry)
                if staged is not None and staged.reached is not None:
                    done.append((staged.reached, staged.after))
            if isinstance(error, Interrupted):
                return known
            self._runtime.emit(StepFailed(step.resource, step.action, _make_finding(step, known)))
            return known
        elapsed = time.monotonic() - started
        self._runtime.emit(StepDone(step.resource, step.action, elapsed, proof))
        return None

    def settle(self) -> None:
        """Verify the models that an earlier apply set and did not prove."""
        if self._prover is None or self._runtime.halted():
            return
        left = self._prover.list_left()
        for resource, error in self._runtime.run_resumable(self._prover.settle, left):
            if error is not None:
                self.failures[resource] = error.findings()[0]

    def roll_back(self) -> None:
        """Undo the completed steps, the last one first, and verify each.

        A step that cannot be undone is reported.
        """
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
        """Return the outcome; a step that failed or was rolled back does not count as done."""
        failed = {resource.address for resource in (*self.failures, *self._unfinished)}
        kept = {step.resource.address for step, _ in self._done} - {*self._rolled_back} - failed
        done = [step for step in plan.steps if step.resource.address in kept]
        added = {Action.CREATE, Action.REPLACE}
        destroyed = {Action.DELETE, Action.REPLACE}
        return Outcome(
            added=tuple(step.resource.address for step in done if step.action in added),
            changed=tuple(step.resource.address for step in done if step.action is Action.UPDATE),
            destroyed=tuple(step.resource.address for step in done if step.action in destroyed),
            failures=tuple(self.failures.values()),
            not_started=tuple(step.resource.address for step in self._not_started),
            unfinished=tuple(self._unfinished.values()),
            rolled_back=tuple(self._rolled_back),
            unrestored=tuple(self._unrestored),
            unrecorded=tuple(self._unrecorded),
            stopped=tuple(self._fleets.sum_up(self._not_started)),
            not_observable=tuple(self._find_not_observable(kept)),
            unproven=tuple(self._prover.unproven) if self._prover is not None else (),
        )

    def _find_not_observable(self, kept: Collection[Address]) -> Iterator[Address]:
        """Yield the addresses of applied steps whose values the service does not show."""
        for step, after in self._done:
            address = step.resource.address
            field, live = self._runtime.kinds[address.kind].field, document_of(after)
            paths = (change.path for change in step.changes)
            if address in kept and any(is_omitted(field, path, live) for path in paths if path):
                yield address


def _begin(task: Task) -> ResumableTask[None]:
    return task()


class _ResourceLocks:
    """Locks that serialize the steps that use the same resource, as their own or as a source."""

    def __init__(self) -> None:
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()

    @contextmanager
    def hold(self, step: Step) -> Iterator[None]:
        """Lock the resources of a step."""
        source = step.source.id if step.source is not None else step.resource.id
        with self._guard:
            ids = sorted({step.resource.id.casefold(), source.casefold()})
            locks = [self._locks[one] for one in ids]
        with ExitStack() as held:
            for lock in locks:
                held.enter_context(lock)
            yield


def _make_finding(step: Step, error: ReconcilerError) -> Finding:
    """Return the finding for a failed step; it names the step, whatever the error's subject is."""
    finding, address = name_item(error.findings()[0], step.member), str(step.resource.address)
    if finding.subject in {"", address}:
        return replace(finding, subject=address)
    return replace(finding, detail=(*finding.detail, f"It stopped {address}."))


def _make_defect_error(step: Step, error: Exception) -> ReconcilerError:
    """Return an error for an unexpected exception, without its text, which may hold a secret."""
    _LOG.debug("%s\n%s", step.resource.address, "".join(format_tb(error.__traceback__)))
    return ReconcilerError(
        f"failed with an unexpected {type(error).__name__}",
        subject=str(step.resource.address),
        next_step="Plan again to see what was done; RECONCILER_LOG=debug shows where it happened.",
    )
