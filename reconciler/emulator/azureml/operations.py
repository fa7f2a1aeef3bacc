"""Long-running operations: a write begins one, and it takes effect when it is due.

Nothing runs in the background. The next call that reads a resource applies what is due, so that a
restart has no effect. One operation runs on an endpoint or on one of its deployments at a time.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from reconciler.emulator.azureml import signatures
from reconciler.emulator.azureml.replies import refuse_absent, refuse_online
from reconciler.emulator.azureml.state import (
    EndpointKey,
    OnlineDeployment,
    OnlineEndpoint,
    OnlineOperation,
    OnlineState,
)
from reconciler.emulator.azureml.views import (
    RESULTS,
    STATUS,
    Reader,
    locate_operation,
    show_operation,
)
from reconciler.emulator.replies import Answer
from reconciler.emulator.requests import Call
from reconciler.emulator.switches import Choices

Json = Any
Target = OnlineEndpoint | OnlineDeployment
LINK: Final = "Azure-AsyncOperation"
_NO_BEFORE: Final = (None, 0.0)
# How long an operation runs, in units of the emulator's operation. Recorded, in seconds: traffic
# 20 to 70, an endpoint 15 to 90, a deployment 551, a new instance count 320.
_DURATIONS: Final = {"deployment": 3.0, "Scaling": 2.0}


class OnlineOperations:
    """Begins operations, applies them, and describes their status. Use it from one thread only."""

    def __init__(
        self, state: OnlineState, choices: Choices, clock: Callable[[], float], seconds: float
    ) -> None:
        self.state = state
        self.choices = choices
        self._clock = clock
        self._seconds = seconds
        # What was before the last write of a resource, and when that write ended (inf: it runs).
        self.befores: dict[tuple[str, ...], tuple[Target | None, float]] = {}

    def now(self) -> float:
        """Return the seconds since 1970."""
        return self._clock()

    def begin(
        self,
        endpoint: OnlineEndpoint,
        deployment: OnlineDeployment | None,
        verb: str,
        word: str,
        outcome: Mapping[str, Json] | None,
        *,
        stamps: bool = True,
    ) -> OnlineOperation:
        """Begin an operation on an endpoint, or on its `deployment`.

        `word` is the state meanwhile; at the end the record gets the fields of `outcome`. Without
        `stamps`, GET goes on to name the operation before.
        """
        target = deployment or endpoint
        kind = "deployment" if deployment else "endpoint"
        duration = _DURATIONS.get(word, 1.0 if verb == "DELETE" else _DURATIONS.get(kind, 1.0))
        now = self._clock()
        operation = OnlineOperation(
            id=self._make_id("odidp" if deployment else "oeidp", endpoint),
            workspace=endpoint.workspace,
            region=endpoint.region,
            endpoint=endpoint.key,
            deployment=deployment.name if deployment else "",
            verb=verb,
            started=now,
            ends=now + self._seconds * duration,
            outcome=dict(outcome) if outcome is not None else None,
            before=target.state,
        )
        before = copy.deepcopy(target) if target.exists else None
        self.befores[target.key] = (before, math.inf)
        target.state, target.modified = word, now
        if stamps:
            target.stamp = operation.id
        endpoint.operation = operation.id
        self.state.keep(*_list_distinct(endpoint, target), operation)
        return operation

    def _make_id(self, kind: str, endpoint: OnlineEndpoint) -> str:
        return f"{kind}:{endpoint.workspace.id}:{self.state.random_source.guid()}"

    def finish_due(self, key: EndpointKey) -> OnlineEndpoint | None:
        """Return the endpoint of a key after its due operation is applied; None if it is missing.

        It may be one that is being created.
        """
        running = self.get_running(key)
        if running is not None:
            self._finish(running)
        return self.state.endpoints.get(key)

    def get_running(self, key: EndpointKey) -> OnlineOperation | None:
        """Return the operation that runs on an endpoint or on one of its deployments, or None."""
        endpoint = self.state.endpoints.get(key)
        return self.state.operations.get(endpoint.operation) if endpoint else None

    def announce(
        self, operation: OnlineOperation, reader: Reader, resource: str = ""
    ) -> dict[str, str]:
        """Return the headers with the addresses of an operation.

        `Location` is the `resource` after a PUT, and the results of the operation without one.
        """
        headers = {
            LINK: self._write_link(operation, reader, STATUS),
            "Location": f"{reader.origin}{resource}?api-version={reader.version}",
            "x-ms-async-operation-timeout": "PT30M",
        }
        if not resource:
            headers["Location"] = self._write_link(operation, reader, RESULTS)
        return headers

    def describe_status(self, call: Call, reader: Reader, operation_id: str) -> Answer:
        """Return the status of an operation; refuse an address that was changed."""
        operation = self._find(call, reader, operation_id, STATUS)
        return Answer(200, show_operation(operation, STATUS, self.choices))

    def describe_results(self, call: Call, reader: Reader, operation_id: str) -> Answer:
        """Return the status document after the end (recorded for a PATCH), and 202 before it."""
        operation = self._find(call, reader, operation_id, RESULTS)
        if not operation.done:
            return Answer(202, None, {"Location": self._write_link(operation, reader, RESULTS)})
        reading = self.choices["online-delete-results"] if operation.verb == "DELETE" else "200"
        if reading == "404":
            raise refuse_absent("NoSuchResource", "The resource was deleted.")
        shown = show_operation(operation, RESULTS, self.choices)
        return Answer(int(reading), shown if reading == "200" else None)

    def find_by_link(self, link: str) -> OnlineOperation | None:
        """Return the operation of the header that announced it."""
        return self.state.operations.get(link.partition("?")[0].rpartition("/")[2])

    def find_target(self, operation: OnlineOperation) -> Target | None:
        """Return the endpoint or the deployment of an operation; None if it is missing."""
        if operation.deployment:
            return self.state.find_deployment(operation.endpoint, operation.deployment)
        return self.state.endpoints.get(operation.endpoint)

    def _find(self, call: Call, reader: Reader, operation_id: str, word: str) -> OnlineOperation:
        operation = self.state.operations.get(operation_id)
        if operation is None:
            message = f"The operation {operation_id[:120]} was not found."
            raise refuse_absent("NoSuchOperation", message)
        self._check_signature(call, reader, operation, word)
        self._finish(operation)
        return operation

    def _check_signature(
        self, call: Call, reader: Reader, operation: OnlineOperation, word: str
    ) -> None:
        query = call.target.partition("?")[2]
        if not signatures.is_signed(query):
            if self.choices["online-unsigned-operation"] == "answer":
                return
            message = "The address of the operation has no signature."
            raise refuse_online(403, "AuthorizationFailed", message)
        path = self._locate(operation, word)
        secret = self.state.get_secret()
        given = call.target.partition("?")[0].casefold() == path.casefold()
        if not given or not signatures.is_valid(
            secret, path, reader.version, operation.started, query
        ):
            message = "The signature in the address of the operation is not valid."
            raise refuse_online(403, "AuthorizationFailed", message)

    def _write_link(self, operation: OnlineOperation, reader: Reader, word: str) -> str:
        path = self._locate(operation, word)
        secret = self.state.get_secret()
        query = signatures.sign(secret, path, reader.version, operation.started)
        return f"{reader.origin}{path}?{query}"

    def _locate(self, operation: OnlineOperation, word: str) -> str:
        subscription = operation.workspace.subscription
        return locate_operation(operation.id, subscription, operation.region, word)

    def _finish(self, operation: OnlineOperation) -> None:
        if operation.done or self._clock() < operation.ends:
            return
        outcome, operation.done = operation.outcome or {}, True
        endpoint = self.state.endpoints.get(operation.endpoint)
        target = self.find_target(operation)
        if endpoint is None or target is None or endpoint.operation != operation.id:
            self.state.keep(operation)
            return
        endpoint.operation = ""
        before, _ = self.befores.get(target.key, _NO_BEFORE)
        self.befores[target.key] = (before, operation.ends)
        self._end(operation, endpoint, target, outcome)

    def _end(
        self, operation: OnlineOperation, endpoint: OnlineEndpoint, target: Target, outcome: Json
    ) -> None:
        """Write what an operation leaves."""
        gone: list[Target] = []
        if operation.failure:
            self._end_failed(operation, target, outcome)
        elif operation.void:
            gone = [] if target.exists else [target]
            target.state = operation.before
        elif operation.verb == "DELETE":
            gone = self._end_deleted(endpoint, target)
        else:
            self._end_done(operation, target, outcome)
        lost = {id(one) for one in gone}
        kept = [one for one in _list_distinct(endpoint, target) if id(one) not in lost]
        self.state.keep(*kept, operation, gone=gone)

    def _end_done(self, operation: OnlineOperation, target: Target, outcome: Json) -> None:
        if isinstance(target, OnlineEndpoint):
            target.old_traffic = target.route_traffic(operation.ends)
            target.shown_late = operation.ends + operation.stale_s if operation.stale_s else 0.0
            target.routed_late = math.inf if operation.ignored else target.shown_late
            target.scoring_path = f"/online/{target.workspace.id}/{target.name}"
        for name, value in outcome.items():
            setattr(target, name, value)
        if isinstance(target, OnlineDeployment):
            target.crash = ""
            target.served_by = operation.id if "serving" in outcome else target.served_by
        target.state, target.exists, target.modified = "Succeeded", True, operation.ends

    def _end_failed(self, operation: OnlineOperation, target: Target, outcome: Json) -> None:
        """Write the state after a failure; a resource that was being created exists as failed."""
        if isinstance(target, OnlineDeployment) and operation.crash:
            target.crash = operation.crash
            target.document = outcome.get("document", target.document)
            if self.choices["online-failed-update"] == "nothing":
                target.serving = None
        target.state, target.exists, target.modified = operation.status, True, operation.ends

    def _end_deleted(self, endpoint: OnlineEndpoint, target: Target) -> list[Target]:
        if isinstance(target, OnlineDeployment):
            for shares in ("traffic", "mirrorTraffic"):
                _drop_share(endpoint.document["properties"][shares], target.name)
            return [target]
        if self.choices["online-name-release"] == "free":
            self.state.claim_name(endpoint.region, endpoint.name, None)
        return [*self.state.list_deployments(endpoint.key), endpoint]


def _drop_share(shares: dict[str, int], name: str) -> None:
    for key in [key for key in shares if key.casefold() == name.casefold()]:
        del shares[key]


def _list_distinct(endpoint: OnlineEndpoint, target: Target) -> list[Target]:
    return [endpoint] if target is endpoint else [endpoint, target]
