"""Looks up the assets that deployments name: versions of models, environments and code.

A version that a step names must exist before anything is sent. Behind the version of a model is a
blob if the model is one file of a datastore that can be read. The provider calls it; it only reads.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote, unquote

from reconciler.document.pointers import find, format_pointer
from reconciler.errors import ServiceError
from reconciler.kinds.ids import quote_path
from reconciler.kinds.online_endpoint.addresses import (
    ASSETS,
    ID_FORM,
    AssetId,
    compare_id,
    parse_id,
)
from reconciler.kinds.online_endpoint.scoring import VERSION
from reconciler.model import ABSENT, Absent, Finding, Json, Manifest, Resource, Step
from reconciler.transport import Client, check_complete, clean, is_azure_storage, is_loopback

# The field of the manifest and the noun for each collection of assets.
_FIELDS: Final[Mapping[str, tuple[str, str]]] = {
    "models": ("model", "model"),
    "environments": ("environment", "environment"),
    "codes": ("code_configuration/code", "code"),
}
# An asset that does not exist (recorded for models and for registries). Another 404 is about the
# workspace, the registry or the group, and proves nothing about the asset.
_ABSENT: Final = re.compile(
    r"UserError|NoSuch\w+|(Model|Environment|Code|Asset)\w*NotFound", re.IGNORECASE
)
_ABSENT_HERE: Final = re.compile(rf"NotFound|{_ABSENT.pattern}", re.IGNORECASE)
_DATASTORE: Final = re.compile(
    r"azureml://subscriptions/(?P<subscription>[^/]+)/resourcegroups/(?P<group>[^/]+)"
    r"/workspaces/(?P<workspace>[^/]+)/datastores/(?P<store>[^/]+)/paths/(?P<path>[^?#]+)",
    re.IGNORECASE,
)
# The vendor's registry, with curated environments: it is in no group of the user, and to say so in
# each plan would only hide other warnings.
_PUBLIC: Final = "azureml"
_PROVIDER: Final = "providers/Microsoft.MachineLearningServices"
# A model of another type is a folder (published).
_ONE_FILE: Final = "custom_model"
_BLOBS: Final = "AzureBlob"
_NAMES: Final = re.compile(r"[a-z0-9-]{1,63}")


class AssetLookup:
    """The versions of assets, each read once. `client` is that of the management plane.

    Safe to use from several threads.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._found: dict[str, Json | Absent | ServiceError] = {}

    def check_references(self, manifest: Manifest, step: Step) -> Iterator[Finding]:
        """Yields an error for each new asset of a step that the service does not have.

        An asset that cannot be looked up, or that is archived, is a warning. Raises ServiceError if
        no answer comes.
        """
        for name, collection, uri in _list_new_assets(step):
            asset = parse_id(uri)
            if asset is None or asset.registry.casefold() == _PUBLIC:
                continue  # the kind itself refuses what is not an id
            field, noun = _FIELDS[collection]
            place = manifest.place(f"{format_pointer(('spec', 'deployments', name))}/{field}")
            subject = str(step.resource.address)
            for finding in self._check(asset, collection, step.resource):
                message = f"deployment {name}: the {noun} {uri} {finding.message}"
                yield Finding(
                    message,
                    subject=subject,
                    place=place,
                    next_step=finding.next_step,
                    severity=finding.severity,
                )

    def _check(self, asset: AssetId, collection: str, resource: Resource) -> Iterator[Finding]:
        """Yields why an asset cannot be used; the messages continue its name."""
        container = _locate_container(asset, collection, resource)
        try:
            found = self._read(f"{container}/versions/{asset.version}", _find_codes(asset))
        except ServiceError as error:
            if error.status not in {403, 404}:
                raise
            where = "its registry" if asset.registry else "its workspace"
            yield Finding(
                f"could not be looked up in {where}, so it is unknown whether it exists:"
                f" {error.message}",
                severity="warning",
            )
            return
        if isinstance(found, Absent):
            yield Finding("does not exist", next_step=self._advise(container, asset))
        elif find(found, ("properties", "isArchived")) is True:
            yield Finding("is archived", severity="warning")

    def _advise(self, container: str, asset: AssetId) -> str:
        """Returns what to do about a version that does not exist."""
        try:
            shown = self._read(container, _find_codes(asset))
        except ServiceError:
            return "Register it, or name another version."
        if isinstance(shown, Absent):
            return f"Nothing is registered with the name {asset.name}. Register it, or correct it."
        latest = find(shown, ("properties", "latestVersion"))
        known = f" The latest one is {clean(latest)}." if isinstance(latest, str) else ""
        return f"Register it, or name another version.{known}"

    def locate_model(self, resource: Resource, uri: str) -> str | Absent:
        """Returns the address of the blob behind the id of a model, without a signature.

        It is empty where it cannot be known or is not one blob; ABSENT where the version does not
        exist. Raises ServiceError if no answer comes.
        """
        asset = parse_id(uri)
        if asset is None:
            return ""
        container = _locate_container(asset, "models", resource)
        try:
            found = self._read(f"{container}/versions/{asset.version}", _find_codes(asset))
        except ServiceError as error:
            if error.status in {403, 404}:
                return ""
            raise
        if isinstance(found, Absent):
            return ABSENT
        given = find(found, ("properties", "modelUri"))
        if find(found, ("properties", "modelType")) != _ONE_FILE or not isinstance(given, str):
            return ""
        address = self._locate_in_datastore(given) or given.partition("?")[0]
        local = is_loopback(self._client.base_url)
        known = is_loopback(address) if local else is_azure_storage(address)
        # A folder has no blob of its own, and the document does not say which of both it is.
        is_file = "." in address.rpartition("/")[2]
        return address if known and is_file else ""

    def _locate_in_datastore(self, uri: str) -> str:
        """Returns the address of a path in a datastore, "" if it is not known."""
        at = _DATASTORE.fullmatch(uri)
        if at is None:
            return ""
        named = [unquote(at[one]) for one in ("subscription", "group", "workspace", "store")]
        subscription, group, workspace, store = named
        scope = f"/subscriptions/{subscription}/resourceGroups/{group}/{_PROVIDER}"
        try:
            shown = self._read(f"{scope}/workspaces/{workspace}/datastores/{store}")
        except ServiceError as error:
            if error.status in {403, 404}:
                return ""
            raise
        said = find(shown, ("properties",))
        if not isinstance(said, dict) or said.get("datastoreType") != _BLOBS:
            return ""
        return _join_address(said, quote(unquote(at["path"])))

    def _read(self, path: str, absent: re.Pattern[str] = _ABSENT_HERE) -> Json | Absent:
        """Returns a document, or ABSENT if the service says so; each is read once."""
        with self._lock:
            lock = self._locks.setdefault(path, threading.Lock())
        with lock:
            if path not in self._found:
                self._found[path] = self._get(path, absent)
        found = self._found[path]
        if isinstance(found, ServiceError):
            raise found
        return found

    def _get(self, path: str, absent: re.Pattern[str]) -> Json | Absent | ServiceError:
        try:
            reply = self._client.send("GET", f"{quote_path(path, 'id of an asset')}{VERSION}")
            check_complete(reply)
        except ServiceError as error:
            gone = error.status == 404 and absent.fullmatch(error.code)
            return ABSENT if gone else error
        return reply.document


