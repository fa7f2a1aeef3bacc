"""What a plan may not do without being asked again: data in, findings out.

Danger is judged from the steps themselves, never from the text that shows them. Each finding
names the guard and the flag that lifts it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from reconciler.model import Action, Address, Change, Finding, GuardLimits, Step

# What each guard protects against. Kinds bring guards of their own.
GUARDS: Final[Mapping[str, str]] = {
    "deletes": "more resources to destroy than spec.guards.maxDeletes",
    "updates": "more resources to change than spec.guards.maxUpdates",
    "replace": "a resource that is deleted and created anew",
    "irreversible": "a change that cannot be undone",
    "adopt": "a resource that somebody else manages",
    "empty": "a folder without manifests",
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
    """What forbids these steps, and as warnings what would and was allowed.

    `managed` is how many resources the ledger remembers: a percentage counts from ten on.
    `allowed` holds guard names, or `guard=Kind/name` for one address; `owners` names who else
    manages a resource, where somebody does.
    """
    owned = _check_owners(steps, owners or {})
    found = (*_check_each(steps), *owned, *_check_counts(steps, limits, managed))
    return allow(found, allowed)


def allow(findings: Iterable[Finding], allowed: Collection[str]) -> tuple[Finding, ...]:
    """What a flag allows as a warning: whoever reviews the plan must see what was allowed."""
    return tuple(
        replace(one, severity="warning", next_step=f"Allowed by --allow {one.guard}.")
        if one.severity == "error" and is_allowed(one, allowed)
        else one
        for one in findings
    )


def is_allowed(finding: Finding, allowed: Collection[str]) -> bool:
    """Whether a flag lifts the guard of a finding."""
    return finding.guard in allowed or f"{finding.guard}={finding.subject}" in allowed


def _check_each(steps: Sequence[Step]) -> Iterator[Finding]:
    for step in steps:
        address = step.resource.address
        if step.action is Action.REPLACE:
            yield forbid(
                address,
                "replace",
                "must be replaced: it is deleted, then created, and does not answer in between",
                *(f"{at} cannot be changed in place" for at in step.replace_paths),
                "Keys that the manifest does not refer to are made anew: callers need them.",
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
    """What stands against a step on one resource until its flag allows it.

    `allow` says what the flag is for: "To replace it".
    """
    return Finding(
        message,
        subject=str(address),
        detail=detail,
        next_step=f"{lift} all the same: --allow {guard}={address}",
        guard=guard,
    )


def is_final(change: Change) -> bool:
    """Whether nothing leads back from a change."""
    return change.irreversible and change.after is True


def _check_owners(steps: Sequence[Step], owners: Mapping[Address, str]) -> Iterator[Finding]:
    for step in steps:
        address = step.resource.address
        if address in owners:
            yield forbid(
                address,
                "adopt",
                f'is managed by "{owners[address]}", as its tags say',
                "Two managers of one resource undo each other's changes.",
                lift="To take it over",
            )


def _check_counts(steps: Sequence[Step], limits: GuardLimits, managed: int) -> Iterator[Finding]:
    deletes = sum(step.action is Action.DELETE for step in steps)
    updates = sum(step.action is Action.UPDATE for step in steps)
    if deletes > limits.max_deletes:
        yield Finding(
            f"{deletes} to destroy, and spec.guards.maxDeletes is {limits.max_deletes}",
            detail=tuple(_count_members(steps, Action.DELETE)),
            next_step="To destroy them all the same: --allow deletes",
            guard="deletes",
        )
    most = count_limit(limits.max_updates, managed)
    if updates > most:
        yield Finding(
            f"{updates} to change, and spec.guards.maxUpdates is"
            f" {_format_limit(limits.max_updates, managed)}",
            detail=tuple(_count_members(steps, Action.UPDATE)),
            next_step="To change them all the same: --allow updates",
            guard="updates",
        )


def _count_members(steps: Sequence[Step], action: Action) -> Iterator[str]:
    """How many of them each fleet has, so that one row does not hide behind a thousand."""
    fleets = Counter(step.fleet for step in steps if step.action is action)
    for fleet in sorted(one for one in fleets if one is not None):
        yield f"{fleets[fleet]:,} of them are members of {fleet}."


def _format_limit(limit: int | str, managed: int) -> str:
    return f"{limit}" if isinstance(limit, int) else f"{limit} of {managed} managed resources"


def count_limit(limit: int | str, managed: int) -> float:
    """How many updates a limit lets through: a count, or a percentage from ten managed on."""
    if isinstance(limit, int):
        return limit
    if managed < _COUNTED_FROM:
        return math.inf
    return managed * float(limit.rstrip("%")) / 100
