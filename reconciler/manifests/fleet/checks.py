"""Checks the parts of manifests that contain variables: a fleet's template, and overrides.

`expansion` calls it. It does once for all items what does not depend on the item.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path as File
from typing import Final

from reconciler.document.forms import find_faults, settle
from reconciler.document.pointers import format_pointer
from reconciler.document.schema import Field
from reconciler.manifests.definition import compile_service, list_values_in_files
from reconciler.manifests.definition_files import DefinitionFiles
from reconciler.manifests.fleet.items import Items
from reconciler.manifests.fleet.template import Convert, Problems, Template, compile_template
from reconciler.manifests.folder import Folder
from reconciler.manifests.references import (
    Found,
    check_secrets,
    find_references,
    include_definition,
    include_values,
    locate_file,
    locate_files,
    normalize_definition,
    settle_spec,
)
from reconciler.manifests.schema import definition_schema, format_types, wanted_types
from reconciler.manifests.variables import is_plain
from reconciler.manifests.yaml_text import SourceMap, read_plain
from reconciler.model import Finding, Json, Path
from reconciler.model.values import dataclass
from reconciler.secrets.suspicion import format_name, is_word
from reconciler.text.suggestions import ask, looks_like, suggest

_DEFINITION: Final = ("spec", "definition")
# Listing all names and finding a similar one is slow. A user does not read more of them.
_SUGGESTED: Final = 20
# What normalization may remove from an address, variables included.
_LOSABLE: Final = re.compile(r"[?#@=%]")


@dataclass(frozen=True)
class Part:
    """A spec, or a part of it, with variables.

    `varies` means that an item can change more than values of its definition, so that it must be
    checked for each item; `points` means the same for the pointers of secrets.
    """

    template: Template
    places: SourceMap
    varies: bool = False
    points: bool = False


@dataclass
class FleetContext:
    """Prepares parts: includes files, and checks everything that does not depend on an item.

    `schema` is the manifest schema of the members' kind, `file` the fleet's own file.
    """

    folder: Folder
    definitions: DefinitionFiles
    file: File
    schema: str
    items: Items
    firsts: dict[Finding, Finding] = field(default_factory=dict)
    unknown: int = 0

    @functools.cached_property
    def known_names(self) -> frozenset[str]:
        """The names of the values in any item."""
        return frozenset(self.items.names)

    @property
    def service(self) -> str:
        """The schema of the service's document, or "" for a kind without a definition."""
        return definition_schema(self.schema)

    def prepare(self, spec: Json, places: SourceMap) -> tuple[Part, list[Finding]]:
        """Returns a part and its findings; `places` belong to the document that holds the spec."""
        spec = copy.deepcopy(spec)
        before = len(self.folder.findings)
        if self.service:
            include_definition(self.definitions, self.file, spec, places)
        include_values(self.definitions, self.file, self.schema, spec, places)
        found = self.folder.findings[before:]
        del self.folder.findings[before:]
        varies = _varies(spec.get("definition"), tabular=self.items.header is not None)
        wrong = list(self._normalize_plain_parts(spec, varies=varies))
        found += [_place(places, pointer, finding) for pointer, finding in wrong]
        files = frozenset(
            ("spec", *path, "file")
            for path, reference in find_references(self.schema, spec)
            if not is_plain(reference.get("file", ""))
        )
        template = compile_template(spec, _PartContext(self, places, files), ("spec",))
        secrets = spec.get("secrets")
        points = isinstance(secrets, dict) and not all(map(is_plain, secrets))
        return Part(template, places, varies, points), [*found, *template.findings]

    def compile(self, value: Json, places: SourceMap, path: Path) -> Template:
        """Returns the template of a value outside of a spec."""
        return compile_template(value, _PartContext(self, places), path)

    def find_field(self, path: Path) -> Field:
        """Returns the field of a value of a manifest; names may have any casing."""
        definition = path[:2] == _DEFINITION and bool(self.service)
        field = compile_service(self.service if definition else self.schema)
        for segment in path[2:] if definition else path:
            field = field.child(field.spelling(segment) if isinstance(segment, str) else segment)
        return field

    def check(self, parts: Sequence[Part], spec: Json) -> Iterator[Found]:
        """Checks in a member's spec what depends on its item."""
        if len(parts) > 1 or any(part.varies for part in parts):
            yield from normalize_definition(self.service, spec)
        if any(part.points for part in parts):
            yield from check_secrets(self.service, spec)

    def _normalize_plain_parts(self, spec: Json, *, varies: bool) -> Iterator[Found]:
        """Normalizes the parts that are the same for all items, once."""
        checked = copy.copy(spec)
        yield from normalize_definition(self.service, checked, _has_variables)
        yield from settle_spec(self.schema, spec, _has_variables)
        if not varies and "definition" in spec:
            spec["definition"] = checked["definition"]
        secrets = spec.get("secrets")
        if isinstance(secrets, dict):
            plain = {name: one for name, one in secrets.items() if is_plain(name)}
            yield from check_secrets(self.service, {"secrets": plain})
        constant = (
            one for one in find_references(self.schema, spec) if is_plain(one[1].get("file", ""))
        )
        yield from locate_files(self.folder, self.file, constant)


