"""The difference between two documents of one schema.

The result depends only on the arguments. The diff never compares a read-only or write-only field
of an existing document. It skips objects that both documents share, so its cost depends on the
number of changes. The order of the changes depends only on names.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from itertools import repeat
from typing import Final

import orjson

from reconciler.document.comparers import COMPARERS, Comparer
from reconciler.document.pointers import find
from reconciler.document.schema import Field, Shape
from reconciler.model import ABSENT, Absent, Change, Json, Path, Verb
from reconciler.model.compressed import STRICT
from reconciler.text.json_text import canonical

_FEW: Final = 8
_AT_ONCE: Final = 64
_CONTAINERS: Final = (dict, list)


def diff(field: Field, before: Json | Absent, after: Json | Absent) -> tuple[Change, ...]:
    """Return the changes from `before` to `after`, in the order in which they must be applied.

    `before` is ABSENT for a document to create. Then each value that may be sent is added, leaf
    by leaf. This includes write-only values that are not secret.

    >>> from reconciler.document.schema import compile_schema
    >>> number = {"type": "object", "properties": {"calls": {"type": "integer"}}}
    >>> diff(compile_schema(number), {"calls": 4}, {"calls": 20})[0].path
    ('calls',)
    """
    changes: list[Change] = []
    _walk(field, (), before, after, changes)
    return tuple(changes)


def same(field: Field, one: Json | Absent, other: Json | Absent) -> bool:
    """Whether two values of a field are equal by the rules of the schema."""
    if one is other:
        return True
    one, other = form(field, one), form(field, other)
    if type(one) is str and type(other) is str:
        return one == other
    return _text(one) == _text(other)


def is_omitted(field: Field, path: Path, document: Json | Absent) -> bool:
    """Whether the service left a place out of a document: then its absence proves nothing.

    `field` is the field of the whole document. The first absent segment decides: what an absent
    item of a shown map would hold is not omitted, because the item itself is plainly absent.
    """
    if find(document, path) is not ABSENT:
        return False  # it is there, as most places are
    for segment in path:
        field, document = field.child(segment), find(document, (segment,))
        if document is ABSENT:
            return field.omitted
    return False


def is_not_observable(field: Field, path: Path, document: Json | Absent) -> bool:
    """Whether a place cannot be compared: it is read-only, write-only, or left out of the reply."""
    below = field
    for segment in path:
        below = below.child(segment)
        if below.write_only or below.read_only:
            return True
    return is_omitted(field, path, document)


def form(field: Field, value: Json | Absent) -> Json | Absent:
    """Return the comparison form of a value.

    Comparers are applied, defaults are filled in, and unordered lists are sorted. The form is
    ABSENT for a value that counts as absent. Read-only and write-only parts are left out.
    """
    if value is ABSENT or (field.empty_is_absent and value in ({}, [], None)):
        return ABSENT if field.default is ABSENT else form_of_default(field)
    if field.comparer is not None:
        return _compared(field, field.comparer, value)
    if isinstance(value, dict) and field.branches:
        return _form_object(field, value)
    if isinstance(value, list) and field.shape is Shape.LIST and field.items is not None:
        items = [form(field.items, item) for item in value]
        return items if field.items_relate == "atomic" else sorted(items, key=_text)
    return COMPARERS["number"](value) if field.numeric and _is_number(value) else value


def form_of_default(field: Field) -> Json:
    """Return the comparison form of the value that the service assumes for an absent field."""
    return field.comparer(field.default) if field.comparer is not None else field.default


def _compared(field: Field, comparer: Comparer, value: Json) -> Json:
    done = comparer(value)
    if done is value and isinstance(value, dict) and field.shape is Shape.OBJECT:
        return _form_object(field, value)
    return done


def _form_object(field: Field, value: dict[str, Json]) -> Json:
    if _has_own_form(field, value):
        return value
    result = {}
    for name, one in value.items():
        child = field.child(name)
        if child.verbatim:
            result[name] = one
        elif not (child.read_only or child.write_only):
            known = form(child, one)
            if known is not ABSENT:
                result[name] = known
    result.update((name, known) for name, known in _defaults(field) if name not in value)
    return result


def _has_own_form(field: Field, value: dict[str, Json]) -> bool:
    """Whether an object, or a map of objects, is its own form: fast, and True is certain."""
    if field.own_names:
        return value.keys() <= field.own_names
    below = field.items
    if field.properties or field.patterns or below is None or not below.own_names:
        return False
    if below.read_only or below.write_only or below.empty_is_absent:
        return False
    names = below.own_names
    return all(type(one) is dict and one.keys() <= names for one in value.values())


@functools.cache
def _defaults(field: Field) -> Sequence[tuple[str, Json]]:
    """Return the properties of an object that have a default, each with its comparison form."""
    shown = (
        (name, form(below, ABSENT))
        for name, below in field.properties.items()
        if not (below.read_only or below.write_only)
    )
    return [(name, known) for name, known in shown if known is not ABSENT]


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: Json | Absent) -> str:
    """Return a text that differs for true, 1, 1.0 and "1"; Python's `==` does not separate them."""
    return "" if value is ABSENT else canonical(value)


