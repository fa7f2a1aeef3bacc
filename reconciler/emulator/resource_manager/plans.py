"""Answers the calls on commitment plans.

A plan is created without an operation, as in the recorded set-up calls. The server routes the
calls to this module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reconciler.emulator.randomness import RandomSource
from reconciler.emulator.replies import Answer, Refusal, bad_request, write_time
from reconciler.emulator.requests import Call, check_name
from reconciler.emulator.resource_manager import regions
from reconciler.emulator.resource_manager.views import PROVIDER, make_id
from reconciler.emulator.state import State, make_key


class Plans:
    """Answers the calls on commitment plans."""

    def __init__(self, state: State, clock: Callable[[], float]) -> None:
        self._state = state
        self._clock = clock

    def put(self, call: Call, subscription: str, group: str, name: str) -> Answer:
        """Create or change a plan."""
        body = call.document()
        if not isinstance(body, dict) or not isinstance(body.get("location"), str):
            raise bad_request("MissingRequiredProperty", "Required: location.")
        plan = self._make(body, subscription, group, check_name(name))
        self._state.keep_plan(make_key(subscription, group, name), plan)
        return Answer(200, plan)

    def get(self, subscription: str, group: str, name: str) -> Answer:
        """Return a plan."""
        plan = self._state.plans.get(make_key(subscription, group, name))
        if plan is None:
            raise Refusal(
                404,
                "ResourceNotFound",
                f"The Resource '{PROVIDER}/commitmentPlans/{name}' under resource group"
                f" '{group}' was not found.",
            )
        return Answer(200, plan)

    def delete(self, subscription: str, group: str, name: str) -> Answer:
        """Delete a plan."""
        key = make_key(subscription, group, name)
        known = key in self._state.plans
        self._state.keep_plan(key, None)
        return Answer(200 if known else 204)

    def _make(self, body: Any, subscription: str, group: str, name: str) -> Any:
        sku = body.get("sku")
        capacity = sku.get("capacity", 1) if isinstance(sku, dict) else 1
        return {
            "id": make_id(subscription, group, "commitmentPlans", name),
            "name": name,
            "type": f"{PROVIDER}/commitmentPlans",
            "location": regions.display_name(body["location"]),
            "tags": body.get("tags") or {},
            "etag": RandomSource(None).guid(),
            "properties": {
                "chargeForOverage": False,
                "creationDate": write_time(self._clock()),
                "includedQuantities": {},
                "maxAssociationLimit": 10000,
                "maxCapacityLimit": 10,
                "minCapacityLimit": 1,
                "refillFrequencyInDays": 30,
                "suspendPlanOnOverage": False,
            },
            "sku": {"name": "S1", "tier": "Standard", "capacity": capacity},
        }
