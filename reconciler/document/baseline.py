"""The baseline: the undeclared values that a service had when it was last applied.

No manifest declares these values, so a plan does not change them. The drift report uses the
baseline to show which of them have changed. A short value is kept unchanged. A larger value is
kept as a digest of its comparison form, so a different spelling is not a change. The baseline
never holds sensitive or unobservable values. Of the read-only fields it holds only the epochs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from reconciler.document.diff import form, is_omitted, same
from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.document.schema import UNKNOWN, Field, Shape
from reconciler.model import ABSENT, Absent, Json, Path
from reconciler.model.values import dataclass
from reconciler.text.json_text import encode_canonical

# A part with more values is one entry: it would be too long to report a thousand columns.
_MOST_VALUES: Final = 40
_LONGEST: Final = 200
_NESTED: Final = (dict, list)


@dataclass(frozen=True, slots=True)
class Move:
    """An undeclared place whose value changed.

    `then` is ABSENT where the baseline holds only a digest.
    """

    pointer: str
    then: Json | Absent
    now: Json | Absent


def make_baseline(field: Field, document: Json | Absent, owned: Collection[str]) -> dict[str, Json]:
    """Return short values, or `{"digest": …}`, by pointer; places in `owned` are left out."""
    known = {format_pointer(split_pointer(pointer)) for pointer in owned}
    return {
        pointer: _keep(below, value, pointer, known)
        for pointer, below, value in _find_parts(field, document, known)
    }


def list_moves(
    field: Field, baseline: Mapping[str, Json], document: Json | Absent, owned: Collection[str]
) -> Iterator[Move]:
    """Yield the undeclared places that differ from the baseline, in the order of their pointers."""
    now = make_baseline(field, document, owned)
    held = [split_pointer(pointer) for pointer in owned]
    for pointer in sorted({*baseline, *now}):
        path = split_pointer(pointer)
        below, then = field.at(path), baseline.get(pointer, ABSENT)
        if below.autoscaled:  # an older baseline may have it
            continue
        # The service shows its defaults of what is new.
        if then is ABSENT and same(below, find(document, path), ABSENT):
            continue
        if then == now.get(pointer, ABSENT) and _alike(then, now.get(pointer, ABSENT)):
            continue
        # A place that is now declared, wholly or in part, is compared with its declaration.
        if any(path[: len(one)] == one or one[: len(path)] == path for one in held):
            continue
        if then is not ABSENT and is_omitted(field, path, document):
            continue
        yield Move(pointer, ABSENT if _is_digest(then) else then, find(document, path))


def _alike(one: Json | Absent, other: Json | Absent) -> bool:
    """Whether two values have the same type: Python's `==` does not distinguish true from 1."""
    return type(one) is type(other)


def _find_parts(
    field: Field, document: Json | Absent, owned: Collection[str]
) -> Sequence[tuple[str, Field, Json]]:
    """Return the places that get an entry, each with its value; declared places are left out."""
    found: list[tuple[str, Field, Json]] = []
    _collect_parts(field, document, "", owned, found)
    return found


def _collect_parts(
    field: Field,
    value: Json | Absent,
    pointer: str,
    owned: Collection[str],
    found: list[tuple[str, Field, Json]],
) -> None:
    """Add the places on and below one place to `found`.

    A function within another one that calls itself would keep the document until Python's collector
    runs.
    """
    if value is ABSENT or pointer in owned or _is_hidden(field, value):
        return
    walked = isinstance(value, dict) and field.branches and not field.compare
    # A separate part has its own life, so one that changes must not hide in a digest of all.
    apart = field.items is not None and field.items.separate
    if walked and (field.shape is Shape.OBJECT or apart or _is_few(value)):
        for name, below in value.items():
            child = field.child(name)
            if child is not UNKNOWN:
                plain = "/" not in name and "~" not in name
                segment = f"/{name}" if plain else format_pointer((name,))
                _collect_parts(child, below, pointer + segment, owned, found)
    # Only an empty value can count as absent. For other values the form is not needed here.
    elif value not in ({}, [], None) or form(field, value) is not ABSENT:
        found.append((pointer, field, value))


def _is_hidden(field: Field, value: Json) -> bool:
    if field.epoch:
        return False
    own = field.read_only or field.write_only or field.sensitive or field.is_sealed(value)
    # The state of the last operation changes with each operation of anybody.
    return own or field.autoscaled or bool(field.failed)


def _is_few(value: Json) -> bool:
    """Whether a value holds few scalars, at any depth."""
    total, left = 0, [value]
    while left and total <= _MOST_VALUES:
        one = left.pop()
        below = one.values() if isinstance(one, dict) else one if isinstance(one, list) else (one,)
        nested = [inner for inner in below if type(inner) in _NESTED]
        total += len(below) - len(nested)
        left += nested
    return total <= _MOST_VALUES


def _keep(field: Field, value: Json, pointer: str, owned: Collection[str]) -> Json:
    if not isinstance(value, (dict, list)) and len(str(value)) <= _LONGEST:
        return form(field, value) if field.compare else value
    below = [split_pointer(one[len(pointer) :]) for one in owned if one.startswith(f"{pointer}/")]
    text = encode_canonical(form(field, _without(value, below)))
    return {"digest": hashlib.sha256(text).hexdigest()[:16]}


def _without(value: Json, paths: Collection[Path]) -> Json:
    """Return the value without the declared places below it; the argument is not changed."""
    if not paths or not isinstance(value, dict):
        return value
    kept = {}
    for name, one in value.items():
        below = [path[1:] for path in paths if path[0] == name]
        if () not in below:
            kept[name] = _without(one, below)
    return kept


def _is_digest(value: Json | Absent) -> bool:
    return isinstance(value, dict)
