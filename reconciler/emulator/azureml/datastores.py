"""The default datastore of a workspace, and the addresses of models: where which blob is.

The datastore is a container of the emulator's blob storage. `assets` uses it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from reconciler.emulator.azureml.replies import refuse_absent, write_moment
from reconciler.emulator.azureml.state import OnlineWorkspace
from reconciler.emulator.classic.management import allow
from reconciler.emulator.replies import Answer
from reconciler.emulator.requests import Call, unknown_path
from reconciler.emulator.storage import ACCOUNT

Json = Any
DEFAULT: Final = "workspaceblobstore"
# An address in a datastore: the long form, and the short one that clients send.
_PLACE: Final = re.compile(
    r"azureml://(?:subscriptions/(?P<subscription>[^/]+)/resourcegroups/(?P<group>[^/]+)"
    r"/workspaces/(?P<workspace>[^/]+)/)?datastores/(?P<datastore>[^/]+)/paths/(?P<path>.+)",
    re.IGNORECASE,
)
_CREATED: Final = 1_600_000_000.0


class Datastores:
    """Shows the default datastore of each workspace, and finds the blobs of models.

    `blob_url` is the address of blob storage; "" where the emulator runs without one.
    """

    def __init__(self, blob_url: str) -> None:
        self._blob_url = blob_url.rstrip("/")

    def answer(self, call: Call, workspace: OnlineWorkspace, rest: Sequence[str]) -> Answer:
        """Answer a call; `rest` is its path after `datastores`."""
        allow(call, "GET")
        shown = self._show(workspace)
        match [*rest]:
            case []:
                return Answer(200, {"value": [shown]})
            case [name]:
                if name.casefold() == DEFAULT:
                    return Answer(200, shown)
                text = f"Could not find datastore: {name[:80]}"
                raise refuse_absent("NoSuchDatastore", text, outer="UserError")
        raise unknown_path(call)

    def _show(self, workspace: OnlineWorkspace) -> Json:
        """Return the document; its form is recorded."""
        parts = urlsplit(self._blob_url or "https://core.windows.net")
        stamp = write_moment(_CREATED)
        return {
            "id": f"{workspace.path}/datastores/{DEFAULT}",
            "name": DEFAULT,
            "type": "Microsoft.MachineLearningServices/workspaces/datastores",
            "properties": {
                "description": None,
                "tags": None,
                "properties": None,
                "isDefault": True,
                "credentials": {"credentialsType": "AccountKey"},
                "datastoreType": "AzureBlob",
                "accountName": ACCOUNT,
                "containerName": _name_container(workspace),
                "endpoint": parts.netloc,
                "protocol": parts.scheme,
                "serviceDataAccessAuthIdentity": "WorkspaceSystemAssignedIdentity",
            },
            "systemData": {
                "createdAt": stamp,
                "createdBy": "the emulator",
                "createdByType": "Application",
                "lastModifiedAt": stamp,
                "lastModifiedBy": "the emulator",
                "lastModifiedByType": "Application",
            },
        }

    def locate(self, uri: str) -> str:
        """Return the address of the blob that a `modelUri` names; "" where it has none here.

        An output of a job or of an MLflow run is not in a datastore of the emulator.
        """
        if urlsplit(uri).scheme in {"http", "https"}:
            return uri.partition("?")[0]
        place = _PLACE.fullmatch(uri)
        if place is None or not place["workspace"] or place["datastore"].casefold() != DEFAULT:
            return ""
        if not self._blob_url:
            return ""
        named = (place["subscription"], place["group"], place["workspace"])
        workspace = OnlineWorkspace(*map(unquote, named))
        path = quote(unquote(place["path"]))
        return f"{self._blob_url}/{ACCOUNT}/{_name_container(workspace)}/{path}"


def rewrite_address(uri: str, workspace: OnlineWorkspace | None, folder: str) -> str:
    """Return the `modelUri` that the service shows of one that was sent (recorded).

    It is in the long form. `folder` is put before the path of an MLflow model; it is "" otherwise.
    """
    place = _PLACE.fullmatch(uri)
    if place is None:
        return uri
    subscription, group, name = (place[one] for one in ("subscription", "group", "workspace"))
    if not name and workspace is not None:
        subscription, group, name = workspace.subscription, workspace.group, workspace.name
    path = f"{folder}{place['path']}"
    scope = f"subscriptions/{subscription}/resourceGroups/{group}/workspaces/{name}"
    return f"azureml://{scope}/datastores/{place['datastore']}/paths/{path}"


def _name_container(workspace: OnlineWorkspace) -> str:
    return f"azureml-blobstore-{workspace.id}"
