"""One cycle of `watch`: what it found, what it changed, and what it left."""

from __future__ import annotations

import enum

from reconciler.model.core import Address, Finding
from reconciler.model.drift import DriftReport
from reconciler.model.ledger import LockOwner
from reconciler.model.values import dataclass


class CycleOutcome(enum.StrEnum):
    """How a cycle ended.

    `DRIFT` is that of its last drift report. `IN_SYNC`: so it is, by reads of this cycle, and with
    the manifests of now. `INCOMPLETE`: neither drift nor this is proven. `STANDBY`: another process
    leads, so nothing was read. `FAILED`: no report was made, and `errors` says why. `INTERRUPTED`:
    the process was asked to end.
    """

    IN_SYNC = "in-sync"
    DRIFT = "drift"
    INCOMPLETE = "evidence-incomplete"
    STANDBY = "standby"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Cycle:
    """One cycle in one environment; `environment` is empty in a project without environments.

    `report` is the last drift report of the cycle: after an apply it shows what the apply left, and
    `found` is the one before the apply; None where nothing was applied.
    `applied` are the resources that the cycle changed. `quarantined` are those that it leaves,
    because a change of them did not hold three times in a row; `left` has a finding for each change
    that it did not make. `errors` beside a report say why the cycle used an earlier state of the
    project, or what failed after the report. `leader` is the process that leads, if it is another
    one and known. Times are in UTC, durations in seconds; a duration is None where that part did
    not run.
    """

    id: str
    environment: str
    started_at: str
    ended_at: str
    outcome: CycleOutcome
    report: DriftReport | None = None
    applied: tuple[Address, ...] = ()
    quarantined: tuple[Address, ...] = ()
    left: tuple[Finding, ...] = ()
    errors: tuple[Finding, ...] = ()
    plan_s: float | None = None
    apply_s: float | None = None
    leader: LockOwner | None = None
    found: DriftReport | None = None

    @property
    def has_evidence(self) -> bool:
        """Whether it read a resource, or a list showed it unchanged; absence counts as read."""
        return self.report is not None and any(one.observed_at for one in self.report.statuses)
