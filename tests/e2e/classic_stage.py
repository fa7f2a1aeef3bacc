"""The same two for Classic: a project of endpoints, and a management that tells everything."""

import copy
import json
from dataclasses import replace
from typing import Any, ClassVar
from unittest import mock

from reconciler.kinds.endpoint import provider
from tests.e2e.markers import Marker, plant
from tests.e2e.planted import SAS, Stage
from tests.e2e.telltale import OWN, Telltale, sign
from tests.e2e.world import Done
from tests.scripted import Answer, Call

MODEL = "Bike Rental [trained model]"
OTHER = "Other Rental [trained model]"
WORKSPACE_TOKEN = plant("the workspace's token", "{}+/=~")
MEMBER_TOKEN = plant("the token that a manifest names", "{}")
FILE_SAS = plant("the signature in a file", "?sv=2024-01-01&sr=c&sp=r&sig={}%2F%3D")
_ADDED: list[Marker] = [WORKSPACE_TOKEN, MEMBER_TOKEN, FILE_SAS]


class ClassicTelltale(Telltale):
    """Endpoints of one web service. It shows where a model lies, and signs whatever it shows."""

    managed = "/workspaces/"

    def answer(self, call: Call, name: str) -> Answer:
        """What is said of an endpoint, or of all of them."""
        if call.method == "GET" and self.faults.get("BODY"):
            return Answer(200, self._make_odd(name), self.make_headers())
        if name == "endpoints":
            return Answer(200, list(map(self.show, self.services)), self.make_headers())
        if call.method == "DELETE":
            self.services.pop(name, None)
        elif call.method != "GET":
            self._take(call, name)
        elif name not in self.services:
            return self.refuse(404, "NotFound")
        shown = self.show(name) if name in self.services else None
        return Answer(200, shown, self.make_headers())

    def _make_odd(self, name: str) -> Any:
        """A body of no form that there is, or of names that are none."""
        reported = list(self.all_gossip())
        shown = {**self.show("census"), "Name": reported[0]}
        named = {**self.show("census"), "Resources": [{"Name": one} for one in reported]}
        bodies: dict[str, Any] = {
            "text": " ".join(reported),
            "list of texts": reported,
            "strangers": [shown, *({"Name": one} for one in reported)],
            "resources": [named] if name == "endpoints" else named,
            "keys": [dict.fromkeys(reported, "x")],
            "parts": [{"Name": "census", "Resources": reported, "Version": reported[0]}],
        }
        return bodies[self.faults["BODY"]]

    def _take(self, call: Call, name: str) -> None:
        body = json.loads(call.body)
        document = self.services.setdefault(name, _make_endpoint())
        if self.faults.get(call.method) == "ignored":
            return
        located = {one["Name"]: one["Location"] for one in body.pop("Resources", ())}
        document["Resources"] |= located
        document |= body

    def show(self, name: str) -> Any:
        """An endpoint, with everything in it that should not be."""
        document = copy.deepcopy(self.services[name])
        named = document.pop("Resources").items()
        return {
            "Name": name,
            "CreationTime": "2020-01-01T00:00:00Z",
            "WorkspaceId": "w",
            "WorkspaceName": f"w {self.gossip()}",
            "HelpLocation": sign("text"),
            "PrimaryKey": OWN["primary"].value,
            "SecondaryKey": OWN["secondary"].value,
            "ApiLocation": sign("module"),
            "ExperimentLocation": f"{OWN['connection'].value};x=1",
            "Version": "2020-01-01T00:00:00Z",
            **document,
            "Resources": [
                {"Name": one, "Kind": "TrainedModel", **self._locate(where)} for one, where in named
            ],
            "unheardOf": {"echo": list(self.all_gossip()), "at": sign("example")},
        }

    def _locate(self, where: Any) -> Any:
        """Where a model lies; what it was sent it shows again, and a signature of its own."""
        if not where:
            return {}
        base = where["BaseLocation"].replace("//", f"//user:{OWN['location'].core}@")
        signed = f"{where['RelativeLocation']}?{OWN['model'].value}"
        return {"Location": {**where, "BaseLocation": base, "RelativeLocation": signed}}


def _make_endpoint(**more: str) -> dict[str, Any]:
    return {"Resources": {one: {} for one in (MODEL, OTHER)}, "MaxConcurrentCalls": 4, **more}


class ClassicStage(Stage):
    """A project of endpoints; its workspace's token is referred to, as the signatures are."""

    kind: ClassVar = "Endpoint"
    markers: ClassVar[list[Marker]] = [*Stage.markers, *_ADDED]
    sent: ClassVar = [WORKSPACE_TOKEN, MEMBER_TOKEN, SAS, FILE_SAS]
    defaults: ClassVar = "workspace: w, webService: s, token: {env: STUDIO_TOKEN}"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.environment["STUDIO_TOKEN"] = WORKSPACE_TOKEN.value
        for name, marker in (("workspace.token", MEMBER_TOKEN), ("models.sas", FILE_SAS)):
            self.hide(name, marker)

    def run(self, *arguments: str, **environment: str) -> Done:
        """One command; what takes effect late is waited for less long than elsewhere."""
        with mock.patch.object(provider, "_LOCAL", replace(provider._LOCAL, lag_s=0.2)):
            return super().run(*arguments, **environment)

    def declare(self, name: str = "census", model: str = "new", **more: str) -> None:
        file = self.folder / "manifests" / f"{name}.yaml"
        file.write_text(
            "apiVersion: reconciler/v1\nkind: Endpoint\n"
            f"metadata: {{name: {name}}}\nspec:\n{self.spell(model)}"
            + "".join(f"  {key}: {value}\n" for key, value in more.items())
        )

    def spell(self, model: str) -> str:
        """The models that an endpoint must serve, each with its signature."""
        uri = f"{self.server.url}/account/m/{model}.ilearner"
        return (
            f"  trainedModels:\n    {MODEL}: {{uri: '{uri}', sas: {{env: MODELS_SAS}}}}\n"
            f"    {OTHER}: {{uri: '{uri}', sas: {{file: ../secrets/models.sas}}}}\n"
        )

    def declare_whole(self, name: str) -> None:
        token = "{token: {file: ../secrets/workspace.token}}"
        self.declare(name, resource=token, definition="{ThrottleLevel: High}")

    def deploy(self, name: str = "census", model: str = "old") -> None:
        where = {
            "BaseLocation": f"{self.server.url}/",
            "RelativeLocation": f"account/m/{model}.ilearner",
            "SasBlobToken": f"?{OWN['payload'].value}",
        }
        said = f"see {sign('text')} or {OWN['connection'].value};x=1"
        document = _make_endpoint(Description=said)
        document["Resources"] = dict.fromkeys((MODEL, OTHER), where)
        self.service.services[name] = document


CLASSIC = (ClassicStage, ClassicTelltale)
