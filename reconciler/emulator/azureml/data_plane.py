"""Answers the scoring addresses of online endpoints: who may call, which deployment answers, how.

The server calls it. The router chooses a deployment by the shares of the traffic, or takes the one
that the request names. What a deployment answers is in `answers`.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler.emulator.azureml import answers
from reconciler.emulator.azureml.access import opens
from reconciler.emulator.azureml.assets import Assets
from reconciler.emulator.azureml.container_logs import ContainerLogs
from reconciler.emulator.azureml.operations import OnlineOperations
from reconciler.emulator.azureml.state import OnlineDeployment, OnlineEndpoint
from reconciler.emulator.classic.management import allow
from reconciler.emulator.classic.views import render_compact
from reconciler.emulator.replies import Answer, Refusal
from reconciler.emulator.requests import Call
from reconciler.emulator.scoring.model import LoadedModel
from reconciler.emulator.storage import Storage, sign

Json = Any
HEADER: Final = "azureml-model-deployment"
DEFECTS: Final = ("wrong-answers", "failed-script", "slow-script", "warm-up")
_FAILED: Final = "x-ms-run-function-failed"
_MOST_LOADED: Final = 20_000
_MEDIA: Final = "application/json"
_DURATION: Final = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?", re.IGNORECASE)
_LONGEST_S: Final = 180.0


@dataclass(frozen=True)
class Defect:
    """What is wrong with the instances that an operation starts, and for how long."""

    do: str
    seconds: float


class DataPlane:
    """Answers scoring calls, and counts them for the page of the emulator.

    `token` is that of the directory. `seed` repeats the choices of the router; None draws them.
    """

    def __init__(
        self,
        operations: OnlineOperations,
        assets: Assets,
        storage: Storage,
        token: str,
        seed: int | None,
    ) -> None:
        self._online = operations.state
        self._operations = operations
        self._choices = operations.choices
        self._clock = operations.now
        self._assets = assets
        self._storage = storage
        self._token = token
        self.logs = ContainerLogs()
        self._router = random.Random(seed)  # noqa: S311 - no secret
        self._defects: dict[str, Defect] = {}
        self._loaded: dict[tuple[str, ...], LoadedModel] = {}
        self._running: Counter[tuple[str, ...]] = Counter()
        self._calls: Counter[tuple[str, ...]] = Counter()
        self._mirrored: Counter[tuple[str, ...]] = Counter()

    # What the server and the faults ask.

    def authorize(self, call: Call, given: str) -> None:
        """Refuse a call without a key or token of the endpoint."""
        endpoint = self._find(call)
        if not opens(given, endpoint, self._online, self._clock(), self._token):
            raise _refuse(401, "Unauthorized", "The key or token is missing, wrong or expired.")

    async def answer(self, call: Call) -> Answer:
        """Score the body of a call, or return the description of the endpoint."""
        endpoint = self._find(call)
        match [segment.casefold() for segment in call.segments[3:]]:
            case ["score"]:
                allow(call, "POST")
                return await self._score(call, endpoint)
            case ["swagger.json"]:
                allow(call, "GET")
                return _reply(_describe(endpoint), {})
        raise _refuse(404, "NotFound", "No such address.")

    def spoil(self, answer: Answer, do: str, seconds: float) -> bool:
        """Give a defect to the instances that an accepted write of a deployment starts."""
        link = answer.headers.get("Azure-AsyncOperation", "").partition("?")[0]
        operation_id = link.rpartition("/")[2]
        if answer.status >= 300 or not operation_id:
            return False
        self._defects[operation_id] = Defect(do, seconds)
        return True

    def count(self) -> Json:
        """Return how many calls each deployment answered, and how many were mirrored to it."""
        return [
            {
                "id": one.path,
                "calls": self._calls[one.key],
                "mirrored": self._mirrored[one.key],
            }
            for endpoint in self._online.endpoints.values()
            for one in self._online.list_deployments(endpoint.key)
        ]

    # A call.

    def _find(self, call: Call) -> OnlineEndpoint:
        path = "/" + "/".join(call.segments[:3])
        endpoint = self._online.find_by_scoring(path)
        found = self._operations.finish_due(endpoint.key) if endpoint else None
        if found is None:
            raise _refuse(404, "NotFound", "No endpoint answers here.")
        return found

    async def _score(self, call: Call, endpoint: OnlineEndpoint) -> Answer:
        deployment = self._choose(call, endpoint)
        if deployment.serving is None:
            raise _refuse_container(deployment, 502, "The container does not answer.")
        self._acquire(call, deployment)
        self._calls[deployment.key] += 1
        started = time.perf_counter()
        try:
            found = await self._run(call, deployment)
        except answers.ScriptFailed as error:
            text = f"Traceback (most recent call last):\n{error}"
            self.logs.add(deployment, self._clock(), text)
            raise _refuse_container(deployment, 500, str(error)) from error
        spent = (time.perf_counter() - started) * 1000
        self.logs.add(deployment, self._clock(), f"POST /score 200 {spent:.3f}ms")
        headers = {HEADER: deployment.name, _FAILED: "False", "x-ms-run-fn-exec-ms": f"{spent:.3f}"}
        # Scripts that end with json.dumps() answer a text, which the server writes as JSON again.
        shown = json.dumps(found) if self._choices["online-answer"] == "text" else found
        return _reply(shown, headers)

    def _choose(self, call: Call, endpoint: OnlineEndpoint) -> OnlineDeployment:
        """Return the deployment that answers: the named one, or one by the shares."""
        named = call.headers.get(HEADER, "")
        if named:
            found = self._online.find_deployment(endpoint.key, named)
            if found is not None:
                return found
            if self._choices["online-unknown-deployment"] == "404":
                raise _refuse(404, "NotFound", f"No deployment is called {named[:40]}.")
        deployment = self._draw(endpoint)
        if deployment is None:
            raise _refuse(404, "NotFound", "No deployment has traffic.")
        if not named:
            self._mirror(endpoint)
        return deployment

    def _draw(self, endpoint: OnlineEndpoint) -> OnlineDeployment | None:
        shares = endpoint.route_traffic(self._clock())
        names = sorted(name for name, share in shares.items() if share > 0)
        if not names:
            return None
        (name,) = self._router.choices(names, weights=[shares[one] for one in names])
        return self._online.find_deployment(endpoint.key, name)

    def _mirror(self, endpoint: OnlineEndpoint) -> None:
        """Copy a part of the calls to the deployments of mirrorTraffic; no reply shows it."""
        shares: Mapping[str, int] = endpoint.document["properties"].get("mirrorTraffic") or {}
        for name, share in sorted(shares.items()):
            deployment = self._online.find_deployment(endpoint.key, name)
            if deployment is not None and self._router.random() * 100 < share:
                self._mirrored[deployment.key] += 1
                self.logs.add(deployment, self._clock(), "POST /score 200 (mirrored)")

    def _acquire(self, call: Call, deployment: OnlineDeployment) -> None:
        """Count a call until its reply is sent; refuse it if too many calls run (documented)."""
        settings = (deployment.serving or {}).get("requestSettings") or {}
        each = settings.get("maxConcurrentRequestsPerInstance") or 1
        instances = (deployment.document.get("sku") or {}).get("capacity") or 1
        key = deployment.key
        if self._running[key] >= 2 * each * instances:
            raise _refuse(429, "TooManyRequests", "Too many requests run at once.")
        self._running[key] += 1
        call.closing.callback(self._release, key)

    def _release(self, key: tuple[str, ...]) -> None:
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]

    async def _run(self, call: Call, deployment: OnlineDeployment) -> Json:
        """Return what the script answers, after the defects of the instances had their effect."""
        defect = self._defects.get(deployment.served_by)
        do = defect.do if defect else ""
        if defect and do == "warm-up" and self._clock() < deployment.modified + defect.seconds:
            raise _refuse_container(deployment, 502, "The container does not answer yet.")
        if defect and do == "slow-script":
            await self._wait(deployment, defect.seconds)
        if do == "failed-script":
            raise answers.ScriptFailed(_complain(deployment))
        try:
            body = call.document()
        except Refusal as refusal:
            raise answers.ScriptFailed("JSONDecodeError: the body is not JSON") from refusal
        found = answers.answer_rows(body, await self._load(deployment))
        return [one + 1.0 for one in found] if do == "wrong-answers" else found

    async def _wait(self, deployment: OnlineDeployment, seconds: float) -> None:
        """Wait as long as the script works; refuse the call at the end of its time."""
        settings = (deployment.serving or {}).get("requestSettings") or {}
        most = _read_duration(settings.get("requestTimeout"))
        await asyncio.sleep(min(seconds, most))
        if seconds > most:
            text = f"The deployment did not answer within {most:g} s."
            raise _refuse(408, "RequestTimeout", text, deployment)

    async def _load(self, deployment: OnlineDeployment) -> LoadedModel:
        """Return the model with its bytes as they were when this deployment first scored.

        A model that is not registered, or whose bytes are not in blob storage, answers by its id.
        """
        serving = deployment.serving or {}
        model = str(serving.get("model") or serving.get("environmentId") or "")
        key = (deployment.served_by, model)
        if key not in self._loaded:
            version = self._assets.find(model)
            address = self._assets.locate(version) if version else ""
            data = await self._storage.fetch(sign(address)) if address else None
            if len(self._loaded) >= _MOST_LOADED:
                self._loaded.clear()
            by_id = model.casefold().encode("utf-8", "surrogateescape")
            self._loaded[key] = LoadedModel.of(by_id if data is None else data)
        return self._loaded[key]


def _read_duration(text: Json) -> float:
    """Return the seconds of an ISO 8601 duration; the longest that is allowed for another text."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return _LONGEST_S
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return min(_LONGEST_S, hours * 3600 + minutes * 60 + seconds)


