"""Checks for known problems of Classic endpoints, before any call to the service.

They cover the default endpoint, training services, and the limits of a throttle level and of a
workspace's tier (documented: retrain-classic-web-service, scaling-webservice,
create-models-and-endpoints). The kind calls them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from reconciler.document.comparers import COMPARERS
from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.kinds.base import make_unknown_finding, name_region
from reconciler.kinds.endpoint.addresses import REGIONS
from reconciler.kinds.endpoint.refresh import (
    DEFAULT,
    check_refresh,
    find_published,
    find_refresh,
)
from reconciler.model import ABSENT, Action, Finding, Json, Manifest, Step
from reconciler.plans.guards import forbid
from reconciler.text.counting import count

GUARDS: Final = {
    "default-endpoint": "a change of the default endpoint, which the next publication undoes",
    "refresh": "a refresh that replaces the models of an endpoint with the published ones",
    "training-service": "a model for a web service that has no model to replace",
    "region": "an endpoint that is in another region than the declared one",
}
_DEFAULT_MODEL: Final = (
    "is the default endpoint, which always serves the published model",
    "The documentation says that it cannot be given another model.",
)
_DEFAULT_SETTINGS: Final = (
    "is the default endpoint, which should not change",
    "Publishing the web service again undoes the change, and the service may refuse it.",
)
_HTTPS: Final = "Write it with https://. With http:// the signature could be read on its way."
_LOW: Final = 4
_FREE: Final = 3
_MOST: Final = 10_000


def check_endpoint_step(manifest: Manifest, step: Step) -> Iterator[Finding]:
    """Yield the problems of one step that follow from the step alone."""
    if step.resource.short_id == DEFAULT and step.action is not Action.CREATE:
        yield forbid(
            step.resource.address,
            "default-endpoint",
            *_DEFAULT_MODEL if step.models else _DEFAULT_SETTINGS,
            lift="Add another endpoint for the clients: spec.resource: {name: retrained1}."
            " To continue",
        )
    if step.models and find(step.before, ("Resources",)) == {}:
        yield _check_training(step)
    yield from check_refresh(manifest, step)
    yield from _check_addresses(manifest, step)
    # The service may show null for what was never set.
    level = step.after.get("ThrottleLevel") or "Low"
    calls = step.after.get("MaxConcurrentCalls") or 0
    if level == "Low" and calls > _LOW and "/MaxConcurrentCalls" in step.owned_paths:
        yield Finding(
            f"MaxConcurrentCalls is {calls}, but ThrottleLevel Low allows at most {_LOW}",
            subject=str(step.resource.address),
            place=manifest.place("/spec/definition/MaxConcurrentCalls"),
            next_step="Declare ThrottleLevel: High, or leave MaxConcurrentCalls out.",
        )


def _check_addresses(manifest: Manifest, step: Step) -> Iterator[Finding]:
    """Yield each address that cannot be sent: a PATCH of one model sends all declared models."""
    from reconciler.transport import split_address  # noqa: PLC0415 - only a change of models needs it

    for path in map(split_pointer, step.owned_paths) if _sends_models(step) else ():
        uri = find(step.after, path)
        if path[:1] != ("Resources",) or path[-1] != "Location" or not isinstance(uri, str):
            continue
        try:
            split_address(uri)
        except ValueError as error:
            yield Finding(
                f'trained model "{path[1]}": its address is not {error}',
                subject=str(step.resource.address),
                place=manifest.place(format_pointer(("spec", "trainedModels", path[1], "uri"))),
                detail=(uri,),
                next_step=_HTTPS
                if uri.startswith("http://")
                else "Write an address such as"
                " https://ACCOUNT.blob.core.windows.net/models/NAME.ilearner.",
            )


def _sends_models(step: Step) -> bool:
    """Return whether the step sends any model: then it sends all that the manifest declares."""
    changed = any(change.path[:1] == ("Resources",) for change in step.changes)
    return changed or step.action in {Action.CREATE, Action.REPLACE}


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
        if step.action is Action.DELETE and step.resource.short_id == DEFAULT:
            yield forbid(
                step.resource.address,
                "default-endpoint",
                "is the default endpoint, which must be deleted last",
                "The service keeps it while other endpoints exist.",
                lift="Keep it: clients need not call it. To continue",
            )
    yield from _check_regions(steps, peers)
    yield from _check_count([step for _, step in steps], peers)
    yield from _check_refresh_due([step for _, step in steps], peers)


def _check_regions(
    steps: Sequence[tuple[Manifest | None, Step]], peers: Sequence[Json]
) -> Iterator[Finding]:
    """Yield each step on a web service whose endpoints have an address in another region."""
    shared = next((one["ApiLocation"] for one in peers if "ApiLocation" in one), ABSENT)
    for manifest, step in steps:
        # To open the document of a step is slow, and a web service is in one region.
        address = find(step.before, ("ApiLocation",)) if shared is ABSENT else shared
        host, region = name_region(address)
        declared = step.resource.id.split("/")[1]
        if region and COMPARERS["location"](region) != declared:
            found = forbid(
                step.resource.address,
                "region",
                f"its web service is in {region}, but the declared region is"
                f" {REGIONS.get(declared, declared)}",
                f"The host of its scoring address is {host}.",
                "The declared region decides which management host gets each call.",
                lift=f"Set spec.resource.region or spec.defaults.region to {region}. To continue",
            )
            place = manifest.place("/spec/resource/region") if manifest is not None else None
            yield replace(found, place=place)


def _check_count(steps: Sequence[Step], peers: Sequence[Json]) -> Iterator[Finding]:
    """Yield a finding if there would be too many endpoints.

    Only the default endpoint shows the tier of the workspace.
    """
    new = [step for step in steps if step.action is Action.CREATE]
    total = len(peers) + len(new) - sum(step.action is Action.DELETE for step in steps)
    default: Json = next((one for one in peers if one["Name"] == DEFAULT), {})
    free = default.get("ThrottleLevel") == "Low" and default.get("MaxConcurrentCalls") == _LOW
    if new and total > (_FREE if free else _MOST):
        most = f"{_FREE} in a free workspace" if free else f"{_MOST:,}"
        yield Finding(
            f"the web service would have {count(total, 'endpoint')}; the limit is {most}",
            subject=str(new[0].resource.address),
            detail=("Its default endpoint has the limits of a free workspace.",) * free,
            next_step="Move to a standard workspace, or declare fewer endpoints."
            if free
            else "Distribute the endpoints over several web services.",
            severity="warning" if free else "error",
        )


def _check_refresh_due(steps: Sequence[Step], peers: Sequence[Json]) -> Iterator[Finding]:
    """Yield a finding for changed models that a due refresh may overwrite."""
    published = find_published(peers)
    due = [
        step
        for step in steps
        if step.models and step.before is not ABSENT and published is not None
        and find_refresh(step) is None
        and find(step.before, ("Version",)) not in (published, ABSENT)
        and find(step.before, ("PreventUpdate",)) is not True
    ]  # fmt: skip
    if due:
        of_them = f" of {count(len(due), 'endpoint')}" if len(due) > 1 else ""
        yield Finding(
            f"the web service was published again at {published}: a refresh with"
            f" OverwriteResources would undo the model{of_them}",
            subject=str(due[0].resource.address),
            next_step="Refresh without OverwriteResources. An endpoint that is created with"
            " PreventUpdate: true is never refreshed.",
            severity="warning",
        )


def _check_training(step: Step) -> Finding:
    return forbid(
        step.resource.address,
        "training-service",
        "has no trained model to update: it belongs to a training web service",
        "Trained models are updated on an endpoint of the predictive web service.",
        lift="Set the predictive web service in spec.resource.webService. To continue",
    )
