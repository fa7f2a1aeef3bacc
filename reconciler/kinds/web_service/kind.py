"""What a web service is: where it lives, how a manifest binds to its document, what it demands.

Pure: no call is made here. A trained model is the asset of type Resource that bears its name
(documented: retrain-existing-resource-manager-based-web-service).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.catalog import read_schema
from reconciler.errors import ManifestInvalid
from reconciler.intake import normalize, without_server_fields
from reconciler.kinds.plain import PlainKind, find_unknown, name_some
from reconciler.kinds.web_service.demands import find_lacks, find_undeclared
from reconciler.kinds.web_service.draft import make_draft, split_id
from reconciler.kinds.web_service.regions import find_region, make_seed
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
    Path,
    Resource,
    SecretReference,
    Step,
)
from reconciler.pointers import copy_document, find, format_pointer, set_at
from reconciler.ports import Budget, Emit, Provider, ResolveSecret
from reconciler.redaction import Redaction
from reconciler.schema import Field, compile_schema

_TYPE: Final = "Microsoft.MachineLearning/webServices"
_BLOB: Final = re.compile(r"https?://[^?#\s]+$")
_OWNER_TAGS: Final = frozenset({"managedby"})
_SOURCE: Final[Path] = ("definition", "from")
_SCOPE_KEYS: Final = ("subscription", "resourceGroup")


class WebServiceKind(PlainKind):
    """The kind `WebService`."""

    name = "WebService"
    schema_name = "service/web-service"
    manifest_schema_name = "manifest/web-service"

    @functools.cached_property
    def field(self) -> Field:
        """The service's document, compiled once."""
        return compile_schema(read_schema(self.schema_name))

    def identify(self, manifest: Manifest, defaults: Mapping[str, Json]) -> Resource:
        """The whole Resource Manager id; raises ManifestInvalid naming each missing part."""
        given = {"name": manifest.address.name, **defaults, **manifest.spec.get("resource", {})}
        return _identify(manifest, given, ("spec", "resource"))

    def find_source(
        self, manifest: Manifest, defaults: Mapping[str, Json]
    ) -> Address | Resource | None:
        """The address, or the whole id under the manifest's own address."""
        source = find(manifest.spec, _SOURCE)
        if not isinstance(source, dict):
            return None
        if "address" in source:
            return Address.parse(source["address"])
        given = {**defaults, **source["resource"]}
        return _identify(manifest, given, ("spec", *_SOURCE, "resource"))

    def bind(
        self, manifest: Manifest, live: Json | Absent, source: Json | Absent = ABSENT
    ) -> Declared:
        """The part of the service's document that the manifest speaks of.

        Where a definition names the place of a trained model too, `spec.trainedModels` wins.
        """
        said = manifest.spec.get("definition", {})
        given = {name: value for name, value in said.items() if name != _SOURCE[-1]}
        definition = without_server_fields(self.field, normalize(self.field, given))
        document = copy_document(definition)
        seed = ABSENT if source is ABSENT else make_seed(self.field, source, document)
        if live is ABSENT and seed is ABSENT and not document:
            return Declared({}, findings=(_does_not_exist(manifest),))
        exact = manifest.spec.get("ownership") == "exact"
        models, findings = self._bind_models(manifest, seed if live is ABSENT else live, document)
        if exact:
            findings = (*find_undeclared(manifest, live, definition, document), *findings)
        return Declared(document, models, findings, exact=exact, seed=seed)

    def find_region(self, source: Json, after: Json) -> str:
        """The region of `after`, in lower case without blanks, where it is not the source's."""
        return find_region(self.field, source, after)

    def _bind_models(
        self, manifest: Manifest, live: Json | Absent, document: Json
    ) -> tuple[tuple[ModelReference, ...], tuple[Finding, ...]]:
        known = {**_find_models(document), **_find_models(live)}
        models, findings = [], []
        for name, given in manifest.spec.get("trainedModels", {}).items():
            if len(known.get(name, ())) == 1:
                model = _reference(manifest, name, known[name][0], given)
                set_at(document, model.path, model.uri)
                models.append(model)
            else:
                findings.append(_not_one_model(manifest, name, known))
        named = {model.path for model in models}
        models += [
            one for one in _defined_models(manifest, document, live) if one.path not in named
        ]
        return tuple(models), tuple(findings)

    def find_missing(self, manifest: Manifest, step: Step) -> tuple[Finding, ...]:
        """What a PUT must hold and the step lacks, all at once."""
        return tuple(find_lacks(manifest, step))

    def find_refusals(self, manifest: Manifest, step: Step) -> tuple[Finding, ...]:
        """Why the service would refuse any change of what is live (documented: readOnly)."""
        frozen = find(step.before, ("properties", "readOnly")) is True
        if not frozen or step.action is not Action.UPDATE:
            return ()
        finding = Finding(
            "is read-only: the service takes no change of it, and this cannot be undone",
            subject=str(manifest.address),
            place=manifest.place("/spec"),
            next_step="Destroy it and create it anew, or declare what it has.",
        )
        return (finding,)

    def find_owner(self, live: Json, project: str) -> str:
        """What the tag managed-by says, in any spelling, unless it is `reconciler` or this project.

        The service knows no owner; a tag is where tools leave their name.
        """
        tags = find(live, ("tags",))
        for name, value in tags.items() if isinstance(tags, dict) else ():
            plain = name.casefold().replace("-", "").replace("_", "").replace(" ", "")
            ours = {"", "reconciler", f"reconciler/{project}".casefold()}
            if plain in _OWNER_TAGS and isinstance(value, str) and value.casefold() not in ours:
                return value
        return ""

    def scope(self, resource: Resource) -> str:
        """The resource group, whose list holds the resource."""
        return resource.id.partition("/providers/")[0]

    def locate(self, address: Address, resource_id: str, defaults: Mapping[str, Json]) -> Resource:
        """The whole id, given whole or as a name in the default resource group."""
        given = split_id(resource_id) or {"name": resource_id}
        if "/" in given["name"]:
            finding = Finding(
                "is no id of a web service",
                subject=resource_id,
                next_step="It reads /subscriptions/…/resourceGroups/…/providers"
                "/Microsoft.MachineLearning/webServices/NAME, or is the name alone.",
            )
            raise ManifestInvalid((finding,))
        return self.identify(Manifest(address, {"resource": dict(given)}, "", ""), defaults)

    def draft(
        self, resource: Resource, document: Json, defaults: Mapping[str, Json], *, full: bool
    ) -> Draft:
        """The models that it serves, its tags and settings; or the whole definition."""
        return make_draft(self.field, resource, document, defaults, full=full)

    def connect(
        self,
        cloud: Cloud,
        emit: Emit,
        budget: Budget,
        deadline_s: float,
        _resolve: ResolveSecret,
        redaction: Redaction,
    ) -> Provider:
        """Open the calls to Resource Manager, each within the budget."""
        from reconciler.kinds.web_service.provider import (  # noqa: PLC0415 - imported when calls are made
            WebServiceProvider,
        )

        return WebServiceProvider(cloud, emit, budget, self.field, deadline_s, redaction)


