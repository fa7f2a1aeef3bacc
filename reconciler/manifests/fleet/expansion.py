"""Expands a fleet's manifest into the manifests of its members.

The loader calls it. Members are ordinary manifests for every later part.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

from reconciler.document.pointers import format_pointer
from reconciler.manifests.budget import MOST_ERRORS
from reconciler.manifests.definition_files import DefinitionFiles
from reconciler.manifests.fleet.checks import FleetContext, Part
from reconciler.manifests.fleet.findings import FindingCounter
from reconciler.manifests.fleet.items import Item, Items, check_formulas, read_items
from reconciler.manifests.fleet.overrides import OverlaidPlaces, lay_over
from reconciler.manifests.fleet.template import Problems, Template, Values
from reconciler.manifests.folder import Folder
from reconciler.manifests.references import find_definition_file
from reconciler.manifests.schema import check_document, is_valid, sign_errors, unknown_word
from reconciler.manifests.variables import is_plain
from reconciler.manifests.yaml_text import SourceMap
from reconciler.model import Address, Finding, Json, Manifest, Member, Rollout, SourceLocation
from reconciler.model.values import dataclass
from reconciler.secrets.suspicion import format_name
from reconciler.text.durations import parse_duration
from reconciler.text.suggestions import ask, suggest

_ALL: Final = "100%"
_WAVES: Final = "/spec/waves"


_FILE: Final = ("definition", "file")
_OVERRIDES: Final = "/spec/overrides"
_PLAIN: Final = Finding(
    "the definition file of an override cannot have variables",
    next_step="An override is for one member: write the name without variables.",
)


_TEMPLATE: Final = "/spec/template"
_SUGGESTED: Final = 20
_MOST_REPORTED: Final = 100_000


@dataclass(frozen=True)
class FleetSource:
    """A fleet's manifest, checked against its schema; `schemas` are the schemas of the kinds.

    `labels` are those of the environment, which each member gets.
    """

    folder: Folder
    definitions: DefinitionFiles
    file: Path
    document: Json
    places: SourceMap
    schemas: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Expansion:
    """The result for a fleet: its members, in the order of the items, and the findings."""

    rollout: Rollout
    members: list[Manifest] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def expand(source: FleetSource) -> Expansion:
    """Makes a fleet's members; a problem that many of them share is reported once."""
    spec, places = source.document["spec"], source.places
    fleet = Address("Fleet", source.document["metadata"]["name"])
    expansion = Expansion(make_rollout(fleet, spec))
    items = read_items(source.folder, source.file, spec["items"], places)
    found = [*items.findings, *_check_spec(source)]
    kind = spec["template"]["kind"]
    if kind in source.schemas:
        schema = source.schemas[kind]
        context = FleetContext(source.folder, source.definitions, source.file, schema, items)
        member_template, wrong = make_member_template(context, source.document, places)
        found += wrong
        if not found:
            found += _make_members(source, member_template, items, expansion)
    expansion.findings += (replace(one, subject=one.subject or str(fleet)) for one in found)
    return expansion


def _check_spec(source: FleetSource) -> Iterator[Finding]:
    spec, places = source.document["spec"], source.places
    for pointer, finding in check_waves(spec.get("waves", ("100%",))):
        yield replace(finding, place=places.find_nearest(pointer))
    kind = spec["template"]["kind"]
    if kind not in source.schemas:
        unknown = unknown_word("kind", kind, list(source.schemas))
        if kind in {"Fleet", "Project"}:
            unknown = replace(unknown, message=f"a template cannot make a {kind}")
        yield replace(unknown, place=places[f"{_TEMPLATE}/kind"])


def _make_members(
    source: FleetSource, member_template: MemberTemplate, items: Items, expansion: Expansion
) -> Iterator[Finding]:
    """Fills the template with each item, and adds the members to the expansion."""
    counter, names, reported, ended = FindingCounter(), dict[str, SourceLocation](), 0, False
    fleet = expansion.rollout.fleet
    file = source.folder.name(source.file)
    digest = source.folder.files[file]
    same = replace(_SAME, place=source.places[f"{_TEMPLATE}/metadata/name"])
    for item in items.all:
        try:
            expanded = member_template.expand(item)
        except FleetsTooLarge:
            place = source.places[_TEMPLATE]
            yield replace(_TOO_LARGE, place=place)
            return
        member = Member(fleet, item.number, item.place)
        subject = f"{member_template.kind}/{expanded.name}" if expanded.name else str(fleet)
        for problem in dict.fromkeys(expanded.problems):
            counter.add(problem, subject, member)
        reported += len(expanded.problems)
        ended = reported > _MOST_REPORTED or len(expanded.problems) >= MOST_ERRORS
        if ended:
            yield Finding(_TOO_MANY, place=source.places[_TEMPLATE])
            break
        first = names.setdefault(expanded.name, item.place)
        if expanded.name and first is not item.place:
            counter.add(same, subject, member, first)
        elif not expanded.problems:
            source.folder.budget.charge("resources", 1, item.place)
            expansion.members.append(_make_manifest(expanded, member, file, digest, source.labels))
    yield from counter.list_findings()
    yield from check_formulas(items, member_template.list_used())
    if "" not in names and not ended:
        yield from _check_overrides(source, names, [one.address.name for one in expansion.members])


