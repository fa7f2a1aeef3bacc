"""Leading back what an apply did, after it failed: each step's inverse, proven like any other."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from reconciler.document.overlay import overlay
from reconciler.document.patch import MISFITS, apply_operations
from reconciler.document.pointers import format_pointer, set_at
from reconciler.document.schema import Field
from reconciler.errors import ReconcilerError
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Cause,
    Declared,
    Json,
    Live,
    Reason,
    Step,
)
from reconciler.plans.step import Wish, lead_to, make_removal

_UNKNOWN: Final = "its keys and secrets are not known here"


class Irreversible(ReconcilerError):
    """A step that cannot be led back; the message says why."""


def make_undo(field: Field, step: Step, live: Live | Absent) -> Step:
    """The step that leads back from what is live after `step`; raises Irreversible with the why."""
    if step.action is Action.CREATE:
        if live is ABSENT:
            raise _refuse(step, "it is gone")
        return make_removal(step.resource, live.document, _BECAUSE)
    if step.action is not Action.UPDATE or live is ABSENT:
        raise _refuse(step, f"it was {_WORDS[step.action]}, and {_UNKNOWN}")
    lasting = [change for change in step.changes if change.irreversible]
    if lasting:
        raise _refuse(step, "the service allows no way back from what was changed")
    return _make_update(field, step, live.document)


def _make_update(field: Field, step: Step, live: Json) -> Step:
    try:
        desired = apply_operations(step.inverse, live)
    except MISFITS as error:
        raise _refuse(step, "somebody has changed it since") from error
    # Nobody declares it, so no secret is due: what is written is the inverse, the models that were
    # there as far as that is remembered, and what opens them.
    models: Json = {}
    for model in step.models:
        if model.before:
            set_at(models, model.path, model.before)
    undo = lead_to(Wish(step.resource, field, live, Declared(models)), desired)
    if undo is None:
        raise _refuse(step, "only what is not observable was written")
    changed = {format_pointer(change.path) for change in step.changes}
    signatures = tuple(one for one in step.secrets if one[0] not in changed)
    return replace(
        undo,
        because=(_BECAUSE,),
        secrets=(*undo.secrets, *signatures),
        after=overlay(field, desired, models),
        owns=step.owns,
        labels=step.labels,
        wave=step.wave,
        fleet=step.fleet,
    )


def _refuse(step: Step, why: str) -> Irreversible:
    return Irreversible(
        f"cannot be rolled back: {why}",
        subject=str(step.resource.address),
        next_step="It stays as it was applied. Declare what it must be, then plan and apply.",
    )


_BECAUSE: Final = Reason("", Cause.ROLLBACK, "another step of the same apply failed")
_WORDS: Final = {Action.DELETE: "destroyed", Action.REPLACE: "replaced", Action.UPDATE: "deleted"}
