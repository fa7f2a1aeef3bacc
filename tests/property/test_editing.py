"""The laws of editing in place, on documents in many hands.

What comes out is the document with the edit applied; what does not belong to the edited entry is
the same to the byte; what is there already changes nothing.
"""

import copy
import json
import re
from collections.abc import Iterator

import pytest
import yaml
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from reconciler.document.pointers import find, format_pointer
from reconciler.errors import ManifestInvalid
from reconciler.manifests.editing import Edit, edit_json, edit_yaml
from reconciler.manifests.yaml_text import Text
from reconciler.model import ABSENT, Absent, Json
from tests.property.handwriting import NAMES, VALUES, json_manuscripts, manuscripts

pytestmark = pytest.mark.property
Path_ = tuple[str | int, ...]
COMMENT = re.compile(r"# comment \d+:")
OFTEN = settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])


def paths(value: Json, path: Path_ = ()) -> Iterator[Path_]:
    members = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for name, below in members:
        yield (*path, name)
        yield from paths(below, (*path, name))


def same(one: Json, other: Json) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def applied(document: Json, path: Path_, value: Json | Absent) -> Json:
    """The edit on values, in another way than the editor's."""
    result = copy.deepcopy(document)
    holder = result
    for name in path[:-1]:
        if find(holder, (name,)) in (None, ABSENT):
            assign(holder, name, {})
        holder = holder[name]
    if isinstance(value, Absent):
        del holder[path[-1]]
    else:
        assign(holder, path[-1], value)
    return result


def assign(holder: Json, name: str | int, value: Json) -> None:
    if isinstance(holder, list) and name == len(holder):
        holder.append(value)
    else:
        holder[name] = value


@st.composite
def edits(draw: st.DrawFn, document: Json) -> tuple[Path_, Json | Absent]:
    """Something to change, to take away, or to add below a mapping, a list or null."""
    known = list(paths(document))
    action = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
    if action != "add":
        path = draw(st.sampled_from(known))
        return path, ABSENT if action == "remove" else draw(VALUES)
    path = draw(st.sampled_from([(), *(one for one in known if may_hold(find(document, one)))]))
    holder = find(document, path)
    name = len(holder) if isinstance(holder, list) else draw(NAMES)
    deeper = draw(st.lists(NAMES, max_size=2))
    path = (*path, name, *deeper)
    assume(is_open(document, path))
    return path, draw(VALUES)


def is_open(document: Json, path: Path_) -> bool:
    """Whether nothing stands in the way of a path."""
    if not path or document is None or document is ABSENT:
        return True
    if isinstance(document, dict):
        return is_open(document.get(path[0], ABSENT), path[1:])
    if not isinstance(document, list) or not isinstance(path[0], int):
        return False
    return path[0] == len(document) or is_open(document[path[0]], path[1:])


def may_hold(value: Json) -> bool:
    return value is None or isinstance(value, dict | list)


def read(text: str, document: int) -> Json:
    parsed = Text("f", text.removeprefix("\ufeff"))
    value = parsed.build(list(parsed.compose())[document])
    assert parsed.findings == [], text
    return value


@given(data=st.data())
@OFTEN
def test_yaml(data: st.DataObject) -> None:
    text, document, index = data.draw(manuscripts())
    assert same(read(text, index), document), text
    path, value = data.draw(edits(document))
    pointer = format_pointer(path)
    bounds = Bounds(text.removeprefix("\ufeff"), index, path, removes=value is ABSENT)
    edited = edit_yaml("f", text, index, [Edit(pointer, value)])
    wanted = applied(document, path, value)
    assert same(read(edited, index), wanted), edited
    assert edit_yaml("f", edited, index, [Edit(pointer, find(wanted, path))]) == edited
    if same_or_absent(find(document, path), value):
        assert edited == text
    bounds.check(edited.removeprefix("\ufeff"))


