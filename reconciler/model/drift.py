"""Who moved what since the last apply."""

from __future__ import annotations

import enum
from typing import Literal

from reconciler.model.core import ABSENT, Absent, Address, Json, Resource
from reconciler.model.ledger import LastApplied
from reconciler.model.plan import Inputs, Refresh
from reconciler.model.values import dataclass


class Verdict(enum.StrEnum):
    """What is to be said of a resource, or of one place in it, since the last apply.

    `DRIFTED`: live moved and the manifest did not. `PENDING`: the manifest moved, or was never
    applied. `CONFLICT`: both moved, apart. `MISSING`: it was there when last applied.
    `UNMANAGED`: no manifest names it. `MODEL_SWAPPED`: it serves another model than was applied.
    `ARTIFACT_MUTATED`: other bytes lie at the same address. `CREDENTIAL_EXPIRING`: a signature
    ends soon. `NOT_OBSERVABLE`: the service never shows it. `INCOMPLETE`: it could not be read.
    """

    IN_SYNC = "in sync"
    DRIFTED = "drifted"
    PENDING = "pending"
    CONFLICT = "conflict"
    MISSING = "missing"
    UNMANAGED = "unmanaged"
    MODEL_SWAPPED = "model-swapped"
    ARTIFACT_MUTATED = "artifact-mutated"
    CREDENTIAL_EXPIRING = "credential-expiring"
    NOT_OBSERVABLE = "not observable"
    INCOMPLETE = "evidence incomplete"


@dataclass(frozen=True, slots=True)
class Drift:
    """One finding of who moved what.

    `pointer` is "" where the whole resource is meant. `remembered`, `live` and `declared` are
    ABSENT where there is none; `hidden` says that they may not be shown. `since` is when it was
    first seen, in UTC; `note` says more, `commands` are the commands that settle it. `fleet` is the
    fleet whose member the resource is, if any.
    """

    resource: Resource
    verdict: Verdict
    pointer: str = ""
    remembered: Json | Absent = ABSENT
    live: Json | Absent = ABSENT
    declared: Json | Absent = ABSENT
    hidden: bool = False
    note: str = ""
    since: str = ""
    commands: tuple[str, ...] = ()
    fleet: Address | None = None


@dataclass(frozen=True, slots=True)
class ResourceStatus:
    """What is said of one resource as a whole.

    `last_applied` is what the ledger remembers of it, `observed_at` when it was read, in UTC, or
    empty; `fleet` is the fleet whose member it is, if any.
    """

    resource: Resource
    verdict: Verdict
    last_applied: LastApplied | None = None
    observed_at: str = ""
    fleet: Address | None = None


@dataclass(frozen=True)
class DriftReport:
    """Who moved what since the last apply, how much of it is known, and how fresh that is."""

    statuses: tuple[ResourceStatus, ...]
    findings: tuple[Drift, ...]
    inputs: Inputs
    refresh: Refresh
    made_at: str
    baseline: Literal["kept", "lost"]

    @property
    def outcome(self) -> Literal["in-sync", "drift", "evidence-incomplete"]:
        """Drift that is proven counts, whatever else could not be read."""
        said = {finding.verdict for finding in self.findings} - {Verdict.NOT_OBSERVABLE}
        if said - {Verdict.INCOMPLETE}:
            return "drift"
        return "evidence-incomplete" if said else "in-sync"
