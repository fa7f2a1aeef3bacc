"""Reads a text in every spelling that programs use: what it says when an encoding is undone.

Undone are percent-encoding, the escapes of JSON, of C and of HTML, base64 and hexadecimal digits,
also one inside another, and line breaks within them. A text that has none of them has one view,
itself.
"""

from __future__ import annotations

import binascii
import bisect
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import accumulate
from typing import Final, NamedTuple

# How many encodings may lie one inside another.
_DEPTH: Final = 4
# The escapes by their first byte: to search for one of these bytes takes the least time.
_BY_MARK: Final = {
    b"%": rb"%(?:u[0-9a-fA-F]{4}|[0-9a-fA-F]{2})",
    b"\\": rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}"
    rb"|x[0-9a-fA-F]{2}|[0-3][0-7]{2}|[ux]\{[0-9a-fA-F]{1,6}\}|U[0-9a-fA-F]{8}"
    rb"|[\"'\\/bfnrt])",
    b"&": rb"&(?:#[0-9]{1,7};?|#[xX][0-9a-fA-F]{1,6};?|[A-Za-z][A-Za-z0-9]{1,31};)",
}
_ESCAPES: Final = {mark: re.compile(escape) for mark, escape in _BY_MARK.items()}
_ESCAPE: Final = re.compile(b"(%b)" % b"|".join(_BY_MARK.values()))
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
_NAMED: Final = dict(zip(b"\"'\\/bfnrt", b"\"'\\/\b\f\n\r\t", strict=True))
# What every text in an alphabet has, and many short texts have not.
_CODED: Final = re.compile(rb"[A-Za-z0-9+/_:-]{11}|(?:[0-9a-fA-F]{2} ){4}")
_BLANKS: Final = b" \t\r\n"
_URL_SAFE: Final = {0x2D: 0x2B, 0x5F: 0x2F}
_DIGITS: Final = b"0123456789abcdefABCDEF"
# What text in another encoding consists of. Other decoded bytes are noise, and are left out.
_NO_TEXT: Final = bytes(not 0x20 <= one < 0x7F and one not in b"\t\r\n" for one in range(256))
_CONTROLS: Final = frozenset({*range(0x20), 0x7F} - {*b"\t\r\n"})
_PART: Final = 4096


class View(NamedTuple):
    """What a text says when encodings are undone.

    `locate` maps the start and the end of a part of `data` to those of its spelling in the text.
    """

    data: bytes
    locate: Callable[[int, int], tuple[int, int]]


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
        for part in (*nearby, *(view.data for view in _undo_alphabets(text))):
            yield from read_parts(part, depth - 1)


def _undo_one(text: bytes, *, coded: bool) -> Iterator[View]:
    if _is_escaped(text):
        yield View(undo_escapes(text), _Escapes(text).locate)
    if coded:
        yield from _undo_alphabets(text)


def replace_parts(text: bytes, parts: Iterable[tuple[int, int]], instead: bytes) -> bytes:
    """Returns the text with other bytes instead of each part; parts that overlap are one."""
    pieces, at = [], 0
    for start, end in _merge(parts):
        pieces += [text[at:start], instead]
        at = end
    return b"".join([*pieces, text[at:]])


