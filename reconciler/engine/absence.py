"""The lists that an absence is checked with, and the error of a list that contradicts it.

Absence is the strongest claim: a create, a finished delete and an orphan rely on it. The answer
"not found" alone does not prove it, because a service may answer so for a resource that it has.
So the list of the scope is read after the answer was asked for. If it shows the resource, the
evidence is contradictory, and nothing is concluded. `Runtime.read` calls this module.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Mapping

from reconciler.errors import Contradicted
from reconciler.model import Resource, Summary


class ScopeLists:
    """The ids in the lists of scopes. Safe to use from several threads.

    A list serves every worker whose read began before it, so that a thousand creates do not need a
    thousand lists. The order is that of a counter, because no clock is involved.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counter = itertools.count(1)
        self._scopes: dict[tuple[str, str], _ScopeList] = {}

    def mark(self) -> int:
        """The current place in the order of reads and lists."""
        return next(self._counter)

    def find(
        self, scope: tuple[str, str], scan: Callable[[], Iterable[Summary]], since: int
    ) -> Mapping[str, str]:
        """The ids in a list of the scope that began after the mark `since`, by casefolded id.

        `scope` is a kind and the id of a scope. Raises the errors of `scan`.
        """
        with self._lock:
            kept = self._scopes.setdefault(scope, _ScopeList())
        with kept.lock:
            if kept.began <= since:
                began = self.mark()
                kept.ids = {item.id.casefold(): item.id for item in scan()}
                kept.began = began
            return kept.ids


class _ScopeList:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.began = 0
        self.ids: Mapping[str, str] = {}


def contradict(resource: Resource, shown: str) -> Contradicted:
    """The error for a resource that the service does not find and lists under the id `shown`."""
    respelled = "" if shown == resource.id else f" Correct the name: the list shows {shown}."
    return Contradicted(
        "the service answers that it does not exist, and the service's list shows it",
        status=200,
        subject=str(resource.address),
        next_step=f"The evidence is incomplete, so nothing is concluded. Plan again.{respelled}",
    )
