"""Marks where the last applied, the live and the declared value of one place differ.

The drift page calls it. It returns text and no markup.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Final, TypeAlias

from reconciler.model import ABSENT, Absent, Json
from reconciler.render.words.escape import cut, escape
from reconciler.secrets.signatures import strip_credentials

# A part of a value, and whether it differs from the value beside it.
Piece: TypeAlias = tuple[str, bool]
Line: TypeAlias = Sequence[Piece]

_WORD_END: Final = re.compile(r"\w+$")
_LONGEST_WORD: Final = 60
_TOKEN: Final = re.compile(r"\w+|\s+|[^\w\s]")
# What is longer differs as a whole, between the common beginning and end of two values.
_MOST_COMPARED: Final = 1_000
_MOST_READ: Final = 100_000
_MOST_EQUAL: Final = 240
_MOST_DIFFERENT: Final = 600


def mark_values(values: Mapping[str, Json | Absent]) -> dict[str, Sequence[Line] | None]:
    """Returns the lines of each value with their differences marked; None for a missing value.

    The names are `remembered`, `live` and `declared`. Live is compared with the first of the other
    two that differs from it, and each of these with live.
    """
    texts = {name: None if one is ABSENT else _write(one) for name, one in values.items()}
    live = texts["live"]
    others = [texts["remembered"], texts["declared"]]
    against = next((one for one in others if one is not None and one != live), None)
    return {
        name: None if text is None else _mark(text, against if name == "live" else live)
        for name, text in texts.items()
    }


def _write(value: Json) -> str:
    """The value as JSON; objects and lists take several lines."""
    text = json.dumps(_strip(value), ensure_ascii=False, sort_keys=True, indent=2, default=str)
    return text[:_MOST_READ]


def _strip(value: Json) -> Json:
    if isinstance(value, str):
        return strip_credentials(value)
    if isinstance(value, dict):
        return {name: _strip(one) for name, one in value.items()}
    return [_strip(one) for one in value] if isinstance(value, list) else value


def _mark(text: str, other: str | None) -> Sequence[Line]:
    return _split(list(_shorten(_compare(text, other))))


def _compare(text: str, other: str | None) -> Iterator[Piece]:
    if other is None or text == other:
        yield text, False
        return
    start = _count_equal(text, other)
    start -= _measure_word(text[max(start - _LONGEST_WORD, 0) : start])
    end = _count_equal(text[start:][::-1], other[start:][::-1])
    end -= _measure_word(text[len(text) - end :][:_LONGEST_WORD][::-1])
    yield text[:start], False
    yield from _compare_middle(text[start : len(text) - end], other[start : len(other) - end])
    yield text[len(text) - end :], False


def _measure_word(text: str) -> int:
    """The length of the part of a word at the end, so that a difference is a whole word."""
    found = _WORD_END.search(text)
    return len(found[0]) if found and len(found[0]) < _LONGEST_WORD else 0


def _count_equal(one: str, other: str) -> int:
    """The number of equal characters at the beginning, by halves."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _compare_middle(text: str, other: str) -> Iterator[Piece]:
    if max(len(text), len(other)) > _MOST_COMPARED:
        yield text, True
        return
    mine, theirs = _TOKEN.findall(text), _TOKEN.findall(other)
    matcher = SequenceMatcher(None, theirs, mine, autojunk=False)
    for tag, _, _, begin, end in matcher.get_opcodes():
        yield "".join(mine[begin:end]), tag != "equal"


def _shorten(pieces: Iterator[Piece]) -> Iterator[Piece]:
    for text, differs in pieces:
        if text:
            yield cut(text, _MOST_DIFFERENT if differs else _MOST_EQUAL), differs


def _split(pieces: Sequence[Piece]) -> Sequence[Line]:
    lines: list[list[Piece]] = [[]]
    for text, differs in pieces:
        first, *rest = text.split("\n")
        lines[-1].append((escape(first), differs))
        lines += ([(escape(line), differs)] for line in rest)
    return lines
