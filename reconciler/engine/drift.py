"""Finding drift: read, compare three ways, look at the models, list what nobody names.

Nothing that goes wrong with one resource keeps the report from being made: it is said of that
resource that the evidence is incomplete, and it is never said to be in sync.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from reconciler.document.pointers import format_pointer
from reconciler.engine.observe import Observation, observe
from reconciler.engine.planning.plan import make_comparison
from reconciler.engine.planning.selection import (
    PlanRequest,
    identify_resources,
    resolve_request,
    select_manifests,
)
from reconciler.engine.runtime import Runtime
from reconciler.errors import BlobExpired, ReconcilerError
from reconciler.model import (
    ABSENT,
    Absent,
    Address,
    Blob,
    Drift,
    DriftReport,
    LastApplied,
    Manifest,
    ModelReference,
    Resource,
    ResourceStatus,
    Snapshot,
    Verdict,
)
from reconciler.plans.drift import compare_resource, incomplete, unmanaged, worst_verdict
from reconciler.plans.step import Comparison
from reconciler.text.json_text import canonical

_SOON: Final = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class _Compared:
    resource: Resource
    findings: tuple[Drift, ...]
    last_applied: LastApplied | None = None
    at: float = 0.0
    comparison: Comparison | None = None
    fleet: Address | None = None


def report_drift(
    runtime: Runtime, request: PlanRequest, *, list_unmanaged: bool = False
) -> DriftReport:
    """Everything that moved since the last apply, in order of addresses.

    Raises ManifestInvalid for what people wrote; a read that fails is a finding.
    """
    snapshot = runtime.ledger.load()
    request = resolve_request(request, snapshot)
    chosen = select_manifests(request)
    resources = identify_resources(runtime, chosen, request.defaults)
    calls = runtime.calls
    observed = observe(runtime, resources, request.refresh)
    compared = [
        replace(
            _compare(runtime, request, snapshot, manifest, observed[resource]),
            fleet=manifest.member.fleet if manifest.member else None,
        )
        for manifest, resource in zip(chosen, resources, strict=True)
    ]
    if request.limits.blobs != "skip":
        compared = _check_models(runtime, compared)
    if list_unmanaged:
        compared += _find_unmanaged(runtime, request, resources, snapshot)
    now = runtime.clock()
    findings = _date(runtime, compared, now)
    return DriftReport(
        statuses=tuple(_make_status(one) for one in compared),
        findings=tuple(findings),
        inputs=request.inputs,
        refresh=replace(observed.refresh, calls=runtime.calls - calls),
        made_at=_write_time(now.timestamp()),
        baseline="kept" if snapshot.known else "lost",
    )


def _compare(
    runtime: Runtime,
    request: PlanRequest,
    snapshot: Snapshot,
    manifest: Manifest,
    seen: Observation,
) -> _Compared:
    """One resource, three ways, and its models."""
    comparison = make_comparison(runtime, request, snapshot, manifest, seen)
    last_applied = snapshot.last_applied_by_address.get(manifest.address)
    if comparison is None:
        note = seen.finding.message if seen.finding is not None else "it could not be read"
        return _Compared(seen.resource, (incomplete(seen.resource, note),), last_applied)
    found = list(compare_resource(comparison))
    if comparison.live is ABSENT:
        return _Compared(seen.resource, tuple(found), last_applied, seen.at)
    found += [incomplete(seen.resource, one.message) for one in comparison.declared.findings]
    return _Compared(seen.resource, tuple(found), last_applied, seen.at, comparison)


def _check_models(runtime: Runtime, compared: Sequence[_Compared]) -> list[_Compared]:
    """Whether the bytes behind each declared model are still those that were applied."""
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
    wanted = f"sha256:{model.sha256.lower()}" if model.sha256 else known
    # Where live has another model, the bytes of the declared one tell nothing of it.
    served = all(one.pointer != pointer for one in each.findings)
    return each.resource, list(_check_model(runtime, comparison, model, wanted if served else ""))


def _check_model(
    runtime: Runtime, comparison: Comparison, model: ModelReference, wanted: str
) -> Iterator[Drift]:
    try:
        blob = runtime.blobs.inspect(model)
    except BlobExpired as error:
        yield _expiring(comparison, model, error.message)
        return
    except ReconcilerError as error:
        if wanted:
            note = f'trained model "{model.name}" could not be looked at: {error.message}'
            yield incomplete(comparison.resource, note)
        return
    if isinstance(blob, Blob) and blob.expires and _ends_soon(blob.expires, runtime.clock()):
        yield _expiring(comparison, model, f"the signature ends at {blob.expires}")
    if wanted:
        yield from _check_bytes(comparison, model, wanted, blob)


def _check_bytes(
    comparison: Comparison, model: ModelReference, wanted: str, blob: Blob | Absent
) -> Iterator[Drift]:
    digest = blob.digest if isinstance(blob, Blob) else ""
    if digest == wanted:
        return
    if isinstance(blob, Blob) and digest.partition(":")[0] != wanted.partition(":")[0]:
        yield Drift(
            comparison.resource,
            Verdict.NOT_OBSERVABLE,
            format_pointer(model.path),
            note="its storage tells no digest that can be compared; give sha256 to have it read",
        )
        return
    gone = "the blob is gone; the service may go on with its copy"
    yield Drift(
        comparison.resource,
        Verdict.ARTIFACT_MUTATED,
        format_pointer(model.path),
        remembered=wanted,
        live=digest or ABSENT,
        declared=f"sha256:{model.sha256.lower()}" if model.sha256 else ABSENT,
        note="other bytes lie at the same address" if digest else gone,
        commands=(f"reconciler drift --accept {comparison.resource.address}",) if digest else (),
    )


def _expiring(comparison: Comparison, model: ModelReference, note: str) -> Drift:
    where = f"; make a new one and put it where {model.sas} is" if model.sas else ""
    pointer = format_pointer(model.path)
    return Drift(comparison.resource, Verdict.CREDENTIAL_EXPIRING, pointer, note=f"{note}{where}")


def _ends_soon(text: str, now: datetime) -> bool:
    try:
        end = datetime.fromisoformat(text)
    except ValueError:
        return False
    return end - now < _SOON


def _find_unmanaged(
    runtime: Runtime, request: PlanRequest, resources: Sequence[Resource], snapshot: Snapshot
) -> list[_Compared]:
    """The services of every scope in which a manifest, or the project, has one."""
    declared = {resource.id.casefold() for resource in resources}
    remembered = {
        last_applied.id.casefold(): at
        for at, last_applied in snapshot.last_applied_by_address.items()
    }
    found: list[_Compared] = []
    for (kind, scope), one in sorted(_scopes(runtime, request, resources).items()):
        try:
            found += [
                _report_unmanaged(kind, item.id, remembered, snapshot)
                for item in runtime.providers[kind].scan(scope, one.token)
                if item.id and item.id.casefold() not in declared
            ]
        except ReconcilerError as error:
            resource = Resource(Address(kind, "*"), scope)
            finding = incomplete(resource, f"the list could not be read: {error.message}")
            found.append(_Compared(resource, (finding,)))
    return sorted(found, key=lambda one: one.resource.address)


def _scopes(
    runtime: Runtime, request: PlanRequest, resources: Sequence[Resource]
) -> dict[tuple[str, str], Resource]:
    """By kind and scope, something that is in it."""
    scopes = {
        (one.address.kind, runtime.kinds[one.address.kind].scope(one)): one for one in resources
    }
    for name, kind in runtime.kinds.items():
        try:
            probe = kind.identify(Manifest(Address(name, "any"), {}, "", ""), request.defaults)
        except ReconcilerError:
            continue  # the project names no scope of its own
        scopes.setdefault((name, kind.scope(probe)), probe)
    return scopes


def _report_unmanaged(
    kind: str, resource_id: str, remembered: Mapping[str, Address], snapshot: Snapshot
) -> _Compared:
    known = remembered.get(resource_id.casefold())
    name = resource_id.rstrip("/").rpartition("/")[2]
    resource = Resource(known or Address(kind, name), resource_id)
    last_applied = snapshot.last_applied_by_address.get(known) if known is not None else None
    note = "the ledger remembers it, and no manifest names it any more" if known else ""
    fleet = last_applied.fleet if last_applied is not None else None
    return _Compared(resource, (unmanaged(resource, note),), last_applied, fleet=fleet)


def _date(runtime: Runtime, compared: Sequence[_Compared], now: datetime) -> list[Drift]:
    """When each was first seen: remembered without an apply, by what it says of live."""
    found = {str(each.resource.address): [_key(one) for one in each.findings] for each in compared}
    first = runtime.observations.notice(found, now.timestamp())
    return [
        replace(
            one,
            since=_write_time(first[str(each.resource.address), _key(one)]),
            fleet=each.fleet,
        )
        for each in compared
        for one in each.findings
    ]


def _key(one: Drift) -> str:
    return canonical([one.verdict, one.pointer, str(one.live)])


def _make_status(one: _Compared) -> ResourceStatus:
    at = _write_time(one.at) if one.at else ""
    return ResourceStatus(
        one.resource, worst_verdict(one.findings), one.last_applied, at, one.fleet
    )


def _write_time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
