"""Asks the kind of a step for its writes, and makes the parts of the step from them.

The planner shows the writes, a saved plan is compared with them, and the apply carries them out. A
kind that does not split steps costs nothing here.
"""

from __future__ import annotations

from reconciler.engine.runtime import splits_steps
from reconciler.model import Step
from reconciler.plans.parts import StepPart, split_into_parts
from reconciler.ports import Kind


def list_parts(kind: Kind, step: Step, whole: str = "") -> tuple[StepPart, ...]:
    """Return the parts of a step; empty if it is sent in one write as it is.

    `whole` is the digest of the step. Raises ReconcilerError if the kind's writes do not make the
    change of the step.
    """
    field = kind.field
    if not splits_steps(kind):
        return ()
    opened = step.open()
    return split_into_parts(field, opened, kind.split_step(opened), whole)


def add_writes(kind: Kind, step: Step) -> Step:
    """Return the step with the writes that its kind makes of it; raises as `list_parts` does."""
    parts = list_parts(kind, step)
    return step.copy_with(writes=tuple(part.write for part in parts)) if parts else step
