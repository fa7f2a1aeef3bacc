"""The kind of a Classic endpoint: its id, and how a manifest binds to its document.

This module sends no call. A trained model is the resource of the endpoint that has the model's
name (documented: retrain-classic-web-service). The document holds resources by name, and each
resource has one address.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from reconciler.document.comparers import COMPARERS
from reconciler.document.pointers import copy_document, find, set_at
from reconciler.kinds.base import (
    SERVICES,
    BaseKind,
    make_defined_reference,
    make_reference,
    make_spec,
    make_unknown_finding,
)
from reconciler.kinds.endpoint.addresses import ID_FORM, REGIONS, SERVED
from reconciler.kinds.endpoint.checks import GUARDS, check_endpoint_scope, check_endpoint_step
from reconciler.kinds.endpoint.refresh import find_due_refresh
from reconciler.model import (
    Absent,
    Action,
    Declared,
    DueCall,
    ExportedSpec,
    Finding,
    Json,
    Manifest,
    ModelReference,
    NamedPart,
    Resource,
    SecretReference,
    Step,
)
from reconciler.ports import Access, Plane, Provider

_NAME: Final = "webServiceName"
_HIDDEN: Final = "The service does not show which model it serves. Declare the model to send it:"


_PLANES: Final = (
    # Published addresses; the emulator serves all planes at one address.
    Plane(
        "studioManagement",
        "Manages Classic web services.",
        "https://management.azureml.net",
        "http://127.0.0.1:8470",
    ),
    SERVICES,
)


class EndpointKind(BaseKind):
    """The kind `Endpoint`."""

    name = "Endpoint"
    schema_name = "service/endpoint"
    manifest_schema_name = "manifest/endpoint"
    id_form = ID_FORM
    planes = _PLANES
    guards = GUARDS

    def identify(self, manifest: Manifest, defaults: Mapping[str, Json]) -> Resource:
        """Return the resource with its whole id. Raises ManifestInvalid with each missing part."""
        given = self.gather(manifest, defaults)
        given["region"] = COMPARERS["location"](given["region"])
        token = SecretReference(**given["token"]) if "token" in given else None
        endpoint = self.id_form.make(manifest, given, ("spec", "resource"))
        return Resource(manifest.address, endpoint, token)

    def gather(self, manifest: Manifest, defaults: Mapping[str, Json]) -> dict[str, Json]:
        """Return the parts of an id. A default must not contradict what the manifest says.

        The web service has an id and a name. If the manifest gives one of them, the default of the
        other may be that of another web service.
        """
        given = super().gather(manifest, defaults)
        said = manifest.spec.get("resource", {})
        for one, other in (("webService", _NAME), (_NAME, "webService")):
            if one in said and other not in said:
                given.pop(other, None)
        return given

    def find_named_part(self, manifest: Manifest, defaults: Mapping[str, Json]) -> NamedPart | None:
        """Return the web service that is given by its name; None if it is given by its id only."""
        given = self.gather(manifest, defaults)
        if not given.get(_NAME) or not given.get("workspace"):
            return None
        below = "resource" if _NAME in manifest.spec.get("resource", {}) else "defaults"
        return NamedPart(
            part="webService",
            key=f"spec.{below}.{_NAME}",
            name=given[_NAME],
            noun="web service",
            scope=f"/{COMPARERS['location'](given['region'])}/workspaces/{given['workspace']}",
            token=SecretReference(**given["token"]) if "token" in given else None,
            id=given.get("webService", ""),
        )

    def split(self, resource_id: str) -> dict[str, str]:
        """Return the parts of a ledger's id, or of the address of a management call."""
        parts = self.id_form.split(resource_id)
        plain = SERVED.get(parts.pop("host", "").lower(), parts.get("region", ""))
        return {**parts, "region": REGIONS[plain]} if plain in REGIONS else parts

    def bind(self, manifest: Manifest, live: Json | Absent) -> Declared:
        """Return the part of the endpoint's document that the manifest declares."""
        document: Json = copy_document(self.declare(manifest.spec.get("definition", {})))
        models = manifest.spec.get("trainedModels", {})
        for name, model in models.items():
            set_at(document, ("Resources", name, "Location"), model["uri"])
        named: Json = document.get("Resources", {})
        known: Json = find(live, ("Resources",))
        # An endpoint that shows no resources may still have some. One with an empty list has no
        # updatable model; `check_endpoint_step` reports that.
        unknown = set(named) - set(known) if isinstance(known, dict) and known else set()
        return Declared(
            document,
            tuple(_refer(manifest, name, models.get(name, {}), named[name]) for name in named),
            tuple(make_unknown_finding(manifest, name, known) for name in sorted(unknown)),
        )

    def asks_for_call(self, manifest: Manifest) -> bool:
        """Whether the manifest asks for refreshes."""
        return "refresh" in manifest.spec

    def find_due_call(
        self, manifest: Manifest, live: Json, peers: Sequence[Json]
    ) -> DueCall | Finding | None:
        """Return the refresh if the endpoint does not have the published version."""
        return find_due_refresh(manifest, live, peers)

    def check_step(self, manifest: Manifest, step: Step) -> Iterator[Finding]:
        """Yield the known problems of a step on one endpoint.

        A PUT requires no setting, and no call removes a setting (published description).
        """
        yield from check_endpoint_step(manifest, step)
        if step.body == "whole" and step.action is Action.UPDATE:
            yield Finding(
                "a setting of an endpoint cannot be removed: the service has no call for it",
                subject=str(manifest.address),
                place=manifest.place("/spec"),
                next_step="Declare the value that the setting must have instead.",
            )

    def check_scope(
        self, steps: Sequence[tuple[Manifest | None, Step]], peers: Sequence[Json]
    ) -> Iterator[Finding]:
        """Yield the known problems of all steps on one web service."""
        return check_endpoint_scope(steps, peers)

    def export(
        self, resource: Resource, document: Json, defaults: Mapping[str, Json], *, full: bool
    ) -> ExportedSpec:
        """Return the models that the endpoint shows, and its settings.

        `full` includes the settings that have their default value.
        """
        models: Json = document.get("Resources") or {}
        shown = {name: one["Location"] for name, one in models.items() if "Location" in one}
        settings = {
            word: document[word]
            for word, below in self.field.properties.items()
            if word in document and not below.read_only and word != "Resources"
            and document[word] is not None and (full or document[word] != below.default)
        }  # fmt: skip
        spec = make_spec(self.export_place(resource, defaults), shown, settings)
        notes = [f"  {json.dumps(one)}: {{uri: …, sas: …}}" for one in models if one not in shown]
        return ExportedSpec(spec, (_HIDDEN, "trainedModels:", *notes) if notes else ())

    def connect(self, access: Access) -> Provider:
        """Return the provider that calls Classic's management through the shared rate limiter."""
        from reconciler.kinds.endpoint.provider import (  # noqa: PLC0415 - imported when calls are made
            EndpointProvider,
        )

        return EndpointProvider(access, self.field)


def _refer(manifest: Manifest, name: str, given: Json, resource: Json) -> ModelReference:
    places = ("Resources", name, "Location"), ("Resources", name, "SasBlobToken")
    if given:
        return make_reference(manifest, ("spec", "trainedModels", name), name, given, *places)
    uri = resource.get("Location", "")
    return make_defined_reference(manifest, ("Resources",), name, uri, *places)
