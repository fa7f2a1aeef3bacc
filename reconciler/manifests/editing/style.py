"""How a value is written into a text that people wrote: plain, quoted, in brackets, in lines.

Text stays plain only where this package reads the same text back, and what cannot be seen is
written as an escape: nobody could review it.
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
    """A text, number, boolean or null on one line; `quote` is how a text is best quoted."""
    if isinstance(value, str):
        return write_text(value, quote, flow=flow)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    number = repr(value)
    # YAML 1.1 takes 1e+16 for text.
    return number.replace("e", ".0e") if "e" in number and "." not in number else number


def write_text(text: str, quote: str, *, flow: bool, key: bool = False) -> str:
    """A text on one line, quoted as wanted where that can hold it, and as needed where not."""
    for wanted in _TRIED.get(quote, ()):
        written = "'" + text.replace("'", "''") + "'" if wanted else text
        if text.isprintable() and _reads_as(written, text, flow=flow, key=key):
            return written
    return '"' + "".join(map(_escape, text)) + '"'


_TRIED: Final = {"": ("", "'"), "'": ("'",)}


def is_plain_text(text: str, *, flow: bool) -> bool:
    """Whether what is written without quotes is read as that text, and not as a number or null."""
    return _reads_as(text, text, flow=flow, key=False)


def _reads_as(written: str, text: str, *, flow: bool, key: bool) -> bool:
    entry = f"{written}: x" if key else f"x: {written}"
    # Between brackets a dash alone is text or not, depending on what follows.
    variants = (f"{{{entry}}}", f"{{{entry} }}") if flow else (entry,)
    return all(_read_entry(one, key=key) == text for one in variants)


def _read_entry(written: str, *, key: bool) -> str | None:
    """The text that is read as the value or the key of one entry; None if it is no text."""
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
    """Any value on one line, as it may stand between brackets."""
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
    """A value on one line; None for what is better written in lines, being long."""
    if not isinstance(value, dict | list):
        return write_scalar(value, quote, flow=flow)
    written = write_flow(value, quote)
    return written if flow or not value or len(written) <= room else None


def write_lines(value: Json, quote: str, indent: int, step: int) -> list[str]:
    """A mapping or a list as lines that will be indented by `indent`."""
    if isinstance(value, dict):
        heads = (f"{write_text(name, quote, flow=False, key=True)}:" for name in value)
        entries = zip(heads, value.values(), strict=True)
    else:
        entries = zip(["-"] * len(value), value, strict=True)
    lines = (write_entry(head, below, quote, indent, step) for head, below in entries)
    return [line for written in lines for line in written]


def write_entry(head: str, value: Json, quote: str, indent: int, step: int) -> list[str]:
    """`key:` or `-` with its value, on one line or in several."""
    inline = write_inline(value, quote, WIDTH - indent - len(head) - 1, flow=False)
    if inline is not None:
        return [f"{head} {inline}"]
    if head == "-":
        first, *rest = write_lines(value, quote, indent + 2, step)
        return [f"- {first}", *(f"  {line}" for line in rest)]
    below = write_lines(value, quote, indent + step, step)
    return [head, *(" " * step + line for line in below)]


def write_block(text: str, style: str, indent: int) -> tuple[str, list[str]] | None:
    """A text as a literal or folded block: its header and its lines, or None if it cannot be one.

    A folded one becomes literal where its lines would run together.
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
    """A value in JSON; `step` indents it, and without one it is on one line."""
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
    """A document in its text. A splice replaces what stands between two offsets of it."""

    text: str
    root: Node
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
        for node in self.root.walk():
            for entry in node.entries if _is_block_mapping(node) else ():
                if _is_block_mapping(entry.value):
                    inner, outer = entry.value.entries[0].start, node.entries[0].start
                    yield column(self.text, inner) - column(self.text, outer)

    @cached_property
    def json_step(self) -> str:
        """What JSON in lines is indented by."""
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
        """How often each anchor is referred to."""
        return Counter(node.anchor for node in self.root.walk() if node.form == "alias")

    def margin(self, offset: int) -> str:
        """The blanks with which the line of an offset begins."""
        line = self.text[line_start(self.text, offset) : offset]
        return line[: len(line) - len(line.lstrip(_BLANKS))]

    def is_first(self, offset: int) -> bool:
        """Whether only blanks stand before an offset on its line."""
        return not self.text[line_start(self.text, offset) : offset].strip(_BLANKS)


def _is_block_mapping(node: Node) -> bool:
    return node.form == "mapping" and not node.flow and bool(node.entries)


def choose_quote(parent: Node, entry: NodeEntry) -> str:
    """How a text is quoted in the place of an entry's value: as that is.

    Between brackets it is quoted in JSON's way where the key is.
    """
    value, beside = entry.value, entry.key or entry.value
    if value.style in {"'", '"'}:
        return value.style
    if value.form == "scalar" and is_plain_text(value.text, flow=parent.flow):
        return ""
    return '"' if parent.flow and beside.style == '"' else ""


def choose_key_quote(parent: Node) -> str:
    """How what is added to a mapping or a list is quoted: doubly if the last entry is."""
    last = parent.entries[-1]
    return '"' if (last.key or last.value).style == '"' else ""
