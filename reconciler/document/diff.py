"""The difference between two documents of one schema: a function of values, nothing else.

It knows who owns a field, what can be compared and how; it never looks at a server-owned or
write-only field of a document that exists. What is shared by both documents is passed over by
identity, so the cost follows what changed. The order of changes depends on names alone.
"""

from __future__ import annotations

import functools
import marshal
import operator
from collections import Counter
from collections.abc import Sequence
from itertools import compress, repeat
from typing import Final

from reconciler.document.comparers import COMPARERS, Comparer
from reconciler.document.pointers import find
from reconciler.document.schema import Field, Shape
from reconciler.model import ABSENT, Absent, Change, Json, Path, Verb
from reconciler.text.json_text import canonical

_FEW: Final = 8
_CONTAINERS: Final = (dict, list)


def diff(field: Field, before: Json | Absent, after: Json | Absent) -> tuple[Change, ...]:
    """What leads from `before` to `after`, in the order in which it must be applied.

    `before` ABSENT means a document to be made: everything that may be sent is added, leaf by
    leaf, write-only values that are no secret included.

    >>> from reconciler.document.schema import compile_schema
    >>> number = {"type": "object", "properties": {"calls": {"type": "integer"}}}
    >>> diff(compile_schema(number), {"calls": 4}, {"calls": 20})[0].path
    ('calls',)
    """
    changes: list[Change] = []
    _walk(field, (), before, after, changes)
    return tuple(changes)


def same(field: Field, one: Json | Absent, other: Json | Absent) -> bool:
    """Whether two values of a field are one in the schema's eyes."""
    return one is other or _text(form(field, one)) == _text(form(field, other))


def is_omitted(field: Field, path: Path, document: Json | Absent) -> bool:
    """Whether a document does not tell what is at a place: that it is absent proves nothing.

    `field` is that of the whole document.
    """
    for segment in path:
        field, document = field.child(segment), find(document, (segment,))
        if field.omitted and document is ABSENT:
            return True
    return False


def is_not_observable(field: Field, path: Path, document: Json | Absent) -> bool:
    """Whether a place cannot be compared: the service never shows it, or did not this time."""
    below = field
    for segment in path:
        below = below.child(segment)
        if below.write_only or below.read_only:
            return True
    return is_omitted(field, path, document)


def form(field: Field, value: Json | Absent) -> Json | Absent:
    """The form in which a value is compared: comparers applied, defaults filled in, order freed.

    ABSENT for what counts as absent; server-owned and write-only parts are left out.
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
    """The form of what the service takes an absent field for."""
    return field.comparer(field.default) if field.comparer is not None else field.default


def _compared(field: Field, comparer: Comparer, value: Json) -> Json:
    done = comparer(value)
    if done is value and isinstance(value, dict) and field.shape is Shape.OBJECT:
        return _form_object(field, value)
    return done


def _form_object(field: Field, value: dict[str, Json]) -> Json:
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


@functools.cache
def _defaults(field: Field) -> Sequence[tuple[str, Json]]:
    """What the properties of an object count as where they are absent."""
    shown = (
        (name, form(below, ABSENT))
        for name, below in field.properties.items()
        if not (below.read_only or below.write_only)
    )
    return [(name, known) for name, known in shown if known is not ABSENT]


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: Json | Absent) -> str:
    """JSON text tells true, 1, 1.0 and "1" apart, which Python's `==` does not."""
    return "" if value is ABSENT else canonical(value)


def keys_of(field: Field, items: Sequence[Json]) -> list[str] | None:
    """What tells the items of a list apart; None where the list can only be taken whole."""
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
    """Equal at first sight, at the speed of C; a quick no is no proof of a difference.

    What `==` calls equal may still be true against 1 somewhere below; what marshal writes down
    tells them apart.
    """
    return bool(before == after) and (
        type(before) not in _CONTAINERS or _written_alike(before, after)
    )


def _written_alike(before: Json, after: Json) -> bool:
    try:
        return marshal.dumps(before) == marshal.dumps(after)
    except ValueError:
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
    """The names whose values are not the very same object."""
    names = [name for name, value in before.items() if after.get(name, ABSENT) is not value]
    return [*names, *_added(before, after)]


def _suspects(before: dict[str, Json], after: dict[str, Json]) -> list[str]:
    """The names that need a walk: a map may have ten thousand, of which one has changed."""
    ones, others = list(before.values()), list(map(after.get, before, repeat(ABSENT)))
    differs = list(map(operator.ne, ones, others))
    alike = list(map(operator.not_, differs))
    if not _written_alike(list(compress(ones, alike)), list(compress(others, alike))):
        return _unlike(before, after)
    return [*compress(before, differs), *_added(before, after)]


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
        changes.append(_change(field, path, Verb.REMOVE, before, ABSENT))
    elif isinstance(before, list) and isinstance(after, list) and field.shape is Shape.LIST:
        _walk_list(field, path, before, after, changes)
    elif isinstance(after, dict) and field.branches and not field.compare:
        _add(field, path, before, after, changes)
    else:
        changes.append(_change(field, path, Verb.REPLACE, before, _sendable(field, after)))


def _walk_list(
    field: Field, path: Path, before: list[Json], after: list[Json], changes: list[Change]
) -> None:
    """Matched items first, then removals from the end, then additions: no index shifts early."""
    keys, wanted = keys_of(field, before), keys_of(field, after)
    below = field.items
    if keys is None or wanted is None or below is None:
        changes.append(_change(field, path, Verb.REPLACE, before, _sendable(field, after)))
        return
    position = {key: index for index, key in enumerate(wanted)}
    for index, key in enumerate(keys):
        if key in position:
            _walk(below, (*path, index), before[index], after[position[key]], changes)
    changes.extend(
        _change(below, (*path, index), Verb.REMOVE, before[index], ABSENT)
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
    """Add a value leaf by leaf, so that nothing hidden below can slip through."""
    if field.read_only or field.secret:
        return
    verb = Verb.ADD if before is ABSENT else Verb.REPLACE
    if isinstance(value, dict) and field.branches and not field.compare:
        changes.append(_change(field, path, verb, before, {}))
        for name in sorted(value):
            _add(field.child(name), (*path, name), ABSENT, value[name], changes)
    else:
        changes.append(_change(field, path, verb, before, _sendable(field, value)))


def _sendable(field: Field, value: Json) -> Json:
    """The value without what may not be sent or kept: server-owned parts and secrets."""
    if isinstance(value, dict) and field.branches:
        return {
            name: _sendable(field.child(name), below)
            for name, below in value.items()
            if not (field.child(name).read_only or field.child(name).secret)
        }
    if isinstance(value, list) and field.items is not None:
        return [_sendable(field.items, item) for item in value]
    return value


def _change(field: Field, path: Path, verb: Verb, before: Json | Absent, after: Json) -> Change:
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
    )


def _holds_immutable(field: Field, value: Json | Absent) -> bool:
    if not isinstance(value, dict) or not field.branches:
        return False
    return any(
        field.child(name).immutable or _holds_immutable(field.child(name), below)
        for name, below in value.items()
    )
