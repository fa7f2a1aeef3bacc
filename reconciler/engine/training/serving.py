"""Finds what each deployment of a resource serves, and what its signs prove.

The provider shows most signs; the bytes of a model are read from blob storage. The command `verify`
calls this module for kinds whose providers have `ShowsServing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from reconciler.document.pointers import format_pointer
from reconciler.engine.runtime import Runtime
from reconciler.errors import LedgerConflict, LedgerInvalid, ReconcilerError
from reconciler.model import Absent, Blob, Json, Manifest, ModelReference, Resource, Snapshot
from reconciler.plans.proof import (
    DIGEST,
    Proof,
    ServedDeployment,
    ServingSign,
    SignState,
    Verification,
    judge_serving,
)
from reconciler.ports import LocatesModels, ShowsServing

_TRUSTS: Final[Mapping[str, str]] = {
    "streamed": "computed from every byte",
    "metadata": "as its uploader recorded it",
    "md5": "as the storage reports it",
}


def verify_serving(
    runtime: Runtime,
    provider: ShowsServing,
    manifest: Manifest,
    defaults: Mapping[str, Json],
    snapshot: Snapshot,
) -> Verification:
    """Returns what the deployments of a resource serve; one that is unreachable is a result.

    Raises LedgerConflict or LedgerInvalid if the lock of the ledger is lost meanwhile.
    """
    try:
        resource = runtime.identify(manifest, defaults)
        shown = provider.show_serving(resource, manifest)
        models = _Models(runtime, provider, resource, manifest, snapshot)
        deployments = tuple(
            replace(one, signs=(*one.signs, models.compare_digest(one)))
            for one in shown.deployments
        )
    except (LedgerConflict, LedgerInvalid):
        raise
    except ReconcilerError as error:
        return Verification(manifest.address, Proof.UNREACHABLE, error.message)
    serving = replace(shown, deployments=deployments)
    proof, reason = judge_serving(serving)
    return Verification(manifest.address, proof, reason, serving=serving)


class _Models:
    """The blobs of the models of one resource, and the digests that are known of them."""

    def __init__(
        self,
        runtime: Runtime,
        provider: ShowsServing,
        resource: Resource,
        manifest: Manifest,
        snapshot: Snapshot,
    ) -> None:
        self._runtime, self._provider, self._resource = runtime, provider, resource
        declared = runtime.kinds[resource.address.kind].list_models(manifest)
        self._references = {one.name: one for one in declared}
        self._last_applied = snapshot.last_applied_by_address.get(resource.address)

    def compare_digest(self, deployment: ServedDeployment) -> ServingSign:
        """Compares the bytes of a deployment's model with the pinned or the recorded digest."""
        address = self._locate(deployment)
        if isinstance(address, ServingSign):
            return address
        reference = self._references.get(deployment.name)
        if reference is None or reference.uri.casefold() != deployment.uri.casefold():
            # The digests of the manifest and of the last apply are of another model.
            reference = ModelReference(deployment.name, deployment.uri, ())
        try:
            blob = self._runtime.blobs.inspect(replace(reference, uri=address))
        except ReconcilerError as error:
            return _unknown(f"the blob {address} cannot be read: {error.message}")
        if isinstance(blob, Absent):
            return _unknown(f"no blob is at {address}: it may be a folder")
        return self._judge(blob, reference.pin or self._recall(reference))

    def _locate(self, deployment: ServedDeployment) -> str | ServingSign:
        if not deployment.uri or not isinstance(self._provider, LocatesModels):
            return _unknown("the service shows no model of it")
        address = self._provider.locate_model(self._resource, deployment.uri)
        if isinstance(address, Absent):
            return _unknown(f"the service has no version {deployment.uri}")
        return address or _unknown("the model is not one blob, or its place is not shown")

    def _recall(self, reference: ModelReference) -> str:
        """Returns the digest that the last apply recorded of a model, "" without one."""
        last = self._last_applied
        if last is None or not last.has_id(self._resource.id):
            return ""
        pointer = format_pointer(reference.path)
        return last.digests.get(pointer, "") if last.owned.get(pointer) == reference.uri else ""

    def _judge(self, blob: Blob, wanted: str) -> ServingSign:
        if not blob.digest:
            return _unknown("the storage reports no digest; a sha256 in the manifest compares it")
        said = f"{blob.digest}, {_TRUSTS.get(blob.trust, blob.trust)}"
        if not wanted:
            return ServingSign(DIGEST, SignState.SHOWN, f"{said}; no digest is recorded of it")
        if blob.digest == wanted:
            return ServingSign(DIGEST, SignState.AGREES, said)
        if blob.digest.partition(":")[0] != wanted.partition(":")[0]:
            return _unknown(f"{said}; it cannot be compared with {wanted}")
        return ServingSign(DIGEST, SignState.DIFFERS, f"{said}, and {wanted} is expected")


def _unknown(why: str) -> ServingSign:
    return ServingSign(DIGEST, SignState.UNKNOWN, why)
