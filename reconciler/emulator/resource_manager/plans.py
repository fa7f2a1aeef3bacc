"""Answers the calls on commitment plans: plans, SKUs, associations, usage, and `move`.

Writes of plans need no operation, and replies have their members in alphabetical order (recorded:
azure-powershell TestUpdateCommitmentPlan, TestListCommitmentPlans). A service belongs to one plan:
its association is the service as its plan sees it (documented: OpenAPI 2016-05-01-preview). The
server gives the calls to this module.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from reconciler.emulator.randomness import RandomSource
from reconciler.emulator.replies import Answer, Refusal, invalid_body, write_time
from reconciler.emulator.requests import PREVIEW, Call, check_call, unknown_path
from reconciler.emulator.resource_manager.operations import Operations
from reconciler.emulator.resource_manager.pages import make_page
from reconciler.emulator.resource_manager.regions import short_name
from reconciler.emulator.resource_manager.skus import (
    LEAST_CAPACITY,
    MOST_CAPACITY,
    SKUS,
    TIER,
    Sku,
    find_sku,
)
from reconciler.emulator.resource_manager.views import PROVIDER, make_id
from reconciler.emulator.resource_manager.write_checks import read_plan_id
from reconciler.emulator.state import Key, Service, State, make_key
from reconciler.emulator.switches import Choices

Json = Any
_ASSOCIATIONS: Final = "commitmentAssociations"
_LONGEST_NAME: Final = 260


@dataclass(frozen=True)
class _Named:
    """The plan that a call names, which need not exist."""

    subscription: str
    group: str
    name: str

    @property
    def key(self) -> Key:
        """Return the key of the plan; keys ignore case."""
        return make_key(self.subscription, self.group, self.name)

    @property
    def id(self) -> str:
        """Return the Resource Manager id of the plan."""
        return make_id(self.subscription, self.group, "commitmentPlans", self.name)


class Plans:
    """Answers the calls on commitment plans from the state. Use it from one thread only."""

    def __init__(
        self, state: State, random_source: RandomSource, choices: Choices, operations: Operations
    ) -> None:
        self._state = state
        self._random_source = random_source
        self._choices = choices
        self._operations = operations

    def list_skus(self, call: Call) -> Answer:
        """Return the SKUs that a plan may have."""
        check_call(call, "GET", versions=(PREVIEW,))
        return _untimed({"value": [sku.describe() for sku in SKUS]})

    def list_plans(self, call: Call, subscription: str, group: str | None) -> Answer:
        """Return a page of plans, by region for a subscription, and the newest first (recorded)."""
        check_call(call, "GET", versions=(PREVIEW,))
        casefolded, within = subscription.casefold(), (group or "").casefold()
        plans = [
            plan
            for key, plan in self._state.plans.items()
            if key[0] == casefolded and (group is None or key[1] == within)
        ]
        plans.sort(key=_read_creation, reverse=True)
        if group is not None:
            return _untimed(self._page(call, plans))
        plans.sort(key=lambda one: short_name(one["location"]))
        ids = {"x-ms-original-request-ids": RandomSource(None).guid()}
        return Answer(200, self._page(call, plans), ids, front=True, timed=False)

    def answer(self, call: Call, rest: list[str], subscription: str, group: str) -> Answer:
        """Answer a call on one plan; `rest` is the casefolded path after `commitmentPlans`."""
        below = call.segments[len(call.segments) - len(rest) :]
        plan = _Named(subscription, group, below[0])
        match rest[1:]:
            case []:
                return self._answer_plan(call, plan)
            case ["usagehistory"]:
                check_call(call, "GET", versions=(PREVIEW,))
                self._existing(plan)
                # The emulator meters nothing.
                return _untimed({"value": []})
            case ["commitmentassociations"]:
                check_call(call, "GET", versions=(PREVIEW,))
                found = self._existing(plan)
                services = self._find_services(found["id"])
                return _untimed(self._page(call, [_show(one, found) for one in services]))
            case ["commitmentassociations", _]:
                check_call(call, "GET", versions=(PREVIEW,))
                found = self._existing(plan)
                return _untimed(_show(self._find_associated(found, below[2]), found))
            case ["commitmentassociations", _, "move"]:
                check_call(call, "POST", versions=(PREVIEW,))
                return self._move(call, self._existing(plan), below[2])
        raise unknown_path(call)

    def _page(self, call: Call, items: list[Json]) -> Json:
        return make_page(call, items, int(self._choices["list-page-size"]), lambda one: one)

    def _answer_plan(self, call: Call, plan: _Named) -> Answer:
        check_call(call, "GET", "PUT", "PATCH", "DELETE", versions=(PREVIEW,))
        if call.method == "PUT":
            return self._put(call, plan)
        if call.method == "PATCH":
            return self._patch(call, plan)
        if call.method == "DELETE":
            return self._delete(plan)
        return _untimed(self._existing(plan))

    def _put(self, call: Call, plan: _Named) -> Answer:
        """Create or replace a plan; the location comes back as it was sent (recorded)."""
        body = _read_body(call)
        if not isinstance(body.get("location"), str) or not body["location"].strip():
            raise invalid_body("location")
        if len(plan.name) > _LONGEST_NAME or not plan.name.isprintable():
            raise Refusal(400, "InvalidResourceName", "The provided resource name is invalid.")
        old = self._state.plans.get(plan.key)
        if old is not None:
            self._check_etag(body, old)
        sku, given = self._take_sku(body.get("sku"), {})
        made = self._make(plan, body["location"], given, sku, body.get("tags") or {}, old)
        return _untimed(made)

    def _patch(self, call: Call, plan: _Named) -> Answer:
        """Change the SKU and the tags of a plan; nothing else can be changed (documented)."""
        old, body = self._existing(plan), _read_body(call)
        self._check_etag(body, old)
        tags = old["tags"] if body.get("tags") is None else body["tags"]
        if self._choices["patch-tags"] == "merge":
            tags = {**old["tags"], **tags}
        sku, given = self._take_sku(body.get("sku"), old["sku"])
        return _untimed(self._make(plan, old["location"], given, sku, tags, old))

    def _delete(self, plan: _Named) -> Answer:
        old = self._state.plans.get(plan.key)
        if old is None and self._choices["plan-delete-missing"] == "404":
            raise _no_such_plan(plan)
        if old is None:
            return Answer(int(self._choices["plan-delete-missing"]), timed=False)
        if self._choices["plan-in-use"] == "reject" and self._find_services(plan.id):
            raise Refusal(
                409,
                "Conflict",
                "The request conflicts with the current state of the resource.",
                ("CommitmentPlanInUse", f"Web services use the commitment plan {plan.name}."),
            )
        self._state.keep_plan(plan.key, None, count=self._random_source.count)
        return _untimed(None)

    def _make(
        self, plan: _Named, location: str, given: Json, sku: Sku, tags: Json, old: Json
    ) -> Json:
        """Store a plan with a new etag and return it; it keeps its creation date (recorded)."""
        created = old["properties"]["creationDate"] if old else write_time(self._operations.now())
        made = {
            "etag": self._random_source.guid(),
            "id": old["id"] if old else plan.id,
            "location": location,
            "name": old["name"] if old else plan.name,
            "properties": sku.describe_plan(
                created, full=self._choices["plan-amount"] == "allowance"
            ),
            "sku": given,
            "tags": tags,
            "type": f"{PROVIDER}/commitmentPlans",
        }
        self._state.keep_plan(plan.key, made, count=self._random_source.count)
        return made

    def _take_sku(self, given: Json, old: Json) -> tuple[Sku, Json]:
        """Return a plan's SKU, and the `sku` to show; refuse one that was never recorded."""
        said = {
            name: value
            for name, value in (given if isinstance(given, dict) else {}).items()
            if name in {"capacity", "name", "tier"} and value is not None
        }
        shown = {"capacity": 1, "name": "S1", "tier": TIER, **old, **said}
        sku, capacity = find_sku(shown["name"]), shown["capacity"]
        whole = isinstance(capacity, int) and not isinstance(capacity, bool)
        if self._choices["plan-sku"] == "check":
            if not said and not old:
                raise invalid_body("sku")
            known = sku is not None and str(shown["tier"]).casefold() == TIER.casefold()
            fits = whole and LEAST_CAPACITY <= capacity <= MOST_CAPACITY
            wrong = ([] if known else ["sku.name"]) + ([] if fits else ["sku.capacity"])
            if wrong:
                raise invalid_body(*wrong)
        return sku or SKUS[0], dict(sorted(shown.items()))

    def _check_etag(self, body: dict[str, Json], old: Json) -> None:
        """Refuse the etag of an older plan (documented: it enforces optimistic concurrency)."""
        given = body.get("etag")
        if given and given != old["etag"] and self._choices["plan-etag"] == "check":
            message = "The plan was changed after this etag was read."
            raise Refusal(412, "PreconditionFailed", message)

    def _existing(self, plan: _Named) -> Json:
        found = self._state.plans.get(plan.key)
        if found is None:
            raise _no_such_plan(plan)
        return found

    def _find_services(self, plan_id: str) -> list[Service]:
        """Return the services of a plan by name."""
        wanted = plan_id.casefold().rstrip("/")
        found = [
            service
            for key in [*self._state.services]
            if (service := self._operations.finish_due(key)) and service.exists
            if read_plan_id(service.properties).casefold() == wanted
        ]
        return sorted(found, key=lambda one: one.name.casefold())

    def _find_associated(self, plan: Json, name: str) -> Service:
        for service in self._find_services(plan["id"]):
            if _name_association(service) == name.casefold():
                return service
        raise Refusal(
            404,
            "NotFound",
            "The specified resource was not found.",
            ("CommitmentAssociationNotFound", f"No commitment association is named {name[:64]}."),
        )

    def _move(self, call: Call, plan: Json, name: str) -> Answer:
        """Give a service another plan: its own writes cannot (documented: set at creation)."""
        service = self._find_associated(plan, name)
        wanted = str(_read_body(call).get("destinationPlanId") or "")
        key = read_plan_key(wanted)
        if key is None:
            raise invalid_body("destinationPlanId")
        target = self._state.plans.get(key)
        if target is None:
            detail = ("CommitmentPlanNotFound", f"No commitment plan has the id {wanted[:260]}.")
            raise Refusal(404, "NotFound", "The specified resource was not found.", detail)
        running = self._operations.running(service)
        outcome: Mapping[str, Json] = (running.outcome if running else None) or {}
        for properties in filter(None, (service.properties, outcome.get("properties"))):
            properties["commitmentPlan"] = {"id": target["id"]}
        kept = [service] if running is None else [service, running]
        self._state.keep(*kept, count=self._random_source.count)
        return _untimed(_show(service, target))


