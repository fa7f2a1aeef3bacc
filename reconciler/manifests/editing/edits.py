"""Makes edits in a manifest or a definition file, one after another, and verifies each of them.

Every edit is verified: its result is read again and compared with the wanted document.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

import yaml

from reconciler.document.pointers import find, split_pointer
from reconciler.errors import ManifestInvalid
from reconciler.manifests.definition_files import parse_json
from reconciler.manifests.editing.changes import check_writable, put, rename, split_change
from reconciler.manifests.editing.layout import (
    find_nearest_node,
    lay_out_json,
    lay_out_yaml,
    place_at,
)
from reconciler.manifests.editing.splices import make_splices, rename_key, splice
from reconciler.manifests.editing.style import Layout, Splice
from reconciler.manifests.tokens import NO_TOKENS, Scalar, fill
from reconciler.manifests.yaml_text import Text
from reconciler.model import Absent, Address, Edit, Finding, Json, SourceLocation
from reconciler.model.values import dataclass
from reconciler.text.json_text import is_same

_BOM: Final = "\ufeff"


def edit_yaml(file: str, text: str, document: int, edits: Sequence[Edit]) -> str:
    """Returns the text of a YAML file with edits made in one of its documents, counted from 0.

    Each edit applies to the result of the one before. An edit that is already true changes nothing.
    `text` is the whole file, line ends and BOM included (`read_whole`); `file` is its name in
    findings. Raises ManifestInvalid, with a finding for each edit that is not possible; nothing is
    changed then.
    """
    return _edit(_YamlForm(file, document), text, edits)


def edit_json(file: str, text: str, edits: Sequence[Edit]) -> str:
    """Returns the text of a definition file in JSON with edits made, like `edit_yaml`."""
    return _edit(_JsonForm(file), text, edits)


@dataclass(frozen=True)
class _Opened:
    """A text that was read: its document, its layout, and its other documents."""

    document: Json
    layout: Layout
    comparable: object = None


def find_document(
    file: str, text: str, address: Address, tokens: Mapping[str, Scalar] = NO_TOKENS
) -> int:
    """Returns the index in a YAML file of a resource's manifest, counted as in `edit_yaml`.

    `tokens` are the values of the environment, which the name may refer to. Raises ManifestInvalid
    if no document is that manifest, or if the file cannot be read.
    """
    parsed = Text(file, text.removeprefix(_BOM))
    nodes = list(parsed.compose())
    _check(parsed.findings)
    for number, node in enumerate(nodes):
        kind, name = (_read_text(node, path) for path in (("kind",), ("metadata", "name")))
        if (kind, fill(name or "", tokens)) == (address.kind, address.name):
            return number
    finding = Finding(_NOT_FOUND, str(address), SourceLocation(file, 1, 1))
    raise ManifestInvalid((finding,))


def _read_text(node: yaml.Node | None, path: tuple[str, ...]) -> str | None:
    for segment in path:
        members = node.value if isinstance(node, yaml.MappingNode) else ()
        node = next((value for key, value in members if key.value == segment), None)
    return str(node.value) if isinstance(node, yaml.ScalarNode) else None


class _Form(Protocol):
    """How a file is read."""

    @property
    def file(self) -> str: ...

    def open(self, text: str) -> _Opened:
        """Reads a text strictly; raises ManifestInvalid with all its findings."""
        ...


@dataclass(frozen=True)
class _YamlForm:
    file: str
    document: int

    def open(self, text: str) -> _Opened:
        parsed = Text(self.file, text)
        nodes = list(parsed.compose())
        if not parsed.findings and self.document >= len(nodes):
            place = SourceLocation(self.file, 1, 1)
            parsed.findings.append(Finding(f"has no document {self.document + 1}", place=place))
        value = None if parsed.findings else parsed.build(nodes[self.document])
        _check(parsed.findings)
        root, comparable = lay_out_yaml(text, self.document)
        return _Opened(value, Layout(text, root), comparable)


@dataclass(frozen=True)
class _JsonForm:
    file: str

    def open(self, text: str) -> _Opened:
        read = parse_json(self.file, text)
        _check(read.findings)
        return _Opened(read.document, Layout(text, lay_out_json(text), json=True))


def _check(findings: Iterable[Finding]) -> None:
    found = tuple(findings)
    if found:
        raise ManifestInvalid(found)


def _edit(form: _Form, text: str, edits: Sequence[Edit]) -> str:
    bom = _BOM if text.startswith(_BOM) else ""
    original = opened = form.open(text.removeprefix(bom))
    findings: list[Finding] = []
    for edit in edits:
        try:
            opened = _make(form, opened, edit)
        except ManifestInvalid as error:
            findings += (_locate(form, original, edit, found) for found in error.findings())
    _check(findings)
    return bom + opened.layout.text


def _locate(form: _Form, original: _Opened, edit: Edit, finding: Finding) -> Finding:
    """A finding of an edit, with the nearest location in the file."""
    offset = find_nearest_node(original.layout.root, split_pointer(edit.pointer))
    place = place_at(form.file, original.layout.text, offset)
    return replace(finding, subject=edit.pointer, place=place)


def _make(form: _Form, opened: _Opened, edit: Edit) -> _Opened:
    path = split_pointer(edit.pointer)
    if not path:
        _check([Finding("an edit cannot replace the whole document", next_step=_BY_HAND)])
    _check([*check_writable(edit.value), *check_writable([*path, edit.name])])
    if edit.name:
        wanted = rename(opened.document, path, edit.name)
        return _verify(form, opened, wanted, rename_key(opened.layout, path, edit.name))
    before, node = find(opened.document, path), opened.layout.root.find(path)
    smaller = list(split_change(node, path, before, edit.value))
    if len(smaller) > _MOST_SMALLER:
        smaller = [(path, edit.value)]
    for part, value in smaller:
        opened = _put(form, opened, part, value)
    return opened


def _put(form: _Form, opened: _Opened, path: tuple[str, ...], value: Json | Absent) -> _Opened:
    wanted = put(opened.document, path, value)
    return _verify(form, opened, wanted, make_splices(opened.layout, path, value))


def _verify(form: _Form, opened: _Opened, wanted: Json | Absent, splices: list[Splice]) -> _Opened:
    """Makes one change and verifies it: the result is the wanted document, nothing else moved."""
    changed = splice(opened.layout.text, splices)
    detail: tuple[str, ...] = ()
    try:
        after = form.open(changed)
    except ManifestInvalid as error:
        detail = tuple(found.message for found in error.findings()[:3])
    else:
        if is_same(after.document, wanted) and after.comparable == opened.comparable:
            return after
    finding = Finding(_BESIDE, detail=detail, next_step=_BY_HAND)
    raise ManifestInvalid((finding,))


_MOST_SMALLER: Final = 32
_NOT_FOUND: Final = "no document in this file is its manifest"
_BY_HAND: Final = "Change it by hand."
_BESIDE: Final = "cannot be changed in place without a change to the text beside it"
