"""What will be done, why, and what came of it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from reconciler.model.compressed import CompressedDocument, CompressedField, compress
from reconciler.model.core import (
    ABSENT,
    Absent,
    Action,
    Address,
    Finding,
    Json,
    Path,
    Resource,
    SecretReference,
    Verb,
)
from reconciler.model.declared import CloneSource, Member, Rollout
from reconciler.model.ledger import Entry
from reconciler.model.values import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between live and desired, at one place.

    `path` is where the place is when the changes are applied in order (list indexes shift).
    For `WRITE`, `after` is the `SecretReference` and `before` is ABSENT. Where `before` is cipher
    text, `sealed_by` names the property of it that can be relied on.
    """

    path: Path
    verb: Verb
    before: Json
    after: Json
    sensitive: bool = False
    immutable: bool = False
    irreversible: bool = False
    opaque: bool = False
    sealed_by: str = ""


@dataclass(frozen=True, slots=True)
class ModelChange:
    """One trained model before and after, for people: addresses and digests of both."""

    name: str
    path: Path
    before: str
    after: str
    digest_before: str = ""
    digest_after: str = ""
    trust: str = ""


class Cause(enum.StrEnum):
    """Why something is planned.

    `NEW`: there is none yet. `SOURCE`: what it is made from. `GONE`: it was there when last
    applied. `MANIFEST`: what is declared moved, or was never applied. `UNDECLARED`: the manifest
    is exact and does not declare it. `DRIFT`: live moved. `CONFLICT`: both did. `VERSION`: the
    label of a secret moved. `ROTATE`: it was asked for. `UNKNOWN`: no ledger tells who moved.
    `ORPHAN`: no manifest names it. `DESTROY`: all is to go. `ROLLBACK`: it leads back to what was.
    """

    NEW = "new"
    SOURCE = "source"
    GONE = "gone"
    MANIFEST = "manifest"
    UNDECLARED = "undeclared"
    DRIFT = "drift"
    CONFLICT = "conflict"
    VERSION = "version"
    ROTATE = "rotate"
    UNKNOWN = "unknown"
    ORPHAN = "orphan"
    DESTROY = "destroy"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one change is planned; the pointer is "" where the whole resource is meant.

    `note` is what a person must know beyond that the manifest asks for it. `remembered` is the
    value when it was last applied, for `DRIFT` and `CONFLICT`; ABSENT where it may not be shown.
    """

    pointer: str
    cause: Cause
    note: str = ""
    remembered: Json | Absent = ABSENT


@dataclass(frozen=True)
class Step:
    """All that will be done to one resource.

    `ops` is RFC 6902 on `before`: first `test` operations on the values relied upon, then the
    changes; `inverse` leads back. `absences` are pointers that must still be absent, which RFC
    6902 cannot say. `secrets` are written beside the patch and stand in no operation; `owned_paths`
    are the pointers that the manifest speaks of, to be remembered once the step is proven.
    `before` and `after` are documents without secrets, or ABSENT; where they are kept folded, they
    are made anew whenever they are asked for. `body` says how much of the
    document the write holds: the whole, or each part that changes. `source` is what a new
    resource is made from, where that is not its manifest alone. Lower waves come first; `fleet` is
    the fleet whose member it is, if any, `stage` counts the waves of that fleet from 0, and
    `member` says from which item it is made; None for what has no item any more.
    """

    resource: Resource
    action: Action
    changes: tuple[Change, ...]
    ops: tuple[Json, ...]
    inverse: tuple[Json, ...]
    before: CompressedField = CompressedField()
    after: CompressedField = CompressedField()
    absences: tuple[str, ...] = ()
    secrets: tuple[tuple[str, SecretReference], ...] = ()
    replace_paths: tuple[str, ...] = ()
    models: tuple[ModelChange, ...] = ()
    not_observable: tuple[str, ...] = ()
    unchanged: int = 0
    reason: str = ""
    reasons: tuple[Reason, ...] = ()
    body: Literal["none", "parts", "whole"] = "parts"
    source: CloneSource | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    owned_paths: tuple[str, ...] = ()
    wave: int = 0
    fleet: Address | None = None
    stage: int = 0
    member: Member | None = None

    def compress(self, before: CompressedDocument | None) -> Step:
        """The same step with its documents folded, of which `before` may be known already."""
        documents = {"before": before or self.before, "after": self.after}
        compressed = {
            name: one if isinstance(one, (Absent, CompressedDocument)) else compress(one)
            for name, one in documents.items()
        }
        return self.copy_with(**compressed)

    def copy_with(self, **changes: Any) -> Step:
        """The same step with other fields, as `replace` makes it; what is folded stays so."""
        if not changes.keys() <= self.__dataclass_fields__.keys():
            raise TypeError(f"a step has no {', '.join(changes)}")
        copied = object.__new__(Step)
        copied.__dict__.update(self.__dict__)
        for name, value in changes.items():
            object.__setattr__(copied, name, value)
        return copied


@dataclass(frozen=True, slots=True)
class Refresh:
    """How live was read.

    `mode` is auto, full or none; `oldest` the age in seconds of the oldest observation that was
    relied upon instead of a read.
    """

    mode: str
    read: int
    total: int
    calls: int
    oldest: float = 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an apply will take: writes and reads that are sent, and about how many seconds."""

    writes: int = 0
    reads: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Inputs:
    """What a plan was made from: digests of files, and where the work tree stood.

    `cloud` is the address whose services were read; a plan is never applied to another one.
    """

    project: str
    files: Mapping[str, str]
    cloud: str = ""
    commit: str = ""
    dirty: bool = False
    schemas: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Everything that will happen, and what is known of how and why. Holds no secret.

    `orphans` are in the ledger and in no manifest, and this plan leaves them as they are.
    `rollouts` are those of the fleets that have steps. `last_set` says of what is not observable,
    by address and pointer, when and by whom it was last set ("2026-11-02 by ci@4f1c2aa").
    """

    steps: tuple[Step, ...]
    unchanged: tuple[Resource, ...]
    findings: tuple[Finding, ...]
    inputs: Inputs
    refresh: Refresh
    made_at: str
    baseline: Literal["kept", "lost"]
    orphans: tuple[Resource, ...] = ()
    not_observable: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    estimate: Estimate = Estimate()
    rollouts: tuple[Rollout, ...] = ()
    last_set: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def refused(self) -> tuple[Finding, ...]:
        """The findings that forbid applying."""
        return tuple(found for found in self.findings if found.severity == "error")

    @property
    def outcome(self) -> Literal["refused", "changes", "no-changes"]:
        """What it comes to, in one word."""
        if self.refused:
            return "refused"
        return "changes" if self.steps else "no-changes"


@dataclass(frozen=True, slots=True)
class Stopped:
    """A fleet that went no further, because more of its members failed than it allows.

    `destroys` says that something of what was not started would have been destroyed.
    """

    fleet: Address
    failed: int
    max_failures: int
    not_started: tuple[Address, ...]
    destroys: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an apply came to: addresses by what was done, and a finding for each failure.

    `not_started` were left alone because of a failure or an interruption; `stopped` says which of
    them because of their own fleet. After a rollback,
    `rolled_back` are as they were before the apply, and `unrestored` says of each other why it is
    not. `unrecorded` was done and could not be written to the ledger. Of `not_observable` something
    was written that the service took and does not show.
    """

    added: tuple[Address, ...] = ()
    changed: tuple[Address, ...] = ()
    destroyed: tuple[Address, ...] = ()
    failures: tuple[Finding, ...] = ()
    not_started: tuple[Address, ...] = ()
    rolled_back: tuple[Address, ...] = ()
    unrestored: tuple[Finding, ...] = ()
    unrecorded: tuple[Entry, ...] = ()
    stopped: tuple[Stopped, ...] = ()
    not_observable: tuple[Address, ...] = ()
