"""Writes and reads a plan as a JSON document with a digest: the only form of a saved plan.

Its keys are Terraform's where Terraform has such a key. It holds references and never a secret. It
is long because each part is written and read side by side.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from typing import BinaryIO, Final, TypeAlias

from reconciler.document.pointers import find, format_pointer, set_at, split_pointer
from reconciler.errors import PlanInvalid
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Cause,
    Change,
    Check,
    CloneSource,
    CompressedDocument,
    Estimate,
    Finding,
    Inputs,
    Json,
    JudgedRule,
    Member,
    ModelChange,
    Path,
    Plan,
    Reason,
    Refresh,
    Resource,
    Rollout,
    SecretReference,
    SourceLocation,
    Step,
    Verb,
    Write,
    compress,
)
from reconciler.model.plan import KEPT_DIGEST
from reconciler.plans.changes_digest import ACTIONS, describe_way, digest_of_changes
from reconciler.plans.plan_checks import (
    check_plan_parts,
    check_plan_shape,
    find_doubles,
    find_misplaced,
    is_shape_of_step,
)
from reconciler.text.json_parts import JsonBounds, digest_in_parts, encode_in_parts, read_in_parts
from reconciler.text.json_text import (
    DEEPEST,
    MOST_VALUES,
    TooMuch,
    encode_canonical,
    is_same,
)

FORMAT_VERSION: Final = "1.0"
_DRIFTED: Final = (Cause.DRIFT, Cause.CONFLICT)


def plan_document(plan: Plan) -> Json:
    """Return the plan as JSON values, with its digest."""
    steps = [_step_document(step) for step in plan.steps]
    return {**_head_of(plan), _STEPS: steps, "plan_digest": digest_of_plan(plan)}


def encode_plan(plan: Plan) -> bytes:
    """Return the canonical bytes of the plan's document, encoded one step at a time."""
    body = {**_head_of(plan), _STEPS: [], "plan_digest": digest_of_plan(plan)}
    return encode_in_parts(body, _STEPS, lambda: map(_step_document, plan.steps))


def digest_of_plan(plan: Plan) -> str:
    """Return the digest of the plan's document."""
    return find_digests(plan)[0]


def find_digests(plan: Plan) -> tuple[str, str]:
    """Return the digest of the plan and the digest of its changes; `--expect` takes both.

    They are computed once and kept with the plan, which never changes: the digest of a plan of
    thousands takes as long as to compare its documents.
    """
    kept = vars(plan)
    if _DIGESTS not in kept:
        kept[_DIGESTS] = _digest(_head_of(plan), plan), digest_of_changes(plan)
    found: tuple[str, str] = kept[_DIGESTS]
    return found


def _digest(head: Mapping[str, Json], plan: Plan) -> str:
    body = {**head, _STEPS: []}
    return f"sha256:{digest_in_parts(body, _STEPS, lambda: map(_step_document, plan.steps))}"


def _head_of(plan: Plan) -> dict[str, Json]:
    """Return the plan's document without the steps."""
    return {
        "format_version": FORMAT_VERSION,
        "timestamp": plan.made_at,
        "resource_drift": [_drift_document(step) for step in plan.steps if has_drifted(step)],
        "unchanged": _resource_documents(plan.unchanged),
        "orphans": _resource_documents(plan.orphans),
        "not_observable": {address: list(ats) for address, ats in plan.not_observable.items()},
        "findings": [_finding_document(finding) for finding in plan.findings],
        "inputs": inputs_document(plan.inputs),
        "refresh": asdict(plan.refresh),
        "estimate": asdict(plan.estimate),
        "rollouts": [_rollout_document(one) for one in plan.rollouts],
        "last_set": {address: dict(said) for address, said in plan.last_set.items()},
        "baseline": plan.baseline,
        "outcome": plan.outcome,
        **({} if plan.older else {"changes_digest": digest_of_changes(plan)}),
    }


