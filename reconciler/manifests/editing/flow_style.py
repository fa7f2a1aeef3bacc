"""Edits values in brackets: YAML's flow style, and JSON."""

from __future__ import annotations

import re
from typing import Final

from reconciler.manifests.editing.layout import (
    Node,
    NodeEntry,
    is_rest,
    line_end,
    line_start,
    next_line,
    skip_gap,
)
from reconciler.manifests.editing.style import (
    Layout,
    Slot,
    Splice,
    choose_key_quote,
    choose_quote,
    write_flow,
    write_json,
    write_text,
)
from reconciler.model import Json

_BLANKS: Final = " \t"
# JSON has no other line breaks; the other ones may be part of its texts.
_LINES: Final = re.compile(r"[\r\n]")


def replace_in_brackets(layout: Layout, slot: Slot, value: Json) -> list[Splice]:
    """Replaces the value of an entry, or adds a value to an entry without one."""
    entry, old = slot.entry, slot.entry.value
    written = _write(layout, slot.parent, value, choose_quote(slot.parent, entry), entry.start)
    if entry.after < 0:
        written = f": {written}"
    elif old.start == old.end:
        written = f" {written}"
    return [(old.start, old.end, written)]


def _write(layout: Layout, parent: Node, value: Json, quote: str, offset: int) -> str:
    """A value for the line of an offset; JSON is on several lines if its parent is."""
    if not layout.json:
        return write_flow(value, quote)
    lines = _LINES.search(layout.text, parent.start, parent.end) or not parent.entries
    written = write_json(value, step=layout.json_step if lines else None, colon=layout.json_colon)
    return written.replace("\n", layout.newline + layout.margin(offset))


def write_json_root(layout: Layout, value: Json) -> str:
    """Replaces the empty root of a JSON document."""
    return _write(layout, layout.root, value, "", 0)


def insert_in_brackets(layout: Layout, parent: Node, name: str, value: Json) -> list[Splice]:
    """Adds an entry after the last one, on its own line if the last one is on its own line."""
    text, last = layout.text, parent.entries[-1]
    end = last.value.end
    comma = skip_gap(text, end)
    behind = comma + 1 if text[comma] == "," else end
    lead = _lead(layout, parent)
    below = line_end(text, behind)
    point = below if lead.strip(_BLANKS) and below < parent.end else behind
    written = lead + _write_member(layout, parent, name, value)
    if behind > end:
        return [(point, point, f"{written},")]
    # A colon without a value would join with a comma.
    comma_now = " ," if last.value.start == end and last.after == end else ","
    return [(end, point, comma_now + text[end:point] + written)]


def _write_member(layout: Layout, parent: Node, name: str, value: Json) -> str:
    quote = choose_key_quote(parent)
    written = _write(layout, parent, value, quote, parent.entries[-1].start)
    if parent.form == "sequence":
        return written
    if layout.json:
        return f"{write_json(name)}{layout.json_colon}{written}"
    return f"{write_text(name, quote, flow=True, key=True)}: {written}"


def _lead(layout: Layout, parent: Node) -> str:
    """The text between a comma and the next entry."""
    text, last = layout.text, parent.entries[-1]
    if layout.is_first(last.start):
        return layout.newline + layout.margin(last.start)
    if len(parent.entries) > 1:
        comma = skip_gap(text, parent.entries[-2].value.end)
        between = text[comma + 1 : last.start]
        if not between.strip(_BLANKS):
            return between
    return "" if layout.json and not layout.json_colon.endswith(" ") else " "


def remove_in_brackets(layout: Layout, slot: Slot) -> list[Splice]:
    """Removes one of several entries, with one comma and the lines that only this entry uses."""
    text, entry = layout.text, slot.entry
    end = entry.value.end
    comma = skip_gap(text, end)
    if text[comma] == ",":
        return [_cut(layout, entry, comma + 1)]
    before = skip_gap(text, slot.parent.entries[slot.index - 1].value.end)
    if not _is_alone(layout, entry, end) and not text[before + 1 : entry.start].strip():
        return [(before, end, "")]
    return [(before, before + 1, ""), _cut(layout, entry, end)]


def _is_alone(layout: Layout, entry: NodeEntry, end: int) -> bool:
    return layout.is_first(entry.start) and is_rest(layout.text, end)


def _cut(layout: Layout, entry: NodeEntry, end: int) -> Splice:
    text = layout.text
    if _is_alone(layout, entry, end):
        return line_start(text, entry.start), next_line(text, end), ""
    if is_rest(text, end):
        return len(text[: entry.start].rstrip(_BLANKS)), end, ""
    return entry.start, len(text) - len(text[end:].lstrip(_BLANKS)), ""
