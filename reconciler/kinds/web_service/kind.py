"""The kind of a New web service: its id, and how a manifest binds to its document.

This module sends no call. A trained model is the asset of type Resource that has the model's name
(documented: retrain-existing-resource-manager-based-web-service).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from reconciler.document.comparers import COMPARERS
from reconciler.document.pointers import copy_document, find, format_pointer, set_at
from reconciler.kinds.base import (
    SERVICES,
    BaseKind,
    make_defined_reference,
    make_reference,
    make_unknown_finding,
    name_region,
    name_some,
)
from reconciler.kinds.ids import IdForm
from reconciler.kinds.web_service.export import export_spec
from reconciler.kinds.web_service.regions import find_region, make_starting_document
from reconciler.kinds.web_service.requirements import check_plan, check_required, check_undeclared
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Declared,
    ExportedSpec,
    Finding,
    Json,
    Manifest,
    ModelReference,
    NamedPart,
    Path,
    Resource,
    Step,
)
from reconciler.ports import Access, Plane, Provider
from reconciler.text.patterns import compile_lazily

_BLOB: Final = re.compile(r"https?://[^?#\s]+$")
_OWNER_TAGS: Final = frozenset({"managedby"})
_SOURCE: Final[Path] = ("definition", "from")
# Each part is one segment of a path. `.` and `..` are refused, because they change the path.
ID_FORM: Final = IdForm(
    noun="a web service",
    scope="/subscriptions/{subscription}/resourceGroups/{resourceGroup}",
    below="/providers/Microsoft.MachineLearning/webServices/",
    pattern=compile_lazily(
        r"/subscriptions/(?P<subscription>(?!\.\.?/)[^/?#%\s\x00-\x1f\x7f\ud800-\udfff]{1,260})"
        r"/resourceGroups/(?P<resourceGroup>(?!\.\.?/)[^/?#%\x00-\x1f\x7f\ud800-\udfff]{1,260})"
        r"/providers/Microsoft\.MachineLearning"
        r"/webServices/(?P<name>(?!\.\.?/?$)[A-Za-z0-9._-]{1,260})/?",
        re.IGNORECASE | re.ASCII,
    ),
    example="/subscriptions/…/resourceGroups/…/providers"
    "/Microsoft.MachineLearning/webServices/NAME",
)


_PLANES: Final = (
    # Published addresses; the emulator serves all planes at one address.
    Plane(
        "resourceManager",
        "Manages New web services and online endpoints.",
        "https://management.azure.com",
        "http://127.0.0.1:8470",
    ),
    SERVICES,
)


class WebServiceKind(BaseKind):
    """The kind `WebService`."""

    name = "WebService"
    schema_name = "service/web-service"
    manifest_schema_name = "manifest/web-service"
    id_form = ID_FORM
    planes = _PLANES

    def find_wider_part(self, manifest: Manifest, defaults: Mapping[str, Json]) -> NamedPart | None:
        """Return the resource group: a list of the subscription shows that of each service."""
        given = self.gather(manifest, defaults)
        if not given.get("subscription"):
            return None
        return NamedPart(
            part="resourceGroup",
            key="spec.resource.name",
            name=given["name"],
            noun="web service",
            scope=f"/subscriptions/{given['subscription']}",
            id=given.get("resourceGroup", ""),
            value_noun="resource group",
            any_case=True,
        )

    def find_source(
        self, manifest: Manifest, defaults: Mapping[str, Json]
    ) -> Address | Resource | None:
        """Return the source's address, or its whole id under the manifest's own address."""
        source = find(manifest.spec, _SOURCE)
        if not isinstance(source, dict):
            return None
        if "address" in source:
            return Address.parse(source["address"])
        given = {**defaults, **source["resource"]}
        source_id = self.id_form.make(manifest, given, ("spec", *_SOURCE, "resource"))
        return Resource(manifest.address, source_id)

    def bind(self, manifest: Manifest, live: Json | Absent) -> Declared:
        """Return the part of the service's document that the manifest declares.

        `spec.trainedModels` overrides the address of a model in the definition.
        """
        return self._bind(manifest, live, ABSENT)

    def bind_clone(self, manifest: Manifest, source: Json) -> Declared:
        """Return the same as `bind` for a new service that starts from another definition."""
        return self._bind(manifest, ABSENT, source)

    def _bind(self, manifest: Manifest, live: Json | Absent, source: Json | Absent) -> Declared:
        said = manifest.spec.get("definition", {})
        given = {name: value for name, value in said.items() if name != _SOURCE[-1]}
        definition = self.declare(given)
        document = copy_document(definition)
        starting_document = (
            ABSENT if source is ABSENT else make_starting_document(self.field, source, document)
        )
        if live is ABSENT and starting_document is ABSENT and not document:
            return Declared({}, findings=(_does_not_exist(manifest),))
        exact = manifest.spec.get("ownership") == "exact"
        models, findings = self._bind_models(
            manifest, starting_document if live is ABSENT else live, document
        )
        if exact:
            findings = (*check_undeclared(manifest, live, definition, document), *findings)
        return Declared(
            document, models, findings, exact=exact, starting_document=starting_document
        )

    def find_region(self, source: Json, after: Json) -> str:
        """Return the region of `after` (lower case, no spaces) if it is not the source's."""
        return find_region(self.field, source, after)

    def _bind_models(
        self, manifest: Manifest, live: Json | Absent, document: Json
    ) -> tuple[tuple[ModelReference, ...], tuple[Finding, ...]]:
        known = {**_find_models(document), **_find_models(live)}
        models, findings = [], []
        for name, given in manifest.spec.get("trainedModels", {}).items():
            if len(known.get(name, ())) == 1:
                path = ("properties", "assets", known[name][0], "locationInfo", "uri")
                entry = ("spec", "trainedModels", name)
                model = make_reference(manifest, entry, name, given, path)
                set_at(document, model.path, model.uri)
                models.append(model)
            else:
                findings.append(_not_one_model(manifest, name, known))
        named = {model.path for model in models}
        models += _defined_models(manifest, document, live, named)
        return tuple(models), tuple(findings)

    def check_step(self, manifest: Manifest, step: Step) -> Iterator[Finding]:
        """Yield why the service would refuse a step, and what a whole PUT lacks.

        A read-only service accepts no change (documented: readOnly).
        """
        frozen = find(step.before, ("properties", "readOnly")) is True
        if frozen and step.action is Action.UPDATE:
            yield Finding(
                "is read-only: the service accepts no change, and this cannot be undone",
                subject=str(manifest.address),
                place=manifest.place("/spec"),
                next_step="Destroy it and create it again, or declare its live values.",
            )
        yield from _check_region(manifest, step)
        moved = [*check_plan(manifest, step)]
        yield from moved
        if step.body == "whole" and not moved:
            yield from check_required(manifest, step)

    def find_owner(self, live: Json, project: str) -> str:
        """Return the value of the tag managed-by unless it is `reconciler` or this project.

        The tag's name may have any spelling. The service has no owner field, so tools write their
        name into a tag.
        """
        tags = find(live, ("tags",))
        for name, value in tags.items() if isinstance(tags, dict) else ():
            plain = name.casefold().replace("-", "").replace("_", "").replace(" ", "")
            ours = {"", "reconciler", f"reconciler/{project}".casefold()}
            if plain in _OWNER_TAGS and isinstance(value, str) and value.casefold() not in ours:
                return value
        return ""

    def export(
        self, resource: Resource, document: Json, defaults: Mapping[str, Json], *, full: bool
    ) -> ExportedSpec:
        """Return the models that it serves, its tags and settings; `full` returns everything."""
        place = self.export_place(resource, defaults)
        return export_spec(self.field, place, document, full=full)

    def connect(self, access: Access) -> Provider:
        """Return the provider that calls Resource Manager through the shared rate limiter."""
        from reconciler.kinds.web_service.provider import (  # noqa: PLC0415 - imported when calls are made
            WebServiceProvider,
        )

        return WebServiceProvider(access, self.field)


