"""What a deployment's containers wrote, as getLogs shows it.

The data plane adds a line for each call. The lines of calls start with the process.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from reconciler.emulator.azureml.replies import refuse_request, write_moment
from reconciler.emulator.azureml.state import OnlineDeployment
from reconciler.emulator.replies import Answer
from reconciler.emulator.requests import Call

Json = Any
_MOST_LINES: Final = 200
_MOST_LOGS: Final = 2000
_PHASES: Final = ("SystemSetup", "UserContainerImagePull", "ModelDownload", "UserContainerStart")
# What the log of a deployment begins with whose model could not be downloaded.
NO_MODEL: Final = "Unable to download user model"
_CONTAINERS: Final = ("InferenceServer", "StorageInitializer")


class ContainerLogs:
    """The lines of each deployment's server; only the last lines of the last servers are kept."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[str]] = {}

    def add(self, deployment: OnlineDeployment, now: float, text: str) -> None:
        """Add what the server wrote; each line of `text` gets the time."""
        lines = self._lines.setdefault(deployment.served_by, deque(maxlen=_MOST_LINES))
        lines.extend(f"{write_moment(now)} {line}" for line in text.splitlines())
        if len(self._lines) > _MOST_LOGS:
            del self._lines[next(iter(self._lines))]

    def answer(self, call: Call, deployment: OnlineDeployment) -> Answer:
        """Answer a call of getLogs."""
        container, tail = _read_request(call)
        lines = (
            self._list_lines(deployment)
            if container == "InferenceServer"
            else _list_downloads(deployment)
        )
        shown = lines[-tail:] if tail else lines
        events = _list_events(deployment)
        parts = [*_list_phases(deployment), "", *events, "Container logs:", *shown]
        return Answer(200, {"content": "\n".join(parts) + "\n"})

    def _list_lines(self, deployment: OnlineDeployment) -> list[str]:
        if deployment.crash:
            return deployment.crash.splitlines()
        if deployment.serving is None:
            return []
        code = deployment.serving.get("codeConfiguration") or {}
        begun = [
            "Server Settings",
            "---------------",
            f"Entry Script Name: /var/azureml-app/{code.get('scoringScript') or 'score.py'}",
            f"Model Directory: {name_folder(deployment.serving.get('model'))}",
            "Worker Count: 1",
            "Server Routes",
            "---------------",
            "Liveness Probe: GET   127.0.0.1:31311/",
            "Score:          POST  127.0.0.1:31311/score",
        ]
        return [*begun, *self._lines.get(deployment.served_by, ())]


def name_folder(model: Json) -> str:
    """Return the folder in which a model is mounted (recorded); "" without a model."""
    if not isinstance(model, str) or "/versions/" not in model:
        return ""
    rest, _, version = model.rpartition("/versions/")
    return f"/var/azureml-app/azureml-models/{rest.rpartition('/')[2]}/{version}"


def _read_request(call: Call) -> tuple[str, int]:
    """Return the container and the number of lines that a call asks for; 0 for all lines."""
    body = call.document() if call.body else None
    body = body if isinstance(body, dict) else {}
    container = body.get("containerType") or _CONTAINERS[0]
    tail = body.get("tail")
    if container not in _CONTAINERS:
        known = " or ".join(_CONTAINERS)
        raise refuse_request("ValidationError", f"The containerType must be {known}.")
    if tail is not None and (not isinstance(tail, int) or isinstance(tail, bool) or tail < 1):
        raise refuse_request("ValidationError", "The tail must be a whole number from 1.")
    return str(container), tail or 0


def _list_phases(deployment: OnlineDeployment) -> list[str]:
    """Return how far the instances are; a crash is one of the last phase, but for the model's."""
    if deployment.crash.startswith(NO_MODEL):
        words = ["Succeeded", "Succeeded", "Failed", "Waiting"]
    elif deployment.crash:
        words = ["Succeeded", "Succeeded", "Succeeded", "Failed"]
    elif deployment.serving is None:
        words = ["Succeeded", "InProgress", "Waiting", "Waiting"]
    else:
        words = ["Succeeded"] * 4
    states = [f"{phase}: {word}" for phase, word in zip(_PHASES, words, strict=True)]
    return ["Instance status:", *states]


def _list_events(deployment: OnlineDeployment) -> list[str]:
    """Return the events of the containers, with an empty line after them."""
    waits = deployment.serving is None and not deployment.crash
    if waits or deployment.crash.startswith(NO_MODEL):
        return []
    moment = write_moment(deployment.modified).removesuffix("+00:00")
    text = "Models are downloaded successfully"
    events = [f"Kind: Pod, Name: Downloaded, Type: Normal, Time: {moment}Z, Message: {text}"]
    if deployment.crash:
        text = "Back-off restarting failed container"
        events.append(f"Kind: Pod, Name: BackOff, Type: Warning, Time: {moment}Z, Message: {text}")
    return ["Container events:", *events, ""]


def _list_downloads(deployment: OnlineDeployment) -> list[str]:
    if deployment.serving is None:
        return []
    folder = name_folder(deployment.serving.get("model"))
    return [f"Downloading the model to {folder}", "Models are downloaded successfully"]
