"""How a step is made from live and declared, and the plan as a JSON document with a digest.

The document is the only form in which a plan is saved; it has Terraform's keys where Terraform
has them. It can hold no secret: a step knows only where one is found. Nothing here reads, asks
the time or writes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from reconciler.comparers import is_sealed
from reconciler.diff import diff, same
from reconciler.errors import PlanInvalid
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Change,
    Declared,
    Finding,
    Inputs,
    Json,
    Memory,
    ModelChange,
    Path,
    Place,
    Plan,
    Refresh,
    Resource,
    SecretReference,
    Step,
    Verb,
)
from reconciler.overlay import overlay
from reconciler.patch import make_absences, make_inverse, make_operations
from reconciler.pointers import find, format_pointer, split_pointer
from reconciler.schema import UNKNOWN, Field

FORMAT_VERSION: Final = "1.0"
_ACTIONS: Final[Mapping[Action, list[str]]] = {
    Action.CREATE: ["create"],
    Action.UPDATE: ["update"],
    Action.REPLACE: ["delete", "create"],
    Action.DELETE: ["delete"],
    Action.FORGET: ["forget"],
}


@dataclass(frozen=True)
class Wish:
    """What one manifest wants of one resource, beside what is live and remembered.

    `secrets` maps pointers to references; `ledger_known` is False where there is no ledger that
    could remember; `rotate` has every secret written again.
    """

    resource: Resource
    schema: Field
    live: Json | Absent
    declared: Declared
    secrets: Mapping[str, SecretReference] = field(default_factory=dict)
    memory: Memory | None = None
    ledger_known: bool = True
    rotate: bool = False


def make_step(wish: Wish) -> Step | None:
    """The step that leads from live to what is declared, or None where nothing differs."""
    desired = overlay(wish.schema, wish.live, wish.declared.document)
    changes = diff(wish.schema, wish.live, desired)
    action = _choose_action(wish.live, changes)
    due = tuple(sorted(_due_secrets(wish, changes, action).items()))
    written = [_write(split_pointer(pointer), reference) for pointer, reference in due]
    changes = (*changes, *_due_write_only(wish, action), *written)
    if not changes:
        return None
    forced = [change for change in changes if change.immutable and wish.live is not ABSENT]
    return Step(
        resource=wish.resource,
        action=action,
        changes=changes,
        ops=make_operations(changes, wish.live),
        inverse=() if wish.live is ABSENT else make_inverse(changes),
        before=wish.live,
        after=desired,
        absences=() if wish.live is ABSENT else make_absences(changes),
        secrets=due,
        replace_paths=tuple(format_pointer(change.path) for change in forced),
        models=tuple(_model_changes(wish, changes)),
        not_observable=find_not_observable(wish),
        unchanged=_count_leaves(wish.schema, wish.live) - len(changes) + len(written),
        reason="replace_because_cannot_update" if action is Action.REPLACE else "",
        owns=tuple(format_pointer(at) for at in find_leaves(wish.schema, wish.declared.document)),
    )


def _write(path: Path, value: Json) -> Change:
    return Change(path, Verb.WRITE, ABSENT, value, sensitive=isinstance(value, SecretReference))


def make_removal(resource: Resource, live: Json, because: str = "") -> Step:
    """The step that takes a resource away."""
    gone = Change((), Verb.REMOVE, live, ABSENT)
    said = (because,) if because else ()
    return Step(resource, Action.DELETE, (gone,), (), (), live, ABSENT, because=said)


def _choose_action(live: Json | Absent, changes: Collection[Change]) -> Action:
    if live is ABSENT:
        return Action.CREATE
    return Action.REPLACE if any(change.immutable for change in changes) else Action.UPDATE


def _due_secrets(
    wish: Wish, changes: Collection[Change], action: Action
) -> Mapping[str, SecretReference]:
    """Secrets to write now. What was written last cannot be read back, only remembered.

    Where nothing can be remembered, a secret goes along with another write and causes none.
    """
    if action is not Action.UPDATE or wish.rotate or (wish.memory is None and changes):
        return wish.secrets
    if wish.memory is None:
        return wish.secrets if wish.ledger_known else {}
    known = wish.memory.secrets
    return {at: ref for at, ref in wish.secrets.items() if known.get(at) != ref.version}


def _due_write_only(wish: Wish, action: Action) -> Iterator[Change]:
    """Declared values that are never returned, where they differ from what was last written.

    A replacement starts from nothing, so it needs all of them again.
    """
    if wish.live is ABSENT:
        return
    owned = wish.memory.owned if wish.memory is not None else {}
    for path in find_leaves(wish.schema, wish.declared.document):
        below, now = wish.schema.at(path), find(wish.declared.document, path)
        if not below.write_only or now in ("", None):
            continue
        then = owned.get(format_pointer(path), ABSENT)
        moved = then is not ABSENT and not same(replace(below, write_only=False), then, now)
        if moved or action is Action.REPLACE:
            yield _write(path, now)


def find_not_observable(wish: Wish) -> tuple[str, ...]:
    """Declared places that the service never shows, or shows only as ever-changing cipher text."""
    hidden = set(wish.secrets)
    for path in find_leaves(wish.schema, wish.declared.document):
        below, value = wish.schema.at(path), find(wish.declared.document, path)
        # An empty credential is shown as it is (recorded).
        if (below.write_only and value not in ("", None)) or is_sealed(value):
            hidden.add(format_pointer(path))
    return tuple(sorted(hidden))


def find_leaves(field: Field, document: Json | Absent, path: Path = ()) -> Iterator[Path]:
    """The places at which a declared document speaks: values, whole lists, free JSON."""
    if document is ABSENT or field.read_only:
        return
    walked = field.branches and not field.compare
    if isinstance(document, dict) and document and walked:
        for name, value in document.items():
            yield from find_leaves(field.child(name), value, (*path, name))
    elif path:
        yield path


def _count_leaves(field: Field, document: Json | Absent) -> int:
    """As many as `find_leaves` finds, told without naming them."""
    if document is ABSENT or field.read_only:
        return 0
    if not (isinstance(document, dict) and document and field.branches) or field.compare:
        return 1
    if field.flat and document.keys() <= field.properties.keys():
        return len(document)
    total = 0
    for name, value in document.items():
        child = field.properties.get(name) or field.items or UNKNOWN
        if type(value) is dict:
            total += _count_leaves(child, value)
        elif not child.read_only:
            total += 1
    return total


def _model_changes(wish: Wish, changes: Collection[Change]) -> Iterator[ModelChange]:
    changed = {change.path for change in changes}
    for model in wish.declared.models:
        if model.path in changed:
            before = find(wish.live, model.path)
            yield ModelChange(model.name, model.path, "" if before is ABSENT else before, model.uri)


def canonical(document: Json) -> str:
    """The one way to write a document down: sorted names, no blanks, UTF-8."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def plan_document(plan: Plan) -> Json:
    """The plan as values that JSON can hold, its digest included."""
    body = {
        "format_version": FORMAT_VERSION,
        "timestamp": plan.made_at,
        "resource_changes": [_step_document(step) for step in plan.steps],
        "unchanged": _resource_documents(plan.unchanged),
        "orphans": _resource_documents(plan.orphans),
        "not_observable": {address: list(ats) for address, ats in plan.not_observable.items()},
        "findings": [_finding_document(finding) for finding in plan.findings],
        "inputs": asdict(plan.inputs),
        "refresh": asdict(plan.refresh),
        "baseline": plan.baseline,
        "outcome": _outcome(plan),
    }
    return {**body, "plan_digest": digest_of(body)}