def _has_variables(text: str) -> bool:
    return not is_plain(text)


def _place(places: SourceMap, pointer: str, finding: Finding) -> Finding:
    return replace(finding, place=finding.place or places.find_nearest(pointer))


def _varies(value: Json, *, tabular: bool) -> bool:
    """Whether an item can change more of a value than its texts: its keys, or a whole value."""
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
        if name in self.context.known_names or not items.names:
            return None
        tabular = items.header is not None
        message = f"no {'column is called' if tabular else 'item has'} {format_name(name, 'that')}"
        self.context.unknown += 1
        if self.context.unknown > _SUGGESTED:
            return self.locate(Finding(message), path)
        header = items.header or items.all[0].place
        # A name that looks like the variable cannot be a secret: the template holds it too.
        words = [one for one in items.names if is_word(one) or looks_like(one, name)]
        others = len(items.names) - len(words)
        near = suggest(name, words)
        return self.locate(
            Finding(
                message,
                detail=(f"The names on {header} are: {', '.join(words + _others(others))}.",),
                next_step=ask(name, near, "${{{}}}") if near else "",
            ),
            path,
        )

    def converter(self, path: Path, *, whole: bool) -> Convert | None:
        if path in self.files:
            return self._locating(path)
        if path in list_values_in_files(self.context.schema):
            return self._including(path)
        types = wanted_types(self.context.schema, path)
        if whole and self.context.items.header is not None and types and "string" not in types:
            return self._reading(types, path)
        form = self.context.find_field(path)
        return self._settling(form, path) if form.formed else None

    def _settling(self, form: Field, path: Path) -> Convert:
        """The conversion of a value to its form."""

        def convert(value: Json, problems: Problems) -> Json:
            for at, fault in find_faults(form, value, path):
                problems.append(self.locate(fault, at))
            return settle(form, value)

        return convert

    def _locating(self, path: Path) -> Convert:
        """The conversion of a secret's file name to a name from the project's folder."""
        context = self.context

        def locate(value: Json, problems: Problems) -> Json:
            found = locate_file(context.folder, context.file, str(value))
            if isinstance(found, Finding):
                problems.append(self.locate(found, path))
            return found

        return locate

    def _including(self, path: Path) -> Convert:
        """The conversion of the name of a JSON file to its value."""
        folder, definitions = self.context.folder, self.context.definitions
        place, what = self.places.find_nearest(format_pointer(path)), f"the file of {path[-1]}"

        def include(value: Json, problems: Problems) -> Json:
            before = len(folder.findings)
            read = definitions.read_value(self.context.file, str(value), place, what)
            problems += folder.findings[before:]
            del folder.findings[before:]
            return read.document

        return include

    def _reading(self, types: frozenset[str], path: Path) -> Convert:
        """The conversion of a cell to another type, if the schema needs one."""
        wrong = self.locate(Finding(f"{path[-1]} must be {format_types(sorted(types))}"), path)

        def read(value: Json, problems: Problems) -> Json:
            found = read_plain(value)
            if isinstance(found, float) and found.is_integer() and "number" not in types:
                found = int(found)
            if not (_TYPES[type(found)] & types) or (found is None and value):
                problems.append(wrong)
            return found

        return read


def _others(count: int) -> list[str]:
    """The columns that are not named, because their name might be a secret."""
    return [f"{count:,} whose names may be secrets"] if count else []


_TYPES: Final[Mapping[type, frozenset[str]]] = {
    bool: frozenset({"boolean"}),
    int: frozenset({"integer", "number"}),
    float: frozenset({"number"}),
    type(None): frozenset({"null"}),
}
