"""What most kinds share: ids made of parts, one document schema, model references, and findings.

The kinds of this package use it, and so may the kinds of other packages. It sends no call and
knows no vendor.
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
from reconciler.text.suggestions import ask, suggest

# Scoring and batch calls of both generations are sent here (published address).
SERVICES: Final = Plane(
    "services",
    "Answers scoring and batch calls.",
    "https://ussouthcentral.services.azureml.net",
    "http://127.0.0.1:8470",
    manages=False,
)
# The regions whose scoring hosts are known (recorded: azure-sdk-for-net; code: azuremlps).
_SCORING_HOSTS: Final[Mapping[str, str]] = {
    "ussouthcentral.services.azureml.net": "South Central US",
    "uswestcentral.services.azureml.net": "West Central US",
    "europewest.services.azureml.net": "West Europe",
    "asiasoutheast.services.azureml.net": "Southeast Asia",
    "japaneast.services.azureml.net": "Japan East",
}
# A service may have a million models, and a message must stay short.
_MOST_NAMED: Final = 20


class BaseKind:
    """The default methods of a kind whose resources have an id made of parts and one schema.

    A kind adds `name`, `schema_name`, `manifest_schema_name`, `id_form`, `bind`, `export` and
    `connect`, and each optional capability of `reconciler.ports` that it has.
    """

    schema_name: str
    id_form: IdForm
    planes: Sequence[Plane] = ()
    defaults: Mapping[str, Json] = MappingProxyType({})
    guards: Mapping[str, str] = MappingProxyType({})
    comparers: Mapping[str, Comparer] = MappingProxyType({})

    @functools.cached_property
    def field(self) -> Field:
        """Return the schema of the service's document, compiled once."""
        return compile_schema(read_schema(self.schema_name), self.comparers)

    def identify(self, manifest: Manifest, defaults: Mapping[str, Json]) -> Resource:
        """Return the resource with its whole id. Raises ManifestInvalid with each missing part."""
        given = self.gather(manifest, defaults)
        return Resource(manifest.address, self.id_form.make(manifest, given, ("spec", "resource")))

    def gather(self, manifest: Manifest, defaults: Mapping[str, Json]) -> dict[str, Json]:
        """Return the parts of an id from the manifest, and from the defaults where it has none.

        The project's defaults are for all kinds, so the result may hold parts of other kinds.
        """
        given = manifest.spec.get("resource", {})
        return {"name": manifest.address.name, **self.id_form.defaults, **defaults, **given}

    def declare(self, definition: Json) -> Json | Absent:
        """Return the part of a definition that people may declare, in the schema's spelling.

        The result may share values with the manifest. Copy it before you change it.
        """
        return without_server_fields(self.field, normalize(self.field, definition))

    def list_models(self, manifest: Manifest) -> Sequence[ModelReference]:
        """Return the models of `spec.trainedModels`, without their places in the document."""
        entries = manifest.spec.get("trainedModels", {})
        return [
            make_reference(manifest, ("spec", "trainedModels", name), name, given, ())
            for name, given in entries.items()
        ]

    def locate(self, address: Address, resource_id: str, defaults: Mapping[str, Json]) -> Resource:
        """Return the resource for an id, or for a name within the defaults."""
        given = self.split(resource_id) or {"name": resource_id}
        if "/" in given["name"]:
            raise self.id_form.refuse(resource_id)
        return self.identify(Manifest(address, {"resource": given}, "", ""), defaults)

    def split(self, resource_id: str) -> dict[str, str]:
        """Return the parts of an id as a manifest writes them; empty if it is not an id."""
        return self.id_form.split(resource_id)

    def scope(self, resource: Resource) -> str:
        """Return the id of the collection that contains and lists the resource."""
        return self.id_form.get_scope(resource.id)

    def export_place(self, resource: Resource, defaults: Mapping[str, Json]) -> dict[str, str]:
        """Return the parts of an id that neither the manifest's name nor the defaults give."""
        known = self.gather(Manifest(resource.address, {}, "", ""), defaults)
        parts = self.split(resource.id)
        return {part: said for part, said in parts.items() if known.get(part) != said}


def name_some(names: Sequence[str]) -> str:
    """Return the names as text; if there are many, only the first."""
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def make_unknown_finding(manifest: Manifest, name: str, known: Collection[str]) -> Finding:
    """Return the finding for a trained model that is not in `known`, the service's models."""
    names = sorted(known)
    there = name_some([f'"{one}"' for one in names])
    near = suggest(name, names, most=1000)
    return Finding(
        f'no trained model is named "{name}"',
        subject=str(manifest.address),
        place=manifest.place(format_pointer(("spec", "trainedModels", name))),
        detail=(f"The service has: {there or 'no trained models'}.",),
        next_step=ask(name, near) if near else "Use a name that the service has.",
    )


def name_region(address: Json | Absent) -> tuple[str, str]:
    """Return the host of a scoring address, and the region that it is in; empty if not known."""
    host = address.partition("://")[2].partition("/")[0] if isinstance(address, str) else ""
    region = _SCORING_HOSTS.get(host.casefold(), "")
    return (host, region) if region else ("", "")


def make_spec(place: Json, models: Mapping[str, str], definition: Json) -> Json:
    """Return a manifest's spec from models (address by name); empty parts are left out."""
    trained = {name: {"uri": uri} for name, uri in models.items()}
    spec = {"resource": place, "trainedModels": trained, "definition": definition}
    return {part: said for part, said in spec.items() if said}


def make_reference(
    manifest: Manifest, entry: Path, name: str, given: Json, path: Path, sas_path: Path = ()
) -> ModelReference:
    """Return a reference to a trained model with an entry of its own, as in `spec.trainedModels`.

    `entry` is the place of `given`, which holds `uri` and may hold `sha256` and `sas`. `path` and
    `sas_path` are the places of the model's address and signature in the service's document.
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
    """Return a reference to a trained model in the definition; `at` is below `spec.definition`."""
    place = functools.partial(manifest.place, format_pointer(("spec", "definition", *at)))
    return ModelReference(name=name, uri=uri, path=path, sas_path=sas_path, find_place=place)
