"""What most kinds share: ids made of parts, one document schema, model references, and findings.

It sends no call and knows no vendor.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from reconciler.document.comparers import Comparer
from reconciler.document.normalize import normalize, without_server_fields
from reconciler.document.pointers import format_pointer
from reconciler.document.schema import Field, compile_schema
from reconciler.kinds.ids import IdForm
from reconciler.model import (
    Absent,
    Address,
    Finding,
    Json,
    Manifest,
    ModelReference,
    Path,
    Resource,
    SecretReference,
)
from reconciler.package_data import read_schema
from reconciler.ports import Plane
from reconciler.text.suggestions import suggest

# Where scoring and batch calls of both generations go (published address).
SERVICES: Final = Plane(
    "services",
    "Answers scoring and batch calls.",
    "https://ussouthcentral.services.azureml.net",
    "http://127.0.0.1:8470",
    manages=False,
)
# Of what a service has, which may be a million of them.
_MOST_NAMED: Final = 20


class BaseKind:
    """The usual answers of a kind: it is found by an id made of parts, and has one schema.

    A kind adds `name`, `schema_name`, `manifest_schema_name`, `id_form`, `bind`, `export` and
    `connect`, and whatever capability of `reconciler.ports` it has.
    """

    schema_name: str
    id_form: IdForm
    planes: Sequence[Plane] = ()
    defaults: Mapping[str, Json] = MappingProxyType({})
    guards: Mapping[str, str] = MappingProxyType({})
    comparers: Mapping[str, Comparer] = MappingProxyType({})

    @functools.cached_property
    def field(self) -> Field:
        """The service's document, compiled once."""
        return compile_schema(read_schema(self.schema_name), self.comparers)

    def identify(self, manifest: Manifest, defaults: Mapping[str, Json]) -> Resource:
        """The whole id; raises ManifestInvalid naming each missing part."""
        given = self.gather(manifest, defaults)
        return Resource(manifest.address, self.id_form.make(manifest, given, ("spec", "resource")))

    def gather(self, manifest: Manifest, defaults: Mapping[str, Json]) -> dict[str, Json]:
        """The parts of an id that the manifest gives, and of the defaults those that it does not.

        The project's defaults are for all kinds: what this one does not know is among them.
        """
        given = manifest.spec.get("resource", {})
        return {"name": manifest.address.name, **self.id_form.defaults, **defaults, **given}

    def declare(self, definition: Json) -> Json | Absent:
        """The part of a definition that people may declare, as the schema spells it.

        It may share what needs no change with the manifest: copy it before anything is set in it.
        """
        return without_server_fields(self.field, normalize(self.field, definition))

    def locate(self, address: Address, resource_id: str, defaults: Mapping[str, Json]) -> Resource:
        """The id, given whole or as a name among the defaults."""
        given = self.split(resource_id) or {"name": resource_id}
        if "/" in given["name"]:
            raise self.id_form.refuse(resource_id)
        return self.identify(Manifest(address, {"resource": given}, "", ""), defaults)

    def split(self, resource_id: str) -> dict[str, str]:
        """The parts of an id as a manifest gives them; none for what is no id."""
        return self.id_form.split(resource_id)

    def scope(self, resource: Resource) -> str:
        """What holds the resource, and lists it."""
        return self.id_form.get_scope(resource.id)

    def export_place(self, resource: Resource, defaults: Mapping[str, Json]) -> dict[str, str]:
        """The parts of an id that a manifest must give, beside its own name and the defaults."""
        known = self.gather(Manifest(resource.address, {}, "", ""), defaults)
        parts = self.split(resource.id)
        return {part: said for part, said in parts.items() if known.get(part) != said}


def name_some(names: Sequence[str]) -> str:
    """The names; of very many, the first."""
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def make_unknown_finding(manifest: Manifest, name: str, known: Collection[str]) -> Finding:
    """A trained model under a name that the service does not have; `known` are those it has."""
    names = sorted(known)
    there = name_some([f'"{one}"' for one in names])
    near = suggest(name, names, most=1000)
    return Finding(
        f'no trained model is named "{name}"',
        subject=str(manifest.address),
        place=manifest.place(format_pointer(("spec", "trainedModels", name))),
        detail=(f"The service has: {there or 'no trained model at all'}.",),
        next_step=f'Did you mean "{near}"?' if near else "Use a name that the service has.",
    )


def make_spec(place: Json, models: Mapping[str, str], definition: Json) -> Json:
    """A manifest's spec for trained models by name and address; what is empty needs no word."""
    trained = {name: {"uri": uri} for name, uri in models.items()}
    spec = {"resource": place, "trainedModels": trained, "definition": definition}
    return {part: said for part, said in spec.items() if said}


def make_reference(
    manifest: Manifest, entry: Path, name: str, given: Json, path: Path, sas_path: Path = ()
) -> ModelReference:
    """A trained model that the manifest names in an entry of its own, as `spec.trainedModels` does.

    `entry` is the place of `given`, which holds `uri` and may hold `sha256` and `sas`. `path` and
    `sas_path` are those of the model's address and signature in the service's document.
    """
    return ModelReference(
        name=name,
        uri=given["uri"],
        path=path,
        sha256=given.get("sha256", ""),
        sas=SecretReference(**given["sas"]) if "sas" in given else None,
        sas_path=sas_path,
        entry=format_pointer(entry),
        find_place=functools.partial(manifest.place, format_pointer((*entry, "uri"))),
    )


def make_defined_reference(
    manifest: Manifest, at: Path, name: str, uri: str, path: Path, sas_path: Path = ()
) -> ModelReference:
    """A trained model that the definition brings in; `at` is a place below `spec.definition`."""
    place = functools.partial(manifest.place, format_pointer(("spec", "definition", *at)))
    return ModelReference(name=name, uri=uri, path=path, sas_path=sas_path, find_place=place)
