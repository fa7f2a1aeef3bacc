"""Reads YAML text as JSON values, strictly, with the source location of everything.

libyaml parses. This module refuses what libyaml accepts: duplicate keys, surprising scalars of YAML
1.1 (`no`, `012`, dates, 12:30:45), tags, merge keys, anchors that expand without bound. It collects
every finding of a file. No finding quotes a value that might be a secret. It is long because a
value and its place are read together.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

import yaml

from reconciler.document.pointers import read_index, split_pointer
from reconciler.manifests.budget import MORE_ERRORS, MOST_ERRORS, Budget
from reconciler.manifests.variables import fits, is_plain
from reconciler.model import Finding, Json, SourceLocation
from reconciler.secrets.suspicion import REFER, SUSPICIOUS, is_suspicious, quote_word
from reconciler.text.patterns import compile_lazily

_STR: Final = "tag:yaml.org,2002:str"
_PREFIX: Final = "tag:yaml.org,2002:"
_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)", re.ASCII)
_FLOAT: Final = compile_lazily(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", re.ASCII)
_EXPONENT: Final = compile_lazily(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?[eE][-+]?[0-9]{1,4}", re.ASCII)
_SHORT: Final = 12
_UNSAID: Final = "…"
_TAG: Final = re.compile(r"!![a-z]{1,12}(/[a-z]{1,12}:)?|![A-Za-z]{1,20}$")
MOST_VALUES: Final = 500_000
# A node takes 300 bytes until its value is built; a name is a node too.
_MOST_NODES: Final = 600_000
DEEPEST: Final = 64
# Shorter texts, of which there are many, are not searched for secrets.
SHORTEST_SECRET: Final = 20
_QUOTE: Final = "Put quotes around it if it is meant as text."


_TAGS: Final[Mapping[type[yaml.Node], str]] = {
    yaml.MappingNode: f"{_PREFIX}map",
    yaml.SequenceNode: f"{_PREFIX}seq",
}
# The tags of plain scalars with their patterns, by the first character. No tag is for any of them.
_RESOLVERS: Final[Mapping[str, list[tuple[str, re.Pattern[str]]]]] = (
    yaml.CSafeLoader.yaml_implicit_resolvers
)


class _TooManyNodes(Exception):
    """A text holds too many nodes; `place` is the start of the collection with the last one."""

    def __init__(self, place: yaml.Mark | None) -> None:
        super().__init__()
        self.place = place


class _Loader(yaml.CSafeLoader):
    """Composes nodes, and counts them while they are made."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.count = 0

    def resolve(self, kind: type[yaml.Node], value: str, implicit: tuple[bool, bool]) -> str:
        """Returns the tag of a node without one, as PyYAML does, in half of the time."""
        if kind is not yaml.ScalarNode:
            return _TAGS[kind]
        if implicit[0]:
            for tag, pattern in _RESOLVERS.get(value[:1], ()):
                if pattern.match(value):
                    return tag
        return _STR

    def descend_resolver(self, current_node: Any, _: Any) -> None:
        """Counts a node: libyaml calls it for each one that is not an alias."""
        self.count += 1
        if self.count > _MOST_NODES:
            raise _TooManyNodes(getattr(current_node, "start_mark", None))

    def ascend_resolver(self) -> None:
        """Does nothing: a node is counted when it begins."""


