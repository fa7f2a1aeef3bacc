"""Computes what an edit must change: the resulting document, and the smallest set of edits.

Pure functions of values: they know no text and no file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, Never

from reconciler.document.pointers import find
from reconciler.errors import ManifestInvalid
from reconciler.manifests.editing.layout import Node
from reconciler.model import ABSENT, Absent, Finding, Json
from reconciler.secrets.suspicion import REFER, is_suspicious, is_unwritable
from reconciler.text.json_text import is_same

_DEEPEST: Final = 64


def put(document: Json, path: tuple[str, ...], value: Json | Absent) -> Json | Absent:
    """Returns the document with a value at a path, or without the path; shares what stays.

    Missing or null values on the path become mappings; a list accepts an item after its last one.
    Raises ManifestInvalid, without a location, if another value is in the way.
    """
    if not path:
        return value
    if isinstance(document, list):
        return _put_item(document, path, value)
    if document is not None and not isinstance(document, dict):
        _refuse("is neither a mapping nor a list, so it cannot contain values")
    members = document or {}
    below = put(members.get(path[0]), path[1:], value)
    if isinstance(below, Absent):
        return {name: member for name, member in members.items() if name != path[0]}
    return {**members, path[0]: below}


def rename(document: Json, path: tuple[str, ...], name: str) -> Json:
    """Returns the document with the member at a path under another name, in the same place.

    Raises ManifestInvalid, without a location, if the member is missing or the name is taken.
    """
    if len(path) > 1:
        return put(document, path[:1], rename(find(document, path[:1]), path[1:], name))
    if not isinstance(document, dict) or path[0] not in document:
        _refuse(f'"{path[0]}" does not exist, so it cannot be renamed')
    if name in document:
        _refuse(f'"{name}" is there already')
    return {name if one == path[0] else one: value for one, value in document.items()}


def _put_item(items: list[Json], path: tuple[str, ...], value: Json | Absent) -> Json:
    at = int(path[0]) if path[0].isdecimal() else len(items) if path[0] == "-" else -1
    if not 0 <= at <= len(items):
        _refuse("the list has no such item")
    below = put(items[at] if at < len(items) else None, path[1:], value)
    return [*items[:at], *([] if isinstance(below, Absent) else [below]), *items[at + 1 :]]


def _refuse(message: str) -> Never:
    raise ManifestInvalid((Finding(message, next_step="Change it by hand."),))


def split_change(
    node: Node | None, path: tuple[str, ...], before: Json | Absent, after: Json | Absent
) -> Iterator[tuple[tuple[str, ...], Json | Absent]]:
    """Returns smaller edits with the same result, so that comments and quotes inside stay.

    The order matters: each edit leaves the paths of the later ones unchanged.
    """
    if is_same(before, after):
        return
    if isinstance(before, Absent) or isinstance(after, Absent):
        yield path, after
    elif node and node.form == "mapping" and _share_names(before, after):
        for name, value in after.items():
            below = before.get(name, ABSENT)
            yield from split_change(node.find((name,)), (*path, name), below, value)
        yield from (((*path, name), ABSENT) for name in before if name not in after)
    elif node and node.form == "sequence" and isinstance(after, list) and before and after:
        yield from _split_list(node, path, before, after)
    else:
        yield path, after


def _share_names(before: Json, after: Json) -> bool:
    """Whether one mapping is a changed form of the other, and not a different mapping."""
    return isinstance(before, dict) and isinstance(after, dict) and bool(before.keys() & after)


def _split_list(
    node: Node, path: tuple[str, ...], before: list[Json], after: list[Json]
) -> Iterator[tuple[tuple[str, ...], Json | Absent]]:
    gone = _find_gone(before, after)
    kept = [at for at in range(len(before)) if at not in gone]
    for value, at in zip(after, kept, strict=False):
        yield from split_change(node.find((str(at),)), (*path, str(at)), before[at], value)
    for at in sorted(gone, reverse=True):
        yield (*path, str(at)), ABSENT
    for value in after[len(kept) :]:
        yield (*path, "-"), value


def _find_gone(before: list[Json], after: list[Json]) -> set[int]:
    """The items that were removed from a list; its last ones if others changed too."""
    gone, at = set(), 0
    for index, item in enumerate(before):
        if at < len(after) and is_same(item, after[at]):
            at += 1
        else:
            gone.add(index)
    return gone if at == len(after) else set(range(len(after), len(before)))


def check_writable(value: Json | Absent, depth: int = 0) -> Iterator[Finding]:
    """Yields why no manifest may hold a value; no finding quotes the value."""
    if depth > _DEEPEST:
        yield Finding(f"would be nested more than {_DEEPEST} levels deep")
    elif isinstance(value, dict):
        for name, below in value.items():
            yield from check_writable(name)
            yield from check_writable(below, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from check_writable(item, depth + 1)
    elif isinstance(value, str):
        yield from _check_writable_text(value)
    elif _is_odd(value):
        yield Finding("would hold a number that no manifest can hold")


def _check_writable_text(text: str) -> Iterator[Finding]:
    if is_suspicious(text):
        message = "would hold what looks like a key or a shared access signature"
        yield Finding(message, next_step=REFER)
    elif is_unwritable(text):
        yield Finding("would hold characters that no file in UTF-8 can hold")


def _is_odd(value: Json) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, int) and abs(value) >= 10**38
