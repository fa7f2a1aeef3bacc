"""Judges a saved plan by the project as it is now: its guards, its manifests and its ledger.

A plan file is only a claim about what is protected: anyone can compute its digest. So each guard
is judged again over the steps that the apply will run. The apply command calls this module before
the first write. It sends no write.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from reconciler.engine.applying.admission import expand_fleets
from reconciler.engine.applying.claims import Claim
from reconciler.engine.blob_checks import check_planned_models
from reconciler.engine.gate_checks import compare_verdicts, find_settled, judge_models
from reconciler.engine.planning.plan import estimate_steps
from reconciler.engine.planning.policy_checks import judge_by_policies
from reconciler.engine.planning.selection import PlanRequest, find_meant
from reconciler.engine.planning.step_checks import check_conflicts, check_references
from reconciler.engine.runtime import Runtime, checks_steps
from reconciler.errors import StalePlan, Unplannable
from reconciler.model import (
    Action,
    Address,
    Finding,
    Json,
    LastApplied,
    Manifest,
    ModelReference,
    Plan,
    Resource,
    Rollout,
    Step,
)
from reconciler.plans import guards
from reconciler.plans.evidence import PLAN_AGAIN
from reconciler.plans.waves import compute_pause, name_item


def judge_saved_plan(runtime: Runtime, plan: Plan, digest: str, request: PlanRequest) -> Plan:
    """Return the plan with every finding of the guards now, and only the lifts that hold.

    `digest` is that of the plan. What the steps own, the digests of their models and the estimate
    are derived again. `request` has the limits, the manifests and the policies of the project as
    they are now; its flags are not used. A plan that refuses itself stays as it is, except that
    the policies of now replace those of then: an approval may have been given since. Raises
    Unplannable for a step that the service would refuse, and StalePlan for one that neither
    manifests nor ledger lead to.
    """
    if any(one.guard != guards.POLICY for one in plan.refused):
        return plan
    remembered = _load_last_applied(runtime, plan.steps, request)
    steps, models = _confirm_steps(runtime, plan, digest, request, remembered)
    permitted = guards.permit(plan.inputs.allowed, request.limits)
    allowed = expand_fleets(guards.require_reason(permitted, plan.inputs.reason), steps)
    declared = {one.address for one in request.manifests}
    found = [*_judge(runtime, steps, request, declared, remembered)]
    steps, looked = check_planned_models(runtime, steps, models, request.limits.blobs)
    facts = runtime.ledger.load().facts
    settled = find_settled(runtime, steps, digest, remembered)
    steps, refusals = judge_models(steps, request.retrainings, facts, remembered, models, settled)
    found += [*looked, *refusals]
    obstacles = tuple(one for one in found if one.severity == "error" and not one.guard)
    if obstacles:
        raise Unplannable(obstacles)
    refused = [one for one in guards.allow(found, allowed) if one.severity == "error"]
    differing = () if refused else tuple(compare_verdicts(plan.steps, steps))
    if differing:
        raise StalePlan(differing)
    judged = replace(
        plan,
        steps=steps,
        findings=(*(one for one in plan.findings if one.guard != guards.POLICY), *refused),
        inputs=replace(plan.inputs, allowed=tuple(sorted(permitted))),
        estimate=estimate_steps(runtime, steps, 0, compute_pause(steps, plan.rollouts)),
    )
    return judge_by_policies(runtime, request, judged, allowed, remembered)


def _load_last_applied(
    runtime: Runtime, steps: Sequence[Step], request: PlanRequest
) -> Mapping[Address, LastApplied]:
    """Return what the ledger records of the resources that the addresses mean now.

    A name is looked up at the service only for the resource of a step.
    """
    changed = {step.resource.address for step in steps}

    def identify(manifest: Manifest, defaults: Mapping[str, Json]) -> Resource:
        if manifest.address in changed:
            return runtime.identify(manifest, defaults)
        return runtime.kinds[manifest.address.kind].identify(manifest, defaults)

    meant = find_meant(identify, request.manifests, request.defaults)
    return runtime.ledger.load().of_resources(meant).last_applied_by_address


def _confirm_steps(
    runtime: Runtime,
    plan: Plan,
    digest: str,
    request: PlanRequest,
    remembered: Mapping[Address, LastApplied],
) -> tuple[tuple[Step, ...], Mapping[Resource, Sequence[ModelReference]]]:
    """Return the steps with what they own, and the models that the manifests declare now.

    Raises StalePlan for what decides a call and neither manifests nor ledger have now.
    """
    declared = {one.address: one for one in request.manifests}
    files = request.inputs.files
    edited = any(files.get(name) != known for name, known in plan.inputs.files.items())
    stale = [*_check_rollouts(plan.rollouts, request.rollouts)]
    steps: list[Step] = []
    models: dict[Resource, Sequence[ModelReference]] = {}
    for step in plan.steps:
        address = step.resource.address
        claim = Claim(runtime, step, declared, remembered.get(address), digest, edited)
        stale += (name_item(one, step.member) for one in claim.check(request))
        steps.append(claim.confirm())
        models[step.resource] = claim.models
    if stale:
        raise StalePlan(tuple(stale))
    return tuple(steps), models


def _check_rollouts(planned: Sequence[Rollout], declared: Sequence[Rollout]) -> Iterator[Finding]:
    """Yield a finding for each fleet with other waves than it has now."""
    now = {one.fleet: one for one in declared}
    for rollout in planned:
        if now.get(rollout.fleet, rollout) != rollout:
            yield Finding(
                "Saved plan is stale: the waves of the fleet are not those of the plan",
                subject=str(rollout.fleet),
                next_step=PLAN_AGAIN,
            )


def _judge(
    runtime: Runtime,
    steps: Sequence[Step],
    request: PlanRequest,
    declared: Collection[Address],
    remembered: Mapping[Address, LastApplied],
) -> Iterator[Finding]:
    """Yield what the guards and the kinds say against the steps, as if nothing were lifted."""
    named = {step.resource: Manifest(step.resource.address, {}, "", "") for step in steps}
    managed = _count_managed(steps, declared, remembered)
    yield from guards.check_guards(steps, request.limits, managed, ())
    yield from guards.check_unread(_list_leaving(steps, declared), request.unread)
    for step in steps:
        kind = runtime.kinds[step.resource.address.kind]
        if step.action is not Action.DELETE and checks_steps(kind):
            found = kind.check_step(named[step.resource], step.open())
            yield from (name_item(one, step.member) for one in found)
    for step in steps:
        if step.action is Action.DELETE:
            named.pop(step.resource)
    manifests = {one.address: one for one in request.manifests}
    placed = {one: manifests.get(one.address, manifest) for one, manifest in named.items()}
    yield from check_references(runtime, steps, placed)
    yield from check_conflicts(runtime, steps, named)


def _count_managed(
    steps: Sequence[Step],
    declared: Collection[Address],
    remembered: Mapping[Address, LastApplied],
) -> int:
    """Return how many resources a percentage is taken of; no read is made for this.

    A step without a manifest counts if its resource exists.
    """
    made = [step.resource.address for step in steps if step.action is Action.CREATE]
    changed = [step.resource.address for step in steps if step.action is not Action.CREATE]
    return guards.count_managed((*declared, *changed), made, remembered)


def _list_leaving(steps: Sequence[Step], declared: Collection[Address]) -> list[Resource]:
    """Return the resources that a plan prunes: no manifest declares them now.

    A plan that deletes a declared resource as well is one of --destroy, which prunes nothing.
    """
    gone = [step.resource for step in steps if step.action is Action.DELETE]
    return [] if any(one.address in declared for one in gone) else gone
