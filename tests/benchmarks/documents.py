"""The definitions that every contender reads: one recorded document, in each tool's own format.

A service's definition is recorded traffic with a trained model put in, as the service lays it out
(indented, 15 kB). Terraform gets the same values as the output of a state document.
"""

import json
from pathlib import Path
from typing import Any, Final

from tests.e2e.world import MODEL, SUBSCRIPTION

GROUP: Final = "census"
SERVICES: Final = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
    "/providers/Microsoft.MachineLearning/webServices"
)
WORKSPACE: Final = "333533ce0e6e44b38365410aec94d7f2"
CALLS: Final = 20
_RECORDED: Final = (
    Path(__file__).parents[1] / "contract" / "recorded" / "definition.get-after-patch.json"
)
# Of a length that does not change, so that a document is made by putting them in.
_NAME: Final = "s@@@@@"
_URI: Final = "https://acct.blob.core.windows.net/models/@@@@@@@@@@.ilearner"


def name_of(number: int) -> str:
    """The name of a service, six characters long."""
    return f"s{number:05}"


def model_of(day: str) -> str:
    """The address of the model of a day (`2026-11-20`)."""
    return f"https://acct.blob.core.windows.net/models/{day}.ilearner"


OLD: Final = model_of("2026-10-02")
NEW: Final = model_of("2026-11-20")


def definition(name: str, uri: str) -> Any:
    """The definition of one service."""
    document = json.loads(_RECORDED.read_bytes())
    document |= {"id": f"{SERVICES}/{name}", "name": name}
    document["properties"]["assets"]["asset3"] = {
        "name": MODEL,
        "type": "Resource",
        "locationInfo": {"uri": uri, "credentials": ""},
        "outputPorts": {"Results dataset": {"type": "Dataset"}},
    }
    return document


class Template:
    """A document with two places left open: the service's name, and where its model is."""

    def __init__(self, document: Any) -> None:
        self._text = json.dumps(document, indent=2).replace("\n", "\r\n").encode()

    def fill(self, name: bytes, uri: bytes) -> bytes:
        """The document of one service."""
        return self._text.replace(_NAME.encode(), name).replace(_URI.encode(), uri)


def definitions() -> Template:
    """What Resource Manager answers."""
    return Template(definition(_NAME, _URI))


def endpoint_of(number: int) -> str:
    """The name of a Classic endpoint."""
    return f"rentalloc{number:05}"


def list_endpoints(size: int) -> bytes:
    """What Classic answers for all endpoints of a web service: every hundredth has fewer calls."""
    shown = [
        {
            "Name": endpoint_of(number),
            "Description": f"Location {number}",
            "CreationTime": "2026-10-02T00:39:24.8184359Z",
            "WorkspaceId": WORKSPACE,
            "WebServiceId": web_service_of(size),
            "PrimaryKey": "",
            "SecondaryKey": "",
            "Version": "2026-10-02T00:39:24.8184359Z",
            "PreventUpdate": False,
            "SampleDataEnabled": False,
            "MaxConcurrentCalls": 10 if number % 100 == 0 else CALLS,
            "DiagnosticsTraceLevel": "None",
            "ThrottleLevel": "High",
            "Resources": [{"Name": "Bike Rental [trained model]", "Kind": "TrainedModel"}],
        }
        for number in range(size)
    ]
    return json.dumps(shown).encode()


def web_service_of(size: int) -> str:
    """The id of the Classic web service that has so many endpoints."""
    return f"{size:032}"


def states() -> Template:
    """What Terraform's http backend answers: a state whose only output is the definition.

    It stands there as a text: as an object, of which a state tells the type too, it takes Terraform
    five times as long to read.
    """
    text = json.dumps(definition(_NAME, _URI), indent=2)
    return Template(
        {
            "version": 4,
            "terraform_version": "1.11.4",
            "serial": 1,
            "lineage": "3f6cbd0b-6f6a-4f0e-8a3a-6e0b7f1d2c3e",
            "outputs": {"definition": {"value": text, "type": "string"}},
            "resources": [],
            "check_results": None,
        }
    )
