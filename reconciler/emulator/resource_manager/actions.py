"""Answers which actions the provider has (documented: resource-provider-operations).

The server gives the call to this module. Nobody is asked for a right here: any token may do all.
"""

from __future__ import annotations

from typing import Any, Final

from reconciler.emulator.replies import Answer
from reconciler.emulator.requests import Call, check_call
from reconciler.emulator.resource_manager.views import PROVIDER

_READ, _WRITE, _DELETE = "read", "write", "delete"
# By resource: its name for people, and its actions. The texts are not the documented ones.
_ACTIONS: Final = (
    ("webServices", "Web service", (_READ, _WRITE, _DELETE, "action")),
    ("commitmentPlans", "Commitment plan", (_READ, _WRITE, _DELETE, "join/action")),
    (
        "commitmentPlans/commitmentAssociations",
        "Commitment association",
        (_READ, "move/action"),
    ),
)


def list_actions(call: Call) -> Answer:
    """Return all actions, in one page."""
    check_call(call, "GET")
    items = [
        _describe(resource, label, action)
        for resource, label, actions in _ACTIONS
        for action in actions
    ]
    return Answer(200, {"value": items}, front=True, timed=False)


def _describe(resource: str, label: str, action: str) -> dict[str, Any]:
    return {
        "name": f"{PROVIDER}/{resource}/{action}",
        "display": {
            "provider": PROVIDER,
            "resource": label,
            "operation": action,
            "description": f"{label}: {action}",
        },
    }
