"""Plans a rollback: undoes the applied changes of one resource on its live document.

A rollback is an ordinary plan that is made from ledger entries. It is shown, saved, guarded and
applied like any other plan. A change that cannot be undone is an error with another way to reach
the same state. The rollback command calls this module. It is long because each reason against a
rollback is beside its message.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from reconciler.document.diff import is_not_observable, same
from reconciler.document.identity import is_same_creation
from reconciler.document.overlay import overlay
from reconciler.document.pointers import find, format_pointer, set_at, split_pointer
from reconciler.document.schema import Field
from reconciler.engine.blob_checks import check_models
from reconciler.engine.observe import Observation, observe
from reconciler.engine.planning.plan import (
    estimate_steps,
    find_owners,
    list_last_set,
    list_not_observable,
)
from reconciler.engine.planning.selection import PlanRequest, find_meant
from reconciler.engine.planning.step_checks import (
    check_planned_step,
    check_references,
    check_state,
    recall_confirmed,
)
from reconciler.engine.rollback_range import RollbackRange, check_range, read_rollback_range
from reconciler.engine.runtime import Runtime, place_value
from reconciler.engine.step_parts import add_writes
from reconciler.errors import Unplannable
from reconciler.model import (
    ABSENT,
    Address,
    Cause,
    CompressedDocument,
    Declared,
    Entry,
    Finding,
    Json,
    LastApplied,
    Manifest,
    ModelReference,
    Path,
    Plan,
    Reason,
    SourceLocation,
    Step,
    Verb,
)
from reconciler.plans import guards
from reconciler.plans.evidence import CREATED_ANEW
from reconciler.plans.reasons import format_author
from reconciler.plans.step import Comparison, list_leaves, make_step, make_step_to
from reconciler.plans.undo import overlaps, restore, undo
from reconciler.ports import Kind
from reconciler.text.times import format_utc

_MOST_NAMED: Final = 20
_ANEW: Final = f"cannot be rolled back: {CREATED_ANEW} since it was last applied"
_DECLARE: Final = "Declare the values it must have, then apply."


def plan_rollback(
    runtime: Runtime,
    request: PlanRequest,
    address: Address,
    to: int | None = None,
    moved: Mapping[Address, Address] | None = None,
) -> Plan:
    """Return the plan that undoes all entries of one resource after `to`, or only the last entry.

    `request` need not contain the manifest of the resource. Raises ReconcilerError if the
    entry does not exist, and Unplannable with everything that prevents the rollback.
    """
    resources = find_meant(runtime.identify, request.manifests, request.defaults)
    meant = {one.address: one for one in resources}
    snapshot = runtime.ledger.load().of_resources(meant.values())
    rollback_range = read_rollback_range(runtime, address, to, moved or {})
    last_applied = snapshot.last_applied_by_address.get(address)
    kind = _find_kind(runtime, address)
    known = last_applied.resource(address) if last_applied is not None else meant.get(address)
    barriers = tuple(check_range(kind.field, rollback_range, snapshot, known))
    if barriers or last_applied is None:
        raise Unplannable(
            barriers or (_finding(address, "is not in the ledger", rollback_range.instead),)
        )
    resource, calls = last_applied.resource(address), runtime.calls
    observed = observe(runtime, [resource])
    live = _require_live(observed[resource], rollback_range)
    if not is_same_creation(kind.field, last_applied.created, live):
        raise Unplannable((_finding(address, _ANEW, _DECLARE),))
    manifest = next((one for one in request.manifests if one.address == address), None)
    comparison, desired = _make_comparison(
        kind,
        rollback_range,
        live,
        last_applied,
        manifest,
    )
    comparison = recall_confirmed(runtime, comparison)
    made = make_step_to(comparison, desired)
    steps = (
        [] if made is None else [_complete_step(kind, made, rollback_range, last_applied, manifest)]
    )
    named = manifest or Manifest(address, {}, "", "")
    models = comparison.declared.models
    found = [one for step in steps for one in check_planned_step(runtime, named, step, models)]
    found += check_references(runtime, steps, {resource: named})
    obstacles = tuple(one for one in found if not one.guard and one.severity == "error")
    obstacles += tuple(_check_secrets(rollback_range, live, desired))
    if obstacles:
        raise Unplannable(obstacles)
    steps, looked = check_models(runtime, steps, [comparison], request.limits.blobs)
    owners = find_owners(runtime, request, steps)
    declared = (one.address for one in request.manifests)
    managed = guards.count_managed(declared, (), snapshot.last_applied_by_address)
    refresh = replace(observed.refresh, calls=runtime.calls - calls)
    return Plan(
        steps=tuple(steps),
        unchanged=() if steps else (resource,),
        findings=(
            *guards.check_guards(steps, request.limits, managed, request.allowed, owners),
            *guards.allow((*found, *looked, *_check_bytes(steps, rollback_range)), request.allowed),
            *check_state(kind.field, resource, live, made),
            *_warn_of_secrets(rollback_range, last_applied, live, desired),
            *_warn_of_manifest(kind, steps, manifest, last_applied),
            *request.notes,
        ),
        inputs=replace(request.inputs, targets=(str(address),)),
        refresh=refresh,
        made_at=format_utc(runtime.clock()),
        baseline="kept",
        not_observable=list_not_observable([comparison]),
        last_set=list_last_set([comparison]),
        estimate=estimate_steps(runtime, steps, refresh.calls),
    )


def _find_kind(runtime: Runtime, address: Address) -> Kind:
    if address.kind not in runtime.kinds:
        known = ", ".join(runtime.kinds)
        raise Unplannable((_finding(address, "unknown kind", f"Known: {known}."),))
    return runtime.kinds[address.kind]


def _finding(address: Address, what: str, next_step: str) -> Finding:
    return Finding(what, subject=str(address), next_step=next_step)


def _require_live(seen: Observation, rollback_range: RollbackRange) -> Json:
    """Return the live document; raises Unplannable if the read failed or the resource is gone."""
    if not isinstance(seen.document, CompressedDocument):
        gone = _finding(
            rollback_range.address, "is gone: nothing can be rolled back", rollback_range.instead
        )
        raise Unplannable((seen.finding or gone,))
    return seen.document.open()


def _make_comparison(
    kind: Kind,
    rollback_range: RollbackRange,
    live: Json,
    last_applied: LastApplied,
    manifest: Manifest | None,
) -> tuple[Comparison, Json]:
    """Return the comparison and the desired document of the rollback.

    Raises Unplannable for every change that does not fit the live document.
    """
    desired, misfits = undo(kind.field, rollback_range.undone, live)
    if misfits:
        said = (f"#{one.sequence} cannot be undone at {one.pointer}: {one.why}" for one in misfits)
        raise Unplannable(
            tuple(_finding(rollback_range.address, one, rollback_range.instead) for one in said)
        )
    if rollback_range.named and rollback_range.kept is not None:
        restore(kind.field, rollback_range.kept.owned, rollback_range.places, desired)
    declared = kind.bind(manifest, live) if manifest is not None else Declared({})
    spoken = _merge_declared(kind.field, rollback_range, last_applied, desired, declared.document)
    secrets = {**manifest.secrets, **declared.secrets} if manifest is not None else {}
    # The old values of secrets are not known, so a secret is sent only with a whole definition.
    labels = {pointer: reference.version for pointer, reference in secrets.items()}
    comparison = Comparison(
        resource=last_applied.resource(rollback_range.address),
        schema=kind.field,
        live=live,
        declared=Declared(spoken, _find_models(kind, rollback_range, live, desired, declared)),
        secrets=secrets,
        last_applied=replace(last_applied, secrets=labels),
    )
    return comparison, overlay(kind.field, desired, spoken)


def _merge_declared(
    field: Field,
    rollback_range: RollbackRange,
    last_applied: LastApplied,
    desired: Json,
    declared: Json,
) -> Json:
    """Return the values to record: the current ones, and the old ones at the undone places.

    An unobservable value comes from the ledger or from the manifest: a write of the whole
    definition needs it.
    """
    hidden_values = {
        format_pointer(path): find(declared, path)
        for path in list_leaves(field, declared)
        if is_not_observable(field, path, desired) and not field.at(path).secret
    }
    undone = _find_undone(rollback_range)
    kept = rollback_range.kept.owned if rollback_range.kept is not None else {}
    remembered = {**hidden_values, **undone, **last_applied.owned, **kept}
    document: Json = {}
    for pointer in sorted({*hidden_values, *undone, *last_applied.owned}, key=len):
        path = split_pointer(pointer)
        shown = find(desired, path)
        if shown is ABSENT and is_not_observable(field, path, desired):
            shown = remembered[pointer]
        if shown is not ABSENT:
            _put(document, path, shown)
    return document


def _find_undone(rollback_range: RollbackRange) -> Mapping[str, Json]:
    """Return the values that any of the entries recorded at the undone places."""
    entries = (
        *reversed(rollback_range.undone),
        *((rollback_range.kept,) if rollback_range.kept else ()),
    )
    return {
        pointer: value
        for entry in entries
        for pointer, value in entry.owned.items()
        if overlaps(split_pointer(pointer), rollback_range.places)
    }


def _put(document: Json, path: Path, value: Json) -> None:
    """Set a value, unless one of its parents is not an object."""
    parents = (find(document, path[:depth]) for depth in range(len(path)))
    if all(one is ABSENT or isinstance(one, dict) for one in parents):
        set_at(document, path, copy.deepcopy(value))


def _find_models(
    kind: Kind, rollback_range: RollbackRange, live: Json, desired: Json, declared: Declared
) -> tuple[ModelReference, ...]:
    """Return the trained models at the undone places, with the signatures that open them."""
    spoken: Json = {}
    for path in sorted(rollback_range.places, key=len):
        value = find(desired, path)
        if value is not ABSENT:
            _put(spoken, path, value)
    named = Manifest(rollback_range.address, {"definition": spoken}, "", "")
    known = {one.path: (one.sas, one.entry) for one in declared.models}
    found = []
    for one in kind.bind(named, live).models:
        sas, entry = known.get(one.path, (None, ""))
        found.append(replace(one, sas=sas, entry=entry, find_place=None))
    return tuple(found)


def _complete_step(
    kind: Kind,
    step: Step,
    rollback_range: RollbackRange,
    last_applied: LastApplied,
    manifest: Manifest | None,
) -> Step:
    split = add_writes(kind, step)
    return replace(
        split,
        reasons=tuple(_explain(kind.field, step, rollback_range, last_applied)),
        labels=manifest.labels if manifest is not None else {},
        wave=last_applied.wave,
        fleet=last_applied.fleet,
    )


def _explain(
    field: Field, step: Step, rollback_range: RollbackRange, last_applied: LastApplied
) -> Iterator[Reason]:
    """Yield a reason for each change; it says if a later change by another client is lost."""
    note = (
        f"rollback to #{rollback_range.to}"
        if rollback_range.to
        else f"rollback of #{rollback_range.undone[0].sequence}"
    )
    for change in step.changes:
        pointer = format_pointer(change.path)
        then = last_applied.owned.get(pointer, ABSENT)
        seen = change.verb is not Verb.WRITE and then is not ABSENT
        moved = seen and not same(field.at(change.path), then, change.before)
        since = f"; it was changed outside reconciler since {format_author(last_applied)}"
        yield Reason(pointer, Cause.ROLLBACK, f"{note}{since if moved else ''}")


def _check_bytes(steps: Sequence[Step], rollback_range: RollbackRange) -> Iterator[Finding]:
    """Yield a finding for each restored model whose blob has changed since."""
    for step in steps:
        for model in step.models:
            then = _find_digest(rollback_range, format_pointer(model.path), model.after)
            kind = then.partition(":")[0]
            if then != model.digest_after and model.digest_after.startswith(f"{kind}:"):
                yield Finding(
                    f'trained model "{model.name}": its bytes are not those that were applied',
                    subject=str(step.resource.address),
                    detail=(model.after, f"It was {then} and is {model.digest_after}."),
                    next_step=f"To roll back anyway: --allow blob={step.resource.address}",
                    guard="blob",
                )


def _find_digest(rollback_range: RollbackRange, pointer: str, uri: str) -> str:
    entries: list[Entry] = [rollback_range.kept] if rollback_range.kept is not None else []
    known = (one.digests.get(pointer, "") for one in entries if one.owned.get(pointer) == uri)
    return next(known, "")


def _check_secrets(rollback_range: RollbackRange, live: Json, desired: Json) -> Iterator[Finding]:
    """Yield an error for each part that would be created again without a secret that it had."""
    for pointer in sorted(rollback_range.kept.secrets if rollback_range.kept is not None else ()):
        part = split_pointer(pointer)[:2]
        if find(live, part) is ABSENT and find(desired, part) is not ABSENT:
            yield Finding(
                f"{'.'.join(part)} would be created again without its secret {pointer}",
                subject=str(rollback_range.address),
                detail=("A ledger holds no secret and no reference to one.",),
                next_step="Declare it in the manifest again, with its secrets, and apply.",
            )


def _warn_of_secrets(
    rollback_range: RollbackRange, last_applied: LastApplied, live: Json, desired: Json
) -> Iterator[Finding]:
    """Yield a warning for each secret with another version then: its old value is not known.

    A secret goes with the part of the document that held it.
    """
    then = rollback_range.kept.secrets if rollback_range.kept is not None else {}
    for pointer in sorted({*then, *last_applied.secrets}):
        one, other = then.get(pointer), last_applied.secrets.get(pointer)
        part = split_pointer(pointer)[:2]
        is_gone = find(live, part) is not ABSENT and find(desired, part) is ABSENT
        if one != other and not is_gone:
            yield Finding(
                f"the secret {pointer} is not restored: {_label(one)} then, {_label(other)} now",
                subject=str(rollback_range.address),
                next_step="To write another value: set a new version in spec.secrets, then apply.",
                severity="warning",
            )


def _label(version: str | None) -> str:
    if version is None:
        return "no secret"
    return f'version "{version}"' if version else "a secret without a version"


def _warn_of_manifest(
    kind: Kind, steps: Sequence[Step], manifest: Manifest | None, last_applied: LastApplied
) -> Iterator[Finding]:
    """Yield a warning if the manifest still declares an undone value: an apply restores it."""
    for step in steps:
        back = (
            _find_brought_back(kind, step, manifest, last_applied) if manifest is not None else []
        )
        if back:
            said = [f"{format_pointer(path)} on {place}" for path, place in back]
            yield Finding(
                "the manifest still declares an undone value: the next apply writes it again",
                subject=str(step.resource.address),
                place=back[0][1],
                detail=tuple(said[:_MOST_NAMED]),
                next_step="Change the manifest before the next apply.",
                severity="warning",
            )


def _find_brought_back(
    kind: Kind, step: Step, manifest: Manifest, last_applied: LastApplied
) -> list[tuple[Path, SourceLocation]]:
    """Return the undone places that the manifest would change again, and its locations."""
    declared = kind.bind(manifest, step.after)
    comparison = Comparison(
        step.resource, kind.field, step.after, declared, last_applied=last_applied
    )
    again = None if declared.findings else make_step(comparison)
    undone = [change.path for change in step.changes]
    models = {model.path: model.place for model in declared.models}
    return [
        (path, models.get(path) or manifest.place((place_value(kind, path) or ("/spec",))[0]))
        for path in (change.path for change in (again.changes if again is not None else ()))
        if overlaps(path, undone)
    ]
