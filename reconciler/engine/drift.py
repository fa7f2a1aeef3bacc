"""Makes the drift report: reads, compares three ways, checks the models, lists unmanaged services.

An error of one resource does not stop the report. The report says that the evidence for this
resource is incomplete, and never that it is in sync. The drift command calls this module. It
must not write to a service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from reconciler.document.pointers import format_pointer, split_pointer
from reconciler.engine.blob_checks import check_applied_model
from reconciler.engine.drift_history import add_to_history
from reconciler.engine.observe import Observation, ObservedResources, observe
from reconciler.engine.planning.plan import make_comparison
from reconciler.engine.planning.selection import (
    PlanRequest,
    identify_resources,
    load_snapshot,
    resolve_request,
    select_manifests,
)
from reconciler.engine.runtime import Runtime, place_value
from reconciler.engine.unmanaged import find_unmanaged
from reconciler.model import (
    ABSENT,
    Action,
    Address,
    Drift,
    DriftReport,
    Entry,
    Finding,
    LastApplied,
    Manifest,
    ModelReference,
    Resource,
    ResourceStatus,
    Snapshot,
    StepResult,
)
from reconciler.model.values import dataclass
from reconciler.plans.drift import (
    NOT_KNOWN,
    compare_resource,
    find_place,
    incomplete,
    worst_verdict,
)
from reconciler.plans.drift_ignore import IgnoreRules
from reconciler.plans.reasons import format_author
from reconciler.plans.step import Comparison
from reconciler.ports import Ledger
from reconciler.text.times import format_utc


@dataclass(frozen=True, slots=True)
class _Compared:
    resource: Resource
    findings: tuple[Drift, ...]
    last_applied: LastApplied | None = None
    at: float = 0.0
    comparison: Comparison | None = None
    fleet: Address | None = None
    manifest: Manifest | None = None
    ignored: tuple[Drift, ...] = ()


def report_drift(
    runtime: Runtime, request: PlanRequest, *, list_unmanaged: bool = False
) -> DriftReport:
    """Return everything that changed since the last apply, in the order of the addresses.

    Raises ManifestInvalid for an invalid manifest. A read that fails is a finding.
    """
    calls, began = runtime.calls, runtime.clock()
    snapshot = load_snapshot(runtime, request)
    request = resolve_request(request, snapshot)
    chosen = select_manifests(request)
    resources = identify_resources(runtime, chosen, request.defaults)
    observed = _observe(runtime, request, resources)
    ended = _Ended(runtime.ledger)
    compared = [
        replace(
            ended.explain(_compare(runtime, request, snapshot, manifest, observed[resource])),
            fleet=manifest.member.fleet if manifest.member else None,
            manifest=manifest,
        )
        for manifest, resource in zip(chosen, resources, strict=True)
    ]
    if request.limits.blobs != "skip":
        compared = _check_models(runtime, compared)
    if list_unmanaged:
        found = find_unmanaged(runtime, request, resources, snapshot)
        compared += [_compare_unmanaged(snapshot, one) for one in found]
    ended_at = runtime.clock()
    now = format_utc(ended_at.timestamp())
    rules = IgnoreRules(request.ignored, now[:10])
    environment = request.inputs.environment
    compared = [
        _ignore(_name_environment(_locate(runtime, one), environment), rules) for one in compared
    ]
    report = DriftReport(
        statuses=tuple(_make_status(one) for one in compared),
        findings=tuple(one for each in compared for one in each.findings),
        inputs=request.inputs,
        refresh=replace(observed.refresh, calls=runtime.calls - calls),
        made_at=now,
        baseline="kept" if snapshot.known else "lost",
        lost=snapshot.lost,
        ignored=tuple(one for each in compared for one in each.ignored),
        expired=rules.expired,
        whole=request.whole and not request.targets and not request.excluded,
        # The clock of a machine may go back.
        seconds=max(0.0, (ended_at - began).total_seconds()),
    )
    return add_to_history(runtime.drift_history, report, listed=list_unmanaged)


def _name_environment(compared: _Compared, environment: str) -> _Compared:
    """Return a comparison whose commands name the environment, which each of them needs then."""
    if not environment:
        return compared
    flag = f" --env {environment}"
    findings = (
        replace(
            one,
            commands=tuple(
                command + flag if command.startswith("reconciler ") else command
                for command in one.commands
            ),
        )
        for one in compared.findings
    )
    return replace(compared, findings=tuple(findings))


def _observe(
    runtime: Runtime, request: PlanRequest, resources: Sequence[Resource]
) -> ObservedResources:
    """Observe the resources; one that is postponed counts as one that could not be read."""
    postponed = request.postponed
    tried = [one for one in resources if one.address not in postponed]
    observed = observe(runtime, tried, request.refresh)
    if len(tried) == len(resources):
        return observed
    waiting = {
        one: Observation(one, None, Finding(postponed[one.address]))
        for one in resources
        if one.address in postponed
    }
    refresh = replace(observed.refresh, total=observed.refresh.total + len(waiting))
    return ObservedResources({**observed.seen, **waiting}, refresh)


class _Ended:
    """What the ledger records of resources that it does not remember; it is read when needed."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def explain(self, compared: _Compared) -> _Compared:
        """Return a comparison that says who destroyed a resource that does not exist."""
        notes = [one.note for one in compared.findings]
        entry = self._ends.get(compared.resource.id.casefold()) if NOT_KNOWN in notes else None
        if entry is None:
            return compared
        done = "destroyed" if entry.action is Action.DELETE else "forgotten"
        note = f"it does not exist: it was {done} {format_author(entry)}"
        return replace(compared, findings=(replace(compared.findings[0], note=note),))

    @cached_property
    def _ends(self) -> Mapping[str, Entry]:
        """The last entry of each resource by its id, if it is the one that ended its record."""
        last = {
            entry.id.casefold(): entry
            for entry in self._ledger.entries()
            if entry.result is StepResult.DONE
        }
        ends = {Action.DELETE, Action.FORGET}
        return {id_: entry for id_, entry in last.items() if entry.action in ends}


