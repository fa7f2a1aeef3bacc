"""The kind of a managed online endpoint: its id, and how a manifest binds to its document.

This module sends no call. Every command imports it, so it imports the other modules of the kind
only where they are needed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from reconciler.document.schema import Field, compile_schema
from reconciler.kinds.base import BaseKind
from reconciler.kinds.online_endpoint.addresses import ID_FORM
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
from reconciler.package_data import read_schema
from reconciler.ports import Access, Plane, Provider

GUARDS: Final = {
    "in-place": "a new model, code or environment for a deployment that has traffic",
    "auth-mode": "a change of how callers of an endpoint prove who they are",
    "identity": "another identity for an endpoint that exists",
}

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
    guards = GUARDS

    @functools.cached_property
    def field(self) -> Field:
        """Return the schema of the service's document, compiled once."""
        from reconciler.kinds.online_endpoint.forms import COMPARERS  # noqa: PLC0415 - start-up

        return compile_schema(read_schema(self.schema_name), COMPARERS)

    def bind(self, manifest: Manifest, live: Json | Absent) -> Declared:
        """Return the part of the endpoint's document that the manifest declares."""
        from reconciler.kinds.online_endpoint import bind, checks  # noqa: PLC0415 - start-up

        declared = bind.bind_manifest(manifest, live)
        found = () if declared.findings else tuple(checks.check_live(manifest, live))
        return replace(declared, findings=found) if found else declared

    def place_value(self, path: Path, value: Json | Absent) -> tuple[Path, Json | Absent] | None:
        """Return where a manifest declares a value of the document, in the words of `az ml`."""
        from reconciler.kinds.online_endpoint import forms  # noqa: PLC0415 - start-up

        return forms.place_value(path, value)

    def check_manifest(self, manifest: Manifest) -> Iterator[Finding]:
        """Yield what is wrong with a manifest, whatever the service has."""
        from reconciler.kinds.online_endpoint import manifest_checks  # noqa: PLC0415 - start-up

        return manifest_checks.check_manifest(self.field, manifest)

    def check_step(self, manifest: Manifest, step: Step) -> Iterator[Finding]:
        """Yield why the service would refuse a step; its guards ask before a risky one."""
        from reconciler.kinds.online_endpoint import checks  # noqa: PLC0415 - start-up

        return checks.check_step(self.field, manifest, step)

    def list_models(self, manifest: Manifest) -> Sequence[ModelReference]:
        """Return the model of each deployment, named as the deployment."""
        from reconciler.kinds.online_endpoint import bind  # noqa: PLC0415 - start-up

        return bind.list_models(manifest)

    def find_served(self, manifest: Manifest, *, followed: bool = False) -> ModelReference:
        """Return the model of the deployment that has all traffic in the manifest."""
        from reconciler.kinds.online_endpoint import promotion  # noqa: PLC0415 - start-up

        return promotion.find_served(manifest, self.list_models(manifest), followed=followed)

    def is_served(self, manifest: Manifest, owned: Mapping[str, Json]) -> bool:
        """Return whether an apply left the model of `find_served` in service, alone."""
        from reconciler.kinds.online_endpoint import promotion  # noqa: PLC0415 - start-up

        return promotion.is_served(manifest, self.find_served(manifest), owned)

    def propose_model(
        self, manifest: Manifest, deployments: Sequence[str], uri: str, sha256: str
    ) -> Sequence[Edit]:
        """Return the edits with which the other deployment serves a model."""
        from reconciler.kinds.online_endpoint import promotion  # noqa: PLC0415 - start-up

        served = self.find_served(manifest).name
        return promotion.propose_model(manifest, served, deployments, uri, sha256)

    def split_step(self, step: Step) -> Sequence[tuple[Write, Json | Absent]]:
        """Return the writes: the endpoint, its deployments, its traffic in steps, deletions."""
        from reconciler.kinds.online_endpoint import split  # noqa: PLC0415 - start-up

        return split.split_step(self.field, step)

    def retreat(self, step: Step, reached: Json) -> Sequence[tuple[Write, Json | Absent]]:
        """Return the writes that move the traffic back after a failed check."""
        from reconciler.kinds.online_endpoint import split  # noqa: PLC0415 - start-up

        return split.retreat(self.field, step, reached)

    def export(
        self, resource: Resource, document: Json, defaults: Mapping[str, Json], *, full: bool
    ) -> ExportedSpec:
        """Return what the endpoint serves and its own settings; `full` returns all settings."""
        from reconciler.kinds.online_endpoint import export  # noqa: PLC0415 - start-up

        place = self.export_place(resource, defaults)
        return export.export_spec(self.field, place, document, full=full)

    def connect(self, access: Access) -> Provider:
        """Return the provider that calls Resource Manager through the shared rate limiter."""
        from reconciler.kinds.online_endpoint.provider import (  # noqa: PLC0415 - it is slow
            OnlineEndpointProvider,
        )

        return OnlineEndpointProvider(access, self.field)