def _find_codes(asset: AssetId) -> re.Pattern[str]:
    """Returns the codes of a 404 that say that an asset does not exist."""
    return _ABSENT if asset.registry else _ABSENT_HERE


def _list_new_assets(step: Step) -> Iterator[tuple[str, str, str]]:
    """Yields each asset that a step gives to a deployment, with its name and the collection."""
    deployments = find(step.after, ("deployments",))
    for name, one in deployments.items() if isinstance(deployments, dict) else ():
        for path, collection in ASSETS.items():
            uri = find(one, path)
            before = find(step.before, ("deployments", name, *path))
            if isinstance(uri, str) and compare_id(uri) != compare_id(before):
                yield name, collection, uri


def _locate_container(asset: AssetId, collection: str, resource: Resource) -> str:
    """Returns the path of all versions; a registry is looked for in the endpoint's own group."""
    workspace = asset.workspace or ID_FORM.get_scope(resource.id)
    if asset.registry:
        group = workspace.partition("/providers/")[0]
        workspace = f"{group}/{_PROVIDER}/registries/{asset.registry}"
    return f"{workspace}/{asset.collection or collection}/{asset.name}"


def _join_address(store: Mapping[str, Json], path: str) -> str:
    """Returns the address of a path in a datastore of blobs, "" if a part of it is missing."""
    words = ("protocol", "endpoint", "accountName", "containerName")
    protocol, endpoint, account, container = (store.get(word) for word in words)
    for name in (account, container):
        if not isinstance(name, str) or not _NAMES.fullmatch(name):
            return ""
    base = f"{protocol}://{endpoint}"
    if is_loopback(base):
        return f"{base}/{account}/{container}/{path}"
    return f"{protocol}://{account}.blob.{endpoint}/{container}/{path}"
