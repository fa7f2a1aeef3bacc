"""Computes the exact position of every value of a document, which the edits need.

libyaml's events give the start and end of a scalar, an alias or a bracket. A block ends where its
last entry ends, because libyaml's own mark is after the comments that follow. Offsets are
libyaml's: they count characters without a BOM, so callers remove it. JSON has the same form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, Literal

import yaml

from reconciler.manifests.yaml_text import is_empty
from reconciler.model import SourceLocation
from reconciler.model.values import dataclass

BREAK: Final = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
_COMMENT: Final = r"#[^\r\n\x85\u2028\u2029]*"
_GAP: Final = re.compile(rf"(?:[ \t\r\n\x85\u2028\u2029]+|{_COMMENT})*")
_GAP_AND_COMMAS: Final = re.compile(rf"(?:[ \t\r\n\x85\u2028\u2029,]+|{_COMMENT})*")
_REST: Final = re.compile(rf"[ \t]*(?:{_COMMENT})?")
_PROPERTY: Final = re.compile(r"&[0-9A-Za-z_-]+|!<[^>]*>|![^\s,\[\]{}]*")
_HEADER: Final = re.compile(r"[|>]([-+0-9]*)")
_DECODER: Final = json.JSONDecoder()


@dataclass(frozen=True)
class Node:
    """A value in the text, from `start` up to `end`, without comments and line ends around it.

    `body` is its start after its tag and its anchor. `flow` says that it is in brackets. `style` is
    a scalar's quote or block sign: `'`, `"`, `|`, `>`, or "". `anchor` is the name of an anchor, or
    the anchor that an alias refers to; `text` is a scalar's value as read.
    """

    form: Literal["scalar", "mapping", "sequence", "alias"]
    start: int
    body: int
    end: int
    flow: bool = False
    style: str = ""
    anchor: str = ""
    text: str = ""
    entries: tuple[NodeEntry, ...] = ()

    def index(self, segment: str) -> int | None:
        """Returns the index of the entry that a pointer's segment names; None if it is missing."""
        if self.form == "mapping":
            names = (entry.key.text if entry.key else None for entry in self.entries)
            return next((at for at, name in enumerate(names) if name == segment), None)
        at = int(segment) if self.form == "sequence" and segment.isdecimal() else -1
        return at if 0 <= at < len(self.entries) else None

    def find(self, path: tuple[str, ...]) -> Node | None:
        """Returns the node at a path; None if it is missing."""
        at = self.index(path[0]) if path else None
        if at is None:
            return None if path else self
        return self.entries[at].value.find(path[1:])

    def walk(self) -> Iterator[Node]:
        """Yields the node and all nodes below it, keys included."""
        yield self
        for entry in self.entries:
            if entry.key:
                yield from entry.key.walk()
            yield from entry.value.walk()


@dataclass(frozen=True)
class NodeEntry:
    """A member of a mapping, or an item of a list.

    `start` is the position of its key, question mark, dash or bare item. `after` is where a value
    may start after the colon or the dash, and -1 if the colon is missing.
    """

    start: int
    after: int
    key: Node | None
    value: Node


def line_start(text: str, offset: int) -> int:
    """Returns the start of the line that holds an offset."""
    return max(text.rfind(one, 0, offset) for one in "\n\r\x85\u2028\u2029") + 1


def line_end(text: str, offset: int) -> int:
    """Returns the end of the line that holds an offset, before its line break."""
    found = BREAK.search(text, offset)
    return found.start() if found else len(text)


def next_line(text: str, offset: int) -> int:
    """Returns the start of the line after an offset, or the end of the text."""
    found = BREAK.search(text, offset)
    return found.end() if found else len(text)


def column(text: str, offset: int) -> int:
    """Returns the number of characters before an offset on its line."""
    return offset - line_start(text, offset)


def skip_gap(text: str, offset: int, *, commas: bool = False) -> int:
    """Returns the offset of the next text after blanks, line breaks and comments."""
    found = (_GAP_AND_COMMAS if commas else _GAP).match(text, offset)
    return found.end() if found else offset


def is_rest(text: str, offset: int) -> bool:
    """Whether the rest of the line has no text, or only a comment."""
    found = _REST.match(text, offset)
    return found is not None and found.end() == line_end(text, offset)


def place_at(file: str, text: str, offset: int) -> SourceLocation:
    """Returns an offset as line and column."""
    lines = sum(1 for _ in BREAK.finditer(text, 0, offset))
    return SourceLocation(file, lines + 1, column(text, offset) + 1)


def find_nearest_node(root: Node, path: tuple[str, ...]) -> int:
    """Returns the offset of a path, or of the nearest parent that exists: its key, or the item."""
    node, offset = root, root.start
    for segment in path:
        at = node.index(segment)
        if at is None:
            break
        entry = node.entries[at]
        node, offset = entry.value, entry.key.start if entry.key else entry.value.start
    return offset


def _split_events(text: str) -> list[list[yaml.Event]]:
    """The events of each document of a YAML text that can be composed, without empty documents."""
    documents: list[list[yaml.Event]] = []
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.DocumentStartEvent):
            documents.append([])
        elif isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
            documents[-1].append(event)
    return [events for events in documents if not is_empty(events[0])]


def lay_out_yaml(text: str, document: int) -> tuple[Node, list[list[tuple[object, ...]]]]:
    """Returns the layout of one document of a YAML text, and the content of the other documents.

    The text has no BOM and can be composed. The content of the others is equal if they only move.
    """
    documents = _split_events(text)
    events = iter(documents.pop(document))
    others = [[_sign(event) for event in one] for one in documents]
    return _LayoutBuilder(text, events).node(next(events)), others


