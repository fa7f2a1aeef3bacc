"""The guards: checks that refuse a dangerous plan until a flag allows it.

A guard checks the steps, never the text that shows them. Each finding names its guard and the
flag that allows it. The planner calls this module.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from reconciler.model import (
    Action,
    Address,
    Change,
    Finding,
    GuardLimits,
    Resource,
    Step,
    UnreadFile,
)
from reconciler.text.counting import agree, count

# This guard is lifted only with a reason.
GATE: Final = "gate"
MOST_REASON: Final = 500
# This guard refuses a plan with too few signed approvals.
APPROVAL: Final = "approval"
# This guard is lifted only where a policy says so.
POLICY: Final = "policy"
# This guard refuses what the command of --policy-command refuses.
POLICY_COMMAND: Final = "policy-command"
# The guards that no flag lifts, and what to do about a plan that they refuse.
NEVER_LIFTED: Final[Mapping[str, str]] = {
    APPROVAL: "Have the changes approved: reconciler approve PLAN --key FILE",
    POLICY_COMMAND: "Change the plan, or what the command of --policy-command accepts.",
}
# What each guard protects against. A kind can add its own guards.
GUARDS: Final[Mapping[str, str]] = {
    "deletes": "more resources to destroy than spec.guards.maxDeletes",
    "updates": "more resources to change than spec.guards.maxUpdates",
    "replace": "a resource that is deleted and created again",
    "irreversible": "a change that cannot be undone",
    "adopt": "a resource that somebody else manages",
    "empty": "a folder without manifests",
    "unread": "a resource to destroy that a file which is not read may declare",
    GATE: "a model that the gate of its retraining refuses",
    POLICY: "a change that a policy refuses, where the policy lets a flag lift it",
    "blob": "a model that storage does not have, or that cannot be read",
}
_COUNTED_FROM: Final = 10


def check_guards(
    steps: Sequence[Step],
    limits: GuardLimits,
    managed: int,
    allowed: Collection[str],
    owners: Mapping[Address, str] | None = None,
) -> tuple[Finding, ...]:
    """Return an error for each guard that refuses a step, and a warning for each allowed one.

    `managed` is the result of `count_managed`; a percentage applies from ten on. `allowed` holds
    guard names, or `guard=Kind/name` for one address. `owners` names the other manager of a
    resource.
    """
    owned = check_owners(steps, owners or {})
    found = (*_check_each(steps), *owned, *_check_counts(steps, limits, managed))
    return allow(found, allowed)


def count_managed(
    declared: Iterable[Address], absent: Iterable[Address], remembered: Iterable[Address]
) -> int:
    """Return how many resources a percentage is taken of.

    They are the declared ones that are not known to be absent, and the remembered ones. So a lost
    ledger, or one that an interrupted apply left incomplete, changes nothing for them.
    """
    return len({*declared}.difference(absent).union(remembered))


def permit(allowed: Iterable[str], limits: GuardLimits) -> frozenset[str]:
    """Return the values of `--allow` that the project accepts."""
    return frozenset(one for one in allowed if is_liftable(one.partition("=")[0], limits))


def is_liftable(guard: str, limits: GuardLimits) -> bool:
    """Whether the project lets `--allow` lift a guard."""
    return limits.liftable is None or guard in limits.liftable


def allow(findings: Iterable[Finding], allowed: Collection[str]) -> tuple[Finding, ...]:
    """Return the findings; an allowed error becomes a warning, so that a reviewer sees it."""
    return tuple(
        replace(one, severity="warning", next_step=f"Allowed by --allow {one.guard}.")
        if one.severity == "error" and is_allowed(one, allowed)
        else one
        for one in findings
    )


def require_reason(allowed: Iterable[str], reason: str) -> frozenset[str]:
    """Return the values of `--allow` that count: those of the guard `gate` need a reason."""
    return frozenset(one for one in allowed if reason or one.partition("=")[0] != GATE)


def is_allowed(finding: Finding, allowed: Collection[str]) -> bool:
    """Whether a flag allows the guard of a finding."""
    return finding.guard in allowed or f"{finding.guard}={finding.subject}" in allowed


def check_unread(leaving: Iterable[Resource], unread: Sequence[UnreadFile]) -> Iterator[Finding]:
    """Yield an error for each resource to prune that a file which was not read may declare."""
    for resource in leaving:
        address = resource.address
        files = [one.file for one in unread if one.names is None or address.name in one.names]
        if files:
            yield forbid(
                address,
                "unread",
                f"may be declared in {files[0]}, which is not read",
                lift="To destroy it",
            )


def _check_each(steps: Sequence[Step]) -> Iterator[Finding]:
    for step in steps:
        address = step.resource.address
        if step.action is Action.REPLACE:
            yield forbid(
                address,
                "replace",
                "must be replaced: it is deleted, then created, and does not answer in between",
                *(f"{at} cannot be changed in place" for at in step.replace_paths),
                "Keys that the manifest does not refer to change: callers need the new ones.",
                lift="To replace it",
            )
        for change in step.changes:
            if is_final(change):
                yield forbid(
                    address,
                    "irreversible",
                    "the change cannot be undone: a read-only service can only be deleted",
                    lift="To make it",
                )


def forbid(address: Address, guard: str, message: str, *detail: str, lift: str) -> Finding:
    """Return the error of a guard on one resource.

    `lift` says what the flag is for, for example "To replace it".
    """
    return Finding(
        message,
        subject=str(address),
        detail=detail,
        next_step=f"{lift} anyway: --allow {guard}={address}",
        guard=guard,
    )


def is_final(change: Change) -> bool:
    """Whether a change cannot be undone."""
    return change.irreversible and change.after is True


def check_owners(steps: Sequence[Step], owners: Mapping[Address, str]) -> Iterator[Finding]:
    """Yield an error for each step on a resource that another manager owns."""
    for step in steps:
        address = step.resource.address
        if address in owners:
            yield forbid(
                address,
                "adopt",
                f'is managed by "{owners[address]}", according to its tags',
                "Two managers of one resource undo each other's changes.",
                lift="To adopt it",
            )


def _check_counts(steps: Sequence[Step], limits: GuardLimits, managed: int) -> Iterator[Finding]:
    deletes = sum(step.action is Action.DELETE for step in steps)
    updates = sum(step.action is Action.UPDATE for step in steps)
    if deletes > limits.max_deletes:
        yield Finding(
            f"{deletes} to destroy, and spec.guards.maxDeletes is {limits.max_deletes}",
            detail=tuple(_count_members(steps, Action.DELETE)),
            next_step=f"To destroy {agree(deletes, 'it', 'them')} anyway: --allow deletes",
            guard="deletes",
        )
    most = count_limit(limits.max_updates, managed)
    if updates > most:
        yield Finding(
            f"{updates} to change, and spec.guards.maxUpdates is"
            f" {_format_limit(limits.max_updates, managed)}",
            detail=tuple(_count_members(steps, Action.UPDATE)),
            next_step=f"To change {agree(updates, 'it', 'them')} anyway: --allow updates",
            guard="updates",
        )


def _count_members(steps: Sequence[Step], action: Action) -> Iterator[str]:
    """Yield the number of such steps in each fleet, so that one large fleet is visible."""
    fleets = Counter(step.fleet for step in steps if step.action is action)
    for fleet in sorted(one for one in fleets if one is not None):
        number = fleets[fleet]
        yield f"{number:,} of them {agree(number, 'is a member', 'are members')} of {fleet}."


def _format_limit(limit: int | str, managed: int) -> str:
    return (
        f"{limit}" if isinstance(limit, int) else f"{limit} of {count(managed, 'managed resource')}"
    )


def count_limit(limit: int | str, managed: int) -> float:
    """Return how many updates a limit allows; a percentage has no limit below ten resources."""
    if isinstance(limit, int):
        return limit
    if managed < _COUNTED_FROM:
        return math.inf
    return managed * float(limit.rstrip("%")) / 100