def _find_models(document: Json | Absent) -> Mapping[str, list[str]]:
    """The ids of the assets that bear each trained model's name: one, unless it is ambiguous."""
    assets = find(document, ("properties", "assets"))
    found: dict[str, list[str]] = {}
    for asset_id, asset in assets.items() if isinstance(assets, dict) else ():
        is_model = isinstance(asset, dict) and str(asset.get("type", "")).casefold() == "resource"
        if is_model and isinstance(asset.get("name"), str):
            found.setdefault(asset["name"], []).append(asset_id)
    return found


def _reference(manifest: Manifest, name: str, asset_id: str, given: Json) -> ModelReference:
    pointer = format_pointer(("spec", "trainedModels", name))
    return ModelReference(
        name=name,
        uri=given["uri"],
        path=("properties", "assets", asset_id, "locationInfo", "uri"),
        sha256=given.get("sha256", ""),
        sas=SecretReference(**given["sas"]) if "sas" in given else None,
        find_place=functools.partial(manifest.place, f"{pointer}/uri"),
    )


def _identify(manifest: Manifest, given: Mapping[str, str], at: Path) -> Resource:
    missing = tuple(_missing_scope(manifest, at, key) for key in _SCOPE_KEYS if not given.get(key))
    if missing:
        raise ManifestInvalid(missing)
    scope = f"/subscriptions/{given['subscription']}/resourceGroups/{given['resourceGroup']}"
    return Resource(manifest.address, f"{scope}/providers/{_TYPE}/{given['name']}")


def _defined_models(
    manifest: Manifest, document: Json, live: Json | Absent
) -> Iterator[ModelReference]:
    """Trained models that the definition itself brings in, by the assets that load them."""
    assets = find(document, ("properties", "assets"))
    for asset_id in assets if isinstance(assets, dict) else ():
        path = ("properties", "assets", asset_id)
        kind, name = (_first(path, word, document, live) for word in ("type", "name"))
        at = (*path, "locationInfo", "uri")
        uri = find(document, at)
        if str(kind).casefold() == "resource" and isinstance(uri, str) and _BLOB.match(uri):
            place = functools.partial(manifest.place, format_pointer(("spec", "definition", *at)))
            yield ModelReference(name=str(name or asset_id), uri=uri, path=at, find_place=place)


def _first(path: Path, word: str, *documents: Json | Absent) -> Json | Absent:
    found = (find(document, (*path, word)) for document in documents)
    return next((value for value in found if value is not ABSENT), ABSENT)


def _missing_scope(manifest: Manifest, at: Path, key: str) -> Finding:
    return Finding(
        f"no {key} is given",
        subject=str(manifest.address),
        place=manifest.place(format_pointer(at)),
        next_step=f"Set {'.'.join(map(str, at))}.{key} here,"
        f" or spec.defaults.{key} in the project file.",
    )


def _does_not_exist(manifest: Manifest) -> Finding:
    return Finding(
        "there is no such service, and the manifest does not say how to create it",
        subject=str(manifest.address),
        place=manifest.place("/spec"),
        detail=("Nothing was found under the name and resource group that the manifest gives.",),
        next_step="Correct spec.resource, or give the whole definition: "
        "definition: {file: NAME.definition.json}, or {from: {address: …}}",
    )


def _not_one_model(manifest: Manifest, name: str, known: Mapping[str, list[str]]) -> Finding:
    place = manifest.place(format_pointer(("spec", "trainedModels", name)))
    subject = str(manifest.address)
    if name in known:
        return Finding(
            f'{len(known[name])} trained models are named "{name}"',
            subject=subject,
            place=place,
            detail=(f"They are the assets {name_some(known[name])}.",),
            next_step="Say which by its asset in spec.definition: "
            "properties: {assets: {ID: {locationInfo: {uri: …}}}}",
        )
    return find_unknown(manifest, name, known)
