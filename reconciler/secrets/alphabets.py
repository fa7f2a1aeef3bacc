"""Reads what base64 and hexadecimal digits say, and the UTF-16, UTF-32 or compressed text in it."""

from __future__ import annotations

import binascii
import bisect
import re
import zlib
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Final, NamedTuple

# What every text in an alphabet has, and many short texts have not.
_CODED: Final = re.compile(rb"[A-Za-z0-9+/_:-]{11}|(?:(?:[0-9a-fA-F]{2}){1,4}[ ,;.|+]{1,2}){4}")
# What stands within digits that are in lines, in quoted lines or in a list of lines.
_BLANKS: Final = b' \t\r\n",>'
_URL_SAFE: Final = {0x2D: 0x2B, 0x5F: 0x2F}
_DIGITS: Final = b"0123456789abcdefABCDEF"
# What text in another encoding consists of. Other decoded bytes are noise, and are left out.
_NO_TEXT: Final = bytes(not 0x20 <= one < 0x7F and one not in b"\t\r\n" for one in range(256))
_CONTROLS: Final = frozenset({*range(0x20), 0x7F} - {*b"\t\r\n"})
_PART: Final = 4096
# A larger text is more than what is searched for a secret.
_MOST_INFLATED: Final = 1024 * 1024


class View(NamedTuple):
    """What a text says when encodings are undone.

    `locate` maps the start and the end of a part of `data` to those of its spelling in the text.
    """

    data: bytes
    locate: Callable[[int, int], tuple[int, int]]


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
        _BLANKS + b":-;.|_+",
        2,
        1,
        4,
        binascii.unhexlify,
    ),
)


def undo_alphabets(text: bytes) -> Iterator[View]:
    """Yields the text as base64 and as hexadecimal digits, and what is compressed in it."""
    if _CODED.search(text):
        for alphabet in _ALPHABETS:
            yield from _undo_alphabet(text, alphabet)
        yield from _inflate(text)


def _decode_base64(digits: bytes) -> bytes:
    letters = digits.translate(bytes.maketrans(b"-_", b"+/"), _BLANKS)
    return binascii.a2b_base64(letters[: len(letters) - len(letters) % 4])


def _decode_hexadecimal(digits: bytes) -> bytes:
    return binascii.unhexlify(digits[: len(digits) - len(digits) % 2])


# What is compressed, by the first digits of its header: gzip, and zlib at its usual level.
_COMPRESSED: Final = (
    (b"H4sI", re.compile(rb"H4sI[\w+/\r\n-]{12,}={0,2}"), _decode_base64),
    (b"eJ", re.compile(rb"eJ[w-z][\w+/\r\n-]{12,}={0,2}"), _decode_base64),
    (b"8b08", re.compile(rb"1f8b08[0-9a-f]{16,}"), _decode_hexadecimal),
)


def _undo_alphabet(text: bytes, alphabet: _Alphabet) -> Iterator[View]:
    """Yields the text in an alphabet, for each of the places where a group may begin."""
    letters = text.translate(alphabet.plain, alphabet.blanks)
    for first in range(alphabet.group) if len(letters) > alphabet.least else ():
        missing = -(len(letters) - first) % alphabet.group
        decoded = alphabet.decode(letters[first:] + alphabet.plain[:1] * missing)
        if runs := _find_text(decoded, alphabet.least):
            yield _join(decoded, runs, _Source(text, alphabet, first))


def _inflate(text: bytes) -> Iterator[View]:
    """Yields each text that is compressed, then coded; every part of it is at the whole place."""
    for magic, digits, decode in _COMPRESSED:
        for found in digits.finditer(text) if magic in text else ():
            inflating = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
            try:
                data = inflating.decompress(decode(found[0]), _MOST_INFLATED)
            except zlib.error:
                continue
            yield View(data, _locate_whole(found.span()))


def _locate_whole(place: tuple[int, int]) -> Callable[[int, int], tuple[int, int]]:
    return lambda _start, _end: place


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


def delete(text: bytes, unwanted: bytes) -> View:
    """Returns the text without some of its bytes."""

    def locate(start: int, end: int) -> tuple[int, int]:
        return _find_between(text, unwanted, start, end)

    return View(text.translate(None, unwanted), locate)


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
            return start + _find_place(part, blanks, number)
        number -= kept
    return len(text)


def _find_place(part: bytes, blanks: bytes, number: int) -> int:
    """Returns the place of the same character in a part that has it."""
    low, high = number, len(part) - 1
    while low < high:
        middle = (low + high) // 2
        if len(part[: middle + 1].translate(None, blanks)) > number:
            high = middle
        else:
            low = middle + 1
    return low


def _skip_padding(text: bytes, end: int) -> int:
    while text[end : end + 1] == b"=":
        end += 1
    return end
