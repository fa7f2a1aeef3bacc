"""Judges the new models of a plan, and of a saved plan, by the gates of the retrainings.

The rules are those of the manifests now, and the numbers are those that the ledger records. Nothing
is read from storage, and no job is run. The planner and the judge of saved plans call it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from reconciler.document.pointers import format_pointer
from reconciler.engine.runtime import Runtime
from reconciler.model import (
    Address,
    Cause,
    Fact,
    Finding,
    LastApplied,
    ModelReference,
    Resource,
    Step,
)
from reconciler.plans.evidence import PLAN_AGAIN

if TYPE_CHECKING:  # start-up: few projects have a retraining
    from reconciler.model.training import Retraining


def judge_models(
    steps: Iterable[Step],
    retrainings: Sequence[Retraining],
    facts: Mapping[tuple[str, str], Fact],
    last_applied: Mapping[Address, LastApplied],
    references: Mapping[Resource, Sequence[ModelReference]],
    settled: Collection[Address] = (),
) -> tuple[tuple[Step, ...], tuple[Finding, ...]]:
    """Return the steps with the verdicts about their new models, and the refusals of the gates.

    `last_applied` and `references` have what is recorded and declared of the resources of the
    steps. Verdicts that the steps have already are not believed, except for `settled` ones.
    """
    steps = tuple(steps)
    if not retrainings and not any(model.gates for step in steps for model in step.models):
        return steps, ()
    from reconciler.plans.recorded_gates import Gates, check_gates  # noqa: PLC0415 - as above

    gates = Gates(retrainings, facts, last_applied, references)
    judged = tuple(
        step if step.resource.address in settled else gates.judge_step(step) for step in steps
    )
    return judged, tuple(
        check_gates(step for step in judged if step.resource.address not in settled)
    )


def find_settled(
    runtime: Runtime,
    steps: Iterable[Step],
    plan_digest: str,
    last_applied: Mapping[Address, LastApplied],
) -> frozenset[Address]:
    """Return the resources of a saved plan whose models were judged before, or need not be.

    An earlier run of the same plan has done the step, so that the ledger has the new model already.
    Or the step restores what the ledger records, and claims no verdict.
    """
    return frozenset(
        address
        for step in steps
        if _is_done(last_applied.get(address := step.resource.address), plan_digest)
        or _restores(runtime, step)
    )


def _is_done(last_applied: LastApplied | None, plan_digest: str) -> bool:
    return last_applied is not None and last_applied.plan_digest == plan_digest


def _restores(runtime: Runtime, step: Step) -> bool:
    """Whether a step is a rollback to models that the resource had, as the ledger records it."""
    if not any(reason.cause is Cause.ROLLBACK for reason in step.reasons):
        return False
    had = set(_list_values(runtime, step.resource.address)) if step.models else set()
    return all(
        not model.gates and (format_pointer(model.path), model.after) in had
        for model in step.models
    )


def _list_values(runtime: Runtime, address: Address) -> Iterator[tuple[str, str]]:
    """Yield each text that the resource had, with its place."""
    for entry in runtime.ledger.entries(address):
        restored = ((one["path"], one.get("value")) for one in entry.inverse)
        for pointer, value in (*entry.owned.items(), *restored):
            if isinstance(value, str):
                yield pointer, value


def compare_verdicts(planned: Iterable[Step], judged: Iterable[Step]) -> Iterator[Finding]:
    """Yield a finding for each step of a saved plan that shows other verdicts than those now.

    A plan of an earlier version shows no verdicts: it is stale only if a gate refuses a model now.
    """
    for then, now in zip(planned, judged, strict=True):
        shown, found = ([one.gates for one in step.models] for step in (then, now))
        refuses = any(one.refuses for gates in found for one in gates)
        if shown != found and (any(shown) or refuses):
            yield Finding(
                "Saved plan is stale: the gate decides otherwise about its new model now",
                subject=str(now.resource.address),
                next_step=PLAN_AGAIN,
            )
