"""Finds the starting documents of new resources: the live documents of their sources.

A source is used only while the new resource does not exist. The plan contains the source's values
as they were when the plan was made. Values that are sealed for another region come from the
service's regional copy when the plan is applied. It also binds a manifest to the document that is
live or that it starts from. The planner calls this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from reconciler.engine.observe import Observation, ObservedResources, observe
from reconciler.engine.planning.selection import PlanRequest
from reconciler.engine.runtime import Runtime, asks_for_calls
from reconciler.errors import ReconcilerError
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Cause,
    CloneSource,
    CompressedDocument,
    Declared,
    Finding,
    Json,
    Manifest,
    Reason,
    Resource,
    Step,
)
from reconciler.model.values import dataclass
from reconciler.ports import ClonesFrom, KeepsCopies, ShowsPeers

_WHERE = "/spec/definition/from"


@dataclass(frozen=True)
class StartingDocument:
    """The document that one new resource starts from, or the `obstacles` that prevent it."""

    source: CloneSource
    document: Json | Absent = ABSENT
    obstacles: tuple[Finding, ...] = ()


def find_starting_documents(
    runtime: Runtime,
    request: PlanRequest,
    chosen: Mapping[Resource, Manifest],
    observed: ObservedResources,
) -> tuple[Mapping[Resource, StartingDocument], ObservedResources]:
    """Return the starting document of each new resource, and all observations so far."""
    located = {
        resource: starting
        for resource, manifest in chosen.items()
        if observed[resource].document is ABSENT
        and not request.destroy
        and (starting := _locate(runtime, request, manifest, resource)) is not None
    }
    wanted = {
        resource: starting.source.id
        for resource, starting in located.items()
        if not starting.obstacles
    }
    known = {one.id.casefold() for one in observed.seen}
    unobserved = {
        source_id.casefold(): Resource(resource.address, source_id)
        for resource, source_id in wanted.items()
        if source_id.casefold() not in known
    }
    if unobserved:
        observed = observed.join(observe(runtime, unobserved.values(), request.refresh))
    by_id = {one.id.casefold(): seen for one, seen in observed.seen.items()}
    taken = {
        resource: _fill_starting_document(
            located[resource], chosen[resource], by_id[source_id.casefold()]
        )
        for resource, source_id in wanted.items()
    }
    return {**located, **taken}, observed


def _locate(
    runtime: Runtime, request: PlanRequest, manifest: Manifest, resource: Resource
) -> StartingDocument | None:
    """Return the source of a manifest without its document; None if it has no source."""
    kind = runtime.kinds[manifest.address.kind]
    if not isinstance(kind, ClonesFrom):
        return None
    try:
        named = kind.find_source(manifest, request.defaults)
        if named is None:
            return None
        if isinstance(named, Address):
            others = {other.address: other for other in request.manifests}
            if named not in others:
                return StartingDocument(
                    CloneSource("", str(named)), obstacles=(_undeclared(manifest, named),)
                )
            named = runtime.identify(others[named], request.defaults)
            source = CloneSource(named.id, str(named.address))
        else:
            source = CloneSource(named.id, named.short_id)
    except ReconcilerError as error:
        return StartingDocument(CloneSource("", ""), obstacles=error.findings())
    if source.id.casefold() == resource.id.casefold():
        finding = _obstacle(manifest, "starts from itself", "Name another service as the source.")
        return StartingDocument(source, obstacles=(finding,))
    return StartingDocument(source)


def _fill_starting_document(
    starting: StartingDocument, manifest: Manifest, seen: Observation
) -> StartingDocument:
    name = starting.source.name
    if isinstance(seen.document, CompressedDocument):
        return replace(starting, document=seen.document.open())
    if seen.document is ABSENT:
        finding = _obstacle(
            manifest,
            f"starts from {name}, which does not exist",
            "Create that first, or name another source.",
            starting.source.id,
        )
    else:
        why = seen.finding.message if seen.finding is not None else "it was not read"
        finding = _obstacle(
            manifest,
            f"starts from {name}, which could not be read: {why}",
            seen.finding.next_step if seen.finding is not None else "",
            starting.source.id,
        )
    return replace(starting, obstacles=(finding,))


def _undeclared(manifest: Manifest, source: Address) -> Finding:
    return _obstacle(
        manifest,
        f"starts from {source}, which no manifest declares",
        "Plan with the file that declares it, or name the service: from: {resource: {name: NAME}}",
    )


def _obstacle(manifest: Manifest, message: str, next_step: str, *detail: str) -> Finding:
    return Finding(
        message,
        subject=str(manifest.address),
        place=manifest.place(_WHERE),
        detail=detail,
        next_step=next_step,
    )


def set_source(runtime: Runtime, step: Step, starting: StartingDocument | None) -> Step:
    """Return the step with its source: the starting document, or itself for a new region."""
    created = starting is not None and step.action is Action.CREATE
    kind = runtime.kinds[step.resource.address.kind]
    if not (created or step.action is Action.REPLACE) or not isinstance(kind, ClonesFrom):
        return step
    if starting is not None and created:
        region = kind.find_region(starting.document, step.after)
        return step.copy_with(source=replace(starting.source, region=region))
    region = kind.find_region(step.before, step.after)
    own = CloneSource(step.resource.id, str(step.resource.address), region)
    return step.copy_with(source=own) if region else step


def check_copies(runtime: Runtime, steps: Sequence[Step]) -> tuple[list[Step], tuple[Finding, ...]]:
    """Return the steps with the state of their regional copies, and the obstacles.

    The apply creates a missing copy first in its step.
    """
    wanted = [step for step in steps if step.source is not None and step.source.region]
    looked = dict(runtime.run_all(lambda step: (step.resource, _check_copy(runtime, step)), wanted))
    found = [looked.get(step.resource, (step, ()))[0] for step in steps]
    obstacles = [one for step in steps for one in looked.get(step.resource, (step, ()))[1]]
    explained = [step.copy_with(reasons=(*_explain(step), *step.reasons)) for step in found]
    return explained, (*obstacles, *_check_leaving_sources(steps))


def _check_copy(runtime: Runtime, step: Step) -> tuple[Step, tuple[Finding, ...]]:
    if step.source is None:
        return step, ()
    provider = runtime.provider(step.resource.address)
    try:
        there = isinstance(provider, KeepsCopies) and provider.has_copy(step.source)
    except ReconcilerError as error:
        subject = str(step.resource.address)
        return step, tuple(replace(one, subject=subject) for one in error.findings())
    return step.copy_with(source=replace(step.source, copy="there" if there else "missing")), ()


def _explain(step: Step) -> Iterator[Reason]:
    source = step.source
    if source is None:
        return
    if step.action is Action.CREATE:
        yield Reason("", Cause.SOURCE, f"from {source.name}, as it is live now")
    if source.region:
        made = "is created first" if source.copy == "missing" else "exists"
        note = f"secrets come from its copy for {source.region}, which {made}"
        yield Reason("", Cause.SOURCE, note)


def _check_leaving_sources(steps: Sequence[Step]) -> Iterator[Finding]:
    """Yield a finding for each source of a copy that the same plan destroys.

    The apply makes the copy, so its source must still exist then.
    """
    leaving = {
        step.resource.id.casefold(): step.resource
        for step in steps
        if step.action in {Action.DELETE, Action.REPLACE}
    }
    for step in steps:
        source = step.source
        if source is None or not source.region:
            continue
        gone = leaving.get(source.id.casefold())
        if gone is not None and gone != step.resource:
            yield Finding(
                f"its secrets come from a copy of {source.name}, which this plan destroys",
                subject=str(step.resource.address),
                next_step=f"Apply this first: --target {step.resource.address}",
            )


def bind_manifest(
    runtime: Runtime,
    request: PlanRequest,
    manifest: Manifest,
    live: Json | Absent,
    starting: StartingDocument | None,
) -> Declared:
    """Return what a manifest declares, for the live or the starting document, with its due call."""
    kind = runtime.kinds[manifest.address.kind]
    if live is ABSENT and starting is not None and isinstance(kind, ClonesFrom):
        return kind.bind_clone(manifest, starting.document)
    declared = kind.bind(manifest, live)
    if live is ABSENT or not asks_for_calls(kind) or not kind.asks_for_call(manifest):
        return declared
    provider = runtime.provider(manifest.address)
    peers: Sequence[Json] = ()
    if isinstance(provider, ShowsPeers) and request.refresh != "none":
        peers = provider.find_peers(runtime.identify(manifest, request.defaults))
    found = kind.find_due_call(manifest, live, peers)
    if isinstance(found, Finding):
        return replace(declared, findings=(*declared.findings, found))
    return replace(declared, call=found)
