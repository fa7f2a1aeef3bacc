"""The drift report: what has changed since the last apply, on the service or in a manifest."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import field
from typing import Final, Literal, TypeAlias

from reconciler.model.core import (
    ABSENT,
    Absent,
    Address,
    Finding,
    Json,
    Resource,
    SourceLocation,
)
from reconciler.model.ledger import LastApplied
from reconciler.model.plan import Inputs, Refresh
from reconciler.model.values import dataclass

Severity: TypeAlias = Literal["error", "warning", "note"]


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

    @property
    def severity(self) -> Severity:
        """How grave it is; the same in each format."""
        return _SEVERITY[self]


_SEVERITY: Final[Mapping[Verdict, Severity]] = {
    Verdict.MODEL_SWAPPED: "error",
    Verdict.ARTIFACT_MUTATED: "error",
    Verdict.MISSING: "error",
    Verdict.FAILED: "error",
    Verdict.CONFLICT: "error",
    Verdict.DRIFTED: "warning",
    Verdict.CREDENTIAL_EXPIRING: "warning",
    Verdict.INCOMPLETE: "warning",
    Verdict.PENDING: "note",
    Verdict.UNMANAGED: "note",
    Verdict.NOT_OBSERVABLE: "note",
    Verdict.IN_SYNC: "note",
}


@dataclass(frozen=True, slots=True)
class IgnoreRule:
    """One rule of `.driftignore`: which findings are accepted, why, until when, and by whom.

    `address` and `pointer` are patterns as in a shell; an empty `pointer` matches each place.
    `verdict` is None for each verdict. `until` is the last day of the rule, as an ISO date in UTC.
    """

    address: str
    pointer: str
    verdict: Verdict | None
    reason: str
    until: str
    owner: str
    place: SourceLocation


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference between ledger, live and manifest.

    `pointer` is "" for the whole resource. `remembered`, `live` and `declared` are ABSENT for a
    missing value; `hidden` says that they must not be shown. `since` is when the difference was
    first seen, in UTC. `note` holds more facts, and `commands` the commands that resolve the
    difference. `fleet` is the fleet of the resource, if any. `place` is where the manifest declares
    the value, or else the resource; None for a resource without a manifest. `key` is a digest that
    names the same difference in each run. `is_new` says that no earlier run had it, or that the
    baseline lacks it.
    `rule` is the rule that ignores it.
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
    place: SourceLocation | None = None
    key: str = ""
    is_new: bool = True
    rule: IgnoreRule | None = None


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


@dataclass(frozen=True, slots=True)
class DriftRun:
    """One earlier run: when it was, in UTC, of which commit, and its resources by their verdict."""

    at: str
    commit: str
    counts: Mapping[Verdict, int]


@dataclass(frozen=True)
class DriftPast:
    """What the earlier runs of a project and environment found.

    `runs` are the last ones, the oldest first. `since` has the time when each open finding was
    first seen, in UTC, by its key. `sent` are the keys that webhooks have reported, each with
    eight more digits that name the webhook. `overwritten` are findings that an apply found before
    any run did; each has no value, `since` is the time of the apply, and `note` says who applied.
    `lost` warns of a part that could not be read.
    """

    runs: tuple[DriftRun, ...] = ()
    since: Mapping[str, str] = field(default_factory=dict)
    sent: frozenset[str] = frozenset()
    overwritten: tuple[Drift, ...] = ()
    lost: Finding | None = None


@dataclass(frozen=True)
class DriftReport:
    """All differences since the last apply, how complete they are, and how fresh they are.

    `lost` warns of lines that the ledger had and has no longer. `ignored` are the findings that a
    rule of `.driftignore` ignores; `findings` does not have them. `expired` are the rules that are
    over. `runs` are the last runs over the whole project, this one included, the oldest first.
    `known` are findings that `--new-only` leaves out; `findings` does not have them, and each
    status has them. `overwritten` are findings that an apply of the last days has overwritten
    before a report had them, as DriftPast says. `whole` says that every resource of the project was
    asked for. `history_lost` warns that the history of earlier runs could not be read or written.
    `seconds` is how long the reads and comparisons took.
    """

    statuses: tuple[ResourceStatus, ...]
    findings: tuple[Drift, ...]
    inputs: Inputs
    refresh: Refresh
    made_at: str
    baseline: Literal["kept", "lost"]
    lost: Finding | None = None
    ignored: tuple[Drift, ...] = ()
    known: tuple[Drift, ...] = ()
    overwritten: tuple[Drift, ...] = ()
    expired: tuple[IgnoreRule, ...] = ()
    runs: tuple[DriftRun, ...] = ()
    whole: bool = True
    history_lost: Finding | None = None
    seconds: float = 0.0

    @property
    def outcome(self) -> Literal["in-sync", "drift", "evidence-incomplete"]:
        """The result in one word: proven drift comes before incomplete evidence."""
        said = {finding.verdict for finding in self.findings} - {Verdict.NOT_OBSERVABLE}
        if said - {Verdict.INCOMPLETE}:
            return "drift"
        return "evidence-incomplete" if said else "in-sync"


@dataclass(frozen=True, slots=True)
class FailedReport:
    """An environment whose drift report could not be made, and why."""

    environment: str
    findings: tuple[Finding, ...]