def _show(service: Service, plan: Json) -> Json:
    """Return the association of a service with its plan (only its shape is documented)."""
    name = _name_association(service)
    etag = hashlib.sha256(f"{name}{plan['id']}".encode()).hexdigest()[:32]
    return {
        "etag": str(uuid.UUID(etag)),
        "id": f"{plan['id']}/{_ASSOCIATIONS}/{name}",
        "location": plan["location"],
        "name": name,
        "properties": {
            "associatedResourceId": make_id(
                service.subscription, service.group, "webServices", service.name
            ),
            "commitmentPlanId": plan["id"],
            "creationDate": write_time(service.created),
        },
        "tags": {},
        "type": f"{PROVIDER}/commitmentPlans/{_ASSOCIATIONS}",
    }


def _untimed(body: Json) -> Answer:
    """Return a 200; replies about plans do not have the duration (recorded)."""
    return Answer(200, body, timed=False)


def _read_creation(plan: Json) -> datetime:
    return datetime.fromisoformat(plan["properties"]["creationDate"])


def _read_body(call: Call) -> dict[str, Json]:
    """Return a request's body; refuse one that is not an object with an object of tags."""
    body = call.document()
    tags = body.get("tags") if isinstance(body, dict) else ()
    if tags is not None and not isinstance(tags, dict):
        raise invalid_body("tags" if isinstance(body, dict) else "")
    return dict(body)


def _name_association(service: Service) -> str:
    """Return the name of a service's association: a GUID that stays with the service."""
    return str(uuid.UUID(service.service_id))


def read_plan_key(plan_id: Json) -> Key | None:
    """Return the key of the plan that an id names; None for another kind of id."""
    words = plan_id.casefold().strip("/").split("/") if isinstance(plan_id, str) else []
    match words:
        case [
            "subscriptions",
            subscription,
            "resourcegroups",
            group,
            "providers",
            provider,
            "commitmentplans",
            name,
        ] if provider == PROVIDER.casefold():
            return make_key(subscription, group, name)
    return None


def _no_such_plan(plan: _Named) -> Refusal:
    """Return the recorded 404 for a missing plan: Resource Manager itself answers."""
    return Refusal(
        404,
        "ResourceNotFound",
        f"The Resource '{PROVIDER}/commitmentPlans/{plan.name}' under resource group"
        f" '{plan.group}' was not found.",
        headers={"x-ms-failure-cause": "gateway"},
    )
