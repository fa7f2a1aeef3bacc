"""A project in front of a service that says whatever it is told to say."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.world import MODEL, SUBSCRIPTION, definition
from tests.hostile import Asked, Ran, Wild, answer, check_run, encode, run, run_wild

Json = Any
SCOPE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/census/providers/Microsoft.MachineLearning"
SERVICE = f"{SCOPE}/webServices/census"
OPERATION = f"{SCOPE}/locations/southcentralus/operationsStatus/1"
OLD, NEW = (f"https://acct.blob.core.windows.net/m/{day}.ilearner" for day in ("old", "new"))


def make_live() -> Json:
    body = definition(OLD)
    body["properties"]["storageAccount"].pop("key")
    body["properties"].pop("commitmentPlan")
    body["properties"] |= {
        "provisioningState": "Succeeded",
        "modifiedOn": "2026-10-02T10:00:00Z",
        "readOnly": False,
    }
    return {
        "id": SERVICE,
        "name": "census",
        "type": "Microsoft.MachineLearning/webServices",
        **body,
    }


def make_flags() -> Json:
    """What is declared: something else in every part that people own."""
    body = definition(NEW)
    properties = body["properties"]
    properties["storageAccount"].pop("key")
    properties["realtimeConfiguration"]["maxConcurrentCalls"] = 20
    properties["exampleRequest"]["inputs"]["input1"] = [[40, "Private", {"a": ["b"]}]]
    properties["parameters"] = {"P": {"value": {"free": [1]}, "certificateThumbprint": ""}}
    for node in properties["package"]["nodes"].values():
        for parameter in node.get("parameters", {}).values():
            parameter["value"] += "!"
    properties["package"]["edges"].reverse()
    body["tags"] = {"owner": "somebody"}
    return body


LIVE = make_live()
LIST = {"value": [LIVE, {**LIVE, "id": f"{SCOPE}/webServices/other", "name": "other"}]}
ENDED = {"id": OPERATION, "status": "Succeeded", "percentComplete": 1.0}
USUAL = {"service": LIVE, "list": LIST, "operation": ENDED, "write": LIVE}


KEY = "planted-where-nobody-may-see-it"


@dataclass
class World:
    """A project in front of a wild service."""

    outer: Path
    folder: Path
    wild: Wild
    elsewhere: Wild

    def play(self, script: dict[str, bytes]) -> None:
        def reply(asked: Asked, _: int) -> bytes:
            name = _name(asked)
            if name in script:
                return self.place(script[name])
            if name == "write":
                link = {"Azure-AsyncOperation": self.wild.url + OPERATION}
                return answer(200, encode(USUAL[name]), link)
            return answer(200, encode(USUAL[name]))

        self.wild.asked.clear()
        self.wild.script = reply

    def place(self, data: bytes) -> bytes:
        """What somebody says, with the addresses of both servers in it."""
        own, other = self.wild.address.encode(), self.elsewhere.address.encode()
        return data.replace(b"{own}", own).replace(b"{elsewhere}", other)

    def run(self, *arguments: str) -> Ran:
        return run(self.folder, *arguments, environment={"CENSUS_KEY": KEY})

    def check_run(self, ran: Ran) -> None:
        check_run(ran, self.folder, called=[self.wild.address])
        assert sorted(one.name for one in self.outer.iterdir()) == [self.folder.name]
        assert self.elsewhere.asked == []
        assert KEY not in ran.said


def _name(asked: Asked) -> str:
    if asked.method != "GET":
        return "write"
    path = asked.target.partition("?")[0]
    if "/operations" in path:
        return "operation"
    return "list" if path.rpartition("/")[2].lower() == "webservices" else "service"


@contextmanager
def run_world(outer: Path) -> Iterator[World]:
    """A project of one manifest in a folder of its own, `outer`, and its service."""
    folder = outer / "project"
    (folder / "manifests").mkdir(parents=True)
    with run_wild() as wild, run_wild() as elsewhere:
        (folder / "reconciler.yaml").write_text(
            "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: p}\nspec:\n"
            f"  cloud: {{resourceManager: '{wild.url}', blob: '{wild.url}'}}\n"
            f"  defaults: {{subscription: {SUBSCRIPTION}, resourceGroup: census}}\n"
            "  guards: {blobs: skip}\n"
        )
        (folder / "manifests" / "census.yaml").write_text(
            "apiVersion: reconciler/v1\nkind: WebService\nmetadata: {name: census}\nspec:\n"
            f"  trainedModels: {{'{MODEL}': {{uri: '{NEW}'}}}}\n"
            "  definition: {file: census.definition.json}\n"
            "  secrets: {/properties/keys/primary: {env: CENSUS_KEY}}\n"
        )
        (folder / "manifests" / "census.definition.json").write_text(json.dumps(make_flags()))
        yield World(outer, folder, wild, elsewhere)
