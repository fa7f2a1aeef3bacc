"""What was done, and what is remembered of it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import field, fields
from typing import Final

from reconciler.model.core import Action, Address, Finding, Json, Resource, SecretReference
from reconciler.model.values import dataclass


@dataclass(frozen=True)
class StepRecord:
    """What a ledger says of a step before it, after it, and as long as it is remembered.

    `id` is what the service calls the resource. `at` is an ISO time. `plan_digest` and
    `step_digest` are of the plan and of the step as the plan has it: they show whether that very
    step was the last thing done. `secrets` maps the pointers of secrets to the version label that
    was written, `digests` the pointers of models to the digest of their bytes. `wave` and `fleet`
    are as in `Step`. `token` says where the token of the resource is found, as a
    `SecretReference` is written; empty where it has none of its own. `sequence` is given by the
    ledger.
    """

    id: str
    at: str
    by: str
    commit: str
    plan_digest: str = field(default="", kw_only=True)
    step_digest: str = field(default="", kw_only=True)
    secrets: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    digests: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    wave: int = field(default=0, kw_only=True)
    fleet: Address | None = field(default=None, kw_only=True)
    token: str = field(default="", kw_only=True)
    sequence: int = field(default=0, kw_only=True)


@dataclass(frozen=True)
class LastApplied(StepRecord):
    """What the ledger remembers of one resource: the last thing applied to it.

    `owned` maps pointers that a manifest declared to the values that were read back. `baseline`
    maps what no manifest declared to what it was then: short values, or `{"digest": …}`.
    """

    owned: Mapping[str, Json]
    baseline: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def of(cls, entry: Entry) -> LastApplied:
        """What is remembered after an entry whose step is done."""
        return cls(**{name: getattr(entry, name) for name in _REMEMBERED})

    def resource(self, address: Address) -> Resource:
        """The resource as it is remembered."""
        return Resource(address, self.id, SecretReference.parse(self.token))


_REMEMBERED: Final = tuple(one.name for one in fields(LastApplied))


class StepResult(enum.StrEnum):
    """What became of a step, by what a read showed afterwards.

    `NOT_DONE`: live is as it was. `UNKNOWN`: live is neither as it was nor as was wanted, or
    cannot be seen.
    """

    DONE = "done"
    NOT_DONE = "not done"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class LoggedStep(StepRecord):
    """What the lines before and after a step both say.

    `patch` is that of the step and what it writes beside it, `inverse` leads back from both.
    `fence` is the number of the lock under which the line was written, which only ever grows.
    """

    address: Address
    action: Action
    host: str
    patch: tuple[Json, ...]
    inverse: tuple[Json, ...]
    fence: int = field(default=0, kw_only=True)

    @property
    def resource(self) -> Resource:
        """The resource that it is about."""
        return Resource(self.address, self.id, SecretReference.parse(self.token))


@dataclass(frozen=True)
class Intent(LoggedStep):
    """What is about to be sent, durable before the first call of a step.

    `attempt` counts from 1. `owned_paths` are the pointers that are remembered once it is done,
    `stamp` the service's change stamp right before. `absences` and `body` are as in `Step`.
    """

    attempt: int
    owned_paths: tuple[str, ...] = ()
    absences: tuple[str, ...] = ()
    stamp: str = ""
    body: str = "parts"


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
class Entry(LoggedStep):
    """One line of the ledger: what was done to one resource, by whom, from which commit.

    `owned` and `baseline` are as in `LastApplied`. `intent` is the sequence of the intent whose
    outcome it is, 0 where there was none. A `result` other than done closes the intent and changes
    no memory, and `note` says why.
    """

    owned: Mapping[str, Json]
    baseline: Mapping[str, Json] = field(default_factory=dict)
    intent: int = 0
    result: StepResult = StepResult.DONE
    note: str = ""

    @classmethod
    def closing(cls, intent: Intent, at: str, fence: int) -> Entry:
        """The outcome of an intent, with nothing to remember. Who began it did it."""
        said = {name: getattr(intent, name) for name in _LOGGED}
        said |= {"at": at, "fence": fence, "secrets": {}, "digests": {}, "sequence": 0}
        return cls(**said, owned={}, intent=intent.sequence)


_LOGGED: Final = tuple(one.name for one in fields(LoggedStep))


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
