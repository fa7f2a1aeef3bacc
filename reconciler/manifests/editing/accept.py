"""Writes live values into the files that declare them, and edits only the values that differ.

The new texts of all files are computed before the first is written, so that an edit that fails
leaves every file unchanged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from reconciler.document.pointers import format_pointer, split_pointer
from reconciler.errors import ManifestInvalid
from reconciler.files import read_whole
from reconciler.manifests.definition_files import parse_json
from reconciler.manifests.editing import Edit, edit_json, edit_yaml, find_document
from reconciler.manifests.editing.csv_cells import edit_csv
from reconciler.manifests.editing.members import CellEdit, FleetTexts, override
from reconciler.manifests.tokens import NO_TOKENS, Scalar, find_tokens
from reconciler.manifests.variables import fits
from reconciler.manifests.yaml_text import Text
from reconciler.model import Address, Finding, Json, Manifest
from reconciler.model.values import dataclass
from reconciler.text.counting import count

_DEFINITION: Final = "/spec/definition"
_MOST_OVERRIDES: Final = 100


@dataclass(frozen=True)
class Acceptance:
    """The changes to one manifest: edits by pointers into its document."""

    manifest: Manifest
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class PlacedEdit:
    """One edit of a manifest, the file that it changes, and what it is made for."""

    accepted: Acceptance
    file: str
    edit: Edit | CellEdit

    @property
    def manifest(self) -> Manifest:
        """The manifest whose value changes."""
        return self.accepted.manifest


def place_edits(accepted: Iterable[Acceptance]) -> Sequence[PlacedEdit]:
    """Returns for each edit the file that it changes, and writes nothing.

    A value in a definition file is edited there. For a member of a fleet, the template stays as it
    is and the member gets an override. Raises ManifestInvalid with a finding for each edit that is
    not possible.
    """
    return _collect(accepted, _by_file, _OVERRIDDEN)


def place_in_items(
    root: Path,
    accepted: Iterable[Acceptance],
    fleets: Collection[tuple[str, Address]],
    tokens: Mapping[str, Scalar] = NO_TOKENS,
) -> Sequence[PlacedEdit]:
    """Returns the same, but a value that a member's item alone gives is changed in the item.

    `fleets` are all fleets of the project, each with the file of its manifest. `tokens` are the
    values of the environment.
    """
    texts = FleetTexts(root, fleets, tokens)

    def place(one: Acceptance) -> Iterator[tuple[str, Edit | CellEdit]]:
        manifest = one.manifest
        if manifest.member is None:
            yield from _by_file(one)
            return
        text = texts.read(manifest.file, manifest.member.fleet)
        for edit in text.place(manifest, one.edits):
            yield (edit.file if isinstance(edit, CellEdit) else manifest.file), edit

    return _collect(accepted, place, _COLUMNS)


def _collect(
    accepted: Iterable[Acceptance],
    place: Callable[[Acceptance], Iterator[tuple[str, Edit | CellEdit]]],
    too_many: str,
) -> Sequence[PlacedEdit]:
    placed: list[PlacedEdit] = []
    findings: list[Finding] = []
    for one in accepted:
        try:
            placed += (PlacedEdit(one, file, edit) for file, edit in place(one))
        except ManifestInvalid as error:
            findings += _concern(one.manifest, error)
    findings = [*_check_override_counts(placed, too_many), *findings]
    if findings:
        raise ManifestInvalid(tuple(findings))
    return placed


def apply_edits(
    root: Path, placed: Iterable[PlacedEdit], tokens: Mapping[str, Scalar] = NO_TOKENS
) -> Mapping[Path, str]:
    """Returns the new text of every file that changes, and writes nothing.

    `tokens` are the values of the environment. Raises ManifestInvalid, like `place_edits`.
    """
    texts: dict[Path, str] = {}
    findings: list[Finding] = []
    grouped: dict[tuple[Address, str], list[PlacedEdit]] = {}
    cells: dict[str, list[PlacedEdit]] = {}
    for one in placed:
        if isinstance(one.edit, CellEdit):
            cells.setdefault(one.file, []).append(one)
        else:
            grouped.setdefault((one.manifest.address, one.file), []).append(one)
    for (_, name), ones in grouped.items():
        path, manifest = root / name, ones[0].manifest
        text = texts.get(path) or read_whole(path)
        edits = [one.edit for one in ones if isinstance(one.edit, Edit)]
        try:
            texts[path] = _edit(manifest, name, text, edits, tokens)
        except ManifestInvalid as error:
            findings += _concern(manifest, error)
    for name, ones in cells.items():
        values = [one.edit for one in ones if isinstance(one.edit, CellEdit)]
        wanted = {(one.row, one.column): one.value for one in values}
        try:
            texts[root / name] = edit_csv(name, read_whole(root / name), wanted)
        except ManifestInvalid as error:
            findings += _concern(ones[0].manifest, error)
    if findings:
        raise ManifestInvalid(tuple(findings))
    return texts


def _check_override_counts(placed: Iterable[PlacedEdit], next_step: str) -> Iterator[Finding]:
    """Reports fleets with so many changed members that overrides would hide what they share."""
    members = {
        (one.manifest.member.fleet, one.manifest.address)
        for one in placed
        if one.manifest.member and isinstance(one.edit, Edit)
    }
    for fleet, number in Counter(fleet for fleet, _ in members).items():
        if number > _MOST_OVERRIDES:
            message = (
                f"{count(number, 'member')} changed, and at most {_MOST_OVERRIDES} get overrides"
            )
            yield Finding(message, subject=str(fleet), next_step=next_step)


_OVERRIDDEN: Final = "Change the template or the items, or accept some of the members by address."
_COLUMNS: Final = (
    "Give each value a column of its own in a CSV file, and write only the variable in the"
    " template, such as uri: ${uri} and sha256: ${sha256}."
)


def _concern(manifest: Manifest, error: ManifestInvalid) -> Iterator[Finding]:
    place = manifest.place("/spec")
    for found in error.findings():
        yield replace(found, subject=str(manifest.address), place=found.place or place)


def _by_file(one: Acceptance) -> Iterator[tuple[str, Edit]]:
    """Yields the edits with their file; in a definition file the pointers start at its own root."""
    manifest = one.manifest
    if manifest.member is not None:
        yield from ((manifest.file, edit) for edit in override(manifest, one.edits))
        return
    mounted = manifest.place(f"{_DEFINITION}/properties").file
    for edit in one.edits:
        if mounted != manifest.file and edit.pointer.startswith(f"{_DEFINITION}/"):
            yield mounted, replace(edit, pointer=edit.pointer.removeprefix(_DEFINITION))
        else:
            yield manifest.file, edit


def _find_index(
    manifest: Manifest, name: str, text: str, tokens: Mapping[str, Scalar] = NO_TOKENS
) -> int:
    owner = manifest.member.fleet if manifest.member else manifest.address
    return find_document(name, text, owner, tokens) if name == manifest.file else 0


def read_document(manifest: Manifest, name: str, text: str, tokens: Mapping[str, Scalar]) -> Json:
    """Returns the document in a YAML file that holds a manifest, as it is written."""
    parsed = Text(name, text.removeprefix("\ufeff"))
    index = _find_index(manifest, name, text, tokens)
    return parsed.build(list(parsed.compose())[index])


def _edit(
    manifest: Manifest,
    name: str,
    text: str,
    edits: Sequence[Edit],
    tokens: Mapping[str, Scalar],
) -> str:
    if name.endswith(".json"):
        return edit_json(name, text, _respell_edits(parse_json(name, text).document, edits))
    index = _find_index(manifest, name, text, tokens)
    parsed = Text(name, text)
    document = parsed.build(list(parsed.compose())[index])
    return edit_yaml(name, text, index, _respell_edits(document, edits))


def _respell_edits(document: Json, edits: Iterable[Edit]) -> list[Edit]:
    """The edits with names as the file spells them, because a definition may use other casing."""
    return [replace(edit, pointer=respell_pointer(document, edit.pointer)) for edit in edits]


def respell_pointer(document: Json, pointer: str) -> str:
    """Returns a pointer with names as a document spells them; a name may hold tokens."""
    path: list[str] = []
    for segment in split_pointer(pointer):
        spelling = segment
        if isinstance(document, dict):
            if segment not in document:
                alike = (name for name in document if _is_alike(name, segment))
                spelling = next(alike, segment)
            document = document.get(spelling)
        elif isinstance(document, list) and segment.isdecimal() and int(segment) < len(document):
            document = document[int(segment)]
        path.append(spelling)
    return format_pointer(tuple(path))


def _is_alike(name: str, segment: str) -> bool:
    return name.casefold() == segment.casefold() or bool(find_tokens(name) and fits(name, segment))
