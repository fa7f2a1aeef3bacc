"""The plan: its steps and changes, their reasons, and the outcome of an apply."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final, Literal

from reconciler.model.compressed import (
    CompressedDocument,
    CompressedField,
    RevisedDocument,
    compress,
    compress_revision,
)
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

    `path` is valid when the changes are applied in order (list indexes shift). For `WRITE`, `after`
    is the `SecretReference` and `before` is ABSENT. When `before` is cipher text, `sealed_by` names
    the property of it that can be compared. A change that is `called` is made by a call of its own,
    which no other call can undo.
    """

    path: Path
    verb: Verb
    before: Json
    after: Json
    sensitive: bool = False
    immutable: bool = False
    irreversible: bool = False
    opaque: bool = False
    called: bool = False
    sealed_by: str = ""


@dataclass(frozen=True, slots=True)
class JudgedRule:
    """What one rule of a retraining's gate decides about a new model, and from which numbers.

    `verdict` is pass, fail, inconclusive, no baseline or not evaluated. `rows` is how many rows
    both models have scored, or 0. `run` trained the model, and `source` is the address of its
    evaluation; both are empty if they are not recorded.
    """

    retraining: Address
    rule: str
    verdict: str
    refuses: bool
    reason: str
    numbers: tuple[tuple[str, float], ...] = ()
    rows: int = 0
    run: str = ""
    source: str = ""

    @property
    def summary(self) -> str:
        """The verdict in one line, such as `fail: AUC min 0.85: AUC 0.81`."""
        accepted = not self.refuses and self.verdict != "pass"
        said = f"{self.verdict}: {self.rule}: {self.reason}"
        return f"{said}; the rule accepts it" if accepted else said