class Bounds:
    """Outside of which an edit may change nothing, read off the composed nodes of the text.

    `start` and `end` are offsets: what stands before and behind them stays. Comments stay too,
    unless they begin within `lost`.
    """

    def __init__(self, text: str, index: int, path: Path_, *, removes: bool) -> None:
        self.text = text
        self.lost = (0, 0)
        node, trail = self.compose(index), []
        for depth, segment in enumerate(path):
            at = below(node, segment)
            if at is None:
                self.missing = len(path) - depth
                break
            trail.append((node, at))
            node = members(node)[at][1]
        else:
            self.missing = 0
        if self.missing and isinstance(node, yaml.CollectionNode) and node.value:
            self.add(node)
        elif removes and len(members(trail[-1][0])) > 1:
            self.remove(*trail[-1])
        elif removes:
            self.empty(trail[:-1], trail[-1][0])
        else:
            self.replace(trail, node)

    def compose(self, index: int) -> yaml.Node:
        return list(Text("f", self.text).compose())[index]

    def add(self, node: yaml.Node) -> None:
        key, value = members(node)[-1]
        end = self.tight_end(value, key)
        open_text = self.line_end(end) == len(self.text) and ends_openly(value, self.text)
        # An item behind a text that the file's end cuts off would lengthen it; so it is refused.
        assume(not (open_text and key is None))
        self.start = start_of(key or value) if open_text else end
        self.end = self.line_end(end)

    def remove(self, holder: yaml.Node, at: int) -> None:
        key, value = members(holder)[at]
        end = self.line_end(self.tight_end(value, key))
        self.start, self.end = self.before(holder, at), self.behind_line(end)
        start = self.skip(self.start)
        self.lost = (start, end)
        if at == 0 and self.text[:start].rpartition("\n")[2].strip():
            self.end = start_of(members(holder)[1][0] or members(holder)[1][1])

    def empty(self, trail: list[tuple[yaml.Node, int]], holder: yaml.Node) -> None:
        self.replace(trail, holder)
        key, value = members(holder)[0]
        if not is_flow(holder):
            start = self.skip(start_of(holder))
            self.lost = (start, self.line_end(self.tight_end(value, key)))

    def replace(self, trail: list[tuple[yaml.Node, int]], node: yaml.Node) -> None:
        key = members(trail[-1][0])[trail[-1][1]][0] if trail else None
        end = self.tight_end(node, key)
        self.start = end_of(key) if key else self.before(*trail[-1]) if trail else start_of(node)
        self.end = self.behind_line(end)
        flow = isinstance(node, yaml.ScalarNode) or is_flow(node)
        self.lost = (start_of(node), end if flow else self.line_end(end))

    def before(self, holder: yaml.Node, at: int) -> int:
        if at:
            key, value = members(holder)[at - 1]
            return self.tight_end(value, key)
        return start_of(holder) + is_flow(holder)

    def tight_end(self, node: yaml.Node, key: yaml.Node | None = None) -> int:
        """Where a node's last character is; libyaml's mark lies behind comments and blanks."""
        if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
            key, value = members(node)[-1]
            return self.tight_end(value, key)
        if start_of(node) == end_of(node) and key:
            return end_of(key)
        return start_of(node) + len(self.text[start_of(node) : end_of(node)].rstrip())

    def skip(self, offset: int) -> int:
        """Where a key or a dash comes, behind comments."""
        found = re.compile(r"(?:[\s,]|#.*)*").match(self.text, offset)
        return found.end() if found else offset

    def line_end(self, offset: int) -> int:
        found = BREAK.search(self.text, offset)
        return found.start() if found else len(self.text)

    def behind_line(self, offset: int) -> int:
        found = BREAK.search(self.text, offset)
        return found.end() if found else len(self.text)

    def check(self, after: str) -> None:
        assert after.startswith(self.text[: self.start].rstrip()), after
        assert after.endswith(self.text[self.end :]), after
        for comment in COMMENT.finditer(self.text):
            if not self.lost[0] <= comment.start() < self.lost[1]:
                assert after.count(comment.group()) == 1, (comment.group(), after)


BREAK = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")


def ends_openly(node: yaml.Node, text: str) -> bool:
    while isinstance(node, yaml.CollectionNode) and node.value:
        node = members(node)[-1][1]
    block = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
    return block and "-" not in text[start_of(node) : start_of(node) + 2]


def is_flow(node: yaml.Node) -> bool:
    return isinstance(node, yaml.CollectionNode) and bool(node.flow_style)


def start_of(node: yaml.Node) -> int:
    assert node.start_mark is not None
    return int(node.start_mark.index)


def end_of(node: yaml.Node) -> int:
    assert node.end_mark is not None
    return int(node.end_mark.index)


