"""The calls of an online endpoint: Resource Manager's URLs and verbs, api-version 2024-04-01.

A read is the endpoint and the list of its deployments, which shows whole documents (recorded). A
write is one PUT, PATCH or DELETE of one of them; its reply is an echo of the request and not the
state (recorded), so only a read counts. The documents have no ETag: what was read right before is
sent again. The engine calls this module.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from reconciler.document.normalize import find_secrets
from reconciler.document.schema import Field
from reconciler.errors import (
    Busy,
    OperationFailed,
    ReconcilerError,
    Rejected,
    ServiceError,
    ServiceMissing,
    Unavailable,
)
from reconciler.kinds.online_endpoint.bodies import Call, make_call
from reconciler.kinds.online_endpoint.logs import read_last_line
from reconciler.kinds.online_endpoint.models import AssetLookup
from reconciler.kinds.online_endpoint.reading import EndpointReader, quote_id, scope_of, url_of
from reconciler.kinds.online_endpoint.replies import (
    DEPLOYMENTS,
    NO_DEPLOYMENT,
    NO_ENDPOINT,
    explain,
    find_cancellation,
    is_absence,
)
from reconciler.kinds.online_endpoint.scoring import VERSION
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Check,
    Finding,
    Live,
    Manifest,
    Resource,
    SecretReference,
    SeparateLimit,
    ServiceTiming,
    Step,
    Summary,
)
from reconciler.ports import Access, ResolveSecret
from reconciler.transport import (
    READS,
    WRITES,
    Client,
    Reply,
    count_polls,
    finish_operation,
    is_loopback,
    wait_while,
)

if TYPE_CHECKING:  # start-up: only verify and retrain need them
    from reconciler.kinds.online_endpoint.rows import OnlineScorer
    from reconciler.plans.proof import Serving

# Recorded: an endpoint 15 to 90 s, traffic 20 to 70 s, a deployment 320 to 551 s. After a success
# a reader has seen the old traffic (azure-dev#3881); for how long is not known.
_RECORDED: Final = ServiceTiming(180.0, count_polls(180.0), *READS, *WRITES, lag_s=30.0)
# The emulator's operations take 0.2 s by default.
_LOCAL: Final = ServiceTiming(0.5, count_polls(0.2), *READS, *WRITES, lag_s=1.0)
# A PUT of a deployment has its own count, of 25 (recorded). How fast it grows again is not known:
# this takes a minute.
_DEPLOYMENT_PUTS: Final = SeparateLimit(
    "x-ms-ratelimit-remaining-subscription-resource-requests", "deployment writes", 25, 25 / 60
)
_LOOKS_S: Final = 2.0
_MOST_DOUBLED: Final = 6


class OnlineEndpointProvider:
    """Reads and writes online endpoints. Safe to use from several threads."""

    def __init__(self, access: Access, field: Field) -> None:
        base = access.find_url("resourceManager")
        self.timing = _LOCAL if is_loopback(base) else _RECORDED
        self._client = Client(
            base,
            access.emit,
            access.rate_limiter,
            redaction=access.redaction,
            local_token=access.cloud.token,
        )
        self._access, self._field = access, field
        self._lock = threading.Lock()
        self._reader = EndpointReader(self._client)
        # How many times in a row an endpoint has refused a write as busy.
        self._refusals: dict[str, int] = {}
        self._locations: dict[str, str] = {}
        self._assets = AssetLookup(self._client)

    def scan(self, scope: str, _token: SecretReference | None = None) -> Iterator[Summary]:
        """Yield the endpoints of a workspace.

        No stamp: what a list of endpoints shows does not change with their deployments.
        """
        for raw in self._reader.list_endpoints(scope):
            yield Summary(raw["id"], "", idle=False)

    def read_many(self, resources: Sequence[Resource]) -> Mapping[Resource, Live]:
        """List the endpoints of a workspace for the reads that follow; returns no document.

        Each read then needs one call, the list of the deployments, and the reads run in parallel.
        """
        with suppress(ServiceError):
            self._reader.remember(resources, scope_of(resources[0]))
        return {}

    def read(self, resource: Resource) -> Live | Absent:
        """Return the endpoint with its deployments; ABSENT only if the service says so of it.

        A missing workspace or resource group is a 404 too, and is not an absence.
        """
        try:
            shown = self._reader.read(resource)
            if shown is None:
                return ABSENT
            document = shown.make_document(self._field, scope_of(resource), self._access.redaction)
        except ServiceError as error:
            raise explain(error, resource) from error
        idle = not shown.running
        return Live(document, shown.raw, datetime.now(UTC), shown.stamp, idle)

    def write(self, step: Step, live: Live | Absent, resolve: ResolveSecret) -> Iterator[None]:
        """Send the one call of a step and follow its operation; a replacement is two calls.

        Raises Busy if an operation runs on the endpoint or on any of its deployments: it accepts
        one at a time.
        """
        resource = step.resource
        try:
            call = make_call(
                self._field,
                step,
                live,
                self._access.redaction.redact_document,
                resolve,
                lambda: self._find_location(scope_of(resource)),
            )
        except ReconcilerError as error:
            raise explain(error, resource) from error
        if step.action is Action.REPLACE:
            yield from self._send(resource, Call("DELETE"))
        yield from self._send(resource, call)

    def wait_until_idle(self, resource: Resource) -> Iterator[None]:
        """Wait until the endpoint and all its deployments have settled, as their states show it.

        An endpoint that shows no operation can refuse a write as busy (azure-sdk-for-net#36961).
        Then this waits too, longer after each refusal.
        """

        def look() -> tuple[Reply, str] | None:
            reply = self._reader.get(resource)
            shown = None if reply is None else self._reader.join(resource, reply.raw)
            return None if reply is None or shown is None else (reply, shown.running)

        try:
            yield from wait_while(self._client, look, deadline_s=self._access.deadline_s)
        except ReconcilerError as error:
            raise explain(error, resource) from error
        yield from self._rest(resource)

    def check_write(
        self, resource: Resource, check: Check, manifest: Manifest | None
    ) -> Iterator[str]:
        """Make one check of a write by scoring calls.

        A deployment that the service has mounted another model in is not asked at all.
        """
        from reconciler.kinds.online_endpoint.probes import (  # noqa: PLC0415 - few commands probe
            EndpointProbes,
        )
        from reconciler.kinds.online_endpoint.serving import (  # noqa: PLC0415 - as above
            check_directory,
        )

        if check.settings.get("sort") == "probe":
            live = self._read_existing(resource)
            check_directory(resource, live.document, check.settings["deployment"])
        yield from EndpointProbes(self._access, self._client).check_write(resource, check, manifest)

    def show_serving(self, resource: Resource, manifest: Manifest) -> Serving:
        """Return what each deployment serves, by its document and by its answers."""
        from reconciler.kinds.online_endpoint.probes import (  # noqa: PLC0415 - as in check_write
            EndpointProbes,
        )
        from reconciler.kinds.online_endpoint.serving import (  # noqa: PLC0415 - only for verify
            show_serving,
        )

        live = self._read_existing(resource)
        probes = EndpointProbes(self._access, self._client)
        return show_serving(probes, resource, live.document, manifest)

    def open_scorer(self, resource: Resource, within_s: float | None = None) -> OnlineScorer:
        """Return the scoring of the deployment with the most traffic."""
        from reconciler.kinds.online_endpoint.rows import (  # noqa: PLC0415 - start-up: only retrain needs it
            OnlineScorer,
            choose_deployment,
        )
        from reconciler.kinds.online_endpoint.scoring import (  # noqa: PLC0415 - as above
            OnlineScoring,
        )

        live = self._read_existing(resource)
        deployment = choose_deployment(live.document, str(resource.address))
        patient_s = self._client.timeouts.throttled_s if within_s is None else within_s
        scoring = OnlineScoring(self._access, self._client, resource, patient_s)
        return OnlineScorer(scoring, deployment)

    def _read_existing(self, resource: Resource) -> Live:
        """Return the endpoint; raises ServiceMissing if it does not exist."""
        live = self.read(resource)
        if live is ABSENT:
            subject, step = str(resource.address), "Create it with: apply"
            raise ServiceMissing("does not exist", subject=subject, next_step=step)
        return live

    def register_model(
        self, resource: Resource, model: str, uri: str, digest: str, tags: Mapping[str, str]
    ) -> str:
        """Return the version of a model that has these bytes; register the blob if none has."""
        from reconciler.kinds.online_endpoint.registration import (  # noqa: PLC0415 - start-up: only retrain needs it
            register_version,
        )

        known = {**tags, "sha256": digest.removeprefix("sha256:")}
        return register_version(self._client, quote_id(scope_of(resource)), model, uri, known)

    def check_references(self, manifest: Manifest, step: Step) -> Iterator[Finding]:
        """Yield what a step refers to and the workspace or the registry does not have."""
        return self._assets.check_references(manifest, step)

    def locate_model(self, resource: Resource, uri: str) -> str | Absent:
        """Return the address of the blob behind the id of a model; "" if it is not known."""
        return self._assets.locate_model(resource, uri)

    def _find_location(self, scope: str) -> str:
        """Return the region of a workspace, which a PUT of a new endpoint must name."""
        with self._lock:
            known = self._locations.get(scope)
        if known is not None:
            return known
        raw = self._client.send("GET", quote_id(scope) + VERSION).raw
        location = raw.get("location") if isinstance(raw, dict) else None
        if not isinstance(location, str) or not location:
            raise Unavailable(
                "the service does not show the location of the workspace", status=200,
                next_step=f"Check the workspace: {scope}",
            )  # fmt: skip
        with self._lock:
            self._locations[scope] = location
        return location

    def _send(self, resource: Resource, call: Call) -> Iterator[None]:
        """Send a call and wait until its operation has ended."""
        try:
            yield from self._follow(resource, call)
        except ReconcilerError as error:
            named = explain(error, resource, call.deployment)
            if isinstance(named, Busy):
                self._count_refusal(resource, 1)
            raise named from error
        with self._lock:
            self._refusals.pop(resource.id, None)

    def _follow(self, resource: Resource, call: Call) -> Iterator[None]:
        # The service may return what it received: in an error, or in the document.
        at = (DEPLOYMENTS, call.deployment) if call.deployment else ()
        self._client.redaction.know(*find_secrets(self._field.at(at), call.body))
        url = url_of(resource, f"/{DEPLOYMENTS}/{call.deployment}" if call.deployment else "")
        if call.creates and call.deployment:
            self._reader.check_absent(resource, call.deployment)
        apart = _DEPLOYMENT_PUTS if call.deployment and call.method == "PUT" else None
        try:
            reply = self._client.send(call.method, url, call.body, apart=apart)
        except ServiceError as error:
            gone = is_absence(error, NO_ENDPOINT, NO_DEPLOYMENT)
            if gone and call.method == "DELETE":
                return
            raise (_gone(error) if gone else error) from error
        yield
        try:
            yield from finish_operation(
                self._client, reply, url, deadline_s=self._access.deadline_s
            )
        except OperationFailed as error:
            raise self._judge_failure(resource, call, error) from error

    def _judge_failure(
        self, resource: Resource, call: Call, error: OperationFailed
    ) -> ServiceError:
        """Return the error of an operation that failed, with what the container's log says."""
        canceled = find_cancellation(error)
        if canceled is not None:
            self._count_refusal(resource, _MOST_DOUBLED)
            return canceled
        if call.deployment and call.method != "DELETE":
            line = read_last_line(self._client, f"{resource.id}/{DEPLOYMENTS}/{call.deployment}")
            said = error.message.rstrip(".")
            error.message = f"{said}. Its log says: {line}" if line else error.message
        return error

    def _count_refusal(self, resource: Resource, more: int) -> None:
        with self._lock:
            known = self._refusals.get(resource.id, 0)
            self._refusals[resource.id] = min(known + more, _MOST_DOUBLED)

    def _rest(self, resource: Resource) -> Iterator[None]:
        """Wait after a refusal as busy, so that the next write is not refused too."""
        with self._lock:
            refusals = self._refusals.get(resource.id, 0)
        lag_s = self.timing.lag_s
        left = min(lag_s / 4 * 2**refusals, 2 * lag_s) if refusals else 0.0
        while left > 0:
            pause = min(left, _LOOKS_S)
            self._client.sleep(pause)
            left -= pause
            yield


def _gone(error: ServiceError) -> Rejected:
    """Return the error for what was deleted between the read and the write."""
    return Rejected(
        f"it was deleted after it was read: {error.message}",
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        next_step="Plan again.",
    )
