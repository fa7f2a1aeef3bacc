"""The Classic endpoints of a case: a web service of its own, in the workspace of the emulator."""

import hashlib
import time
from collections.abc import Mapping
from typing import Any

from tests.e2e.world import Emulator

Json = Any
WORKSPACE = "333533ce0e6e44b38365410aec94d7f2"
MODEL = "Bike Rental [trained model]"
SAS = "?sv=2020-08-04&sr=b&sp=r&se=2035-01-01T00%3A00%3A00Z&sig=live"
_PUT = ("Description", "ThrottleLevel", "MaxConcurrentCalls", "PreventUpdate")


class Classic:
    """One web service and its endpoints. `stated` is what `classic.yaml` says of them."""

    def __init__(self, emulator: Emulator, name: str, stated: Mapping[str, Json]) -> None:
        self.id = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
        self._emulator, self._reported = emulator, stated

    @property
    def path(self) -> str:
        return f"/workspaces/{WORKSPACE}/webservices/{self.id}"

    def set(self) -> None:
        """Publish the web service, make its endpoints, and do to them what is told."""
        self._publish()
        for name, settings in self._reported.get("endpoints", {}).items():
            self._deploy(name, settings)
        if self._reported.get("published") == "again":
            self._publish()
        for name in self._reported.get("refreshed", ()):
            self.send("POST", f"/endpoints/{name}/refresh", {"OverwriteResources": "True"})
            time.sleep(0.1)

    def _publish(self) -> None:
        resources = self._reported.get("resources", [MODEL])
        name = self._reported.get("name", "Bike Rental")
        self.send("PUT", "", {"Name": name, "Resources": resources})

    def _deploy(self, name: str, stated: Mapping[str, Json]) -> None:
        if name != "default":
            put = {part: stated[part] for part in _PUT if part in stated}
            self.send("PUT", f"/endpoints/{name}", put)
        self.change(name, {part: said for part, said in stated.items() if part not in _PUT})

    def change(self, name: str, stated: Mapping[str, Json]) -> None:
        """Somebody else's PATCH; `model` is the address of one."""
        body = {part: said for part, said in stated.items() if part != "model"}
        if "model" in stated:
            base, _, relative = stated["model"].partition(".net/")
            where = {"BaseLocation": f"{base}.net/", "RelativeLocation": relative}
            location = {**where, "SasBlobToken": SAS}
            body["Resources"] = [{"Name": MODEL, "Location": location}]
        if body:
            self.send("PATCH", f"/endpoints/{name}", body)
            time.sleep(0.1)

    def read(self) -> dict[str, Json]:
        """The endpoints as they are."""
        listed = self.send("GET", "/endpoints")
        return {one["Name"]: one for one in listed}

    def send(self, method: str, tail: str, body: Json = None) -> Json:
        """One call; it must be taken."""
        url = f"{self._emulator.url}{self.path}{tail}"
        status, answer, _ = self._emulator.send(method, url, body)
        assert status < 300, answer
        return answer
