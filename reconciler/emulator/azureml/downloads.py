"""The download of a deployment's model: it fails the operation where the blob does not exist.

Instances download the model when they start (documented). The server asks this module around each
call of the control plane, since only it can wait for blob storage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from reconciler.emulator.azureml.assets import Assets
from reconciler.emulator.azureml.container_logs import NO_MODEL
from reconciler.emulator.azureml.operations import LINK, OnlineOperations
from reconciler.emulator.replies import Answer, Refusal
from reconciler.emulator.requests import Call
from reconciler.emulator.storage import Storage, is_loopback

Json = Any
# The code and the text are those of the published list of errors.
_FAILED: Final = {"code": "BadArgument", "message": "Unable to download user model"}


@dataclass(frozen=True)
class ModelDownloads:
    """Finds the blobs that deployments cannot download."""

    operations: OnlineOperations
    assets: Assets
    storage: Storage

    async def find_lost(self, call: Call) -> str:
        """Return the address of the model's blob that a call deploys and that does not exist.

        It is "" for any other call, for a folder, and for a model that is not in blob storage here.
        """
        reading = self.operations.choices["online-missing-blob"]
        if reading == "trust" or call.method != "PUT" or not call.names_deployment:
            return ""
        version = self.assets.find(_read_model(call))
        if version is None or version.properties.get("modelType") != "custom_model":
            return ""
        address = self.assets.locate(version)
        is_file = "." in address.rpartition("/")[2]
        if not is_file or not is_loopback(address) or await self.storage.has_blob(address):
            return ""
        return address

    def fail(self, answer: Answer, lost: str) -> Answer:
        """Return the answer, whose operation fails if the blob `lost` is missing."""
        operation = self.operations.find_by_link(answer.headers.get(LINK, "")) if lost else None
        if operation is not None:
            operation.failure = dict(_FAILED)
            operation.crash = f"{NO_MODEL}: the blob {lost} does not exist."
            self.operations.state.keep(operation)
        return answer


def _read_model(call: Call) -> str:
    """Return the model that the body of a deployment names; "" without one."""
    try:
        body = call.document()
    except Refusal:
        return ""
    properties = body.get("properties") if isinstance(body, dict) else None
    model = properties.get("model") if isinstance(properties, dict) else None
    return model if isinstance(model, str) else ""
