"""Values in YAML's block style: a colon or a dash, what stands behind it, and lines below.

Comments on lines of their own are never touched, unless they stand inside a value that goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from reconciler.manifests.editing.layout import (
    BREAK,
    Entry,
    Piece,
    column,
    line_end,
    line_start,
    next_line,
)
from reconciler.manifests.editing.style import (
    WIDTH,
    Sheet,
    Splice,
    Spot,
    find_key_quote,
    find_quote,
    write_block,
    write_entry,
    write_inline,
    write_lines,
    write_text,
)
from reconciler.model import Json

_BLANKS: Final = " \t"
_BLOCK_STYLES: Final = ("|", ">")


@dataclass(frozen=True)
class _Extent:
    """What a value takes up: its first line up to `head`, and the lines from `body` to `end`."""

    head: int
    body: int
    end: int

    @property
    def has_body(self) -> bool:
        return self.body < self.end


def _extend(text: str, entry: Entry) -> _Extent:
    old, below = entry.value, line_end(text, entry.value.end)
    if old.style in _BLOCK_STYLES:
        head = old.body + len(text[old.body : old.end].split(maxsplit=1)[0])
        if BREAK.search(text, head, old.end):
            return _Extent(head, next_line(text, head), next_line(text, old.end))
        return _Extent(head, below, below)
    if old.entries and not old.flow and BREAK.search(text, entry.after, old.entries[0].start):
        first = old.entries[0].start
        head = entry.after if old.start == first else _end_of_properties(text, old)
        return _Extent(head, line_start(text, first), next_line(text, old.end))
    return _Extent(old.end, below, below)


def _end_of_properties(text: str, piece: Piece) -> int:
    line = text[piece.start : line_end(text, piece.start)]
    return piece.start + len(line.partition(" #")[0].rstrip(_BLANKS))


def replace_in_block(sheet: Sheet, spot: Spot, value: Json) -> list[Splice]:
    """Put another value in the place of an entry's; a comment behind it stays there."""
    text, entry = sheet.text, spot.entry
    if entry.after < 0:
        return [(entry.value.end, entry.value.end, f": {write_inline(value, '', 0, flow=True)}")]
    extent = _extend(text, entry)
    head, body = _write_value(sheet, spot, extent, value)
    start = entry.value.start
    if not head or start >= extent.head:
        start, head = entry.after, f" {head}" if head else ""
    between = text[extent.head : extent.body]
    if extent.has_body:
        below = "".join(line + sheet.newline for line in body)
    else:
        below = "".join(sheet.newline + line for line in body)
    return [(start, extent.end, head + between + below)]


def _write_value(sheet: Sheet, spot: Spot, extent: _Extent, value: Json) -> tuple[str, list[str]]:
    """What stands behind the colon or the dash, and the lines below it."""
    old, quote = spot.entry.value, find_quote(spot.holder, spot.entry)
    indent = column(sheet.text, spot.holder.entries[0].start)
    indent += 2 if spot.holder.form == "sequence" else sheet.step
    if old.style in _BLOCK_STYLES and isinstance(value, str):
        block = write_block(value, old.style, _find_indent(sheet.text, extent) or indent)
        if block:
            return block
    room = WIDTH - column(sheet.text, spot.entry.after) - 1
    inline = write_inline(value, quote, room, flow=False)
    if inline is not None:
        return inline, []
    lines = write_lines(value, quote, indent, sheet.step)
    kept = 1 if _may_begin_behind_dash(sheet.text, spot, extent) else 0
    return "".join(lines[:kept]), [" " * indent + line for line in lines[kept:]]


def _find_indent(text: str, extent: _Extent) -> int:
    """By how much the lines of a block are indented; 0 where that cannot be seen."""
    lines = BREAK.split(text[extent.body : extent.end])
    return min((len(line) - len(line.lstrip(" ")) for line in lines if line.strip(" ")), default=0)


def _may_begin_behind_dash(text: str, spot: Spot, extent: _Extent) -> bool:
    """Whether a dash's value may begin on its line: nothing else stands there."""
    entry = spot.entry
    return (
        spot.holder.form == "sequence"
        and not extent.has_body
        and text[entry.after : entry.value.start] in {"", " "}
        and not text[extent.head : extent.body].strip(_BLANKS)
    )


def replace_root(sheet: Sheet, value: Json) -> list[Splice]:
    """Put another value in the place of a root that was empty, or will be."""
    inline = write_inline(value, "", WIDTH, flow=False)
    lines = [inline] if inline is not None else write_lines(value, "", 0, sheet.step)
    return [(sheet.root.start, sheet.root.end, sheet.newline.join(lines))]


def insert_in_block(sheet: Sheet, holder: Piece, name: str, value: Json) -> list[Splice]:
    """Add an entry on lines of its own behind the last one."""
    text, quote = sheet.text, find_key_quote(holder)
    indent = column(text, holder.entries[0].start)
    head = "-"
    if holder.form == "mapping":
        head = f"{write_text(name, quote, flow=False, key=True)}:"
    lines = [" " * indent + line for line in write_entry(head, value, quote, indent, sheet.step)]
    below = line_end(text, holder.end)
    if below == len(text) and _ends_openly(text, holder):
        start = line_start(text, holder.entries[-1].start)
        return [(start, start, "".join(line + sheet.newline for line in lines))]
    return [(below, below, "".join(sheet.newline + line for line in lines))]


def _ends_openly(text: str, piece: Piece) -> bool:
    """Whether a line break at the file's end would become part of the text that ends there."""
    while piece.entries:
        piece = piece.entries[-1].value
    header = text[piece.body : line_end(text, piece.body)].partition(" ")[0]
    return piece.style in _BLOCK_STYLES and "-" not in header


def remove_in_block(sheet: Sheet, spot: Spot) -> list[Splice]:
    """Take one of several entries away: its lines, with the comment behind it."""
    text, entry = sheet.text, spot.entry
    end = entry.value.end
    if sheet.is_first(entry.start):
        return [(line_start(text, entry.start), next_line(text, end), "")]
    following = spot.holder.entries[spot.index + 1].start
    if text[next_line(text, end) : following].strip():
        return [(len(text[: entry.start].rstrip(_BLANKS)), line_end(text, end), "")]
    return [(entry.start, following, "")]
