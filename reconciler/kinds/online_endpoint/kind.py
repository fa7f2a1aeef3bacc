"""The kind of a managed online endpoint: its id, and how a manifest binds to its document.

This module sends no call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from reconciler.kinds.base import BaseKind
from reconciler.kinds.online_endpoint.addresses import ID_FORM
from reconciler.kinds.online_endpoint.bind import bind_manifest, list_models
from reconciler.kinds.online_endpoint.checks import GUARDS, check_live, check_step
from reconciler.kinds.online_endpoint.export import export_spec
from reconciler.kinds.online_endpoint.forms import COMPARERS, place_value
from reconciler.kinds.online_endpoint.manifest_checks import check_manifest
from reconciler.kinds.online_endpoint.split import retreat, split_step
from reconciler.model import (
    Absent,
    Declared,
    Edit,
    ExportedSpec,
    Finding,
    Json,
    Manifest,
    ModelReference,
    Path,
    Resource,
    Step,
    Write,
)
from reconciler.ports import Access, Plane, Provider

_PLANES: Final = (
    # Published address; the emulator serves all planes at one address.
    Plane(
        "resourceManager",
        "Manages New web services and online endpoints.",
        "https://management.azure.com",
        "http://127.0.0.1:8470",
    ),
)


class OnlineEndpointKind(BaseKind):
    """The kind `OnlineEndpoint`."""

    name = "OnlineEndpoint"
    schema_name = "service/online-endpoint"
    manifest_schema_name = "manifest/online-endpoint"
    id_form = ID_FORM
    planes = _PLANES
    comparers = COMPARERS
    guards = GUARDS

    def bind(self, manifest: Manifest, live: Json | Absent) -> Declared:
        """Return the part of the endpoint's document that the manifest declares."""
        declared = bind_manifest(manifest, live)
        found = () if declared.findings else tuple(check_live(manifest, live))
        return replace(declared, findings=found) if found else declared

    def place_value(self, path: Path, value: Json | Absent) -> tuple[Path, Json | Absent] | None:
        """Return where a manifest declares a value of the document, in the words of `az ml`."""
        return place_value(path, value)

    def check_manifest(self, manifest: Manifest) -> Iterator[Finding]:
        """Yield what is wrong with a manifest, whatever the service has."""
        return check_manifest(self.field, manifest)

    def check_step(self, manifest: Manifest, step: Step) -> Iterator[Finding]:
        """Yield why the service would refuse a step; its guards ask before a risky one."""
        return check_step(self.field, manifest, step)

    def list_models(self, manifest: Manifest) -> Sequence[ModelReference]:
        """Return the model of each deployment, named as the deployment."""
        return list_models(manifest)

    def find_served(self, manifest: Manifest, *, followed: bool = False) -> ModelReference:
        """Return the model of the deployment that has all traffic in the manifest."""
        from reconciler.kinds.online_endpoint import (  # noqa: PLC0415 - start-up: few commands promote
            promotion,
        )

        return promotion.find_served(manifest, list_models(manifest), followed=followed)

    def is_served(self, manifest: Manifest, owned: Mapping[str, Json]) -> bool:
        """Return whether an apply left the model of `find_served` in service, alone."""
        from reconciler.kinds.online_endpoint import (  # noqa: PLC0415 - start-up: few commands promote
            promotion,
        )

        return promotion.is_served(manifest, self.find_served(manifest), owned)

    def propose_model(
        self, manifest: Manifest, deployments: Sequence[str], uri: str, sha256: str
    ) -> Sequence[Edit]:
        """Return the edits with which the other deployment serves a model."""
        from reconciler.kinds.online_endpoint import (  # noqa: PLC0415 - start-up: few commands promote
            promotion,
        )

        served = self.find_served(manifest).name
        return promotion.propose_model(manifest, served, deployments, uri, sha256)

    def split_step(self, step: Step) -> Sequence[tuple[Write, Json | Absent]]:
        """Return the writes: the endpoint, its deployments, its traffic in steps, deletions."""
        return split_step(self.field, step)

    def retreat(self, step: Step, reached: Json) -> Sequence[tuple[Write, Json | Absent]]:
        """Return the writes that move the traffic back after a failed check."""
        return retreat(self.field, step, reached)

    def export(
        self, resource: Resource, document: Json, defaults: Mapping[str, Json], *, full: bool
    ) -> ExportedSpec:
        """Return what the endpoint serves and its own settings; `full` returns all settings."""
        return export_spec(self.field, self.export_place(resource, defaults), document, full=full)

    def connect(self, access: Access) -> Provider:
        """Return the provider that calls Resource Manager through the shared rate limiter."""
        from reconciler.kinds.online_endpoint.provider import (  # noqa: PLC0415 - it is slow
            OnlineEndpointProvider,
        )

        return OnlineEndpointProvider(access, self.field)