def _check_region(manifest: Manifest, step: Step) -> Iterator[Finding]:
    """Yield a warning for a declared region that is not that of the service's own address."""
    host, region = name_region(find(step.before, ("properties", "swaggerLocation")))
    declared = find(step.after, ("location",))
    if not region or "/location" not in step.owned_paths or not isinstance(declared, str):
        return
    if COMPARERS["location"](declared) != COMPARERS["location"](region):
        yield Finding(
            f"is in {region}, but the declared location is {declared}",
            subject=str(manifest.address),
            place=manifest.place("/spec/definition/location"),
            detail=(f"The host of its scoring address is {host}.",),
            next_step=f"If it must stay there, declare location: {region}.",
            severity="warning",
        )


def _find_models(document: Json | Absent) -> Mapping[str, list[str]]:
    """Return the asset ids by model name; more than one id means that the name is ambiguous."""
    assets = find(document, ("properties", "assets"))
    found: dict[str, list[str]] = {}
    for asset_id, asset in assets.items() if isinstance(assets, dict) else ():
        is_model = isinstance(asset, dict) and str(asset.get("type", "")).casefold() == "resource"
        if is_model and isinstance(asset.get("name"), str):
            found.setdefault(asset["name"], []).append(asset_id)
    return found


def _defined_models(
    manifest: Manifest, document: Json, live: Json | Absent, named: Collection[Path]
) -> Iterator[ModelReference]:
    """Yield the trained models of the definition, from the assets that load them.

    `named` are the places of the models that the manifest names; they are left out.
    """
    assets = find(document, ("properties", "assets"))
    for asset_id in assets if isinstance(assets, dict) else ():
        path = ("properties", "assets", asset_id)
        at = (*path, "locationInfo", "uri")
        uri = find(document, at)
        if at in named or not isinstance(uri, str) or not _BLOB.match(uri):
            continue
        kind, name = (_first(path, word, document, live) for word in ("type", "name"))
        if str(kind).casefold() == "resource":
            yield make_defined_reference(manifest, at, str(name or asset_id), uri, at)


def _first(path: Path, word: str, *documents: Json | Absent) -> Json | Absent:
    found = (find(document, (*path, word)) for document in documents)
    return next((value for value in found if value is not ABSENT), ABSENT)


def _does_not_exist(manifest: Manifest) -> Finding:
    return Finding(
        "the service does not exist, and the manifest does not define how to create it",
        subject=str(manifest.address),
        place=manifest.place("/spec"),
        detail=("No service has the name and resource group that the manifest sets.",),
        next_step="Correct spec.resource, or add the whole definition: "
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
            next_step="Choose one by its asset id in spec.definition: "
            "properties: {assets: {ID: {locationInfo: {uri: …}}}}",
        )
    return make_unknown_finding(manifest, name, known)
