"""What was done, and what is remembered of it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.model.core import Action, Address, Finding, Json, Resource, SecretReference


@dataclass(frozen=True)
class LastApplied:
    """What the ledger remembers of one resource: the last thing applied to it.

    `owned` maps pointers that a manifest declared to the values that were read back; `secrets`
    maps the pointers of secrets to the version label that was written; `digests` the pointers of
    models to the digest of their bytes when they were applied. `baseline` maps what no manifest
    declared to what it was then: short values, or `{"digest": …}`. The digests of the plan and of
    the step tell whether that very step was the last thing done. `fleet` is the fleet whose member
    it was; `token` says where the token of the resource is found, as a `SecretReference` is
    written; empty where it has none of its own.
    """

    id: str
    owned: Mapping[str, Json]
    secrets: Mapping[str, str]
    at: str
    by: str
    commit: str
    sequence: int
    digests: Mapping[str, str] = field(default_factory=dict)
    baseline: Mapping[str, Json] = field(default_factory=dict)
    wave: int = 0
    plan_digest: str = ""
    step_digest: str = ""
    fleet: Address | None = None
    token: str = ""

    def resource(self, address: Address) -> Resource:
        """The resource as it is remembered."""
        return Resource(address, self.id, SecretReference.parse(self.token))


class StepResult(enum.StrEnum):
    """What became of a step, by what a read showed afterwards.

    `NOT_DONE`: live is as it was. `UNKNOWN`: live is neither as it was nor as was wanted, or
    cannot be seen.
    """

    DONE = "done"
    NOT_DONE = "not done"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Intent:
    """What is about to be sent, durable before the first call of a step.

    `patch` is that of the step and what it writes beside it, `inverse` leads back from both.
    `step_digest` is of the step as it stands in the plan; `attempt` counts from 1; `fence` is the
    number of the lock under which it was written, which only ever grows. `owned_paths` are the
    pointers that are remembered once it is done, `stamp` the service's change stamp right before.
    `absences`, `body`, `wave` and `fleet` are as in `Step`, `token` as in `LastApplied`. `sequence`
    is given by the ledger.
    """

    address: Address
    id: str
    action: Action
    at: str
    by: str
    host: str
    commit: str
    plan_digest: str
    step_digest: str
    attempt: int
    fence: int
    patch: tuple[Json, ...]
    inverse: tuple[Json, ...]
    owned_paths: tuple[str, ...] = ()
    absences: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    stamp: str = ""
    body: str = "parts"
    wave: int = 0
    fleet: Address | None = None
    token: str = ""
    sequence: int = 0

    @property
    def resource(self) -> Resource:
        """The resource that it is about."""
        return Resource(self.address, self.id, SecretReference.parse(self.token))


@dataclass(frozen=True, slots=True)
class LockOwner:
    """Who holds the lock of a ledger: who, why, where and since when, from which commit.

    `id` is what `force-unlock` takes; `host` is where process `pid` runs, which began at `started`
    (in the machine's own count, empty where there is none); `since` is in UTC. `fence` is given
    when the lock is taken and only ever grows.
    """

    id: str
    who: str
    why: str
    host: str
    pid: int
    started: str
    since: str
    commit: str = ""
    fence: int = 0


@dataclass(frozen=True)
class Snapshot:
    """The ledger at one moment. `known` is False when there is no ledger to remember by.

    `open` are the intents of which nobody knows what became, oldest first; `fence` is the highest
    number of a lock that stands in the ledger.
    """

    last_applied_by_address: Mapping[Address, LastApplied]
    known: bool
    open: tuple[Intent, ...] = ()
    fence: int = 0


@dataclass(frozen=True)
class Entry:
    """One line of the ledger: what was done to one resource, by whom, from which commit.

    `intent` is the sequence of the intent whose outcome it is, 0 where there was none; a `result`
    other than done closes the intent and changes no memory, and `note` says why. `fleet` is the
    fleet whose member it was then, `token` is as in `LastApplied`. `sequence` is given by the
    ledger.
    """

    address: Address
    id: str
    action: Action
    at: str
    by: str
    host: str
    commit: str
    plan_digest: str
    patch: tuple[Json, ...]
    inverse: tuple[Json, ...]
    owned: Mapping[str, Json]
    secrets: Mapping[str, str]
    digests: Mapping[str, str] = field(default_factory=dict)
    baseline: Mapping[str, Json] = field(default_factory=dict)
    intent: int = 0
    result: StepResult = StepResult.DONE
    note: str = ""
    fence: int = 0
    step_digest: str = ""
    wave: int = 0
    fleet: Address | None = None
    token: str = ""
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a look at every line of a ledger came to: how many there are, and what does not fit."""

    entries: int
    intents: int
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class RebuiltEntry:
    """What can be remembered of one resource without a ledger.

    `entry` is None where there is no such service. `apart` are the places at which live is not as
    declared, `not_observable` those that are never shown, `models` those of trained models, whose
    bytes at the last apply nobody knows.
    """

    resource: Resource
    entry: Entry | None = None
    apart: tuple[str, ...] = ()
    not_observable: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
