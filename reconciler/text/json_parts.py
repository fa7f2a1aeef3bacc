"""Reads and writes a JSON object with one long list, item by item.

A list of thousands of documents takes several times the memory of its text. This module reads,
refuses and writes the same texts as `json_text`.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Final, TypeVar

from reconciler.model import Json
from reconciler.model.values import dataclass
from reconciler.text.json_text import (
    BadJson,
    TooMuch,
    check_depth,
    count_marks,
    encode_plain,
    encode_unusual,
    find_excess,
    load_fast,
    load_first,
)

_Collected = TypeVar("_Collected")
_NOT_BLANK: Final = re.compile(rb"[^ \t\n\r]")
# How much is read first for a part, then four times as much.
_WINDOW: Final = 1 << 10
_SURROGATE_BYTES: Final = 3
_LONGEST: Final = 32 << 20
_PIECE: Final = 1 << 12
_MOST_MEMBERS: Final = 1000


@dataclass(frozen=True, slots=True)
class JsonBounds:
    """What a text may hold: levels of nesting, items of the list, and values.

    Each item may have `most_values` values, and so may all other members of the object together.
    """

    deepest: int
    most_items: int
    most_values: int


def read_in_parts(
    file: BinaryIO, name: str, take: Callable[[Json], None], bounds: JsonBounds
) -> Json:
    """The object in a file, with an empty list `name`: each item of that list is passed to `take`.

    Any other value is read whole. Raises ValueError for a text that is not JSON in UTF-8 or is not
    within the bounds, and for an object that has the same name twice. The file must be seekable;
    only one part of it is in memory at a time.
    """
    return _PartsReader(file, name, take, bounds).read()


class _PartsReader:
    def __init__(
        self, file: BinaryIO, name: str, take: Callable[[Json], None], bounds: JsonBounds
    ) -> None:
        self._file, self._name, self._take, self._bounds = file, name, take, bounds
        self._size = file.seek(0, os.SEEK_END)
        self._document: dict[str, Json] = {}
        self._items_left = bounds.most_items
        self._values_left = bounds.most_values
        # How much is read of an item at once: twice as much as the one before it has.
        self._window = _WINDOW

    def read(self) -> Json:
        """Return the value of the file."""
        start = self._skip(0)
        if self._at(start) == b"{":
            value: Json = self._document
            end = self._walk(start, b"}", self._read_member)
        else:
            value, end = self._read_value(start, self._bounds.deepest, self._bounds.most_values)
        if self._skip(end) != self._size:
            raise _expected("the end", end)
        return value

    def _walk(self, start: int, closing: bytes, read: Callable[[int], int]) -> int:
        """Read the parts of an object or a list that starts at `start`; returns its end."""
        at = self._skip(start + 1)
        if self._at(at) == closing:
            return at + 1
        while True:
            at = self._skip(read(at))
            if self._at(at) == closing:
                return at + 1
            if self._at(at) != b",":
                raise _expected("a comma", at)
            at = self._skip(at + 1)

    def _read_member(self, at: int) -> int:
        key, at = self._read_name(at)
        if key in self._document:
            raise BadJson("it has the same name twice")
        if len(self._document) == _MOST_MEMBERS:
            raise TooMuch(f"it has more than {_MOST_MEMBERS:,} members")
        self._document[key] = []
        if key == self._name and self._at(at) == b"[":
            return self._walk(at, b"]", self._read_item)
        value, end = self._read_value(at, self._bounds.deepest - 1, self._values_left)
        self._document[key] = value
        return end

    def _read_item(self, at: int) -> int:
        self._items_left -= 1
        if self._items_left < 0:
            raise TooMuch(f"it holds more than {self._bounds.most_items:,} items")
        found = self._read_item_fast(at)
        if found is None:
            left = self._values_left
            found = self._read_value(at, self._bounds.deepest - 2, self._bounds.most_values)
            self._values_left = left
        value, end = found
        self._window = min(max(_WINDOW, 2 * (end - at)), _LONGEST)
        self._take(value)
        return end

    def _read_item_fast(self, at: int) -> tuple[Json, int] | None:
        """The item that starts at `at`, and its end; None if it cannot be found quickly.

        The next item mostly begins as this one does. If the bytes up to there are an object, it
        ends there, because no beginning of the text of an object is an object too.
        """
        data = self._get(at, self._window)
        end = data.find(b"}," + data[: data.find(b":") + 1]) + 1
        item = data[:end]
        if not item.startswith(b"{") or find_excess(item, self._bounds.most_values) is not None:
            return None
        value = load_fast(item)
        if value is None:
            return None
        check_depth(item, value, self._bounds.deepest - 2)
        return value, at + end

    def _read_name(self, at: int) -> tuple[str, int]:
        """The name of a member, and the start of its value."""
        if self._at(at) != b'"':
            raise _expected("a name", at)
        name, end = self._read_value(at, 1, self._values_left)
        at = self._skip(end)
        if self._at(at) != b":":
            raise _expected("a colon", at)
        return str(name), self._skip(at + 1)

    def _read_value(self, at: int, deepest: int, most: int) -> tuple[Json, int]:
        """The value that starts at `at`, and its end.

        Its end is not known before it is decoded. So a part of the file is decoded that holds at
        most `most` values, and a larger one if the value does not end in it.
        """
        size = _WINDOW
        while True:
            data = self._get(at, size)
            cut = find_excess(data, most)
            data = data if cut is None else data[:cut]
            whole = at + len(data) >= self._size
            text = _decode(data, whole=whole)
            try:
                value, end = load_first(text)
            except ValueError:
                if whole:
                    raise
            else:
                # A number at the end of the part may be longer.
                if whole or end < len(text):
                    data = text[:end].encode("utf-8", "surrogatepass")
                    if cut is not None and find_excess(data, most) is not None:
                        raise self._has_too_many()
                    check_depth(data, value, deepest)
                    self._values_left -= count_marks(data) + 1
                    return value, at + len(data)
            if cut is not None:
                raise self._has_too_many()
            if size == _LONGEST:
                raise TooMuch(f"a part of it is longer than {_LONGEST >> 20} MB")
            size = min(4 * size, _LONGEST)

    def _has_too_many(self) -> TooMuch:
        return TooMuch(f"it holds more than {self._bounds.most_values:,} values")

    def _get(self, at: int, size: int) -> bytes:
        self._file.seek(at)
        return self._file.read(size)

    def _at(self, at: int) -> bytes:
        return self._get(at, 1)

    def _skip(self, at: int) -> int:
        """The place of the next byte that is not blank; the end of the file without one."""
        size = 1
        while data := self._get(at, size):
            found = _NOT_BLANK.search(data)
            if found:
                return at + found.start()
            at += len(data)
            size = _PIECE
        return at


def _expected(what: str, at: int) -> ValueError:
    return BadJson(f"expected {what} at byte {at}")


def _decode(data: bytes, *, whole: bool) -> str:
    """The text of a part, without the bytes of a character that it cuts off.

    JSON may hold half of a surrogate pair, and a service may answer with one.
    """
    try:
        return codecs.utf_8_decode(data, "surrogatepass", whole)[0]
    except UnicodeDecodeError as error:
        if whole or len(data) - error.start >= _SURROGATE_BYTES:
            raise
        return codecs.utf_8_decode(data[: error.start], "surrogatepass", True)[0]  # noqa: FBT003


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
