"""Writes live values into the files that declare them, and edits only the values that differ.

The new texts of all files are computed before the first is written, so that an edit that fails
leaves every file unchanged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from reconciler.document.pointers import format_pointer, split_pointer
from reconciler.errors import ManifestInvalid
from reconciler.files import read_whole
from reconciler.manifests.definition_files import parse_json
from reconciler.manifests.editing import Edit, edit_json, edit_yaml, find_document, put
from reconciler.manifests.fleet.overrides import make_overrides
from reconciler.manifests.variables import escape
from reconciler.manifests.yaml_text import Text
from reconciler.model import Finding, Json, Manifest
from reconciler.model.values import dataclass
from reconciler.text.counting import count

_DEFINITION: Final = "/spec/definition"
_MOST_OVERRIDES: Final = 100


@dataclass(frozen=True)
class Acceptance:
    """The changes to one manifest: edits by pointers into its document."""

    manifest: Manifest
    edits: tuple[Edit, ...]


def edit_files(root: Path, accepted: Iterable[Acceptance]) -> Mapping[Path, str]:
    """Returns the new text of every file that changes, and writes nothing.

    A value in a definition file is edited there. For a member of a fleet, the template stays as it
    is and the member gets an override. Raises ManifestInvalid with a finding for each edit that is
    not possible.
    """
    accepted = list(accepted)
    texts: dict[Path, str] = {}
    findings = list(_check_override_counts(accepted))
    for one in () if findings else accepted:
        try:
            wanted = _by_file(one)
        except ManifestInvalid as error:
            findings += _concern(one.manifest, error)
            continue
        for name, edits in wanted.items():
            path = root / name
            text = texts.get(path) or read_whole(path)
            try:
                texts[path] = _edit(one.manifest, name, text, edits)
            except ManifestInvalid as error:
                findings += _concern(one.manifest, error)
    if findings:
        raise ManifestInvalid(tuple(findings))
    return texts


def _check_override_counts(accepted: Iterable[Acceptance]) -> Iterator[Finding]:
    """Reports fleets with so many changed members that overrides would hide what they share."""
    fleets = Counter(one.manifest.member.fleet for one in accepted if one.manifest.member)
    for fleet, members in fleets.items():
        if members > _MOST_OVERRIDES:
            message = (
                f"{count(members, 'member')} changed, and at most {_MOST_OVERRIDES} get overrides"
            )
            step = "Change the template or the items, or accept some of the members by address."
            yield Finding(message, subject=str(fleet), next_step=step)


def _concern(manifest: Manifest, error: ManifestInvalid) -> Iterator[Finding]:
    place = manifest.place("/spec")
    for found in error.findings():
        yield replace(found, subject=str(manifest.address), place=found.place or place)


def _by_file(one: Acceptance) -> Mapping[str, list[Edit]]:
    """The edits by file; in a definition file the pointers start at its own root."""
    manifest = one.manifest
    if manifest.member is not None:
        return {manifest.file: list(_override(one))}
    mounted = manifest.place(f"{_DEFINITION}/properties").file
    found: dict[str, list[Edit]] = {}
    for edit in one.edits:
        if mounted != manifest.file and edit.pointer.startswith(f"{_DEFINITION}/"):
            there = edit.pointer.removeprefix(_DEFINITION)
            found.setdefault(mounted, []).append(Edit(there, edit.value))
        else:
            found.setdefault(manifest.file, []).append(edit)
    return found


def _override(one: Acceptance) -> Iterator[Edit]:
    """The edits of a fleet's manifest that give one of its members the wanted values."""
    before = after = one.manifest.spec
    for edit in one.edits:
        after = put(after, split_pointer(edit.pointer)[1:], edit.value)
    for path, value in make_overrides(before, after):
        at = ("spec", "overrides", one.manifest.address.name, *map(escape, path))
        yield Edit(format_pointer(at), escape(value))


def _edit(manifest: Manifest, name: str, text: str, edits: Sequence[Edit]) -> str:
    if name.endswith(".json"):
        return edit_json(name, text, _respell_edits(parse_json(name, text).document, edits))
    owner = manifest.member.fleet if manifest.member else manifest.address
    index = find_document(name, text, owner) if name == manifest.file else 0
    parsed = Text(name, text)
    document = parsed.build(list(parsed.compose())[index])
    return edit_yaml(name, text, index, _respell_edits(document, edits))


def _respell_edits(document: Json, edits: Iterable[Edit]) -> list[Edit]:
    """The edits with names as the file spells them, because a definition may use other casing."""
    return [Edit(_respell_pointer(document, edit.pointer), edit.value) for edit in edits]


def _respell_pointer(document: Json, pointer: str) -> str:
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