def _reply(body: Json, headers: Mapping[str, str]) -> Answer:
    return Answer(200, None, {**headers}, render_compact(body), media=_MEDIA)


def _refuse(
    status: int, code: str, message: str, deployment: OnlineDeployment | None = None
) -> Refusal:
    """Return an error of the front; its statuses are documented, its body is not known."""
    named = {HEADER: deployment.name} if deployment else {}
    return Refusal(status, code, message, headers=named)


def _refuse_container(deployment: OnlineDeployment, status: int, message: str) -> Refusal:
    """Return the 424 of a container that answered `status` (documented)."""
    refusal = _refuse(424, "FailedDependency", message, deployment)
    reason = "Internal Server Error" if status == 500 else "Bad Gateway"
    refusal.headers |= {
        "ms-azureml-model-error-statuscode": str(status),
        "ms-azureml-model-error-reason": reason,
        _FAILED: "True",
    }
    return refusal


def _complain(deployment: OnlineDeployment) -> str:
    """Return what a script without a package says. Like many, it prints its environment too."""
    variables: Mapping[str, str] = (deployment.serving or {}).get("environmentVariables") or {}
    found = ", ".join(f"{name}={value}" for name, value in sorted(variables.items()))
    return f"ModuleNotFoundError: No module named 'sklearn' (environment: {found})"


def _describe(endpoint: OnlineEndpoint) -> Json:
    """Return the description that the server of a scoring script makes."""
    answer = {"200": {"description": "The answers, one for each row", "schema": {"type": "array"}}}
    scored = {
        "operationId": "RunMLService",
        "description": "Run web service's model and get the prediction output",
        "security": [{"Bearer": []}],
        "parameters": [{"name": "serviceInputPayload", "in": "body", "schema": {"type": "object"}}],
        "responses": answer,
    }
    bearer = {"type": "apiKey", "name": "Authorization", "in": "header"}
    return {
        "swagger": "2.0",
        "info": {"title": endpoint.name, "version": "1.0"},
        "schemes": ["https"],
        "consumes": [_MEDIA],
        "produces": [_MEDIA],
        "securityDefinitions": {"Bearer": bearer},
        "paths": {"/score": {"post": scored}},
    }
