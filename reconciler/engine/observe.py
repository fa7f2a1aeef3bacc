"""Reading what is live, many at once.

A read that failed is a finding, never an absence. When a service cannot be reached at all, or
lets nobody in, the rest is not asked: a thousand times the same error helps nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.engine.hands import Hands
from reconciler.errors import ReconcilerError, ServiceError, Unauthorized, Unavailable
from reconciler.model import Absent, Finding, Live, Resource


@dataclass(frozen=True, slots=True)
class Observation:
    """What one read found: `live`, or None and the `finding` that says why not."""

    resource: Resource
    live: Live | Absent | None
    finding: Finding | None = None


def observe(hands: Hands, resources: Iterable[Resource]) -> dict[Resource, Observation]:
    """Read every resource, in the order given; nothing is raised for a read that failed."""
    asked = list(resources)
    reader = _Reader(hands)
    found = {seen.resource: seen for seen in hands.spread(reader.read, asked)}
    return {resource: found[resource] for resource in asked}


class _Reader:
    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._hopeless = threading.Event()
        self._answered = threading.Event()

    def read(self, resource: Resource) -> Observation:
        if self._hopeless.is_set():
            finding = Finding(
                "was not read: the service answers nobody", subject=str(resource.address)
            )
            return Observation(resource, None, finding)
        try:
            live = self._hands.provider(resource.address).read(resource)
        except ReconcilerError as error:
            self._judge(error)
            error.subject = error.subject or str(resource.address)
            return Observation(resource, None, error.findings()[0])
        self._answered.set()
        return Observation(resource, live)

    def _judge(self, error: ReconcilerError) -> None:
        unreachable = isinstance(error, Unavailable) and not error.status
        refused = isinstance(error, Unauthorized) and error.status == 401
        if (unreachable or refused) and not self._answered.is_set():
            self._hopeless.set()
        if isinstance(error, ServiceError) and error.status not in {0, 401}:
            self._answered.set()
