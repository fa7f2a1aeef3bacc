"""Whether live still bears what a step relies on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reconciler.document.patch import Mismatch, find_misfit, find_mismatches
from reconciler.document.pointers import split_pointer
from reconciler.document.schema import Field
from reconciler.engine.proof import show_value
from reconciler.engine.runtime import Hands
from reconciler.model import ABSENT, Absent, Action, Finding, Live, Step

PLAN_AGAIN: Final = "Plan again: what is live has moved since this plan was made."


def find_stale(hands: Hands, step: Step, live: Live | Absent) -> Iterator[Finding]:
    """What a step relies on and live has not."""
    subject = str(step.resource.address)
    if step.action is Action.CREATE:
        if live is not ABSENT:
            yield Finding(
                "Saved plan is stale: it exists now", subject=subject, next_step=PLAN_AGAIN
            )
        return
    if live is ABSENT:
        yield Finding("Saved plan is stale: it is gone", subject=subject, next_step=PLAN_AGAIN)
        return
    field = hands.kinds[step.resource.address.kind].field
    mismatches = tuple(find_mismatches(field, step.ops, step.absences, live.document))
    misfit = None if mismatches else find_misfit(step.ops, live.document)
    if misfit is not None:
        said = f"Saved plan is stale: there is no place for {misfit} any more"
        yield Finding(said, subject=subject, next_step=PLAN_AGAIN)
    for found in mismatches:
        yield Finding(
            f"Saved plan is stale: {found.pointer} has changed",
            subject=subject,
            detail=_describe(field, found),
            next_step=PLAN_AGAIN,
        )


def _describe(field: Field, found: Mismatch) -> tuple[str, ...]:
    if field.at(split_pointer(found.pointer)).sensitive:
        return ()
    return (
        f"The plan relies on: {show_value(found.expected)}",
        f"The service has:    {show_value(found.found)}",
    )
