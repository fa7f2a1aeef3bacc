"""Opens batch execution and scoring of a live service: where its calls go, and with which key.

Both generations have the same calls; the kinds find the address and the key in their own way. A key
goes to the redaction and into the calls, and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from reconciler.errors import ServiceMissing, Unavailable
from reconciler.kinds.batch import BatchService
from reconciler.kinds.scoring import ScoringService
from reconciler.model import Json, Resource
from reconciler.model.values import dataclass
from reconciler.ports import Access
from reconciler.transport import (
    Client,
    check_sendable,
    is_address,
    limit_timeouts,
    read_timeouts,
)

# Each region has a host of its own below this one (published addresses).
_HOSTS: Final = ".services.azureml.net"
_SWAGGER: Final = "/swagger.json"
_USUAL_PORT: Final = "input1"


@dataclass(frozen=True)
class DataPlane:
    """The calls of one service with its key.

    `inputs` and `outputs` are the names of its ports, empty if the service does not show them.
    """

    client: Client
    path: str
    key: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @property
    def jobs(self) -> BatchService:
        """The batch execution."""
        return BatchService(self.client, self.path, self.key, self.inputs, self.outputs)

    @property
    def scorer(self) -> ScoringService:
        """The scoring."""
        port = next(iter(self.inputs), _USUAL_PORT)
        return ScoringService(self.client, self.path, self.key, port)


def open_data_plane(
    access: Access,
    location: Json,
    key: Json,
    resource: Resource,
    within_s: float | None = None,
) -> DataPlane:
    """Returns the calls of a live service.

    `location` is the address of its API, or of its Swagger document. With `within_s`, a call and
    its repetitions wait at most so many seconds. Raises Unavailable if the service shows no address
    or key that can be used.
    """
    shows_address = isinstance(location, str) and is_address(location)
    if not shows_address or not urlsplit(location).path.strip("/"):
        raise _unusable(resource, "the service shows no address for calls")
    if not isinstance(key, str) or not key:
        raise _unusable(resource, "the service shows no key")
    access.redaction.know(key)
    check_sendable(key, "the service's", "its key", "Make a new key of the service.")
    parts = urlsplit(location)
    base = access.find_url("services")
    shown, given = (parts.hostname or "").lower(), (urlsplit(base).hostname or "").lower()
    if shown.endswith(_HOSTS) and given.endswith(_HOSTS):
        base = f"https://{shown}"
    path = parts.path.removesuffix(_SWAGGER)
    return DataPlane(_make_client(access, base, within_s), path, key)


def open_address(access: Access, url: str, key: str) -> DataPlane:
    """Returns the calls of a service by the address of its API, as a manifest names it."""
    parts = urlsplit(url)
    check_sendable(key, "the service's", "spec.service.apiKey", "Correct the secret.")
    return DataPlane(_make_client(access, f"{parts.scheme}://{parts.netloc}"), parts.path, key)


def _make_client(access: Access, base: str, within_s: float | None = None) -> Client:
    usual = read_timeouts(os.environ)
    return Client(
        base,
        access.emit,
        access.rate_limiter,
        redaction=access.redaction,
        local_token=access.cloud.token,
        timeouts=usual if within_s is None else limit_timeouts(usual, within_s),
    )


def find_ports(document: Mapping[str, Json], side: str) -> tuple[str, ...]:
    """Returns the names of the ports of a New service; `side` is "input" or "output"."""
    shown = document.get(side)
    ports = shown.get("properties") if isinstance(shown, dict) else None
    return tuple(ports) if isinstance(ports, dict) else ()


def miss(resource: Resource) -> ServiceMissing:
    """Returns the error for a service that does not exist."""
    return ServiceMissing(
        "does not exist", subject=str(resource.address), next_step="Create it with: apply"
    )


def _unusable(resource: Resource, message: str) -> Unavailable:
    return Unavailable(message, subject=str(resource.address), next_step="Look at the service.")
