"""Planning the way back: what was applied to one resource, undone on what is live now.

A rollback is a plan like any other: made from the ledger's entries, shown, saved, guarded, and
carried out by the same apply. What cannot be led back is said, with the way to get there instead.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from reconciler.document.diff import is_unseen, same
from reconciler.document.overlay import overlay
from reconciler.document.pointers import find, format_pointer, set_at, split_pointer
from reconciler.document.schema import Field
from reconciler.engine.blob_checks import look_at_models
from reconciler.engine.observe import Observation, observe
from reconciler.engine.planning.plan import (
    estimate_steps,
    find_hidden,
    find_last_set,
    find_obstacles,
    find_owners,
)
from reconciler.engine.planning.selection import Order
from reconciler.engine.rollback_range import Past, find_barriers, read_past
from reconciler.engine.runtime import Hands
from reconciler.errors import Unplannable
from reconciler.model import (
    ABSENT,
    Address,
    Cause,
    Declared,
    Entry,
    Finding,
    Folded,
    Json,
    Manifest,
    Memory,
    ModelReference,
    Path,
    Place,
    Plan,
    Reason,
    SecretReference,
    Step,
    Verb,
)
from reconciler.plans import guards
from reconciler.plans.reasons import format_author
from reconciler.plans.step import Wish, find_leaves, lead_to, make_step
from reconciler.plans.undo import overlaps, restore, undo
from reconciler.ports import Kind

_MOST_NAMED: Final = 20


def plan_rollback(
    hands: Hands,
    order: Order,
    address: Address,
    to: int | None = None,
    moved: Mapping[Address, Address] | None = None,
) -> Plan:
    """The plan that undoes what was applied to one resource after entry `to`; the last without it.

    `order` need not hold the resource's manifest. Raises ReconcilerError where there is no such
    entry, Unplannable with everything that stands in the way.
    """
    snapshot = hands.ledger.load()
    past = read_past(hands, address, to, moved or {})
    memory = snapshot.memories.get(address)
    kind = _find_kind(hands, address)
    barriers = tuple(find_barriers(kind.field, past, snapshot, memory))
    if barriers or memory is None:
        raise Unplannable(barriers or (_finding(address, "is not in the ledger", past.instead),))
    resource, calls = memory.resource(address), hands.calls
    survey = observe(hands, [resource])
    manifest = next((one for one in order.manifests if one.address == address), None)
    wish, desired = _wish(kind, past, _take(survey[resource], past), memory, manifest)
    made = lead_to(wish, desired)
    steps = [] if made is None else [_tell(kind.field, made, past, memory, manifest)]
    known = manifest or Manifest(address, {}, "", "")
    models = wish.declared.models
    found = [one for step in steps for one in find_obstacles(hands, known, step, models)]
    obstacles = tuple(one for one in found if not one.guard and one.severity == "error")
    if obstacles:
        raise Unplannable(obstacles)
    steps, looked = look_at_models(hands, steps, [wish], order.limits.blobs)
    owners = find_owners(hands, order, steps)
    managed = len(snapshot.memories)
    refresh = replace(survey.refresh, calls=hands.calls - calls)
    return Plan(
        steps=tuple(steps),
        unchanged=() if steps else (resource,),
        findings=(
            *guards.judge(steps, order.limits, managed, order.allowed, owners),
            *guards.lift((*found, *looked, *_find_other_bytes(steps, past)), order.allowed),
            *_tell_secrets(past, memory),
            *_tell_manifest(kind, steps, manifest, memory),
        ),
        inputs=replace(order.inputs, targets=(str(address),)),
        refresh=refresh,
        made_at=hands.clock().strftime("%Y-%m-%dT%H:%M:%SZ"),
        baseline="kept",
        not_observable=find_hidden([wish]),
        last_set=find_last_set([wish]),
        estimate=estimate_steps(hands, steps, refresh.calls),
    )


def _find_kind(hands: Hands, address: Address) -> Kind:
    if address.kind not in hands.kinds:
        known = ", ".join(hands.kinds)
        raise Unplannable((_finding(address, "there is no such kind here", f"Known: {known}."),))
    return hands.kinds[address.kind]


def _finding(address: Address, what: str, next_step: str) -> Finding:
    return Finding(what, subject=str(address), next_step=next_step)


def _take(seen: Observation, past: Past) -> Json:
    """What is live; raises Unplannable where it cannot be read or is gone."""
    if not isinstance(seen.document, Folded):
        gone = _finding(past.address, "is gone: there is nothing to lead back", past.instead)
        raise Unplannable((seen.finding or gone,))
    return seen.document.open()


def _wish(
    kind: Kind, past: Past, live: Json, memory: Memory, manifest: Manifest | None
) -> tuple[Wish, Json]:
    """What is wanted back, and the whole document with it; raises Unplannable for what misfits."""
    desired, misfits = undo(kind.field, past.undone, live)
    if misfits:
        said = (f"#{one.sequence} cannot be undone at {one.pointer}: {one.why}" for one in misfits)
        raise Unplannable(tuple(_finding(past.address, one, past.instead) for one in said))
    if past.named and past.kept is not None:
        restore(kind.field, past.kept.owned, past.places, desired)
    declared = kind.bind(manifest, live) if manifest is not None else Declared({})
    spoken = _speak(kind.field, past, memory, desired, declared.document)
    secrets = _find_secrets(manifest)
    # What was written then is not known: a secret goes along only where all of them must.
    labels = {pointer: reference.version for pointer, reference in secrets.items()}
    wish = Wish(
        resource=memory.resource(past.address),
        schema=kind.field,
        live=live,
        declared=Declared(spoken, _find_models(kind, past, live, desired, declared)),
        secrets=secrets,
        memory=replace(memory, secrets=labels),
    )
    return wish, overlay(kind.field, desired, spoken)


def _find_secrets(manifest: Manifest | None) -> dict[str, SecretReference]:
    given = manifest.spec.get("secrets", {}) if manifest is not None else {}
    return {pointer: SecretReference(**one) for pointer, one in given.items()}


def _speak(field: Field, past: Past, memory: Memory, desired: Json, declared: Json) -> Json:
    """What is to be remembered: what is now, and what was at the places that are undone.

    What the service never shows is as it was remembered then, or as it is declared: a write of
    the whole needs it.
    """
    unseen = {
        format_pointer(path): find(declared, path)
        for path in find_leaves(field, declared)
        if is_unseen(field, path, desired) and not field.at(path).secret
    }
    undone = _find_undone(past)
    kept = past.kept.owned if past.kept is not None else {}
    remembered = {**unseen, **undone, **memory.owned, **kept}
    document: Json = {}
    for pointer in sorted({*unseen, *undone, *memory.owned}, key=len):
        path = split_pointer(pointer)
        shown = find(desired, path)
        if shown is ABSENT and is_unseen(field, path, desired):
            shown = remembered[pointer]
        if shown is not ABSENT:
            _put(document, path, shown)
    return document


def _find_undone(past: Past) -> Mapping[str, Json]:
    """What was remembered at the places that are undone, by any of the entries."""
    entries = (*reversed(past.undone), *((past.kept,) if past.kept else ()))
    return {
        pointer: value
        for entry in entries
        for pointer, value in entry.owned.items()
        if overlaps(split_pointer(pointer), past.places)
    }


def _put(document: Json, path: Path, value: Json) -> None:
    """Set a value, unless something that is no object lies around it."""
    around = (find(document, path[:depth]) for depth in range(len(path)))
    if all(one is ABSENT or isinstance(one, dict) for one in around):
        set_at(document, path, copy.deepcopy(value))


def _find_models(
    kind: Kind, past: Past, live: Json, desired: Json, declared: Declared
) -> tuple[ModelReference, ...]:
    """The trained models at the places that are undone, with the signature that opens them."""
    spoken: Json = {}
    for path in sorted(past.places, key=len):
        value = find(desired, path)
        if value is not ABSENT:
            _put(spoken, path, value)
    named = Manifest(past.address, {"definition": spoken}, "", "")
    known = {one.path: (one.sas, one.entry) for one in declared.models}
    found = []
    for one in kind.bind(named, live).models:
        sas, entry = known.get(one.path, (None, ""))
        found.append(replace(one, sas=sas, entry=entry, find_place=None))
    return tuple(found)


def _tell(field: Field, step: Step, past: Past, memory: Memory, manifest: Manifest | None) -> Step:
    return replace(
        step,
        because=tuple(_explain(field, step, past, memory)),
        labels=manifest.labels if manifest is not None else {},
        wave=memory.wave,
        fleet=memory.fleet,
    )


def _explain(field: Field, step: Step, past: Past, memory: Memory) -> Iterator[Reason]:
    """Why each place is changed; where somebody else moved it since, that this is lost."""
    note = f"rollback to #{past.to}" if past.to else f"rollback of #{past.undone[0].sequence}"
    for change in step.changes:
        pointer = format_pointer(change.path)
        then = memory.owned.get(pointer, ABSENT)
        seen = change.verb is not Verb.WRITE and then is not ABSENT
        moved = seen and not same(field.at(change.path), then, change.before)
        since = f"; somebody moved it since it was applied {format_author(memory)}"
        yield Reason(pointer, Cause.ROLLBACK, f"{note}{since if moved else ''}")


def _find_other_bytes(steps: Sequence[Step], past: Past) -> Iterator[Finding]:
    """Models that lie where they lay then, with other bytes."""
    for step in steps:
        for model in step.models:
            then = _find_digest(past, format_pointer(model.path), model.after)
            kind = then.partition(":")[0]
            if then != model.digest_after and model.digest_after.startswith(f"{kind}:"):
                yield Finding(
                    f'trained model "{model.name}": its bytes are not those that were applied',
                    subject=str(step.resource.address),
                    detail=(model.after, f"It was {then} and is {model.digest_after}."),
                    next_step=f"To go back all the same: --allow blob={step.resource.address}",
                    guard="blob",
                )


def _find_digest(past: Past, pointer: str, uri: str) -> str:
    entries: list[Entry] = [past.kept] if past.kept is not None else []
    known = (one.digests.get(pointer, "") for one in entries if one.owned.get(pointer) == uri)
    return next(known, "")


def _tell_secrets(past: Past, memory: Memory) -> Iterator[Finding]:
    """Secrets whose version was another one then: what it was nobody knows."""
    then = past.kept.secrets if past.kept is not None else {}
    for pointer in sorted({*then, *memory.secrets}):
        one, other = then.get(pointer), memory.secrets.get(pointer)
        if one != other:
            yield Finding(
                f"the secret {pointer} is not restored: {_label(one)} then, {_label(other)} now",
                subject=str(past.address),
                next_step="To write another: name it in spec.secrets with a new version, apply.",
                severity="warning",
            )


def _label(version: str | None) -> str:
    if version is None:
        return "none was written"
    return f'version "{version}"' if version else "one without a version"


def _tell_manifest(
    kind: Kind, steps: Sequence[Step], manifest: Manifest | None, memory: Memory
) -> Iterator[Finding]:
    """What the manifest still declares otherwise, so that the next apply would bring it back."""
    for step in steps:
        back = _find_brought_back(kind, step, manifest, memory) if manifest is not None else []
        if back:
            said = [f"{format_pointer(path)} on {place}" for path, place in back]
            yield Finding(
                "the manifest still declares what is undone: the next apply brings it back",
                subject=str(step.resource.address),
                place=back[0][1],
                detail=tuple(said[:_MOST_NAMED]),
                next_step="Change the manifest before the next apply.",
                severity="warning",
            )


def _find_brought_back(
    kind: Kind, step: Step, manifest: Manifest, memory: Memory
) -> list[tuple[Path, Place]]:
    """What a manifest would make of what was undone, and where it says so."""
    declared = kind.bind(manifest, step.after)
    wish = Wish(step.resource, kind.field, step.after, declared, memory=memory)
    again = None if declared.findings else make_step(wish)
    undone = [change.path for change in step.changes]
    models = {model.path: model.place for model in declared.models}
    return [
        (path, models.get(path) or manifest.place(f"/spec/definition{format_pointer(path)}"))
        for path in (change.path for change in (again.changes if again is not None else ()))
        if overlaps(path, undone)
    ]
