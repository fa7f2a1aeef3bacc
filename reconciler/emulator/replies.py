"""Bodies and headers as they were recorded: indented JSON with CRLF, ids, times, errors."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

_HALF: Final = re.compile("[\ud800-\udfff]")


class Refusal(Exception):
    """An error that the service answers with; `details` are pairs of code and message."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *details: tuple[str, str],
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        error: dict[str, Any] = {"code": code, "message": message}
        if details:
            error["details"] = [{"code": c, "message": m} for c, m in details]
        self.body = {"error": error}


@dataclass(frozen=True)
class Answer:
    """One reply before it is sent. `data` is a rendered body; without it `body` is rendered.

    A `status` of 0 is no reply at all.
    """

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    front: bool = False  # answered by Resource Manager's front, which sends fewer headers
    timed: bool = True
    lean: bool = False  # of the headers, the request's id alone
    media: str = "application/json; charset=utf-8"


def render(body: Any) -> bytes:
    """Indented JSON with CRLF line ends."""
    text = json.dumps(body, indent=2, ensure_ascii=False).replace("\n", "\r\n")
    # Half of a pair stands in no UTF-8: it goes out as it came in.
    return _HALF.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def write_time(seconds: float) -> str:
    """UTC with up to seven digits of a second, trailing zeros trimmed."""
    moment = datetime.fromtimestamp(seconds, UTC)
    digits = f"{moment.microsecond:06d}".rstrip("0")
    return f"{moment:%Y-%m-%dT%H:%M:%S}{'.' + digits if digits else ''}Z"


def identify_lean() -> dict[str, str]:
    """The one id that replies of Classic and of scoring are known to carry."""
    return {"x-ms-request-id": str(uuid.uuid4())}


def identify_request(now: float) -> dict[str, str]:
    """The three ids that every reply carries; they differ from one another."""
    correlation = str(uuid.uuid4())
    stamp = f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}"
    return {
        "x-ms-request-id": str(uuid.uuid4()),
        "x-ms-correlation-request-id": correlation,
        "x-ms-routing-request-id": f"SOUTHCENTRALUS:{stamp}:{correlation}",
    }


def bad_request(code: str, message: str) -> Refusal:
    """The service's 400, whose detail says what is wrong."""
    return Refusal(400, "BadRequest", "The request is invalid.", (code, message))
