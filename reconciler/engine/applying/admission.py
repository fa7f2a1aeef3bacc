"""Where a plan that somebody saved would lead: nowhere but where a plan of these kinds leads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.document.diff import is_omitted
from reconciler.document.pointers import format_pointer, split_pointer
from reconciler.errors import ManifestInvalid, PlanInvalid
from reconciler.model import Address, Plan, SecretReference, Step, Verb
from reconciler.ports import Kind


def check_admission(plan: Plan, kinds: Mapping[str, Kind], name: str) -> None:
    """Raise PlanInvalid, of the file `name`, for a plan that no planning here can have made."""
    for step in plan.steps:
        for what in _check_step_admission(step, kinds):
            raise PlanInvalid(
                f"no plan that was made here: {step.resource.address}: {what}",
                subject=name,
                next_step=f"Make it again: reconciler plan --out {name}",
            )


def _check_step_admission(step: Step, kinds: Mapping[str, Kind]) -> Iterator[str]:
    """Ids that are none, secrets where they would be seen, and what would go past the patch."""
    kind = kinds.get(step.resource.address.kind)
    if kind is None:
        yield "there is no such kind"
        return
    ids = [step.resource.id] + ([step.source.id] if step.source is not None else [])
    yield from (f"{one} is no id" for one in ids if not _is_id(kind, step.resource.address, one))
    for pointer, _ in step.secrets:
        if not kind.field.at(split_pointer(pointer)).secret:
            yield f"{pointer} is no place of a secret"
    for change in step.changes:
        field = kind.field.at(change.path)
        if change.sealed_by != (field.sealed_by if field.is_sealed(change.before) else ""):
            yield f"the patch does not rely on the whole value at {format_pointer(change.path)}"
        secret = isinstance(change.after, SecretReference)
        hidden = field.write_only or is_omitted(kind.field, change.path, step.before)
        if change.verb is Verb.WRITE and not (field.secret if secret else hidden):
            yield f"{format_pointer(change.path)} is nothing that is written beside the patch"


def _is_id(kind: Kind, address: Address, resource_id: str) -> bool:
    """Whether it is a whole id, as the kind makes them."""
    try:
        located = kind.locate(address, resource_id, {})
    except ManifestInvalid:
        return False
    return located.id.casefold() == resource_id.rstrip("/").casefold()
