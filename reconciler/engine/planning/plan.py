"""Making a plan: read, bind, compare, look at the models, judge.

Everything that keeps a plan from being made is found in one run and raised together; what
merely forbids applying it is kept in the plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace

from reconciler.document.pointers import format_pointer
from reconciler.document.schema import Field
from reconciler.engine.blob_checks import check_models
from reconciler.engine.observe import Observation, ObservedResources, observe
from reconciler.engine.planning.selection import (
    PlanRequest,
    identify_resources,
    resolve_request,
    select_manifests,
)
from reconciler.engine.planning.sources import (
    StartingDocument,
    check_copies,
    find_starting_documents,
    set_source,
)
from reconciler.engine.runtime import Runtime
from reconciler.errors import ReconcilerError, Unplannable
from reconciler.model import (
    ABSENT,
    Absent,
    Address,
    Cause,
    CompressedDocument,
    Declared,
    Estimate,
    Finding,
    Json,
    Manifest,
    Member,
    ModelReference,
    Plan,
    Reason,
    Resource,
    SecretReference,
    Snapshot,
    Step,
)
from reconciler.model.values import dataclass
from reconciler.plans import guards
from reconciler.plans.estimate import estimate
from reconciler.plans.reasons import explain_changes, format_author
from reconciler.plans.step import Comparison, make_removal, make_step
from reconciler.plans.waves import compute_pause, name_items, stage_members
from reconciler.ports import ChecksScopes, ChecksSteps, ClonesFrom, Kind, KnowsOwner, ShowsPeers
from reconciler.text.times import format_utc


@dataclass
class _PlanBuilder:
    """What has come together so far; only `make_plan` holds one."""

    runtime: Runtime
    request: PlanRequest
    comparisons: list[Comparison] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    unchanged: list[Resource] = field(default_factory=list)
    obstacles: list[Finding] = field(default_factory=list)
    hidden: dict[str, tuple[str, ...]] = field(default_factory=dict)
    last_set: dict[str, Mapping[str, str]] = field(default_factory=dict)
    owners: dict[Address, str] = field(default_factory=dict)
    warnings: list[Finding] = field(default_factory=list)

    def add(self, step: Step, seen: Observation) -> None:
        """Take in a step that is all told: from now on its documents are seldom asked for."""
        self.owners.update(find_owners(self.runtime, self.request, [step]))
        self.steps.append(
            step.compress(seen.document if isinstance(seen.document, CompressedDocument) else None)
        )

    def add_findings(self, findings: Iterable[Finding]) -> None:
        """What refuses the plan and can be allowed, or only warns, is kept in it."""
        for found in findings:
            kept = found.guard or found.severity == "warning"
            (self.warnings if kept else self.obstacles).append(found)


def make_plan(runtime: Runtime, request: PlanRequest) -> Plan:
    """The plan that leads from what is live to what the manifests declare.

    Raises ManifestInvalid or Unplannable with every obstacle that was found.
    """
    snapshot = runtime.ledger.load()
    request = resolve_request(request, snapshot)
    chosen = select_manifests(request)
    resources = identify_resources(runtime, chosen, request.defaults)
    orphans = _find_orphans(request, snapshot)
    # What was renamed without saying so is still declared, under another address.
    kept = {resource.id.casefold() for resource in resources}
    leaving = [one for one in orphans if one.id.casefold() not in kept]
    leaving = leaving if request.prune or request.destroy else []
    calls = runtime.calls
    seen = observe(runtime, [*resources, *leaving], request.refresh)
    builder = _PlanBuilder(runtime, request)
    wanted = dict(zip(resources, chosen, strict=True))
    starting_documents, seen = find_starting_documents(runtime, request, wanted, seen)
    _plan_declared(builder, snapshot, wanted, seen, starting_documents)
    for resource in leaving:
        gone = Reason("", Cause.ORPHAN, "no manifest names it any more")
        last_applied = snapshot.last_applied_by_address[resource.address]
        _plan_removal(builder, seen[resource], gone, last_applied.wave, last_applied.fleet)
    builder.add_findings(check_conflicts(runtime, builder.steps, wanted, request))
    copied, missing = check_copies(runtime, builder.steps)
    if builder.obstacles or missing:
        raise Unplannable(tuple(name_items((*builder.obstacles, *missing), chosen)))
    refresh = replace(seen.refresh, calls=runtime.calls - calls)
    staged, rollouts = stage_members(copied, request.rollouts)
    steps, found = check_models(runtime, staged, builder.comparisons, request.limits.blobs)
    known = len(snapshot.last_applied_by_address)
    refusals = guards.check_guards(steps, request.limits, known, request.allowed, builder.owners)
    warnings = guards.allow((*builder.warnings, *found), request.allowed)
    return Plan(
        steps=tuple(steps),
        unchanged=tuple(builder.unchanged),
        findings=tuple(
            name_items((*refusals, *warnings, *_report_open_intents(snapshot, seen)), chosen)
        ),
        inputs=request.inputs,
        refresh=refresh,
        made_at=format_utc(runtime.clock()),
        baseline="kept" if snapshot.known else "lost",
        orphans=tuple(one for one in orphans if one not in leaving),
        not_observable=builder.hidden,
        last_set=builder.last_set,
        estimate=estimate_steps(runtime, steps, refresh.calls, compute_pause(steps, rollouts)),
        rollouts=rollouts,
    )


def _plan_declared(
    builder: _PlanBuilder,
    snapshot: Snapshot,
    wanted: Mapping[Resource, Manifest],
    seen: ObservedResources,
    starting_documents: Mapping[Resource, StartingDocument],
) -> None:
    """What the manifests want, each of its resource; where all is to go, that it goes."""
    runtime, request = builder.runtime, builder.request
    for resource, manifest in wanted.items():
        if request.destroy:
            reason = Reason("", Cause.DESTROY, "--destroy")
            wave, member = manifest.spec.get("wave", 0), manifest.member
            fleet = member.fleet if member else None
            _plan_removal(builder, seen[resource], reason, wave, fleet, member)
        else:
            comparison = make_comparison(
                runtime,
                request,
                snapshot,
                manifest,
                seen[resource],
                starting_documents.get(resource),
            )
            _plan_one(
                runtime,
                builder,
                manifest,
                seen[resource],
                comparison,
                starting_documents.get(resource),
            )


def _report_open_intents(snapshot: Snapshot, seen: ObservedResources) -> Iterator[Finding]:
    """What somebody began, of which nobody has written down yet what came of it."""
    asked = {resource.id.casefold() for resource in seen.seen}
    for intent in snapshot.open:
        if intent.id.casefold() in asked:
            yield Finding(
                f"an apply by {intent.by} has begun to {intent.action} it, at {intent.at},"
                " and has not told how that ended",
                subject=str(intent.address),
                next_step="If nobody is applying now, it was cut off: apply finds out first.",
                severity="warning",
            )


def find_owners(
    runtime: Runtime, request: PlanRequest, steps: Sequence[Step]
) -> Mapping[Address, str]:
    """Who else manages what a step would change, where somebody does."""
    owners: dict[Address, str] = {}
    for step in steps:
        kind = runtime.kinds[step.resource.address.kind]
        if isinstance(kind, KnowsOwner) and step.before is not ABSENT:
            owner = kind.find_owner(step.before, request.inputs.project)
            owners |= {step.resource.address: owner} if owner else {}
    return owners


def estimate_steps(
    runtime: Runtime, steps: Sequence[Step], spent: int, pause_s: float = 0.0
) -> Estimate:
    """What the apply will take where it follows at once; kinds are told apart by their pace."""
    by_kind: dict[str, list[Step]] = {}
    for step in steps:
        by_kind.setdefault(step.resource.address.kind, []).append(step)
    found = [
        estimate(of_kind, runtime.timing(name), runtime.parallelism, spent)
        for name, of_kind in by_kind.items()
    ]
    return Estimate(
        writes=sum(one.writes for one in found),
        reads=sum(one.reads for one in found),
        seconds=sum(one.seconds for one in found) + pause_s,
    )


def _find_orphans(request: PlanRequest, snapshot: Snapshot) -> list[Resource]:
    """What the ledger remembers and no manifest names, by address.

    Targets leave alone what they do not name, and it is not told.
    """
    declared = {manifest.address for manifest in request.manifests}
    if not request.whole:
        return []
    gone = set(snapshot.last_applied_by_address) - declared - set(request.excluded)
    if request.targets:
        gone &= set(request.targets)
    return [snapshot.last_applied_by_address[address].resource(address) for address in sorted(gone)]


def _plan_removal(
    builder: _PlanBuilder,
    seen: Observation,
    reason: Reason,
    wave: int,
    fleet: Address | None,
    member: Member | None = None,
) -> None:
    """Take a resource away, where there is one."""
    if seen.document is None:
        builder.obstacles.extend(one for one in (seen.finding,) if one)
    elif isinstance(seen.document, Absent):
        builder.unchanged.append(seen.resource)
    else:
        gone = make_removal(seen.resource, seen.document.open(), reason)
        builder.add(gone.copy_with(wave=wave, fleet=fleet, member=member), seen)


def list_not_observable(comparisons: Sequence[Comparison]) -> Mapping[str, tuple[str, ...]]:
    """What each wish declares and the service never shows, by address."""
    return {
        str(comparison.resource.address): comparison.not_observable
        for comparison in comparisons
        if comparison.not_observable
    }


def list_last_set(comparisons: Sequence[Comparison]) -> Mapping[str, Mapping[str, str]]:
    """When and by whom what the service does not show was last set, as far as it is remembered."""
    said = {
        str(comparison.resource.address): {
            pointer: format_author(comparison.last_applied)
            for pointer in comparison.not_observable
            if pointer in comparison.last_applied.owned
            or pointer in comparison.last_applied.secrets
        }
        for comparison in comparisons
        if comparison.last_applied is not None
    }
    return {address: pointers for address, pointers in said.items() if pointers}


def check_conflicts(
    runtime: Runtime,
    steps: Sequence[Step],
    wanted: Mapping[Resource, Manifest],
    request: PlanRequest,
) -> Iterator[Finding]:
    """What speaks against the steps of each scope together, beside all that is there."""
    scopes: dict[tuple[str, str], list[Step]] = {}
    for step in steps:
        kind = runtime.kinds[step.resource.address.kind]
        scopes.setdefault((kind.name, kind.scope(step.resource)), []).append(step)
    for (name, _), found in scopes.items():
        kind, provider = runtime.kinds[name], runtime.providers[name]
        if isinstance(kind, ChecksScopes):
            peers: Sequence[Json] = ()
            if isinstance(provider, ShowsPeers) and request.refresh != "none":
                peers = provider.find_peers(found[0].resource)
            named = [(wanted.get(step.resource), step) for step in found]
            yield from kind.check_scope(named, peers)


def _plan_one(
    runtime: Runtime,
    builder: _PlanBuilder,
    manifest: Manifest,
    seen: Observation,
    comparison: Comparison | None,
    starting: StartingDocument | None,
) -> None:
    if comparison is None or (starting is not None and starting.obstacles):
        builder.obstacles.extend(one for one in (seen.finding,) if one)
        builder.obstacles.extend(starting.obstacles if starting is not None else ())
        return
    step = None if comparison.declared.findings else make_step(comparison)
    builder.obstacles.extend(comparison.declared.findings)
    builder.hidden.update(list_not_observable([comparison]))
    builder.last_set.update(list_last_set([comparison]))
    # What is live is not asked for again, and that of thousands would fill the memory.
    builder.comparisons.append(replace(comparison, live=ABSENT))
    if step is None:
        builder.unchanged.append(seen.resource)
        return
    step = set_source(runtime, step, starting)
    builder.add_findings(check_planned_step(runtime, manifest, step, comparison.declared.models))
    reported = step.copy_with(
        labels=manifest.labels,
        reasons=tuple(explain_changes(comparison, step.changes)),
        wave=manifest.spec.get("wave", 0),
        fleet=manifest.member.fleet if manifest.member else None,
        member=manifest.member,
    )
    builder.add(reported, seen)


def check_planned_step(
    runtime: Runtime, manifest: Manifest, step: Step, models: Sequence[ModelReference]
) -> Iterator[Finding]:
    """What would stop the step at the service, found before the first call is made."""
    kind = runtime.kinds[manifest.address.kind]
    forced = tuple(
        f"{at} cannot be changed in place, so it is replaced." for at in step.replace_paths
    )
    for finding in kind.check_step(manifest, step) if isinstance(kind, ChecksSteps) else ():
        detail = finding.detail if finding.guard else (*finding.detail, *forced)
        yield replace(finding, detail=detail)
    yield from _check_unsealed(kind.field, manifest, step)
    for pointer, reference in step.secrets:
        try:
            runtime.resolve(reference)
        except ReconcilerError as error:
            place = manifest.place(_find_reference(models, pointer))
            for finding in error.findings():
                yield replace(finding, subject=str(manifest.address), place=place)


def _find_reference(models: Sequence[ModelReference], pointer: str) -> str:
    """Where a manifest refers to a secret: by its place, or beside the model that it opens."""
    for model in models:
        if model.sas is not None and model.entry and format_pointer(model.sas_path) == pointer:
            return f"{model.entry}/sas"
    return format_pointer(("spec", "secrets", pointer))


def _check_unsealed(root: Field, manifest: Manifest, step: Step) -> Iterator[Finding]:
    """Credentials declared in the clear over cipher text: no plan may hold them."""
    for change in step.changes:
        sealed = root.at(change.path).is_sealed(change.after)
        if change.sealed_by and isinstance(change.after, dict) and not sealed:
            pointer = format_pointer(change.path)
            yield Finding(
                f"{pointer} is a credential, which the service keeps sealed;"
                " it stands here in the clear",
                subject=str(manifest.address),
                place=manifest.place(f"/spec/definition{pointer}"),
                next_step="Leave it out: what is not declared stays as it is.",
            )


def make_comparison(
    runtime: Runtime,
    request: PlanRequest,
    snapshot: Snapshot,
    manifest: Manifest,
    seen: Observation,
    starting: StartingDocument | None = None,
) -> Comparison | None:
    """What a manifest wants of what was seen; None where that could not be read."""
    if seen.document is None:
        return None
    document = seen.document.open() if isinstance(seen.document, CompressedDocument) else ABSENT
    kind = runtime.kinds[manifest.address.kind]
    return Comparison(
        resource=seen.resource,
        schema=kind.field,
        live=document,
        declared=_bind(kind, manifest, document, starting),
        secrets={
            pointer: SecretReference(**given)
            for pointer, given in manifest.spec.get("secrets", {}).items()
        },
        last_applied=snapshot.last_applied_by_address.get(manifest.address),
        ledger_known=snapshot.known,
        rotate=manifest.address in request.rotate,
    )


def _bind(
    kind: Kind, manifest: Manifest, live: Json | Absent, starting: StartingDocument | None
) -> Declared:
    if live is ABSENT and starting is not None and isinstance(kind, ClonesFrom):
        return kind.bind_clone(manifest, starting.document)
    return kind.bind(manifest, live)
