"""Reply bodies and headers as they were recorded: indented JSON with CRLF, ids, times, errors.

Every part of the emulator that answers a call uses it. It knows no resource.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

SCORING_SERVER: Final = "azureml-frontdoor"
_HALF: Final = re.compile("[\ud800-\udfff]")
# The classes of the published table of error codes (web-service-error-codes).
_CLASSES: Final = {
    "BadArgument": (400, "Invalid argument provided."),
    "BadUserArgument": (400, "Invalid user argument provided."),
    "InvalidOperation": (400, "The request is invalid in the current context."),
    "Unauthorized": (401, "Request is unauthorized to access resource."),
    "NotFound": (404, "Resource not found."),
    "ServiceUnavailable": (503, "Service is temporarily unavailable."),
}
# The texts of these codes are documented: web-service-error-codes.
_INVALID_BODY: Final = "No request body provided or error in deserializing the request body."
_LOST_BLOB: Final = "Unable to access the provided Azure blob - {0}.  Azure error message: {1}."


class Refusal(Exception):
    """An error reply of the service.

    `details` are code and message, and the target where one place of the request is wrong.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *details: tuple[str, ...],
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        error: dict[str, Any] = {"code": code, "message": message}
        if details:
            members = ("code", "message", "target")
            error["details"] = [dict(zip(members, detail, strict=False)) for detail in details]
        self.body = {"error": error}


@dataclass(frozen=True)
class Answer:
    """One reply before it is sent. `data` is a rendered body; if it is empty, `body` is rendered.

    A `status` of 0 means that no reply is sent.
    """

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    front: bool = False  # answered by Resource Manager's front, which sends fewer headers
    timed: bool = True
    lean: bool = False  # the request's id is the only header
    online: bool = False  # the headers and line ends of Azure Machine Learning
    scored: bool = False  # of an online endpoint's scoring address, with the headers of its front
    media: str = "application/json; charset=utf-8"


def render(body: Any) -> bytes:
    """Return indented JSON with CRLF line ends."""
    text = json.dumps(body, indent=2, ensure_ascii=False).replace("\n", "\r\n")
    # UTF-8 has no form for half of a surrogate pair, so the reply escapes it.
    return _HALF.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def write_time(seconds: float) -> str:
    """Return a time in UTC with up to seven decimals, without trailing zeros."""
    moment = datetime.fromtimestamp(seconds, UTC)
    digits = f"{moment.microsecond:06d}".rstrip("0")
    return f"{moment:%Y-%m-%dT%H:%M:%S}{'.' + digits if digits else ''}Z"


def identify_lean() -> dict[str, str]:
    """Return the only id header that replies of Classic and of scoring are known to have."""
    return {"x-ms-request-id": str(uuid.uuid4())}


def identify_score() -> dict[str, str]:
    """Return the headers that the front of online endpoints adds (recorded)."""
    return {"Server": SCORING_SERVER, "X-Request-ID": str(uuid.uuid4())}


def identify_request(now: float, *, by_front: bool = False) -> dict[str, str]:
    """Return the three id headers that every reply has.

    The request and its correlation have two ids, and one id if Resource Manager's front answers.
    """
    correlation = str(uuid.uuid4())
    stamp = f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}"
    return {
        "x-ms-request-id": correlation if by_front else str(uuid.uuid4()),
        "x-ms-correlation-request-id": correlation,
        "x-ms-routing-request-id": f"SOUTHCENTRALUS:{stamp}:{correlation}",
    }


def refuse(code: str, detail: str, message: str) -> Refusal:
    """Return an error of Classic or of scoring, with the class and the code of the published table.

    `message` is the text that the table has for the code `detail`.
    """
    status, summary = _CLASSES[code]
    return Refusal(status, code, summary, (detail, message))


def refuse_body() -> Refusal:
    """Return the refusal of a body that Classic or scoring cannot read (published table)."""
    return refuse("BadArgument", "RequestBodyInvalid", _INVALID_BODY)


def refuse_web_service() -> Refusal:
    """Return the refusal of an unknown web service or endpoint (published table)."""
    message = "Web service not found. Verify the web service Id is correct and try again."
    return refuse("NotFound", "WebServiceNotFound", message)


def show_details(answer: Answer, reading: str) -> Answer:
    """Return an answer; with the reading `no`, an error has its code and its message alone."""
    error = answer.body.get("error") if isinstance(answer.body, dict) else None
    if reading == "yes" or not isinstance(error, dict):
        return answer
    short = {name: value for name, value in error.items() if name != "details"}
    return replace(answer, body={"error": short})


def bad_request(code: str, message: str, *targets: str) -> Refusal:
    """Return the service's 400, with a detail for each target: a place in the request.

    One detail without a target holds the code and the message where no place is named. A report of
    azure-powershell#3465 shows that errors of this provider may have a target.
    """
    text = "The request is invalid."
    if not targets:
        return Refusal(400, "BadRequest", text, (code, message))
    return Refusal(400, "BadRequest", text, *((code, message, target) for target in targets))


def invalid_body(*targets: str) -> Refusal:
    """Return the 400 for a body in which the places `targets` are missing or wrong."""
    return bad_request("RequestBodyInvalid", _INVALID_BODY, *targets)


def describe_lost_blob(uri: str) -> dict[str, str]:
    """Return the detail for a blob that cannot be read; the address is without its signature."""
    message = _LOST_BLOB.format(uri.partition("?")[0], "The specified blob does not exist")
    return {"code": "BlobNotFound", "message": message}
