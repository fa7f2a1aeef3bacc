"""The values of the ledger: intents, entries, the last applied state, and the lock owner."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import field, fields
from typing import Final

from reconciler.model.core import Action, Address, Finding, Json, Resource, SecretReference
from reconciler.model.values import dataclass


@dataclass(frozen=True)
class StepRecord:
    """The fields that an intent, an entry and the last applied state have in common.

    `id` is the service's id of the resource. `at` is an ISO time. `plan_digest` and `step_digest`
    are the digests of the plan and of its step: they show whether that step was the last one that
    was applied. `secrets` maps the pointers of secrets to the written version label. `digests` maps
    the pointers of models to the digest of their bytes. `wave` and `fleet` are as in `Step`.
    `token` is the text form of the `SecretReference` of the resource's own token; empty when the
    resource has no token of its own. The ledger assigns `sequence`.
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
    """The state of one resource in the ledger after its last apply.

    `owned` maps pointers that a manifest declared to the values that were read back. `baseline`
    maps the pointers that no manifest declared to their values at that time: short values, or
    `{"digest": …}`.
    """

    owned: Mapping[str, Json]
    baseline: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def of(cls, entry: Entry) -> LastApplied:
        """The state after an entry whose step is done."""
        return cls(**{name: getattr(entry, name) for name in _REMEMBERED})

    def resource(self, address: Address) -> Resource:
        """The resource with its recorded id and token."""
        return Resource(address, self.id, SecretReference.parse(self.token))


_REMEMBERED: Final = tuple(one.name for one in fields(LastApplied))


class StepResult(enum.StrEnum):
    """The result of a step, as a later read shows it.

    `NOT_DONE`: live is unchanged. `UNKNOWN`: live has neither the old nor the new values, or cannot
    be read.
    """

    DONE = "done"
    NOT_DONE = "not done"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class LoggedStep(StepRecord):
    """The fields that an intent and an entry have in common.

    `patch` holds the operations of the step and the values that it writes beside them; `inverse`
    undoes both. `fence` is the fencing token of the lock under which the line was written; it only
    grows.
    """

    address: Address
    action: Action
    host: str
    patch: tuple[Json, ...]
    inverse: tuple[Json, ...]
    fence: int = field(default=0, kw_only=True)

    @property
    def resource(self) -> Resource:
        """The resource of the step."""
        return Resource(self.address, self.id, SecretReference.parse(self.token))


@dataclass(frozen=True)
class Intent(LoggedStep):
    """The planned write of a step; it is durable before the first call of the step.

    `attempt` counts from 1. `owned_paths` are the pointers that are recorded once the step is done.
    `stamp` is the service's change stamp immediately before. `absences` and `body` are as in
    `Step`.
    """

    attempt: int
    owned_paths: tuple[str, ...] = ()
    absences: tuple[str, ...] = ()
    stamp: str = ""
    body: str = "parts"


@dataclass(frozen=True, slots=True)
class LockOwner:
    """The process that holds the lock of a ledger: user, command, host, start time and commit.

    `id` is the argument of `force-unlock`. Process `pid` runs on `host` and started at `started`
    (in the machine's own count; empty when the machine has no such count). `since` is in UTC.
    `fence` is the fencing token: the ledger assigns it when the lock is taken, and it only grows.
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
    """The ledger at one moment. `known` is False when no ledger exists.

    `open` are the intents with an unknown result, oldest first. `fence` is the highest fencing
    token in the ledger.
    """

    last_applied_by_address: Mapping[Address, LastApplied]
    known: bool
    open: tuple[Intent, ...] = ()
    fence: int = 0


@dataclass(frozen=True)
class Entry(LoggedStep):
    """One line of the ledger: an action on one resource, its author and its commit.

    `owned` and `baseline` are as in `LastApplied`. `intent` is the sequence of the intent that the
    entry closes, or 0 without an intent. A `result` other than done closes the intent and does not
    change the last applied state; `note` then says why.
    """

    owned: Mapping[str, Json]
    baseline: Mapping[str, Json] = field(default_factory=dict)
    intent: int = 0
    result: StepResult = StepResult.DONE
    note: str = ""

    @classmethod
    def closing(cls, intent: Intent, at: str, fence: int) -> Entry:
        """The entry that closes an intent, without values; its author is that of the intent."""
        said = {name: getattr(intent, name) for name in _LOGGED}
        said |= {"at": at, "fence": fence, "secrets": {}, "digests": {}, "sequence": 0}
        return cls(**said, owned={}, intent=intent.sequence)


_LOGGED: Final = tuple(one.name for one in fields(LoggedStep))


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The result of a check of every line of a ledger: the number of lines, and the errors.

    `sequence` and `digest` are those of the last line; 0 and empty if no valid line is the last.
    """

    entries: int
    intents: int
    findings: tuple[Finding, ...] = ()
    sequence: int = 0
    digest: str = ""


@dataclass(frozen=True)
class RebuiltEntry:
    """The entry of one resource that is rebuilt from its live document.

    `entry` is None when the service does not exist. `apart` are the places where live differs from
    the manifest. `not_observable` are the places that the service never shows. `models` are the
    places of trained models: the digests of their bytes at the last apply are unknown.
    """

    resource: Resource
    entry: Entry | None = None
    apart: tuple[str, ...] = ()
    not_observable: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
