"""What came back: bounded, parsed with care, and turned into errors where it is one."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from reconciler.errors import Busy, Rejected, ServiceError, Throttled, Unauthorized, Unavailable
from reconciler.model import Json

LATER: Final = "Wait, then run it again; --parallelism 2 asks for less."
_PROXY: Final = "Check the address in spec.cloud; a proxy may be answering in its place."
_MOST_SAID: Final = 300
# What is recorded nests a dozen deep; everything after this walks documents by recursion.
_DEEPEST: Final = 100
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_SIGNATURE: Final = re.compile(r"(sig|se|sv|sp|AccountKey|token)=[^&\s\"']+", re.IGNORECASE)
_BEARER: Final = re.compile(r"Bearer\s+\S+", re.IGNORECASE)


@dataclass(frozen=True)
class Reply:
    """One answer. `document` is the parsed JSON body, None where there was no body."""

    status: int
    headers: Mapping[str, str]
    document: Json


def parse_reply(status: int, headers: Mapping[str, str], body: bytes) -> Reply:
    """The answer as a value; raises Unavailable for one that is not JSON.

    Of a refusal the status is enough: a gate before the service may speak for it, in any form.
    """
    if not body.strip():
        return Reply(status, headers, None)
    try:
        return Reply(status, headers, _parse(body))
    except (ValueError, RecursionError) as error:
        if status >= 400:
            return Reply(status, headers, None)
        raise Unavailable(
            f"the service answers {_content_type(headers)} that is not JSON",
            status=status,
            request_id=_request_id(headers),
            next_step=_PROXY,
        ) from error


def _parse(body: bytes) -> Json:
    document = json.loads(body, parse_constant=_refuse_constant, parse_float=_read_float)
    if not _is_shallow(body) and _is_deep(document):
        raise ValueError("nested too deeply")
    return document


def _refuse_constant(name: str) -> Json:
    """NaN and the infinities are no JSON, though Python reads them."""
    raise ValueError(name)


def _read_float(text: str) -> float:
    """A number beyond all floats would be infinite here, and null for whoever writes it down."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(text)
    return number


def _is_shallow(body: bytes) -> bool:
    """Whether a document is surely not deep: its brackets peel off, one layer after another.

    A bracket in a text may be in the way of that; then the document itself must be looked at.
    """
    brackets = body.translate(None, _NOT_BRACKETS)
    for _ in range(_DEEPEST):
        if not brackets:
            return True
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return False


def _is_deep(document: Json) -> bool:
    layer = [document]
    for _ in range(_DEEPEST):
        layer = [
            below
            for one in layer
            if isinstance(one, (dict, list))
            for below in (one.values() if isinstance(one, dict) else one)
        ]
        if not layer:
            return False
    return True


def _content_type(headers: Mapping[str, str]) -> str:
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return clean(kind)[:60] or "no content type"


def _request_id(headers: Mapping[str, str]) -> str:
    return clean(headers.get("x-ms-request-id", ""))


def make_error(reply: Reply) -> ServiceError:
    """The error that a refusal means, with the service's innermost code and request id."""
    code, message = _innermost(reply.document)
    foreign = reply.document is None and "html" in _content_type(reply.headers)
    said = clean(message) or f"the service answers with status {reply.status}"
    said = f"{said} and {_content_type(reply.headers)} that is not JSON" if foreign else said
    kind: type[ServiceError] = Rejected
    next_step = _PROXY if foreign else ""
    if reply.status == 401:
        kind, next_step = Unauthorized, _LOG_IN
    elif reply.status == 403:
        kind, next_step = Unauthorized, "The role Contributor on the service is needed."
    elif reply.status in {429, 503}:
        kind, next_step = Throttled, LATER
    elif reply.status == 409:
        kind, next_step = Busy, "Wait until what runs on it has ended, then plan again."
    elif reply.status >= 500:
        kind = Unavailable
        next_step = next_step or "Run it again; if it persists, quote the request id."
    return kind(
        said,
        status=reply.status,
        code=code,
        request_id=_request_id(reply.headers),
        next_step=next_step,
    )


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
    except (TypeError, ValueError, OverflowError):
        return None


def clean(text: str) -> str:
    """A service's words, bounded, on one line and without what could be a credential."""
    line = " ".join(text.split())
    line = _BEARER.sub("Bearer …", _SIGNATURE.sub(r"\1=…", line))
    return line if len(line) <= _MOST_SAID else f"{line[:_MOST_SAID]}…"


def look_up(document: Json, name: str) -> Json:
    """A member of an object by its name in any casing; None where there is none."""
    if not isinstance(document, dict):
        return None
    if name in document:
        return document[name]
    folded = name.casefold()
    return next((value for key, value in document.items() if key.casefold() == folded), None)


def read_problem(document: Json) -> tuple[str, str]:
    """The code and message of an `error` or `errorInfo` object; details are more exact."""
    code, message = _text(document, "code"), _text(document, "message")
    details = look_up(document, "details")
    for detail in details if isinstance(details, list) else ():
        if _text(detail, "code") or _text(detail, "message"):
            return _text(detail, "code") or code, _text(detail, "message") or message
    return code, message


def _innermost(document: Json) -> tuple[str, str]:
    return read_problem(look_up(document, "error") or document)


def _text(document: Json, name: str) -> str:
    value = look_up(document, name)
    return clean(value) if isinstance(value, str) else ""