def members(node: yaml.Node) -> list[tuple[yaml.Node | None, yaml.Node]]:
    return node.value if isinstance(node, yaml.MappingNode) else [(None, one) for one in node.value]


def below(node: yaml.Node, segment: str | int) -> int | None:
    """Which member a segment leads to."""
    if isinstance(node, yaml.ScalarNode):
        return None
    found = (
        at
        for at, (key, _) in enumerate(members(node))
        if (at == segment if key is None else key.value == segment)
    )
    return next(found, None)


@given(data=st.data())
@OFTEN
def test_what_is_there_already_changes_nothing(data: st.DataObject) -> None:
    text, document, index = data.draw(manuscripts())
    path = data.draw(st.sampled_from(list(paths(document))))
    pointer = format_pointer(path)
    there = Edit(pointer, json.loads(json.dumps(find(document, path))))
    assert edit_yaml("f", text, index, [there, Edit(f"{pointer}/x/y", ABSENT), there]) == text


@given(data=st.data())
@OFTEN
def test_several_edits_are_made_one_after_the_other(data: st.DataObject) -> None:
    text, document, index = data.draw(manuscripts())
    made, step_by_step = [], text
    for _ in range(data.draw(st.integers(2, 4))):
        if not list(paths(document)):
            break
        path, value = data.draw(edits(document))
        Bounds(step_by_step.removeprefix("\ufeff"), index, path, removes=value is ABSENT)
        made.append(Edit(format_pointer(path), value))
        document = applied(document, path, value)
        step_by_step = edit_yaml("f", step_by_step, index, made[-1:])
    edited = edit_yaml("f", text, index, made)
    assert edited == step_by_step
    assert same(read(edited, index), document)


FRAGMENTS = st.sampled_from(
    ["&x ", "*x", "? ", ": ", "- ", "|+\n", "  ", " ", "\n", "\n\n", "# c\n", " # c", ",", "{", "}", "[", "]",
     "!!str ", "!!map ", "'", '"', "a: b", ", c: d", "\n  more", "\t", "\u2028", "\x85", "\r", ">-\n", "|2\n", "---\n"]
)  # fmt: skip


@given(data=st.data())
@OFTEN
def test_whatever_is_yaml_is_edited_rightly_or_refused(data: st.DataObject) -> None:
    """Texts that nobody would write: anchors, question marks, commas in front."""
    text, _, index = data.draw(manuscripts())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(FRAGMENTS) + text[at + data.draw(st.integers(0, 1)) :]
    parsed = Text("f", text.removeprefix("\ufeff"))
    nodes = list(parsed.compose())
    assume(not parsed.findings and index < len(nodes))
    document = parsed.build(nodes[index])
    assume(not parsed.findings and list(paths(document)))
    path, value = data.draw(edits(document))
    wanted = applied(document, path, value)
    event("taken")
    try:
        edited = edit_yaml("f", text, index, [Edit(format_pointer(path), value)])
    except ManifestInvalid as refused:
        event(refused.findings()[0].message)
    else:
        assert same(read(edited, index), wanted)
        assert (
            edit_yaml("f", text, index, [Edit(format_pointer(path), find(document, path))]) == text
        )


@given(data=st.data())
@OFTEN
def test_json(data: st.DataObject) -> None:
    """A text that was written by a program is as that program would write the other document."""
    text, document, write = data.draw(json_manuscripts())
    path, value = data.draw(edits(document))
    pointer = format_pointer(path)
    there = [Edit(format_pointer(one), find(document, one)) for one in paths(document)]
    assert edit_json("f", text, there) == text
    edited = edit_json("f", text, [Edit(pointer, value)])
    after = json.loads(edited.removeprefix("\ufeff"))
    assert same(after, applied(document, path, value))
    assert edit_json("f", edited, [Edit(pointer, find(after, path))]) == edited
    assert unescape(edited) == unescape(write(after))


def unescape(text: str) -> str:
    """Whether a character is written as an escape is not the program's habit but the editor's."""
    return re.sub(
        r"(?<!\\)((?:\\\\)*)((?:\\u[0-9a-f]{4})+)",
        lambda found: found[1] + json.loads(f'"{found[2]}"'),
        text,
    )


def same_or_absent(one: Json | Absent, other: Json | Absent) -> bool:
    return (
        one is other if isinstance(one, Absent) or isinstance(other, Absent) else same(one, other)
    )
