"""Computes the desired document: the live document with the declared values over it.

Undeclared values stay the same Python objects, so a diff of live and desired compares only the
declared places. A live value that equals the declared value keeps its spelling.

For an exact manifest, undeclared values are then removed. A read-only, write-only or immutable
field, or a field that is not in the schema, is never removed. Steps call this module.
"""

from __future__ import annotations

import operator

from reconciler.document.diff import keys_of, same
from reconciler.document.pointers import find
from reconciler.document.schema import UNKNOWN, Field, Shape
from reconciler.model import ABSENT, Absent, Json, Path


def overlay(field: Field, live: Json | Absent, declared: Json | Absent) -> Json | Absent:
    """Return `live` with the values of `declared`; neither argument is changed.

    Read-only fields keep their live values.
    """
    if declared is ABSENT or field.read_only:
        return live
    if live is ABSENT:
        return _declared_only(field, declared)
    if isinstance(live, dict) and isinstance(declared, dict) and _walks(field):
        return _overlay_object(field, live, declared)
    if same(field, live, declared):
        return live
    if isinstance(live, list) and isinstance(declared, list) and field.shape is Shape.LIST:
        return _overlay_list(field, live, declared)
    return _declared_only(field, declared)


def _walks(field: Field) -> bool:
    return not field.compare and field.branches


def _declared_only(field: Field, declared: Json) -> Json:
    if isinstance(declared, dict) and field.branches:
        laid = (
            (name, overlay(field.child(name), ABSENT, value)) for name, value in declared.items()
        )
        return {name: value for name, value in laid if value is not ABSENT}
    return declared


def _overlay_object(field: Field, live: dict[str, Json], declared: dict[str, Json]) -> Json:
    result = live
    for name, value in declared.items():
        have = live.get(name, ABSENT)
        laid = overlay(field.child(name), have, value)
        if laid is not have:
            result = dict(live) if result is live else result
            result[name] = laid
    return result


def _overlay_list(field: Field, live: list[Json], declared: list[Json]) -> Json:
    """Overlay a list: item by item for a keyed list or a set, as a whole for an atomic list."""
    live_keys, declared_keys = keys_of(field, live), keys_of(field, declared)
    if live_keys is None or declared_keys is None:
        return declared
    result = list(live)
    for key, item in zip(declared_keys, declared, strict=True):
        if key not in live_keys:
            result.append(item)
        elif field.items_relate == "keyed":
            index = live_keys.index(key)
            result[index] = overlay(field.items or field, live[index], item)
    return result


def adopt_names(field: Field, live: Json | Absent, declared: Json | Absent) -> Json | Absent:
    """Return `declared` with the live casing of each key that the service takes in any casing.

    The same object is returned where nothing differs.
    """
    if not (field.renames and isinstance(live, dict) and isinstance(declared, dict)):
        return declared
    known = {name.casefold(): name for name in live} if field.any_case else {}
    result = {}
    for name, value in declared.items():
        spelling = name if name in live else known.get(name.casefold(), name)
        result[spelling] = adopt_names(field.child(name), live.get(spelling, ABSENT), value)
    unchanged = result.keys() == declared.keys() and all(
        result[name] is value for name, value in declared.items()
    )
    return declared if unchanged else result


def adopt_path(field: Field, live: Json | Absent, path: Path) -> Path:
    """Return a path with the live casing of each key that the service takes in any casing."""
    adopted: Path = ()
    for segment in path:
        name = segment
        if field.any_case and isinstance(live, dict) and segment not in live:
            known = {one.casefold(): one for one in live}
            name = known.get(str(segment).casefold(), segment)
        adopted = (*adopted, name)
        field, live = field.child(name), find(live, (name,))
    return adopted


def keep_declared(field: Field, laid: Json, declared: Json) -> Json:
    """Return `laid` without the removable values that `declared` does not contain.

    `laid` is the result of `overlay`. The same object is returned where nothing is removed. An
    undeclared map entry, or item of a keyed list or a set, is removed as a whole.
    """
    if field.read_only:
        return laid
    if isinstance(laid, dict) and isinstance(declared, dict) and _walks(field):
        return _keep_members(field, laid, declared)
    if isinstance(laid, list) and isinstance(declared, list) and field.shape is Shape.LIST:
        return _keep_items(field, laid, declared)
    return laid


def _keep_members(field: Field, laid: dict[str, Json], declared: dict[str, Json]) -> Json:
    return _without_absent(
        laid,
        {
            name: keep_declared(field.child(name), value, declared[name])
            if name in declared
            else _keep_foreign(field, name, value)
            for name, value in laid.items()
        },
    )


def _without_absent(before: dict[str, Json], after: dict[str, Json | Absent]) -> Json:
    if all(after[name] is value for name, value in before.items()):
        return before
    return {name: value for name, value in after.items() if value is not ABSENT}


def _keep_foreign(field: Field, name: str, value: Json) -> Json | Absent:
    """Return the part of an undeclared property that stays: a manifest cannot remove it.

    A map entry exists even where its value is empty. Only a null entry counts as absent.
    """
    below = field.child(name)
    if name not in field.properties and below is not UNKNOWN:
        return None if value is None else ABSENT
    if below.filled or says_nothing(below, value):
        return value
    if not _holds_foreign(below, value):
        return ABSENT
    if not _is_object(below, value):
        return value
    return _without_absent(
        value, {key: _keep_foreign(below, key, part) for key, part in value.items()}
    )


def _holds_foreign(field: Field, value: Json) -> bool:
    """Whether a value is, or holds, a field that a manifest cannot remove."""
    if field is UNKNOWN or field.read_only or field.write_only or field.immutable or field.filled:
        return True
    return _is_object(field, value) and any(
        (name in field.properties or field.child(name) is UNKNOWN)
        and _holds_foreign(field.child(name), part)
        for name, part in value.items()
    )


def says_nothing(field: Field, value: Json | Absent) -> bool:
    """Whether a value counts as absent: to the service, or because all parts of it are empty."""
    if value is ABSENT or value in ({}, [], None, ""):
        return True
    if _is_object(field, value):
        return all(says_nothing(field.child(name), part) for name, part in value.items())
    return same(field, value, ABSENT)


def _is_object(field: Field, value: Json) -> bool:
    return isinstance(value, dict) and field.shape is Shape.OBJECT and not field.compare


def _keep_items(field: Field, laid: list[Json], declared: list[Json]) -> Json:
    """Return the declared items of a keyed list or a set; an atomic list stays unchanged."""
    laid_keys, declared_keys = keys_of(field, laid), keys_of(field, declared)
    if laid_keys is None or declared_keys is None or field.items is None:
        return laid
    wanted = dict(zip(declared_keys, declared, strict=True))
    kept = [
        keep_declared(field.items, item, wanted[key]) if field.items_relate == "keyed" else item
        for key, item in zip(laid_keys, laid, strict=True)
        if key in wanted
    ]
    unmoved = len(kept) == len(laid) and all(map(operator.is_, kept, laid))
    return laid if unmoved else kept
