"""What a service had, beside what its manifest declares, when it was last applied.

Nobody declared it, so no plan ever touches it; but whoever moves it since can be told of it. A
short value is kept as it is, anything larger as a digest of the form in which it is compared, so
that another spelling is no move. Nothing sensitive and nothing that cannot be observed is kept,
and of what belongs to the service only its epochs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from reconciler.document.diff import form, is_omitted
from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.document.schema import Field, Shape
from reconciler.model import ABSENT, Absent, Json, Path
from reconciler.model.values import dataclass
from reconciler.text.json_text import encode_canonical

# Beyond so many values a part is told as one: which of a thousand columns moved, live shows.
_MOST_VALUES: Final = 40
_LONGEST: Final = 200


@dataclass(frozen=True, slots=True)
class Move:
    """An undeclared place that is not as it was; `then` is ABSENT where only a digest was kept."""

    pointer: str
    then: Json | Absent
    now: Json | Absent


def make_baseline(field: Field, document: Json | Absent, owned: Collection[str]) -> dict[str, Json]:
    """By pointer: short values, or `{"digest": …}`; what is `owned` is left out."""
    known = {format_pointer(split_pointer(pointer)) for pointer in owned}
    return {
        pointer: _keep(below, value, pointer, known)
        for pointer, below, value in _find_parts(field, document, known)
    }


def list_moves(
    field: Field, baseline: Mapping[str, Json], document: Json | Absent, owned: Collection[str]
) -> Iterator[Move]:
    """Undeclared places that differ from the baseline, in order of their pointers."""
    now = make_baseline(field, document, owned)
    held = [split_pointer(pointer) for pointer in owned]
    for pointer in sorted({*baseline, *now}):
        path = split_pointer(pointer)
        then = baseline.get(pointer, ABSENT)
        if then == now.get(pointer, ABSENT) and _alike(then, now.get(pointer, ABSENT)):
            continue
        # What is declared by now, wholly or in part, is compared where declarations are.
        if any(path[: len(one)] == one or one[: len(path)] == path for one in held):
            continue
        if then is not ABSENT and is_omitted(field, path, document):
            continue
        yield Move(pointer, ABSENT if _is_digest(then) else then, find(document, path))


def _alike(one: Json | Absent, other: Json | Absent) -> bool:
    """JSON tells true from 1, Python does not."""
    return type(one) is type(other)


def _find_parts(
    field: Field, document: Json | Absent, owned: Collection[str]
) -> Sequence[tuple[str, Field, Json]]:
    """The places that are told apart, each with its value; those that are declared left out."""
    found: list[tuple[str, Field, Json]] = []

    def walk(field: Field, value: Json | Absent, pointer: str) -> None:
        if value is ABSENT or pointer in owned or _is_hidden(field, value):
            return
        walked = isinstance(value, dict) and field.branches and not field.compare
        if walked and (field.shape is Shape.OBJECT or _is_few(value)):
            properties, items = field.properties, field.items
            for name, below in value.items():
                child = properties.get(name, items)
                if child is not None:
                    walk(child, below, pointer + format_pointer((name,)))
        # Only what is empty may count as absent; the form of all the rest is worked out once.
        elif value not in ({}, [], None) or form(field, value) is not ABSENT:
            found.append((pointer, field, value))

    walk(field, document, "")
    return found


def _is_hidden(field: Field, value: Json) -> bool:
    if field.epoch:
        return False
    return field.read_only or field.write_only or field.sensitive or field.is_sealed(value)


def _is_few(value: Json, most: int = _MOST_VALUES) -> bool:
    return _count(value, most) <= most


def _count(value: Json, most: int) -> int:
    below = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    )
    if below is None:
        return 1
    total = 0
    for one in below:
        total += _count(one, most)
        if total > most:
            break
    return total


def _keep(field: Field, value: Json, pointer: str, owned: Collection[str]) -> Json:
    if not isinstance(value, (dict, list)) and len(str(value)) <= _LONGEST:
        return form(field, value) if field.compare else value
    below = [split_pointer(one[len(pointer) :]) for one in owned if one.startswith(f"{pointer}/")]
    text = encode_canonical(form(field, _without(value, below)))
    return {"digest": hashlib.sha256(text).hexdigest()[:16]}


def _without(value: Json, paths: Collection[Path]) -> Json:
    """The value without what is declared below it; the given one is not changed."""
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
