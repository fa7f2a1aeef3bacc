"""Judges a plan by the policies of the project, at the time of the run.

The planner and the apply of a saved plan call it. It sends no call.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from reconciler.engine.planning.selection import PlanRequest
from reconciler.engine.runtime import Runtime
from reconciler.model import Finding, Plan
from reconciler.plans.plan_file import describe_steps
from reconciler.plans.waves import name_item


def judge_by_policies(
    runtime: Runtime, request: PlanRequest, plan: Plan, allowed: Collection[str]
) -> Plan:
    """Return the plan with what the policies say about its steps.

    `plan` has no findings of policies yet: the approvals of its changes are looked up with it.
    `allowed` are the values of `--allow` that count. The labels are those of the manifests now, and
    not those of a saved plan, which anyone can edit.
    """
    if not (request.policies and plan.steps):
        return plan
    from reconciler.plans.policies import check_policies  # noqa: PLC0415 - few projects have one

    find_approvers = request.find_approvers
    context = replace(
        request.policy_context,
        now=runtime.clock(),
        labels={str(one.address): one.labels for one in request.manifests},
        approvers=frozenset() if find_approvers is None else frozenset(find_approvers(plan)),
        allowed=allowed,
    )
    members = {str(one.resource.address): one.member for one in plan.steps}
    found = check_policies(request.policies, describe_steps(plan.steps), context)
    named: tuple[Finding, ...] = tuple(name_item(one, members[one.subject]) for one in found)
    return replace(plan, findings=(*plan.findings, *named))
