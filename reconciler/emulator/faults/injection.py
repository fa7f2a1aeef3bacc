"""Applies faults: instead of the work of a call, or to its result.

A fault concerns only the requests that it can act on. If it then finds nothing to act on (a refused
write, a list without items), it has not fired and keeps its times. The server calls this module.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Final

from reconciler.emulator.azureml.data_plane import DEFECTS, DataPlane
from reconciler.emulator.azureml.faults import ENDS, REFUSALS, OnlineFaults
from reconciler.emulator.azureml.replies import refuse_trouble
from reconciler.emulator.classic.endpoint_rules import bad_argument
from reconciler.emulator.classic.endpoints import Endpoints
from reconciler.emulator.classic.views import render_compact
from reconciler.emulator.faults.fault_file import Fault
from reconciler.emulator.faults.fault_plan import FaultEntry, FaultPlan
from reconciler.emulator.replies import Answer, Refusal, bad_request, refuse
from reconciler.emulator.requests import PREVIEW, Call
from reconciler.emulator.resource_manager import definitions
from reconciler.emulator.resource_manager.management import no_such_service
from reconciler.emulator.resource_manager.operations import Operations
from reconciler.emulator.resource_manager.views import PROVIDER
from reconciler.emulator.scoring.calls import Services
from reconciler.emulator.state import Before, Key, make_key
from reconciler.emulator.switches import Choices
from reconciler.emulator.training.jobs import Jobs

Json = Any
NO_ANSWER: Final = Answer(0)
_DEFAULT_SECONDS: Final = 2.0
_LISTS: Final = (
    "webservices",
    "endpoints",
    "models",
    "versions",
    "onlineendpoints",
    "deployments",
)
_JOB_ENDS: Final = (
    "fail-job",
    "stuck-job",
    "empty-evaluation",
    "nan-evaluation",
    "two-row-evaluation",
)
_ENDS: Final = ("fail-operation", "stuck-operation", "silent-rollback")
_PAGE: Final = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body></body></html>"
_CODES: Final = {502: "BadGateway", 503: "ServiceUnavailable", 504: "GatewayTimeout"}


@dataclass(frozen=True)
class FaultTargets:
    """The parts of the emulator whose state a fault changes."""

    operations: Operations
    endpoints: Endpoints
    jobs: Jobs
    services: Services
    data_plane: DataPlane
    online: OnlineFaults


class FaultInjector:
    """Chooses a request's fault from the plan, and applies it to the state and the body.

    The server applies the faults of the connection.
    """

    def __init__(self, plan: FaultPlan, choices: Choices, targets: FaultTargets) -> None:
        self._jobs, self._services = targets.jobs, targets.services
        self._plan = plan
        self._operations = targets.operations
        self._endpoints = targets.endpoints
        self._data_plane = targets.data_plane
        self._online = targets.online
        self._choices = choices

    def choose(self, call: Call) -> FaultEntry | None:
        """Return the fault that fires for a request, or None."""
        return self._plan.choose(call.method, call.target, lambda one: self._concerns(one, call))

    def _concerns(self, fault: Fault, call: Call) -> bool:
        concerned = True
        match fault.do:
            case do if do in {*ENDS, *REFUSALS} or (do in _ENDS and call.plane == "azureml"):
                concerned = self._online.concerns(do, call)
            case do if do in _ENDS:
                concerned = call.method != "GET" and call.plane not in {"services", "online"}
            case do if do in DEFECTS:
                concerned = call.method == "PUT" and call.names_deployment
            case do if do in {*_JOB_ENDS, "lose-job-reply"}:
                concerned = _changes_job(call, only_start=do in _JOB_ENDS)
            case "invalid-model" | "stale-model":
                concerned = _carries_model(call)
            case "list-omission":
                concerned = call.method == "GET" and _ends_with(call, *_LISTS)
            case "stale-read":
                concerned = self._has_earlier_state(fault, call)
        return concerned

    def answer_early(self, entry: FaultEntry | None, call: Call) -> Answer | None:
        """Return the answer that replaces the work, or None. May raise Refusal."""
        match entry.do if entry else "":
            case "throttle":
                raise self._throttle(call)
            case "error" if entry:
                raise _fail(entry.fault.status, call)
            case do if do in REFUSALS:
                raise self._online.refuse(do, call)
            case "invalid-model":
                raise _refuse_model(call)
            case "wrong-type":
                return Answer(200, data=_PAGE, media="text/html; charset=utf-8")
            case "drop-request" | "hang":
                return NO_ANSWER
        return None

    def modify(
        self, entry: FaultEntry | None, call: Call | None, answer: Answer
    ) -> tuple[Answer, FaultEntry | None]:
        """Return the changed answer, and the fault if it has really fired."""
        if entry is None or call is None:
            return answer, None
        altered = self._modify(entry, call, answer)
        if altered is None:
            entry.give_back()
            return answer, None
        return altered, entry

    def _modify(self, entry: FaultEntry, call: Call, answer: Answer) -> Answer | None:
        """Return the answer to send; None if the fault finds nothing to act on."""
        match entry.do:
            case "drop-reply" | "lose-job-reply":
                return NO_ANSWER
            case "list-omission":
                return _omit(answer, entry)
            case "stale-read":
                return self._show_stale(call, answer)
            case "truncate":
                return answer if answer.data or answer.body is not None else None
            case do if do in {*_ENDS, *_JOB_ENDS, *DEFECTS, *ENDS, "stale-model"}:
                return answer if self._spoil(call, answer, entry) else None
        return answer

    def _throttle(self, call: Call) -> Refusal:
        if call.plane == "online":
            return Refusal(429, "TooManyRequests", "Too many requests are sent.")
        if call.plane == "services":
            message = "Too many concurrent requests sent."
            return refuse("ServiceUnavailable", "TooManyConcurrentRequests", message)
        refusal = Refusal(
            429,
            "TooManyRequests",
            "The request is being throttled.",
            headers={"Retry-After": "1"},
        )
        if self._choices["throttle-body"] == "empty":
            refusal.body = {}
        return refusal

    def _spoil(self, call: Call, answer: Answer, entry: FaultEntry) -> bool:
        do = entry.do
        if do == "stale-model":
            return self._hold_models(call, answer, entry)
        if do in DEFECTS:
            return self._data_plane.spoil(answer, do, answer_after(entry))
        if call.plane == "azureml":
            return self._online.spoil(answer, do, answer_after(entry))
        if call.plane == "services":
            return answer.status < 400 and self._jobs.spoil(call.segments[-2], do)
        if call.plane == "classic":
            return self._endpoints.spoil(answer)
        return self._operations.spoil(answer, do)

    def _hold_models(self, call: Call, answer: Answer, entry: FaultEntry) -> bool:
        """Let the old models answer for a while; False if the write was refused."""
        accepted = answer.status < 300
        return accepted and self._services.hold_models(call, _find_key(call), answer_after(entry))

    def _has_earlier_state(self, fault: Fault, call: Call) -> bool:
        ended = self._find_end_of_last_write(call)
        if ended is None:
            return False
        limited = fault.times is None and fault.rate is None
        seconds = _DEFAULT_SECONDS if fault.seconds is None and limited else fault.seconds
        return seconds is None or self._operations.now() < ended + seconds

    def _find_end_of_last_write(self, call: Call) -> float | None:
        """Return when the last write of the resource that a GET reads ended; None without one."""
        if call.plane == "azureml":
            found = self._online.find_before(call)
            return found[1] if found else None
        before = self._get_before_last_write(call)
        return before.ended if before else None

    def _get_before_last_write(self, call: Call) -> Before | None:
        """Return what a GET of a single resource showed before the last write."""
        if call.method != "GET":
            return None
        if call.plane == "classic":
            return self._endpoints.get_before_last_write(call)
        key = _find_key(call)
        return self._operations.get_before_last_write(key) if key else None

    def _show_stale(self, call: Call, answer: Answer) -> Answer | None:
        if call.plane == "azureml":
            return self._online.show_before(call, answer)
        before = self._get_before_last_write(call)
        if before is None or answer.status not in {200, 204, 404}:
            return None
        if call.plane == "classic":
            return self._endpoints.show_before(before)
        if before.document is None:
            return Answer(404, no_such_service(call.segments[-1]).body)
        shown = before.document
        if call.version == PREVIEW:
            shown = {**shown, "properties": definitions.show_preview(shown["properties"])}
        return replace(answer, status=200, body=shown, data=b"")


def _changes_job(call: Call, *, only_start: bool) -> bool:
    writes = call.plane == "services" and call.method != "GET" and "jobs" in call.segments
    return writes and (not only_start or _ends_with(call, "start"))


def _refuse_model(call: Call) -> Refusal:
    """Return the refusal with the text of a public report; its status and code are not known."""
    message = "invalid model URL"
    classic = call.plane == "classic"
    return bad_argument(message) if classic else bad_request("InvalidModelUrl", message)


def answer_after(entry: FaultEntry) -> float:
    """Return after how many seconds a slow answer is sent."""
    return _DEFAULT_SECONDS if entry.fault.seconds is None else entry.fault.seconds


def _fail(status: int, call: Call) -> Refusal:
    if call.plane == "azureml":
        return refuse_trouble(status)
    code = _CODES.get(status, "InternalServerError")
    return Refusal(status, code, "The service cannot answer the request now.")


def _ends_with(call: Call, *words: str) -> bool:
    return bool(call.segments) and call.segments[-1].casefold() in words


def _find_key(call: Call) -> Key | None:
    """Return the key of the service whose definition a call reads; None for a region's copy."""
    match [segment.casefold() for segment in call.segments]:
        case [_, subscription, _, group, _, provider, "webservices", name] if (
            provider == PROVIDER.casefold() and "region" not in call.query
        ):
            return make_key(subscription, group, name)
    return None


