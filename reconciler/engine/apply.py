"""Doing what a plan says, and nothing else; believing only what is read back.

Every step is looked at again before the first write of the whole plan, and once more right
before its own. The service acknowledges before it acts, so success is what a read shows.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Final

from reconciler.baseline import make_baseline
from reconciler.engine.hands import Hands
from reconciler.engine.observe import keep_sight, observe
from reconciler.engine.proof import prove, show_value
from reconciler.errors import (
    LedgerInvalid,
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
    Agenda,
    Entry,
    Finding,
    Json,
    Live,
    Outcome,
    Plan,
    Resource,
    Step,
    StepDone,
    StepFailed,
    StepStarted,
    StepWaiting,
)
from reconciler.patch import Mismatch, find_mismatches
from reconciler.pointers import find, format_pointer, split_pointer
from reconciler.schema import Field

_WAIT_SHOWN_S: Final = 10.0
# An interrupted apply finishes what it began; a call of it waits no longer for its turn than this.
_GRACE_S: Final = 30.0
_STALE: Final = "Plan again: what is live has moved since this plan was made."


@dataclass(frozen=True, slots=True)
class Author:
    """Who applies, from where, from which commit, by which plan."""

    by: str
    host: str
    commit: str
    plan_digest: str


def apply_plan(hands: Hands, plan: Plan, author: Author) -> Outcome:
    """Carry out every step and say what came of each.

    Raises PlanRefused, TooManyCalls, Unplannable or StalePlan before anything is written; a step
    that fails later is a failure in the outcome, and the other steps go on.
    """
    if plan.refused:
        raise PlanRefused(plan.refused)
    check_calls(hands, plan)
    hands.emit(Agenda(steps=tuple((step.resource.address, step.action) for step in plan.steps)))
    _check_secrets(hands, plan)
    _check_all(hands, plan)
    worker = _Worker(hands, author)
    failures: dict[Resource, Finding] = {}
    try:
        for step, failure in hands.spread(worker.run, plan.steps, _GRACE_S):
            if failure is not None:
                failures[step.resource] = failure
    except BaseException:
        worker.stop()
        raise
    return _sum_up(plan, failures)


def check_calls(hands: Hands, plan: Plan) -> None:
    """Raise TooManyCalls where the apply needs more calls than may still be sent."""
    hands.budget.check(plan.estimate.reads + plan.estimate.writes)


def _check_secrets(hands: Hands, plan: Plan) -> None:
    """Every secret must be there before the first write; none is kept."""
    missing: list[Finding] = []
    for step in plan.steps:
        for _, reference in step.secrets:
            try:
                hands.resolve(reference)
            except ReconcilerError as error:
                subject = str(step.resource.address)
                found = (replace(one, subject=subject) for one in error.findings())
                missing.extend(replace(one, detail=(f"{reference}",)) for one in found)
    if missing:
        raise Unplannable(tuple(missing))


def _check_all(hands: Hands, plan: Plan) -> None:
    sources = {step.resource: _find_regional(step) for step in plan.steps}
    named = [step.resource for step in plan.steps]
    seen = observe(hands, [*named, *(one for one in sources.values() if one)])
    unread = tuple(one.finding for one in seen.seen.values() if one.finding is not None)
    if unread:
        raise StalePlan(unread)
    stale: list[Finding] = []
    for step in plan.steps:
        live = seen[step.resource].live
        if live is not None:
            stale.extend(_find_stale(hands, step, live))
        source = sources[step.resource]
        if source is not None and step.source is not None and seen[source].live is ABSENT:
            said = f"Saved plan is stale: {step.source.name}, which it is made from, is gone"
            stale.append(Finding(said, subject=str(step.resource.address), next_step=_STALE))
    if stale:
        raise StalePlan(tuple(stale))


def _find_regional(step: Step) -> Resource | None:
    """The other resource that must be there to seal secrets anew; what else is made is planned."""
    source = step.source
    if source is None or not source.region or source.id == step.resource.id:
        return None
    return Resource(step.resource.address, source.id)


def _find_stale(hands: Hands, step: Step, live: Live | Absent) -> Iterator[Finding]:
    subject = str(step.resource.address)
    if step.action is Action.CREATE:
        if live is not ABSENT:
            yield Finding("Saved plan is stale: it exists now", subject=subject, next_step=_STALE)
        return
    if live is ABSENT:
        yield Finding("Saved plan is stale: it is gone", subject=subject, next_step=_STALE)
        return
    field = hands.kinds[step.resource.address.kind].field
    for found in find_mismatches(field, step.ops, step.absences, live.document):
        yield Finding(
            f"Saved plan is stale: {found.pointer} has changed",
            subject=subject,
            detail=_describe(field, found),
            next_step=_STALE,
        )


def _describe(field: Field, found: Mismatch) -> tuple[str, ...]:
    if field.at(split_pointer(found.pointer)).sensitive:
        return ()
    return (
        f"The plan relies on: {show_value(found.expected)}",
        f"The service has:    {show_value(found.found)}",
    )


class _Worker:
    """Carries out steps, each on its own thread, until it is told to stop."""

    def __init__(self, hands: Hands, author: Author) -> None:
        self._hands = hands
        self._author = author
        self._stopped = threading.Event()
        self._remembered = hands.ledger.load().memories
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()

    def stop(self) -> None:
        """Start no further step."""
        self._stopped.set()

    def run(self, step: Step) -> tuple[Step, Finding | None]:
        """Do one step; returns what went wrong, so that the others go on."""
        if self._stopped.is_set():
            return step, Finding("was not started", subject=str(step.resource.address))
        started = time.monotonic()
        self._hands.emit(StepStarted(step.resource, step.action))
        try:
            with self._hold(step):
                self._carry_out(step, started)
        except (LedgerInvalid, TooManyCalls) as error:
            self.stop()
            return step, self._fail(step, error)
        except ReconcilerError as error:
            return step, self._fail(step, error)
        except Exception as error:  # noqa: BLE001 - one step's surprise must not stop the others
            return step, self._fail(step, _surprise(step, error))
        elapsed = time.monotonic() - started
        self._hands.emit(StepDone(step.resource, step.action, elapsed))
        return step, None

    @contextmanager
    def _hold(self, step: Step) -> Iterator[None]:
        """Steps that touch the same resource, their own or as a source, go one after another."""
        source = step.source.id if step.source is not None else step.resource.id
        with self._guard:
            ids = sorted({step.resource.id.casefold(), source.casefold()})
            locks = [self._locks[one] for one in ids]
        with ExitStack() as held:
            for lock in locks:
                held.enter_context(lock)
            yield

    def _fail(self, step: Step, error: ReconcilerError) -> Finding:
        finding = error.findings()[0]
        self._hands.emit(StepFailed(step.resource, step.action, finding))
        return finding

    def _carry_out(self, step: Step, started: float) -> None:
        provider = self._hands.provider(step.resource.address)
        live = provider.read(step.resource)
        stale = tuple(_find_stale(self._hands, step, live))
        if stale:
            raise StalePlan(stale)
        shown = started
        for _ in provider.write(step, live, self._hands.resolve):
            now = time.monotonic()
            if now - shown >= _WAIT_SHOWN_S:
                shown = now
                self._hands.emit(StepWaiting(step.resource, step.action, now - started))
        field = self._hands.kinds[step.resource.address.kind].field
        after = provider.read(step.resource)
        proven = prove(field, step, live, after)
        self._record(step, proven)
        keep_sight(self._hands, step.resource, after)

    def _record(self, step: Step, document: Json | Absent) -> None:
        field = self._hands.kinds[step.resource.address.kind].field
        memory = self._remembered.get(step.resource.address)
        owned = dict(_owned(field, step, document))
        entry = Entry(
            address=step.resource.address,
            id=step.resource.id,
            action=step.action,
            at=self._hands.clock().strftime("%Y-%m-%dT%H:%M:%SZ"),
            by=self._author.by,
            host=self._author.host,
            commit=self._author.commit,
            plan_digest=self._author.plan_digest,
            patch=step.ops,
            inverse=step.inverse,
            owned=owned,
            secrets={
                **(memory.secrets if memory and step.action is Action.UPDATE else {}),
                **{pointer: reference.version for pointer, reference in step.secrets},
            },
            digests={
                **(memory.digests if memory and step.action is Action.UPDATE else {}),
                **{format_pointer(one.path): one.digest_after for one in step.models},
            },
            baseline=make_baseline(field, document, owned),
        )
        self._hands.ledger.record(entry)


def _surprise(step: Step, error: Exception) -> ReconcilerError:
    """A defect of this program or of the machine; its text might hold anything, so is left out."""
    return ReconcilerError(
        f"ended by an unexpected {type(error).__name__}",
        subject=str(step.resource.address),
        next_step="Plan again to see what was done; RECONCILER_LOG=debug shows where it happened.",
    )


def _owned(field: Field, step: Step, document: Json | Absent) -> Iterator[tuple[str, Json]]:
    """What the manifest speaks of, as read back, or as sent where the service shows nothing."""
    for pointer in step.owns:
        path = split_pointer(pointer)
        shown = find(document, path)
        value = find(step.after, path) if shown is ABSENT else shown
        if value is not ABSENT and not field.at(path).secret:
            yield pointer, value


def _sum_up(plan: Plan, failures: Mapping[Resource, Finding]) -> Outcome:
    done = [step for step in plan.steps if step.resource not in failures]
    added = {Action.CREATE, Action.REPLACE}
    destroyed = {Action.DELETE, Action.REPLACE}
    return Outcome(
        added=tuple(step.resource.address for step in done if step.action in added),
        changed=tuple(step.resource.address for step in done if step.action is Action.UPDATE),
        destroyed=tuple(step.resource.address for step in done if step.action in destroyed),
        failures=tuple(failures.values()),
    )
