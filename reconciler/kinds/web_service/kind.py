"""What a web service is: where it lives, how a manifest binds to its document, what it demands.

Pure: no call is made here. A trained model is the asset of type Resource that bears its name
(documented: retrain-existing-resource-manager-based-web-service).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from reconciler.document.pointers import copy_document, find, format_pointer, set_at
from reconciler.kinds.base import (
    SERVICES,
    BaseKind,
    make_defined_reference,
    make_reference,
    make_unknown_finding,
    name_some,
)
from reconciler.kinds.ids import IdForm
from reconciler.kinds.web_service.export import export_spec
from reconciler.kinds.web_service.regions import find_region, make_starting_document
from reconciler.kinds.web_service.requirements import check_required, check_undeclared
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
    Path,
    Resource,
    Step,
)
from reconciler.ports import Access, Plane, Provider

_BLOB: Final = re.compile(r"https?://[^?#\s]+$")
_OWNER_TAGS: Final = frozenset({"managedby"})
_SOURCE: Final[Path] = ("definition", "from")
# Each part is one segment of a path, which no dots lead out of.
ID_FORM: Final = IdForm(
    noun="a web service",
    scope="/subscriptions/{subscription}/resourceGroups/{resourceGroup}",
    below="/providers/Microsoft.MachineLearning/webServices/",
    pattern=re.compile(
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
    # Published addresses; the emulator answers for each plane at one address.
    Plane(
        "resourceManager",
        "Manages New web services.",
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
        source_id = self.id_form.make(manifest, given, ("spec", *_SOURCE, "resource"))
        return Resource(manifest.address, source_id)

    def bind(self, manifest: Manifest, live: Json | Absent) -> Declared:
        """The part of the service's document that the manifest speaks of.

        Where a definition names the place of a trained model too, `spec.trainedModels` wins.
        """
        return self._bind(manifest, live, ABSENT)

    def bind_clone(self, manifest: Manifest, source: Json) -> Declared:
        """As `bind`, of a new service that starts from the definition of another one."""
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
        """The region of `after`, in lower case without blanks, where it is not the source's."""
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
        """Why the service would refuse any change of what is live; what a whole PUT lacks.

        A read-only service takes no change (documented: readOnly).
        """
        frozen = find(step.before, ("properties", "readOnly")) is True
        if frozen and step.action is Action.UPDATE:
            yield Finding(
                "is read-only: the service takes no change of it, and this cannot be undone",
                subject=str(manifest.address),
                place=manifest.place("/spec"),
                next_step="Destroy it and create it anew, or declare what it has.",
            )
        if step.body == "whole":
            yield from check_required(manifest, step)

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

    def export(
        self, resource: Resource, document: Json, defaults: Mapping[str, Json], *, full: bool
    ) -> ExportedSpec:
        """The models that it serves, its tags and settings; or the whole definition."""
        place = self.export_place(resource, defaults)
        return export_spec(self.field, place, document, full=full)

    def connect(self, access: Access) -> Provider:
        """Open the calls to Resource Manager, each within the budget."""
        from reconciler.kinds.web_service.provider import (  # noqa: PLC0415 - imported when calls are made
            WebServiceProvider,
        )

        return WebServiceProvider(access, self.field)


def _find_models(document: Json | Absent) -> Mapping[str, list[str]]:
    """The ids of the assets that bear each trained model's name: one, unless it is ambiguous."""
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
    """Trained models that the definition itself brings in, by the assets that load them.

    `named` are the places of those that the manifest names; they are left out.
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
    return make_unknown_finding(manifest, name, known)
