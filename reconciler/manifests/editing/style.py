"""Formats a value for a text that people wrote: plain, quoted, in brackets or on several lines.

A text is written without quotes only if this package reads the same text back. Invisible
characters are written as escapes, so that a reviewer sees them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Final, TypeAlias

import yaml

from reconciler.manifests.editing.layout import BREAK, Node, NodeEntry, column, line_start
from reconciler.model import Json
from reconciler.model.values import dataclass
from reconciler.text.json_text import escape_json

Splice: TypeAlias = tuple[int, int, str]
_BLANKS: Final = " \t"
_COLON: Final = re.compile(r" *: *")


WIDTH: Final = 80
_STR: Final = "tag:yaml.org,2002:str"
_ESCAPES: Final = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
}


def write_scalar(value: Json, quote: str, *, flow: bool) -> str:
    """Returns a text, number, boolean or null on one line; `quote` is the preferred quote."""
    if isinstance(value, str):
        return write_text(value, quote, flow=flow)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    number = repr(value)
    # YAML 1.1 reads 1e+16 as text.
    return number.replace("e", ".0e") if "e" in number and "." not in number else number


def write_text(text: str, quote: str, *, flow: bool, key: bool = False) -> str:
    """Returns a text on one line, in the preferred quotes if possible, otherwise in others."""
    for wanted in _TRIED.get(quote, ()):
        written = "'" + text.replace("'", "''") + "'" if wanted else text
        if text.isprintable() and _reads_as(written, text, flow=flow, key=key):
            return written
    return '"' + "".join(map(_escape, text)) + '"'


_TRIED: Final = {"": ("", "'"), "'": ("'",)}


def is_plain_text(text: str, *, flow: bool) -> bool:
    """Whether a text without quotes is read as the same text, and not as a number or null."""
    return _reads_as(text, text, flow=flow, key=False)


def _reads_as(written: str, text: str, *, flow: bool, key: bool) -> bool:
    entry = f"{written}: x" if key else f"x: {written}"
    # In brackets, the next character decides whether a single dash is text.
    variants = (f"{{{entry}}}", f"{{{entry} }}") if flow else (entry,)
    return all(_read_entry(one, key=key) == text for one in variants)


def _read_entry(written: str, *, key: bool) -> str | None:
    """The text that is read as the value or the key of one entry; None if it is not text."""
    try:
        node = yaml.compose(written, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        return None
    if not isinstance(node, yaml.MappingNode) or len(node.value) != 1:
        return None
    read: yaml.Node = node.value[0][0 if key else 1]
    return str(read.value) if read.tag == _STR else None


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def write_flow(value: Json, quote: str) -> str:
    """Returns any value on one line, in a form for brackets."""
    if isinstance(value, dict):
        entries = [
            f"{write_text(name, quote, flow=True, key=True)}: {write_flow(below, quote)}"
            for name, below in value.items()
        ]
        return "{" + ", ".join(entries) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(write_flow(item, quote) for item in value) + "]"
    return write_scalar(value, quote, flow=True)


def write_inline(value: Json, quote: str, room: int, *, flow: bool) -> str | None:
    """Returns a value on one line; None if it is too long for one line."""
    if not isinstance(value, dict | list):
        return write_scalar(value, quote, flow=flow)
    written = write_flow(value, quote)
    return written if flow or not value or len(written) <= room else None


def write_lines(value: Json, quote: str, indent: int, step: int) -> list[str]:
    """Returns a mapping or a list as lines; the caller indents them by `indent`."""
    if isinstance(value, dict):
        heads = (f"{write_text(name, quote, flow=False, key=True)}:" for name in value)
        entries = zip(heads, value.values(), strict=True)
    else:
        entries = zip(["-"] * len(value), value, strict=True)
    lines = (write_entry(head, below, quote, indent, step) for head, below in entries)
    return [line for written in lines for line in written]


def write_entry(head: str, value: Json, quote: str, indent: int, step: int) -> list[str]:
    """Returns `key:` or `-` with its value, on one line or on several."""
    inline = write_inline(value, quote, WIDTH - indent - len(head) - 1, flow=False)
    if inline is not None:
        return [f"{head} {inline}"]
    if head == "-":
        first, *rest = write_lines(value, quote, indent + 2, step)
        return [f"- {first}", *(f"  {line}" for line in rest)]
    below = write_lines(value, quote, indent + step, step)
    return [head, *(" " * step + line for line in below)]


def write_block(text: str, style: str, indent: int) -> tuple[str, list[str]] | None:
    """Returns a text as a literal or folded block: header and lines; None if that is not possible.

    A folded text becomes literal if folding would join its lines.
    """
    lines = text.removesuffix("\n").split("\n")
    if not text.strip() or not all(line.replace("\t", "").isprintable() for line in lines):
        return None
    style = style if len(lines) == 1 else "|"
    header = style if text.endswith("\n") else f"{style}-"
    written = [" " * indent + line if line else "" for line in lines]
    block = "\n".join([header, *written, ""])
    return (header, written) if _reads_as(block, text, flow=False, key=False) else None


def write_json(value: Json, *, step: str | None = None, colon: str = ": ") -> str:
    """Returns a value in JSON; `step` is the indent, and without it the value is on one line."""
    comma = ", " if step is None and colon.endswith(" ") else ","
    return escape_json(
        json.dumps(value, indent=step, separators=(comma, colon), ensure_ascii=False)
    )


@dataclass(frozen=True)
class Slot:
    """An entry, and the mapping or list that holds it."""

    parent: Node
    index: int

    @property
    def entry(self) -> NodeEntry:
        """The entry itself."""
        return self.parent.entries[self.index]


@dataclass(frozen=True)
class Layout:
    """A document in its text. A splice replaces the text between two offsets of it."""

    text: str
    root: Node
    json: bool = False

    @cached_property
    def newline(self) -> str:
        """The line break of the file."""
        found = BREAK.search(self.text)
        return found.group() if found and found.group() in {"\r\n", "\r"} else "\n"

    @cached_property
    def step(self) -> int:
        """The number of blanks by which a nested mapping is indented."""
        return next(self._find_steps(), 2)

    def _find_steps(self) -> Iterator[int]:
        for node in self.root.walk():
            for entry in node.entries if _is_block_mapping(node) else ():
                if _is_block_mapping(entry.value):
                    inner, outer = entry.value.entries[0].start, node.entries[0].start
                    yield column(self.text, inner) - column(self.text, outer)

    @cached_property
    def json_step(self) -> str:
        """The indent of JSON on several lines."""
        starts = (entry.start for entry in self.root.entries)
        return next((self.margin(start) for start in starts if self.is_first(start)), "  ")

    @cached_property
    def json_colon(self) -> str:
        """The colon of JSON with the blanks around it."""
        entries = (entry for node in self.root.walk() for entry in node.entries if entry.key)
        between = (self.text[entry.key.end : entry.value.start] for entry in entries if entry.key)
        return next((colon for colon in between if _COLON.fullmatch(colon)), ": ")

    @cached_property
    def aliases(self) -> Counter[str]:
        """The number of references to each anchor."""
        return Counter(node.anchor for node in self.root.walk() if node.form == "alias")

    def margin(self, offset: int) -> str:
        """Returns the indent of the line that holds an offset."""
        line = self.text[line_start(self.text, offset) : offset]
        return line[: len(line) - len(line.lstrip(_BLANKS))]

    def is_first(self, offset: int) -> bool:
        """Whether only blanks are before an offset on its line."""
        return not self.text[line_start(self.text, offset) : offset].strip(_BLANKS)


def _is_block_mapping(node: Node) -> bool:
    return node.form == "mapping" and not node.flow and bool(node.entries)


def choose_quote(parent: Node, entry: NodeEntry) -> str:
    """Returns the quote for a new value of an entry: the quote of its present value.

    In brackets it is JSON's quote if the key has JSON's quote.
    """
    value, beside = entry.value, entry.key or entry.value
    if value.style in {"'", '"'}:
        return value.style
    if value.form == "scalar" and is_plain_text(value.text, flow=parent.flow):
        return ""
    return '"' if parent.flow and beside.style == '"' else ""


def choose_key_quote(parent: Node) -> str:
    """Returns the quote for a new entry: the quote of the last entry."""
    last = parent.entries[-1]
    return '"' if (last.key or last.value).style == '"' else ""
