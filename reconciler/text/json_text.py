"""Strict JSON: reads texts from outside, writes the canonical form, and escapes texts for output.

Python's own parser accepts texts that are not JSON (NaN and the infinities), numbers that become
infinite, and documents that are too deep for recursion. This module refuses them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import orjson

from reconciler.model import Absent, Json
from reconciler.model.compressed import STRICT

# Recorded documents are nested a dozen levels deep. Other code walks documents by recursion.
DEEPEST: Final = 100
# A value takes up to 90 bytes of memory beside its text, which may be two bytes long.
MOST_VALUES: Final = 1_000_000
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
# The next thousand strings, and what is before each of them.
_STRINGS: Final = re.compile(rb'(?:[^"]*+"[^"\\]*+(?:\\.[^"\\]*+)*+"){0,1000}', re.DOTALL)
_PIECE: Final = 1 << 12
_MARKS: Final = (b",", b":", b"[", b"{")
_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER: Final = b"0" * 19
_ONE_SORT: Final = bytes.maketrans(b"{}", b"[]")
_NOT_MARKS: Final = bytes(set(range(256)) - set(b'[]{}"'))
_QUOTED: Final = re.compile(rb'"[^"]*+"')
_ODD: Final = re.compile(r"[^ -~\n\t]+")
_SORTED: Final = STRICT | orjson.OPT_SORT_KEYS


class BadJson(ValueError):
    """A text that Python's parser accepts and that is not JSON; the message says why."""


class TooMuch(BadJson):
    """A text so long, or with so many values, that they would fill the memory."""


def read_json(text: str | bytes, *, deepest: int = DEEPEST, most_values: int = MOST_VALUES) -> Json:
    """The value of a JSON text; raises ValueError for a text that is not JSON or is too deep.

    Raises TooMuch before any value is made.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    check_count(data, most_values)
    document = load_fast(data)
    if document is None:
        document = _load(text, deepest)
    check_depth(data, document, deepest)
    return document


def check_depth(data: bytes, document: Json, deepest: int) -> None:
    """Raise ValueError for a document that is nested more than `deepest` levels deep."""
    if not _is_shallow(data, deepest) and _is_deep(document, deepest):
        raise _too_deep(deepest)


def check_count(data: bytes, most: int) -> None:
    """Raise TooMuch for a JSON text with more than `most` names and values."""
    if find_excess(data, most) is not None:
        raise TooMuch(f"it holds more than {most:,} values")


def find_excess(data: bytes, most: int) -> int | None:
    """A place in a JSON text before which it has about `most` names and values; None if it has not.

    JSON has a comma, a colon or an opening bracket before each of them but the first. Those in
    strings do not count. No value is made, and only some strings are in memory at a time.
    """
    if len(data) <= most or count_marks(data) <= most:
        return None  # as in nearly all texts: each mark is one byte
    at = 0
    while at < len(data):
        found = _STRINGS.match(data, at)
        end = found.end() if found and found.end() > at else len(data)
        plain = _STRING.sub(lambda one: b" " * len(one[0]), data[at:end])
        for start in range(0, len(plain), _PIECE):
            most -= count_marks(plain[start : start + _PIECE])
            if most < 0:
                return min(at + start + _PIECE, len(data))
        at = end
    return None


def count_marks(data: bytes) -> int:
    """The number of commas, colons and opening brackets, also of those in strings."""
    return sum(map(data.count, _MARKS))


def count_names(text: str) -> int:
    """The number of names in a JSON text; a name that is there twice counts twice."""
    return _STRING.sub(b"", text.encode("utf-8", "surrogatepass")).count(b":")


def load_fast(data: bytes) -> Json:
    """The value that orjson reads; None when Python's parser must read the text instead.

    Python's parser accepts more texts, and its error says why. Both return the same value for a
    text that both accept, except for integers of more than 64 bits.
    """
    if _LONG_NUMBER in data.translate(_DIGITS):
        return None
    try:
        return orjson.loads(data)
    except ValueError:
        return None


def _load(text: str | bytes, deepest: int) -> Json:
    with _explained(deepest):
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_read_float)


def load_first(text: str) -> tuple[Json, int]:
    """The value that a text begins with, and its end; raises ValueError if it begins with none."""
    with _explained(DEEPEST):
        return _DECODER.raw_decode(text)


@contextmanager
def _explained(deepest: int) -> Iterator[None]:
    try:
        yield
    except RecursionError as error:
        raise _too_deep(deepest) from error
    except (BadJson, json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError as error:
        # Python refuses an integer of thousands of digits.
        raise BadJson(_TOO_LARGE) from error


_TOO_LARGE: Final = "it holds a number that is too large"


def _too_deep(deepest: int) -> BadJson:
    return BadJson(f"it is nested more than {deepest} levels deep")


def _refuse_constant(name: str) -> Json:
    """Raise BadJson: Python's parser accepts NaN and the infinities, which are not JSON."""
    raise BadJson(f"it holds {name}")


def _read_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise BadJson(_TOO_LARGE)
    return value


def _is_shallow(data: bytes, deepest: int) -> bool:
    """Whether the brackets alone prove that a document is not too deep.

    Strings are left out first, with the brackets in them. Two quotation marks side by side are left
    out wherever they are: in each case every other mark of those that are left begins a string, and
    the next one ends a string. The bytes of UTF-16 and UTF-32 prove nothing: parts of other
    characters look like these marks.
    """
    if b"\0" in data:
        return False
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = data.translate(_ONE_SORT, _NOT_MARKS).replace(b'""', b"")
    if b'"' in brackets:
        brackets = _QUOTED.sub(b"", brackets)
    for _ in range(deepest):
        if not brackets:
            return True
        brackets = brackets.replace(b"[]", b"")  # the innermost level
    return not brackets


def _is_deep(document: Json, deepest: int) -> bool:
    layer = [document] if isinstance(document, (dict, list)) else []
    for _ in range(deepest):
        layer = [
            below
            for one in layer
            for below in (one.values() if isinstance(one, dict) else one)
            if isinstance(below, (dict, list))
        ]
        if not layer:
            return False
    return True


def canonical(document: Json) -> str:
    """The canonical JSON text of a document: sorted names, no blanks."""
    return encode_canonical(document).decode("utf-8", "surrogatepass")


def encode_canonical(document: Json) -> bytes:
    """The canonical JSON text in UTF-8.

    When orjson cannot write a value (an integer of more than 64 bits, a string that is not
    Unicode), Python's encoder writes the whole document. It writes some fractions differently.
    """
    try:
        return encode_plain(document)
    except TypeError:
        return encode_unusual(document)


def encode_plain(document: Json) -> bytes:
    """The canonical form by orjson; raises TypeError for a value that orjson cannot write."""
    return orjson.dumps(document, option=_SORTED)


def encode_unusual(document: Json) -> bytes:
    """The canonical form by Python's own encoder."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_read_float)


def escape_json(text: str) -> str:
    """The same JSON text with every character escaped that is not printable.

    The result can be written in UTF-8, even with unpaired surrogates, and it cannot control a
    terminal.
    """
    return _ODD.sub(_escape_odd, text)


def _escape_odd(found: re.Match[str]) -> str:
    odd = found[0]
    if odd.isprintable():
        return odd
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in odd)


def is_same(one: Json | Absent, other: Json | Absent) -> bool:
    """Whether two values are the same JSON; 1, 1.0 and true are three values."""
    if isinstance(one, Absent) or isinstance(other, Absent):
        return one is other
    return encode_canonical(one) == encode_canonical(other)