def _make_manifest(
    expanded: ExpandedMember,
    member: Member,
    file: str,
    digest: str,
    labels: Mapping[str, str],
) -> Manifest:
    own = expanded.document["metadata"].get("labels", {})
    return Manifest(
        address=Address(expanded.document["kind"], expanded.name),
        spec=expanded.document["spec"],
        file=file,
        digest=digest,
        labels={**labels, **own} if labels else own,
        places=expanded.places,
        member=member,
    )


def _check_overrides(
    source: FleetSource, names: Collection[str], good: Collection[str]
) -> Iterator[Finding]:
    """Reports overrides without a member, and suggests a `good` name near the first of them."""
    unknown = [name for name in source.document["spec"].get("overrides", {}) if name not in names]
    for number, name in enumerate(unknown):
        near = suggest(name, good, most=1000) if number < _SUGGESTED else ""
        yield Finding(
            f"no member is called {format_name(name, 'that')}",
            place=source.places[f"/spec/overrides{format_pointer((name,))}"],
            next_step=ask(name, near) if near else "Remove it, or correct it.",
        )


_SAME: Final = Finding(
    "an earlier item has the same name",
    next_step="Give each item its own name, or remove the duplicate.",
)
_TOO_MANY: Final = "its members have too many errors; those of later items are not reported"
_TOO_LARGE: Final = Finding(
    "the members of the project's fleets together would take more than 256 MB",
    next_step="Split the project into several, each in a folder of its own.",
)


class FleetsTooLarge(Exception):
    """The members of all fleets together would take more memory than they may."""


@dataclass(frozen=True)
class ExpandedMember:
    """The result for one item: a manifest's document and its problems.

    `name` is empty if the item gives no complete name. With problems the document is incomplete.
    """

    name: str
    document: Json
    places: SourceMap | OverlaidPlaces
    problems: Sequence[Finding]


