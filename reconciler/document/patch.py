"""Makes RFC 6902 operations and their inverse, and checks that they still fit a document.

The `test` operations come first and check the document before the changes. RFC 6902 cannot
express that a value is absent, so these preconditions are a separate list of pointers. Plans,
the apply and the rollback call this module. The jsonpatch library applies the operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import starmap
from typing import Final

import jsonpatch
from jsonpatch import JsonPatchException
from jsonpointer import JsonPointerException

from reconciler.document.diff import same
from reconciler.document.pointers import (
    copy_along,
    copy_document,
    find,
    format_pointer,
    split_pointer,
)
from reconciler.document.schema import Field
from reconciler.model import ABSENT, Absent, Change, Json, Path, Verb
from reconciler.model.values import dataclass

# The exceptions that jsonpatch raises for an operation that does not fit a document.
MISFITS: Final = (JsonPatchException, JsonPointerException, TypeError)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A precondition of a patch that the document no longer meets."""

    pointer: str
    expected: Json | Absent
    found: Json | Absent


def make_operations(changes: Sequence[Change], before: Json | Absent) -> tuple[Json, ...]:
    """Return RFC 6902 operations: first a test of each precondition, then the changes in order."""
    patched = [change for change in changes if change.verb is not Verb.WRITE]
    tests = {} if before is ABSENT else dict(_tests(patched, before))
    guards = [{"op": "test", "path": path, "value": value} for path, value in tests.items()]
    return (*guards, *map(_operation, patched))


def make_inverse(changes: Sequence[Change]) -> tuple[Json, ...]:
    """Return the operations that undo the changes; they come from the changes, not from a diff."""
    patched = [change for change in changes if change.verb is not Verb.WRITE]
    return tuple(_operation(_invert(change)) for change in reversed(patched))


def make_absences(changes: Sequence[Change]) -> tuple[str, ...]:
    """Return the pointers that must be absent before the changes are applied.

    A pointer into a list is left out: a test covers the whole list, and before the changes an
    index may name another item.
    """
    added: list[Path] = []
    for change in changes:
        path = change.path
        listed = any(isinstance(segment, int) for segment in path)
        inside = any(path[: len(known)] == known for known in added)
        if change.verb is Verb.ADD and path and not (listed or inside):
            added.append(path)
    return tuple(format_pointer(path) for path in added)


def apply_operations(operations: Iterable[Json], document: Json | Absent) -> Json:
    """Return the document after the operations; the arguments are not changed or shared.

    Raises one of MISFITS where an operation does not fit.
    """
    start = None if document is ABSENT else copy_document(document)
    changes = [copy_document(operation) for operation in operations]
    return jsonpatch.JsonPatch(changes).apply(start, in_place=True)


def _loosen(operations: Sequence[Json], document: Json | Absent) -> Json:
    """Return a document that these operations may change in place.

    The operations must be copies.
    """
    if document is ABSENT:
        return None
    if any("from" in one for one in operations):
        return copy_document(document)  # a moved value would bring shared parts to another place
    try:
        return copy_along(document, [split_pointer(one["path"]) for one in operations])
    except ValueError:  # not a pointer: jsonpatch reports it
        return copy_document(document)


def apply_in_place(operation: Json, document: Json) -> None:
    """Change a document by one operation; raises as `apply_operations` does."""
    jsonpatch.JsonPatch([operation]).apply(document, in_place=True)


def check_operations(operations: Iterable[Json], document: Json | Absent) -> str | None:
    """Return the pointer of the first change that does not fit; None where all changes fit."""
    changes = [copy_document(one) for one in operations if one["op"] != "test"]
    left = _loosen(changes, document)
    for operation in changes:
        try:
            left = jsonpatch.JsonPatch([operation]).apply(left, in_place=True)
        except MISFITS:
            return str(operation["path"])
    return None


def apply_changes(operations: Iterable[Json], document: Json | Absent) -> Json:
    """Return the document after the changes, without the tests; it may share unchanged parts.

    Raises one of MISFITS where a change does not fit.
    """
    changes = [copy_document(one) for one in operations if one["op"] != "test"]
    return jsonpatch.JsonPatch(changes).apply(_loosen(changes, document), in_place=True)


def check_preconditions(
    field: Field, operations: Iterable[Json], absences: Iterable[str], live: Json | Absent
) -> Iterator[Mismatch]:
    """Yield each precondition that `live` does not meet, compared by the rules of the schema."""
    for operation in operations:
        if operation["op"] == "test":
            path = split_pointer(operation["path"])
            found = find(live, path)
            if not same(field.at(path), operation["value"], found):
                yield Mismatch(operation["path"], operation["value"], found)
    for pointer in absences:
        found = find(live, split_pointer(pointer))
        if not same(field.at(split_pointer(pointer)), ABSENT, found):
            yield Mismatch(pointer, ABSENT, found)


def find_reordered(field: Field, operations: Iterable[Json], live: Json) -> Iterator[Mismatch]:
    """Yield the lists whose items a patch names by index and whose live order is different.

    The schema can treat such lists as equal, so `check_preconditions` does not find them.
    """
    for operation in operations:
        if operation["op"] == "test" and isinstance(operation["value"], list):
            path = split_pointer(operation["path"])
            found = find(live, path)
            if not same_in_order(field.at(path), operation["value"], found):
                yield Mismatch(operation["path"], operation["value"], found)


def same_in_order(field: Field, one: Json | Absent, other: Json | Absent) -> bool:
    """Whether two lists hold the same items in the same order."""
    if not isinstance(one, list) or not isinstance(other, list) or len(one) != len(other):
        return False
    item = field.child(0)
    return all(starmap(lambda a, b: same(item, a, b), zip(one, other, strict=True)))


def _operation(change: Change) -> Json:
    path = format_pointer(change.path)
    if change.verb is Verb.REMOVE:
        return {"op": "remove", "path": path}
    return {"op": change.verb.value, "path": path, "value": change.after}


def _invert(change: Change) -> Change:
    verbs = {Verb.ADD: Verb.REMOVE, Verb.REMOVE: Verb.ADD, Verb.REPLACE: Verb.REPLACE}
    return replace(change, verb=verbs[change.verb], before=change.after, after=change.before)


def _tests(changes: Sequence[Change], before: Json) -> Iterator[tuple[str, Json]]:
    """Yield the values of `before` to test; a whole list is tested, because of its indexes."""
    for change in changes:
        for depth, segment in enumerate(change.path):
            if isinstance(segment, int):
                path = change.path[:depth]
                yield format_pointer(path), find(before, path)
                break
        else:
            if change.verb is not Verb.ADD:
                yield _test(change)


def _test(change: Change) -> tuple[str, Json]:
    if change.sealed_by:
        # The service encrypts again at every write, so the cipher text is not a precondition.
        # The property that seals the value is one.
        return format_pointer((*change.path, change.sealed_by)), change.before[change.sealed_by]
    return format_pointer(change.path), change.before