def _merge(parts: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(set(parts)):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def squeeze(text: bytes) -> bytes:
    """Returns the text without its blanks and line breaks."""
    return text.translate(None, _BLANKS)


def squeeze_view(view: View) -> View:
    """Returns a view without its blanks and line breaks."""

    def locate(start: int, end: int) -> tuple[int, int]:
        return view.locate(*_find_between(view.data, _BLANKS, start, end))

    return View(squeeze(view.data), locate)


def _is_escaped(text: bytes) -> bool:
    return any(escape.search(text) for escape in _ESCAPES.values())


def undo_escapes(text: bytes) -> bytes:
    """Returns the text with its escapes of URLs, JSON and HTML undone once."""
    return b"".join(_split(text))


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
    pieces[1::2] = [_OCTETS.get(one) or _undo_escape(one) for one in pieces[1::2]]
    return pieces


def _undo_escape(said: bytes) -> bytes:
    if said[0] == 0x26:
        return _undo_entity(said)
    if said[0] == 0x5C and (said[1] == 0x55 or said[2:3] == b"{"):
        return _encode_character(int(said[2:].strip(b"{}"), 16))
    if said[0] == 0x5C and said[1:].isdigit():
        return bytes((int(said[1:], 8),))
    if said[1] == 0x75:
        units = bytes.fromhex((said[2:6] + said[8:]).decode())
        return units.decode("utf-16-be", "surrogatepass").encode("utf-8", "surrogatepass")
    if said[0] == 0x25 or said[1] == 0x78:
        return bytes.fromhex(said[-2:].decode())
    return bytes((_NAMED[said[1]],))


def _encode_character(number: int) -> bytes:
    """The bytes of a character; empty for a number that no character has."""
    return chr(number).encode("utf-8", "surrogatepass") if number <= sys.maxunicode else b""


def _undo_entity(said: bytes) -> bytes:
    import html  # noqa: PLC0415 - a large table, and texts with entities are rare

    return html.unescape(said.decode()).encode("utf-8", "surrogatepass")


class _Escapes:
    """The place of each part of an unescaped text in the text before."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    @cached_property
    def _pieces(self) -> list[tuple[int, int, int, int]]:
        """Start and end of each escape: in the unescaped text, and in the text before."""
        pieces, shorter = [], 0
        for found in _ESCAPE.finditer(self._text):
            start, width = found.start() - shorter, len(_undo_escape(found[0]))
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


class _Alphabet(NamedTuple):
    """An encoding of bytes as letters: `group` letters for each `octets` bytes.

    `plain` maps each byte of a text to a letter, and those outside the alphabet to its zero.
    `least` is the fewest bytes of text that are read in it.
    """

    plain: bytes
    blanks: bytes
    group: int
    octets: int
    least: int
    decode: Callable[[bytes], bytes]


_ALPHABETS: Final = (
    # The second alphabet of base64 has "-" and "_" instead of "+" and "/".
    _Alphabet(
        bytes(
            one if one in b"+/" or (chr(one).isalnum() and one < 0x80) else _URL_SAFE.get(one, 0x41)
            for one in range(256)
        ),
        _BLANKS,
        4,
        3,
        9,
        binascii.a2b_base64,
    ),
    _Alphabet(
        bytes(one if one in _DIGITS else 0x30 for one in range(256)),
        b" \t\r\n:-",
        2,
        1,
        4,
        binascii.unhexlify,
    ),
)


def _undo_alphabets(text: bytes) -> Iterator[View]:
    if _CODED.search(text):
        for alphabet in _ALPHABETS:
            yield from _undo_alphabet(text, alphabet)


def _undo_alphabet(text: bytes, alphabet: _Alphabet) -> Iterator[View]:
    """Yields the text in an alphabet, for each of the places where a group may begin."""
    letters = text.translate(alphabet.plain, alphabet.blanks)
    for first in range(alphabet.group) if len(letters) > alphabet.least else ():
        missing = -(len(letters) - first) % alphabet.group
        decoded = alphabet.decode(letters[first:] + alphabet.plain[:1] * missing)
        if runs := _find_text(decoded, alphabet.least):
            yield _join(decoded, runs, _Source(text, alphabet, first))


def _find_text(decoded: bytes, least: int) -> list[tuple[int, int]]:
    """Returns the start and the end of each part of decoded bytes that may be text."""
    noise, end = decoded.translate(_NO_TEXT), 0
    runs: list[tuple[int, int]] = []
    while (start := noise.find(bytes(least), end)) >= 0:
        end = noise.find(b"\1", start)
        end = len(decoded) if end < 0 else end
        while end < len(decoded) and decoded[end] not in _CONTROLS:
            end += 1
        while start and decoded[start - 1] not in _CONTROLS:
            start -= 1
        runs.append((start, end))
    return runs


class _Source(NamedTuple):
    """Where decoded bytes come from: the letters of a text from `first` on."""

    text: bytes
    alphabet: _Alphabet
    first: int


def _join(decoded: bytes, runs: list[tuple[int, int]], source: _Source) -> View:
    """Returns the runs as one view, each in a line of its own."""
    starts = [0, *accumulate(end - start + 1 for start, end in runs)]

    def locate(start: int, end: int) -> tuple[int, int]:
        run = bisect.bisect_right(starts, start) - 1
        ahead = runs[run][0] - starts[run]
        group, octets = source.alphabet.group, source.alphabet.octets
        first = source.first + (start + ahead) * group // octets
        last = source.first - (end + ahead) * group // -octets
        start, end = _find_between(source.text, source.alphabet.blanks, first, last)
        return start, _skip_padding(source.text, end)

    return View(b"\0".join(decoded[start:end] for start, end in runs), locate)


def _find_between(text: bytes, blanks: bytes, first: int, last: int) -> tuple[int, int]:
    """Returns the place of the characters from `first` to before `last`, not counting blanks."""
    return _find_kept(text, blanks, first), _find_kept(text, blanks, last - 1) + 1


def _find_kept(text: bytes, blanks: bytes, number: int) -> int:
    """Returns the place of the character with a number, not counting blanks."""
    for start in range(0, len(text), _PART):
        part = text[start : start + _PART]
        kept = len(part.translate(None, blanks))
        if number < kept:
            places = (place for place, one in enumerate(part) if one not in blanks)
            return start + next(itertools.islice(places, number, None))
        number -= kept
    return len(text)


def _skip_padding(text: bytes, end: int) -> int:
    while text[end : end + 1] == b"=":
        end += 1
    return end