def _resource_documents(resources: Collection[Resource]) -> Json:
    return [{"address": str(one.address), "id": one.id} for one in resources]


def digest_of(body: Json) -> str:
    """sha256 over the canonical form of everything but the digest itself."""
    kept = {name: value for name, value in body.items() if name != "plan_digest"}
    text = canonical(kept).encode("utf-8", "surrogatepass")
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


def _outcome(plan: Plan) -> str:
    if plan.refused:
        return "refused"
    return "changes" if plan.steps else "no-changes"


def _step_document(step: Step) -> Json:
    hidden = {format_pointer(change.path): True for change in step.changes if change.sensitive}
    return {
        "address": str(step.resource.address),
        "type": step.resource.address.kind,
        "name": step.resource.address.name,
        "id": step.resource.id,
        "change": {
            "actions": _ACTIONS[step.action],
            "before": None if step.before is ABSENT else step.before,
            "after": None if step.after is ABSENT else step.after,
            "before_sensitive": hidden,
            "after_sensitive": hidden,
            "replace_paths": [list(split_pointer(at)) for at in step.replace_paths],
        },
        "action_reason": step.reason,
        "attributes": [_change_document(change) for change in step.changes],
        "patch": list(step.ops),
        "inverse": list(step.inverse),
        "preconditions": [{"absent": pointer} for pointer in step.absences],
        "secrets": {pointer: asdict(reference) for pointer, reference in step.secrets},
        "model": [asdict(model) for model in step.models],
        "not_observable": list(step.not_observable),
        "unchanged_attributes": step.unchanged,
        "because": list(step.because),
        "labels": dict(step.labels),
        "owns": list(step.owns),
    }


