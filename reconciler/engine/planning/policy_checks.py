"""Judges a plan by the policies of the project, at the time of the run.

The planner and the apply of a saved plan call it. It sends no call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from reconciler.document.pointers import format_pointer
from reconciler.engine.planning.selection import PlanRequest
from reconciler.engine.runtime import Runtime
from reconciler.model import Address, Finding, LastApplied, Plan, Step
from reconciler.plans.plan_file import describe_steps
from reconciler.plans.waves import name_item


def judge_by_policies(
    runtime: Runtime,
    request: PlanRequest,
    plan: Plan,
    allowed: Collection[str],
    last_applied: Mapping[Address, LastApplied],
) -> Plan:
    """Return the plan with what the policies say about its steps.

    `plan` has no findings of policies yet: the approvals of its changes are looked up with it.
    `allowed` are the values of `--allow` that count, and `last_applied` is what the ledger records.
    Labels are those of the manifests now, and what is restored is decided by the ledger: anyone can
    edit a saved plan.
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
        restored=frozenset(_find_restored(plan.steps, last_applied)),
    )
    members = {str(one.resource.address): one.member for one in plan.steps}
    found = check_policies(request.policies, describe_steps(plan.steps), context)
    named: tuple[Finding, ...] = tuple(name_item(one, members[one.subject]) for one in found)
    return replace(plan, findings=(*plan.findings, *named))


def _find_restored(
    steps: Iterable[Step], last_applied: Mapping[Address, LastApplied]
) -> Iterator[tuple[str, str]]:
    """Yield the models that are not new: somebody else has changed them since the last apply."""
    from reconciler.plans.recorded_gates import was_applied  # noqa: PLC0415 - as above

    for step in steps:
        address = step.resource.address
        for model in step.models:
            if was_applied(last_applied.get(address), model, model.digest_after):
                yield str(address), format_pointer(model.path)
