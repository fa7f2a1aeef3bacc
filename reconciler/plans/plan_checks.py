"""Checks that a saved plan is one that this program can have made.

A digest proves only that a file has not changed since the digest was computed, and anyone can
compute a digest. So the values that a step shows, compares with live and sends must agree. Only
the reader of saved plans calls this module.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from reconciler.document.patch import check_operations, make_absences, make_inverse, make_operations
from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Cause,
    Change,
    Json,
    Path,
    Rollout,
    SecretReference,
    Step,
    Verb,
)
from reconciler.package_data import read_schema
from reconciler.plans.step import choose_action, choose_body
from reconciler.plans.waves import assign_stages

_ADDRESS: Final = re.compile(r"[A-Za-z]{1,100}/[A-Za-z0-9][A-Za-z0-9._-]{0,259}", re.ASCII)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,999}", re.ASCII)
_BODIES: Final[Mapping[Action, tuple[str, ...]]] = {
    Action.CREATE: ("whole",),
    Action.UPDATE: ("parts", "whole"),
    Action.REPLACE: ("whole",),
    Action.DELETE: ("none",),
}
_MOST_WAVES: Final = 1_000_000


def check_plan_shape(body: Json, steps: Iterable[tuple[int, Json]]) -> str:
    """Return the pointer of the first place that does not match the plan schema, or "".

    `body` is the document with an empty list of steps; `steps` are those to check, each with its
    number.
    """
    for path in _find_errors(_validator(""), body):
        return format_pointer(path) or "/"
    for number, step in steps:
        for path in _find_errors(_validator("step"), step):
            return format_pointer(("resource_changes", number, *path))
    return ""


def is_shape_of_step(document: Json) -> bool:
    """Return whether a document matches the part of the plan schema for a step."""
    return bool(_validator("step").is_valid(_without_halves(document)))


def _find_errors(validator: Any, document: Json) -> Iterator[Path]:
    for error in validator.iter_errors(_without_halves(document)):
        yield tuple(error.instance_path)


@functools.cache
def _validator(part: str) -> Any:
    """Return a validator for the whole document, or for one `$defs` part of the schema."""
    import jsonschema_rs  # noqa: PLC0415 - only the reader of a saved plan validates its schema

    schema = read_schema("output/plan")
    if part:
        schema = {"$defs": schema["$defs"], "$ref": f"#/$defs/{part}"}
    return jsonschema_rs.validator_for(schema)


def _without_halves(body: Json) -> Json:
    """Return the document without lone surrogates, which the validator cannot read."""
    try:
        orjson.dumps(body)
    except TypeError:
        text = json.dumps(body, ensure_ascii=False)
        return json.loads(text.encode("utf-8", "replace"))
    return body


def check_plan_parts(step: Step) -> Iterator[str]:
    """Yield each contradiction in a step, with its resource."""
    address = str(step.resource.address)
    if not _ADDRESS.fullmatch(address):
        yield f"{address} is not an address"
    for what, holds in _DEMANDS.items():
        if not holds(step):
            yield f"{address}: {what}"
            return  # the later checks rely on this one


def find_doubles(steps: Collection[Step]) -> Iterator[str]:
    """Yield a message for each resource that a plan changes twice."""
    named = Counter(step.resource.address for step in steps)
    owners = Counter(step.resource.id.casefold() for step in steps)
    for step in steps:
        if named[step.resource.address] > 1 or owners[step.resource.id.casefold()] > 1:
            yield f"{step.resource.address}: the same resource is changed twice"


def find_misplaced(steps: Sequence[Step], rollouts: Sequence[Rollout]) -> Iterator[str]:
    """Yield what is wrong with the waves of fleets: one for each fleet, and each step in its own.

    A rollback has no such waves.
    """
    fleets = {step.fleet for step in steps if step.fleet is not None and not _restores(step)}
    if sorted(one.fleet for one in rollouts) != sorted(fleets):
        yield "its fleets are not those of its steps"
    for step, staged in zip(steps, assign_stages(steps, rollouts), strict=True):
        if step.stage != staged.stage:
            yield f"{step.resource.address}: it is in another wave of its fleet"


def _has_action(step: Step) -> bool:
    """Whether the action, its body and its reason are those of the changes."""
    if step.body not in _BODIES.get(step.action, ()):
        return False
    if step.action is Action.DELETE:
        return not (step.replace_paths or step.reason or step.secrets or step.owned_paths)
    forced = [] if step.before is ABSENT else [one for one in step.changes if one.immutable]
    return (
        step.action is choose_action(step.before, step.changes)
        and step.body == choose_body(step.action, step.changes)
        and step.replace_paths == tuple(format_pointer(change.path) for change in forced)
        and bool(step.reason) is (step.action is Action.REPLACE)
    )


def _has_source(step: Step) -> bool:
    """Whether the step may have its source: a copy for a new resource, or its own copy."""
    source = step.source
    if source is None:
        return True
    if step.action is Action.REPLACE:
        own = source.id == step.resource.id and source.name == str(step.resource.address)
        return own and bool(source.region) and bool(source.copy)
    return step.action is Action.CREATE and bool(source.region) is bool(source.copy)


def _has_documents(step: Step) -> bool:
    before, after = (isinstance(one, dict) for one in (step.before, step.after))
    made, gone = step.action is Action.CREATE, step.action is Action.DELETE
    return (before or made) and (after or gone)


def _has_paths(step: Step) -> bool:
    paths = [one.path for one in step.changes] + [one.path for one in step.models]
    return all(
        type(part) is str or (type(part) is int and part >= 0) for at in paths for part in at
    )


def _has_values(step: Step) -> bool:
    return all(map(_has_value, step.changes))


def _has_value(change: Change) -> bool:
    before, after = (one is not ABSENT for one in (change.before, change.after))
    needed = {Verb.REPLACE: (True, True), Verb.REMOVE: (True, False)}
    return (before, after) == needed.get(change.verb, (False, True))


def _has_operations(step: Step) -> bool:
    """Whether the operations of a step are those of its shown changes."""
    if step.action is Action.DELETE:
        gone = Change((), Verb.REMOVE, step.before, ABSENT)
        return step.changes == (gone,) and not (step.ops or step.inverse or step.absences)
    made = step.action is Action.CREATE
    shown = (
        make_operations(step.changes, step.before),
        () if made else make_inverse(step.changes),
        () if made else make_absences(step.changes),
    )
    # Compared as text: Python treats true and 1 as equal, the service does not.
    return _write(shown) == _write((step.ops, step.inverse, step.absences))


def _write(value: Json) -> str:
    return json.dumps(value, sort_keys=True)


def _leaves_values(step: Step) -> bool:
    """Whether the definition after the step has each value that the step shows.

    The ledger records that definition where the service does not show a value. A new resource is
    shown in parts: an object without its members, and each member.
    """
    moves = _find_moves(step.changes)
    return all(
        _write(_or_none(left)) == _write(change.after)
        or (change.after == {} and isinstance(left, dict))
        for number, change in enumerate(step.changes)
        if change.after is not ABSENT and not isinstance(change.after, SecretReference)
        for left in (find(step.after, _find_last(change, number, moves)),)
    )


_Moves = Mapping[Path, Sequence[tuple[int, int, int]]]


def _find_moves(changes: Sequence[Change]) -> _Moves:
    """The changes that move the later items of a list: each one's number, item and distance."""
    found: dict[Path, list[tuple[int, int, int]]] = {}
    for number, change in enumerate(changes):
        distance = {Verb.REMOVE: -1, Verb.ADD: 1}.get(change.verb, 0)
        if distance and change.path and type(change.path[-1]) is int:
            found.setdefault(change.path[:-1], []).append((number, change.path[-1], distance))
    return found


