"""A fleet's template with its overrides, ready to be filled with one item after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from reconciler.document.pointers import format_pointer
from reconciler.manifests.fleet.checks import Part, Surroundings
from reconciler.manifests.fleet.items import Item
from reconciler.manifests.fleet.overrides import Layers, lay_over
from reconciler.manifests.fleet.template import Problems, Template, Values
from reconciler.manifests.fleet.variables import is_plain
from reconciler.manifests.references import find_definition_file
from reconciler.manifests.schema import check_document, is_valid, sign_errors
from reconciler.manifests.yaml_text import Places
from reconciler.model import Finding, Json

_FILE: Final = ("definition", "file")
_OVERRIDES: Final = "/spec/overrides"
_MOST_BYTES: Final = 256 * 1024 * 1024


class TooLarge(Exception):
    """The members together would take more memory than a fleet may."""


@dataclass(frozen=True)
class Cast:
    """What came of an item: a manifest's document, and what is wrong with it.

    `name` is empty where the item gives no whole one. With problems the document is not whole.
    """

    name: str
    document: Json
    places: Places | Layers
    problems: Sequence[Finding]


@dataclass
class Mould:
    """Makes the documents of members.

    `header` is what they have in common beside metadata and spec; `metadata` lacks the name, which
    has a template of its own. `named` makes the name of a
    definition file that differs from item to item: the template is prepared once for each file.
    """

    around: Surroundings
    header: Json
    name: Template
    metadata: Template
    spec: Json
    places: Places
    named: Template | None = None
    overrides: dict[str, Part] = field(default_factory=dict)
    parts: dict[str, tuple[Part, list[Finding]]] = field(default_factory=dict)
    explained: dict[object, list[Finding]] = field(default_factory=dict)
    left: int = _MOST_BYTES

    @property
    def kind(self) -> str:
        """The kind of the members."""
        return str(self.header["kind"])

    def cast(self, item: Item) -> Cast:
        """The document of a member; raises TooLarge before it takes too much memory."""
        problems: Problems = []
        called = self._fill(self.name, item.values, problems)
        name = called if isinstance(called, str) and not problems else ""
        metadata = {"name": called, **self._fill(self.metadata, item.values, problems)}
        parts = [self._choose_part(item.values, problems)]
        places: Places | Layers = parts[0].places
        spec = self._fill(parts[0].template, item.values, problems)
        if name in self.overrides:
            parts.append(self.overrides[name])
            spec = lay_over(spec, self._fill(parts[1].template, item.values, problems))
            places = Layers(parts[1].places, parts[0].places)
        document = {**self.header, "metadata": metadata, "spec": spec}
        if not problems:
            problems += self._check(document, parts, places)
        return Cast(name, document, places, problems)

    def _fill(self, template: Template, values: Values, problems: Problems) -> Json:
        self.left -= template.size
        for name, times in template.used.items():
            value = values.get(name)
            self.left -= times * len(value) if isinstance(value, str) else 0
        if self.left < 0:
            raise TooLarge
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
        """Prepare the template's spec with a definition file; returns what is wrong with it."""
        places = self.places.part("")
        part, found = self.around.prepare(spec, places)
        self.parts[file] = part, found
        return found

    def find_used(self) -> Iterator[str]:
        """The names that any part uses, each once."""
        parts = [*self.overrides.values(), *(part for part, _ in self.parts.values())]
        templates = [self.name, self.metadata, self.named, *(part.template for part in parts)]
        yield from dict.fromkeys(name for one in templates if one for name in one.used)

    def _check(
        self, document: Json, parts: Sequence[Part], places: Places | Layers
    ) -> Iterator[Finding]:
        for pointer, finding in self.around.check(parts, document["spec"]):
            yield replace(finding, place=places.nearest(pointer))
        if not is_valid(self.around.schema, document):
            yield from self._explain(document, places)

    def _explain(self, document: Json, places: Places | Layers) -> Sequence[Finding]:
        """What breaks the schema; explained once for all members in which the same is wrong."""
        schema = self.around.schema
        signed = sign_errors(schema, document)
        key = tuple((places.nearest(pointer), sign) for pointer, sign in signed)
        if key not in self.explained:
            self.explained[key] = [
                replace(finding, place=places.nearest(pointer))
                for pointer, finding in check_document(schema, document)
            ]
        return self.explained[key]


_PLAIN: Final = Finding(
    "an override names its definition file without variables",
    next_step="It is for one member alone: write the name out.",
)


def make_mould(around: Surroundings, fleet: Json, places: Places) -> tuple[Mould, list[Finding]]:
    """The mould of a fleet's manifest, and what is wrong with it whatever the items hold."""
    template = fleet["spec"]["template"]
    within = places.part("/spec/template")
    name = template["metadata"]["name"]
    others = {word: said for word, said in template["metadata"].items() if word != "name"}
    mould = Mould(
        around=around,
        header={"apiVersion": fleet["apiVersion"], "kind": template["kind"]},
        name=around.compile(name, within, ("metadata", "name")),
        metadata=around.compile(others, within, ("metadata",)),
        spec=template["spec"],
        places=within,
    )
    found = [*mould.name.findings, *mould.metadata.findings]
    file = find_definition_file(template["spec"]) if around.service else ""
    if not is_plain(file):
        mould.named = around.compile(file, within, ("spec", *_FILE))
        mould.spec = {name: one for name, one in mould.spec.items() if name != _FILE[0]}
        found += mould.named.findings
    found += mould.add_part("", mould.spec)
    for name, override in fleet["spec"].get("overrides", {}).items():
        at = places.part(f"{_OVERRIDES}{format_pointer((name,))}", "spec")
        if is_plain(find_definition_file(override)):
            mould.overrides[name], wrong = around.prepare(override, at)
            found += wrong
        else:
            found.append(replace(_PLAIN, place=at.nearest("/spec/definition/file")))
    return mould, found
