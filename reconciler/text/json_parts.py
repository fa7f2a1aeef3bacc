"""Reads and writes a JSON object with one long list, item by item.

A list of thousands of documents takes several times the memory of its text. This module reads,
refuses and writes the same texts as `json_text`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from reconciler.model import Json
from reconciler.text.json_text import (
    BadJson,
    check_depth,
    encode_plain,
    encode_unusual,
    load_first,
    read_json,
)

_Collected = TypeVar("_Collected")
_BLANK: Final = re.compile(r"[ \t\n\r]*")


def read_in_parts(text: str, name: str, take: Callable[[Json], None], *, deepest: int) -> Json:
    """The object in a text, with an empty list `name`: each item of that list is passed to `take`.

    Any other value is read whole. Raises ValueError for a text that is not JSON or that is nested
    more than `deepest` levels deep, and for an object that has the same name twice.
    """
    start = _skip(text, 0)
    if text[start : start + 1] != "{":
        return read_json(text, deepest=deepest)
    document: dict[str, Json] = {}

    def read_member(at: int) -> int:
        key, at = _read_name(text, at)
        if key in document:
            raise BadJson("it has the same name twice")
        document[key] = []
        if key == name and text[at : at + 1] == "[":
            return _walk(text, at, "]", lambda at: _read_value(text, at, deepest - 2, take))
        return _read_value(text, at, deepest - 1, lambda value: document.update({key: value}))

    end = _walk(text, start, "}", read_member)
    if _skip(text, end) != len(text):
        raise _expected("the end", text, end)
    return document


def _walk(text: str, start: int, closing: str, read: Callable[[int], int]) -> int:
    """Read the parts of an object or a list that starts at `start`; returns its end."""
    at = _skip(text, start + 1)
    if text[at : at + 1] == closing:
        return at + 1
    while True:
        at = _skip(text, read(at))
        if text[at : at + 1] == closing:
            return at + 1
        if text[at : at + 1] != ",":
            raise _expected("a comma", text, at)
        at = _skip(text, at + 1)


def _read_name(text: str, at: int) -> tuple[str, int]:
    """The name of a member, and the start of its value."""
    if text[at : at + 1] != '"':
        raise _expected("a name", text, at)
    name, end = load_first(text, at)
    at = _skip(text, end)
    if text[at : at + 1] != ":":
        raise _expected("a colon", text, at)
    return str(name), _skip(text, at + 1)


def _read_value(text: str, at: int, deepest: int, take: Callable[[Json], object]) -> int:
    value, end = load_first(text, at)
    check_depth(text[at:end].encode("utf-8", "surrogatepass"), value, deepest)
    take(value)
    return end


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _expected(what: str, text: str, at: int) -> ValueError:
    return json.JSONDecodeError(f"expected {what}", text, at)


def digest_in_parts(document: Json, name: str, items: Callable[[], Iterable[Json]]) -> str:
    """The sha256 of what `encode_in_parts` returns."""
    return _write(document, name, items, _digest_all)


def encode_in_parts(document: Json, name: str, items: Callable[[], Iterable[Json]]) -> bytes:
    """The canonical form of an object; its empty list `name` is filled with `items`.

    Any other value of `name` is written unchanged. Each call of `items` must return the same items:
    if orjson cannot write one of them, Python's encoder writes the whole object again.
    """
    return _write(document, name, items, b"".join)


def _digest_all(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _write(
    document: Json,
    name: str,
    items: Callable[[], Iterable[Json]],
    collect: Callable[[Iterator[bytes]], _Collected],
) -> _Collected:
    try:
        return collect(_encode(document, name, items(), encode_plain))
    except TypeError:
        return collect(_encode(document, name, items(), encode_unusual))


def _encode(
    document: Json, name: str, items: Iterable[Json], encode: Callable[[Json], bytes]
) -> Iterator[bytes]:
    for number, key in enumerate(sorted(document)):
        yield b"," if number else b"{"
        yield encode(key) + b":"
        if key != name or document[key] != []:
            yield encode(document[key])
            continue
        yield b"["
        for place, item in enumerate(items):
            yield b"," if place else b""
            yield encode(item)
        yield b"]"
    yield b"}" if document else b"{}"
