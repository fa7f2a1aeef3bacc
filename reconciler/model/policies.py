"""The policies: the rules of a team about the changes of a plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field
from datetime import UTC, date, datetime
from typing import Final, Literal

from reconciler.model.core import Json, SourceLocation
from reconciler.model.values import dataclass

_EPOCH: Final = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class PolicyMatch:
    """The changes that a rule is about; an empty field takes all of them.

    `labels` has the accepted values of each label, all of which a resource must have.
    """

    environments: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    place: SourceLocation | None = None


@dataclass(frozen=True, slots=True)
class Freeze:
    """Days in UTC on which nothing is changed; without an end until further notice."""

    first: date
    last: date = date.max
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ChangeWindow:
    """When changes may be made, in UTC.

    `days` are numbers from 0 for Monday; empty for every day. `hours` are pairs of minutes since
    midnight; empty for the whole day. An end at or before its start is on the next day, and the
    window belongs to the day of its start.
    """

    days: frozenset[int] = frozenset()
    hours: tuple[tuple[int, int], ...] = ()
    freezes: tuple[Freeze, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One rule of a policy, with what it takes from its policy.

    A change must match each of `matches`, and `when`, a JSON Schema; `when` is None for every
    change. Of the other fields after `message`, exactly one is set. `require` is a JSON Schema too.
    Both are about one item of `resource_changes` in the plan's JSON. `lift` says what lifts an
    error: the flag `--allow`, the approval of one of `approvers` (empty: of anyone whose approval
    counts), or nothing.
    """

    policy: str
    name: str
    place: SourceLocation
    matches: tuple[PolicyMatch, ...] = ()
    when: Json | None = None
    severity: Literal["error", "warn"] = "error"
    lift: Literal["allow", "approval", "never"] = "approval"
    approvers: tuple[str, ...] = ()
    message: str = ""
    denies_deletes: bool = False
    models_from: tuple[str, ...] = ()
    requires_gate: bool = False
    window: ChangeWindow | None = None
    owners: tuple[str, ...] = ()
    require: Json | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one document; `file` is where it was read."""

    name: str
    file: str
    rules: tuple[PolicyRule, ...]


@dataclass(frozen=True, slots=True)
class PolicyContext:
    """What the rules need to know beside the changes.

    `now` is the time in UTC. `labels` has the labels of each declared resource, by address; those
    of another resource are not known. `approvers` are the principals whose approvals of these
    changes were verified. `authors` are the casefolded e-mail addresses of the authors of the
    commit. `allowed` are the values of `--allow` that count. `restored` has the address and the
    pointer of each model that the resource had at its last apply.
    """

    environment: str = ""
    now: datetime = _EPOCH
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    approvers: frozenset[str] = frozenset()
    authors: frozenset[str] = frozenset()
    allowed: Collection[str] = ()
    restored: frozenset[tuple[str, str]] = frozenset()
