"""What was done, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.model.words import Action, Address, Json


@dataclass(frozen=True)
class Memory:
    """What the ledger remembers of one resource: the last thing applied to it.

    `owned` maps pointers that a manifest declared to the values that were read back; `secrets`
    maps the pointers of secrets to the version label that was written; `digests` the pointers of
    models to the digest of their bytes when they were applied. `baseline` maps what no manifest
    declared to what it was then: short values, or `{"digest": …}`.
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


@dataclass(frozen=True)
class Snapshot:
    """The ledger at one moment. `known` is False when there is no ledger to remember by."""

    memories: Mapping[Address, Memory]
    known: bool


@dataclass(frozen=True)
class Entry:
    """One line of the ledger: what was done to one resource, by whom, from which commit."""

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