class Text:
    """One file's YAML: its documents as nodes, and the findings while values are built.

    `count` is the number of names and values that were read. They are charged to the `budget` of
    the project, if the text is one of its files.
    """

    def __init__(
        self, file: str, text: str, budget: Budget | None = None, *, dates: bool = False
    ) -> None:
        """With `dates`, a date or a time needs no quotes: it is the text that is written."""
        self.file = file
        self._dates = dates
        self.findings: list[Finding] = []
        self._left = MOST_VALUES
        self._text = text
        self._budget = budget
        self.count = 0

    @cached_property
    def has_tokens(self) -> bool:
        """Whether a text of it may refer to a value of an environment.

        Each document of the file asks, so the file is searched once.
        """
        return "${" in self._text

    def compose(self) -> Iterator[yaml.Node]:
        """Yields each document's root node; a syntax error becomes a finding and ends the file.

        An empty document (`---` and then nothing, or only comments) is skipped. Raises
        ProjectTooLarge.
        """
        loader = None
        try:
            loader = _Loader(self._text)
            while loader.check_node():
                node = loader.get_node()
                self._charge_up_to(loader.count, node)
                if node is not None and not is_empty(node):
                    yield node
        except yaml.YAMLError as error:
            self.findings.append(self._explain(error))
        except _TooManyNodes as error:
            self.findings.append(
                Finding(
                    f"holds more than {_MOST_NODES:,} values",
                    place=SourceLocation(
                        self.file,
                        error.place.line + 1 if error.place else 1,
                        error.place.column + 1 if error.place else 1,
                    ),
                    next_step=_SPLIT,
                )
            )
        except RecursionError:
            self.findings.append(
                Finding(
                    "is nested too deeply",
                    place=SourceLocation(self.file, 1, 1),
                    next_step=_FLATTEN,
                )
            )
        # A document that is refused was read too.
        self._charge_up_to(loader.count if loader else 0)

    def build(self, node: yaml.Node) -> Json:
        """Returns the node's value; an unsupported part becomes null, with a finding.

        Raises ProjectTooLarge: aliases make more values than there are nodes.
        """
        value = self._build(node, 0)
        self._charge_up_to(MOST_VALUES - self._left, node)
        return value

    def _charge_up_to(self, count: int, node: yaml.Node | None = None) -> None:
        """Charges the names and values that are not charged yet, of `count` in the file."""
        more, self.count = count - self.count, max(count, self.count)
        if self._budget is not None and more > 0:
            place = self.place(node) if node else SourceLocation(self.file, 1, 1)
            self._budget.charge("names and values", more, place)

    def place(self, node: yaml.Node) -> SourceLocation:
        """Returns the start of a node."""
        return place_of(self.file, node)

    def find_places(self, node: yaml.Node) -> SourceMap:
        """Returns the locations of a document's values, which can release their memory."""
        start = node.start_mark
        lines = self._text[start.index - start.column : node.end_mark.index]
        return SourceMap(self.file, node, lines, start.line)

    def _explain(self, error: yaml.YAMLError) -> Finding:
        mark = getattr(error, "problem_mark", None)
        place = SourceLocation(self.file, mark.line + 1, mark.column + 1) if mark else None
        if isinstance(error, yaml.reader.ReaderError):
            before = self._text[: error.position]
            column = len(before) - before.rfind("\n")
            place = SourceLocation(self.file, before.count("\n") + 1, column)
        problem = getattr(error, "problem", None) or "it holds a character that YAML forbids"
        if "nesting depth" in problem:
            # libyaml has its own limit, which is lower than ours for flow collections on one line.
            return Finding("is nested too deeply", place=place, next_step=_FLATTEN)
        lines = self._text.splitlines()
        line = lines[mark.line] if mark and mark.line < len(lines) else ""
        if "\t" in line[: len(line) - len(line.lstrip())]:
            problem, step = "a tab indents this line", "Indent with spaces."
        else:
            step = ""
        return Finding(f"is not YAML: {problem}", place=place, next_step=step)

    def _refuse(
        self, node: yaml.Node, message: str, next_step: str = "", detail: tuple[str, ...] = ()
    ) -> None:
        """Adds a finding. After very many of them it adds only that more exist."""
        found = len(self.findings)
        if found < MOST_ERRORS:
            self.findings.append(Finding(message, "", self.place(node), detail, next_step))
        elif found == MOST_ERRORS:
            self.findings.append(replace(MORE_ERRORS, place=self.place(node)))

    def _build(self, node: yaml.Node, depth: int) -> Json:
        self._left -= 1
        if self._left <= 0 or depth > DEEPEST:
            self._refuse_size(node, depth)
            return None
        if isinstance(node, yaml.ScalarNode):
            if node.tag == _STR:
                if len(node.value) > SHORTEST_SECRET and is_suspicious(node.value):
                    self._refuse(node, SUSPICIOUS, REFER)
                return node.value
            return self._scalar(node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        if node.tag != f"{_PREFIX}seq":
            self._refuse_tag(node)
        return [self._build(item, depth + 1) for item in node.value]

    def _refuse_size(self, node: yaml.Node, depth: int) -> None:
        if depth > DEEPEST:
            self._refuse(node, f"is nested more than {DEEPEST} levels deep", _FLATTEN)
        elif self._left == 0:
            expands = f"holds more than {MOST_VALUES:,} values once its aliases are expanded"
            self._refuse(node, expands, "Write the values out, in several files if need be.")

    def _mapping(self, node: yaml.MappingNode, depth: int) -> Json:
        if node.tag != f"{_PREFIX}map":
            self._refuse_tag(node)
        result: dict[str, Json] = {}
        first: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self._key(key)
            if name in result:
                before = self.place(first[name])
                message = f"duplicate key{quote_word(name)}"
                self._refuse(key, message, detail=(f"The first one is on {before}.",))
                continue
            first[name] = key
            result[name] = self._build(value, depth + 1)
        return result

    def _key(self, node: yaml.Node) -> str:
        if node.tag == _STR:
            if len(node.value) > SHORTEST_SECRET and is_suspicious(node.value):
                self._refuse(node, SUSPICIOUS, REFER)
                return _UNSAID  # another finding about it would quote the name
            return str(node.value)
        if isinstance(node, yaml.ScalarNode) and node.tag == f"{_PREFIX}merge":
            self._refuse(node, "merge keys (<<) are not supported", "Write the keys out.")
            return "<<"
        if not isinstance(node, yaml.ScalarNode):
            self._refuse(node, "a key must be text")
            return ""
        self._refuse(node, "a key must be text, and YAML reads this one as another type", _QUOTE)
        return str(node.value)

    def _scalar(self, node: yaml.ScalarNode) -> Json:
        word, text = node.tag.removeprefix(_PREFIX), node.value
        if word == "null":
            return None
        if word == "bool" and text.lower() in {"true", "false"}:
            return text.lower() == "true"
        if word == "int" and _INTEGER.fullmatch(text) and len(text) < 40:
            return int(text)
        if word == "float" and _FLOAT.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
        if word == "timestamp" and self._dates:
            return str(text)
        if word in {"bool", "int", "float", "timestamp"}:
            taken = {"bool": "true or false", "timestamp": "a date"}.get(word, "a number")
            said = f'"{text}"' if len(text) <= _SHORT else "a value"
            self._refuse(node, f"{said} would be read as {taken}", _QUOTE)
        else:
            self._refuse_tag(node)
        return None

    def _refuse_tag(self, node: yaml.Node) -> None:
        tag = node.tag.replace(_PREFIX, "!!")
        known = _TAG.match(tag)
        said = f"the tag {known[0]}" if known else "a text that begins with ! is a tag, and"
        self._refuse(node, f"{said} is not supported", "Remove it, or put quotes around the text.")


_FLATTEN: Final = "Flatten it."
_SPLIT: Final = "Split it into several files."


def is_empty(document: Any) -> bool:
    """Whether a document, given as its root node or its first event, has no text: not even null."""
    if document is None:
        return True
    scalar = isinstance(document, yaml.ScalarNode | yaml.ScalarEvent)
    untagged = scalar and document.tag in {None, f"{_PREFIX}null"}
    return untagged and not document.value and not document.style


def read_plain(text: str) -> int | float | bool | None:
    """Returns the number or boolean that a text is, by the strict rules of this module."""
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if _INTEGER.fullmatch(text) and len(text) < 40:
        return int(text)
    number = float(text) if _FLOAT.fullmatch(text) else math.inf
    return number if math.isfinite(number) else None


def place_of(file: str, node: yaml.Node, lines_above: int = 0) -> SourceLocation:
    """Returns the start of a node, counted from 1; the text of the node may begin further down."""
    mark: Any = node.start_mark
    return SourceLocation(file, lines_above + mark.line + 1, mark.column + 1)


# The root of a text that YAML cannot read.
NOWHERE: Final = yaml.MappingNode("", [], yaml.Mark("", 0, 0, 0, None, 0))
# A short text is not compressed: most projects have only such manifests.
_LONG: Final = 4096
_Entry = tuple[yaml.Node, yaml.Node]
_MANY: Final = 50
_MOST_OPEN: Final = 100


class _Large:
    """An index of a mapping with many members, for fast lookups.

    Only the first names with variables are compared, because a user may have written thousands.
    """

    def __init__(self, node: yaml.MappingNode) -> None:
        named: list[tuple[str, _Entry]] = [
            (str(key.value), (key, value))
            for key, value in node.value
            if isinstance(key, yaml.ScalarNode)
        ]
        self._named = dict(reversed(named))
        self._folded = {name.casefold(): entry for name, entry in reversed(named)}
        self._open = [(name, entry) for name, entry in named if not is_plain(name)][:_MOST_OPEN]

    def step(self, segment: str) -> _Entry:
        """Returns the entry for a segment; raises KeyError if the node has no such entry."""
        found = self._named.get(segment) or self._folded.get(segment.casefold())
        if found:
            return found
        for name, entry in self._open:
            if fits(name, segment):
                return entry
        raise KeyError(segment)


class SourceMap(Mapping[str, SourceLocation]):
    """The locations of one document's values, by JSON pointer; computed on request.

    The location of a mapping's member is that of its key. `mounted` holds the documents that were
    read from other files, by the pointer at which they were included.
    """

    def __init__(
        self, file: str, node: yaml.Node | None, text: str = "", lines_above: int = 0
    ) -> None:
        """`text` is the source of the nodes, if they can be composed from it again.

        `lines_above` is the number of lines before it in the file. Without a `node` the text is
        composed when a location is needed; then it may be text that YAML cannot read.
        """
        self._file = file
        self._known = node
        self._text: str | bytes = text
        self._lines_above = lines_above
        self._shift = 0 if node else lines_above
        self.mounted: dict[str, SourceMap] = {}
        self._large: dict[int, _Large] = {}

    def __getitem__(self, pointer: str) -> SourceLocation:
        for prefix, places in self.mounted.items():
            if pointer.startswith(f"{prefix}/"):
                return places[pointer.removeprefix(prefix)]
        return place_of(self._file, self._find(pointer)[0], self._shift)

    def rest(self) -> None:
        """Releases the nodes until they are needed: they take ten times the memory of the text.

        A long text is compressed. Callers must not do this after they took a part of the document.
        """
        if self._text:
            self._known = None
            self._large.clear()
            self._shift = self._lines_above
        if isinstance(self._text, str) and len(self._text) > _LONG:
            self._text = zlib.compress(self._text.encode("utf-8", "surrogatepass"), 1)
        for places in self.mounted.values():
            places.rest()

    def find_nearest(self, pointer: str) -> SourceLocation:
        """Returns the location of a value, or of its nearest parent that exists."""
        while pointer:
            try:
                return self[pointer]
            except (KeyError, ValueError):
                pointer = pointer.rpartition("/")[0]
        return self[pointer]

    def read_exponent(self, pointer: str) -> float | None:
        """Returns the number of a text without quotes, such as 1.2e1 or 1e-6, or None.

        A whole number is an int. The text is a number to JSON and YAML 1.2. YAML 1.1, which libyaml
        reads, takes it for text.
        """
        for prefix, places in self.mounted.items():
            if pointer.startswith(f"{prefix}/"):
                return places.read_exponent(pointer.removeprefix(prefix))
        try:
            node = self._find(pointer)[1]
        except (KeyError, ValueError):
            return None
        if not isinstance(node, yaml.ScalarNode) or node.style:
            return None
        number = float(node.value) if _EXPONENT.fullmatch(node.value) else math.nan
        if not math.isfinite(number):
            return None
        return int(number) if number.is_integer() else number

    def part(self, pointer: str, name: str = "") -> SourceMap:
        """Returns the locations of the value at a pointer, as a document of its own.

        With a `name`, that document is a mapping whose only member has this name.
        """
        key, value = self._find(pointer)
        if name:
            key = yaml.ScalarNode(_STR, name, key.start_mark)
            value = yaml.MappingNode(f"{_PREFIX}map", [(key, value)], key.start_mark)
        return SourceMap(self._file, value)

    def _find(self, pointer: str) -> _Entry:
        at = node = self._root
        for segment in split_pointer(pointer):
            at, node = self._step(node, segment)
        return at, node

    @property
    def _root(self) -> yaml.Node:
        if self._known is None:
            text = self._text
            if isinstance(text, bytes):
                text = zlib.decompress(text).decode("utf-8", "surrogatepass")
            self._known = next(Text(self._file, text).compose(), NOWHERE)
        return self._known

    def _step(self, node: yaml.Node, segment: str) -> _Entry:
        if not isinstance(node, yaml.MappingNode) or len(node.value) < _MANY:
            return _step(node, segment)
        if id(node) not in self._large:
            self._large[id(node)] = _Large(node)
        return self._large[id(node)].step(segment)

    def __contains__(self, pointer: object) -> bool:
        try:
            self[str(pointer)]
        except (KeyError, ValueError):
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _step(node: yaml.Node, segment: str) -> _Entry:
    """The entry for a segment below a node: the key and the value, or the item twice.

    A key in another casing matches too, and so does a key with variables that can become it.
    """
    if isinstance(node, yaml.MappingNode):
        casefolded = segment.casefold()
        near = None
        for key, value in node.value:
            if key.value == segment:
                return key, value
            name = str(key.value)
            if near is None and (name.casefold() == casefolded or fits(name, segment)):
                near = key, value
        if near:
            return near
    if isinstance(node, yaml.SequenceNode) and 0 <= (index := read_index(segment)) < len(
        node.value
    ):
        return node.value[index], node.value[index]
    raise KeyError(segment)
