"""A document laid out in its text, and the habits of the one who wrote it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

from reconciler.manifests.editing.layout import BREAK, Entry, Piece, column, line_start
from reconciler.manifests.editing.style import is_plain_text

Splice: TypeAlias = tuple[int, int, str]
_BLANKS: Final = " \t"
_COLON: Final = re.compile(r" *: *")


@dataclass(frozen=True)
class Spot:
    """An entry, and the mapping or list that holds it."""

    holder: Piece
    index: int

    @property
    def entry(self) -> Entry:
        """The entry itself."""
        return self.holder.entries[self.index]


@dataclass(frozen=True)
class Sheet:
    """A document in its text. A splice replaces what stands between two offsets of it."""

    text: str
    root: Piece
    json: bool = False

    @cached_property
    def newline(self) -> str:
        """The line break in use."""
        found = BREAK.search(self.text)
        return found.group() if found and found.group() in {"\r\n", "\r"} else "\n"

    @cached_property
    def step(self) -> int:
        """By how many blanks a mapping inside a mapping is indented."""
        return next(self._find_steps(), 2)

    def _find_steps(self) -> Iterator[int]:
        for piece in self.root.walk():
            for entry in piece.entries if _is_block_mapping(piece) else ():
                if _is_block_mapping(entry.value):
                    inner, outer = entry.value.entries[0].start, piece.entries[0].start
                    yield column(self.text, inner) - column(self.text, outer)

    @cached_property
    def json_step(self) -> str:
        """What JSON in lines is indented by."""
        starts = (entry.start for entry in self.root.entries)
        return next((self.margin(start) for start in starts if self.is_first(start)), "  ")

    @cached_property
    def json_colon(self) -> str:
        """The colon of JSON with the blanks around it."""
        entries = (entry for piece in self.root.walk() for entry in piece.entries if entry.key)
        between = (self.text[entry.key.end : entry.value.start] for entry in entries if entry.key)
        return next((colon for colon in between if _COLON.fullmatch(colon)), ": ")

    @cached_property
    def aliases(self) -> Counter[str]:
        """How often each anchor is referred to."""
        return Counter(piece.anchor for piece in self.root.walk() if piece.form == "alias")

    def margin(self, offset: int) -> str:
        """The blanks with which the line of an offset begins."""
        line = self.text[line_start(self.text, offset) : offset]
        return line[: len(line) - len(line.lstrip(_BLANKS))]

    def is_first(self, offset: int) -> bool:
        """Whether only blanks stand before an offset on its line."""
        return not self.text[line_start(self.text, offset) : offset].strip(_BLANKS)


def _is_block_mapping(piece: Piece) -> bool:
    return piece.form == "mapping" and not piece.flow and bool(piece.entries)


def find_quote(holder: Piece, entry: Entry) -> str:
    """How a text is quoted in the place of an entry's value: as that is.

    Between brackets it is quoted in JSON's way where the key is.
    """
    value, beside = entry.value, entry.key or entry.value
    if value.style in {"'", '"'}:
        return value.style
    if value.form == "scalar" and is_plain_text(value.text, flow=holder.flow):
        return ""
    return '"' if holder.flow and beside.style == '"' else ""


def find_key_quote(holder: Piece) -> str:
    """How what is added to a mapping or a list is quoted: doubly if the last entry is."""
    last = holder.entries[-1]
    return '"' if (last.key or last.value).style == '"' else ""
