"""Makes a plan: reads, binds, compares, checks the models, and runs the guards.

All errors that prevent a plan are found in one run and raised together. An error that only
prevents its apply is part of the plan. The plan and apply commands call this module. It must not
write to a service. It is long because all parts of a plan are collected in one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace

from reconciler.document.identity import is_same_creation
from reconciler.engine.blob_checks import check_models
from reconciler.engine.gate_checks import judge_models
from reconciler.engine.observe import Observation, ObservedResources, observe
from reconciler.engine.planning.policy_checks import judge_by_policies
from reconciler.engine.planning.selection import (
    PlanRequest,
    identify_resources,
    load_snapshot,
    resolve_request,
    select_manifests,
)
from reconciler.engine.planning.sources import (
    StartingDocument,
    bind_manifest,
    check_copies,
    find_starting_documents,
    set_source,
)
from reconciler.engine.planning.step_checks import (
    check_conflicts,
    check_planned_step,
    check_references,
    check_state,
    recall_confirmed,
)
from reconciler.engine.runtime import Runtime, knows_owner
from reconciler.engine.step_parts import add_writes
from reconciler.errors import ReconcilerError, Unplannable
from reconciler.model import (
    ABSENT,
    Absent,
    Address,
    Cause,
    CompressedDocument,
    Estimate,
    Finding,
    LastApplied,
    Manifest,
    Member,
    Plan,
    Reason,
    Resource,
    Snapshot,
    Step,
)
from reconciler.model.values import dataclass
from reconciler.plans import guards
from reconciler.plans.estimate import estimate
from reconciler.plans.evidence import CREATED_ANEW
from reconciler.plans.history import CHECKS
from reconciler.plans.reasons import explain_changes, format_author
from reconciler.plans.step import Comparison, make_removal, make_step
from reconciler.plans.waves import compute_pause, name_items, stage_members
from reconciler.text.times import format_utc
from reconciler.tracing import traced


@dataclass
class _PlanBuilder:
    """The parts of a plan while `make_plan` collects them."""

    runtime: Runtime
    request: PlanRequest
    comparisons: list[Comparison] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    refused: list[Step] = field(default_factory=list)
    unchanged: list[Resource] = field(default_factory=list)
    obstacles: list[Finding] = field(default_factory=list)
    hidden: dict[str, tuple[str, ...]] = field(default_factory=dict)
    last_set: dict[str, Mapping[str, str]] = field(default_factory=dict)
    owners: dict[Address, str] = field(default_factory=dict)
    warnings: list[Finding] = field(default_factory=list)

    def add(self, step: Step, seen: Observation) -> None:
        """Add a complete step with the writes of its kind; a wrong split is an obstacle.

        Its documents are compressed, because few callers need them.
        """
        try:
            step = add_writes(self.runtime.kinds[step.resource.address.kind], step)
        except ReconcilerError as error:
            self.obstacles += error.findings()
        self.owners.update(find_owners(self.runtime, self.request, [step]))
        self.steps.append(
            step.compress(seen.document if isinstance(seen.document, CompressedDocument) else None)
        )

    def add_obstacles(self, manifest: Manifest, found: Iterable[Finding], *, missing: bool) -> None:
        """Add obstacles; those of a missing resource say where one of its name is."""
        add, defaults = self.runtime.add_places, self.request.defaults
        self.obstacles += [add(one, manifest, defaults) if missing else one for one in found]

    def add_findings(self, findings: Iterable[Finding]) -> None:
        """Add findings: a guard or a warning becomes part of the plan, any other is an obstacle."""
        for found in findings:
            kept = found.guard or found.severity == "warning"
            (self.warnings if kept else self.obstacles).append(found)


@traced("plan", lambda _, request: {"environment": request.inputs.environment})
def make_plan(runtime: Runtime, request: PlanRequest) -> Plan:
    """Return the plan from the live state to the state that the manifests declare.

    Raises ManifestInvalid or Unplannable with all obstacles.
    """
    calls = runtime.calls
    snapshot = load_snapshot(runtime, request)
    request = resolve_request(request, snapshot)
    chosen = select_manifests(request)
    resources = identify_resources(runtime, chosen, request.defaults)
    orphans = _find_orphans(request, snapshot)
    # A resource that was renamed without a `moved` entry is still declared by another address.
    kept = {resource.id.casefold() for resource in resources}
    leaving = [one for one in orphans if one.id.casefold() not in kept]
    leaving = leaving if request.prune or request.destroy else []
    seen = observe(runtime, [*resources, *leaving], request.refresh)
    builder = _PlanBuilder(runtime, request)
    wanted = dict(zip(resources, chosen, strict=True))
    starting_documents, seen = find_starting_documents(runtime, request, wanted, seen)
    _plan_declared(builder, snapshot, wanted, seen, starting_documents)
    for resource in leaving:
        gone = Reason("", Cause.ORPHAN, _explain_orphan(snapshot, resource))
        last_applied = snapshot.last_applied_by_address[resource.address]
        _plan_removal(builder, seen[resource], gone, last_applied.wave, last_applied.fleet)
    builder.add_findings(check_conflicts(runtime, builder.steps, wanted, request.refresh))
    looked_up = [*builder.steps, *builder.refused]
    builder.add_findings(check_references(runtime, looked_up, wanted, request.refresh))
    copied, missing = check_copies(runtime, builder.steps)
    if builder.obstacles or missing:
        raise Unplannable(tuple(name_items((*builder.obstacles, *missing), chosen)))
    refresh = replace(seen.refresh, calls=runtime.calls - calls)
    staged, rollouts = stage_members(copied, request.rollouts)
    checked, found = check_models(runtime, staged, builder.comparisons, request.limits.blobs)
    recorded = {
        one.resource.address: one.last_applied for one in builder.comparisons if one.last_applied
    }
    steps, refused = judge_models(
        checked,
        request.retrainings,
        snapshot.facts,
        recorded,
        {one.resource: one.declared.models for one in builder.comparisons},
    )
    lost = () if snapshot.lost is None else (snapshot.lost,)
    failed = _report_failed_checks(snapshot, steps)
    noticed = (*lost, *_report_open_intents(snapshot, seen), *failed)
    managed = guards.count_managed(
        (one.address for one in request.manifests),
        (one.address for one in resources if seen[one].document is ABSENT),
        snapshot.last_applied_by_address,
    )
    allowed = guards.require_reason(request.allowed, request.inputs.reason)
    refusals = guards.check_guards(steps, request.limits, managed, allowed, builder.owners)
    unread = [] if request.destroy else guards.check_unread(leaving, request.unread)
    warnings = guards.allow((*builder.warnings, *found, *refused, *unread), allowed)
    plan = Plan(
        steps=steps,
        unchanged=tuple(builder.unchanged),
        findings=tuple(name_items((*refusals, *warnings, *request.notes, *noticed), chosen)),
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
    return judge_by_policies(runtime, request, plan, allowed, recorded)


def _plan_declared(
    builder: _PlanBuilder,
    snapshot: Snapshot,
    wanted: Mapping[Resource, Manifest],
    seen: ObservedResources,
    starting_documents: Mapping[Resource, StartingDocument],
) -> None:
    """Plan the declared resources; with `destroy`, plan their deletion."""
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
                builder,
                manifest,
                seen[resource],
                comparison,
                starting_documents.get(resource),
                snapshot.last_applied_by_address.get(resource.address),
            )


def _report_open_intents(snapshot: Snapshot, seen: ObservedResources) -> Iterator[Finding]:
    """Yield a warning for each open intent: an apply that started and has no recorded result."""
    asked = {resource.id.casefold() for resource in seen.seen}
    for intent in snapshot.open:
        if intent.id.casefold() in asked:
            yield Finding(
                f"an apply by {intent.by} began to {intent.action} it at {intent.at},"
                " and its result is not recorded",
                subject=str(intent.address),
                next_step="If no apply runs now, it was interrupted: apply finds the result first.",
                severity="warning",
            )


def _report_failed_checks(snapshot: Snapshot, steps: Sequence[Step]) -> Iterator[Finding]:
    """Yield a warning for each step whose resource has failed its last check."""
    changed = {step.resource.address for step in steps}
    for address, fact in snapshot.list_facts(CHECKS):
        if address in changed and fact.data.get("passed") is False:
            said = f"{fact.data.get('check')}: {fact.data.get('message')}"
            yield Finding(
                f"the last change of it, at {fact.at}, failed a check: {said}",
                subject=str(address),
                severity="warning",
            )


def find_owners(
    runtime: Runtime, request: PlanRequest, steps: Sequence[Step]
) -> Mapping[Address, str]:
    """Return the other manager of each resource that a step changes, if there is one."""
    owners: dict[Address, str] = {}
    for step in steps:
        kind = runtime.kinds[step.resource.address.kind]
        if knows_owner(kind) and step.before is not ABSENT:
            owner = kind.find_owner(step.before, request.inputs.project)
            owners |= {step.resource.address: owner} if owner else {}
    return owners


def estimate_steps(
    runtime: Runtime, steps: Sequence[Step], spent: int, pause_s: float = 0.0
) -> Estimate:
    """Estimate an apply that follows at once; each kind has its own timing."""
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
    """Return the resources of the ledger that no manifest names, by address.

    A resource that a declared address meant before is one of them. With targets, only targeted
    resources are returned.
    """
    declared = {manifest.address for manifest in request.manifests}
    if not request.whole:
        return []
    gone = {
        address
        for address in set(snapshot.last_applied_by_address) - declared
        if not {address, snapshot.applied_as(address)} & set(request.excluded)
    }
    if request.targets:
        targets = set(request.targets)
        gone = {one for one in gone if {one, snapshot.applied_as(one)} & targets}
    return [snapshot.last_applied_by_address[address].resource(address) for address in sorted(gone)]


def _explain_orphan(snapshot: Snapshot, resource: Resource) -> str:
    address = snapshot.former.get(resource.address)
    if address is None:
        return "no manifest names it any more"
    return f"it is {resource.short_id}, and {address} now names another resource"


def _plan_removal(
    builder: _PlanBuilder,
    seen: Observation,
    reason: Reason,
    wave: int,
    fleet: Address | None,
    member: Member | None = None,
) -> None:
    """Plan the deletion of a resource, if it exists."""
    if seen.document is None:
        builder.obstacles.extend(one for one in (seen.finding,) if one)
    elif not isinstance(seen.document, Absent):
        gone = make_removal(seen.resource, seen.document.open(), reason)
        field = builder.runtime.kinds[seen.resource.address.kind].field
        builder.warnings.extend(check_state(field, seen.resource, gone.before, gone))
        builder.add(gone.copy_with(wave=wave, fleet=fleet, member=member), seen)


def list_not_observable(comparisons: Sequence[Comparison]) -> Mapping[str, tuple[str, ...]]:
    """Return the declared places that the service does not show, by address."""
    return {
        str(comparison.resource.address): comparison.not_observable
        for comparison in comparisons
        if comparison.not_observable
    }


def list_last_set(comparisons: Sequence[Comparison]) -> Mapping[str, Mapping[str, str]]:
    """Return when and by whom each unobservable value was last set, as far as it is recorded."""
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


def _plan_one(
    builder: _PlanBuilder,
    manifest: Manifest,
    seen: Observation,
    comparison: Comparison | None,
    starting: StartingDocument | None,
    recorded: LastApplied | None,
) -> None:
    if comparison is None or (starting is not None and starting.obstacles):
        read = [seen.finding] if seen.finding is not None else []
        builder.add_obstacles(manifest, read, missing=seen.not_found)
        builder.obstacles.extend(starting.obstacles if starting is not None else ())
        return
    models, refused = comparison.declared.models, bool(comparison.declared.findings)
    missing = seen.document is ABSENT and not comparison.declared.document
    builder.add_obstacles(manifest, comparison.declared.findings, missing=missing)
    if refused and comparison.declared.document:
        _check_refused(builder, manifest, comparison)
    step = None if refused else make_step(comparison)
    builder.warnings.extend(check_state(comparison.schema, seen.resource, comparison.live, step))
    builder.hidden.update(list_not_observable([comparison]))
    builder.last_set.update(list_last_set([comparison]))
    # The live document is not needed again, and thousands of them would fill the memory.
    builder.comparisons.append(replace(comparison, live=ABSENT))
    if step is None:
        builder.unchanged.append(seen.resource)
        return
    if recorded is not None and comparison.last_applied is None:
        builder.warnings.append(_warn_of_creation(seen.resource, recorded))
    step = set_source(builder.runtime, step, starting)
    builder.add_findings(check_planned_step(builder.runtime, manifest, step, models))
    reported = step.copy_with(
        labels=manifest.labels,
        reasons=tuple(explain_changes(comparison, step.changes)),
        wave=manifest.spec.get("wave", 0),
        fleet=manifest.member.fleet if manifest.member else None,
        member=manifest.member,
    )
    builder.add(reported, seen)


def _check_refused(builder: _PlanBuilder, manifest: Manifest, comparison: Comparison) -> None:
    """Add what else is wrong with a manifest that is refused, so that one run reports all of it."""
    step = make_step(comparison)
    if step is not None:
        builder.refused.append(step)
        models = comparison.declared.models
        builder.add_findings(check_planned_step(builder.runtime, manifest, step, models))


def _warn_of_creation(resource: Resource, recorded: LastApplied) -> Finding:
    return Finding(
        f"{CREATED_ANEW} since it was last applied {format_author(recorded)}",
        subject=str(resource.address),
        next_step="Its secrets and all values that are not observable count as never written.",
        severity="warning",
    )


def make_comparison(
    runtime: Runtime,
    request: PlanRequest,
    snapshot: Snapshot,
    manifest: Manifest,
    seen: Observation,
    starting: StartingDocument | None = None,
) -> Comparison | None:
    """Return the comparison of a manifest with its observation; None where the read failed.

    What `snapshot` records of a resource that was deleted and created again is not part of it.
    """
    if seen.document is None:
        return None
    document = seen.document.open() if isinstance(seen.document, CompressedDocument) else ABSENT
    kind = runtime.kinds[manifest.address.kind]
    last_applied = snapshot.last_applied_by_address.get(manifest.address)
    if last_applied and not is_same_creation(kind.field, last_applied.created, document):
        last_applied = None
    comparison = Comparison(
        resource=seen.resource,
        schema=kind.field,
        live=document,
        declared=bind_manifest(runtime, request, manifest, document, starting),
        secrets=manifest.secrets,
        last_applied=last_applied,
        ledger_known=snapshot.known,
        rotate=manifest.address in request.rotate,
    )
    return comparison if request.refresh == "none" else recall_confirmed(runtime, comparison)
