"""What came back: bounded, parsed with care, and turned into errors where it is one."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from reconciler.errors import Rejected, ServiceError, Throttled, Unauthorized, Unavailable
from reconciler.model import Json

LATER: Final = "Wait, then run it again; --parallelism 2 asks for less."
_MOST_SAID: Final = 300
_SIGNATURE: Final = re.compile(r"(sig|se|sv|sp|AccountKey|token)=[^&\s\"']+", re.IGNORECASE)
_BEARER: Final = re.compile(r"Bearer\s+\S+", re.IGNORECASE)


@dataclass(frozen=True)
class Reply:
    """One answer. `document` is the parsed JSON body, None where there was no body."""

    status: int
    headers: Mapping[str, str]
    document: Json


def parse_reply(status: int, headers: Mapping[str, str], body: bytes) -> Reply:
    """The answer as a value; raises Unavailable for one that is not JSON."""
    if not body.strip():
        return Reply(status, headers, None)
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    try:
        return Reply(status, headers, json.loads(body))
    except (ValueError, RecursionError) as error:
        if status in {429, 503}:  # a gate before the service may speak for it; the status is enough
            return Reply(status, headers, None)
        what = kind or "no content type"
        raise Unavailable(
            f"the service answers {what} that is not JSON",
            status=status,
            request_id=headers.get("x-ms-request-id", ""),
            next_step="Check the address in spec.cloud; a proxy may be answering in its place.",
        ) from error


def make_error(reply: Reply) -> ServiceError:
    """The error that a refusal means, with the service's innermost code and request id."""
    code, message = _innermost(reply.document)
    request_id = reply.headers.get("x-ms-request-id", "")
    said = clean(message) or f"the service answers with status {reply.status}"
    kind: type[ServiceError] = Rejected
    next_step = ""
    if reply.status == 401:
        kind, next_step = Unauthorized, _LOG_IN
    elif reply.status == 403:
        kind, next_step = Unauthorized, "The role Contributor on the service is needed."
    elif reply.status in {429, 503}:
        kind, next_step = Throttled, LATER
    elif reply.status == 409:
        next_step = "Somebody else is writing to it. Wait until that has ended, then plan again."
    elif reply.status >= 500:
        kind, next_step = Unavailable, "Run it again; if it persists, quote the request id."
    return kind(said, status=reply.status, code=code, request_id=request_id, next_step=next_step)


_LOG_IN: Final = (
    "For Azure: az login, or the AZURE_… variables of a service principal. For an emulator:"
    " RECONCILER_EMULATOR_TOKEN must be the token that it was started with."
)


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by the Retry-After header, which counts seconds or names a time."""
    said = headers.get("Retry-After", "").strip()
    if said.isdecimal():
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time()) if said else None
    except (TypeError, ValueError):
        return None


def clean(text: str) -> str:
    """A service's words, bounded, on one line and without what could be a credential."""
    line = " ".join(text.split())
    line = _BEARER.sub("Bearer …", _SIGNATURE.sub(r"\1=…", line))
    return line if len(line) <= _MOST_SAID else f"{line[:_MOST_SAID]}…"


def read_problem(document: Json) -> tuple[str, str]:
    """The code and message of an `error` or `errorInfo` object; details are more exact."""
    if not isinstance(document, dict):
        return "", ""
    code, message = _text(document, "code"), _text(document, "message")
    details = document.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and (_text(detail, "code") or _text(detail, "message")):
            return _text(detail, "code") or code, _text(detail, "message") or message
    return code, message


def _innermost(document: Json) -> tuple[str, str]:
    if not isinstance(document, dict):
        return "", ""
    return read_problem(document.get("error") or document.get("Error") or document)


def _text(document: Mapping[str, Json], name: str) -> str:
    value = document.get(name, "")
    return clean(value) if isinstance(value, str) else ""
