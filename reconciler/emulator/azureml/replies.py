"""Replies of Azure Machine Learning: headers, times, bodies and the envelope of errors.

They have the shape of recorded replies. All modules of this folder use it.
"""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime
from typing import Any, Final

from reconciler.emulator.replies import Refusal

Json = Any
PROVIDER: Final = "Microsoft.MachineLearningServices"
# The end of an operation that still runs (recorded since 2024).
NEVER: Final = "0001-01-01T00:00:00+00:00"
_INVALID: Final = "The request is invalid."
_ABSENT: Final = "The specified resource was not found."
_HALF: Final = re.compile("[\ud800-\udfff]")


def write_moment(seconds: float) -> str:
    """Return a time with an offset and up to seven decimals, without trailing zeros (recorded)."""
    moment = datetime.fromtimestamp(int(seconds), UTC)
    digits = f"{seconds % 1:.7f}"[2:].rstrip("0")
    return f"{moment:%Y-%m-%dT%H:%M:%S}{'.' + digits if digits else ''}+00:00"


def render_indented(body: Json) -> bytes:
    """Return indented JSON with LF line ends."""
    text = json.dumps(body, indent=2, ensure_ascii=False)
    # UTF-8 has no form for half of a surrogate pair, so the reply escapes it.
    return _HALF.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def identify_reply(now: float, seconds: float) -> dict[str, str]:
    """Return the headers that every reply has; `seconds` is how long the work took."""
    request = str(uuid.uuid4())
    stamp = f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}"
    return {
        "Cache-Control": "no-cache",
        "Pragma": "no-cache",
        "Expires": "-1",
        "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
        "X-Content-Type-Options": "nosniff",
        "x-ms-request-id": request,
        "x-ms-correlation-request-id": request,
        "x-ms-routing-request-id": f"EASTUS:{stamp}:{request}",
        "x-ms-response-type": "standard",
        "x-ms-operation-identifier": f"tenantId={uuid.UUID(int=2)},objectId={uuid.UUID(int=3)}",
        "azureml-served-by-cluster": "vienna-eastus-01",
        "x-request-time": f"{seconds:.3f}",
        "X-MSEdge-Ref": f"Ref A: {uuid.uuid4().hex.upper()} Ref B: LOCAL Ref C: {stamp}",
    }


def refuse_online(
    status: int, code: str, message: str, *details: tuple[str, str], target: str = ""
) -> Refusal:
    """Return an error in the envelope of the management front.

    `details` are code and message; `target` is the place of the request that is wrong.
    """
    refusal = Refusal(status, code, message)
    error: dict[str, Json] = {"code": code, "message": message}
    if target:
        error["target"] = target
    error["details"] = [
        {"code": inner, "message": text, "details": [], "additionalInfo": []}
        for inner, text in details
    ]
    error["additionalInfo"] = _describe_front()
    refusal.body = {"error": error}
    return refusal


def refuse_request(code: str, message: str, *, status: int = 400, target: str = "") -> Refusal:
    """Return the refusal of a request that breaks a rule of the service."""
    outer = "Conflict" if status == 409 else "BadRequest"
    return refuse_online(status, outer, _INVALID, (code, message), target=target)


def refuse_absent(code: str, message: str, *, outer: str = "NotFound") -> Refusal:
    """Return the 404 of a resource that does not exist (recorded for a batch endpoint)."""
    return refuse_online(404, outer, _ABSENT, (code, message))


def refuse_missing(kind: str, name: str, parent: str) -> Refusal:
    """Return the 404 of an endpoint or a deployment that does not exist (recorded text)."""
    message = " ".join(("There is", f"no {kind} with name: {name[:80]} in {parent}"))
    return refuse_absent(f"NoSuch{kind.capitalize()}", message)


def refuse_trouble(status: int) -> Refusal:
    """Return a 5xx from a service behind the front (public report)."""
    detail = ("InternalServerError", f"Received {status} from a service request")
    return refuse_online(status, "ServiceError", detail[1], detail)


def _describe_front() -> list[Json]:
    values: dict[str, Json] = {
        "ComponentName": "managementfrontend",
        "Correlation": {"operation": uuid.uuid4().hex, "request": uuid.uuid4().hex[:16]},
        "Environment": "eastus",
        "Location": "eastus",
        "Time": write_moment(datetime.now(UTC).timestamp()),
    }
    return [{"type": name, "info": {"value": value}} for name, value in values.items()]
