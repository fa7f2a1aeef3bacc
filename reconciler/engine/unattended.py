"""Applies what needs no approval, without a person: the second half of a cycle of `watch`.

A resource that a guard or a policy refuses, whose change does not hold or fails, or that a rule of
`.driftignore` covers, is left and reported; the others are applied. The lock of the ledger is taken
only where there is something to apply, and is given back as soon as a person waits for it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field, replace
from typing import Final

from reconciler.engine.applying.apply import Declarations, FailurePolicy, apply_plan
from reconciler.engine.applying.journal import Author
from reconciler.engine.applying.recover import recover_intents
from reconciler.engine.planning.plan import make_plan
from reconciler.engine.planning.selection import PlanRequest
from reconciler.engine.runtime import Runtime
from reconciler.errors import LockHeld, ManifestInvalid, ReconcilerError, Unplannable
from reconciler.model import Address, DriftReport, Entry, Finding, Outcome, Plan, Step, Verdict
from reconciler.model.values import dataclass
from reconciler.plans.plan_file import digest_of_plan
from reconciler.plans.quarantine import MOST, count_repeats, describe_quarantine
from reconciler.ports import Lease

# An apply cannot change what has only these verdicts.
_UNCHANGED: Final = frozenset(
    {
        Verdict.IN_SYNC,
        Verdict.UNMANAGED,
        Verdict.INCOMPLETE,
        Verdict.NOT_OBSERVABLE,
        Verdict.CREDENTIAL_EXPIRING,
    }
)
# Storage is asked at most this often whether a person waits for the lock, in seconds.
_ASK_EVERY_S: Final = 0.5
# Each round leaves at least one resource that the round before it did not.
_MOST_ROUNDS: Final = 20


@dataclass(frozen=True)
class Applying:
    """What an unattended apply needs beside the runtime and the request.

    `lock` takes the lock of the ledger without a wait; it raises LockHeld. `combine` makes one
    lease of it that also ends with the term of the leader. `make_author` gets the digest of a plan.
    `judge` adds the findings of a policy command to a plan. `keep` saves the entries that the
    ledger could not record, and returns a finding with their place.
    """

    lock: Callable[[], AbstractContextManager[Lease]]
    combine: Callable[[Lease], Lease]
    make_author: Callable[[str], Author]
    judge: Callable[[Plan], Plan]
    keep: Callable[[Outcome], tuple[Finding, ...]]
    declared: Declarations
    policy: FailurePolicy


@dataclass
class Applied:
    """What an unattended apply changed and left.

    `failed` are the resources whose change failed. `yields` says that a person waits for the lock,
    or has it. Durations are in seconds; None where that part did not run.
    """

    changed: tuple[Address, ...] = ()
    failed: tuple[Address, ...] = ()
    quarantined: list[Address] = field(default_factory=list)
    left: list[Finding] = field(default_factory=list)
    errors: list[Finding] = field(default_factory=list)
    yields: bool = False
    plan_s: float | None = None
    apply_s: float | None = None

    @property
    def has_tried(self) -> bool:
        """Whether a service may have been changed, so that the report is not that of now."""
        return self.apply_s is not None


def apply_unattended(
    runtime: Runtime,
    request: PlanRequest,
    report: DriftReport,
    applying: Applying,
    waiting: Mapping[Address, str],
) -> Applied:
    """Apply what the report shows and no rule prevents.

    `waiting` has the reason of each resource that is left in this cycle. Raises no ReconcilerError:
    errors are in the result.
    """
    applied = Applied()
    try:
        _Correction(runtime, request, report, applying, applied).run(waiting)
    except LockHeld as error:
        applied.yields = True
        applied.left.append(_describe_lock(error))
    except ReconcilerError as error:
        applied.errors += error.findings()
    return applied


class _Correction:
    def __init__(
        self,
        runtime: Runtime,
        request: PlanRequest,
        report: DriftReport,
        applying: Applying,
        applied: Applied,
    ) -> None:
        # The stamps of the report's reads are seconds old; each step reads again before it writes.
        self._runtime, self._request = runtime, replace(request, refresh="auto")
        self._report, self._applying, self._applied = report, applying, applied

    def run(self, waiting: Mapping[Address, str]) -> None:
        if self._report.lost is not None:
            # Its lines said what was applied: a person must look first.
            self._applied.left.append(_LOST)
            return
        wanted = self._find_wanted(waiting)
        is_open = bool(self._runtime.ledger.load().open)
        plan = self._plan(wanted) if wanted else None
        if plan is None and not is_open:
            return
        with self._applying.lock() as lock:
            lease = self._applying.combine(lock)
            author = self._applying.make_author("")
            recover_intents(self._runtime, author, lease, self._applying.policy.read_back_s)
            # The plan before was made without the lock: another process may have applied since.
            plan = self._plan({step.resource.address for step in plan.steps}) if plan else None
            if plan is not None:
                self._apply(plan, lease)

    def _find_wanted(self, waiting: Mapping[Address, str]) -> set[Address]:
        """The resources that an apply may change; reports those that are left before a plan."""
        wanted = {
            one.resource.address for one in self._report.statuses if one.verdict not in _UNCHANGED
        }
        declared = {one.address for one in self._request.manifests}
        ignored = {
            one.resource.address: one
            for one in self._report.ignored
            if one.verdict not in _UNCHANGED
        }
        for address in sorted(ignored.keys() & declared):
            rule = ignored[address].rule
            reason = f": {rule.reason}" if rule is not None else ""
            self._leave(address, f"a rule of .driftignore ignores a difference of it{reason}")
        for address in sorted(wanted & waiting.keys() - ignored.keys()):
            self._leave(address, waiting[address])
        return (wanted & declared) - ignored.keys() - waiting.keys()

    def _leave(self, address: Address, why: str) -> None:
        said = f"is left as it is: {why}"
        self._applied.left.append(Finding(said, subject=str(address), severity="warning"))

    def _plan(self, wanted: Collection[Address]) -> Plan | None:
        """A plan of what may be applied of these resources; None for nothing."""
        started = time.monotonic()
        try:
            return self._reduce(set(wanted))
        finally:
            self._applied.plan_s = (self._applied.plan_s or 0.0) + time.monotonic() - started

    def _reduce(self, wanted: set[Address]) -> Plan | None:
        for _ in range(_MOST_ROUNDS):
            if not wanted:
                return None
            try:
                plan = self._applying.judge(
                    make_plan(self._runtime, replace(self._request, targets=wanted))
                )
            except (ManifestInvalid, Unplannable) as error:
                found, refused = error.findings(), self._name_subjects(error.findings(), wanted)
            else:
                found = (*plan.refused, *self._quarantine(plan.steps))
                steps = {step.resource.address for step in plan.steps}
                refused = self._name_subjects(found, steps)
                if not found:
                    return plan if plan.steps else None
            self._applied.left += map(_describe_refusal, found)
            if not refused:  # it is about the plan as a whole
                return None
            wanted -= refused
        return None

    def _name_subjects(
        self, findings: Sequence[Finding], addresses: Collection[Address]
    ) -> set[Address]:
        """The resources that findings are about; empty if one is about none of these."""
        named = {str(one): one for one in addresses}
        if any(one.subject not in named for one in findings):
            return set()
        return {named[one.subject] for one in findings}

    def _quarantine(self, steps: Sequence[Step]) -> list[Finding]:
        """A finding for each step whose change did not hold often enough."""
        entries: dict[Address, list[Entry]] = defaultdict(list)
        addresses = {step.resource.address for step in steps}
        for entry in self._runtime.ledger.entries() if steps else ():
            if entry.address in addresses:
                entries[entry.address].append(entry)
        found = []
        for step in steps:
            repeats = count_repeats(step, entries[step.resource.address])
            if repeats >= MOST:
                self._applied.quarantined.append(step.resource.address)
                found.append(describe_quarantine(step, repeats))
        return found

    def _apply(self, plan: Plan, lease: Lease) -> None:
        applied, applying = self._applied, self._applying
        wanted = _Wanted(lease)
        halted = self._runtime.halted
        runtime = replace(self._runtime, halted=lambda: halted() or wanted.find_reason())
        started = time.monotonic()
        applied.apply_s = 0.0
        try:
            author = applying.make_author(digest_of_plan(plan))
            outcome = apply_plan(runtime, plan, author, lease, applying.policy, applying.declared)
        finally:
            applied.apply_s = time.monotonic() - started
        applied.yields = bool(wanted.find_reason())
        applied.changed = (*outcome.added, *outcome.changed, *outcome.destroyed)
        applied.failed = tuple(_find_addresses(plan, outcome.failures))
        applied.left += (*outcome.failures, *outcome.unfinished)
        applied.errors += (*outcome.unrestored, *outcome.unproven, *applying.keep(outcome))
        why = runtime.halted() or "a step before it failed"
        for address in outcome.not_started:
            self._leave(address, f"it was not started: {why}")


class _Wanted:
    """Whether a person waits for the lock; storage is asked only now and then."""

    def __init__(self, lease: Lease) -> None:
        self._lease, self._asked_at, self._is_wanted = lease, float("-inf"), False

    def find_reason(self) -> str:
        """Why no further step may start; empty if it may."""
        now = time.monotonic()
        if not self._is_wanted and now - self._asked_at >= _ASK_EVERY_S:
            self._asked_at, self._is_wanted = now, self._lease.is_wanted()
        return "another command waits for the lock of the ledger" if self._is_wanted else ""


def _find_addresses(plan: Plan, findings: Sequence[Finding]) -> Iterator[Address]:
    named = {str(step.resource.address): step.resource.address for step in plan.steps}
    yield from (named[one.subject] for one in findings if one.subject in named)


def _describe_refusal(finding: Finding) -> Finding:
    """The finding of a guard as a warning: the loop goes on, and lifts no guard."""
    step = finding.next_step
    if "--allow " in step:
        step = f"watch lifts no guard. With reconciler apply: {step}"
    return replace(finding, severity="warning", next_step=step)


def _describe_lock(error: LockHeld) -> Finding:
    return Finding(
        f"nothing is applied in this cycle: {error.message}",
        subject=error.subject,
        next_step="The next cycle tries again. If the process of the lock does not run any more:"
        f" reconciler force-unlock {error.lock_owner.id}",
        severity="warning",
    )


_LOST: Final = Finding(
    "nothing is applied: the ledger has lost lines that say what was applied",
    next_step="Look at them with: reconciler ledger verify. Then apply yourself once.",
    severity="warning",
)
