"""What a Classic endpoint is: where it lives, how a manifest binds to its document.

Pure: no call is made here. A trained model is the resource of the endpoint that bears its name
(documented: retrain-classic-web-service); the document holds its address as one, by that name.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from reconciler.catalog import read_schema
from reconciler.comparers import COMPARERS
from reconciler.errors import ManifestInvalid
from reconciler.intake import normalize, without_server_fields
from reconciler.kinds.endpoint.traps import find_scope_traps, find_traps
from reconciler.kinds.plain import PlainKind, find_unknown
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Cloud,
    Declared,
    Draft,
    Finding,
    Json,
    Manifest,
    ModelReference,
    Resource,
    SecretReference,
    Step,
)
from reconciler.pointers import copy_document, find, format_pointer, set_at
from reconciler.ports import Budget, Emit, Provider, ResolveSecret
from reconciler.redaction import Redaction
from reconciler.schema import Field, compile_schema

# Hosts by region (azuremlps, Util.cs).
_HOSTS: Final[Mapping[str, str]] = {
    "South Central US": "management.azureml.net",
    "West Europe": "europewest.management.azureml.net",
    "Southeast Asia": "asiasoutheast.management.azureml.net",
    "Japan East": "japaneast.management.azureml.net",
    "West Central US": "uswestcentral.management.azureml.net",
    "Germany Central": "germanycentral.management.azureml.de",
}
REGIONS: Final = {COMPARERS["location"](region): region for region in _HOSTS}
HOSTS: Final = {plain: _HOSTS[region] for plain, region in REGIONS.items()}
_ID: Final = re.compile(
    r"(?:https?://(?P<host>[^/]+))?(?:/(?P<region>[a-z]+))?/workspaces/(?P<workspace>[\w.-]+)"
    r"/webservices/(?P<webService>[\w.-]+)/endpoints/(?P<name>[\w.-]+)/?",
    re.IGNORECASE | re.ASCII,
)
# What people set, and what need not be said.
_SETTINGS: Final[Mapping[str, Json]] = {
    "Description": "",
    "ThrottleLevel": None,
    "MaxConcurrentCalls": None,
    "DiagnosticsTraceLevel": "None",
    "PreventUpdate": False,
}
_HIDDEN: Final = "The service does not show which model it serves. What is declared is sent to it:"


class EndpointKind(PlainKind):
    """The kind `Endpoint`."""

    name = "Endpoint"
    schema_name = "service/endpoint"
    manifest_schema_name = "manifest/endpoint"

    @functools.cached_property
    def field(self) -> Field:
        """The endpoint's document, compiled once."""
        return compile_schema(read_schema(self.schema_name))

    def identify(self, manifest: Manifest, defaults: Mapping[str, Json]) -> Resource:
        """Region, workspace, web service and name; raises ManifestInvalid for what is missing."""
        given = {"name": manifest.address.name, "region": "South Central US", **defaults}
        given |= manifest.spec.get("resource", {})
        missing = tuple(
            Finding(
                f"no {part} is given",
                subject=str(manifest.address),
                place=manifest.place("/spec/resource") if manifest.file else None,
                next_step=f"Set spec.resource.{part} here, or spec.defaults.{part} in the project"
                " file. Studio shows both ids in the address of the web service's page.",
            )
            for part in ("workspace", "webService")
            if not given.get(part)
        )
        if missing:
            raise ManifestInvalid(missing)
        where = f"/{COMPARERS['location'](given['region'])}/workspaces/{given['workspace']}"
        token = SecretReference(**given["token"]) if "token" in given else None
        endpoint = f"{where}/webservices/{given['webService']}/endpoints/{given['name']}"
        return Resource(manifest.address, endpoint, token)

    def bind(
        self, manifest: Manifest, live: Json | Absent, _source: Json | Absent = ABSENT
    ) -> Declared:
        """The part of the endpoint's document that the manifest speaks of."""
        said = normalize(self.field, manifest.spec.get("definition", {}))
        document: Json = copy_document(without_server_fields(self.field, said))
        models = manifest.spec.get("trainedModels", {})
        for name, model in models.items():
            set_at(document, ("Resources", name, "Location"), model["uri"])
        named: Json = document.get("Resources", {})
        known: Json = find(live, ("Resources",))
        # An endpoint that shows no names at all may have any; one that has none is a trap.
        unknown = set(named) - set(known) if isinstance(known, dict) and known else set()
        return Declared(
            document,
            tuple(_refer(manifest, name, models.get(name, {}), named[name]) for name in named),
            tuple(find_unknown(manifest, name, known) for name in sorted(unknown)),
        )

    def find_missing(self, manifest: Manifest, step: Step) -> tuple[Finding, ...]:
        """A PUT demands nothing; and no call takes a setting away (published description)."""
        finding = Finding(
            "no call takes a setting of an endpoint away",
            subject=str(manifest.address),
            place=manifest.place("/spec"),
            next_step="Declare the value that it is to have instead.",
        )
        return (finding,) if step.action is Action.UPDATE else ()

    def find_refusals(self, manifest: Manifest, step: Step) -> tuple[Finding, ...]:
        """What is known to go wrong with one endpoint."""
        return tuple(find_traps(manifest, step))

    def find_conflicts(
        self, steps: Sequence[tuple[Manifest | None, Step]], peers: Sequence[Json]
    ) -> tuple[Finding, ...]:
        """What is known to go wrong among the endpoints of one web service."""
        return tuple(find_scope_traps(steps, peers))

    def scope(self, resource: Resource) -> str:
        """The web service, whose list holds the endpoint."""
        return resource.id.rpartition("/endpoints/")[0]

    def locate(self, address: Address, resource_id: str, defaults: Mapping[str, Json]) -> Resource:
        """An id as it is kept here, the address of a management call, or a name."""
        given = _split(resource_id) or {"name": resource_id}
        host = given.pop("host", "").lower()
        served = [region for region, one in HOSTS.items() if one == host]
        given |= {"region": served[0]} if served else {}
        if "/" in given["name"]:
            finding = Finding(
                "is no id of an endpoint",
                subject=resource_id,
                next_step="It reads https://management.azureml.net/workspaces/…/webservices/…"
                "/endpoints/NAME, or is the name alone.",
            )
            raise ManifestInvalid((finding,))
        return self.identify(Manifest(address, {"resource": given}, "", ""), defaults)

    def draft(
        self, resource: Resource, document: Json, defaults: Mapping[str, Json], *, full: bool
    ) -> Draft:
        """The models that it shows, and its settings: in full also those that need not be said."""
        known = {"name": resource.address.name, "region": "South Central US", **defaults}
        place = _split(resource.id)
        place["region"] = REGIONS.get(place.get("region", ""), known["region"])
        models: Json = document.get("Resources") or {}
        shown = {
            name: {"uri": one["Location"]} for name, one in models.items() if "Location" in one
        }
        settings = {word: document[word] for word in _SETTINGS if word in document}
        spec: Json = {
            "resource": {word: said for word, said in place.items() if known.get(word) != said},
            "trainedModels": shown,
            "definition": {w: s for w, s in settings.items() if full or s != _SETTINGS[w]},
        }
        notes = [f"  {json.dumps(one)}: {{uri: …, sas: …}}" for one in models if one not in shown]
        parts = {part: said for part, said in spec.items() if said}
        return Draft(parts, (_HIDDEN, "trainedModels:", *notes) if notes else ())

    def connect(
        self,
        cloud: Cloud,
        emit: Emit,
        budget: Budget,
        _deadline_s: float,
        resolve: ResolveSecret,
        redaction: Redaction,
    ) -> Provider:
        """Open the calls to the management of Classic, each within the budget."""
        from reconciler.kinds.endpoint.provider import (  # noqa: PLC0415 - imported when calls are made
            EndpointProvider,
        )

        return EndpointProvider(cloud, emit, budget, self.field, resolve, redaction)


def _split(resource_id: str) -> dict[str, str]:
    """The parts of an id, those that it names; none for what is no id."""
    found = _ID.fullmatch(resource_id)
    return {word: said for word, said in found.groupdict().items() if said} if found else {}


def _refer(manifest: Manifest, name: str, given: Json, resource: Json) -> ModelReference:
    at = ("spec", "trainedModels", name, "uri") if given else ("spec", "definition", "Resources")
    return ModelReference(
        name=name,
        uri=resource.get("Location", ""),
        path=("Resources", name, "Location"),
        sha256=given.get("sha256", ""),
        sas=SecretReference(**given["sas"]) if "sas" in given else None,
        find_place=functools.partial(manifest.place, format_pointer(at)),
        sas_path=("Resources", name, "SasBlobToken"),
    )
