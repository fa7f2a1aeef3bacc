"""Edits values in YAML's block style: a colon or a dash, text on the same line, and lines below.

Comments on their own lines stay, unless they are inside a value that is removed.
"""

from __future__ import annotations

from typing import Final

from reconciler.manifests.editing.layout import (
    BREAK,
    Node,
    NodeEntry,
    column,
    line_end,
    line_start,
    next_line,
)
from reconciler.manifests.editing.style import (
    WIDTH,
    Layout,
    Slot,
    Splice,
    choose_key_quote,
    choose_quote,
    write_block,
    write_entry,
    write_inline,
    write_lines,
    write_text,
)
from reconciler.model import Json
from reconciler.model.values import dataclass

_BLANKS: Final = " \t"
_BLOCK_STYLES: Final = ("|", ">")


@dataclass(frozen=True)
class _Span:
    """The text of a value: its first line up to `head`, and the lines from `body` to `end`."""

    head: int
    body: int
    end: int

    @property
    def has_body(self) -> bool:
        return self.body < self.end


def _extend(text: str, entry: NodeEntry) -> _Span:
    old, below = entry.value, line_end(text, entry.value.end)
    if old.style in _BLOCK_STYLES:
        head = old.body + len(text[old.body : old.end].split(maxsplit=1)[0])
        if BREAK.search(text, head, old.end):
            return _Span(head, next_line(text, head), next_line(text, old.end))
        return _Span(head, below, below)
    if old.entries and not old.flow and BREAK.search(text, entry.after, old.entries[0].start):
        first = old.entries[0].start
        head = entry.after if old.start == first else _end_of_properties(text, old)
        return _Span(head, line_start(text, first), next_line(text, old.end))
    return _Span(old.end, below, below)


def _end_of_properties(text: str, node: Node) -> int:
    line = text[node.start : line_end(text, node.start)]
    return node.start + len(line.partition(" #")[0].rstrip(_BLANKS))


def replace_in_block(layout: Layout, slot: Slot, value: Json) -> list[Splice]:
    """Replaces the value of an entry; a comment on the same line stays."""
    text, entry = layout.text, slot.entry
    if entry.after < 0:
        return [(entry.value.end, entry.value.end, f": {write_inline(value, '', 0, flow=True)}")]
    span = _extend(text, entry)
    head, body = _write_value(layout, slot, span, value)
    start = entry.value.start
    if not head or start >= span.head:
        start, head = entry.after, f" {head}" if head else ""
    between = text[span.head : span.body]
    if span.has_body:
        below = "".join(line + layout.newline for line in body)
    else:
        below = "".join(layout.newline + line for line in body)
    return [(start, span.end, head + between + below)]


def _write_value(layout: Layout, slot: Slot, span: _Span, value: Json) -> tuple[str, list[str]]:
    """The text after the colon or the dash, and the lines below it."""
    old, quote = slot.entry.value, choose_quote(slot.parent, slot.entry)
    indent = column(layout.text, slot.parent.entries[0].start)
    indent += 2 if slot.parent.form == "sequence" else layout.step
    if old.style in _BLOCK_STYLES and isinstance(value, str):
        block = write_block(value, old.style, _measure_indent(layout.text, span) or indent)
        if block:
            return block
    room = WIDTH - column(layout.text, slot.entry.after) - 1
    inline = write_inline(value, quote, room, flow=False)
    if inline is not None:
        return inline, []
    lines = write_lines(value, quote, indent, layout.step)
    kept = 1 if _may_begin_behind_dash(layout.text, slot, span) else 0
    return "".join(lines[:kept]), [" " * indent + line for line in lines[kept:]]


def _measure_indent(text: str, span: _Span) -> int:
    """The indent of a block's lines; 0 if it cannot be measured."""
    lines = BREAK.split(text[span.body : span.end])
    return min((len(line) - len(line.lstrip(" ")) for line in lines if line.strip(" ")), default=0)


def _may_begin_behind_dash(text: str, slot: Slot, span: _Span) -> bool:
    """Whether a value may start on the line of its dash: the line has no other text."""
    entry = slot.entry
    return (
        slot.parent.form == "sequence"
        and not span.has_body
        and text[entry.after : entry.value.start] in {"", " "}
        and not text[span.head : span.body].strip(_BLANKS)
    )


def replace_root(layout: Layout, value: Json) -> list[Splice]:
    """Replaces a root that is empty, or that becomes empty."""
    inline = write_inline(value, "", WIDTH, flow=False)
    lines = [inline] if inline is not None else write_lines(value, "", 0, layout.step)
    return [(layout.root.start, layout.root.end, layout.newline.join(lines))]


def insert_in_block(layout: Layout, parent: Node, name: str, value: Json) -> list[Splice]:
    """Adds an entry on its own lines after the last one."""
    text, quote = layout.text, choose_key_quote(parent)
    indent = column(text, parent.entries[0].start)
    head = "-"
    if parent.form == "mapping":
        head = f"{write_text(name, quote, flow=False, key=True)}:"
    lines = [" " * indent + line for line in write_entry(head, value, quote, indent, layout.step)]
    below = line_end(text, parent.end)
    if below == len(text) and _ends_openly(text, parent):
        start = line_start(text, parent.entries[-1].start)
        return [(start, start, "".join(line + layout.newline for line in lines))]
    return [(below, below, "".join(layout.newline + line for line in lines))]


def _ends_openly(text: str, node: Node) -> bool:
    """Whether a line break at the end of the file would become part of the text that ends there."""
    while node.entries:
        node = node.entries[-1].value
    header = text[node.body : line_end(text, node.body)].partition(" ")[0]
    return node.style in _BLOCK_STYLES and "-" not in header


def remove_in_block(layout: Layout, slot: Slot) -> list[Splice]:
    """Removes one of several entries: its lines, with the comment on its line."""
    text, entry = layout.text, slot.entry
    end = entry.value.end
    if layout.is_first(entry.start):
        return [(line_start(text, entry.start), next_line(text, end), "")]
    following = slot.parent.entries[slot.index + 1].start
    if text[next_line(text, end) : following].strip():
        return [(len(text[: entry.start].rstrip(_BLANKS)), line_end(text, end), "")]
    return [(entry.start, following, "")]