def _carries_model(call: Call) -> bool:
    """Return whether a write holds a model: an asset with an http address, or a resource."""
    try:
        document = call.document()
    except Refusal:
        return False
    if call.plane == "classic":
        return call.method == "PATCH" and bool(_get(document, "Resources"))
    if call.method not in {"PUT", "PATCH"}:
        return False
    assets = _get(_get(document, "properties"), "assets")
    uris = (_get(_get(asset, "locationInfo"), "uri") for asset in _values(assets))
    return any(isinstance(uri, str) and uri.casefold().startswith("http") for uri in uris)


def _values(mapping: Json) -> list[Json]:
    return list(mapping.values()) if isinstance(mapping, dict) else []


def _get(mapping: Json, name: str) -> Json:
    """Return a property; its name matches in any case."""
    if not isinstance(mapping, dict):
        return None
    return next((v for key, v in mapping.items() if key.casefold() == name.casefold()), None)


def _omit(answer: Answer, entry: FaultEntry) -> Answer | None:
    """Return the list without one of its items; None if the list is empty."""
    bare = json.loads(answer.data) if answer.data else None
    items = bare if isinstance(bare, list) else _get(answer.body, "value")
    if not items:
        return None
    gone = entry.random_source.randrange(len(items))
    kept = [item for index, item in enumerate(items) if index != gone]
    if items is bare:
        return replace(answer, data=render_compact(kept)) if kept else Answer(204)
    return replace(answer, body={**answer.body, "value": kept})
