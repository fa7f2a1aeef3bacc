"""Compressed documents: a plan of thousands of resources holds thousands of documents.

A definition of 15 kB takes 40 kB of memory as Python values and 2 kB compressed. To decompress it
takes less time than to read it from the service.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

import orjson

from reconciler.model.core import Absent, Json
from reconciler.model.values import dataclass

# The prefix of a text that only Python's own encoder can write and read: it holds integers of more
# than 64 bits or strings that are not Unicode. A JSON parser skips a blank.
_OWN: Final = b" "
# orjson must refuse every value that is not JSON, such as a `SecretReference`.
STRICT: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS


# A longer text of differences is not kept: it would take more memory than the compressed document.
_MOST_BYTES: Final = 1024
_NESTED: Final = (dict, list)
_Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class CompressedDocument:
    """A document as compressed JSON text."""

    packed: bytes

    def open(self) -> Json:
        """The document; each call parses it again."""
        return _decode(zlib.decompress(self.packed))


@dataclass(frozen=True, slots=True)
class RevisedDocument:
    """A document as the places where it differs from another one: the `after` of most steps.

    `parts` is the JSON text of a list of paths and values.
    """

    base: CompressedDocument
    parts: bytes

    def open(self) -> Json:
        """The document; each call parses it again."""
        return self.revise(self.base.open())

    def revise(self, document: Json) -> Json:
        """The document, made from the one that `base` holds; the two share the other parts."""
        for path, value in _decode(self.parts):
            document = _replace(document, path, value)
        return document


Compressed: TypeAlias = CompressedDocument | RevisedDocument


def compress(document: Json) -> CompressedDocument:
    """The document in compressed form. Its numbers must be finite."""
    return CompressedDocument(zlib.compress(_encode(document), 1))


def compress_revision(document: Json, base: CompressedDocument, before: Json) -> Compressed:
    """The document as its differences from `before`, which `base` holds; whole if it has many."""
    parts = _encode([[list(path), value] for path, value in _list_parts(before, document, ())])
    if len(parts) > _MOST_BYTES:
        return compress(document)
    # A copy, because orjson leaves the rest of its buffer allocated with what it returns.
    return RevisedDocument(base, bytes(memoryview(parts)))


def _list_parts(before: Json, after: Json, path: _Path) -> Iterator[tuple[_Path, Json]]:
    """Yield the paths and values that differ.

    Objects with other names, or with another order of them, differ as a whole.
    """
    if before is after:
        return
    kind = type(before)
    if kind is not type(after):
        yield path, after
    elif kind in _NESTED and before == after and _encode(before) == _encode(after):
        return  # 1, 1.0 and true are equal, and so are objects with another order of names
    elif kind is dict and list(before) == list(after):
        for name, value in after.items():
            if before[name] is not value:  # most are the same object
                yield from _list_parts(before[name], value, (*path, name))
    elif kind is list and len(before) == len(after):
        for index, item in enumerate(after):
            yield from _list_parts(before[index], item, (*path, index))
    elif before != after or repr(before) != repr(after):  # 0.0 and -0.0 are equal
        yield path, after


def _replace(document: Json, path: Sequence[str | int], value: Json) -> Json:
    """The document with another value at a path; the argument stays as it is."""
    if not path:
        return value
    copied = document.copy()
    copied[path[0]] = _replace(document[path[0]], path[1:], value)
    return copied


def _encode(document: Json) -> bytes:
    try:
        return orjson.dumps(document, option=STRICT)
    except TypeError:
        own = json.dumps(document, separators=(",", ":"))
        return _OWN + own.encode("utf-8", "surrogatepass")


def _decode(text: bytes) -> Json:
    try:
        return json.loads(text) if text.startswith(_OWN) else orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)  # another program has written it


class CompressedField:
    """A field of a dataclass that accepts a document or a compressed one, and reads as a document.

    Each read of a compressed document parses it again.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._kept = f"_{name}"

    def __set__(self, instance: Any, document: Json | Compressed | Absent) -> None:
        instance.__dict__[self._kept] = document

    def __get__(self, instance: Any, owner: type) -> Json:
        if instance is None:
            raise AttributeError(self._kept)  # so that the field has no default
        kept = instance.__dict__[self._kept]
        return kept.open() if isinstance(kept, Compressed) else kept
