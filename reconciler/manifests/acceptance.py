"""Taking what is live over into the files that declare it: only the values that moved are edited.

All files of all manifests are worked out before the first is written, so that nothing is half
taken over where one of them cannot be edited.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from reconciler.errors import ManifestInvalid
from reconciler.manifests.definition import parse_json
from reconciler.manifests.editing import Edit, edit_json, edit_yaml, find_document
from reconciler.manifests.whole import read_whole
from reconciler.manifests.yaml_text import Text
from reconciler.model import Finding, Json, Manifest
from reconciler.pointers import format_pointer, split_pointer

_DEFINITION: Final = "/spec/definition"


@dataclass(frozen=True)
class Acceptance:
    """What is to be written into one manifest: edits by pointers into its document."""

    manifest: Manifest
    edits: tuple[Edit, ...]


def edit_files(root: Path, accepted: Iterable[Acceptance]) -> Mapping[Path, str]:
    """The new text of every file that changes; nothing is written.

    A part that a definition file holds is edited there. Raises ManifestInvalid with a finding for
    each edit that cannot be made.
    """
    texts: dict[Path, str] = {}
    findings: list[Finding] = []
    for one in accepted:
        for name, edits in _by_file(one).items():
            path = root / name
            text = texts.get(path) or read_whole(path)
            try:
                texts[path] = _edit(one.manifest, name, text, edits)
            except ManifestInvalid as error:
                subject = str(one.manifest.address)
                findings += [replace(found, subject=subject) for found in error.findings()]
    if findings:
        raise ManifestInvalid(tuple(findings))
    return texts


def _by_file(one: Acceptance) -> Mapping[str, list[Edit]]:
    """The edits by the file that holds each place; in a definition file pointers start anew."""
    manifest = one.manifest
    mounted = manifest.place(f"{_DEFINITION}/properties").file
    found: dict[str, list[Edit]] = {}
    for edit in one.edits:
        if mounted != manifest.file and edit.pointer.startswith(f"{_DEFINITION}/"):
            there = edit.pointer.removeprefix(_DEFINITION)
            found.setdefault(mounted, []).append(Edit(there, edit.value))
        else:
            found.setdefault(manifest.file, []).append(edit)
    return found


def _edit(manifest: Manifest, name: str, text: str, edits: Sequence[Edit]) -> str:
    if name.endswith(".json"):
        document, _, _ = parse_json(name, text)
        return edit_json(name, text, _spell(document, edits))
    index = find_document(name, text, manifest.address) if name == manifest.file else 0
    parsed = Text(name, text)
    document = parsed.build(list(parsed.compose())[index])
    return edit_yaml(name, text, index, _spell(document, edits))


def _spell(document: Json, edits: Iterable[Edit]) -> list[Edit]:
    """The edits with the names as the file spells them: a definition may be in another casing."""
    return [Edit(_spell_pointer(document, edit.pointer), edit.value) for edit in edits]


def _spell_pointer(document: Json, pointer: str) -> str:
    path: list[str] = []
    for segment in split_pointer(pointer):
        spelling = segment
        if isinstance(document, dict):
            if segment not in document:
                alike = (name for name in document if name.casefold() == segment.casefold())
                spelling = next(alike, segment)
            document = document.get(spelling)
        elif isinstance(document, list) and segment.isdecimal() and int(segment) < len(document):
            document = document[int(segment)]
        path.append(spelling)
    return format_pointer(tuple(path))
