"""What an earlier run began and nobody saw the end of, looked at before anything else is done.

An operation that still runs at the service is waited for, never begun again; then live tells what
became of each step.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from reconciler.document.schema import Field
from reconciler.engine.applying.journal import Author, Journal, document_of
from reconciler.engine.applying.step_run import read_until
from reconciler.engine.observe import keep_sight
from reconciler.engine.pool import Work
from reconciler.engine.runtime import Hands
from reconciler.errors import ReconcilerError, Unplannable
from reconciler.model import Absent, Fate, Finding, Intent, Live, Settled
from reconciler.plans.evidence import judge_intent
from reconciler.ports import Lease

_OPEN: Final = "What an earlier run sent may have been done. The next run looks at it again."


def settle_open(hands: Hands, author: Author, lease: Lease, patience_s: float) -> None:
    """Find out what became of every intent without an outcome, and write it down.

    A read may lag `patience_s` seconds behind a write. Raises Unplannable with everything that
    cannot be told now; that stays open.
    """
    snapshot = hands.ledger.load()
    known = [intent for intent in snapshot.open if intent.address.kind in hands.kinds]
    if not known:
        return
    journal = Journal(hands, author, lease, snapshot.memories)
    failures: list[Finding] = []
    for found in hands.weave(_Settler(hands, journal, patience_s).settle, _by_resource(known)):
        failures.extend(found)
    if failures:
        raise Unplannable(tuple(failures))


def _by_resource(intents: Iterable[Intent]) -> list[list[Intent]]:
    """The intents of each resource, oldest first."""
    grouped: dict[str, list[Intent]] = {}
    for intent in intents:
        grouped.setdefault(intent.id.casefold(), []).append(intent)
    return list(grouped.values())


class _Settler:
    def __init__(self, hands: Hands, journal: Journal, patience_s: float) -> None:
        self._hands, self._journal, self._patience_s = hands, journal, patience_s

    def settle(self, intents: list[Intent]) -> Work[tuple[Finding, ...]]:
        """Close the intents of one resource; returns what could not be told."""
        try:
            for intent in intents:
                yield from self._settle_one(intent)
        except ReconcilerError as error:
            error.subject = error.subject or str(intents[0].address)
            return error.findings()
        return ()

    def _settle_one(self, intent: Intent) -> Work[None]:
        resource = intent.resource
        field = self._hands.kinds[intent.address.kind].field
        try:
            live = yield from self._read(intent, field)
        except ReconcilerError as error:
            error.evidence = _OPEN
            raise
        judged = judge_intent(field, intent, live)
        if judged.fate is Fate.DONE:
            self._journal.finish(intent, document_of(live))
        else:
            self._journal.close(intent, judged.fate, judged.note)
        keep_sight(self._hands, resource, live)
        self._hands.emit(Settled(resource, intent.action, judged.fate, judged.note))

    def _read(self, intent: Intent, field: Field) -> Work[Live | Absent]:
        for _ in self._hands.wait_until_idle(intent.resource):
            pass

        def shows(live: Live | Absent) -> bool:
            return judge_intent(field, intent, live).fate is Fate.DONE

        lag_s = self._hands.timing(intent.address.kind).lag_s
        left = max(self._patience_s, lag_s) - self._age(intent)
        return (yield from read_until(self._hands, intent.resource, left, shows))

    def _age(self, intent: Intent) -> float:
        """How many seconds ago it was begun; none where that cannot be told."""
        try:
            begun = datetime.fromisoformat(intent.at)
            return max(0.0, (self._hands.clock() - begun).total_seconds())
        except (ValueError, TypeError):
            return 0.0
