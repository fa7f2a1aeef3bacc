"""Checks of planned steps: what a kind refuses, what its service restricts, and unusable secrets.

It also reports a resource whose last operation failed. Findings are returned and never raised.
Plans and rollbacks call this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Final

from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.document.schema import Field, find_failure, find_future_fields
from reconciler.engine.observe import Mode
from reconciler.engine.runtime import Runtime, checks_steps, place_value
from reconciler.errors import ReconcilerError, ServiceError
from reconciler.model import (
    Absent,
    Action,
    Finding,
    Json,
    Manifest,
    ModelReference,
    Resource,
    Step,
)
from reconciler.plans.step import Comparison, find_moved_once
from reconciler.ports import ChecksReferences, ChecksScopes, ConfirmsValues, Kind, ShowsPeers
from reconciler.secrets.sas import read_signature
from reconciler.text.times import seconds_since


def recall_confirmed(runtime: Runtime, comparison: Comparison) -> Comparison:
    """Return the comparison with each value that another call proves, as if it were last applied.

    Such a value is set at creation, and another tool changed it. A service that cannot be asked
    proves nothing.
    """
    provider = runtime.providers[comparison.resource.address.kind]
    last_applied = comparison.last_applied
    for change in find_moved_once(comparison):
        if last_applied is None or not isinstance(provider, ConfirmsValues):
            break
        with suppress(ServiceError):
            if provider.confirms(comparison.resource, change.path, change.after):
                owned = {**last_applied.owned, format_pointer(change.path): change.after}
                last_applied = replace(last_applied, owned=owned)
    if last_applied is comparison.last_applied:
        return comparison
    return replace(comparison, last_applied=last_applied)


def check_conflicts(
    runtime: Runtime,
    steps: Sequence[Step],
    wanted: Mapping[Resource, Manifest],
    refresh: Mode = "auto",
) -> Iterator[Finding]:
    """Yield findings about the steps of each scope together, and about the existing resources."""
    scopes: dict[tuple[str, str], list[Step]] = {}
    for step in steps:
        kind = runtime.kinds[step.resource.address.kind]
        scopes.setdefault((kind.name, kind.scope(step.resource)), []).append(step)
    for (name, _), found in scopes.items():
        kind, provider = runtime.kinds[name], runtime.providers[name]
        if isinstance(kind, ChecksScopes):
            peers: Sequence[Json] = ()
            if isinstance(provider, ShowsPeers) and refresh != "none":
                peers = provider.find_peers(found[0].resource)
            named = [(wanted.get(step.resource), step) for step in found]
            yield from kind.check_scope(named, peers)


def check_references(
    runtime: Runtime,
    steps: Sequence[Step],
    wanted: Mapping[Resource, Manifest],
    refresh: Mode = "auto",
) -> list[Finding]:
    """Return what the steps refer to and their services do not have, such as a model's version.

    Several steps are looked up at once.
    """
    asked = [
        (wanted[step.resource], step)
        for step in steps
        if refresh != "none"
        and step.action is not Action.DELETE
        and step.resource in wanted
        and runtime.checks_references(step.resource)
    ]
    found = runtime.run_all(lambda one: _check_references(runtime, *one), asked)
    return [finding for findings in found for finding in findings]


def _check_references(runtime: Runtime, manifest: Manifest, step: Step) -> list[Finding]:
    provider, subject = runtime.provider(step.resource.address), str(step.resource.address)
    if not isinstance(provider, ChecksReferences):
        return []
    try:
        return list(provider.check_references(manifest, step.open()))
    except ReconcilerError as error:
        said = f"what it refers to could not be looked up: {error.message}"
        return [Finding(said, subject=subject, next_step=error.next_step)]


def check_planned_step(
    runtime: Runtime, manifest: Manifest, step: Step, models: Sequence[ModelReference]
) -> Iterator[Finding]:
    """Yield the problems that would make a step fail at the service, before the first write."""
    kind = runtime.kinds[manifest.address.kind]
    for finding in kind.check_step(manifest, step) if checks_steps(kind) else ():
        named = "\n".join(finding.detail)
        forced = (
            f"{at} cannot be changed in place, so it is replaced."
            for at in step.replace_paths
            if not finding.guard and at not in named
        )
        yield replace(finding, detail=(*finding.detail, *forced))
    yield from _check_unsealed(kind.field, manifest, step)
    yield from _check_times(kind.field, manifest, step, runtime.clock())
    signatures = {format_pointer(model.sas_path): model.name for model in models if model.sas_path}
    for pointer, reference in step.secrets:
        try:
            secret = runtime.resolve(reference)
            if pointer in signatures:
                read_signature(secret, str(reference), signatures[pointer])
        except ReconcilerError as error:
            place = manifest.place(_find_reference(kind, manifest, models, pointer))
            for finding in error.findings():
                yield replace(finding, subject=str(manifest.address), place=place)


def check_state(
    root: Field, resource: Resource, live: Json | Absent, step: Step | None
) -> Iterator[Finding]:
    """Yield a warning for a resource whose last operation failed, with what the plan does to it."""
    failure = find_failure(root, live)
    if failure:
        yield Finding(
            failure,
            subject=str(resource.address),
            next_step=_NEXT[step.action] if step is not None else _NO_STEP,
            severity="warning",
        )


_NEXT: Final[Mapping[Action, str]] = {
    Action.UPDATE: "The apply changes it in place, and succeeds only if the service then shows the"
    " planned values.",
    Action.REPLACE: "The apply destroys it, and creates it again.",
    Action.DELETE: "The apply destroys it.",
}
_NO_STEP: Final = (
    "The apply does not change it, because it shows the declared values. To send them again, change"
    " one of them."
)


def _find_reference(
    kind: Kind, manifest: Manifest, models: Sequence[ModelReference], pointer: str
) -> str:
    """Return where a manifest refers to a secret: in spec.secrets, or at the model it opens.

    A kind with words of its own has it at its value.
    """
    for model in models:
        if model.sas is not None and model.entry and format_pointer(model.sas_path) == pointer:
            return f"{model.entry}/sas"
    own = None if pointer in manifest.secrets else place_value(kind, split_pointer(pointer))
    return own[0] if own is not None else format_pointer(("spec", "secrets", pointer))


def _check_times(root: Field, manifest: Manifest, step: Step, now: datetime) -> Iterator[Finding]:
    """Yield a finding for each time that the step sends, and that the service refuses as past.

    An update sends the object around a changed value as a whole.
    """
    changed = [change.path for change in step.changes]
    for path in find_future_fields(root):
        around = path[:-1]
        sent = step.body == "whole" or any(
            one[: len(around)] == around or around[: len(one)] == one for one in changed
        )
        text = find(step.after, path)
        if not sent or not isinstance(text, str) or seconds_since(text, now) <= 0:
            continue
        yield Finding(
            f"{'.'.join(path)} is in the past: {text}",
            subject=str(manifest.address),
            place=manifest.place(f"/spec/definition{format_pointer(path)}"),
            detail=("The service refuses a time in the past.",),
            next_step="Declare a later time.",
        )


def _check_unsealed(root: Field, manifest: Manifest, step: Step) -> Iterator[Finding]:
    """Yield a finding for each credential in plain text: a plan may not contain it."""
    for change in step.changes:
        sealed = root.at(change.path).is_sealed(change.after)
        if change.sealed_by and isinstance(change.after, dict) and not sealed:
            pointer = format_pointer(change.path)
            yield Finding(
                f"{pointer} is a credential, which the service keeps encrypted;"
                " here it is plain text",
                subject=str(manifest.address),
                place=manifest.place(f"/spec/definition{pointer}"),
                next_step="Remove it: an undeclared value does not change.",
            )