def keys_of(field: Field, items: Sequence[Json]) -> list[str] | None:
    """Return a unique key for each item; None where the list can only be compared as a whole."""
    if field.items_relate == "atomic" or field.items is None:
        return None
    below = field.items
    if field.items_relate == "set":
        return _unique([_text(form(below, item)) for item in items])
    if not all(isinstance(item, dict) and field.key in item for item in items):
        return None
    return _unique([_text(form(below.child(field.key), item[field.key])) for item in items])


def _unique(keys: list[str]) -> list[str] | None:
    return keys if max(Counter(keys).values(), default=1) == 1 else None


def _walk(field: Field, path: Path, before: Json, after: Json, changes: list[Change]) -> None:
    if before is after or field.read_only or field.write_only:
        return
    if field.omitted and (before is ABSENT or after is ABSENT):
        return
    if field.failed and after in field.failed:
        return  # no write makes an operation fail, such as one that undoes a repair
    kind = type(before)
    if kind is type(after):
        if kind is dict and field.branches and not field.compare:
            _walk_object(field, path, before, after, changes)
            return
        if _plainly_equal(before, after):
            return
    if not same(field, before, after):
        _differ(field, path, before, after, changes)


def _plainly_equal(before: Json, after: Json) -> bool:
    """A fast check that two values are equal; a False result does not prove a difference.

    `==` treats true and 1 as equal. Their JSON texts differ.
    """
    return bool(before == after) and (
        type(before) not in _CONTAINERS or _written_alike(before, after)
    )


def _written_alike(before: Json, after: Json) -> bool:
    # No value is NaN, which orjson writes as null: whatever reads JSON or YAML refuses it.
    try:
        return orjson.dumps(before, option=STRICT) == orjson.dumps(after, option=STRICT)
    except TypeError:  # not JSON, or only Python's encoder can write it
        return False


def _walk_object(
    field: Field, path: Path, before: dict[str, Json], after: dict[str, Json], changes: list[Change]
) -> None:
    large = field.shape is Shape.MAP and len(before) > _FEW
    for name in sorted(_suspects(before, after) if large else _unlike(before, after)):
        one, other = before.get(name, ABSENT), after.get(name, ABSENT)
        if type(one) is not str or one != other:
            _walk(field.child(name), (*path, name), one, other, changes)


def _unlike(before: dict[str, Json], after: dict[str, Json]) -> list[str]:
    """Return the names whose values are not the same Python object."""
    names = [name for name, value in before.items() if after.get(name, ABSENT) is not value]
    return [*names, *_added(before, after)]