@dataclass(frozen=True, slots=True)
class ModelChange:
    """One trained model before and after, for people: the addresses and the digests.

    `gates` are the verdicts about the new model; empty if no gate judges it.
    """

    name: str
    path: Path
    before: str
    after: str
    digest_before: str = ""
    digest_after: str = ""
    trust: str = ""
    gates: tuple[JudgedRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """What a provider observes about one write of a step, such as the answers of a new model.

    `title` is for people. `settings` are the kind's own words to its provider; a whole number named
    `count` is how many calls the check makes, for estimates.
    """

    title: str
    settings: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Write:
    """One of several writes of a step, in one call.

    It is sent `wait_s` seconds after the last recorded write of the resource, at the earliest, and
    only once the checks in `requires` have passed. The `checks` follow when a read shows the write.
    `sends` is the part of the document that the call sends: a value that no read shows is written
    by the first write that sends its place.
    """

    title: str
    wait_s: float = 0.0
    requires: tuple[Check, ...] = ()
    checks: tuple[Check, ...] = ()
    sends: Path = ()


class Cause(enum.StrEnum):
    """Why a change is planned.

    `NEW`: the resource does not exist yet. `SOURCE`: it is copied from another resource. `GONE`: it
    existed at the last apply. `MANIFEST`: the manifest has changed, or was never applied.
    `UNDECLARED`: the manifest is exact and does not declare it. `DRIFT`: live has changed.
    `CONFLICT`: both have changed. `VERSION`: the version label of a secret has changed. `ROTATE`:
    `--rotate` asks for it. `UNKNOWN`: no ledger says which side has changed. `ORPHAN`: no manifest
    names it. `DESTROY`: `--destroy` asks for it. `ROLLBACK`: it restores an earlier state.
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
    """Why one change is planned; the pointer is "" for the whole resource.

    `note` holds further facts for people. `remembered` is the value at the last apply, for `DRIFT`
    and `CONFLICT`; it is ABSENT when it must not be shown.
    """

    pointer: str
    cause: Cause
    note: str = ""
    remembered: Json | Absent = ABSENT


# The attribute of a step that holds its digest, where it is known; no copy of the step has it.
KEPT_DIGEST: Final = "_digest"


@dataclass(frozen=True)
class Step:
    """All changes to one resource.

    `ops` is an RFC 6902 patch on `before`: first `test` operations on the values that the step
    relies on, then the changes. `inverse` is the patch that undoes it. `absences` are pointers that
    must still be absent; RFC 6902 has no test for that. `secrets` are written beside the patch and
    are in no operation. `owned_paths` are the pointers that the manifest declares; they are
    recorded once the step is verified. `before` and `after` are documents without secrets, or
    ABSENT; each read of a compressed one parses it again. `body` says whether the write holds the
    whole document or only the parts that change. `source` is the resource that a new resource is
    copied from, if any. Lower waves come first. `fleet` is the fleet of the resource, if any;
    `stage` counts the waves of that fleet from 0. `member` is the item of the fleet; None when the
    fleet no longer has the item. `strategy` is what the manifest says about the way to the new
    state, or None. `writes` has one item for each call if the kind makes the change in more than
    one; the kind derives it from the action, the documents and the strategy.
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
    strategy: Json = None
    writes: tuple[Write, ...] = ()

    def compress(self, before: CompressedDocument | None) -> Step:
        """The same step with compressed documents; `before` is given when it already exists."""
        was, becomes = self.before, self.after
        if was is ABSENT:
            return self.copy_with(after=becomes if becomes is ABSENT else compress(becomes))
        base = before or compress(was)
        revised = becomes if becomes is ABSENT else compress_revision(becomes, base, was)
        return self.copy_with(before=base, after=revised)

    def open(self) -> Step:
        """The same step with parsed documents, which share unchanged parts: change neither."""
        before, after = self.before, self.__dict__["_after"]
        after = after.revise(before) if isinstance(after, RevisedDocument) else self.after
        return self.copy_with(before=before, after=after)

    def copy_with(self, **changes: Any) -> Step:
        """The same step with changed fields, like `replace`; it opens no compressed document."""
        if not changes.keys() <= self.__dataclass_fields__.keys():
            raise TypeError(f"a step has no {', '.join(changes)}")
        copied = object.__new__(Step)
        copied.__dict__.update(self.__dict__)
        copied.__dict__.pop(KEPT_DIGEST, None)
        for name, value in changes.items():
            object.__setattr__(copied, name, value)
        return copied


@dataclass(frozen=True, slots=True)
class Refresh:
    """How live was read.

    `mode` is auto, full or none. `oldest` is the age in seconds of the oldest cached observation
    that was used instead of a read.
    """

    mode: str
    read: int
    total: int
    calls: int
    oldest: float = 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimated cost of an apply: the writes, the reads, and the seconds."""

    writes: int = 0
    reads: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Inputs:
    """The inputs of a plan: the digests of files, and the commit of the work tree.

    `cloud` is the name of the cloud that was read; a plan is never applied to another cloud.
    `allowed` are the values of `--allow`: the guards that were lifted. `reason` says why the guard
    `gate` was lifted. `dirty` says that the commit is not proven to contain every
    file as it was read; `differing` are the files that differ. `environment` is empty for a project
    without environments.
    """

    project: str
    files: Mapping[str, str]
    cloud: str = ""
    commit: str = ""
    dirty: bool = False
    schemas: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    reason: str = ""
    environment: str = ""


@dataclass(frozen=True)
class Plan:
    """All steps, with their reasons and inputs. It holds no secret.

    `orphans` are in the ledger and in no manifest; this plan does not change them. `rollouts` are
    those of the fleets that have steps. `last_set` maps the address and the pointer of each value
    that is not observable to the time and author of its last write ("2026-11-02 by ci@4f1c2aa").
    `older` says that it was saved by a version that did not write the digest of its changes.
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
    older: bool = False

    @property
    def refused(self) -> tuple[Finding, ...]:
        """The findings that forbid applying."""
        return tuple(found for found in self.findings if found.severity == "error")

    @property
    def outcome(self) -> Literal["refused", "changes", "no-changes"]:
        """The result in one word."""
        if self.refused:
            return "refused"
        return "changes" if self.steps else "no-changes"


@dataclass(frozen=True, slots=True)
class Stopped:
    """A fleet that has stopped because more of its members failed than it allows.

    `destroys` says that a step that was not started would have destroyed a member.
    """

    fleet: Address
    failed: int
    max_failures: int
    not_started: tuple[Address, ...]
    destroys: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an apply: the addresses by action, and a finding for each failure.

    `not_started` were not started because of a failure or an interruption; `stopped` names those
    that their own fleet stopped. After a rollback, the resources in `rolled_back` have their values
    from before the apply, and `unrestored` has a finding for each other resource. `unrecorded` was
    done and could not be written to the ledger. The service accepted a write to each resource in
    `not_observable` that it does not show. `unproven` has a warning for each resource whose model
    was set, and whose answers do not prove which model answers. `unfinished` has a finding for each
    step that an interruption stopped between two of its writes. `unkept` has a warning if the drift
    history could not take the drift that the apply has overwritten.
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
    unproven: tuple[Finding, ...] = ()
    unkept: tuple[Finding, ...] = ()
    unfinished: tuple[Finding, ...] = ()
