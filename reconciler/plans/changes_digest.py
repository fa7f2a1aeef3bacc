"""Computes the digest of what a plan does, and of nothing else.

The digest of a plan holds its time, its commit and what was read. This one holds only the
operations, their preconditions, their targets and the environment, so it is equal when the same
changes are planned again. The verdicts of a gate, and the reason for lifting it, are not part of
it: they decide whether an apply may make the changes, and each apply judges that itself.
`apply --expect` compares it. Everything that prints or saves a plan calls this module.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Final

from reconciler.document.pointers import format_pointer, split_pointer
from reconciler.model import Action, Json, Plan, SecretReference, Step, Verb, Write
from reconciler.text.json_text import encode_canonical

# The words of Terraform's plans for each action.
ACTIONS: Final[Mapping[Action, list[str]]] = {
    Action.CREATE: ["create"],
    Action.UPDATE: ["update"],
    Action.REPLACE: ["delete", "create"],
    Action.DELETE: ["delete"],
    Action.FORGET: ["forget"],
    Action.ADOPT: ["adopt"],
}

# The attribute of a plan that holds the digest when it is known.
_DIGEST: Final = "_changes_digest"


def digest_of_changes(plan: Plan) -> str:
    """Return the sha256 of the canonical list of what each step does, sorted by address.

    If the plan has an environment, the list begins with its name. The digest is computed once and
    kept with the plan, which never changes: its comment, its status and its apply all ask for it.
    """
    kept = vars(plan)
    if _DIGEST not in kept:
        kept[_DIGEST] = _digest(plan)
    found: str = kept[_DIGEST]
    return found


def _digest(plan: Plan) -> str:
    steps = sorted(plan.steps, key=lambda step: str(step.resource.address))
    environment = plan.inputs.environment
    digest = hashlib.sha256(b"[")
    digest.update(encode_canonical(environment) if environment else b"")
    for number, step in enumerate(steps):
        digest.update(b"," if number or environment else b"")
        digest.update(encode_canonical(_describe_step(step)))
    digest.update(b"]")
    return f"sha256:{digest.hexdigest()}"


def digest_of_one(step: Step) -> str:
    """Return the first 16 hexadecimal digits of the sha256 of what one step does."""
    return hashlib.sha256(encode_canonical(_describe_step(step))).hexdigest()[:16]


def _describe_step(step: Step) -> Json:
    token = step.resource.token
    return {
        "address": str(step.resource.address),
        "id": step.resource.id,
        **({} if token is None else {"token": asdict(token)}),
        "actions": ACTIONS[step.action],
        "patch": list(step.ops),
        "writes": dict(_list_writes(step)),
        "inverse": list(_list_inverse(step)),
        "preconditions": [{"absent": pointer} for pointer in step.absences],
        "secrets": {pointer: asdict(reference) for pointer, reference in step.secrets},
        "models": {format_pointer(one.path): one.digest_after for one in step.models},
        "source": asdict(step.source) if step.source else None,
        "replace_paths": [list(split_pointer(at)) for at in step.replace_paths],
        "extent": step.body,
        **describe_way(step),
    }


def describe_way(step: Step) -> dict[str, Json]:
    """Return the strategy and the writes of a step as JSON values; a step without them has none."""
    said: dict[str, Json] = {} if step.strategy is None else {"strategy": step.strategy}
    return {**said, "writes": list(map(_describe_write, step.writes))} if step.writes else said


def _describe_write(write: Write) -> Json:
    checks = {"requires": write.requires, "checks": write.checks}
    return {
        "title": write.title,
        **({"wait_s": write.wait_s} if write.wait_s else {}),
        **{name: [asdict(one) for one in listed] for name, listed in checks.items() if listed},
        **({"sends": format_pointer(write.sends)} if write.sends else {}),
    }


def _list_writes(step: Step) -> Iterator[tuple[str, Json]]:
    """Yield the values that are sent beside the patch, except for secrets."""
    for change in step.changes:
        if change.verb is Verb.WRITE and not isinstance(change.after, SecretReference):
            yield format_pointer(change.path), change.after


def _list_inverse(step: Step) -> Iterator[Json]:
    """Yield the inverse with only the seal of each cipher text.

    The service encrypts again at every write, also of another client.
    """
    seals = {format_pointer(one.path): one.sealed_by for one in step.changes if one.sealed_by}
    for operation in step.inverse:
        seal, value = seals.get(operation["path"], ""), operation.get("value")
        sealed = seal and isinstance(value, dict)
        yield {**operation, "value": {seal: value.get(seal)}} if sealed else operation
