"""Registered versions of models, environments and code, of workspaces and of registries.

The control plane calls it for `.../models/NAME/versions/VERSION` and the like. Versions are stored
through State in SQLite and read from memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final
from urllib.parse import quote, unquote

from reconciler.emulator.azureml.asset_records import AssetContainer, AssetKey, AssetVersion, Owner
from reconciler.emulator.azureml.asset_views import (
    no_such_container,
    no_such_version,
    refuse_body,
    refuse_change,
    refuse_recreation,
    show_container,
    show_version,
)
from reconciler.emulator.azureml.datastores import Datastores, rewrite_address
from reconciler.emulator.azureml.pages import make_online_page, read_count
from reconciler.emulator.azureml.replies import (
    refuse_request,
)
from reconciler.emulator.azureml.state import OnlineState
from reconciler.emulator.classic.management import allow
from reconciler.emulator.replies import Answer
from reconciler.emulator.requests import Call, unknown_path
from reconciler.emulator.state import State
from reconciler.emulator.switches import Choices

Json = Any
KINDS: Final = ("models", "environments", "codes")
_COMMON: Final[Mapping[str, Json]] = {
    "description": None,
    "tags": {},
    "properties": {},
    "isArchived": False,
    "isAnonymous": False,
}
_OF_CONTAINER: Final = ("description", "tags", "properties", "isArchived")
# What a version of each kind holds beside the members of all; those of a model are recorded.
_MEMBERS: Final[Mapping[str, Mapping[str, Json]]] = {
    "models": {"flavors": {}, "modelType": "custom_model", "modelUri": None, "jobName": None},
    "environments": {
        "image": None,
        "condaFile": None,
        "environmentType": "UserCreated",
        "osType": "Linux",
    },
    "codes": {"codeUri": None},
}
_ADDRESSES: Final[Mapping[str, str]] = {"models": "modelUri", "codes": "codeUri"}
_SORTS: Final[Mapping[str, tuple[type, str]]] = {
    "tags": (dict, "an object"),
    "properties": (dict, "an object"),
    "flavors": (dict, "an object"),
    "isArchived": (bool, "true or false"),
    "isAnonymous": (bool, "true or false"),
}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_REFERENCE: Final = re.compile(
    r"(?P<owner>/subscriptions/[^/]+/resourceGroups/[^/]+/providers/[^/]+/workspaces/[^/]+"
    r"|azureml://registries/[^/]+)"
    r"/(?P<kind>models|environments|codes)/(?P<name>[^/]+)/versions/(?P<version>[^/]+)",
    re.IGNORECASE,
)
# Whether archived items are in a list, by `listViewType`.
_VIEWS: Final[Mapping[str, tuple[bool, ...]]] = {
    "activeonly": (False,),
    "archivedonly": (True,),
    "all": (False, True),
}


class Assets:
    """Answers the calls on models, environments, code and datastores."""

    def __init__(
        self,
        state: State,
        online: OnlineState,
        choices: Choices,
        clock: Callable[[], float],
        blob_url: str,
    ) -> None:
        self._state = state
        self._random_source = online.random_source
        self._choices = choices
        self._clock = clock
        self._datastores = Datastores(blob_url)
        self._containers: dict[AssetKey, AssetContainer] = {}
        for row in state.read("asset"):
            container = AssetContainer(**row)
            self._containers[container.key] = container
        versions = [AssetVersion(**row) for row in state.read("asset-version")]
        for version in sorted(versions, key=lambda one: one.number):
            *asset, number = version.key
            self._containers[asset[0], asset[1], asset[2]].versions[number] = version

    def find(self, reference: str) -> AssetVersion | None:
        """Return the version that an id names; None for one that is not registered."""
        found = _REFERENCE.fullmatch(reference)
        if found is None:
            return None
        owner, name = Owner(unquote(found["owner"])), unquote(found["name"])
        container = self._containers.get(owner.make_key(found["kind"].casefold(), name))
        version = container and container.versions.get(unquote(found["version"]).casefold())
        return version if version and not version.deleted else None

    def locate(self, version: AssetVersion) -> str:
        """Return the address of a model's blob without a signature; "" where it has none here."""
        return self._datastores.locate(version.properties.get("modelUri") or "")

    def find_missing(self, properties: Mapping[str, Json]) -> str:
        """Return the first id of a deployment that is not registered, if a switch checks them."""
        if self._choices["online-references"] == "trust":
            return ""
        code = properties.get("codeConfiguration") or {}
        named = (properties.get("model"), properties.get("environmentId"), code.get("codeId"))
        return next((one for one in named if one and self.find(str(one)) is None), "")

    def answer(self, call: Call, owner: Owner, rest: Sequence[str]) -> Answer:
        """Answer a call; `rest` is its path after the workspace or the registry."""
        kind = rest[0].casefold()
        if kind == "datastores" and owner.workspace is not None:
            return self._datastores.answer(call, owner.workspace, rest[1:])
        if kind not in KINDS:
            raise unknown_path(call)
        found = self._containers.get(owner.make_key(kind, rest[1])) if rest[1:] else None
        match [*rest[1:]]:
            case []:
                allow(call, "GET")
                return self._list_containers(call, owner, kind)
            case [name]:
                allow(call, "GET", "PUT")
                return self._answer_container(call, owner, (kind, name), found)
            case [name, word] if word.casefold() == "versions":
                allow(call, "GET")
                return self._list_versions(call, owner, found)
            case [name, word, version] if word.casefold() == "versions":
                allow(call, "GET", "PUT", "DELETE")
                return self._answer_version(call, owner, (kind, name, version), found)
        raise unknown_path(call)

    def _answer_container(
        self, call: Call, owner: Owner, place: tuple[str, str], found: AssetContainer | None
    ) -> Answer:
        kind, name = place
        if call.method == "GET":
            if found is None:
                raise no_such_container(kind, name)
            return Answer(200, show_container(found, owner))
        properties = _read_properties(call)
        container = found or self._make_container(owner, kind, name)
        container.properties = {one: properties.get(one, _COMMON[one]) for one in _OF_CONTAINER}
        self._keep(container)
        return Answer(200 if found else 201, show_container(container, owner))

    def _answer_version(
        self,
        call: Call,
        owner: Owner,
        place: tuple[str, str, str],
        container: AssetContainer | None,
    ) -> Answer:
        kind, name, number = place
        kept = container.versions.get(number.casefold()) if container else None
        if call.method == "PUT":
            container = container or self._make_container(owner, kind, name)
            return self._put_version(call, owner, container, number)
        version = None if kept is None or kept.deleted else kept
        if call.method == "DELETE":
            if container is None or version is None:
                return Answer(204)
            version.deleted, version.modified = True, self._clock()
            self._keep(container, version)
            return Answer(200)
        if version is None and self._is_trusted(owner, place, container):
            version = AssetVersion(owner.id, kind, name, number, _fill(kind, {}), "", 0, 0)
        if version is None:
            raise no_such_version(owner, place, has_container=bool(container))
        return Answer(200, show_version(version, owner, call))

    def _is_trusted(
        self, owner: Owner, place: tuple[str, str, str], container: AssetContainer | None
    ) -> bool:
        """Whether a version is taken as it comes: whichever one is named exists.

        So are all versions of environments and code, and those of a model of a workspace in which
        nothing of that model was ever registered.
        """
        kind, name, number = place
        if self._choices["online-references"] != "trust":
            return False
        names = all(map(_NAME.fullmatch, (name, number)))
        own = container is None and owner.workspace is not None and names
        return kind != "models" or own

    def _put_version(
        self, call: Call, owner: Owner, container: AssetContainer, number: str
    ) -> Answer:
        properties = _read_properties(call)
        sent = _read_address(container.kind, properties)
        kept = container.versions.get(number.casefold())
        if kept is not None and not kept.deleted:
            self._update(kept, properties, sent, owner)
            self._keep(container, kept)
            return Answer(200, show_version(kept, owner, call))
        if kept is not None and self._choices["online-deleted-version"] == "reject":
            raise refuse_recreation(kept)
        version = self._make_version(owner, container, _check_name(number), sent)
        version.properties = _fill(container.kind, properties)
        version.properties |= self._rewrite(version, owner)
        container.versions.pop(number.casefold(), None)
        container.versions[number.casefold()] = version
        container.highest = max(container.highest, int(number) if number.isdecimal() else 0)
        self._keep(container, version)
        path = "/".join(quote(segment, safe="") for segment in call.segments)
        query = f"api-version={quote(call.query.get('api-version', ''))}"
        location = f"{call.origin}/{path}?{query}"
        return Answer(201, show_version(version, owner, call), {"Location": location})

    def _update(self, version: AssetVersion, properties: Json, sent: str, owner: Owner) -> None:
        """Apply a PUT of a version that exists; its content cannot change (a switch says how)."""
        address = _ADDRESSES.get(version.kind, "")
        if address and sent not in {version.sent, version.properties[address]}:
            reading = self._choices["online-model-address"]
            if reading == "reject":
                raise refuse_change(version)
            version.sent = sent if reading == "accept" else version.sent
            version.properties |= self._rewrite(version, owner)
        kept = {address: version.properties[address]} if address else {}
        version.properties = {**_fill(version.kind, properties), **kept}
        version.modified = self._clock()

    def _rewrite(self, version: AssetVersion, owner: Owner) -> dict[str, str]:
        """Return the address of a version as the service shows it, by its member; {} without one.

        An MLflow folder is copied to a folder of its own (recorded). A registry copies the blobs
        into its own account, so that their addresses are those of blobs (recorded).
        """
        member = _ADDRESSES.get(version.kind)
        if member is None:
            return {}
        is_mlflow = version.properties.get("modelType") == "mlflow_model"
        folder = f"ServiceReplicated/{self._random_source.guid()}/" if is_mlflow else ""
        shown = rewrite_address(version.sent, owner.workspace, folder)
        if owner.workspace is None:
            shown = self._datastores.locate(shown) or shown
        return {member: shown}

    def _list_containers(self, call: Call, owner: Owner, kind: str) -> Answer:
        view = _read_view(call)
        found = [
            one
            for key, one in sorted(self._containers.items())
            if key[:2] == (owner.id.casefold(), kind)
            and one.live
            and one.properties["isArchived"] in view
        ]
        page = make_online_page(
            call, found, self._size(call), lambda one: show_container(one, owner)
        )
        return Answer(200, page)

    def _list_versions(self, call: Call, owner: Owner, container: AssetContainer | None) -> Answer:
        """List versions, the newest first unless `$orderBy` asks for the oldest."""
        view = _read_view(call)
        wanted = call.query.get("version", "").casefold()
        live = container.live if container else []
        found = [
            one
            for one in live
            if one.properties["isArchived"] in view and wanted in {"", one.version.casefold()}
        ]
        if "asc" not in call.query.get("$orderby", "").casefold().split():
            found.reverse()
        show = lambda one: show_version(one, owner, call)  # noqa: E731
        return Answer(200, make_online_page(call, found, self._size(call), show))

    def _size(self, call: Call) -> int:
        """Return the size of a page: `$top`, at most that of the switch."""
        return read_count(call, "$top", int(self._choices["list-page-size"]))

    def _make_container(self, owner: Owner, kind: str, name: str) -> AssetContainer:
        now = self._clock()
        own = {one: _COMMON[one] for one in _OF_CONTAINER}
        return AssetContainer(owner.id, kind, _check_name(name), own, now, now)

    def _make_version(
        self, owner: Owner, container: AssetContainer, number: str, sent: str
    ) -> AssetVersion:
        now, names = self._clock(), (owner.id, container.kind, container.name)
        container.made += 1
        return AssetVersion(*names, number, {}, sent, now, now, container.made)

    def _keep(self, container: AssetContainer, version: AssetVersion | None = None) -> None:
        """Write an asset and a version of it; each version is a row, since there may be many."""
        container.modified = self._clock()
        bare = asdict(replace(container, versions={}))
        rows: list[tuple[str, tuple[str, ...], Json]] = [("asset", container.key, bare)]
        if version is not None:
            rows.append(("asset-version", version.key, asdict(version)))
        self._state.write(rows, (), count=self._random_source.count)
        self._containers[container.key] = container


