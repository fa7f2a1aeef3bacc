"""Judges a saved plan by the project as it is now: its guards, its manifests and its ledger.

A plan file is only a claim about what is protected: anyone can compute its digest. So each guard
is judged again over the steps that the apply will run. The apply command calls this module before
the first write. It sends no write.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from reconciler.engine.applying.admission import expand_fleets
from reconciler.engine.blob_checks import check_planned_models
from reconciler.engine.planning.selection import PlanRequest
from reconciler.engine.planning.step_checks import check_conflicts
from reconciler.engine.runtime import Runtime
from reconciler.errors import Unplannable
from reconciler.model import (
    ABSENT,
    Action,
    Finding,
    Manifest,
    ModelReference,
    Plan,
    Resource,
    Step,
)
from reconciler.plans import guards
from reconciler.plans.waves import name_item
from reconciler.ports import ChecksSteps


def judge_saved_plan(runtime: Runtime, plan: Plan, request: PlanRequest) -> Plan:
    """Return the plan with every finding of the guards now, and only the lifts that hold.

    `request` has the limits and the manifests of the project as they are now; its flags are not
    used. A plan that refuses itself stays as it is. Raises Unplannable for a step that
    the service would refuse.
    """
    if plan.refused:
        return plan
    permitted = guards.permit(plan.inputs.allowed, request.limits)
    allowed = expand_fleets(permitted, plan.steps)
    found = tuple(_judge(runtime, plan, request))
    obstacles = tuple(one for one in found if one.severity == "error" and not one.guard)
    if obstacles:
        raise Unplannable(obstacles)
    refused = (one for one in guards.allow(found, allowed) if one.severity == "error")
    return replace(
        plan,
        findings=(*plan.findings, *refused),
        inputs=replace(plan.inputs, allowed=tuple(sorted(permitted))),
    )


def _judge(runtime: Runtime, plan: Plan, request: PlanRequest) -> Iterator[Finding]:
    """Yield what the guards and the kinds say against the steps, as if nothing were lifted."""
    named = {step.resource: Manifest(step.resource.address, {}, "", "") for step in plan.steps}
    managed = _count_managed(runtime, plan.steps, request.manifests)
    yield from guards.check_guards(plan.steps, request.limits, managed, ())
    yield from guards.check_unread(_list_leaving(plan.steps, request.manifests), request.unread)
    for step in plan.steps:
        kind = runtime.kinds[step.resource.address.kind]
        if step.action is not Action.DELETE and isinstance(kind, ChecksSteps):
            found = kind.check_step(named[step.resource], step)
            yield from (name_item(one, step.member) for one in found)
    for step in plan.steps:
        if step.action is Action.DELETE:
            named.pop(step.resource)
    yield from check_conflicts(runtime, plan.steps, named)
    references = dict(_bind_models(runtime, plan.steps, request.manifests))
    yield from check_planned_models(runtime, plan.steps, references, request.limits.blobs)


def _count_managed(runtime: Runtime, steps: Sequence[Step], manifests: Sequence[Manifest]) -> int:
    """Return how many resources a percentage is taken of; no read is made for this.

    A step without a manifest counts if its resource exists.
    """
    made = [step.resource.address for step in steps if step.action is Action.CREATE]
    changed = [step.resource.address for step in steps if step.action is not Action.CREATE]
    declared = (*(one.address for one in manifests), *changed)
    remembered = runtime.ledger.load().last_applied_by_address
    return guards.count_managed(declared, made, remembered)


def _list_leaving(steps: Sequence[Step], manifests: Sequence[Manifest]) -> list[Resource]:
    """Return the resources that a plan prunes: no manifest declares them now.

    A plan that deletes a declared resource as well is one of --destroy, which prunes nothing.
    """
    declared = {one.address for one in manifests}
    gone = [step.resource for step in steps if step.action is Action.DELETE]
    return [] if any(one.address in declared for one in gone) else gone


def _bind_models(
    runtime: Runtime, steps: Sequence[Step], manifests: Sequence[Manifest]
) -> Iterator[tuple[Resource, Sequence[ModelReference]]]:
    """Yield the models that the manifests declare now, for each step that writes a model."""
    declared = {one.address: one for one in manifests}
    for step in steps:
        manifest = declared.get(step.resource.address)
        if step.models and manifest is not None:
            kind = runtime.kinds[manifest.address.kind]
            live = step.before if step.before is not ABSENT else step.after
            yield step.resource, kind.bind(manifest, live).models
