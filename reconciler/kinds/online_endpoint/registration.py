"""Registers a blob as the next version of a model of a workspace.

No document of the service has a digest, so each version that is made here has it as the tag
`sha256`. A version with that tag is never made again, whatever became of an earlier reply. Nothing
locks the number of a version: two clients can choose the same one, and the later one would change
the tags of the other's version. So a version that existed is an error, unless the reply to our own
earlier call was lost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from reconciler.document.pointers import find
from reconciler.errors import Rejected, ReplyLost, ServiceError, Unavailable
from reconciler.kinds.online_endpoint.promotion import name_container
from reconciler.model import ABSENT, Absent, Json
from reconciler.transport import Client, check_complete

_API: Final = "api-version=2024-04-01"
# A model or a version that does not exist (recorded). Another 404 says nothing about it.
_ABSENT: Final = frozenset({"UserError", "ModelNotFound", "NotFound"})
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
_CREATED: Final = 201
_TRIES: Final = 5
_TAG: Final = "sha256"


def register_version(
    client: Client, workspace: str, model: str, uri: str, tags: Mapping[str, str]
) -> str:
    """Returns the id of the version whose tag `sha256` is that of `tags`; makes it if necessary.

    `workspace` is the id of the workspace, `model` the id of any version of the model, `uri` the
    address of the blob. Raises ServiceError.
    """
    name = name_container(model)
    container = f"{workspace}/models/{quote(name, safe='')}"
    version, lost = "", False
    for _ in range(_TRIES):
        found = _find_version(client, container, tags[_TAG])
        if found:
            return f"azureml:{name}:{found}"
        version = _find_next(client, container)
        if f"azureml:{name}:{version}" == model:
            # The service knows no version of the model that is in service, which was deleted.
            version = f"{int(version) + 1}"
        body = {"properties": {"modelUri": uri, "modelType": "custom_model", "tags": {**tags}}}
        try:
            reply = client.send("PUT", _address(f"{container}/versions/{quote(version)}"), body)
        except ReplyLost:
            lost = True
            continue
        if reply.status != _CREATED and not lost:
            raise Rejected(
                f"the version {version} of the model {name} was made by another client meanwhile,"
                " and its tags may have been replaced",
                status=reply.status,
                next_step=f"Look at azureml:{name}:{version}, archive it, and run it again.",
            )
        return f"azureml:{name}:{version}"
    raise Unavailable(
        f"the service does not show whether the version {version} of the model {name} was made",
        next_step="Run it again: a version with this digest is not made twice.",
    )


def _find_version(client: Client, container: str, digest: str) -> str:
    """Returns the version with a digest, "" without one; archived versions do not count."""
    try:
        items = [*client.pages(_address(f"{container}/versions"))]
    except ServiceError as error:
        if _is_absent(error):
            return ""
        raise
    for item in items:
        tag = find(item, ("properties", "tags", _TAG))
        if isinstance(tag, str) and tag.casefold() == digest.casefold():
            return _read_text(item, ("name",))
    return ""


def _find_next(client: Client, container: str) -> str:
    """Returns the number of the next version, which is 1 for a model without versions."""
    found = _get(client, _address(container))
    if isinstance(found, Absent):
        return "1"
    return _read_text(found, ("properties", "nextVersion"))


def _get(client: Client, url: str) -> Json | Absent:
    try:
        reply = client.send("GET", url)
    except ServiceError as error:
        if _is_absent(error):
            return ABSENT
        raise
    check_complete(reply)
    return reply.document


def _is_absent(error: ServiceError) -> bool:
    return error.status == 404 and error.code in _ABSENT


def _read_text(document: Json, path: tuple[str, ...]) -> str:
    found = find(document, path)
    if not isinstance(found, str) or not _NAME.fullmatch(found):
        raise Unavailable(f"the service did not return {'.'.join(path)} of a model", status=200)
    return found


def _address(path: str) -> str:
    return f"{path}?{_API}"
