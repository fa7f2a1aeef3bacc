"""The drift report: what has changed since the last apply, on the service or in a manifest."""

from __future__ import annotations

import enum
from typing import Literal

from reconciler.model.core import ABSENT, Absent, Address, Finding, Json, Resource
from reconciler.model.ledger import LastApplied
from reconciler.model.plan import Inputs, Refresh
from reconciler.model.values import dataclass


class Verdict(enum.StrEnum):
    """The status of a resource, or of one place in it, since the last apply.

    `DRIFTED`: live has changed and the manifest has not. `PENDING`: the manifest has changed, or
    was never applied. `CONFLICT`: both have changed, to different values. `MISSING`: the resource
    existed at the last apply. `FAILED`: its last operation failed. `UNMANAGED`: no manifest names
    it. `MODEL_SWAPPED`: it serves a different model. `ARTIFACT_MUTATED`: the blob at the same
    address has different bytes. `CREDENTIAL_EXPIRING`: a signature expires soon. `NOT_OBSERVABLE`:
    the service never shows the value. `INCOMPLETE`: it could not be read.
    """

    IN_SYNC = "in sync"
    DRIFTED = "drifted"
    PENDING = "pending"
    CONFLICT = "conflict"
    MISSING = "missing"
    FAILED = "failed"
    UNMANAGED = "unmanaged"
    MODEL_SWAPPED = "model-swapped"
    ARTIFACT_MUTATED = "artifact-mutated"
    CREDENTIAL_EXPIRING = "credential-expiring"
    NOT_OBSERVABLE = "not observable"
    INCOMPLETE = "evidence incomplete"


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference between ledger, live and manifest.

    `pointer` is "" for the whole resource. `remembered`, `live` and `declared` are ABSENT for a
    missing value; `hidden` says that they must not be shown. `since` is when the difference was
    first seen, in UTC. `note` holds more facts, and `commands` the commands that resolve the
    difference. `fleet` is the fleet of the resource, if any.
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
    """The status of one whole resource.

    `last_applied` is its state in the ledger. `observed_at` is when it was read, in UTC, or empty.
    `fleet` is the fleet of the resource, if any.
    """

    resource: Resource
    verdict: Verdict
    last_applied: LastApplied | None = None
    observed_at: str = ""
    fleet: Address | None = None


@dataclass(frozen=True)
class DriftReport:
    """All differences since the last apply, how complete they are, and how fresh they are.

    `lost` warns of lines that the ledger had and has no longer.
    """

    statuses: tuple[ResourceStatus, ...]
    findings: tuple[Drift, ...]
    inputs: Inputs
    refresh: Refresh
    made_at: str
    baseline: Literal["kept", "lost"]
    lost: Finding | None = None

    @property
    def outcome(self) -> Literal["in-sync", "drift", "evidence-incomplete"]:
        """The result in one word: proven drift comes before incomplete evidence."""
        said = {finding.verdict for finding in self.findings} - {Verdict.NOT_OBSERVABLE}
        if said - {Verdict.INCOMPLETE}:
            return "drift"
        return "evidence-incomplete" if said else "in-sync"
