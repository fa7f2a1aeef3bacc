"""Reads a text in every spelling that programs use: what it says when an encoding is undone.

Undone are percent-encoding, the escapes of JSON, of C and of HTML, quoted-printable, lists of
numbers, base64, hexadecimal digits and the compressed texts of gzip and zlib, also one inside
another, and line breaks within them. A text that has none of them has one view, itself.
"""

from __future__ import annotations

import bisect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Final

from reconciler.secrets.alphabets import View, delete, undo_alphabets
from reconciler.text.patterns import compile_lazily

# How many encodings may lie one inside another.
_DEPTH: Final = 4
# The escapes by their first byte: to search for one of these bytes takes the least time.
_BY_MARK: Final = {
    b"%": rb"%(?:u[0-9a-fA-F]{4}|[0-9a-fA-F]{2})",
    b"\\": rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}"
    rb"|x[0-9a-fA-F]{2}|0{4}[0-9a-fA-F]{2}|0?[0-3][0-7]{2}|[0-7]{2}"
    rb"|[ux]\{[0-9a-fA-F]{1,6}\}|U[0-9a-fA-F]{8}|[bfnrt]|[!-/:-@\[-`{-~]|\r?\n)",
    b"&": rb"&(?:#0{0,16}[0-9]{1,7};?|#[xX]0{0,16}[0-9a-fA-F]{1,6};?|[A-Za-z][A-Za-z0-9]{1,31};)",
}
_ESCAPES: Final = {mark: compile_lazily(escape) for mark, escape in _BY_MARK.items()}
_ESCAPE: Final = compile_lazily(b"(%b)" % b"|".join(_BY_MARK.values()))
_LONGEST_ESCAPE: Final = 34
# Nearly all escapes are of this kind.
_OCTETS: Final = {
    b"%%%b" % form(f"{one:02x}").encode(): bytes((one,))
    for one in range(256)
    for form in (str.lower, str.upper)
}
# What is read on each side of an escape, in bytes: more than the beginning of a secret takes,
# with each character escaped.
_NEARBY: Final = 192
_NAMED: Final = dict(zip(b"bfnrt", b"\b\f\n\r\t", strict=True))
# What a secret has not within it where it is shown on one line, in ASCII.
_UNSEEN: Final = bytes(one for one in range(256) if not 0x20 < one < 0x7F)
# A year after "=" is the date of a signature, and a number is that of a query.
_QUOTED: Final = compile_lazily(rb"=(?:(?!20[0-9]{2})[0-9a-fA-F]{2}|[ \t]*\r?\n)")
_MAY_BE_QUOTED: Final = re.compile(
    rb"=(?:3[dD]|2[5bBfF]|[0-9a-fA-F]{2}=[0-9a-fA-F]{2}|[ \t]*\r?\n)"
)
_NUMBER_TEXT: Final = rb"(?:0[xX][0-9a-fA-F]{2}|U\+[0-9a-fA-F]{4,6}|[01]{8}|[0-9]{1,3})"
_NUMBER: Final = compile_lazily(
    rb"(?<![0-9A-Za-z])%b(?![0-9A-Za-z])(?:[ ,;|+\t\r\n]{1,4}(?=[0-9U]))?" % _NUMBER_TEXT
)
_NUMBERS: Final = compile_lazily(rb"(?:%b[ ,;|+\t\r\n]{1,4}){7}%b" % (_NUMBER_TEXT, _NUMBER_TEXT))
# A list of numbers is a run of separators when what numbers consist of is deleted.
_SEPARATORS: Final = bytes(one in b" ,;|+\t\r\n" for one in range(256))
_OF_NUMBERS: Final = b"0123456789abcdefABCDEFxXU"


def read_views(text: bytes, depth: int = _DEPTH, *, coded: bool = True) -> Iterator[View]:
    """Yields the text as it is, and as each chain of encodings reads that may be in it.

    Without `coded`, only escapes are undone, and no base64 or hexadecimal digits.
    """
    yield View(text, lambda start, end: (start, end))
    if depth:
        for outer in _undo_one(text, coded=coded):
            for inner in read_views(outer.data, depth - 1, coded=coded):
                yield View(inner.data, _compose(outer, inner))


def _compose(outer: View, inner: View) -> Callable[[int, int], tuple[int, int]]:
    return lambda start, end: outer.locate(*inner.locate(start, end))


def read_parts(text: bytes, depth: int = _DEPTH) -> Iterator[bytes]:
    """Yields what the views of a text show, quickly: without what is far from every escape."""
    yield text
    if depth:
        nearby = [_undo_nearby(part) for part in _cut_to_escapes(text)]
        for part in (*nearby, *(view.data for view in _undo_codes(text))):
            yield from read_parts(part, depth - 1)


def _undo_one(text: bytes, *, coded: bool) -> Iterator[View]:
    if _is_escaped(text):
        yield _undo(text, _ESCAPE, _read_escape)
    if coded:
        yield from _undo_codes(text)


def _undo_codes(text: bytes) -> Iterator[View]:
    """Yields the text as each code reads that is not an escape, if it may be in the text.

    Each is undone alone: a percent-encoded text may hold what reads as quoted-printable.
    """
    if _MAY_BE_QUOTED.search(text):
        yield _undo(text, _QUOTED, _read_quoted)
    if b"\1" * 7 in text.translate(_SEPARATORS, _OF_NUMBERS) and _NUMBERS.search(text):
        yield _undo(text, _NUMBER, _read_number)
    yield from undo_alphabets(text)