def inputs_document(inputs: Inputs) -> Json:
    """Return the inputs; those of `_OPTIONAL` are left out if they are empty."""
    said = asdict(inputs)
    return {name: said[name] for name in said if said[name] or name not in _OPTIONAL}


def _resource_documents(resources: Collection[Resource]) -> Json:
    return [_resource_document(one) for one in resources]


def _resource_document(resource: Resource) -> Json:
    return {"address": str(resource.address), "id": resource.id, **_token_document(resource)}


def _token_document(resource: Resource) -> Json:
    """Return the reference to the resource's own token; most resources have none."""
    return {} if resource.token is None else {"token": asdict(resource.token)}


def digest_of(body: Json) -> str:
    """Return the sha256 of the canonical form of a document without its digest."""
    kept = {name: value for name, value in body.items() if name != "plan_digest"}
    return f"sha256:{hashlib.sha256(encode_canonical(kept)).hexdigest()}"


def digest_of_step(step: Step) -> str:
    """Return the sha256 of the canonical form of one step in the plan's document.

    A step that was read from a saved plan has it already; no changed copy of it does.
    """
    kept: str | None = vars(step).get(KEPT_DIGEST)
    return kept or digest_of(_step_document(step))


def describe_steps(steps: Iterable[Step]) -> Iterator[Json]:
    """Yield the items of `resource_changes` in the plan's document."""
    return map(_step_document, steps)


