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
from reconciler.engine.planning.plan import make_wish
from reconciler.engine.planning.selection import Order, choose, identify, resolve
from reconciler.engine.runtime import Hands
from reconciler.errors import BlobExpired, ReconcilerError
from reconciler.model import (
    ABSENT,
    Absent,
    Address,
    Blob,
    Drift,
    DriftReport,
    Manifest,
    Memory,
    ModelReference,
    Resource,
    Snapshot,
    Standing,
    Verdict,
)
from reconciler.plans.drift import find_drift, incomplete, unmanaged, weigh
from reconciler.plans.step import Wish
from reconciler.text.json_text import canonical

_SOON: Final = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class _Compared:
    resource: Resource
    findings: tuple[Drift, ...]
    memory: Memory | None = None
    at: float = 0.0
    wish: Wish | None = None
    fleet: Address | None = None


def report_drift(hands: Hands, order: Order, *, list_unmanaged: bool = False) -> DriftReport:
    """Everything that moved since the last apply, in order of addresses.

    Raises ManifestInvalid for what people wrote; a read that fails is a finding.
    """
    snapshot = hands.ledger.load()
    order = resolve(order, snapshot)
    chosen = choose(order)
    resources = identify(hands, chosen, order.defaults)
    calls = hands.calls
    survey = observe(hands, resources, order.refresh)
    compared = [
        replace(
            _compare(hands, order, snapshot, manifest, survey[resource]),
            fleet=manifest.member.fleet if manifest.member else None,
        )
        for manifest, resource in zip(chosen, resources, strict=True)
    ]
    if order.limits.blobs != "skip":
        compared = _look_at_models(hands, compared)
    if list_unmanaged:
        compared += _find_unmanaged(hands, order, resources, snapshot)
    now = hands.clock()
    findings = _date(hands, compared, now)
    return DriftReport(
        standings=tuple(_stand(one) for one in compared),
        findings=tuple(findings),
        inputs=order.inputs,
        refresh=replace(survey.refresh, calls=hands.calls - calls),
        made_at=_write_time(now.timestamp()),
        baseline="kept" if snapshot.known else "lost",
    )


def _compare(
    hands: Hands, order: Order, snapshot: Snapshot, manifest: Manifest, seen: Observation
) -> _Compared:
    """One resource, three ways, and its models."""
    wish = make_wish(hands, order, snapshot, manifest, seen)
    memory = snapshot.memories.get(manifest.address)
    if wish is None:
        note = seen.finding.message if seen.finding is not None else "it could not be read"
        return _Compared(seen.resource, (incomplete(seen.resource, note),), memory)
    found = list(find_drift(wish))
    if wish.live is ABSENT:
        return _Compared(seen.resource, tuple(found), memory, seen.at)
    found += [incomplete(seen.resource, one.message) for one in wish.declared.findings]
    return _Compared(seen.resource, tuple(found), memory, seen.at, wish)


def _look_at_models(hands: Hands, compared: Sequence[_Compared]) -> list[_Compared]:
    """Whether the bytes behind each declared model are still those that were applied."""
    wanted = [
        (each, each.wish, model)
        for each in compared
        if each.wish is not None
        for model in each.wish.declared.models
    ]
    found: dict[Resource, list[Drift]] = {}
    for resource, drifts in hands.spread(lambda one: _look(hands, *one), wanted):
        found.setdefault(resource, []).extend(drifts)
    return [
        replace(one, findings=(*one.findings, *sorted(found.get(one.resource, ()), key=_pointer)))
        for one in compared
    ]


def _pointer(finding: Drift) -> str:
    return finding.pointer


def _look(
    hands: Hands, each: _Compared, wish: Wish, model: ModelReference
) -> tuple[Resource, list[Drift]]:
    pointer = format_pointer(model.path)
    known = wish.memory.digests.get(pointer, "") if wish.memory is not None else ""
    wanted = f"sha256:{model.sha256.lower()}" if model.sha256 else known
    # Where live has another model, the bytes of the declared one tell nothing of it.
    served = all(one.pointer != pointer for one in each.findings)
    return each.resource, list(_judge_model(hands, wish, model, wanted if served else ""))


def _judge_model(hands: Hands, wish: Wish, model: ModelReference, wanted: str) -> Iterator[Drift]:
    try:
        blob = hands.blobs.look(model)
    except BlobExpired as error:
        yield _expiring(wish, model, error.message)
        return
    except ReconcilerError as error:
        if wanted:
            note = f'trained model "{model.name}" could not be looked at: {error.message}'
            yield incomplete(wish.resource, note)
        return
    if isinstance(blob, Blob) and blob.expires and _ends_soon(blob.expires, hands.clock()):
        yield _expiring(wish, model, f"the signature ends at {blob.expires}")
    if wanted:
        yield from _judge_bytes(wish, model, wanted, blob)


