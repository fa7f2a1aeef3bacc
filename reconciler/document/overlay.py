"""Desired = live with what is declared laid over it.

What nobody declared stays as it is, down to the same Python object, so that a diff of live
against desired need only look where somebody declared something. Where a declared value and the
live one are the same in the schema's eyes, live's spelling stays.

Where a manifest says that it is exact, what people own and it does not declare is then taken out.
Never what belongs to the service, is never returned, is immutable, or is not in the schema: that
it is not declared is no wish.
"""

from __future__ import annotations

import operator

from reconciler.document.diff import keys_of, same
from reconciler.document.schema import UNKNOWN, Field, Shape
from reconciler.model import ABSENT, Absent, Json


def overlay(field: Field, live: Json | Absent, declared: Json | Absent) -> Json | Absent:
    """Lay `declared` over `live`; neither is changed. Server-owned fields stay live's."""
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
    """Items of keyed lists and sets are owned one by one; an atomic list is owned whole."""
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


def keep_declared(field: Field, laid: Json, declared: Json) -> Json:
    """Take out of `laid` what people own and `declared` does not speak of.

    `laid` is live with `declared` laid over it; it comes back as the same object where nothing
    had to go. An entry of a map, or of a list whose items are owned one by one, goes whole.
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
    """What is left of a member that nobody declares: what people cannot remove, or need not.

    An entry of a map is there even where it is empty; only null is none.
    """
    below = field.child(name)
    if name not in field.properties and below is not UNKNOWN:
        return None if value is None else ABSENT
    if says_nothing(below, value):
        return value
    if not _holds_foreign(below, value):
        return ABSENT
    if not _is_object(below, value):
        return value
    return _without_absent(
        value, {key: _keep_foreign(below, key, part) for key, part in value.items()}
    )


def _holds_foreign(field: Field, value: Json) -> bool:
    """Whether a value is or holds what is not people's to remove."""
    if field is UNKNOWN or field.read_only or field.write_only or field.immutable:
        return True
    return _is_object(field, value) and any(
        (name in field.properties or field.child(name) is UNKNOWN)
        and _holds_foreign(field.child(name), part)
        for name, part in value.items()
    )


def says_nothing(field: Field, value: Json | Absent) -> bool:
    """Whether a value is as good as none: absent to the service, or empty through and through."""
    if value is ABSENT or value in ({}, [], None, ""):
        return True
    if _is_object(field, value):
        return all(says_nothing(field.child(name), part) for name, part in value.items())
    return same(field, value, ABSENT)


def _is_object(field: Field, value: Json) -> bool:
    return isinstance(value, dict) and field.shape is Shape.OBJECT and not field.compare


def _keep_items(field: Field, laid: list[Json], declared: list[Json]) -> Json:
    """The items that are declared, where each is owned alone; an atomic list is declared whole."""
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
