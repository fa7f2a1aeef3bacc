"""Formats and splits JSON pointers (RFC 6901), and finds, copies and sets values by path.

These functions know no schema. All other modules of the rules call them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from reconciler.model import ABSENT, Absent, Json, Path

_NESTED: Final = (dict, list)
_INDEX: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


def format_pointer(path: Path) -> str:
    """Return a path as a pointer: `("a/b", 0)` becomes `/a~1b/0`."""
    plain = "/".join(map(str, path))
    if path and "~" not in plain and plain.count("/") == len(path) - 1:
        return "/" + plain
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def split_pointer(pointer: str) -> tuple[str, ...]:
    """Return a pointer as a path: `/a~1b/0` becomes `("a/b", "0")`.

    Raises ValueError for a text that is not a pointer.
    """
    if not pointer:
        return ()
    if not pointer.startswith("/"):
        raise ValueError(pointer)
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/"))


def find(document: Json | Absent, path: Path) -> Json | Absent:
    """Return the value at a path, or ABSENT; a list index may be a text of digits."""
    found = document
    for segment in path:
        if isinstance(found, dict):
            found = found.get(segment, ABSENT)
        elif isinstance(found, list) and 0 <= (index := read_index(segment)) < len(found):
            found = found[index]
        else:
            return ABSENT
    return found


def copy_document(document: Json) -> Json:
    """Return a copy that shares no object and no list with the argument."""
    if isinstance(document, dict):
        return {
            name: copy_document(value) if type(value) in _NESTED else value
            for name, value in document.items()
        }
    if isinstance(document, list):
        return [copy_document(item) if type(item) in _NESTED else item for item in document]
    return document


def read_index(segment: str | int) -> int:
    """Return the list index that a segment names; -1 for any other text, of any length."""
    if isinstance(segment, int):
        return segment
    return int(segment) if _INDEX.fullmatch(segment) else -1


def copy_along(document: Json, paths: Iterable[Path]) -> Json:
    """Return a copy that may be changed at these places; all other values are shared.

    A list is copied as a whole: a change in it shifts the later items.
    """
    if not isinstance(document, dict):
        return copy_document(document)
    below: dict[str | int, list[Path]] = {}
    for path in paths:
        if path:
            below.setdefault(path[0], []).append(path[1:])
    return {
        name: copy_along(value, below[name]) if name in below else value
        for name, value in document.items()
    }


def set_at(document: Json, path: Path, value: Json) -> None:
    """Set a value at a path of objects; missing parent objects are created."""
    for segment in path[:-1]:
        document = document.setdefault(segment, {})
    document[path[-1]] = value


def remove_at(document: Json, paths: Iterable[Path]) -> Json:
    """Return the document without the values at paths of objects; shares all other values."""
    there = [path for path in paths if path and find(document, path) is not ABSENT]
    left = copy_along(document, there) if there else document
    for path in there:
        around = find(left, path[:-1])
        if isinstance(around, dict):
            around.pop(path[-1], None)
    return left
