"""What a case plays on: live services, models in storage, a project, and what others do to them."""

import copy
import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from reconciler.document.pointers import set_at, split_pointer
from reconciler.emulator.storage import sign
from reconciler.ledgers.file import FileLedger
from reconciler.model import Action, Address, Entry
from tests.casework.case import Case
from tests.casework.classic import WORKSPACE
from tests.contract.world import pascal
from tests.e2e.world import SUBSCRIPTION, definition
from tests.storage import upload_model

Json = Any
KEYS = {"primary": "live-primary-key", "secondary": "live-secondary-key"}
_LARGE = ("assets", "input", "output", "package", "parameters", "exampleRequest")


class Stage:
    """Everything around one case. `folder` is the project's."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        self.folder = folder
        self._world = case.emulator

    def set(self) -> None:
        """Bring the world to where the case begins."""
        for name, content in self.case.script.blobs.items():
            upload_model(f"{self.case.models}/{name}", content.encode(), {})
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda one: self._deploy(*one), self.case.live.items()))
        if self.case.classic:
            self.case.classic.set()
        self._write_project()
        self._seed_ledger()

    def _deploy(self, name: str, stated: Mapping[str, Json]) -> None:
        body = self._make_definition(stated)
        if stated.get("large"):
            self._move_into_blob(name, body)
        if stated.get("failed"):
            status, answer, headers = self._world.send("PUT", self._world.path(name), body)
            assert status == 201, answer
            while self._world.send("GET", headers["Azure-AsyncOperation"])[1]["status"] != "Failed":
                time.sleep(0.02)
            return
        self._world.write("PUT", name, body)

    def _make_definition(self, stated: Mapping[str, Json]) -> Json:
        model = f"{self.case.models}/census/old.ilearner"
        given = stated.get("definition")
        body = self.case.read_file(given) if given else definition(model)
        body["properties"].setdefault("keys", dict(KEYS))
        for pointer in stated.get("absent", ()):
            remove_at(body, pointer)
        for pointer, value in _pointers(stated).items():
            set_at(body, split_pointer(pointer), copy.deepcopy(value))
        return body

    def _move_into_blob(self, name: str, body: Json) -> None:
        properties = body["properties"]
        parts = {part: properties.pop(part) for part in _LARGE if part in properties}
        uri = f"{self.case.models}/payloads/{name}.json"
        upload_model(uri, json.dumps(pascal(parts)).encode(), {})
        properties |= {"payloadsInBlobStorage": True, "payloadsLocation": {"uri": sign(uri)}}

    def _write_project(self) -> None:
        classic = self.case.classic
        scope = {"workspace": WORKSPACE, "webService": classic.id} if classic else {}
        spec = {
            "cloud": {"resourceManager": self._world.url, "blob": self._world.blob},
            "defaults": {"subscription": SUBSCRIPTION, "resourceGroup": self._world.group, **scope},
            "guards": {"blobs": "skip"},
            **self.case.script.project,
        }
        project = {
            "apiVersion": "reconciler/v1",
            "kind": "Project",
            "metadata": {"name": "census"},
            "spec": spec,
        }
        files = {"reconciler.yaml": yaml.safe_dump(project, sort_keys=False), **self.case.files}
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def _seed_ledger(self) -> None:
        ledger = FileLedger(self.folder / ".reconciler")
        for stated in self.case.ledger:
            address = Address.parse(stated["address"])
            entry = {
                "id": self._identify(address.kind, stated.get("name", address.name)),
                "action": Action.UPDATE,
                "at": "2026-11-02T08:00:00Z",
                "by": "ci",
                "commit": "4f1c2aa9b1d27c0e5f8a6b3d9e0c1f2a3b4c5d6e",
                "owned": {},
                "secrets": {},
                "digests": {},
            }
            known = {**entry, **stated, "address": address}
            known.pop("name", None)
            known["action"] = Action(known["action"])
            known["fleet"] = Address.parse(stated["fleet"]) if "fleet" in stated else None
            ledger.record(Entry(host="build-7", plan_digest="", patch=(), inverse=(), **known))

    def _identify(self, kind: str, name: str) -> str:
        if kind == "Endpoint" and self.case.classic:
            return f"/southcentralus{self.case.classic.path}/endpoints/{name}"
        return self._world.path(name)

    def edit(self) -> None:
        """What somebody else does between plan and apply."""
        for name, stated in self.case.script.edits.items():
            if self.case.classic and stated == "deleted":
                self.case.classic.send("DELETE", f"/endpoints/{name}")
            elif self.case.classic:
                self.case.classic.change(name, stated)
            elif stated == "deleted":
                self._world.write("DELETE", name, None)
            elif stated in ("created", "deleted and created"):
                if stated != "created":
                    self._world.write("DELETE", name, None)
                self._deploy(name, self.case.live.get(name, {}))
            else:
                self._change(name, stated)

    def _change(self, name: str, stated: Mapping[str, Json]) -> None:
        """A PATCH of the parts that hold the pointers, as they are live but for these."""
        live = self._world.get(name)
        body: Json = {"properties": {"packageType": "Graph"}}
        for pointer, value in stated.items():
            path = split_pointer(pointer)
            top = path[: 2 if path[0] == "properties" else 1]
            part = live[path[0]] if len(top) == 1 else live["properties"].get(top[1], {})
            if len(path) > len(top) and not _has(body, top):
                set_at(body, top, copy.deepcopy(part))
            set_at(body, path, value)
        self._world.write("PATCH", name, body)

    def read_live(self) -> dict[str, Json]:
        """Every service of the group as it is, its keys among it."""
        scope = self._world.path("").rstrip("/")
        listed = self._world.send("GET", scope)[1]["value"]
        found = {}
        for name in sorted(item["name"] for item in listed):
            keys = self._world.send("GET", f"{self._world.path(name)}/listKeys")[1]
            found[name] = {**self._world.get(name), "listKeys": keys}
        return {**found, **(self.case.classic.read() if self.case.classic else {})}


def _pointers(stated: Mapping[str, Json]) -> dict[str, Json]:
    words = {name for name in stated if not name.startswith("/")}
    assert words <= {"absent", "definition", "large", "failed"}, words
    return {name: value for name, value in stated.items() if name.startswith("/")}


def remove_at(document: Json, pointer: str) -> None:
    """Take away what is at a pointer; it must be there."""
    *above, last = split_pointer(pointer)
    for segment in above:
        document = document[segment]
    del document[last]


def _has(body: Json, path: tuple[str, ...]) -> bool:
    for segment in path:
        if not isinstance(body, dict) or segment not in body:
            return False
        body = body[segment]
    return True