def _suspects(before: dict[str, Json], after: dict[str, Json]) -> list[str]:
    """Return the names that may differ: a map can have ten thousand names and one change.

    To write many values at once takes less time than to compare them one by one.
    """
    names, ones = list(before), list(before.values())
    others = list(map(after.get, names, repeat(ABSENT)))
    found = _added(before, after)
    for start in range(0, len(names), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        if not _written_alike(ones[part], others[part]):
            several = zip(names[part], ones[part], others[part], strict=True)
            found += [name for name, one, other in several if one is not other]
    return found


def _added(before: dict[str, Json], after: dict[str, Json]) -> list[str]:
    if before.keys() >= after.keys():
        return []
    return [name for name in after if name not in before]


def _differ(
    field: Field, path: Path, before: Json | Absent, after: Json | Absent, changes: list[Change]
) -> None:
    if before is ABSENT:
        _add(field, path, ABSENT, after, changes)
    elif after is ABSENT:
        changes.append(make_change(field, path, Verb.REMOVE, before, ABSENT))
    elif isinstance(before, list) and isinstance(after, list) and field.shape is Shape.LIST:
        _walk_list(field, path, before, after, changes)
    elif isinstance(after, dict) and field.branches and not field.compare:
        _add(field, path, before, after, changes)
    else:
        changes.append(make_change(field, path, Verb.REPLACE, before, _sendable(field, after)))


def _walk_list(
    field: Field, path: Path, before: list[Json], after: list[Json], changes: list[Change]
) -> None:
    """List matched items first, then removals from the end, then additions.

    In this order no index shifts before it is used.
    """
    keys, wanted = keys_of(field, before), keys_of(field, after)
    below = field.items
    if keys is None or wanted is None or below is None:
        changes.append(make_change(field, path, Verb.REPLACE, before, _sendable(field, after)))
        return
    position = {key: index for index, key in enumerate(wanted)}
    for index, key in enumerate(keys):
        if key in position:
            _walk(below, (*path, index), before[index], after[position[key]], changes)
    changes.extend(
        make_change(below, (*path, index), Verb.REMOVE, before[index], ABSENT)
        for index in range(len(keys) - 1, -1, -1)
        if keys[index] not in position
    )
    known = set(keys)
    end = sum(key in position for key in keys)
    for key, item in zip(wanted, after, strict=True):
        if key not in known:
            _add(below, (*path, end), ABSENT, item, changes)
            end += 1


def _add(
    field: Field, path: Path, before: Json | Absent, value: Json, changes: list[Change]
) -> None:
    """Add a value leaf by leaf, so that read-only and secret fields below it are left out."""
    if field.read_only or field.secret:
        return
    verb = Verb.ADD if before is ABSENT else Verb.REPLACE
    if isinstance(value, dict) and field.branches and not field.compare:
        changes.append(make_change(field, path, verb, before, {}))
        for name in sorted(value):
            _add(field.child(name), (*path, name), ABSENT, value[name], changes)
    else:
        changes.append(make_change(field, path, verb, before, _sendable(field, value)))


def _sendable(field: Field, value: Json) -> Json:
    """Return the value without read-only parts and secrets, which may not be sent or kept."""
    if isinstance(value, dict) and field.branches:
        return {
            name: _sendable(field.child(name), below)
            for name, below in value.items()
            if not (field.child(name).read_only or field.child(name).secret)
        }
    if isinstance(value, list) and field.items is not None:
        return [_sendable(field.items, item) for item in value]
    return value


def make_change(field: Field, path: Path, verb: Verb, before: Json | Absent, after: Json) -> Change:
    """Return the change of a place, with what the schema says about it; `field` is the place's."""
    gone = before if verb is not Verb.ADD else ABSENT
    return Change(
        path,
        verb,
        before,
        after,
        sensitive=field.sensitive or field.is_sealed(before) or field.is_sealed(after),
        sealed_by=field.sealed_by if field.is_sealed(before) else "",
        immutable=field.immutable or _holds_immutable(field, gone),
        irreversible=field.irreversible,
        opaque=field.shape is Shape.OPAQUE,
        called=field.read_only,
    )


def _holds_immutable(field: Field, value: Json | Absent) -> bool:
    if not isinstance(value, dict) or not field.branches:
        return False
    return any(
        field.child(name).immutable or _holds_immutable(field.child(name), below)
        for name, below in value.items()
    )
