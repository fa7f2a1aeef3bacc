"""Judges the steps of a plan by the policies of the project, at the time of the run.

The planner and the apply of a saved plan call it. It sends no call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from reconciler.engine.planning.selection import PlanRequest
from reconciler.engine.runtime import Runtime
from reconciler.model import Finding, Step
from reconciler.plans.plan_file import describe_steps


def judge_by_policies(
    runtime: Runtime, request: PlanRequest, steps: Iterable[Step], allowed: Collection[str]
) -> tuple[Finding, ...]:
    """Return what the policies say against the steps.

    `allowed` are the values of `--allow` that count. The labels are those of the manifests now, and
    not those of a saved plan, which anyone can edit.
    """
    if not request.policies:
        return ()
    from reconciler.plans.policies import check_policies  # noqa: PLC0415 - few projects have one

    context = replace(
        request.policy_context,
        now=runtime.clock(),
        labels={str(one.address): one.labels for one in request.manifests},
        allowed=allowed,
    )
    return check_policies(request.policies, describe_steps(steps), context)
