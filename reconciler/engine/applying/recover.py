"""Recovers the open intents of an interrupted run before a new run does anything else.

If an operation still runs at the service, the recovery waits for it and never starts it again.
Then a read decides the result of each intent. The apply command calls this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from reconciler.engine.applying.journal import Author, Journal, document_of
from reconciler.engine.applying.step_run import read_evidence
from reconciler.engine.observe import cache_observation
from reconciler.engine.pool import ResumableTask
from reconciler.engine.runtime import Runtime
from reconciler.errors import ReconcilerError, Unplannable
from reconciler.model import Finding, Intent, IntentResolved, StepResult
from reconciler.ports import Lease

_OPEN: Final = "A write of an earlier run may have been applied. The next run checks it again."


def recover_intents(runtime: Runtime, author: Author, lease: Lease, read_back_s: float) -> None:
    """Find the result of every open intent and record it.

    A read may lag `read_back_s` seconds behind a write. "Not done" is accepted only after so many
    seconds from now. Raises Unplannable with every intent whose result cannot be determined now.
    These intents stay open.
    """
    snapshot = runtime.ledger.load()
    known = [intent for intent in snapshot.open if intent.address.kind in runtime.kinds]
    if not known:
        return
    meant = snapshot.of_resources(intent.resource for intent in known)
    journal = Journal(runtime, author, lease, meant.last_applied_by_address)
    failures: list[Finding] = []
    for found in runtime.run_resumable(
        _Recovery(runtime, journal, read_back_s).recover, _by_resource(known)
    ):
        failures.extend(found)
    if failures:
        raise Unplannable(tuple(failures))


def _by_resource(intents: Iterable[Intent]) -> list[list[Intent]]:
    """Return the intents of each resource, oldest first."""
    grouped: dict[str, list[Intent]] = {}
    for intent in intents:
        grouped.setdefault(intent.id.casefold(), []).append(intent)
    return list(grouped.values())


class _Recovery:
    def __init__(self, runtime: Runtime, journal: Journal, read_back_s: float) -> None:
        self._runtime, self._journal, self._read_back_s = runtime, journal, read_back_s

    def recover(self, intents: list[Intent]) -> ResumableTask[tuple[Finding, ...]]:
        """Close the intents of one resource; returns a finding for each one that stays open."""
        try:
            for intent in intents:
                yield from self._recover_one(intent)
        except ReconcilerError as error:
            error.subject = error.subject or str(intents[0].address)
            return error.findings()
        return ()

    def _recover_one(self, intent: Intent) -> ResumableTask[None]:
        resource = intent.resource
        try:
            for _ in self._runtime.wait_until_idle(resource):
                pass
            lag_s = self._runtime.timing(intent.address.kind).lag_s
            # The age of the intent is not used: its writer may have had another clock, and may have
            # sent the write long after the intent. It sends nothing more now that we have the lock.
            read_back_s = max(self._read_back_s, lag_s)
            live, evidence = yield from read_evidence(self._runtime, intent, read_back_s)
        except ReconcilerError as error:
            error.evidence = _OPEN
            raise
        if evidence.result is StepResult.DONE:
            self._journal.finish(intent, document_of(live))
        else:
            self._journal.close(intent, evidence.result, evidence.note)
        cache_observation(self._runtime, resource, live)
        self._runtime.emit(IntentResolved(resource, intent.action, evidence.result, evidence.note))
