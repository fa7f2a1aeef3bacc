"""Scores rows at an online endpoint: where its calls go, with which key, and who answered.

The address is the one that the endpoint shows. A key or a token is read when it is needed, goes to
the redaction and into the calls, and nowhere else. The probes and `verify` call this module.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Final
from urllib.parse import urlsplit

from reconciler.document.pointers import find
from reconciler.errors import Rejected, ServiceError, ServiceMissing, Unauthorized, Unavailable
from reconciler.kinds.ids import quote_path
from reconciler.kinds.online_endpoint.replies import NO_ENDPOINT, is_absence
from reconciler.model import Json, Resource, SeparateLimit
from reconciler.model.values import dataclass
from reconciler.ports import Access
from reconciler.transport import (
    Client,
    Reply,
    Tokens,
    check_complete,
    check_sendable,
    clean,
    is_address,
    is_loopback,
    limit_timeouts,
    origin_of,
    read_timeouts,
)

VERSION: Final = "?api-version=2024-04-01"
# Names the deployment that must answer, and in the reply the one that did (recorded).
_DEPLOYMENT: Final = "azureml-model-deployment"
# Each endpoint has a host of its own below one of these: Azure, US Government, China (published).
_HOSTS: Final = (".inference.ml.azure.com", ".inference.ml.azure.us", ".inference.ml.azure.cn")
_BELOW: Final = ".inference."
# What a probe must understand, and does not end a call by itself. 429 and 503 are waited out.
_ANSWERS: Final = frozenset({400, 401, 403, 404, 408, 413, 424, 500, 502, 504})
# An endpoint takes 500 calls per second (published); no reply shows how many are left.
_CALLS: Final = SeparateLimit("", "scoring calls", 500, 500.0)
_MANAGED: Final = "Look at the endpoint in Azure Machine Learning studio."


@dataclass(frozen=True, slots=True)
class Score:
    """One answer of an endpoint. `deployment` is the one that answered, empty if it is not shown.

    `document` is the answer as it came; `shown` has no known secret. `failed` says that the scoring
    script failed although the status is 200. `reason` is what the service says about a container
    that answered with an error.
    """

    status: int
    deployment: str
    document: Json = field(repr=False)
    shown: Json
    failed: bool
    reason: str
    request_id: str


class OnlineScoring:
    """The calls to one endpoint's scoring address. `client` manages the endpoint.

    A call that the service refuses for now is sent again for `within_s` seconds, and an answer may
    take `slowest_s` seconds. Raises ServiceMissing for an endpoint that does not exist.
    """

    def __init__(
        self,
        access: Access,
        client: Client,
        resource: Resource,
        within_s: float,
        slowest_s: float = 0.0,
    ) -> None:
        self._access, self._manager, self._resource = access, client, resource
        self._id = quote_path(resource.id, "id of an endpoint")
        document = self._read()
        self._mode = str(find(document, ("properties", "authMode")) or "").casefold()
        parts = urlsplit(self._find_address(find(document, ("properties", "scoringUri"))))
        usual = limit_timeouts(read_timeouts(os.environ), within_s)
        self._client = Client(
            f"{parts.scheme}://{parts.netloc}",
            access.emit,
            access.rate_limiter,
            redaction=access.redaction,
            local_token=access.cloud.token,
            timeouts=replace(usual, read_s=max(usual.read_s, slowest_s)),
            clock=client.clock,
            sleep=client.sleep,
        )
        self._path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self._key, self._until = "", math.inf
        self._open()

    def score(self, body: Json, deployment: str = "") -> Score:
        """Sends a request to a deployment, or to the endpoint, whose router chooses one.

        Raises Unauthorized if the endpoint refuses its own key twice, and Unavailable for an answer
        that is not JSON.
        """
        if self._until <= self._client.now().timestamp():
            self._open()
        reply = self._send(body, deployment)
        if reply.status == 401:
            self._open()
            reply = self._send(body, deployment)
        if reply.status in {401, 403}:
            raise Unauthorized(
                "the endpoint refuses the key or token that was read just now",
                status=reply.status,
                request_id=_read_request_id(reply.headers),
                subject=str(self._resource.address),
                next_step="Check the authentication mode of the endpoint and, for aad_token, the"
                " right onlineEndpoints/score/action of the identity.",
            )
        return _read_score(reply)

    def _send(self, body: Json, deployment: str) -> Reply:
        named = {_DEPLOYMENT: deployment} if deployment else {}
        return self._client.send(
            "POST",
            self._path,
            body,
            self._key,
            repeats=True,
            answers=_ANSWERS,
            headers=named,
            apart=_CALLS,
        )

    def _read(self) -> Json:
        try:
            reply = self._manager.send("GET", f"{self._id}{VERSION}")
        except ServiceError as error:
            if not is_absence(error, NO_ENDPOINT):
                raise
            subject = str(self._resource.address)
            raise ServiceMissing(
                "does not exist", subject=subject, next_step="Create it with: apply"
            ) from error
        check_complete(reply)
        shown = find(reply.raw, ("id",))
        if not isinstance(shown, str) or shown.casefold() != self._resource.id.casefold():
            raise self._unusable("the service answers with another endpoint")
        return reply.raw

    def _find_address(self, shown: Json) -> str:
        """Returns the scoring address; raises Unavailable if no key may be sent there."""
        if not isinstance(shown, str) or not shown:
            raise self._unusable("the endpoint shows no scoring address yet")
        host = origin_of(shown)[1] if is_address(shown) else ""
        if is_loopback(self._manager.base_url):
            fits = bool(host) and is_loopback(shown)
        else:
            fits = host.endswith(_HOSTS) and shown.lower().startswith("https:")
        if not fits:
            said = f"of another cloud, {clean(host)}" if host else "that is not valid"
            message = f"the endpoint shows a scoring address {said}; no key was sent there"
            raise self._unusable(message)
        return shown

    def _open(self) -> None:
        """Reads the key or the token again."""
        self._until = math.inf
        if self._mode == "aadtoken":
            self._key = self._get_identity()
            return
        key = self._post("listKeys").get("primaryKey") if self._mode == "key" else None
        if key is None:  # a service that shows no key has tokens, whatever its mode says
            key = self._read_token()
        if not isinstance(key, str) or not key:
            raise self._unusable("the endpoint shows no key and no token")
        self._access.redaction.know(key)
        cure = "Make a new key of the endpoint."
        self._key = check_sendable(key, "the endpoint's", str(self._resource.address), cure)

    def _get_identity(self) -> str:
        """Returns the token of our own identity for the cloud of the endpoint.

        It is empty on this machine: the emulator takes the token of its cloud.
        """
        if is_loopback(self._client.base_url):
            return ""
        cloud = self._client.base_url.rpartition(_BELOW)[2].partition(":")[0]
        return Tokens(f"https://{cloud}", self._access.redaction.know).get()

    def _read_token(self) -> Json:
        """Returns a token; it is read again when the service says so."""
        try:
            shown = self._post("token")
        except Rejected as error:
            if self._mode == "key":
                raise self._unusable("the endpoint shows no key, and has no tokens") from error
            raise
        refresh = shown.get("refreshAfterTimeUtc")
        # A time that has passed already would mean a token for each call: our clock may differ.
        if isinstance(refresh, (int, float)) and refresh > self._client.now().timestamp():
            self._until = refresh
        return shown.get("accessToken")

    def _post(self, call: str) -> Mapping[str, Json]:
        try:
            reply = self._manager.send("POST", f"{self._id}/{call}{VERSION}", repeats=True)
        except Unauthorized as error:
            if error.status == 403:
                error.next_step = f"The identity needs the right onlineEndpoints/{call}/action."
            raise
        return reply.raw if isinstance(reply.raw, dict) else {}

    def _unusable(self, message: str) -> Unavailable:
        return Unavailable(message, subject=str(self._resource.address), next_step=_MANAGED)


def _read_score(reply: Reply) -> Score:
    headers = reply.headers
    code, why = (
        headers.get(f"ms-azureml-model-error-{one}", "") for one in ("statuscode", "reason")
    )
    return Score(
        reply.status,
        clean(headers.get(_DEPLOYMENT, "")),
        reply.raw,
        reply.document,
        headers.get("x-ms-run-function-failed", "").casefold() == "true",
        clean(" ".join(filter(None, (code, why)))),
        _read_request_id(headers),
    )


def _read_request_id(headers: Mapping[str, str]) -> str:
    return clean(headers.get("X-Request-ID", "") or headers.get("x-ms-request-id", ""))
