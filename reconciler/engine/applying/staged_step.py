"""Carries out a step of several writes: its pauses, its checks, each write, and the revert.

Each write is a step of its own to the worker: it reads first, records an intent, and proves the
write. So an interrupted step goes on at the write after the last recorded one. A pause counts from
the last recorded write. After a failed check, or a write that the service could not make, the step
is reverted as its kind says. The apply calls this module.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Final

from reconciler.engine.applying.journal import document_of
from reconciler.engine.applying.step_run import Worker
from reconciler.engine.pool import ResumableTask
from reconciler.engine.runtime import splits_steps
from reconciler.engine.step_parts import list_parts
from reconciler.errors import CheckFailed, Interrupted, OperationFailed, ReconcilerError
from reconciler.model import (
    ABSENT,
    Absent,
    Address,
    Check,
    CheckEnded,
    CheckStarted,
    CheckWaiting,
    Json,
    LastApplied,
    Live,
    Manifest,
    Resource,
    RevertStarted,
    Step,
    StepHalted,
    Verb,
    WriteDelayed,
    WriteDone,
    WriteStarted,
)
from reconciler.model.values import dataclass
from reconciler.plans.history import CHECKS
from reconciler.plans.parts import StepPart, join_parts, split_retreat
from reconciler.plans.plan_file import digest_of_step
from reconciler.ports import ChecksWrites
from reconciler.text.counting import agree, count
from reconciler.text.times import parse_utc

_POLL_EVERY_S: Final = 0.5
_SHOWN_EVERY_S: Final = 10.0
_MOST_LINES: Final = 20
_LONGEST_LINE: Final = 1000
_CORRECT: Final = "Correct the cause, then apply again."


@dataclass(frozen=True)
class Staging:
    """What the steps of one apply need beside the worker.

    `begun` has how many writes of a step an earlier run of the plan has done. `recorded` is the
    last applied state of each resource.
    """

    manifests: Sequence[Manifest]
    recorded: Mapping[Address, LastApplied]
    begun: Mapping[Resource, int]

    @cached_property
    def _by_address(self) -> Mapping[Address, Manifest]:
        return {one.address: one for one in self.manifests}

    def open(self, worker: Worker, step: Step) -> StagedStep | None:
        """Return the step with its parts; None if it is sent in one write as it is.

        Raises ReconcilerError if its kind does not split it rightly.
        """
        kinds, name = worker.runtime.kinds, step.resource.address.kind
        if not splits_steps(kinds[name]):
            return None
        parts = list_parts(kinds[name], step, digest_of_step(step))
        if not parts:
            return None
        known = self.recorded.get(step.resource.address)
        return StagedStep(
            worker,
            step.open(),
            parts,
            done=0 if worker.undoes else self.begun.get(step.resource, 0),
            manifest=self._by_address.get(step.resource.address),
            wrote_at=parse_utc(known.at) if known and known.has_id(step.resource.id) else None,
        )


class StagedStep:
    """One step of several writes while it is carried out.

    `reached` is the part of the step that this or an earlier run has done, as one step; None if
    nothing is to be undone. `after` is what was read back last.
    """

    def __init__(
        self,
        worker: Worker,
        step: Step,
        parts: Sequence[StepPart],
        done: int,
        manifest: Manifest | None,
        wrote_at: datetime | None,
    ) -> None:
        self._worker, self._runtime = worker, worker.runtime
        self._step, self._parts, self._manifest = step, parts, manifest
        self._done, self._wrote_at = done, wrote_at
        self._resource = step.resource
        self._field = self._runtime.kinds[step.resource.address.kind].field
        self._reverted = False
        self.after: Live | Absent = ABSENT

    @property
    def reached(self) -> Step | None:
        """The writes that were done, as one step, unless they were reverted."""
        if not self._done or self._reverted or self.after is ABSENT:
            return None
        return join_parts(self._field, self._step, self._parts[: self._done])

    def carry_out(self) -> ResumableTask[Live | Absent]:
        """Run the writes that are left; returns what was read back after the last one.

        Raises CheckFailed or OperationFailed once the step is reverted, Interrupted, and the other
        errors of the worker.
        """
        try:
            if self._done:
                # The earlier run may have ended before these checks.
                self.after = self._runtime.read(self._resource)
                self._make_checks(self._parts[self._done - 1].write.checks)
            for part in self._parts[self._done :]:
                yield from self._carry_out_part(part)
        except Interrupted:
            raise
        except ReconcilerError as error:
            error.evidence = self._describe_progress(error)
            if isinstance(error, CheckFailed) or self._has_failed(error):
                yield from self._retreat(error)
            raise
        if any(part.write.checks or part.write.requires for part in self._parts):
            self._note(passed=True)
        return self.after

    def _carry_out_part(self, part: StepPart) -> ResumableTask[None]:
        if part.number > 1:
            self._stop_if_halted()
        yield from self._wait(part)
        self._make_checks(part.write.requires)
        yield from self._write(part)
        self._done = part.number
        self._make_checks(part.write.checks)

    def _write(self, part: StepPart) -> ResumableTask[None]:
        started, title = time.monotonic(), part.write.title
        self._runtime.emit(WriteStarted(self._resource, part.number, part.count, title))
        self.after = yield from self._worker.carry_out(part.step, part)
        self._wrote_at = self._runtime.clock()
        elapsed = time.monotonic() - started
        self._runtime.emit(WriteDone(self._resource, part.number, part.count, title, elapsed))

    def _wait(self, part: StepPart) -> ResumableTask[None]:
        """Wait until the write may be sent; other steps run meanwhile."""
        seconds = self._find_wait(part.write.wait_s)
        if seconds <= 0:
            return
        title = part.write.title
        self._runtime.emit(WriteDelayed(self._resource, part.number, part.count, title, seconds))
        while seconds > 0:
            self._stop_if_halted()
            yield min(seconds, _POLL_EVERY_S)
            seconds -= _POLL_EVERY_S

    def _find_wait(self, wait_s: float) -> float:
        """Return the seconds that are left; another machine's clock may be ahead of ours."""
        if wait_s <= 0 or self._wrote_at is None:
            return 0.0
        elapsed = (self._runtime.clock() - self._wrote_at).total_seconds()
        return wait_s - max(0.0, elapsed)

    def _make_checks(self, checks: Sequence[Check]) -> None:
        for check in checks:
            self._make_check(check)

    def _make_check(self, check: Check) -> None:
        """Make one check; raises CheckFailed, Interrupted, or ServiceError if nothing was seen."""
        provider = self._runtime.provider(self._resource.address)
        if not isinstance(provider, ChecksWrites):
            message = f"the provider of {self._resource.address.kind} makes no checks"
            raise TypeError(message)
        started = shown = time.monotonic()
        seen = ""
        self._runtime.emit(CheckStarted(self._resource, check.title))
        try:
            for said in provider.check_write(self._resource, check, self._manifest):
                seen, now = said or seen, time.monotonic()
                if now - shown >= _SHOWN_EVERY_S:
                    shown = now
                    elapsed = now - started
                    self._runtime.emit(CheckWaiting(self._resource, check.title, seen, elapsed))
                self._stop_if_halted()
        except CheckFailed as error:
            self._end_check(check, started, error.message, passed=False)
            self._note(passed=False, check=check, error=error)
            raise
        self._end_check(check, started, seen, passed=True)

    def _end_check(self, check: Check, started: float, seen: str, *, passed: bool) -> None:
        elapsed = time.monotonic() - started
        self._runtime.emit(CheckEnded(self._resource, check.title, passed, seen, elapsed))

    def _note(
        self, *, passed: bool, check: Check | None = None, error: CheckFailed | None = None
    ) -> None:
        """Record whether the checks have passed, so that history and drift can show it."""
        said: dict[str, Json] = {
            "passed": passed,
            "part": self._done,
            "parts": len(self._parts),
            "step_digest": self._parts[0].whole,
        }
        if check is not None and error is not None:
            detail = [line[:_LONGEST_LINE] for line in error.detail[:_MOST_LINES]]
            message = error.message[:_LONGEST_LINE]
            said |= {"check": check.title, "message": message, "detail": detail}
        self._worker.journal.note(CHECKS, str(self._resource.address), said)

    def _describe_progress(self, error: ReconcilerError) -> str:
        """Say how many writes were done, and what is proven of the one that failed."""
        done, evidence = self._describe_done(), error.evidence
        if not evidence or isinstance(error, CheckFailed):
            return done
        number, total = self._done + 1, len(self._parts)
        return f"{done} Write {number} of {total}: {evidence[:1].lower()}{evidence[1:]}"

    def _has_failed(self, error: ReconcilerError) -> bool:
        """Whether the service took a write that it could not make, and that the revert undoes.

        Where a removal fails, all that the step brings is there, so it stays.
        """
        left = self._parts[self._done :]
        removes = left and all(one.verb is Verb.REMOVE for one in left[0].step.changes)
        return isinstance(error, OperationFailed) and not removes and not self._worker.undoes

    def _retreat(self, error: ReconcilerError) -> ResumableTask[None]:
        """Revert the step after a failure, and say in the error what was done."""
        said = [error.evidence]
        error.next_step = error.next_step or _CORRECT
        try:
            if isinstance(error, OperationFailed):
                # A part of the write may be there.
                self.after = self._runtime.read(self._resource)
            titles = yield from self._revert()
            said += [f"Then it was reverted: {'; '.join(titles)}."] if titles else []
        except ReconcilerError as failed:
            said += [f"Reverting failed: {failed.message.rstrip('.')}.", failed.evidence]
        error.evidence = " ".join(one for one in said if one)

    def _revert(self) -> ResumableTask[list[str]]:
        kind = self._runtime.kinds[self._resource.address.kind]
        # Live as it was read back: it has what the service added to what was sent.
        live = document_of(self.after)
        reached = self._step.before if live is ABSENT else live
        if reached is ABSENT or not splits_steps(kind):
            return []
        writes = kind.retreat(self._step, reached)
        whole, total = self._parts[0].whole, len(self._parts)
        parts = split_retreat(self._field, self._step, reached, writes, total, whole)
        if parts:
            self._runtime.emit(RevertStarted(self._resource, len(parts)))
        for part in parts:
            yield from self._write(part)
        self._reverted = True
        return [part.write.title for part in parts]

    def _stop_if_halted(self) -> None:
        """Raise Interrupted if nothing more may start; an undo goes on."""
        if self._worker.undoes or not self._runtime.halted():
            return
        done, total = self._done, len(self._parts)
        self._runtime.emit(StepHalted(self._resource, self._step.action, done, total))
        raise Interrupted(
            f"stopped after {done} of {count(total, 'write')}",
            subject=str(self._resource.address),
            next_step="Apply again: it goes on with the next write.",
        )

    def _describe_done(self) -> str:
        done, total = self._done, len(self._parts)
        return f"{done} of {count(total, 'write')} {agree(done, 'was', 'were')} done."