def _find_last(change: Change, number: int, moves: _Moves) -> Path:
    """The path of a value after all changes: those after it may move the items of its lists."""
    path = [*change.path]
    for at, item in enumerate(change.path) if moves and change.verb is not Verb.WRITE else ():
        index = item if type(item) is int else -1
        for later, moved, distance in moves.get(change.path[:at], ()) if index >= 0 else ():
            index += distance if later > number and moved <= index else 0
        path[at] = index if index >= 0 else item
    return tuple(path)


def _or_none(value: Json | Absent) -> Json:
    return None if value is ABSENT else value


def _fits(step: Step) -> bool:
    """Whether the operations can be applied to the document of the plan."""
    return check_operations(step.ops, step.before) is None


def _has_secrets(step: Step) -> bool:
    """Whether every secret has one source and is shown as a written value.

    A signature has no change of its own. It goes only along with a trained model, beside the
    address of a model that the step owns.
    """
    written = {
        format_pointer(change.path): change.after
        for change in step.changes
        if isinstance(change.after, SecretReference)
    }
    secrets = dict(step.secrets)
    beside = {_around(pointer) for pointer in step.owned_paths}
    along = secrets.keys() - written.keys()
    shown = {pointer: secrets[pointer] for pointer in secrets.keys() - along}
    goes = all(_around(pointer) in beside for pointer in along)
    sends = bool(step.models) or step.body == "whole" or not along
    return goes and sends and written == shown and all(map(_is_reference, secrets.values()))


