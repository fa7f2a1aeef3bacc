"""The keys and tokens that open the scoring address of an endpoint.

The control plane shows them, and the data plane checks them. A token has the form of a recorded
one: a JWT of three parts, valid for 24 hours. Its signature has the length of an RSA signature, and
is made from the emulator's secret, so that a token stays valid over a restart.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import uuid
from typing import Any, Final

from reconciler.emulator.azureml.replies import refuse_request
from reconciler.emulator.azureml.state import OnlineEndpoint, OnlineState
from reconciler.emulator.classic.management import is_same
from reconciler.emulator.replies import Answer
from reconciler.emulator.requests import Call

Json = Any
_VALID_S: Final = 24 * 3600
_REFRESH_S: Final = 12 * 3600
_SIGNATURE_BYTES: Final = 256
_ACTION: Final = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action"
_LONGEST_KEY: Final = 200


def list_keys(endpoint: OnlineEndpoint) -> Answer:
    """Return the keys; an endpoint that does not use keys has null in their place (recorded)."""
    uses = get_mode(endpoint) == "key"
    keys = {"primaryKey": endpoint.primary, "secondaryKey": endpoint.secondary}
    return Answer(200, keys if uses else dict.fromkeys(keys))


def read_new_key(call: Call) -> tuple[str, str]:
    """Return which key a call of regenerateKeys replaces, and its value; "" for a new value."""
    body = call.document()
    body = body if isinstance(body, dict) else {}
    kind, value = body.get("keyType"), body.get("keyValue")
    if kind not in ("Primary", "Secondary"):
        raise refuse_request("ValidationError", "The keyType must be Primary or Secondary.")
    if not isinstance(value or "", str) or len(value or "") > _LONGEST_KEY:
        raise refuse_request("ValidationError", "The keyValue is not valid.")
    return str(kind).lower(), value or ""


def regenerate_key(call: Call, endpoint: OnlineEndpoint, state: OnlineState, reading: str) -> None:
    """Replace a key. `reading` says what the present value as new value does: `new` or `keep`."""
    if get_mode(endpoint) != "key":
        raise refuse_request("InvalidAuthMode", "The endpoint does not use keys.")
    which, value = read_new_key(call)
    present = getattr(endpoint, which)
    if not value or (value == present and reading == "new"):
        value = state.random_source.key()
    setattr(endpoint, which, value)
    state.keep(endpoint)


def make_token(endpoint: OnlineEndpoint, state: OnlineState, now: float) -> Answer:
    """Return a new token of an endpoint that uses them; its two times are recorded."""
    if get_mode(endpoint) != "amltoken":
        raise refuse_request("InvalidAuthMode", "The endpoint does not use tokens.")
    expires = int(now) + _VALID_S
    claims = {
        "canRefresh": "False",
        "workspaceId": endpoint.workspace.id,
        "tid": str(uuid.UUID(int=2)),
        "oid": str(uuid.UUID(int=3)),
        "actions": f'["{_ACTION}"]',
        "endpointName": endpoint.name,
        "serviceId": endpoint.name,
        "exp": expires,
        "iss": "azureml",
        "aud": "azureml",
    }
    header = {"alg": "RS256", "kid": "0" * 40, "typ": "JWT"}
    signed = ".".join(_encode(json.dumps(one).encode()) for one in (header, claims))
    body = {
        "accessToken": f"{signed}.{_encode(_sign(endpoint, state, signed))}",
        "tokenType": "Bearer",
        "expiryTimeUtc": expires,
        "refreshAfterTimeUtc": int(now) + _REFRESH_S,
    }
    return Answer(200, body)


def opens(given: str, endpoint: OnlineEndpoint, state: OnlineState, now: float, entra: str) -> bool:
    """Return whether a bearer value opens an endpoint; `entra` is the token of the directory."""
    match get_mode(endpoint):
        case "key":
            keys = (endpoint.primary, endpoint.secondary)
            return any([is_same(given, key) for key in keys if key])  # noqa: C419 - one duration
        case "amltoken":
            return _is_own_token(given, endpoint, state, now)
    return is_same(given, entra)


def get_mode(endpoint: OnlineEndpoint) -> str:
    """Return how calls of an endpoint are authorized, in lower case: `key`, `amltoken`, ..."""
    return str(endpoint.document["properties"]["authMode"]).casefold()


def _is_own_token(given: str, endpoint: OnlineEndpoint, state: OnlineState, now: float) -> bool:
    signed, _, signature = given.rpartition(".")
    if not is_same(signature, _encode(_sign(endpoint, state, signed))):
        return False
    claims = json.loads(_decode(signed.partition(".")[2]))
    return bool(now < claims["exp"])


def _sign(endpoint: OnlineEndpoint, state: OnlineState, text: str) -> bytes:
    """Return the signature of a token's first parts; another endpoint's is another."""
    place = json.dumps([*endpoint.key, endpoint.created, text])
    return hashlib.shake_256(state.get_secret() + place.encode("utf-8", "surrogateescape")).digest(
        _SIGNATURE_BYTES
    )


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return b"{}"
