"""Parts of manifests with variables in them: a fleet's template, and what is laid over it."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as File
from typing import Final

from reconciler.document.pointers import format_pointer
from reconciler.manifests.fleet.items import Items
from reconciler.manifests.fleet.template import Convert, Problems, Template, compile_template
from reconciler.manifests.folder import Folder
from reconciler.manifests.references import (
    Found,
    check_secrets,
    find_references,
    include_definition,
    locate_file,
    locate_files,
    normalize_definition,
)
from reconciler.manifests.schema import definition_schema, format_types, wanted_types
from reconciler.manifests.variables import is_plain
from reconciler.manifests.yaml_text import SourceMap, read_plain
from reconciler.model import Finding, Json, Path
from reconciler.secrets.suspicion import format_name, is_word
from reconciler.text.suggestions import suggest

# What an address may lose when a definition is brought to its form, variables and all.
_LOSABLE: Final = re.compile(r"[?#@=%]")


@dataclass(frozen=True)
class Part:
    """A spec, or some of it, with variables.

    `varies` says that what its definition holds may differ from item to item in more than its
    values, so that it must be checked for each; `points` says the same of the pointers of secrets.
    """

    template: Template
    places: SourceMap
    varies: bool = False
    points: bool = False


@dataclass
class FleetContext:
    """What makes parts ready: files are taken in, and all is checked that needs no item.

    `schema` is the manifest schema of the members' kind, `file` the fleet's own.
    """

    folder: Folder
    file: File
    schema: str
    items: Items
    definitions: set[str] = field(default_factory=set)
    firsts: dict[Finding, Finding] = field(default_factory=dict)

    @property
    def service(self) -> str:
        """The schema of the service's document, or "" for a kind whose manifests hold none."""
        return definition_schema(self.schema)

    def prepare(self, spec: Json, places: SourceMap) -> tuple[Part, list[Finding]]:
        """A part, and what is wrong with it; `places` are those of a document that holds it."""
        spec = copy.deepcopy(spec)
        before = len(self.folder.findings)
        if self.service:
            self.definitions.add(include_definition(self.folder, self.file, spec, places))
        found = self.folder.findings[before:]
        del self.folder.findings[before:]
        varies = _varies(spec.get("definition"), tabular=self.items.header is not None)
        wrong = list(self._normalize_plain_parts(spec, varies=varies))
        found += [_place(places, pointer, finding) for pointer, finding in wrong]
        files = frozenset(
            ("spec", *path, "file")
            for path, reference in find_references(spec)
            if not is_plain(reference.get("file", ""))
        )
        template = compile_template(spec, _PartContext(self, places, files), ("spec",))
        secrets = spec.get("secrets")
        points = isinstance(secrets, dict) and not all(map(is_plain, secrets))
        return Part(template, places, varies, points), [*found, *template.findings]

    def compile(self, value: Json, places: SourceMap, path: Path) -> Template:
        """A value outside of a spec."""
        return compile_template(value, _PartContext(self, places), path)

    def check(self, parts: Sequence[Part], spec: Json) -> Iterator[Found]:
        """Check of a spec that was made from parts what could not be before the item was known."""
        if any(part.varies for part in parts):
            yield from normalize_definition(self.service, spec)
        if any(part.points for part in parts):
            yield from check_secrets(self.service, spec)

    def _normalize_plain_parts(self, spec: Json, *, varies: bool) -> Iterator[Found]:
        """Do what can be done once for all items: bring the plain parts to their final form."""
        checked = copy.copy(spec)
        yield from normalize_definition(self.service, checked)
        if not varies and "definition" in spec:
            spec["definition"] = checked["definition"]
        secrets = spec.get("secrets")
        if isinstance(secrets, dict):
            plain = {name: one for name, one in secrets.items() if is_plain(name)}
            yield from check_secrets(self.service, {"secrets": plain})
        constant = (one for one in find_references(spec) if is_plain(one[1].get("file", "")))
        yield from locate_files(self.folder, self.file, constant)


def _place(places: SourceMap, pointer: str, finding: Finding) -> Finding:
    return replace(finding, place=finding.place or places.find_nearest(pointer))


def _varies(value: Json, *, tabular: bool) -> bool:
    """Whether an item can change what a value holds: its keys, or what stands for a whole."""
    if isinstance(value, dict):
        below = value.values()
        return not all(map(is_plain, value)) or any(_varies(one, tabular=tabular) for one in below)
    if isinstance(value, list):
        return any(_varies(one, tabular=tabular) for one in value)
    if not isinstance(value, str) or is_plain(value):
        return False
    return bool(_LOSABLE.search(value)) or (not tabular and value.startswith("${"))


@dataclass(frozen=True)
class _PartContext:
    context: FleetContext
    places: SourceMap
    files: frozenset[Path] = frozenset()

    def locate(self, finding: Finding, path: Path) -> Finding:
        return replace(finding, place=self.places.find_nearest(format_pointer(path)))

    def locate_first(self, finding: Finding, path: Path) -> Finding:
        firsts = self.context.firsts
        if finding not in firsts:
            firsts[finding] = self.locate(finding, path)
        return firsts[finding]

    def check_name(self, name: str, path: Path) -> Finding | None:
        items = self.context.items
        if name in items.names or not items.names:
            return None
        tabular = items.header is not None
        header = items.header or items.all[0].place
        words = list(filter(is_word, items.names))
        others = len(items.names) - len(words)
        near = suggest(name, words)
        return self.locate(
            Finding(
                f"no {'column is called' if tabular else 'item has'} {format_name(name, 'that')}",
                detail=(f"On {header} there are {', '.join(words + _others(others))}.",),
                next_step=f"Did you mean ${{{near}}}?" if near else "",
            ),
            path,
        )

    def converter(self, path: Path, *, whole: bool) -> Convert | None:
        if path in self.files:
            return self._locating(path)
        types = wanted_types(self.context.schema, path)
        if not whole or self.context.items.header is None or not types or "string" in types:
            return None
        return self._reading(types, path)

    def _locating(self, path: Path) -> Convert:
        """What names a secret's file from the project's folder."""
        context = self.context

        def locate(value: Json, problems: Problems) -> Json:
            found = locate_file(context.folder, context.file, str(value))
            if isinstance(found, Finding):
                problems.append(self.locate(found, path))
            return found

        return locate

    def _reading(self, types: frozenset[str], path: Path) -> Convert:
        """What reads a cell as a value of another type, where such a one is needed."""
        wrong = self.locate(Finding(f"{path[-1]} must be {format_types(sorted(types))}"), path)

        def read(value: Json, problems: Problems) -> Json:
            found = read_plain(value)
            if not (_TYPES[type(found)] & types) or (found is None and value):
                problems.append(wrong)
            return found

        return read


def _others(count: int) -> list[str]:
    """Columns that are not named, because what is called so might be a secret."""
    return [f"{count:,} that no word names"] if count else []


_TYPES: Final[Mapping[type, frozenset[str]]] = {
    bool: frozenset({"boolean"}),
    int: frozenset({"integer", "number"}),
    float: frozenset({"number"}),
    type(None): frozenset({"null"}),
}
