"""Applies faults to the control plane: refusals, the ends of operations, and reads that are late.

A fault that finds nothing to act on has not fired. The injector of faults calls it for the calls of
Azure Machine Learning.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any, Final

from reconciler.emulator.azureml.operations import LINK, OnlineOperations, Target
from reconciler.emulator.azureml.replies import refuse_missing, refuse_online
from reconciler.emulator.azureml.rules import refuse_busy, refuse_quota
from reconciler.emulator.azureml.state import (
    CANCELED,
    OnlineDeployment,
    OnlineOperation,
    OnlineWorkspace,
)
from reconciler.emulator.azureml.views import make_reader, show_deployment, show_endpoint
from reconciler.emulator.replies import Answer, Refusal
from reconciler.emulator.requests import Call

Json = Any
REFUSALS: Final = ("busy", "no-quota", "missing-group", "lost-backend")
_LATE: Final = ("stale-traffic", "ignored-traffic")
ENDS: Final = ("crash-container", "cancel-operation", "unmarked-write", *_LATE)
_WRITES: Final = ("PUT", "PATCH", "DELETE")
_CRASH: Final = """\
Traceback (most recent call last):
  File "/var/azureml-server/entry.py", line 1, in <module>
    import create_app
  File "/var/azureml-app/onlinescoring/score.py", line 3, in <module>
    import sklearn
ModuleNotFoundError: No module named 'sklearn'
Worker (pid:14) exited with code 3.
"""
# Public reports have this text, and the code of the first of them.
_CRASHED: Final = {
    "code": "BadArgument",
    "message": "User container has crashed or terminated: Liveness probe failed: HTTP probe failed"
    " with statuscode: 502",
}
_CANCELED: Final = {
    "code": CANCELED,
    "message": "The operation was canceled by another operation that has a higher priority.",
}
_FAILED: Final = {
    "code": "InternalServerError",
    "message": "The service ended the operation unexpectedly.",
}


class OnlineFaults:
    """Applies the faults of the control plane to calls and to their operations."""

    def __init__(self, operations: OnlineOperations) -> None:
        self._operations = operations

    def concerns(self, do: str, call: Call) -> bool:
        """Return whether a fault can act on a call of the control plane."""
        written = call.method in _WRITES and _find_names(call)
        if do in {"missing-group", "lost-backend"}:
            return call.plane == "azureml"
        if not written or call.plane != "azureml":
            return False
        if do in _LATE:
            return call.method == "PUT" and not written[1]
        if do == "unmarked-write":
            return call.method != "DELETE"
        if do in {"crash-container", "no-quota"}:
            return call.method == "PUT" and bool(written[1])
        return True

    def refuse(self, do: str, call: Call) -> Refusal:
        """Return the refusal that replaces the work of a call."""
        names = _find_names(call)
        if do == "busy":
            name = names[0] if names else ""
            verb = "delete" if call.method == "DELETE" else "update"
            what = "a deployment" if names and names[1] else "the endpoint"
            return refuse_busy(name, "Updating", f"{verb} {what}", self._operations.choices)
        if do == "no-quota":
            return refuse_quota("Standard_F4s_v2", call.segments[1], 0, 6, 8)
        if do == "lost-backend":
            inner = json.dumps({"title": "Not Found", "status": 404})
            text = f"InferencingClient HttpRequest error, error detail: {inner}"
            return refuse_online(404, "NotFound", text, ("InferencingClientCallFailed", text))
        group = call.segments[3] if len(call.segments) > 3 else ""
        message = f"Resource group '{group[:90]}' could not be found."
        return Refusal(404, "ResourceGroupNotFound", message)

    def spoil(self, answer: Answer, do: str, seconds: float) -> bool:
        """Change how the operation of an answer ends; False if the fault finds none."""
        operation = self._operations.find_by_link(answer.headers.get(LINK, ""))
        if operation is None or (do in _LATE and not self._changes_traffic(operation)):
            return False
        match do:
            case "fail-operation":
                operation.failure = _FAILED
            case "stuck-operation":
                operation.ends = math.inf
            case "silent-rollback":
                operation.void = True
            case "cancel-operation":
                operation.failure = _CANCELED
            case "unmarked-write":
                return self._keep_stamp(operation)
            case "crash-container":
                operation.failure, operation.crash = _CRASHED, _CRASH
            case "stale-traffic":
                operation.stale_s = seconds
            case "ignored-traffic":
                operation.ignored = True
        self._operations.state.keep(operation)
        return True

    def _keep_stamp(self, operation: OnlineOperation) -> bool:
        """Let a resource go on naming the operation before; False for one that is created."""
        target = self._operations.find_target(operation)
        before = self._operations.befores[target.key][0] if target else None
        if target is None or before is None:
            return False
        target.stamp = before.stamp
        self._operations.state.keep(target)
        return True

    def _changes_traffic(self, operation: OnlineOperation) -> bool:
        endpoint = self._operations.state.endpoints[operation.endpoint]
        document = (operation.outcome or {}).get("document") or endpoint.document
        old, new = (one["properties"]["traffic"] for one in (endpoint.document, document))
        return bool(old != new)

    def find_before(self, call: Call) -> tuple[Target | None, float] | None:
        """Return what was before the last write of the resource that a GET reads, and its end."""
        names = _find_names(call) if call.method == "GET" else None
        if names is None:
            return None
        key = (*_find_workspace(call).key, *(name.casefold() for name in names if name))
        self._operations.finish_due(_find_key(call, names[0]))
        return self._operations.befores.get(key)

    def show_before(self, call: Call, answer: Answer) -> Answer | None:
        """Return the answer with what was before the last write; None without one."""
        found, names = self.find_before(call), _find_names(call)
        if found is None or names is None or answer.status not in {200, 404}:
            return None
        before, reader = found[0], make_reader(call)
        if before is None:
            kind, parent = ("deployment", names[0]) if names[1] else ("endpoint", call.segments[7])
            return Answer(404, refuse_missing(kind, names[1] or names[0], parent).body)
        choices = self._operations.choices
        if not isinstance(before, OnlineDeployment):
            traffic = before.show_traffic(self._operations.now())
            return replace(
                answer, status=200, body=show_endpoint(before, traffic, reader, choices), data=b""
            )
        endpoint = self._operations.state.endpoints.get(before.endpoint)
        if endpoint is None:
            return None
        shown = show_deployment(before, endpoint, reader, choices)
        return replace(answer, status=200, body=shown, data=b"")


def _find_names(call: Call) -> tuple[str, str] | None:
    """Return the names of the endpoint and the deployment of a call; None for another resource."""
    match [segment.casefold() for segment in call.segments]:
        case [_, _, _, _, _, _, _, _, "onlineendpoints", _]:
            return call.segments[9], ""
        case [_, _, _, _, _, _, _, _, "onlineendpoints", _, "deployments", _]:
            return call.segments[9], call.segments[11]
    return None


def _find_workspace(call: Call) -> OnlineWorkspace:
    return OnlineWorkspace(call.segments[1], call.segments[3], call.segments[7])


def _find_key(call: Call, name: str) -> tuple[str, str, str, str]:
    return *_find_workspace(call).key, name.casefold()