def _judge_bytes(
    wish: Wish, model: ModelReference, wanted: str, blob: Blob | Absent
) -> Iterator[Drift]:
    digest = blob.digest if isinstance(blob, Blob) else ""
    if digest == wanted:
        return
    if isinstance(blob, Blob) and digest.partition(":")[0] != wanted.partition(":")[0]:
        yield Drift(
            wish.resource,
            Verdict.NOT_OBSERVABLE,
            format_pointer(model.path),
            note="its storage tells no digest that can be compared; give sha256 to have it read",
        )
        return
    gone = "the blob is gone; the service may go on with its copy"
    yield Drift(
        wish.resource,
        Verdict.ARTIFACT_MUTATED,
        format_pointer(model.path),
        remembered=wanted,
        live=digest or ABSENT,
        declared=f"sha256:{model.sha256.lower()}" if model.sha256 else ABSENT,
        note="other bytes lie at the same address" if digest else gone,
        settle=(f"reconciler drift --accept {wish.resource.address}",) if digest else (),
    )


def _expiring(wish: Wish, model: ModelReference, note: str) -> Drift:
    where = f"; make a new one and put it where {model.sas} is" if model.sas else ""
    pointer = format_pointer(model.path)
    return Drift(wish.resource, Verdict.CREDENTIAL_EXPIRING, pointer, note=f"{note}{where}")


def _ends_soon(text: str, now: datetime) -> bool:
    try:
        end = datetime.fromisoformat(text)
    except ValueError:
        return False
    return end - now < _SOON


def _find_unmanaged(
    hands: Hands, order: Order, resources: Sequence[Resource], snapshot: Snapshot
) -> list[_Compared]:
    """The services of every scope in which a manifest, or the project, has one."""
    declared = {resource.id.casefold() for resource in resources}
    remembered = {memory.id.casefold(): at for at, memory in snapshot.memories.items()}
    found: list[_Compared] = []
    for (kind, scope), one in sorted(_scopes(hands, order, resources).items()):
        try:
            found += [
                _tell_unmanaged(kind, item.id, remembered, snapshot)
                for item in hands.providers[kind].scan(scope, one.token)
                if item.id and item.id.casefold() not in declared
            ]
        except ReconcilerError as error:
            resource = Resource(Address(kind, "*"), scope)
            finding = incomplete(resource, f"the list could not be read: {error.message}")
            found.append(_Compared(resource, (finding,)))
    return sorted(found, key=lambda one: one.resource.address)


def _scopes(
    hands: Hands, order: Order, resources: Sequence[Resource]
) -> dict[tuple[str, str], Resource]:
    """By kind and scope, something that is in it."""
    scopes = {
        (one.address.kind, hands.kinds[one.address.kind].scope(one)): one for one in resources
    }
    for name, kind in hands.kinds.items():
        try:
            probe = kind.identify(Manifest(Address(name, "any"), {}, "", ""), order.defaults)
        except ReconcilerError:
            continue  # the project names no scope of its own
        scopes.setdefault((name, kind.scope(probe)), probe)
    return scopes


def _tell_unmanaged(
    kind: str, resource_id: str, remembered: Mapping[str, Address], snapshot: Snapshot
) -> _Compared:
    known = remembered.get(resource_id.casefold())
    name = resource_id.rstrip("/").rpartition("/")[2]
    resource = Resource(known or Address(kind, name), resource_id)
    memory = snapshot.memories.get(known) if known is not None else None
    note = "the ledger remembers it, and no manifest names it any more" if known else ""
    fleet = memory.fleet if memory is not None else None
    return _Compared(resource, (unmanaged(resource, note),), memory, fleet=fleet)


def _date(hands: Hands, compared: Sequence[_Compared], now: datetime) -> list[Drift]:
    """When each was first seen: remembered without an apply, by what it says of live."""
    found = {str(each.resource.address): [_key(one) for one in each.findings] for each in compared}
    first = hands.observations.notice(found, now.timestamp())
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


def _stand(one: _Compared) -> Standing:
    at = _write_time(one.at) if one.at else ""
    return Standing(one.resource, weigh(one.findings), one.memory, at, one.fleet)


def _write_time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
