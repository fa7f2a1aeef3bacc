"""Long-running operations: a write begins them, and they take effect when they are due.

Nothing runs in the background. The next call that reads a resource applies the operations that
are due, so that a restart has no effect. `management` and the server call this module.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from reconciler.emulator.randomness import RandomSource
from reconciler.emulator.replies import Answer, Refusal, write_time
from reconciler.emulator.resource_manager import definitions, regions
from reconciler.emulator.resource_manager.views import PROVIDER, show_whole
from reconciler.emulator.state import Before, Key, Operation, Service, State
from reconciler.emulator.switches import Choices

Json = Any
_LINK: Final = "Azure-AsyncOperation"


class Operations:
    """Begins operations, applies them, and describes their status.

    With `remembers`, it keeps the state before each write for `get_before_last_write`.
    """

    def __init__(
        self,
        state: State,
        random_source: RandomSource,
        choices: Choices,
        clock: Callable[[], float],
        seconds: float,
        *,
        remembers: bool = False,
    ) -> None:
        self._state = state
        self._random_source = random_source
        self._choices = choices
        self._clock = clock
        self._seconds = seconds
        self._remembers = remembers

    def now(self) -> float:
        """Return the seconds since 1970."""
        return self._clock()

    def begin(self, service: Service, verb: str, outcome: Json, failure: Json = None) -> Operation:
        """Begin an operation on a service; at its end the service gets the values of `outcome`."""
        now = self._clock()
        running = self.running(service)
        operation = Operation(
            id=self._random_source.guid(),
            subscription=service.subscription,
            location=regions.short_name(service.location),
            key=service.key,
            verb=verb,
            started=now,
            ends=now + self._seconds,
            outcome=outcome,
            failure=failure,
            before=running.before if running else service.state,
        )
        if not service.exists:
            service.created = service.modified = now
            service.tags, service.location = outcome["tags"], outcome["location"]
        service.state, service.operation = "Provisioning", operation.id
        if running:
            running.superseded = True
        superseded = [running] if running else []
        self._state.keep(service, operation, *superseded, count=self._random_source.count)
        return operation

    def finish_due(self, key: Key) -> Service | None:
        """Return the service of a key after its due operation is applied; None if it is missing."""
        service = self._state.services.get(key)
        if service is not None and service.operation:
            self._finish(self._state.operations[service.operation])
            service = self._state.services.get(key)
        return service

    def get_before_last_write(self, key: Key) -> Before | None:
        """Return what GET showed before the last write, also while that write still runs."""
        service = self.finish_due(key)
        running = self.running(service) if service else None
        if service and running and running.verb != "REGION":
            return self._show_before(service, running, math.inf)
        return self._state.befores.get(key)

    def _show_before(self, service: Service, operation: Operation, ended: float) -> Before:
        if not service.exists:
            return Before(service.key, None, ended)
        idle = replace(service, state=operation.before)
        return Before(service.key, show_whole(idle, None, self._choices), ended)

    def spoil(self, answer: Answer, do: str) -> bool:
        """Change how an answer's operation ends. Returns False if the answer announces none."""
        link = answer.headers.get(_LINK, "").partition("?")[0]
        operation = self._state.operations.get(link.rpartition("/")[2])
        if operation is None:
            return False
        if do == "fail-operation":
            message = "The service ended the operation unexpectedly."
            operation.failure = {"code": "InternalServerError", "message": message}
        elif do == "stuck-operation":
            operation.ends = math.inf
        else:
            operation.void = True
        self._state.keep(operation, count=self._random_source.count)
        return True

    def running(self, service: Service) -> Operation | None:
        """Return the operation that still runs on a service, or None."""
        return self._state.operations.get(service.operation)

    def announce(
        self, operation: Operation, version: str, *, results: bool = False
    ) -> dict[str, str]:
        """Return the headers with the addresses of an operation; the server sets `{origin}`.

        The addresses have the `version` of the caller (recorded for both versions).
        """
        query = f"?api-version={version}"
        headers = {
            _LINK: self._where(operation, "operationsStatus", "{origin}") + query,
            "Azure-AsyncOperationPercentComplete": "0",
        }
        if results:
            headers["Location"] = self._where(operation, "operationresults", "{origin}") + query
        return headers

    def describe_status(self, operation_id: str) -> Answer:
        """Return the status of an operation; recorded clients read `status`, unlike the OpenAPI."""
        operation = self._find(operation_id)
        if operation.told and self._choices["operation-after-end"] == "gone":
            raise _unknown(operation_id)
        body: dict[str, Json] = {
            "id": self._where(operation, "operationsStatus", ""),
            "name": operation.id,
            self._choices["status-field"]: _word(operation),
            "startTime": write_time(operation.started),
        }
        if operation.done:
            body["endTime"] = write_time(operation.ends)
        body["percentComplete"] = self._percent(operation)
        if operation.done and operation.failure:
            body[self._choices["failed-operation"]] = operation.failure
        if operation.done and not operation.told:
            operation.told = True
            self._state.keep(operation, count=self._random_source.count)
        return Answer(200, body)

    def describe_result(self, operation_id: str, version: str) -> Answer:
        """Return 202 while an operation runs; the reply after its end was never recorded."""
        operation = self._find(operation_id)
        if not operation.done:
            where = self._where(operation, "operationresults", "{origin}")
            return Answer(202, None, {"Location": f"{where}?api-version={version}"})
        return Answer(int(self._choices["operation-results"]))

    def _find(self, operation_id: str) -> Operation:
        operation = self._state.operations.get(operation_id.casefold())
        if operation is None:
            raise _unknown(operation_id)
        self._finish(operation)
        return operation

    def _where(self, operation: Operation, word: str, origin: str) -> str:
        subscription, location = (
            quote(part, safe="") for part in (operation.subscription, operation.location)
        )
        scope = f"{origin}/subscriptions/{subscription}/providers/{PROVIDER}"
        return f"{scope}/locations/{location}/{word}/{operation.id}"

    def _percent(self, operation: Operation) -> float:
        """Return a fraction that need not be 1 at the end (recorded: 0.88888888888888884)."""
        if operation.done:
            return 8 / 9 if self._choices["percent-at-end"] == "less" else 1.0
        whole = max(operation.ends - operation.started, 1e-9)
        return max(0.0, (self._clock() - operation.started) / whole)

    def _finish(self, operation: Operation) -> None:
        if operation.done or self._clock() < operation.ends:
            return
        operation.done = True
        service = self._state.services.get(operation.key)
        if service is None or service.operation != operation.id:
            self._state.keep(operation, count=self._random_source.count)
            return
        service.operation = ""
        count = self._random_source.count
        if operation.failure or (operation.void and service.exists):
            _restore(service, operation)
            self._state.keep(service, operation, count=count)
        elif operation.void:
            self._state.keep(operation, count=count, gone=service)
        elif operation.verb == "REGION":
            self._copy_to_region(service, operation)
        else:
            self._carry_out(service, operation)

    def _copy_to_region(self, service: Service, operation: Operation) -> None:
        region = operation.outcome["region"]
        copied = copy.deepcopy(service.properties)
        definitions.seal_parameters(copied, region, self._random_source, self._choices)
        service.regions[regions.short_name(region)] = copied
        service.state, service.modified = "Succeeded", _moment_after(operation)
        self._state.keep(service, operation, count=self._random_source.count)

    def _carry_out(self, service: Service, operation: Operation) -> None:
        kept: list[Operation | Before] = [operation]
        if self._remembers:
            kept.append(self._show_before(service, operation, operation.ends))
        count = self._random_source.count
        if operation.verb == "DELETE":
            self._state.keep(*kept, count=count, gone=service)
            return
        for name, value in operation.outcome.items():
            setattr(service, name, value)
        service.state, service.modified = "Succeeded", _moment_after(operation)
        service.exists = True
        self._state.keep(service, *kept, count=count)


def _restore(service: Service, operation: Operation) -> None:
    """Restore the state of a service; a service that was being created exists as failed."""
    service.state = operation.before if service.exists else "Failed"
    if operation.void or not service.exists:
        service.modified = _moment_after(operation)
    service.exists = True


def _moment_after(operation: Operation) -> float:
    """Return the time for modifiedOn, shortly after the end of the operation (recorded)."""
    return operation.ends + 0.012346


def _word(operation: Operation) -> str:
    if not operation.done:
        return "Provisioning"
    return "Failed" if operation.failure else "Succeeded"


def _unknown(operation_id: str) -> Refusal:
    return Refusal(404, "NotFound", f"The operation {operation_id[:64]} was not found.")
