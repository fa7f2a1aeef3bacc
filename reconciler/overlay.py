"""Desired = live with what is declared laid over it.

What nobody declared stays as it is, down to the same Python object, so that a diff of live
against desired need only look where somebody declared something. Where a declared value and the
live one are the same in the schema's eyes, live's spelling stays.
"""

from __future__ import annotations

from reconciler.diff import keys_of, same
from reconciler.model import ABSENT, Absent, Json
from reconciler.schema import Field, Shape


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
