"""JSON text as it comes from outside, as it is written down, and as it is shown.

Python's own reader takes what is no JSON (NaN, the infinities) and numbers that become one of
them, and whatever is nested so deep that nobody can walk it any more.
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

# What is recorded nests a dozen deep; everything after this walks documents by recursion.
DEEPEST: Final = 100
_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER: Final = b"0" * 19
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_ODD: Final = re.compile(r"[^ -~\n\t]+")
_SORTED: Final = STRICT | orjson.OPT_SORT_KEYS


class BadJson(ValueError):
    """A text that Python reads, and that is no JSON for anybody else; the message says why."""


def read_json(text: str | bytes, *, deepest: int = DEEPEST) -> Json:
    """The value of a JSON text that nests at most so deep; raises ValueError for anything else."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    document = _load_fast(data)
    if document is None:
        document = _load(text, deepest)
    check_depth(data, document, deepest)
    return document


def check_depth(data: bytes, document: Json, deepest: int) -> None:
    """Raise ValueError for the value of a text that nests deeper."""
    if not _is_shallow(data, deepest) and _is_deep(document, deepest):
        raise _too_deep(deepest)


def _load_fast(data: bytes) -> Json:
    """The value by orjson; None where Python's reader must look, which takes more and says why.

    They agree on whatever both read but for integers of more than 64 bits.
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


def load_first(text: str, at: int) -> tuple[Json, int]:
    """The value that begins at a place in a text, and where it ends; raises ValueError for none."""
    with _explained(DEEPEST):
        return _DECODER.raw_decode(text, at)


@contextmanager
def _explained(deepest: int) -> Iterator[None]:
    try:
        yield
    except RecursionError as error:
        raise _too_deep(deepest) from error
    except (BadJson, json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError as error:
        # Python reads no integer of thousands of digits.
        raise BadJson(_TOO_LARGE) from error


_TOO_LARGE: Final = "it holds a number that is too large"


def _too_deep(deepest: int) -> BadJson:
    return BadJson(f"it is nested more than {deepest} levels deep")


def _refuse_constant(name: str) -> Json:
    """NaN and the infinities are no JSON, though Python reads them."""
    raise BadJson(f"it holds {name}")


def _read_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise BadJson(_TOO_LARGE)
    return value


def _is_shallow(data: bytes, deepest: int) -> bool:
    """Whether a document is surely not deep: its brackets peel off, one layer after another.

    A bracket in a text may be in the way of that; then the document itself must be looked at.
    """
    brackets = data.translate(None, _NOT_BRACKETS)
    for _ in range(deepest):
        if not brackets:
            return True
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return False


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
    """The one way to write a document down: sorted names, no blanks."""
    return encode_canonical(document).decode("utf-8", "surrogatepass")


def encode_canonical(document: Json) -> bytes:
    """The same in UTF-8.

    What orjson cannot write (integers of more than 64 bits, texts that are no Unicode) makes the
    whole document one for Python's own encoder, which writes some fractions otherwise.
    """
    try:
        return encode_plain(document)
    except TypeError:
        return encode_unusual(document)


def encode_plain(document: Json) -> bytes:
    """By orjson; raises TypeError for what it cannot write."""
    return orjson.dumps(document, option=_SORTED)


def encode_unusual(document: Json) -> bytes:
    """By Python's own encoder."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_read_float)


def escape_json(text: str) -> str:
    """A JSON text in which all that is not printable is escaped; it says the same.

    It can be written in UTF-8, halves of pairs included, moves no terminal and reads as it is.
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