def replace_parts(text: bytes, parts: Iterable[tuple[int, int]], instead: bytes) -> bytes:
    """Returns the text with other bytes instead of each part; parts that overlap are one."""
    pieces, at = [], 0
    for start, end in merge(parts):
        pieces += [text[at:start], instead]
        at = end
    return b"".join([*pieces, text[at:]])


def merge(parts: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns the parts in order, with those that overlap as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(set(parts)):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def squeeze(text: bytes) -> bytes:
    """Returns the text without its blanks, its line breaks and what is not in ASCII."""
    return text.translate(None, _UNSEEN)


def squeeze_view(view: View) -> View:
    """Returns a view without its blanks, its line breaks and what is not in ASCII."""
    squeezed = delete(view.data, _UNSEEN)
    return View(squeezed.data, _compose(view, squeezed))


def _is_escaped(text: bytes) -> bool:
    return any(escape.search(text) for escape in _ESCAPES.values())


def undo_escapes(text: bytes) -> bytes:
    """Returns the text with its escapes of URLs, JSON and HTML undone once."""
    return b"".join(_split(text))


def _undo(text: bytes, pattern: re.Pattern[bytes], read: Callable[[bytes], bytes]) -> View:
    """Returns the text with what `read` makes of each match of a pattern."""
    data = pattern.sub(lambda found: read(found[0]), text)
    return View(data, _Escapes(text, pattern, read).locate)


def _cut_to_escapes(text: bytes) -> Iterator[bytes]:
    """Yields the part of a text from its first escape to its last, if it has one."""
    found = {mark: one for mark, escape in _ESCAPES.items() if (one := escape.search(text))}
    if found:
        first = min(one.start() for one in found.values())
        last = max(map(text.rfind, found))
        yield text[max(0, first - _NEARBY) : last + _LONGEST_ESCAPE + _NEARBY]


def _undo_nearby(text: bytes) -> bytes:
    """Returns the same without the middle of each long part that has no escape."""
    pieces = _split(text)
    pieces[0::2] = [
        one if len(one) <= 2 * _NEARBY else b"%b\0%b" % (one[:_NEARBY], one[-_NEARBY:])
        for one in pieces[0::2]
    ]
    return b"".join(pieces)


def _split(text: bytes) -> list[bytes]:
    """The plain parts of a text, and between them the bytes that each escape means."""
    pieces = _ESCAPE.split(text)
    pieces[1::2] = [_OCTETS.get(one) or _read_escape(one) for one in pieces[1::2]]
    return pieces


def _read_escape(said: bytes) -> bytes:
    if said[0] == 0x26:
        return _undo_entity(said)
    if said[0] == 0x5C and (said[1] == 0x55 or said[2:3] == b"{"):
        return _encode_character(int(said[2:].strip(b"{}"), 16))
    if said[0] == 0x5C and said[1:2].isdigit():
        # A digit too many for octal is CSS.
        return bytes((int(said[1:], 16 if said.startswith(b"\\0000") else 8) & 0xFF,))
    if said[1] == 0x75:
        units = bytes.fromhex((said[2:6] + said[8:]).decode())
        return units.decode("utf-16-be", "surrogatepass").encode("utf-8", "surrogatepass")
    if said[0] == 0x25 or said[1] == 0x78:
        return bytes.fromhex(said[-2:].decode())
    return bytes((_NAMED.get(said[1], said[1]),))


def _read_quoted(said: bytes) -> bytes:
    return b"" if said[1:].isspace() else bytes.fromhex(said[1:].decode())


def _read_number(said: bytes) -> bytes:
    number = said.strip(b" ,;|+\t\r\n")
    if not number.isdigit():
        return _encode_character(int(re.split(b"[xX+]", number)[1], 16))
    return bytes((int(number, 2 if len(number) == len("01000001") else 10) & 0xFF,))


def _encode_character(number: int) -> bytes:
    """The bytes of a character; empty for a number that no character has."""
    return chr(number).encode("utf-8", "surrogatepass") if number <= sys.maxunicode else b""


def _undo_entity(said: bytes) -> bytes:
    import html  # noqa: PLC0415 - a large table, and texts with entities are rare

    return html.unescape(said.decode()).encode("utf-8", "surrogatepass")


class _Escapes:
    """The place of each part of an unescaped text in the text before."""

    def __init__(
        self, text: bytes, pattern: re.Pattern[bytes], read: Callable[[bytes], bytes]
    ) -> None:
        self._text = text
        self._pattern = pattern
        self._read = read

    @cached_property
    def _pieces(self) -> list[tuple[int, int, int, int]]:
        """Start and end of each escape: in the unescaped text, and in the text before."""
        pieces, shorter = [], 0
        for found in self._pattern.finditer(self._text):
            start, width = found.start() - shorter, len(self._read(found[0]))
            pieces.append((start, start + width, found.start(), found.end()))
            shorter += found.end() - found.start() - width
        return pieces

    def locate(self, start: int, end: int) -> tuple[int, int]:
        """The part of the text that reads as a part of the unescaped text."""
        _, after, escape, beyond = self._last_before(start + 1)
        first = escape if start < after else beyond + start - after
        _, after, _, beyond = self._last_before(end)
        return first, beyond + max(0, end - after)

    def _last_before(self, at: int) -> tuple[int, int, int, int]:
        """The last escape that starts before a place, or an empty one at the start."""
        found = bisect.bisect_left(self._pieces, (at,)) - 1
        return self._pieces[found] if found >= 0 else (0, 0, 0, 0)