def _fill(kind: str, properties: Mapping[str, Json]) -> dict[str, Json]:
    """Return the properties of a version as they are shown: all members, with those of the PUT."""
    members = {**_COMMON, **_MEMBERS[kind]}
    sent = {name: properties[name] for name in members if properties.get(name) is not None}
    if properties.get("stage") is not None:
        sent["stage"] = properties["stage"]
    return members | sent


def _read_properties(call: Call) -> dict[str, Json]:
    document = call.document()
    properties = document.get("properties") if isinstance(document, dict) else None
    if not isinstance(properties, dict):
        raise refuse_body("properties", "is required")
    for name, (sort, text) in _SORTS.items():
        if properties.get(name) is not None and not isinstance(properties[name], sort):
            raise refuse_body(f"properties.{name}", f"must be {text}")
    return properties


def _read_address(kind: str, properties: Mapping[str, Json]) -> str:
    member = _ADDRESSES.get(kind)
    if member is None:
        return ""
    address = properties.get(member)
    if not isinstance(address, str) or not address:
        raise refuse_body(f"properties.{member}", "is required")
    return address


def _read_view(call: Call) -> tuple[bool, ...]:
    said = call.query.get("listviewtype", "ActiveOnly")
    if said.casefold() not in _VIEWS:
        raise refuse_request("InvalidListViewType", f"The view '{said[:40]}' is not known.")
    return _VIEWS[said.casefold()]


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise refuse_request("InvalidName", f"The name or version '{name[:80]}' is not valid.")
    return name