def _step_document(step: Step) -> Json:
    hidden = {format_pointer(change.path): True for change in step.changes if change.sensitive}
    # A step that is not a member of a fleet has no key for it.
    member = {"member": _member_document(step.member)} if step.member else {}
    opened = step.open()
    before, after = opened.before, opened.after
    return {
        "address": str(step.resource.address),
        "type": step.resource.address.kind,
        "name": step.resource.address.name,
        "id": step.resource.id,
        **_token_document(step.resource),
        "change": {
            "actions": ACTIONS[step.action],
            "before": None if before is ABSENT else before,
            "after": None if after is ABSENT else after,
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
        "model": [_model_document(model) for model in step.models],
        "not_observable": list(step.not_observable),
        "unchanged_attributes": step.unchanged,
        "extent": step.body,
        "source": asdict(step.source) if step.source else None,
        "because": [_reason_document(reason) for reason in step.reasons],
        "labels": dict(step.labels),
        "owns": list(step.owned_paths),
        "wave": step.wave,
        "fleet": str(step.fleet) if step.fleet else None,
        "stage": step.stage,
        **member,
        **describe_way(step),
    }


def _member_document(member: Member) -> Json:
    return {"number": member.number, "place": asdict(member.place)}


def _member_of(step: Json) -> Member | None:
    said = step.get("member")
    if said is None:
        return None
    return Member(Address.parse(step["fleet"]), said["number"], SourceLocation(**said["place"]))


def _rollout_document(rollout: Rollout) -> Json:
    return {**asdict(rollout), "fleet": str(rollout.fleet), "sizes": list(rollout.sizes)}


def _rollout_of(said: Json) -> Rollout:
    given = {**said, "fleet": Address.parse(said["fleet"]), "sizes": tuple(said["sizes"])}
    return Rollout(**given)


def _reason_document(reason: Reason) -> Json:
    said = {"pointer": reason.pointer, "cause": reason.cause.value, "note": reason.note}
    return said if reason.remembered is ABSENT else {**said, "remembered": reason.remembered}


def has_drifted(step: Step) -> bool:
    """Whether another client has changed a value of the step since the last apply."""
    return any(one.cause in _DRIFTED for one in step.reasons)


def _drift_document(step: Step) -> Json:
    """Return what drifted since the last apply, in Terraform's form, with only those places."""
    moved = [one for one in step.reasons if one.cause in _DRIFTED]
    then: Json = {}
    now: Json = {}
    for reason in moved:
        path = split_pointer(reason.pointer)
        live = find(step.before, path)
        if reason.remembered is not ABSENT:
            set_at(then, path, reason.remembered)
            if live is not ABSENT:
                set_at(now, path, live)
    return {
        **_resource_document(step.resource),
        "type": step.resource.address.kind,
        "name": step.resource.address.name,
        "change": {"actions": ["update"], "before": then, "after": now},
        "pointers": [reason.pointer for reason in moved],
    }


def _change_document(change: Change) -> Json:
    said = _get_fields(change, _CHANGE_FIELDS)
    if isinstance(change.after, SecretReference):
        said["after"] = {"reference": asdict(change.after)}
    return {
        name: value
        for name, value in said.items()
        if value is not ABSENT and not (name in _FLAGS and value is False)
    }


def _get_fields(value: object, names: Iterable[str]) -> dict[str, Json]:
    """Return fields by name. Not `asdict`, which copies values: a plan of thousands has many."""
    return {name: getattr(value, name) for name in names}


# `sealed_by` is left out: the patch has it.
_CHANGE_FIELDS: Final = tuple(one.name for one in fields(Change) if one.name != "sealed_by")
_MODEL_FIELDS: Final = tuple(one.name for one in fields(ModelChange) if one.name != "gates")
_GATE_FIELDS: Final = ("rule", "verdict", "refuses", "reason", "run", "source")


def _model_document(model: ModelChange) -> Json:
    """Return a model; the verdicts are written only if it has some."""
    gates = {"gates": [_gate_document(one) for one in model.gates]} if model.gates else {}
    return {**_get_fields(model, _MODEL_FIELDS), **gates}


def _gate_document(judged: JudgedRule) -> Json:
    return {
        "retraining": str(judged.retraining),
        **_get_fields(judged, _GATE_FIELDS),
        "numbers": dict(judged.numbers),
        **({"rows": judged.rows} if judged.rows else {}),
    }


def _model_of(said: Json) -> ModelChange:
    gates = tuple(map(_gate_of, said.get("gates", ())))
    return ModelChange(**{**said, "path": tuple(said["path"]), "gates": gates})


def _gate_of(said: Json) -> JudgedRule:
    retraining = Address.parse(said["retraining"])
    numbers = tuple(sorted(said["numbers"].items()))
    return JudgedRule(**{**said, "retraining": retraining, "numbers": numbers})


def _finding_document(finding: Finding) -> Json:
    return asdict(finding)


def read_plan(file: str | BinaryIO) -> tuple[Plan, str]:
    """Return a saved plan and its digest; raises PlanInvalid for any text but an unchanged plan.

    `file` is the text or a seekable file with it. Steps are decoded one at a time and kept
    compressed: thousands of them would fill the memory. Each is checked while it is decoded, and
    opened once more for the digest: to open it takes longer than to check it.
    """
    if isinstance(file, str):
        file = io.BytesIO(file.encode("utf-8", "surrogatepass"))
    items: list[_Item] = []
    try:
        body = read_in_parts(file, _STEPS, lambda one: items.append(_take_item(one)), _BOUNDS)
    except TooMuch as error:
        raise PlanInvalid(f"not a saved plan: {error}", next_step=_AGAIN) from error
    except ValueError as error:
        raise PlanInvalid("not a saved plan: it is not JSON", next_step=_AGAIN) from error
    if not isinstance(body, dict) or "plan_digest" not in body:
        raise PlanInvalid("not a saved plan: it has no plan_digest", next_step=_AGAIN)
    version = str(body.get("format_version", ""))
    if version.partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
        raise PlanInvalid(
            f"the saved plan has format version {version[:20]!r}; "
            f"this reconciler reads {FORMAT_VERSION}",
            next_step="Make the plan and apply it with the same version of reconciler.",
        )
    signed = {name: value for name, value in body.items() if name != "plan_digest"}
    digest = digest_in_parts(signed, _STEPS, lambda: map(_open_item, items))
    if f"sha256:{digest}" != body["plan_digest"]:
        raise PlanInvalid("the saved plan was changed after it was made", next_step=_AGAIN)
    unsound = ((at, one) for at, one in enumerate(items) if isinstance(one, CompressedDocument))
    misshapen = check_plan_shape(body, ((at, one.open()) for at, one in unsound))
    if misshapen:
        raise _invalid(f"it does not match its schema at {misshapen}")
    return _make_plan(signed, items), str(body["plan_digest"])


# An item of a plan file: its step if it is sound, and otherwise what the file has.
_Item: TypeAlias = Step | CompressedDocument


def _take_item(said: Json) -> _Item:
    """Return the step of an item, or the item itself if it is unsound.

    Why it is unsound is only said of a file whose digest is right: any other was changed.
    """
    if not is_shape_of_step(said):
        return compress(said)
    try:
        return _read_step(said)
    except PlanInvalid:
        return compress(said)


def _open_item(item: _Item) -> Json:
    return _step_document(item) if isinstance(item, Step) else item.open()


def _make_plan(body: Json, items: Iterable[_Item]) -> Plan:
    """Return the plan of a document that matches its schema; raises PlanInvalid if unsound."""
    made = tuple(one if isinstance(one, Step) else _read_step(one.open()) for one in items)
    try:
        plan = _plan_of(body, made)
        again = {**_head_of(plan), _STEPS: []}
    except _UNREADABLE as error:
        raise _invalid("a part of it cannot be read") from error
    for what in (*find_doubles(made), *find_misplaced(made, plan.rollouts)):
        raise _invalid(what)
    _check_same(again, body)
    return plan


def _read_step(said: Json) -> Step:
    """Return a step with compressed documents; raises PlanInvalid if it is unsound.

    The document of the step it returns is `said`.
    """
    try:
        step = _step_of(said)
        again = _step_document(step)
    except _UNREADABLE as error:
        raise _invalid("a part of it cannot be read") from error
    for what in check_plan_parts(step):
        raise _invalid(what)
    text = encode_canonical(again)
    if text != encode_canonical(said):
        raise _invalid(_CONTRADICTORY)
    made = step.compress(None)
    vars(made)[KEPT_DIGEST] = f"sha256:{hashlib.sha256(text).hexdigest()}"
    return made


def _check_same(again: Json, said: Json) -> None:
    """Raise PlanInvalid if the document has ignored or contradictory parts."""
    if not is_same(again, said):
        raise _invalid(_CONTRADICTORY)


def _invalid(what: str) -> PlanInvalid:
    return PlanInvalid(f"not a plan that this reconciler made: {what}", next_step=_AGAIN)


_CONTRADICTORY: Final = "its parts contradict one another"
# A plan nests documents in its steps and in their changes, so it is deeper than a document.
_DEEPEST: Final = DEEPEST + 10
_BOUNDS: Final = JsonBounds(_DEEPEST, most_items=100_000, most_values=MOST_VALUES)
_STEPS: Final = "resource_changes"
# The attribute of a plan that holds its digests when they are known.
_DIGESTS: Final = "_digests"
_UNREADABLE: Final = (KeyError, TypeError, ValueError, AttributeError)
_OPTIONAL_LISTS: Final = ("allowed", "differing")
_OPTIONAL: Final = (*_OPTIONAL_LISTS, "reason", "environment")
_AGAIN: Final = "Make a new plan: reconciler plan --out FILE"


def _reason_of(said: Json) -> Reason:
    return Reason(
        said["pointer"], Cause(said["cause"]), said["note"], said.get("remembered", ABSENT)
    )


def _plan_of(body: Json, steps: tuple[Step, ...]) -> Plan:
    lists = {**dict.fromkeys(_OPTIONAL_LISTS, ()), **body["inputs"]}
    named = {name: tuple(lists[name]) for name in ("targets", "excluded", *_OPTIONAL_LISTS)}
    inputs = {**body["inputs"], **named}
    return Plan(
        steps=steps,
        unchanged=_resources_of(body["unchanged"]),
        findings=tuple(_finding_of(said) for said in body["findings"]),
        inputs=Inputs(**inputs),
        refresh=Refresh(**body["refresh"]),
        estimate=Estimate(**body["estimate"]),
        made_at=body["timestamp"],
        baseline=body["baseline"],
        orphans=_resources_of(body["orphans"]),
        not_observable={name: tuple(ats) for name, ats in body["not_observable"].items()},
        rollouts=tuple(_rollout_of(one) for one in body.get("rollouts", ())),
        last_set={name: dict(ats) for name, ats in body.get("last_set", {}).items()},
        older="changes_digest" not in body,
    )


def _resources_of(listed: Json) -> tuple[Resource, ...]:
    return tuple(_resource_of(Address.parse(said["address"]), said) for said in listed)


def _resource_of(address: Address, said: Json) -> Resource:
    token = SecretReference(**said["token"]) if "token" in said else None
    return Resource(address, said["id"], token)


def _step_of(said: Json) -> Step:
    change = said["change"]
    action = next(act for act, words in ACTIONS.items() if words == change["actions"])
    return Step(
        resource=_resource_of(Address(said["type"], said["name"]), said),
        action=action,
        changes=tuple(_change_of(one, said["patch"]) for one in said["attributes"]),
        ops=tuple(said["patch"]),
        inverse=tuple(said["inverse"]),
        before=ABSENT if action is Action.CREATE else change["before"],
        after=ABSENT if action is Action.DELETE else change["after"],
        absences=tuple(one["absent"] for one in said["preconditions"]),
        secrets=tuple((at, SecretReference(**ref)) for at, ref in sorted(said["secrets"].items())),
        replace_paths=tuple(format_pointer(tuple(path)) for path in change["replace_paths"]),
        models=tuple(map(_model_of, said["model"])),
        not_observable=tuple(said["not_observable"]),
        unchanged=said["unchanged_attributes"],
        reason=said["action_reason"],
        reasons=tuple(_reason_of(one) for one in said["because"]),
        body=said["extent"],
        source=CloneSource(**said["source"]) if said["source"] else None,
        labels=said["labels"],
        owned_paths=tuple(said["owns"]),
        wave=said.get("wave", 0),
        fleet=Address.parse(said["fleet"]) if said.get("fleet") else None,
        stage=said.get("stage", 0),
        member=_member_of(said),
        strategy=said.get("strategy"),
        writes=tuple(map(_write_of, said.get("writes", ()))),
    )


def _write_of(said: Json) -> Write:
    return Write(
        said["title"],
        wait_s=said.get("wait_s", 0.0),
        requires=tuple(Check(**one) for one in said.get("requires", ())),
        checks=tuple(Check(**one) for one in said.get("checks", ())),
        sends=split_pointer(said.get("sends", "")),
    )


def _change_of(said: Json, patch: Json) -> Change:
    after = said.get("after", ABSENT)
    if said["verb"] == "write" and isinstance(after, dict) and "reference" in after:
        after = SecretReference(**after["reference"])
    path, before = tuple(said["path"]), said.get("before", ABSENT)
    return Change(
        path=path,
        verb=Verb(said["verb"]),
        before=before,
        after=after,
        sealed_by=_find_seal(path, before, patch) if said.get("sensitive") else "",
        **{name: True for name in _FLAGS if said.get(name)},
    )


def _find_seal(path: Path, before: Json | Absent, patch: Json) -> str:
    """Return the property that seals a value: the patch tests it and not the whole value."""
    for name in before if isinstance(before, dict) else ():
        at = format_pointer((*path, name))
        if any(one["op"] == "test" and one["path"] == at for one in patch):
            return str(name)
    return ""


_FLAGS: Final = ("sensitive", "immutable", "irreversible", "opaque", "called")


def _finding_of(said: Json) -> Finding:
    place = SourceLocation(**said["place"]) if said["place"] else None
    return Finding(**{**said, "place": place, "detail": tuple(said["detail"])})