def _change_document(change: Change) -> Json:
    said = asdict(change)
    if isinstance(change.after, SecretReference):
        said["after"] = {"reference": asdict(change.after)}
    return {
        name: value
        for name, value in said.items()
        if value is not ABSENT and not (name in _FLAGS and value is False)
    }


def _finding_document(finding: Finding) -> Json:
    return asdict(finding)


def read_plan(text: str) -> tuple[Plan, str]:
    """A saved plan and its digest; raises PlanInvalid for anything but an unchanged plan."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PlanInvalid("not a saved plan: it is no JSON", next_step=_AGAIN) from error
    if not isinstance(body, dict) or "plan_digest" not in body:
        raise PlanInvalid("not a saved plan: it has no plan_digest", next_step=_AGAIN)
    version = str(body.get("format_version", ""))
    if version.partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
        raise PlanInvalid(
            f"the saved plan has format version {version[:20]!r}; "
            f"this reconciler reads {FORMAT_VERSION}",
            next_step="Make the plan and apply it with the same version of reconciler.",
        )
    if digest_of(body) != body["plan_digest"]:
        raise PlanInvalid("the saved plan was changed after it was made", next_step=_AGAIN)
    try:
        return _plan_of(body), str(body["plan_digest"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PlanInvalid("the saved plan lacks a part", next_step=_AGAIN) from error


_AGAIN: Final = "Make it again: reconciler plan --out FILE"


def _plan_of(body: Json) -> Plan:
    lists = {name: tuple(body["inputs"][name]) for name in ("targets", "excluded")}
    inputs = {**body["inputs"], **lists}
    return Plan(
        steps=tuple(_step_of(said) for said in body["resource_changes"]),
        unchanged=_resources_of(body["unchanged"]),
        findings=tuple(_finding_of(said) for said in body["findings"]),
        inputs=Inputs(**inputs),
        refresh=Refresh(**body["refresh"]),
        made_at=body["timestamp"],
        baseline=body["baseline"],
        orphans=_resources_of(body["orphans"]),
        not_observable={name: tuple(ats) for name, ats in body["not_observable"].items()},
    )


def _resources_of(listed: Json) -> tuple[Resource, ...]:
    return tuple(Resource(Address.parse(said["address"]), said["id"]) for said in listed)


def _step_of(said: Json) -> Step:
    change = said["change"]
    action = next(act for act, words in _ACTIONS.items() if words == change["actions"])
    return Step(
        resource=Resource(Address(said["type"], said["name"]), said["id"]),
        action=action,
        changes=tuple(_change_of(one) for one in said["attributes"]),
        ops=tuple(said["patch"]),
        inverse=tuple(said["inverse"]),
        before=ABSENT if action is Action.CREATE else change["before"],
        after=ABSENT if action is Action.DELETE else change["after"],
        absences=tuple(one["absent"] for one in said["preconditions"]),
        secrets=tuple((at, SecretReference(**ref)) for at, ref in sorted(said["secrets"].items())),
        replace_paths=tuple(format_pointer(tuple(path)) for path in change["replace_paths"]),
        models=tuple(ModelChange(**{**one, "path": tuple(one["path"])}) for one in said["model"]),
        not_observable=tuple(said["not_observable"]),
        unchanged=said["unchanged_attributes"],
        reason=said["action_reason"],
        because=tuple(said["because"]),
        labels=said["labels"],
        owns=tuple(said["owns"]),
    )


def _change_of(said: Json) -> Change:
    after = said.get("after", ABSENT)
    if said["verb"] == "write" and isinstance(after, dict) and "reference" in after:
        after = SecretReference(**after["reference"])
    return Change(
        path=tuple(said["path"]),
        verb=Verb(said["verb"]),
        before=said.get("before", ABSENT),
        after=after,
        **{name: True for name in _FLAGS if said.get(name)},
    )


_FLAGS: Final = ("sensitive", "immutable", "irreversible", "opaque")


def _finding_of(said: Json) -> Finding:
    place = Place(**said["place"]) if said["place"] else None
    return Finding(**{**said, "place": place, "detail": tuple(said["detail"])})