def _sign(event: yaml.Event) -> tuple[object, ...]:
    names = ("anchor", "tag", "implicit", "value", "style", "flow_style")
    return type(event), *(getattr(event, name, None) for name in names)


class _LayoutBuilder:
    """Builds nodes from a document's events, in order."""

    def __init__(self, text: str, events: Iterator[yaml.Event]) -> None:
        self._text = text
        self._events = events

    def node(self, event: Any) -> Node:
        start, end = event.start_mark.index, event.end_mark.index
        if isinstance(event, yaml.AliasEvent):
            return Node("alias", start, start, end, anchor=str(event.anchor))
        body, anchor = self._behind_properties(event), event.anchor or ""
        if isinstance(event, yaml.ScalarEvent):
            style = event.style or ""
            if style in _BLOCKS:
                end = _end_of_block(self._text, body, end)
            text = str(event.value)
            return Node("scalar", start, body, end, style=style, anchor=anchor, text=text)
        form: Any = "mapping" if isinstance(event, yaml.MappingStartEvent) else "sequence"
        flow = bool(event.flow_style)
        whole = Node(form, start, body, end, flow=flow, anchor=anchor)
        return self._fill(whole)

    def _behind_properties(self, event: Any) -> int:
        """The start of the value itself; the event of a bracket ends after the bracket."""
        offset = int(event.start_mark.index)
        for _ in range((event.anchor is not None) + (event.tag is not None)):
            found = _PROPERTY.match(self._text, offset)
            if not found:
                break
            behind = skip_gap(self._text, found.end())
            offset = min(behind, max(event.end_mark.index, found.end()))
        return offset

    def _fill(self, whole: Node) -> Node:
        bracket = self._text[whole.body : whole.body + 1] in {"{", "["} and whole.flow
        last = whole.body + bracket
        entries: list[NodeEntry] = []
        for event in self._events:
            if isinstance(event, yaml.CollectionEndEvent):
                end: Any = event.end_mark
                last = end.index if bracket else last
                break
            entry = self._entry(whole, event, last)
            entries.append(entry)
            last = entry.value.end
        return replace(whole, end=last, entries=tuple(entries))

    def _entry(self, whole: Node, event: yaml.Event, last: int) -> NodeEntry:
        start = skip_gap(self._text, last, commas=whole.flow)
        value = self.node(event)
        if whole.form == "sequence":
            return _pin(NodeEntry(start, start if whole.flow else start + 1, None, value))
        key, value = value, self.node(next(self._events))
        colon = skip_gap(self._text, key.end)
        after = colon + 1 if self._text[colon : colon + 1] == ":" else -1
        return _pin(NodeEntry(start, after, key, value))


def _pin(entry: NodeEntry) -> NodeEntry:
    """Sets the position of an empty value at its entry: libyaml puts it before the next text."""
    value = entry.value
    if value.form != "scalar" or value.start < value.end:
        return entry
    at = entry.key.end if entry.key and entry.after < 0 else entry.after
    return replace(entry, value=replace(value, start=at, body=at, end=at))


_BLOCKS: Final = ("|", ">")


def _end_of_block(text: str, body: int, end: int) -> int:
    """The end of a literal or folded text, before its last line break.

    Empty lines after it are not included, unless they are part of the text: lines with more blanks
    than its indent and, with `+`, every line.
    """
    header = _HEADER.match(text, body)
    marks = header.group(1) if header else ""
    top = line_end(text, body)
    lines = _lines(text, next_line(text, body), end)
    indents = [len(line) - len(line.lstrip(" ")) for _, line in lines if line.strip(" ")]
    indent = min(indents) if indents and not any(map(str.isdigit, marks)) else 0
    while lines and "+" not in marks and len(lines[-1][1]) <= indent and not lines[-1][1].strip():
        lines.pop()
    return lines[-1][0] + len(lines[-1][1]) if lines else min(top, end)


def _lines(text: str, start: int, end: int) -> list[tuple[int, str]]:
    """The lines between two offsets, each with its start."""
    lines = []
    while start < end:
        lines.append((start, text[start : min(line_end(text, start), end)]))
        start = next_line(text, start)
    return lines


def lay_out_json(text: str) -> Node:
    """Returns the layout of a JSON text that is valid."""
    return _json_node(text, skip_gap(text, 0))


def _json_node(text: str, start: int) -> Node:
    if text[start] not in "{[":
        value, end = _DECODER.raw_decode(text, start)
        is_text = isinstance(value, str)
        style, said = ('"', value) if is_text else ("", "")
        return Node("scalar", start, start, end, style=style, text=said)
    entries: list[NodeEntry] = []
    form: Literal["mapping", "sequence"] = "mapping" if text[start] == "{" else "sequence"
    offset = skip_gap(text, start + 1)
    while text[offset] not in "}]":
        entries.append(_json_entry(text, form, offset))
        offset = skip_gap(text, entries[-1].value.end, commas=True)
    return Node(form, start, start, offset + 1, flow=True, entries=tuple(entries))


def _json_entry(text: str, form: str, start: int) -> NodeEntry:
    if form == "sequence":
        return NodeEntry(start, start, None, _json_node(text, start))
    key = _json_node(text, start)
    after = skip_gap(text, key.end) + 1
    return NodeEntry(start, after, key, _json_node(text, skip_gap(text, after)))