def _around(pointer: str) -> str:
    return pointer.rpartition("/")[0]


def _is_reference(reference: SecretReference) -> bool:
    if reference.env:
        return not reference.file and _VARIABLE.fullmatch(reference.env) is not None
    return bool(reference.file) and "\0" not in reference.file


def _has_models(step: Step) -> bool:
    """Whether the trained models that the step shows are the ones that it writes.

    A model that the service does not show has the recorded address as its old value.
    """
    put = {change.path: change for change in step.changes}
    return all(
        model.path in put
        and put[model.path].after == model.after
        and _has_old_address(step, put[model.path], model.before)
        for model in step.models
    )


def _has_old_address(step: Step, change: Change, address: str) -> bool:
    if step.before is ABSENT:
        return not address
    return change.before is ABSENT or _text(change.before) == address


def _text(value: Json | Absent) -> str:
    return value if isinstance(value, str) else ""


def _owns_changes(step: Step) -> bool:
    """Whether the step owns what it changes in a document, as only a manifest can have asked for.

    A rollback also restores what no manifest declares, and an exact manifest only removes it. What
    a call of its own sets is not owned.
    """
    if step.action not in {Action.UPDATE, Action.REPLACE} or _restores(step):
        return True
    owned = [split_pointer(pointer) for pointer in step.owned_paths]
    return all(
        any(path[: len(change.path)] == change.path[: len(path)] for path in owned)
        for change in step.changes
        if change.verb is not Verb.REMOVE
        and not change.called
        and not isinstance(change.after, SecretReference)
    )


def _restores(step: Step) -> bool:
    return any(reason.cause is Cause.ROLLBACK for reason in step.reasons)


def _has_reasons(step: Step) -> bool:
    """Whether there is one reason for each change, or some for the whole resource.

    A source is a reason of its own.
    """
    given = [reason.pointer for reason in step.reasons if reason.cause is not Cause.SOURCE]
    if step.action in {Action.CREATE, Action.DELETE}:
        return bool(step.reasons) and not any(given)
    return given == [format_pointer(change.path) for change in step.changes]


def _has_waves(step: Step) -> bool:
    return all(0 <= one <= _MOST_WAVES for one in (step.wave, step.stage))


_DEMANDS: Final[Mapping[str, Callable[[Step], bool]]] = {
    "the action or its body is not valid": _has_action,
    "it has no definition before or after": _has_documents,
    "a path is not valid": _has_paths,
    "a change has a missing or an extra value": _has_values,
    "its source does not match its action": _has_source,
    "the patch does not match the shown changes": _has_operations,
    "the patch does not fit the definition": _fits,
    "the definition after it lacks a shown value": _leaves_values,
    "the secrets do not match the shown changes": _has_secrets,
    "the trained models do not match the written values": _has_models,
    "it does not own what it changes": _owns_changes,
    "its reasons do not match the shown changes": _has_reasons,
    "its wave is not valid": _has_waves,
}
