"""Values between brackets: YAML's flow style, and JSON."""

from __future__ import annotations

import re
from typing import Final

from reconciler.manifests.editing.layout import (
    Entry,
    Piece,
    is_rest,
    line_end,
    line_start,
    next_line,
    skip_gap,
)
from reconciler.manifests.editing.style import (
    Sheet,
    Splice,
    Spot,
    find_key_quote,
    find_quote,
    write_flow,
    write_json,
    write_text,
)
from reconciler.model import Json

_BLANKS: Final = " \t"
# JSON knows no other line breaks; the rest may stand in its texts as they are.
_LINES: Final = re.compile(r"[\r\n]")


def replace_in_brackets(sheet: Sheet, spot: Spot, value: Json) -> list[Splice]:
    """Put another value in the place of an entry's; one that is not written is written."""
    entry, old = spot.entry, spot.entry.value
    written = _write(sheet, spot.holder, value, find_quote(spot.holder, entry), entry.start)
    if entry.after < 0:
        written = f": {written}"
    elif old.start == old.end:
        written = f" {written}"
    return [(old.start, old.end, written)]


def _write(sheet: Sheet, holder: Piece, value: Json, quote: str, offset: int) -> str:
    """A value for a place on the line of an offset; JSON is in lines where its holder is."""
    if not sheet.json:
        return write_flow(value, quote)
    lines = _LINES.search(sheet.text, holder.start, holder.end) or not holder.entries
    written = write_json(value, step=sheet.json_step if lines else None, colon=sheet.json_colon)
    return written.replace("\n", sheet.newline + sheet.margin(offset))


def write_json_root(sheet: Sheet, value: Json) -> str:
    """A value in the place of a JSON document's empty root."""
    return _write(sheet, sheet.root, value, "", 0)


def insert_in_brackets(sheet: Sheet, holder: Piece, name: str, value: Json) -> list[Splice]:
    """Add an entry behind the last one: on a line of its own if that is on one."""
    text, last = sheet.text, holder.entries[-1]
    end = last.value.end
    comma = skip_gap(text, end)
    behind = comma + 1 if text[comma] == "," else end
    lead = _lead(sheet, holder)
    below = line_end(text, behind)
    point = below if lead.strip(_BLANKS) and below < holder.end else behind
    written = lead + _write_member(sheet, holder, name, value)
    if behind > end:
        return [(point, point, f"{written},")]
    # A colon without a value runs together with a comma.
    comma_now = " ," if last.value.start == end and last.after == end else ","
    return [(end, point, comma_now + text[end:point] + written)]


def _write_member(sheet: Sheet, holder: Piece, name: str, value: Json) -> str:
    quote = find_key_quote(holder)
    written = _write(sheet, holder, value, quote, holder.entries[-1].start)
    if holder.form == "sequence":
        return written
    if sheet.json:
        return f"{write_json(name)}{sheet.json_colon}{written}"
    return f"{write_text(name, quote, flow=True, key=True)}: {written}"


def _lead(sheet: Sheet, holder: Piece) -> str:
    """What stands between a comma and the entry behind it."""
    text, last = sheet.text, holder.entries[-1]
    if sheet.is_first(last.start):
        return sheet.newline + sheet.margin(last.start)
    if len(holder.entries) > 1:
        comma = skip_gap(text, holder.entries[-2].value.end)
        between = text[comma + 1 : last.start]
        if not between.strip(_BLANKS):
            return between
    return "" if sheet.json and not sheet.json_colon.endswith(" ") else " "


def remove_in_brackets(sheet: Sheet, spot: Spot) -> list[Splice]:
    """Take one of several entries away, with one comma, and with the lines that it has alone."""
    text, entry = sheet.text, spot.entry
    end = entry.value.end
    comma = skip_gap(text, end)
    if text[comma] == ",":
        return [_cut(sheet, entry, comma + 1)]
    before = skip_gap(text, spot.holder.entries[spot.index - 1].value.end)
    if not _is_alone(sheet, entry, end) and not text[before + 1 : entry.start].strip():
        return [(before, end, "")]
    return [(before, before + 1, ""), _cut(sheet, entry, end)]


def _is_alone(sheet: Sheet, entry: Entry, end: int) -> bool:
    return sheet.is_first(entry.start) and is_rest(sheet.text, end)


def _cut(sheet: Sheet, entry: Entry, end: int) -> Splice:
    text = sheet.text
    if _is_alone(sheet, entry, end):
        return line_start(text, entry.start), next_line(text, end), ""
    if is_rest(text, end):
        return len(text[: entry.start].rstrip(_BLANKS)), end, ""
    return entry.start, len(text) - len(text[end:].lstrip(_BLANKS)), ""
