"""Finds the ledger entries of one resource to undo, and the reasons why they cannot be undone.

It must not read a service. The rollback planner calls it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from reconciler.document.pointers import split_pointer
from reconciler.document.schema import Field
from reconciler.engine.runtime import Runtime
from reconciler.errors import ReconcilerError
from reconciler.model import (
    ABSENT,
    Action,
    Address,
    Change,
    Entry,
    Finding,
    LastApplied,
    Path,
    Resource,
    Snapshot,
    StepResult,
    Verb,
)
from reconciler.model.values import dataclass
from reconciler.plans.guards import is_final
from reconciler.plans.history import find_step_start, is_of_one_resource, rename
from reconciler.plans.undo import list_touched

_MOST_NAMED: Final = 10
_DECLARE: Final = (
    "Declare its earlier values, then apply. To see them: reconciler history {subject} --at '#{to}'"
)
_UNKNOWN: Final = "Declare the values it must have, then apply: its earlier values are not known."
_PRUNE: Final = "To destroy it: remove its manifest, then reconciler apply --prune --allow deletes"
# The actions that cannot be undone, and why.
_REFUSED: Final[Mapping[Action, str]] = {
    Action.CREATE: "it was created by #{number} and did not exist before",
    Action.REPLACE: (
        "it was replaced by #{number}, and its earlier keys and secrets are not known"
    ),
    Action.DELETE: "it was destroyed by #{number}, and its keys and secrets are not known",
    Action.FORGET: "it was forgotten by #{number}, and later changes to it are not known",
    Action.ADOPT: ("it was adopted by #{number}, and its earlier values are not known"),
}


@dataclass(frozen=True)
class RollbackRange:
    """The entries of one resource to undo, newest first, and the entry before them, `kept`.

    `to` is the number of `kept`, or 0 without one. `named` is True if the user gave the number.
    """

    address: Address
    to: int
    undone: Sequence[Entry]
    kept: Entry | None
    named: bool

    @property
    def places(self) -> Collection[Path]:
        """The places where a change is undone."""
        return list_touched(self.undone)

    @property
    def instead(self) -> str:
        """The next step if the entries cannot be undone."""
        return _DECLARE.format(subject=self.address, to=self.to) if self.to else _UNKNOWN


def read_rollback_range(
    runtime: Runtime, address: Address, to: int | None, moved: Mapping[Address, Address]
) -> RollbackRange:
    """Return the entries after `to`, or those of the last step.

    Raises ReconcilerError if the entry does not exist or nothing can be undone.
    """
    done = [
        entry
        for entry in runtime.ledger.entries()
        if entry.result is StepResult.DONE
        and address in {entry.address, rename(entry.address, moved)}
    ]
    if not done:
        raise _refuse(address, "is not in the ledger", "It was never applied.")
    if to is None:
        first = find_step_start(done)
        before = done[first - 1] if first else None
        kept = before if before is not None and is_of_one_resource(before, done[first]) else None
        undone = done[: first - 1 if first else None : -1]
        return RollbackRange(address, kept.sequence if kept else 0, undone, kept, named=False)
    numbers = [entry.sequence for entry in done]
    if to not in numbers:
        there = ", ".join(f"#{number}" for number in numbers[-_MOST_NAMED:])
        raise _refuse(address, f"has no completed entry #{to}", f"Completed entries: {there}.")
    if to == numbers[-1]:
        why = "To see later changes: reconciler drift. To undo only the last entry, leave out --to."
        raise _refuse(address, f"nothing was applied after #{to}", why)
    at = numbers.index(to)
    return RollbackRange(address, to, done[:at:-1], done[at], named=True)


def _refuse(address: Address, what: str, why: str) -> ReconcilerError:
    return ReconcilerError(what, subject=str(address), next_step=why)


def check_range(
    field: Field,
    rollback_range: RollbackRange,
    snapshot: Snapshot,
    resource: Resource | None,
) -> Iterator[Finding]:
    """Yield a finding for everything in the ledger that prevents the rollback.

    `resource` is what the address means now; None if neither a manifest nor the ledger says it.
    """
    for entry in rollback_range.undone:
        if entry.action in _REFUSED:
            instead = _PRUNE if entry.action is Action.CREATE else ""
            yield _make_barrier(
                rollback_range, _REFUSED[entry.action].format(number=entry.sequence), instead
            )
        yield from _check_irreversible(field, rollback_range, entry)
    if resource is None:
        return
    yield from _check_identity(
        rollback_range, snapshot.last_applied_by_address.get(resource.address), resource
    )
    for intent in snapshot.open:
        if intent.id.casefold() == resource.id.casefold():
            yield _make_barrier(
                rollback_range,
                f"the result of #{intent.sequence} is not known",
                "Leave out --out: a rollback that is applied finds the result first.",
            )


def _check_identity(
    rollback_range: RollbackRange, last_applied: LastApplied | None, resource: Resource
) -> Iterator[Finding]:
    """Yield a finding for each entry of another resource: one with another id, or deleted since."""
    created = last_applied.created if last_applied is not None else ""
    refused = {entry.sequence for entry in rollback_range.undone if entry.action in _REFUSED}
    kept = [rollback_range.kept] if rollback_range.kept is not None else []
    for entry in (*rollback_range.undone, *kept):
        if entry.sequence in refused:
            continue
        if entry.id.casefold() != resource.id.casefold():
            said = f"#{entry.sequence} was applied to another service: {entry.id}"
            yield _make_barrier(rollback_range, said)
        elif entry.created and created and entry.created != created:
            said = f"#{entry.sequence} was applied before it was deleted and created again"
            yield _make_barrier(rollback_range, said)


def _make_barrier(rollback_range: RollbackRange, why: str, instead: str = "") -> Finding:
    return Finding(
        f"cannot be rolled back: {why}",
        subject=str(rollback_range.address),
        next_step=instead or rollback_range.instead,
    )


def _check_irreversible(
    field: Field, rollback_range: RollbackRange, entry: Entry
) -> Iterator[Finding]:
    for operation in entry.patch:
        path = split_pointer(operation["path"])
        below, done = field.at(path), operation["op"] != "test"
        if done and below.read_only and not below.write_only:
            said = f"#{entry.sequence} changed {operation['path']} by a call of its own"
            yield _make_barrier(rollback_range, said, "The service has no call that undoes it.")
        lasting = below.irreversible
        after = operation.get("value", ABSENT)
        change = Change(path, Verb.REPLACE, ABSENT, after, irreversible=lasting)
        if done and is_final(change):
            said = f"{operation['path']} was changed irreversibly by #{entry.sequence}"
            yield _make_barrier(rollback_range, said, "The service cannot undo this change.")
