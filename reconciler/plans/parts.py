"""Splits a step into parts: one step for each write that its kind makes of it.

A kind gives only the documents before and after each write. The changes, the preconditions and the
inverse of each part come from these documents, as they do for a whole step. So a part is checked,
sent, proven and recorded like any other step. The planner and the apply call this module.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeAlias

from reconciler.document.diff import diff
from reconciler.document.patch import make_absences, make_inverse, make_operations
from reconciler.document.pointers import format_pointer, split_pointer
from reconciler.document.schema import Field
from reconciler.errors import ReconcilerError
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Change,
    Json,
    Path,
    SecretReference,
    Step,
    Verb,
    Write,
)
from reconciler.model.values import dataclass
from reconciler.plans.step import choose_action, choose_body

# A write of a kind, with the document that it leaves.
WriteAfter: TypeAlias = tuple[Write, Json | Absent]


@dataclass(frozen=True)
class StepPart:
    """One write of a step, as a step of its own.

    `number` counts from 1 to `count`. A write that reverts others after a failed check has
    the number 0. `whole` is the digest of the whole step, which the ledger records with each part.
    """

    number: int
    count: int
    write: Write
    step: Step
    whole: str = ""


@dataclass(frozen=True)
class _Share:
    """What one write sends beside the difference of its documents."""

    changes: Collection[Change] = ()
    secrets: tuple[tuple[str, SecretReference], ...] = ()


def is_staged(writes: Sequence[Write]) -> bool:
    """Whether a step needs more than to be sent: several writes, a pause or a check."""
    return len(writes) > 1 or any(one.wait_s or one.requires or one.checks for one in writes)


def split_into_parts(
    field: Field, step: Step, writes: Sequence[WriteAfter], whole: str = ""
) -> tuple[StepPart, ...]:
    """Return the parts of a step; empty if the step is sent in one write as it is.

    Raises ReconcilerError for writes that do not make the change of the step: a defect of the kind.
    """
    if not is_staged([write for write, _ in writes]):
        return ()
    step = step.open()
    left = [change for change in step.changes if change.verb is Verb.WRITE or change.called]
    shares = _share(step, [write for write, _ in writes], left)
    parts: list[StepPart] = []
    before = step.before
    for number, (write, after) in enumerate(writes, start=1):
        share = shares[number - 1]
        made = _make_part(field, step, before, after, share, is_first=number == 1)
        if not made.changes:
            raise _refuse(step, f'write {number} of {len(writes)}, "{write.title}", has no change')
        parts.append(StepPart(number, len(writes), write, made, whole))
        before = after
    _check_end(field, step, before)
    return tuple(parts)


def split_retreat(
    field: Field, step: Step, reached: Json, writes: Sequence[WriteAfter], count: int, whole: str
) -> tuple[StepPart, ...]:
    """Return the parts that lead from `reached` to a safe state; `count` is that of the step.

    Raises ReconcilerError as `split_into_parts` does.
    """
    parts: list[StepPart] = []
    before: Json | Absent = reached
    for write, after in writes:
        made = _make_part(field, step, before, after, _Share())
        if not made.changes:
            raise _refuse(step, f'the write "{write.title}", which reverts others, has no change')
        parts.append(StepPart(0, count, write, made, whole))
        before = after
    return tuple(parts)


def join_parts(field: Field, step: Step, parts: Sequence[StepPart]) -> Step:
    """Return consecutive parts of a step as one step: from before the first to after the last."""
    first, last = parts[0].step, parts[-1].step
    written = [
        change
        for part in parts
        for change in part.step.changes
        if change.verb is Verb.WRITE or change.called
    ]
    secrets = tuple(secret for part in parts for secret in part.step.secrets)
    share = _Share(written, secrets)
    return _make_part(
        field, step, first.before, last.after, share, is_first=first.source is not None
    )


def _share(step: Step, writes: Sequence[Write], left: Sequence[Change]) -> list[_Share]:
    """Return what each write sends beside the difference of its documents.

    A value goes with the first of the writes that send the smallest part around it.
    """
    changes: list[list[Change]] = [[] for _ in writes]
    secrets: list[list[tuple[str, SecretReference]]] = [[] for _ in writes]
    for change in left:
        changes[_find_sender(step, writes, change.path)].append(change)
    for pointer, reference in step.secrets:
        sender = _find_sender(step, writes, split_pointer(pointer))
        secrets[sender].append((pointer, reference))
    return [_Share(own, tuple(sent)) for own, sent in zip(changes, secrets, strict=True)]


def _find_sender(step: Step, writes: Sequence[Write], path: Path) -> int:
    around = [number for number, one in enumerate(writes) if path[: len(one.sends)] == one.sends]
    if not around:
        raise _refuse(step, f"no write sends {format_pointer(path)}")
    return max(around, key=lambda number: (len(writes[number].sends), -number))


def _make_part(
    field: Field,
    step: Step,
    before: Json | Absent,
    after: Json | Absent,
    share: _Share,
    *,
    is_first: bool = False,
) -> Step:
    """Return the step from one document to the next, with what else belongs to its write."""
    if after is ABSENT:
        return _make_removal(step, before)
    called = [change for change in share.changes if change.called]
    written = [change for change in share.changes if not change.called]
    changes = (*called, *diff(field, before, after), *written)
    made = before is ABSENT
    action = choose_action(before, changes)
    body = choose_body(action, changes)
    paths = [change.path for change in changes]
    models = tuple(one for one in step.models if any(_overlap(one.path, path) for path in paths))
    return step.copy_with(
        action=action,
        changes=changes,
        ops=make_operations(changes, before),
        inverse=() if made else make_inverse(changes),
        before=before,
        after=after,
        absences=() if made else make_absences(changes),
        secrets=share.secrets,
        replace_paths=(),
        models=models,
        unchanged=0,
        reason="",
        reasons=(),
        body=body,
        source=step.source if is_first else None,
        writes=(),
    )


def _make_removal(step: Step, before: Json | Absent) -> Step:
    return step.copy_with(
        action=Action.DELETE,
        changes=(Change((), Verb.REMOVE, before, ABSENT),),
        ops=(),
        inverse=(),
        before=before,
        after=ABSENT,
        absences=(),
        secrets=(),
        models=(),
        body="none",
        source=None,
        writes=(),
    )


def _overlap(one: Path, other: Path) -> bool:
    return one[: len(other)] == other or other[: len(one)] == one


def _check_end(field: Field, step: Step, reached: Json | Absent) -> None:
    """Raise ReconcilerError if the last write does not leave the document of the step."""
    gone = [one is ABSENT for one in (step.after, reached)]
    if all(gone):
        return
    left = (
        ["/"]
        if any(gone)
        else [format_pointer(change.path) for change in diff(field, reached, step.after)]
    )
    if left:
        raise _refuse(step, f"the last write does not leave what is planned at {left[0]}")


def _refuse(step: Step, why: str) -> ReconcilerError:
    kind = step.resource.address.kind
    return ReconcilerError(
        f"the kind {kind} splits the change into wrong writes: {why}",
        subject=str(step.resource.address),
        next_step="This is a defect of the kind, and not of the manifest. Nothing was written.",
    )
