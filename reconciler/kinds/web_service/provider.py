"""The calls of a New web service: Resource Manager's URLs and verbs, api-version 2017-01-01.

An update is a PATCH. A PATCH merges at the top level of `properties` and inside `keys` (recorded).
It is not known whether a PATCH merges inside `assets`, so each part that changes is sent whole. A
removal is sent as a PUT, which replaces the whole definition (documented). The engine calls this
module.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from reconciler.document.normalize import (
    find_secrets,
    normalize,
)
from reconciler.document.pointers import find
from reconciler.document.schema import Field
from reconciler.errors import ReconcilerError, Rejected, ServiceError, Unavailable
from reconciler.kinds.ids import quote_path
from reconciler.kinds.web_service.bodies import make_definition, make_patch
from reconciler.kinds.web_service.regions import is_copy
from reconciler.kinds.web_service.requirements import ASSOCIATIONS, COMMITMENT_PLAN, PLAN_ID
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    CloneSource,
    Json,
    Live,
    Path,
    Resource,
    SecretReference,
    ServiceTiming,
    Step,
    Summary,
)
from reconciler.ports import Access, ResolveSecret
from reconciler.text.times import parse_utc
from reconciler.transport import (
    READS,
    WRITES,
    Client,
    Reply,
    check_complete,
    clean,
    count_polls,
    finish_operation,
    is_loopback,
    read_date,
    wait_until_idle,
)

if TYPE_CHECKING:  # start-up: only retrain and verify need them
    from reconciler.kinds.batch import BatchService
    from reconciler.kinds.data_plane import DataPlane
    from reconciler.kinds.scoring import ScoringService

_VERSION: Final = "?api-version=2017-01-01"
# Recorded operations took 5 to 15 s (azure-powershell and azure-sdk-for-net sessions, 2017). The
# emulator's operations take 0.2 s by default.
_RECORDED: Final = ServiceTiming(15.0, count_polls(15.0), *READS, *WRITES)
_LOCAL: Final = ServiceTiming(0.5, count_polls(0.2), *READS, *WRITES)
_LAG: Final = timedelta(seconds=10)
_ID: Final = re.compile(r"/[^\x00-\x1f\x7f-\x9f?#]{1,2000}")
_TYPE: Final = "microsoft.machinelearning/webservices"
_BELOW: Final = f"/providers/{_TYPE}/"
_LONGEST_STAMP: Final = 64
_ABSENT: Final = frozenset({"WebServiceNotFound"})


class WebServiceProvider:
    """Reads and writes web services. Safe to use from several threads."""

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
        self._access = access
        self._field = field
        self._redact = access.redaction.redact_document
        self._deadline_s = access.deadline_s

    def scan(self, scope: str, _token: SecretReference | None = None) -> Iterator[Summary]:
        """Yield the services of a resource group or subscription.

        Items of a list are sparse, and some may be of failed services.
        """
        path = f"{_quote(scope)}/providers/Microsoft.MachineLearning/webServices{_VERSION}"
        seen: set[str] = set()
        for item in self._client.pages(path):
            stamp, idle = _read_stamp(item)
            found = _read_id(item, scope)
            if found.casefold() in seen:
                raise _foreign(f"the service lists {clean(found)} twice")
            seen.add(found.casefold())
            yield Summary(found, stamp, idle)

    def list_names(self, scope: str, token: SecretReference | None) -> Iterator[tuple[str, str]]:
        """Yield the resource group and the name of each web service of a subscription."""
        for item in self.scan(scope, token):
            _, _, _, _, group, *_, name = item.id.rstrip("/").split("/")
            yield group, name

    def read(self, resource: Resource) -> Live | Absent:
        """Return the definition now; ABSENT only if Resource Manager reports no such service."""
        try:
            got = self._get(resource.id, _VERSION, _ABSENT)
        except ServiceError as error:
            raise _name(error, resource) from error
        if isinstance(got, Absent):
            return ABSENT
        document, reply = got
        stamp, idle = _read_stamp(document)
        settled = idle and _is_past(stamp, read_date(reply.headers))
        return Live(document, reply.raw, datetime.now(UTC), stamp, settled)

    def open_jobs(self, resource: Resource) -> BatchService:
        """Return the batch execution of a service."""
        return self._open(resource).jobs

    def open_scorer(self, resource: Resource, within_s: float | None = None) -> ScoringService:
        """Return the scoring of a service."""
        return self._open(resource, within_s).scorer

    def _open(self, resource: Resource, within_s: float | None = None) -> DataPlane:
        """Return the calls of a service with its primary key, which listKeys shows."""
        from reconciler.kinds.data_plane import (  # noqa: PLC0415 - start-up: few commands need it
            find_ports,
            miss,
            open_data_plane,
        )

        got = self._get(resource.id, _VERSION, _ABSENT)
        if isinstance(got, Absent):
            raise miss(resource)
        properties = got[0]["properties"]
        keys = self._client.send("GET", f"{_quote(resource.id)}/listKeys{_VERSION}").raw
        key = keys.get("primary") if isinstance(keys, dict) else None
        location = properties.get("swaggerLocation")
        made = open_data_plane(self._access, location, key, resource, within_s)
        inputs, outputs = (find_ports(properties, side) for side in ("input", "output"))
        return replace(made, inputs=inputs, outputs=outputs)

    def _get(
        self, resource_id: str, tail: str, absent: Collection[str]
    ) -> tuple[Json, Reply] | Absent:
        """Return a normalized definition and its reply; `absent` are the error codes for ABSENT.

        `tail` continues the address after the id.
        A missing resource group is a 404 too. It does not prove that the service is absent.
        """
        try:
            reply = self._client.send("GET", _quote(resource_id) + tail)
        except ServiceError as error:
            if error.status == 404 and error.code in absent:
                return ABSENT
            raise
        check_complete(reply)
        document = normalize(self._field, reply.document)
        known = isinstance(document, dict) and "id" in document
        if not known or not isinstance(document.get("properties"), dict):
            raise Unavailable("the service did not return a definition")
        if not _is_about(document, resource_id):
            said = clean(str(document["id"]))
            raise _foreign(f"the service answers with the definition of another service, {said}")
        return document, reply

    def has_copy(self, source: CloneSource) -> bool:
        """Return whether the region has a copy of the definition as it is now."""
        live = self._read_definition(source, _VERSION, _ABSENT)
        copied = self._read_copy(source)
        return live is not ABSENT and is_copy(self._field, copied, live)

    def confirms(self, resource: Resource, path: Path, value: Json, /) -> bool:
        """Return whether a commitment plan has an association with the resource.

        The plan's own list is the only place that shows the plan of a service (documented).
        """
        if path != COMMITMENT_PLAN or not isinstance(value, str) or not PLAN_ID.fullmatch(value):
            return False
        wanted = resource.id.casefold().rstrip("/")
        return any(
            str(find(item, ("properties", "associatedResourceId"))).casefold().rstrip("/") == wanted
            for item in self._client.pages(_quote(value.rstrip("/")) + ASSOCIATIONS)
        )

    def write(self, step: Step, live: Live | Absent, resolve: ResolveSecret) -> Iterator[None]:
        """Send the step's verb and poll its operation; a replacement is a DELETE, then a PUT.

        The body of the PUT is complete before the DELETE is sent.
        """
        try:
            if step.body == "parts" and live is not ABSENT:
                body = make_patch(self._field, step, live, self._redact, resolve)
                yield from self._call("PATCH", step.resource, body)
                return
            whole = None
            if step.body == "whole":
                copied = yield from self._fetch_copy(step.source)
                whole = make_definition(self._field, step, live, copied, self._redact, resolve)
            if step.action in {Action.DELETE, Action.REPLACE}:
                yield from self._call("DELETE", step.resource, None)
            if whole is not None:
                yield from self._call("PUT", step.resource, whole)
        except ReconcilerError as error:
            raise _name(error, step.resource) from error

    def wait_until_idle(self, resource: Resource) -> Iterator[None]:
        """Poll the resource until no operation runs on it; a deleted resource counts as idle."""
        try:
            yield from wait_until_idle(self._client, _url(resource), deadline_s=self._deadline_s)
        except ReconcilerError as error:
            raise _name(error, resource) from error

    def _fetch_copy(self, source: CloneSource | None) -> Generator[None, None, Json | Absent]:
        """Return the definition sealed for a region; the service makes it if it is missing."""
        if source is None or not source.region:
            return ABSENT
        if not self.has_copy(source):
            url = _quote(source.id) + _VERSION
            made = f"{_quote(source.id)}/CreateRegionalBlob{_of_region(source)}"
            yield from self._finish("POST", made, url)
        copied = self._read_copy(source)
        if copied is ABSENT:
            raise Unavailable(
                f"the service did not make a copy of {source.name} for {source.region}",
                next_step="Plan again later.",
            )
        return copied

    def _read_copy(self, source: CloneSource) -> Json | Absent:
        absent = {*_ABSENT, "PerRegionPayloadNotFound"}
        return self._read_definition(source, _of_region(source), absent)

    def _read_definition(
        self, source: CloneSource, tail: str, absent: Collection[str]
    ) -> Json | Absent:
        got = self._get(source.id, tail, absent)
        return ABSENT if isinstance(got, Absent) else got[0]

    def _call(self, method: str, resource: Resource, body: Json) -> Iterator[None]:
        try:
            yield from self._finish(method, _url(resource), _url(resource), body)
        except ServiceError as error:
            if error.status != 404 or error.code not in _ABSENT or method == "PUT":
                raise
            # A deleted resource needs no DELETE (recorded: 204). A PATCH needs the resource.
            if method == "PATCH":
                raise _gone(error) from error

    def _finish(self, method: str, url: str, of: str, body: Json = None) -> Iterator[None]:
        """Send a write and wait until its operation on the resource at `of` has ended."""
        # The service may return what it received: in an error, or in the definition.
        self._client.redaction.know(*find_secrets(self._field, body))
        reply = self._client.send(method, url, body)
        yield
        yield from finish_operation(self._client, reply, of, deadline_s=self._deadline_s)


def _read_id(item: Json, scope: str) -> str:
    """Return the id of an item of a scope's list; raises Unavailable without such an id.

    A list must be complete, so no item is left out.
    """
    found = item.get("id") if isinstance(item, dict) else None
    if not isinstance(found, str) or not _ID.fullmatch(found):
        raise Unavailable("the service returned a list item without an id", status=200)
    listed = found.casefold()
    inside = listed.startswith(f"{scope.casefold()}/") and _BELOW in listed
    if not inside or not _is_about(item, found):
        raise _foreign(f"the service lists what is not a web service of {scope}: {clean(found)}")
    return found


def _is_about(document: Json, resource_id: str) -> bool:
    """Return whether a definition has this id; its name and its type must agree, if it has them."""
    wanted = resource_id.casefold().rstrip("/")
    expected = {"id": wanted, "name": wanted.rpartition("/")[2], "type": _TYPE}
    return all(
        isinstance(said, str) and said.casefold().rstrip("/") == expected[name]
        for name in expected
        if (said := document.get(name)) is not None
    )


def _foreign(message: str) -> Unavailable:
    return Unavailable(
        message,
        status=200,
        next_step="Nothing is concluded from it. Check what answers at spec.cloud's address.",
    )


def _read_stamp(item: Json) -> tuple[str, bool]:
    """Return when a definition last changed, and whether no operation runs (recorded states)."""
    properties = item.get("properties") if isinstance(item, dict) else None
    if not isinstance(properties, dict):
        return "", False
    state, stamp = properties.get("provisioningState"), properties.get("modifiedOn")
    idle = isinstance(state, str) and state in {"Succeeded", "Failed"}
    known = isinstance(stamp, str) and len(stamp) <= _LONGEST_STAMP and stamp.isascii()
    return str(stamp) if known else "", idle


def _is_past(stamp: str, now: datetime | None) -> bool:
    """Return whether a change is so old that a read shows it: reads were observed to lag.

    `now` is the time of the service in the same reply; without it, no change counts as old.
    """
    try:
        return now is not None and now - parse_utc(stamp) >= _LAG
    except ValueError:
        return False


def _url(resource: Resource) -> str:
    return _quote(resource.id) + _VERSION


def _of_region(source: CloneSource) -> str:
    return f"{_VERSION}&region={quote(source.region, safe='')}"


def _quote(path: str) -> str:
    return quote_path(path, "Resource Manager id")


def _gone(error: ServiceError) -> Rejected:
    """Return the error for a resource that was deleted between the read and the write."""
    return Rejected(
        f"it was deleted after it was read: {error.message}",
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        next_step="Plan again.",
    )


def _name(error: ReconcilerError, resource: Resource) -> ReconcilerError:
    """Set the subject of an error; explain a 404 that does not mean a missing service."""
    error.subject = error.subject or str(resource.address)
    if isinstance(error, ServiceError) and error.status == 404 and not error.next_step:
        scope = resource.id.partition("/providers/")[0]
        error.next_step = f"Check the subscription and resource group: {scope}"
    return error
