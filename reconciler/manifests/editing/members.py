"""Finds where a value of a fleet's member is written: in its item, or in its override.

A value of the template that is nothing but one variable is the value of the item, so that it is
changed there: in the cell of a CSV file, or in the entry of a list. The template is shared, so any
other value becomes an override of the member.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Final

from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.files import read_whole, resolve_path
from reconciler.manifests.editing.changes import put, rename
from reconciler.manifests.editing.edits import find_document
from reconciler.manifests.fleet.overrides import make_overrides
from reconciler.manifests.tokens import NO_TOKENS, Scalar, replace_tokens
from reconciler.manifests.variables import Variable, escape, split_text
from reconciler.manifests.yaml_text import Text
from reconciler.model import ABSENT, Address, Edit, Json, Manifest, Path
from reconciler.model.values import dataclass

_ITEM: Final = ("spec", "items", "list")


@dataclass(frozen=True, slots=True)
class CellEdit:
    """A value for a cell of the CSV file of a fleet; rows count as in `Member`."""

    file: str
    row: int
    column: str
    value: str


@dataclass(frozen=True)
class FleetText:
    """The manifest of a fleet as it is written.

    `uses` counts the uses of each variable, in this fleet and in those that share its items.
    """

    document: Json
    uses: Counter[str]

    @classmethod
    def read(cls, file: str, text: str, fleet: Address, tokens: Mapping[str, Scalar]) -> FleetText:
        """Returns the manifest of a fleet; raises ManifestInvalid if the file does not have it."""
        index = find_document(file, text, fleet, tokens)
        parsed = Text(file, text.removeprefix("\ufeff"))
        node = list(parsed.compose())[index]
        if tokens:
            replace_tokens(file, node, tokens, "")
        document = parsed.build(node)
        spec = document["spec"]
        return cls(document, Counter(_list_names([spec["template"], spec.get("overrides", {})])))

    @property
    def csv(self) -> str:
        """The CSV file of the items, relative to the manifest; "" for a list."""
        return str(self.document["spec"]["items"].get("csv", ""))

    def share(self, others: Iterable[FleetText]) -> FleetText:
        """Returns this fleet, with the uses of the variables in fleets that have the same items."""
        return replace(self, uses=sum((one.uses for one in others), self.uses))

    def place(self, manifest: Manifest, edits: tuple[Edit, ...]) -> Iterator[Edit | CellEdit]:
        """Yields the edits that give a member its values, in items where that is possible.

        If a name changes, all of them are in the override: it repeats the values under that name.
        """
        if any(edit.name for edit in edits):
            yield from override(manifest, edits)
            return
        left: list[Edit] = []
        for edit in edits:
            name = self._find_variable(manifest, split_pointer(edit.pointer))
            placed = self._write_item(manifest, name, edit.value) if name else None
            if placed is None:
                left.append(edit)
            else:
                yield placed
        yield from override(manifest, tuple(left))

    def _find_variable(self, manifest: Manifest, path: Path) -> str:
        """Returns the name in the item that alone is the value at a path, "" without one.

        A name that is used at more than one place of the fleet would change more than this value.
        """
        spec = self.document["spec"]
        own = spec.get("overrides", {}).get(manifest.address.name, {})
        if find(own, path[1:]) is not ABSENT:
            return ""
        given = find(spec["template"], path)
        names = [*_find_names(given)] if isinstance(given, str) else []
        alone = len(names) == 1 and given == f"${{{names[0]}}}"
        return names[0] if alone and self.uses[names[0]] == 1 else ""

    def _write_item(self, manifest: Manifest, name: str, value: Json) -> Edit | CellEdit | None:
        """Returns the edit of a member's item; None for an item that has no value of this name."""
        member, items = manifest.member, self.document["spec"]["items"]
        if member is None or not isinstance(value, str):
            return None
        if "csv" in items:
            return CellEdit(member.place.file, member.number, name, value)
        if name not in items["list"][member.number - 1]:
            return None
        return Edit(format_pointer((*_ITEM, str(member.number - 1), name)), value)


class FleetTexts:
    """The manifests of the fleets of a project, each read once.

    `fleets` are all of them, each with the file of its manifest from the project's folder. `tokens`
    are the values of the environment.
    """

    def __init__(
        self,
        root: FilePath,
        fleets: Iterable[tuple[str, Address]],
        tokens: Mapping[str, Scalar] = NO_TOKENS,
    ) -> None:
        self._root, self._fleets, self._tokens = root, sorted(set(fleets)), tokens
        self._texts: dict[tuple[str, Address], FleetText] = {}
        self._shared: dict[tuple[str, Address], FleetText] = {}

    def read(self, file: str, fleet: Address) -> FleetText:
        """Returns a fleet, with the uses in the other fleets that have the same CSV file."""
        key = file, fleet
        if key not in self._shared:
            own, path = self._open(key), self._find_csv(key)
            others = (one for one in self._fleets if one != key and path is not None)
            same = [self._open(one) for one in others if self._find_csv(one) == path]
            self._shared[key] = own.share(same)
        return self._shared[key]

    def _find_csv(self, key: tuple[str, Address]) -> FilePath | None:
        """Returns the CSV file of a fleet's items; None for a list."""
        csv = self._open(key).csv
        return resolve_path((self._root / key[0]).parent / csv) if csv else None

    def _open(self, key: tuple[str, Address]) -> FleetText:
        if key not in self._texts:
            file, fleet = key
            self._texts[key] = FleetText.read(
                file, read_whole(self._root / file), fleet, self._tokens
            )
        return self._texts[key]


def override(manifest: Manifest, edits: tuple[Edit, ...]) -> Iterator[Edit]:
    """Yields the edits of a fleet's manifest that give one of its members the wanted values."""
    before = after = manifest.spec
    for edit in edits:
        at = split_pointer(edit.pointer)[1:]
        after = rename(after, at, edit.name) if edit.name else put(after, at, edit.value)
    for path, value in make_overrides(before, after):
        at = ("spec", "overrides", manifest.address.name, *map(escape, path))
        yield Edit(format_pointer(at), escape(value))


def _list_names(value: Json) -> Iterator[str]:
    """Yields the name of each variable in the texts and keys of a value."""
    if isinstance(value, str):
        yield from _find_names(value)
    elif isinstance(value, dict):
        for key, below in value.items():
            yield from _find_names(key)
            yield from _list_names(below)
    elif isinstance(value, list):
        for item in value:
            yield from _list_names(item)


def _find_names(text: str) -> Iterator[str]:
    try:
        fragments = split_text(text)
    except ValueError:
        return
    yield from (one.name for one in fragments if isinstance(one, Variable))
