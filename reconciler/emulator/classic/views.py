"""The documents in Classic's replies: PascalCase names, and keys as plain text.

A switch decides whether a document shows the location of a model.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from reconciler.emulator.classic.workspaces import DEFAULT, Endpoint, WebService
from reconciler.emulator.classic.world_file import Workspace
from reconciler.emulator.replies import write_time
from reconciler.emulator.resource_manager import regions
from reconciler.emulator.switches import Choices

Json = Any
_STUDIO: Final = "https://studio.azureml.net"


def show_service(service: WebService, endpoints: int, choices: Choices) -> Json:
    """Return the document of a web service."""
    shown: dict[str, Json] = {
        "Id": service.id,
        "Name": service.name,
        "Description": service.description,
        "CreationTime": write_time(service.created),
        "WorkspaceId": service.workspace,
        "DefaultEndpointName": DEFAULT,
    }
    if choices["classic-endpoint-count"] == "yes":
        shown["EndpointCount"] = endpoints
    return shown


def show_endpoint(endpoint: Endpoint, workspace: Workspace, choices: Choices) -> Json:
    """Return the document of an endpoint, in the order of the published description."""
    where = f"workspaces/{endpoint.workspace}/webservices/{endpoint.service}"
    host = regions.services_host(workspace.region)
    settings = endpoint.settings
    return {
        "Name": endpoint.name,
        "Description": settings["Description"],
        "CreationTime": write_time(endpoint.created),
        "WorkspaceId": endpoint.workspace,
        "WebServiceId": endpoint.service,
        "HelpLocation": f"{_STUDIO}/apihelp/{where}/endpoints/{endpoint.name}",
        "PrimaryKey": endpoint.primary,
        "SecondaryKey": endpoint.secondary,
        "ApiLocation": f"https://{host}/workspaces/{endpoint.workspace}/services/{endpoint.api_id}",
        "ExperimentLocation": _locate_experiment(endpoint),
        "Version": write_time(endpoint.version),
        "PreventUpdate": settings["PreventUpdate"],
        "SampleDataEnabled": False,
        "MaxConcurrentCalls": settings["MaxConcurrentCalls"],
        "DiagnosticsTraceLevel": settings["DiagnosticsTraceLevel"],
        "ThrottleLevel": settings["ThrottleLevel"],
        "Resources": [
            _show_resource(name, model, choices) for name, model in endpoint.models.items()
        ],
    }


def _locate_experiment(endpoint: Endpoint) -> str:
    """Return the link to the run that was published; an endpoint keeps its link (documented)."""
    run = _digest(f"{endpoint.service}/{endpoint.version}")[:16]
    workspace = endpoint.workspace
    return (
        f"{_STUDIO}/Home/ViewWorkspace/{workspace}#Workspaces/Experiments/Experiment/"
        f"{workspace}.f-id.{run}/ViewExperiment"
    )


def _show_resource(name: str, model: Json, choices: Choices) -> Json:
    """Return a resource; a switch decides whether it shows the model's location."""
    shown = {"Name": name, "Kind": "TrainedModel"}
    reading = choices["classic-resource-location"]
    if reading == "hidden":
        return shown
    location = model.get("location") or _locate_published(name, model)
    if reading == "without-signature":
        location = {key: value for key, value in location.items() if key != "SasBlobToken"}
    return {**shown, "Location": location}


def _locate_published(name: str, model: Json) -> Json:
    blob = _digest(f"{name}/{model['published']}")[:32]
    return {
        "BaseLocation": "https://studio.blob.core.windows.net/",
        "RelativeLocation": f"experimentoutput/{blob}/{blob}.ilearner",
        "SasBlobToken": "",
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def render_compact(document: Json) -> bytes:
    """Return compact JSON; the spacing of Classic's bodies was never recorded."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )
