"""Undoes ledger entries on the live document, which may have changed since.

Each change of an entry has an inverse. Values that no entry changed stay unchanged. A list index
names an item only while the list is as the entry left it. The rollback command and the apply
with rollback call this module.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from reconciler.document.diff import is_not_observable, same
from reconciler.document.overlay import overlay
from reconciler.document.patch import MISFITS, apply_in_place, apply_operations, same_in_order
from reconciler.document.pointers import find, format_pointer, set_at, split_pointer
from reconciler.document.schema import Field
from reconciler.errors import ReconcilerError
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Cause,
    Declared,
    Entry,
    Json,
    Live,
    Path,
    Reason,
    Step,
)
from reconciler.model.values import dataclass
from reconciler.plans.history import pair_operations
from reconciler.plans.step import Comparison, make_removal, make_step_to

_UNKNOWN: Final = "its keys and secrets are not known here"
_MOVED: Final = "the list has changed since, and the patch names its items by index"
_REASON: Final = Reason("", Cause.ROLLBACK, "another step of the same apply failed")
_WORDS: Final = {Action.DELETE: "destroyed", Action.REPLACE: "replaced", Action.UPDATE: "deleted"}


@dataclass(frozen=True, slots=True)
class Misfit:
    """One place where an entry cannot be undone, and why."""

    sequence: int
    pointer: str
    why: str


def undo(field: Field, entries: Iterable[Entry], live: Json) -> tuple[Json, tuple[Misfit, ...]]:
    """Return the document with the entries undone, newest first; `live` is not changed.

    Also returns all misfits of the first entry that cannot be undone.
    """
    document = copy.deepcopy(live)
    for entry in entries:
        lists = _find_moved_lists(field, entry.patch, document)
        moved = (Misfit(entry.sequence, one, _MOVED) for one in lists)
        misfits = (*moved, *_undo_one(field, entry, document))
        if misfits:
            return document, misfits
    return document, ()


def _undo_one(field: Field, entry: Entry, document: Json) -> Iterator[Misfit]:
    for forth, back in reversed(pair_operations(entry)):
        pointer = forth["path"]
        if back is None:
            yield Misfit(entry.sequence, pointer, "its earlier value is not known")
        elif not (back["op"] == "remove" and _stays(field, forth, document)):
            fitting = _adapt(field, back, forth.get("value", ABSENT), document)
            try:
                apply_in_place(copy.deepcopy(fitting), document)
            except MISFITS:
                yield Misfit(entry.sequence, pointer, "the place does not exist any more")


def _stays(field: Field, forth: Json, document: Json) -> bool:
    """Whether an added value need not be removed: it is gone, or others have filled it."""
    path = split_pointer(forth["path"])
    now, below = find(document, path), field.at(path)
    # What the service keeps as a resource of its own was created by the entry, so it is removed.
    shared = forth["value"] == {} and below.branches and not below.separate
    return now is ABSENT or (shared and now != {})


def _adapt(field: Field, back: Json, left: Json | Absent, document: Json) -> Json:
    """Return an inverse operation as the document needs it.

    A service may not show a value that counts as absent, such as a share of 0. `left` is the value
    that the change to undo has left.
    """
    path = split_pointer(back["path"])
    gone = back["op"] == "replace" and find(document, path) is ABSENT
    return {**back, "op": "add"} if gone and same(field.at(path), left, ABSENT) else back


def _find_moved_lists(field: Field, patch: Sequence[Json], document: Json) -> Iterator[str]:
    """Yield the lists whose items a patch names by index and that have changed since."""
    changes = [op for op in patch if op["op"] != "test"]
    for test in patch:
        inside = [op for op in changes if op["path"].startswith(f"{test['path']}/")]
        if test["op"] != "test" or not isinstance(test["value"], list) or not inside:
            continue
        path = split_pointer(test["path"])
        if not same_in_order(field.at(path), _make_list(test, inside), find(document, path)):
            yield test["path"]


def _make_list(test: Json, inside: Iterable[Json]) -> Json | Absent:
    """Return the list of a test after its changes; ABSENT if the changes do not fit it."""
    left = copy.deepcopy(test["value"])
    try:
        for operation in inside:
            apply_in_place({**operation, "path": operation["path"][len(test["path"]) :]}, left)
    except MISFITS:
        return ABSENT
    return left


def list_touched(entries: Iterable[Entry]) -> set[Path]:
    """Return the places that entries changed; a change in a list counts as the whole list."""
    return {
        _above_index(entry, split_pointer(forth["path"]))
        for entry in entries
        for forth, _ in pair_operations(entry)
    }


def _above_index(entry: Entry, path: Path) -> Path:
    tested = [op for op in entry.patch if op["op"] == "test" and isinstance(op["value"], list)]
    for test in tested:
        at = split_pointer(test["path"])
        if path[: len(at)] == at:
            return at
    return path


def overlaps(path: Path, places: Collection[Path]) -> bool:
    """Whether a place is inside one of these places, or contains one."""
    return any(path[: len(one)] == one or one[: len(path)] == path for one in places)


def restore(
    field: Field, owned: Mapping[str, Json], places: Collection[Path], document: Json
) -> None:
    """Set the recorded values in `document` at the undone places; changes `document` in place.

    Another client may have changed a place between two entries. Then the inverse of the later
    entry restores that client's value, and not the value of the earlier entry.
    """
    for pointer, value in owned.items():
        path = split_pointer(pointer)
        here = overlaps(path, places) and isinstance(find(document, path[:-1]), dict)
        if not here or is_not_observable(field, path, document):
            continue
        if not same(field.at(path), value, find(document, path)):
            set_at(document, path, copy.deepcopy(value))


class Irreversible(ReconcilerError):
    """A step that cannot be undone; the message says why."""


def make_undo(field: Field, step: Step, live: Live | Absent) -> Step:
    """Return the step that undoes `step` on live; raises Irreversible with the reason."""
    if step.action is Action.CREATE:
        if live is ABSENT:
            raise _refuse(step, "it is gone")
        return make_removal(step.resource, live.document, _REASON)
    if step.action is not Action.UPDATE or live is ABSENT:
        raise _refuse(step, f"it was {_WORDS[step.action]}, and {_UNKNOWN}")
    lasting = [change for change in step.changes if change.irreversible or change.called]
    if lasting:
        raise _refuse(step, "the service cannot undo the change")
    return _make_update(field, step, live.document)


def _make_update(field: Field, step: Step, live: Json) -> Step:
    moved = next(_find_moved_lists(field, step.ops, live), None)
    if moved is not None:
        raise _refuse(step, f"the list {moved} has changed since")
    after = step.after
    inverse = [
        _adapt(field, one, find(after, split_pointer(one["path"])), live) for one in step.inverse
    ]
    try:
        desired = apply_operations(inverse, live)
    except MISFITS as error:
        raise _refuse(step, "it has changed since") from error
    # No manifest declares the result, so no secret is due. The step writes the inverse, the
    # recorded models that were there before, and the signatures that open them.
    models: Json = {}
    for model in step.models:
        if model.before:
            set_at(models, model.path, model.before)
    undo = make_step_to(Comparison(step.resource, field, live, Declared(models)), desired)
    if undo is None:
        raise _refuse(step, "it wrote only values that are not observable")
    changed = {format_pointer(change.path) for change in step.changes}
    signatures = tuple(one for one in step.secrets if one[0] not in changed)
    return replace(
        undo,
        reasons=(_REASON,),
        secrets=(*undo.secrets, *signatures),
        after=overlay(field, desired, models),
        owned_paths=step.owned_paths,
        labels=step.labels,
        wave=step.wave,
        fleet=step.fleet,
    )


def _refuse(step: Step, why: str) -> Irreversible:
    return Irreversible(
        f"cannot be rolled back: {why}",
        subject=str(step.resource.address),
        next_step="It stays as applied. Declare the values it must have, then plan and apply.",
    )