def _compare(
    runtime: Runtime,
    request: PlanRequest,
    snapshot: Snapshot,
    manifest: Manifest,
    seen: Observation,
) -> _Compared:
    """Compare the declared, the live and the last applied state of one resource."""
    comparison = make_comparison(runtime, request, snapshot, manifest, seen)
    if comparison is None:
        last_applied = snapshot.last_applied_by_address.get(manifest.address)
        place = seen.finding.place if seen.finding is not None else None
        unread = replace(incomplete(seen.resource, _explain_unread(seen.finding)), place=place)
        return _Compared(seen.resource, (unread,), last_applied)
    found, last_applied = list(compare_resource(comparison)), comparison.last_applied
    if comparison.live is ABSENT:
        return _Compared(seen.resource, tuple(found), last_applied, seen.at)
    found += [
        replace(incomplete(seen.resource, one.message), place=one.place)
        for one in comparison.declared.findings
    ]
    return _Compared(seen.resource, tuple(found), last_applied, seen.at, comparison)


def _explain_unread(finding: Finding | None) -> str:
    if finding is None:
        return "it could not be read"
    return f"{finding.message.rstrip('.')}. {finding.next_step}".rstrip(". ")


def _check_models(runtime: Runtime, compared: Sequence[_Compared]) -> list[_Compared]:
    """Add a finding for each declared model whose blob is not the applied one."""
    wanted = [
        (each, each.comparison, model)
        for each in compared
        if each.comparison is not None
        for model in each.comparison.declared.models
    ]
    found: dict[Resource, list[Drift]] = {}
    for resource, drifts in runtime.run_all(lambda one: _check_blob(runtime, *one), wanted):
        found.setdefault(resource, []).extend(drifts)
    return [
        replace(one, findings=(*one.findings, *sorted(found.get(one.resource, ()), key=_pointer)))
        for one in compared
    ]


def _pointer(finding: Drift) -> str:
    return finding.pointer


def _check_blob(
    runtime: Runtime, each: _Compared, comparison: Comparison, model: ModelReference
) -> tuple[Resource, list[Drift]]:
    pointer = format_pointer(model.path)
    known = (
        comparison.last_applied.digests.get(pointer, "")
        if comparison.last_applied is not None
        else ""
    )
    wanted = model.pin or known
    # If live has another model, the blob of the declared one is not evidence.
    served = all(one.pointer != pointer for one in each.findings)
    return each.resource, list(
        check_applied_model(runtime, comparison, model, wanted if served else "")
    )


def _compare_unmanaged(snapshot: Snapshot, finding: Drift) -> _Compared:
    """Return a finding for an unmanaged service, with the ledger's record of the same service."""
    resource = finding.resource
    last_applied = snapshot.last_applied_by_address.get(resource.address)
    if last_applied is None or last_applied.id.casefold() != resource.id.casefold():
        return _Compared(resource, (finding,))
    return _Compared(resource, (finding,), last_applied, fleet=last_applied.fleet)


def _ignore(compared: _Compared, rules: IgnoreRules) -> _Compared:
    """Return the findings of a resource, with their fleet; what a rule ignores is apart."""
    if not compared.findings:
        return compared
    found = [replace(one, fleet=compared.fleet) for one in compared.findings]
    findings, ignored = rules.split(found)
    return replace(compared, findings=findings, ignored=ignored)


def _locate(runtime: Runtime, compared: _Compared) -> _Compared:
    """Return the findings with their places; those about a resource without a manifest have none.

    A place is looked for only where there is a finding, because the file is composed again for it.
    """
    manifest, comparison = compared.manifest, compared.comparison
    if manifest is None or not compared.findings:
        return compared
    models = comparison.declared.models if comparison is not None else ()
    kind = runtime.kinds[manifest.address.kind]
    placed = []
    for one in compared.findings:
        at, _ = place_value(kind, split_pointer(one.pointer)) or ("/spec", ABSENT)
        placed.append(replace(one, place=one.place or find_place(manifest, models, one, at)))
    return replace(compared, findings=tuple(placed))


def _make_status(one: _Compared) -> ResourceStatus:
    at = format_utc(one.at) if one.at else ""
    return ResourceStatus(
        one.resource, worst_verdict(one.findings), one.last_applied, at, one.fleet
    )
