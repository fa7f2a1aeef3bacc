"""Reads online endpoints: lists of a workspace, and an endpoint with the list of its deployments.

An absence counts only if the service says it of the endpoint itself: a missing workspace is a 404
too. A list may leave out a deployment, so what it lacks is asked for where much depends on it. The
provider calls this module. It sends reads only.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from typing import Final

from reconciler.errors import Contradicted, ServiceError
from reconciler.kinds.ids import quote_path
from reconciler.kinds.online_endpoint.replies import (
    DEPLOYMENTS,
    NO_DEPLOYMENT,
    NO_ENDPOINT,
    Shown,
    is_absence,
    make_foreign,
    read_deployment,
    read_endpoint,
    read_traffic,
)
from reconciler.kinds.online_endpoint.scoring import VERSION
from reconciler.model import Json, Resource
from reconciler.transport import Client, Reply, check_complete, clean

_COLLECTION: Final = "/onlineEndpoints"
# An endpoint that a list has just shown is not read again by the read that follows.
_FRESH_S: Final = 30.0


class EndpointReader:
    """The reads of one provider; `client` is that of Resource Manager. Safe to use from threads."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        # The raw document of an endpoint that a list has shown, and when; each is used once.
        self._listed: dict[str, tuple[Json, float]] = {}

    def remember(self, resources: Collection[Resource], scope: str) -> None:
        """List a workspace, so that the next read of each of these needs no call of its own."""
        wanted = {one.id.casefold() for one in resources}
        shown = list(self.list_endpoints(scope))
        now = self._client.clock()
        with self._lock:
            for raw in shown:
                found = raw["id"].casefold()
                if found in wanted:
                    self._listed[found] = raw, now

    def list_endpoints(self, scope: str) -> Iterator[Json]:
        """Yield the raw document of each endpoint of a workspace; the list must be complete."""
        seen: set[str] = set()
        for page in self._client.read_pages(f"{quote_id(scope)}{_COLLECTION}{VERSION}"):
            for item in page.raw["value"]:
                raw = read_endpoint(item, scope)
                found = raw["id"].casefold().rstrip("/")
                if found in seen:
                    raise make_foreign(f"the service lists {clean(raw['id'])} twice")
                seen.add(found)
                yield raw

    def read(self, resource: Resource) -> Shown | None:
        """Return what the service shows of an endpoint; None if it does not exist."""
        with self._lock:
            raw, listed_at = self._listed.pop(resource.id.casefold(), (None, 0.0))
        if raw is not None and self._client.clock() - listed_at <= _FRESH_S:
            shown = self.join(resource, raw)
            if shown is not None:
                return shown
        reply = self.get(resource)
        if reply is None:
            return None
        shown = self.join(resource, reply.raw)
        if shown is None:
            raise Contradicted(
                "the service shows the endpoint, and answers that it does not exist",
                status=404,
                next_step="Nothing is concluded from it. Plan again.",
            )
        return shown

    def get(self, resource: Resource) -> Reply | None:
        """Return the reply with an endpoint; None if it does not exist."""
        try:
            reply = self._client.send("GET", url_of(resource))
        except ServiceError as error:
            if is_absence(error, NO_ENDPOINT):
                return None
            raise
        check_complete(reply)
        raw = read_endpoint(reply.raw, scope_of(resource))
        if raw["id"].casefold().rstrip("/") != resource.id.casefold():
            raise make_foreign(f"the service answers with another endpoint, {clean(raw['id'])}")
        return reply

    def join(self, resource: Resource, raw: Json) -> Shown | None:
        """Return an endpoint with the list of its deployments; None if it does not exist now.

        A list that lacks a deployment with traffic would have it created again, or its traffic
        taken away. It may only be late, so it is read once more. Raises Contradicted then.
        """
        for last in (False, True):
            shown = self._list_deployments(resource, raw)
            missing = [] if shown is None else [*self._find_missing(resource, shown)]
            if not missing:
                return shown
            if last:
                raise _contradict(missing[0])
        raise AssertionError  # not reached

    def check_absent(self, resource: Resource, name: str) -> None:
        """Raise Contradicted if a deployment exists, which the list of deployments lacked."""
        if self._exists(resource, name):
            raise _contradict(name)

    def _list_deployments(self, resource: Resource, raw: Json) -> Shown | None:
        deployments: dict[str, Json] = {}
        try:
            for page in self._client.read_pages(url_of(resource, f"/{DEPLOYMENTS}")):
                for item in page.raw["value"]:
                    name, one = read_deployment(item, resource.id)
                    if name in deployments:
                        raise make_foreign(f"the service lists the deployment {clean(name)} twice")
                    deployments[name] = one
        except ServiceError as error:
            if is_absence(error, NO_ENDPOINT):
                return None
            raise
        return Shown(read_traffic(raw), deployments)

    def _find_missing(self, resource: Resource, shown: Shown) -> Iterator[str]:
        return (name for name in shown.unlisted if self._exists(resource, name))

    def _exists(self, resource: Resource, name: str) -> bool:
        try:
            self._client.send("GET", url_of(resource, f"/{DEPLOYMENTS}/{name}"))
        except ServiceError as error:
            if is_absence(error, NO_ENDPOINT, NO_DEPLOYMENT):
                return False
            raise
        return True


def _contradict(name: str) -> Contradicted:
    return Contradicted(
        f"the service shows the deployment {clean(name)}, and its list lacks it",
        status=200,
        next_step="Nothing is concluded from it. Plan again.",
    )


def scope_of(resource: Resource) -> str:
    """Return the id of the workspace of an endpoint."""
    return resource.id.rpartition(f"{_COLLECTION}/")[0]


def url_of(resource: Resource, below: str = "") -> str:
    """Return the address of an endpoint, or of what is below it."""
    return quote_id(resource.id + below) + VERSION


def quote_id(path: str) -> str:
    """Return an id as the path of a call."""
    return quote_path(path, "Resource Manager id")
