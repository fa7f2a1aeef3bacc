"""The journal of one apply: writes an intent to the ledger before a write is sent.

An intent without an outcome means that the result of the write is not known. The next run then
checks live first. Steps and the recovery call this module.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from reconciler.document.baseline import make_baseline
from reconciler.document.identity import is_same_creation, read_creation_time
from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.document.schema import Field
from reconciler.engine.runtime import Runtime
from reconciler.errors import LedgerConflict, LedgerInvalid, LedgerUnwritten
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Approval,
    Entry,
    Fact,
    Intent,
    Json,
    LastApplied,
    Live,
    ModelChange,
    Plan,
    SecretReference,
    Step,
    StepResult,
    Verb,
)
from reconciler.model.values import dataclass
from reconciler.plans.changes_digest import digest_of_changes
from reconciler.plans.guards import GATE
from reconciler.plans.history import APPROVALS, REASON
from reconciler.plans.parts import StepPart
from reconciler.plans.plan_file import digest_of_step
from reconciler.ports import Lease
from reconciler.text.times import format_utc

# The topic of the facts that say which model answers, or that this is still to be proven.
PROOFS: Final = "verification"


@dataclass(frozen=True, slots=True)
class Author:
    """Who applies, on which host, from which commit, with which plan.

    `differing` are the files that the commit does not contain as they were read. `approvals` are
    those of the plan.
    """

    by: str
    host: str
    commit: str
    plan_digest: str
    differing: tuple[str, ...] = ()
    approvals: tuple[Approval, ...] = ()


class Journal:
    """Writes intents and their outcomes under a lock. Safe to use from several threads.

    From its creation on, a write is sent to a service only if the lease still stands right before
    the first byte.
    """

    def __init__(
        self,
        runtime: Runtime,
        author: Author,
        lease: Lease,
        remembered: Mapping[Address, LastApplied],
    ) -> None:
        self._runtime = runtime
        self._author = author
        self._lease = lease
        self._remembered = {**remembered}
        runtime.rate_limiter.require(lease)

    def begin(
        self, step: Step, live: Live | Absent, attempt: int, part: StepPart | None = None
    ) -> Intent:
        """Record the intent of a write; it is durable when this returns.

        `part` is the part of a larger step that `step` is, if any.

        Raises LedgerConflict if the lock is lost, and LedgerInvalid if the ledger cannot be
        written. In both cases nothing may be sent.
        """
        self._lease.check()
        written = list(_write_down(step))
        intent = Intent(
            address=step.resource.address,
            id=step.resource.id,
            action=step.action,
            at=self._now(),
            by=self._author.by,
            host=self._author.host,
            commit=self._author.commit,
            plan_digest=self._author.plan_digest,
            differing=self._author.differing,
            step_digest=digest_of_step(step) if part is None else part.whole,
            part=0 if part is None else part.number,
            parts=0 if part is None else part.count,
            title="" if part is None else part.write.title,
            attempt=attempt,
            fence=self._lease.lock_owner.fence,
            patch=(*step.ops, *(forth for forth, _ in written)),
            inverse=(*(back for _, back in reversed(written)), *step.inverse),
            owned_paths=step.owned_paths,
            absences=step.absences,
            secrets={
                format_pointer(change.path): change.after.version
                for change in step.changes
                if isinstance(change.after, SecretReference)
            },
            digests={format_pointer(one.path): one.digest_after for one in step.models},
            stamp="" if live is ABSENT else live.stamp,
            body=step.body,
            wave=step.wave,
            fleet=step.fleet,
            token=_write_token(step),
            created=read_creation_time(self._find_field(step.resource.address), document_of(live)),
        )
        intent = replace(intent, sequence=self._runtime.ledger.intend(intent))
        self._lease.check()
        return intent

    def finish(
        self,
        intent: Intent,
        document: Json | Absent,
        find_sent: Callable[[], Json | Absent] = lambda: ABSENT,
    ) -> None:
        """Record that an intent is done, with the values that were read back.

        `find_sent` returns the desired document, which provides the values that the service does
        not show. It is called only if there are any.
        Raises LedgerUnwritten, which holds the entry, if the ledger does not take it.
        """
        entry = self._remember(self._close(intent), intent, document, find_sent)
        self._record(entry)
        # The next write of the same step adds to what this one has recorded.
        self._remembered[entry.address] = LastApplied.of(entry)

    def close(self, intent: Intent, result: StepResult, note: str) -> None:
        """Record that an intent is not done or its result is unknown; recorded values stay."""
        self._record(replace(self._close(intent), result=result, note=note))

    def note_reason(
        self, plan: Plan, steps: Sequence[Step], facts: Mapping[tuple[str, str], Fact]
    ) -> None:
        """Record why the gate was lifted for the steps of a plan whose models it refuses.

        An earlier run of the plan has recorded it already.
        """
        refused = [step for step in steps if any(map(_is_refused, step.models))]
        if not refused or (REASON, self._author.plan_digest) in facts:
            return
        data = {
            "guard": GATE,
            "addresses": sorted(str(step.resource.address) for step in refused),
            "fleets": sorted({str(step.fleet) for step in refused if step.fleet}),
            "reason": plan.inputs.reason,
        }
        self.note(REASON, self._author.plan_digest, data)

    def note_approvals(
        self, plan: Plan, steps: Sequence[Step], facts: Mapping[tuple[str, str], Fact]
    ) -> None:
        """Record who approved a plan that still has steps to do.

        An earlier run of the plan has recorded it already.
        """
        subject = self._author.plan_digest
        if not (steps and self._author.approvals) or (APPROVALS, subject) in facts:
            return
        approvals = [
            {"principal": one.principal, "key": one.key, "expires": one.expires}
            for one in self._author.approvals
        ]
        changes = digest_of_changes(plan)
        self.note(APPROVALS, subject, {"changes_digest": changes, "approvals": approvals})

    def note_gone(self, step: Step) -> None:
        """Record that a resource to destroy is already gone, so that the ledger forgets it."""
        self._lease.check()
        self._record(
            Entry(
                address=step.resource.address,
                id=step.resource.id,
                action=step.action,
                at=self._now(),
                by=self._author.by,
                host=self._author.host,
                commit=self._author.commit,
                plan_digest=self._author.plan_digest,
                differing=self._author.differing,
                patch=(),
                inverse=(),
                owned={},
                secrets={},
                note="it was already gone",
                fence=self._lease.lock_owner.fence,
                fleet=step.fleet,
            )
        )

    def note(self, topic: str, subject: str, data: Mapping[str, Json]) -> None:
        """Record a fact beside the steps; it is durable when this returns."""
        self._lease.check()
        self._runtime.ledger.record(
            Fact(
                topic=topic,
                subject=subject,
                data=data,
                at=self._now(),
                by=self._author.by,
                host=self._author.host,
                commit=self._author.commit,
                fence=self._lease.lock_owner.fence,
            )
        )

    def _record(self, entry: Entry) -> None:
        try:
            self._runtime.ledger.record(entry)
        except (LedgerInvalid, LedgerConflict) as error:
            raise LedgerUnwritten(error, entry) from error

    def _close(self, intent: Intent) -> Entry:
        return Entry.closing(intent, self._now(), self._lease.lock_owner.fence)

    def _remember(
        self,
        entry: Entry,
        intent: Intent,
        document: Json | Absent,
        find_sent: Callable[[], Json | Absent],
    ) -> Entry:
        field = self._find_field(intent.address)
        last_applied = self._find_kept(field, intent, document)
        owned = dict(_find_owned(field, intent.owned_paths, document, find_sent))
        return replace(
            entry,
            owned=owned,
            secrets={**(last_applied.secrets if last_applied else {}), **intent.secrets},
            digests={**(last_applied.digests if last_applied else {}), **intent.digests},
            baseline=make_baseline(field, document, owned),
            created=entry.created if document is ABSENT else read_creation_time(field, document),
        )

    def _find_kept(
        self, field: Field, intent: Intent, document: Json | Absent
    ) -> LastApplied | None:
        """Return what was recorded before of the resource that an intent updates.

        Returns None for another resource: its address, or its id, meant something else then.
        """
        known = self._remembered.get(intent.address)
        if known is None or intent.action is not Action.UPDATE or not known.has_id(intent.id):
            return None
        return known if is_same_creation(field, known.created, document) else None

    def _find_field(self, address: Address) -> Field:
        return self._runtime.kinds[address.kind].field

    def _now(self) -> str:
        return format_utc(self._runtime.clock())


def _is_refused(model: ModelChange) -> bool:
    return any(one.refuses for one in model.gates)


def _write_down(step: Step) -> Iterator[tuple[Json, Json]]:
    """Yield each non-secret write outside the patch, with its inverse as far as it is known."""
    before = {model.path: model.before for model in step.models if model.before}
    for change in step.changes:
        if change.verb is Verb.WRITE and not isinstance(change.after, SecretReference):
            place = {"path": format_pointer(change.path)}
            known = change.path in before
            back = {"op": "add", "value": before[change.path]} if known else {"op": "remove"}
            forth = {"op": "replace" if known else "add", "value": change.after}
            yield {**forth, **place}, {**back, **place}


def _write_token(step: Step) -> str:
    return str(step.resource.token) if step.resource.token is not None else ""


def document_of(live: Live | Absent) -> Json | Absent:
    """Return the document of a read, or ABSENT."""
    return live if isinstance(live, Absent) else live.document


def _find_owned(
    field: Field,
    owned_paths: Iterable[str],
    document: Json | Absent,
    find_sent: Callable[[], Json | Absent],
) -> Iterator[tuple[str, Json]]:
    """Yield each declared value as it was read back, or as it was sent if it is not shown."""
    sent = functools.cache(find_sent)
    for pointer in owned_paths:
        path = split_pointer(pointer)
        shown = find(document, path)
        value = find(sent(), path) if shown is ABSENT else shown
        if value is not ABSENT and not field.at(path).secret:
            yield pointer, value
