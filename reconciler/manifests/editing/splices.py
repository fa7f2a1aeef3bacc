"""Computes which characters change for one value of a document: as few as possible.

It chooses between block and flow style; those modules compute the text.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, Never

from reconciler.errors import ManifestInvalid
from reconciler.manifests.editing.block_style import (
    insert_in_block,
    remove_in_block,
    replace_in_block,
    replace_root,
)
from reconciler.manifests.editing.flow_style import (
    insert_in_brackets,
    remove_in_brackets,
    replace_in_brackets,
    write_json_root,
)
from reconciler.manifests.editing.layout import Node
from reconciler.manifests.editing.style import Layout, Slot, Splice, write_json, write_text
from reconciler.model import Absent, Finding, Json

_WRITE_OUT: Final = "Write the value out in each place, without anchor and alias."


def splice(text: str, splices: list[Splice]) -> str:
    """Returns the text with splices made; they must not overlap."""
    for start, end, put in sorted(splices, reverse=True):
        text = text[:start] + put + text[end:]
    return text


def make_splices(layout: Layout, path: tuple[str, ...], value: Json | Absent) -> list[Splice]:
    """Returns the splices that put a value at a path, or that remove it for ABSENT.

    The document must allow it: only null may be in the way, and a value to remove must exist.
    Raises ManifestInvalid, without a location, if anchors and aliases do not allow it.
    """
    trail, node, missing = _follow(layout, path)
    slot = trail[-1] if trail else None
    if isinstance(value, Absent):
        _check_goes(layout, node)
        return _remove(layout, trail)
    if missing and node.entries:
        return _insert(layout, node, missing[0], nest(missing[1:], value))
    _check_goes(layout, node)
    if missing and node.form == "sequence":
        return _replace(layout, slot, [nest(missing[1:], value)])
    return _replace(layout, slot, nest(missing, value))


def rename_key(layout: Layout, path: tuple[str, ...], name: str) -> list[Splice]:
    """Returns the splices that give the key at a path another name, in the quotes that it has.

    Raises ManifestInvalid, without a location, if anchors and aliases do not allow it.
    """
    trail, _, _ = _follow(layout, path)
    slot = trail[-1]
    key = slot.entry.key
    if key is None or key.form != "scalar" or key.anchor:
        _refuse("the key has an anchor or an alias")
    if layout.json:
        return [(key.start, key.end, write_json(name))]
    written = write_text(name, key.style, flow=slot.parent.flow, key=True)
    return [(key.start, key.end, written)]


def nest(path: tuple[str, ...], value: Json) -> Json:
    """Returns a value inside the mappings of a path."""
    for segment in reversed(path):
        value = {segment: value}
    return value


def _follow(layout: Layout, path: tuple[str, ...]) -> tuple[list[Slot], Node, tuple[str, ...]]:
    """The slots on the way to a path, the node at its end, and the missing segments."""
    trail: list[Slot] = []
    node = layout.root
    for depth, segment in enumerate(path):
        _check_shared(layout, node)
        at = node.index(segment)
        if at is None:
            return trail, node, path[depth:]
        trail.append(Slot(node, at))
        node = trail[-1].entry.value
    return trail, node, ()


def _check_shared(layout: Layout, node: Node) -> None:
    """Refuses to change a part of a value that several places share."""
    if node.form == "alias":
        _refuse(f"the alias *{node.anchor} refers to a value that is written elsewhere")
    if layout.aliases[node.anchor]:
        _refuse_anchor(node)


def _check_goes(layout: Layout, node: Node) -> None:
    """Refuses to remove an anchor that another place refers to."""
    inside = list(node.walk())
    within = Counter(one.anchor for one in inside if one.form == "alias")
    for one in inside:
        if one.form != "alias" and layout.aliases[one.anchor] > within[one.anchor]:
            _refuse_anchor(one)


def _refuse_anchor(node: Node) -> Never:
    _refuse(f"the anchor &{node.anchor} shares this value with other places")


def _refuse(message: str) -> Never:
    raise ManifestInvalid((Finding(message, next_step=_WRITE_OUT),))


def _insert(layout: Layout, parent: Node, name: str, value: Json) -> list[Splice]:
    insert = insert_in_brackets if parent.flow else insert_in_block
    return insert(layout, parent, name, value)


def _replace(layout: Layout, slot: Slot | None, value: Json) -> list[Splice]:
    if slot is not None:
        replace = replace_in_brackets if slot.parent.flow else replace_in_block
        return replace(layout, slot, value)
    if layout.json:
        return [(layout.root.start, layout.root.end, write_json_root(layout, value))]
    return replace_root(layout, value)


def _remove(layout: Layout, trail: list[Slot]) -> list[Splice]:
    """Removes the last entry of the trail; an empty parent is written as `{}` or `[]`."""
    slot = trail[-1]
    if len(slot.parent.entries) == 1:
        empty: Json = {} if slot.parent.form == "mapping" else []
        return _replace(layout, trail[-2] if len(trail) > 1 else None, empty)
    remove = remove_in_brackets if slot.parent.flow else remove_in_block
    return remove(layout, slot)