@dataclass
class MemberTemplate:
    """Makes the documents of members.

    `header` holds what all members share except metadata and spec. `metadata` lacks the name, which
    has its own template. `named` makes the name of a definition file that differs between items;
    the template is prepared once for each file.
    """

    context: FleetContext
    header: Json
    name: Template
    metadata: Template
    spec: Json
    places: SourceMap
    named: Template | None = None
    overrides: dict[str, Part] = field(default_factory=dict)
    parts: dict[str, tuple[Part, list[Finding]]] = field(default_factory=dict)
    explained: dict[object, list[Finding]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The kind of the members."""
        return str(self.header["kind"])

    def expand(self, item: Item) -> ExpandedMember:
        """Returns the document of a member; raises FleetsTooLarge before memory runs out."""
        problems: Problems = []
        called = self._fill(self.name, item.values, problems)
        name = called if isinstance(called, str) and not problems else ""
        metadata = {"name": called, **self._fill(self.metadata, item.values, problems)}
        parts = [self._choose_part(item.values, problems)]
        places: SourceMap | OverlaidPlaces = parts[0].places
        spec = self._fill(parts[0].template, item.values, problems)
        if name in self.overrides:
            parts.append(self.overrides[name])
            spec = lay_over(spec, self._fill(parts[1].template, item.values, problems))
            places = OverlaidPlaces(parts[1].places, parts[0].places)
        document = {**self.header, "metadata": metadata, "spec": spec}
        if not problems:
            problems += self._check(document, parts, places)
        return ExpandedMember(name, document, places, problems)

    def _fill(self, template: Template, values: Values, problems: Problems) -> Json:
        size = template.size
        for name, times in template.used.items():
            value = values.get(name)
            size += times * len(value) if isinstance(value, str) else 0
        budget = self.context.folder.budget
        budget.member_bytes_left -= size
        if budget.member_bytes_left < 0:
            raise FleetsTooLarge
        return template.make(values, problems)

    def _choose_part(self, values: Values, problems: Problems) -> Part:
        """The template's spec, with the definition file that the item names."""
        before = len(problems)
        file = self._fill(self.named, values, problems) if self.named else ""
        if len(problems) > before:
            return self.parts[""][0]
        if file not in self.parts:
            self.add_part(file, {**self.spec, "definition": {"file": str(file)}})
        part, found = self.parts[file]
        problems += found
        return self.parts[""][0] if found else part

    def add_part(self, file: str, spec: Json) -> list[Finding]:
        """Prepares the template's spec with a definition file; returns its findings."""
        places = self.places.part("")
        part, found = self.context.prepare(spec, places)
        self.parts[file] = part, found
        return found

    def list_used(self) -> Iterator[str]:
        """Yields each name that any part uses once."""
        parts = [*self.overrides.values(), *(part for part, _ in self.parts.values())]
        templates = [self.name, self.metadata, self.named, *(part.template for part in parts)]
        yield from dict.fromkeys(name for one in templates if one for name in one.used)

    def _check(
        self, document: Json, parts: Sequence[Part], places: SourceMap | OverlaidPlaces
    ) -> Iterator[Finding]:
        for pointer, finding in self.context.check(parts, document["spec"]):
            yield replace(finding, place=places.find_nearest(pointer))
        if not is_valid(self.context.schema, document):
            yield from self._explain(document, places)

    def _explain(self, document: Json, places: SourceMap | OverlaidPlaces) -> Sequence[Finding]:
        """The schema errors of a document, explained once for all members with the same errors."""
        schema = self.context.schema
        signed = sign_errors(schema, document)
        key = tuple((places.find_nearest(pointer), sign) for pointer, sign in signed)
        if key not in self.explained:
            self.explained[key] = [
                replace(finding, place=places.find_nearest(pointer))
                for pointer, finding in check_document(schema, document)
            ]
        return self.explained[key]


def make_member_template(
    context: FleetContext, fleet: Json, places: SourceMap
) -> tuple[MemberTemplate, list[Finding]]:
    """Returns a fleet's member template, and the findings that do not depend on an item."""
    template = fleet["spec"]["template"]
    within = places.part("/spec/template")
    name = template["metadata"]["name"]
    others = {word: said for word, said in template["metadata"].items() if word != "name"}
    member_template = MemberTemplate(
        context=context,
        header={"apiVersion": fleet["apiVersion"], "kind": template["kind"]},
        name=context.compile(name, within, ("metadata", "name")),
        metadata=context.compile(others, within, ("metadata",)),
        spec=template["spec"],
        places=within,
    )
    found = [*member_template.name.findings, *member_template.metadata.findings]
    file = find_definition_file(template["spec"]) if context.service else ""
    if not is_plain(file):
        member_template.named = context.compile(file, within, ("spec", *_FILE))
        member_template.spec = {
            name: one for name, one in member_template.spec.items() if name != _FILE[0]
        }
        found += member_template.named.findings
    found += member_template.add_part("", member_template.spec)
    for name, override in fleet["spec"].get("overrides", {}).items():
        at = places.part(f"{_OVERRIDES}{format_pointer((name,))}", "spec")
        if is_plain(find_definition_file(override)):
            member_template.overrides[name], wrong = context.prepare(override, at)
            found += wrong
        else:
            found.append(replace(_PLAIN, place=at.find_nearest("/spec/definition/file")))
    return member_template, found


def make_rollout(fleet: Address, spec: Json) -> Rollout:
    """Returns the rollout of a checked spec; all members are in one wave by default."""
    return Rollout(
        fleet=fleet,
        sizes=tuple(spec.get("waves", [_ALL])),
        pause_s=parse_duration(spec.get("pause", "0s")),
        max_failures=spec.get("maxFailures", 0),
    )


def check_waves(sizes: Sequence[int | str]) -> Iterator[tuple[str, Finding]]:
    """Yields findings, by pointer, for waves that miss some members or that add no members."""
    if sizes[-1] != _ALL:
        step = f"End them with {_ALL}."
        yield _WAVES, Finding("the waves do not include all members", next_step=step)
    for number, (one, other) in enumerate(pairwise(sizes), 1):
        if _is_no_more(one, other):
            message = f"wave {number + 1} adds no members to the wave before it"
            step = "Give the total number of members at the end of each wave."
            yield f"{_WAVES}/{number}", Finding(message, next_step=step)


def _is_no_more(one: int | str, other: int | str) -> bool:
    """Whether a wave adds nothing to the one before; counts and percentages do not compare."""
    if isinstance(one, str) and isinstance(other, str):
        return int(other.rstrip("%")) <= int(one.rstrip("%"))
    if isinstance(one, int) and isinstance(other, int):
        return other <= one
    return one == _ALL
