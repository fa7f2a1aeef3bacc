"""Undoing entries of a ledger on what is live now, whatever else has changed there since.

Every change of an entry has its inverse; what nobody changed through an entry stays as it is. An
index into a list means an item only while the list is as the entry left it.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import starmap

from reconciler.document.diff import is_unseen, same
from reconciler.document.patch import MISFITS, apply_in_place
from reconciler.document.pointers import find, set_at, split_pointer
from reconciler.document.schema import Field
from reconciler.model import ABSENT, Absent, Entry, Json, Path
from reconciler.plans.history import pair_operations


@dataclass(frozen=True, slots=True)
class Misfit:
    """One place at which an entry cannot be undone any more, and why."""

    sequence: int
    pointer: str
    why: str


def undo(field: Field, entries: Iterable[Entry], live: Json) -> tuple[Json, tuple[Misfit, ...]]:
    """The document without the entries, the newest of which comes first; `live` is not changed.

    With what does not fit any more, all of the first entry of which something does not.
    """
    document = copy.deepcopy(live)
    for entry in entries:
        misfits = (*_find_moved_lists(field, entry, document), *_undo_one(field, entry, document))
        if misfits:
            return document, misfits
    return document, ()


def _undo_one(field: Field, entry: Entry, document: Json) -> Iterator[Misfit]:
    for forth, back in reversed(pair_operations(entry)):
        pointer = forth["path"]
        if back is None:
            yield Misfit(entry.sequence, pointer, "what was there before is not known")
        elif not (back["op"] == "remove" and _stays(field, forth, document)):
            try:
                apply_in_place(copy.deepcopy(back), document)
            except MISFITS:
                yield Misfit(entry.sequence, pointer, "there is no such place any more")


def _stays(field: Field, forth: Json, document: Json) -> bool:
    """Whether what was added need not be taken away: it is gone, or others have filled it."""
    path = split_pointer(forth["path"])
    now = find(document, path)
    return now is ABSENT or (forth["value"] == {} and field.at(path).branches and now != {})


def _find_moved_lists(field: Field, entry: Entry, document: Json) -> Iterator[Misfit]:
    """Lists whose items an entry names by number and that are not as it left them."""
    changes = [forth for forth, _ in pair_operations(entry)]
    for test in entry.patch:
        inside = [op for op in changes if op["path"].startswith(f"{test['path']}/")]
        if test["op"] != "test" or not isinstance(test["value"], list) or not inside:
            continue
        path = split_pointer(test["path"])
        if not _alike(field.at(path), _make_list(test, inside), find(document, path)):
            why = "the list has changed since, and its items are told by their number"
            yield Misfit(entry.sequence, test["path"], why)


def _make_list(test: Json, inside: Iterable[Json]) -> Json | Absent:
    """The list that a test speaks of, once it was changed; ABSENT where that cannot have been."""
    left = copy.deepcopy(test["value"])
    try:
        for operation in inside:
            apply_in_place({**operation, "path": operation["path"][len(test["path"]) :]}, left)
    except MISFITS:
        return ABSENT
    return left


def _alike(field: Field, one: Json | Absent, other: Json | Absent) -> bool:
    """Whether two lists hold the same items in the same order."""
    if not isinstance(one, list) or not isinstance(other, list) or len(one) != len(other):
        return False
    item = field.child(0)
    return all(starmap(lambda a, b: same(item, a, b), zip(one, other, strict=True)))


def find_touched(entries: Iterable[Entry]) -> set[Path]:
    """The places that entries changed; of a list, the list."""
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
    """Whether a place lies in, or around, one of these."""
    return any(path[: len(one)] == one or one[: len(path)] == path for one in places)


def restore(
    field: Field, owned: Mapping[str, Json], places: Collection[Path], document: Json
) -> None:
    """Put back into `document` what was remembered at the places that are undone.

    Somebody else may have moved a place between two entries: then the inverse of the later one
    leads to what they made of it, not to what the earlier one left.
    """
    for pointer, value in owned.items():
        path = split_pointer(pointer)
        here = overlaps(path, places) and isinstance(find(document, path[:-1]), dict)
        if not here or is_unseen(field, path, document):
            continue
        if not same(field.at(path), value, find(document, path)):
            set_at(document, path, copy.deepcopy(value))
