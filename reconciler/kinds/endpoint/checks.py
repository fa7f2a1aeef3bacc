"""Checks for known problems of Classic endpoints, before any call to the service.

They cover the default endpoint, training services, and the limits of a throttle level and of a
workspace's tier (documented: retrain-classic-web-service, scaling-webservice,
create-models-and-endpoints). The kind calls them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from reconciler.document.pointers import find
from reconciler.kinds.base import make_unknown_finding
from reconciler.model import ABSENT, Action, Finding, Json, Manifest, Step
from reconciler.plans.guards import forbid

GUARDS: Final = {
    "default-endpoint": "changes of the endpoint that publishing the web service undoes",
    "training-service": "a model for a service that has none to replace",
}
_DEFAULT: Final = "default"
_LOW: Final = 4
_FREE: Final = 3
_MOST: Final = 10_000


def check_endpoint_step(manifest: Manifest, step: Step) -> Iterator[Finding]:
    """Yield the problems of one step that follow from the step alone."""
    if step.resource.short_id == _DEFAULT and step.action is not Action.CREATE:
        yield forbid(
            step.resource.address,
            "default-endpoint",
            "is the default endpoint, which stays as it is",
            "Publishing the web service again would undo it, and the service may refuse it.",
            lift="Add another endpoint and have it called: spec.resource: {name: retrained1}."
            " To go on",
        )
    if step.models and find(step.before, ("Resources",)) == {}:
        yield _check_training(step)
    level, calls = step.after.get("ThrottleLevel", "Low"), step.after.get("MaxConcurrentCalls", 0)
    if level == "Low" and calls > _LOW and "/MaxConcurrentCalls" in step.owned_paths:
        yield Finding(
            f"MaxConcurrentCalls is {calls}, and ThrottleLevel Low answers at most {_LOW} at once",
            subject=str(step.resource.address),
            place=manifest.place("/spec/definition/MaxConcurrentCalls"),
            next_step="Declare ThrottleLevel: High, or leave MaxConcurrentCalls out.",
        )


def check_endpoint_scope(
    steps: Sequence[tuple[Manifest | None, Step]], peers: Sequence[Json]
) -> Iterator[Finding]:
    """Yield the problems of all steps on one web service; `peers` are all its endpoints."""
    # A new endpoint has the models of its web service, and so do the other endpoints.
    shown_resources = [one["Resources"] for one in peers if isinstance(one.get("Resources"), dict)]
    known = {name for names in shown_resources for name in names}
    for manifest, step in steps:
        if step.action is Action.CREATE and manifest is not None and shown_resources:
            wanted = sorted({str(model.path[1]) for model in step.models} - known)
            if known:
                yield from (make_unknown_finding(manifest, name, known) for name in wanted)
            elif wanted:
                yield _check_training(step)
        if step.action is Action.DELETE and step.resource.short_id == _DEFAULT:
            yield forbid(
                step.resource.address,
                "default-endpoint",
                "is the default endpoint, which goes last",
                "The service keeps it for as long as there are other endpoints.",
                lift="Leave it: nobody need call it. To go on",
            )
    yield from _check_count([step for _, step in steps], peers)
    yield from _check_refresh_due([step for _, step in steps], peers)


def _check_count(steps: Sequence[Step], peers: Sequence[Json]) -> Iterator[Finding]:
    """Yield a finding if there would be too many endpoints.

    Only the default endpoint shows the tier of the workspace.
    """
    new = [step for step in steps if step.action is Action.CREATE]
    total = len(peers) + len(new) - sum(step.action is Action.DELETE for step in steps)
    default: Json = next((one for one in peers if one["Name"] == _DEFAULT), {})
    free = default.get("ThrottleLevel") == "Low" and default.get("MaxConcurrentCalls") == _LOW
    if new and total > (_FREE if free else _MOST):
        most = f"in a free workspace at most {_FREE}" if free else f"at most {_MOST:,}"
        yield Finding(
            f"the web service would have {total:,} endpoints; it has {most}",
            subject=str(new[0].resource.address),
            detail=("Its default endpoint takes as many calls as in a free workspace.",) * free,
            next_step="Move to a standard workspace, or declare fewer."
            if free
            else "Spread them over several web services.",
            severity="warning" if free else "error",
        )


def _check_refresh_due(steps: Sequence[Step], peers: Sequence[Json]) -> Iterator[Finding]:
    """Yield a finding for changed models that a due refresh may overwrite."""
    published = next((one.get("Version") for one in peers if one["Name"] == _DEFAULT), None)
    due = [
        step
        for step in steps
        if step.models and step.before is not ABSENT and published is not None
        and find(step.before, ("Version",)) not in (published, ABSENT)
        and find(step.before, ("PreventUpdate",)) is not True
    ]  # fmt: skip
    if due:
        one = len(due) == 1
        yield Finding(
            f"the web service was published again at {published}: a refresh that overwrites"
            f" resources would undo the model{'' if one else f' of {len(due):,} endpoints'}",
            subject=str(due[0].resource.address),
            next_step="Refresh without OverwriteResources; an endpoint that is made with"
            " PreventUpdate: true is not refreshed.",
            severity="warning",
        )


def _check_training(step: Step) -> Finding:
    return forbid(
        step.resource.address,
        "training-service",
        "has no trained model that can be updated: it is of a training web service",
        "What it makes goes to an endpoint of the predictive web service.",
        lift="Name the predictive web service in spec.resource.webService. To go on",
    )
