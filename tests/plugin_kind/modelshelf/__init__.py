"""Deployments of Modelshelf, a model server of another vendor, as a kind of reconciler.

A deployment is at /teams/TEAM/deployments/NAME and serves one model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from reconciler.document.pointers import copy_document, find
from reconciler.errors import ServiceError
from reconciler.kinds.base import BaseKind, make_reference
from reconciler.kinds.ids import IdForm, quote_path
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Declared,
    ExportedSpec,
    Finding,
    Json,
    Live,
    Manifest,
    ModelReference,
    Resource,
    SecretReference,
    Step,
    Summary,
)
from reconciler.plans.guards import forbid
from reconciler.ports import Access, Kind, Plane, ResolveSecret
from reconciler.transport import Client

ID_FORM: Final = IdForm(
    noun="a deployment",
    scope="/teams/{team}",
    below="/deployments/",
    pattern=re.compile(r"/teams/(?P<team>[a-z0-9-]+)/deployments/(?P<name>[a-z0-9-]+)"),
    example="/teams/TEAM/deployments/NAME",
)


class DeploymentKind(BaseKind):
    """The kind `Deployment`."""

    name = "Deployment"
    schema_name = "modelshelf:schemas/deployment"
    manifest_schema_name = "modelshelf:schemas/manifest"
    id_form = ID_FORM
    planes = (Plane("modelshelf", "Manages deployments of Modelshelf."),)
    defaults: Mapping[str, Json] = {"team": {"type": "string", "description": "Its team."}}
    guards: Mapping[str, str] = {"idle": "a deployment that answers nobody any more"}

    def bind(self, manifest: Manifest, live: Json | Absent) -> Declared:
        """The definition, and the model at /model."""
        document: Json = copy_document(self.declare(manifest.spec.get("definition", {})))
        models = self.list_models(manifest)
        for one in models:
            document["model"] = one.uri
        return Declared(document, tuple(models))

    def list_models(self, manifest: Manifest) -> Sequence[ModelReference]:
        """The model of `spec.model`, at /model of the document."""
        if "model" not in manifest.spec:
            return ()
        given = manifest.spec["model"]
        return (make_reference(manifest, ("spec", "model"), "model", given, ("model",)),)

    def check_step(self, manifest: Manifest, step: Step) -> Iterator[Finding]:
        """A deployment without replicas answers nobody."""
        if step.action is Action.UPDATE and find(step.after, ("replicas",)) == 0:
            said = "would have no replica and answer nobody"
            yield forbid(step.resource.address, "idle", said, lift="To stop it")

    def export(
        self, resource: Resource, document: Json, defaults: Mapping[str, Json], *, full: bool
    ) -> ExportedSpec:
        """The model and its settings."""
        words = ("replicas", "note")
        spec = {
            "resource": self.export_place(resource, defaults),
            "model": {"uri": document["model"]},
            "definition": {word: document[word] for word in words if word in document},
        }
        return ExportedSpec({word: said for word, said in spec.items() if said})

    def connect(self, access: Access) -> Shelf:
        """Open the calls to Modelshelf."""
        return Shelf(access)


class Shelf:
    """The calls of Modelshelf."""

    def __init__(self, access: Access) -> None:
        url = access.find_url("modelshelf")
        self._client = Client(url, access.emit, access.rate_limiter, redaction=access.redaction)

    def scan(self, scope: str, _token: SecretReference | None = None) -> Iterator[Summary]:
        """The deployments of a team; their version changes with every write."""
        reply = self._client.send("GET", quote_path(f"{scope}/deployments", "team"))
        for one in reply.document:
            yield Summary(f"{scope}/deployments/{one['name']}", str(one["version"]), idle=True)

    def read(self, resource: Resource) -> Live | Absent:
        """The deployment now."""
        try:
            reply = self._client.send("GET", quote_path(resource.id, "deployment"))
        except ServiceError as error:
            if error.status == 404 and error.code == "NoDeployment":
                return ABSENT
            raise
        stamp = str(reply.document["version"])
        return Live(reply.document, None, datetime.now(UTC), stamp, idle=True)

    def write(self, step: Step, _live: Live | Absent, _: ResolveSecret) -> Iterator[None]:
        """One PUT of the whole deployment, or one DELETE."""
        path = quote_path(step.resource.id, "deployment")
        if step.action is Action.DELETE:
            self._client.send("DELETE", path)
        else:
            self._client.send("PUT", path, step.after)
        yield


KIND: Final[Kind] = DeploymentKind()
