"""What an answer of a forge means: an error with its next step, a rate limit, the next page.

A forge answers a missing right and a rate limit with the same status, 403, and an expired token
with a page for people. The headers and the text decide, and never the status alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from reconciler.errors import Busy, Rejected, ServiceError, Throttled, Unauthorized, Unavailable
from reconciler.model import Json
from reconciler.text.times import format_utc
from reconciler.transport.replies import Reply, clean, read_date, read_retry_after

# What GitHub asks for where it names no time.
_UNNAMED_LIMIT_S: Final = 60.0
# GitLab may name no time either; its limits are those of a minute.
_UNNAMED_WAIT_S: Final = 2.0
_LIMITED: Final = re.compile(r"rate.limit|abuse detection|TF400733", re.IGNORECASE)
_SIGN_IN: Final = re.compile(r"sign_?in|log_?in|oauth|saml", re.IGNORECASE)
_REMAINING: Final = ("x-ratelimit-remaining", "ratelimit-remaining")
_RESETS: Final = ("x-ratelimit-reset", "ratelimit-reset")
_REQUEST_IDS: Final = ("x-github-request-id", "x-vss-e2eid", "activityid", "x-request-id")
_WAIT: Final = "Wait, then run the job again."


def is_sign_in(status: int, headers: Mapping[str, str], base_url: str) -> bool:
    """Whether an answer sends people to a page to sign in: a token was not accepted.

    A page of HTML in answer to a call that was not refused is such a page too. A redirect within
    the API is not: then a repository has another name.
    """
    if 300 <= status < 400:
        target = headers.get("Location", "")
        path = urlsplit(base_url).path.rstrip("/") + "/"
        within = target.startswith((f"{base_url}/", path)) and len(path) > 1
        return not within and bool(_SIGN_IN.search(target))
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return status == 203 or (status < 300 and kind in {"text/html", "application/xhtml+xml"})


def make_sign_in_error(name: str, status: int, variable: str) -> Unauthorized:
    """The error of a page to sign in in place of an answer."""
    return Unauthorized(
        f"{name} answers with a page to sign in: the token of {variable} is not accepted, or the"
        " address is not that of the API",
        status=status,
        next_step=f"Check that {variable} holds a valid token of this job, and the address.",
    )


def make_forge_error(reply: Reply, name: str, variable: str, right: str) -> ServiceError:
    """The error of a refusal. `right` says which right the call needs, as one sentence."""
    said = read_message(reply.document) or f"{name} answers with status {reply.status}"
    kind, next_step = _classify(reply, name, variable, right)
    return kind(
        said, status=reply.status, request_id=read_forge_id(reply.headers), next_step=next_step
    )


def _classify(reply: Reply, name: str, variable: str, right: str) -> tuple[type[ServiceError], str]:
    if is_limited(reply):
        return Throttled, _name_end(reply)
    if reply.status >= 500:
        return Unavailable, f"If it persists, look at the status page of {name}."
    refused: dict[int, tuple[type[ServiceError], str]] = {
        401: (Unauthorized, f"{name} does not accept the token of {variable}. Check it."),
        403: (Unauthorized, right),
        404: (Rejected, f"It does not exist, or the token of {variable} may not see it. {right}"),
        409: (Busy, _WAIT),
    }
    return refused.get(reply.status, (Rejected, ""))


def _name_end(reply: Reply) -> str:
    reset = _read_reset(reply)
    if reset is None:
        return _WAIT
    return f"The limit ends at {format_utc(reset)}. Run the job again then."


def read_forge_id(headers: Mapping[str, str]) -> str:
    """The forge's id of a request, for its support; "" for an answer without one."""
    return next((clean(headers[one]) for one in _REQUEST_IDS if one in headers), "")


def read_message(document: Json) -> str:
    """The text of a refusal on one line: `message` is a text, a list or an object of lists.

    GitHub's `errors` follow, and GitLab's `error_description`.
    """
    if not isinstance(document, dict):
        return ""
    parts = [document.get("message") or document.get("error")]
    parts += [document.get("error_description"), document.get("errors")]
    return clean(". ".join(dict.fromkeys(said.rstrip(".") for one in parts for said in _say(one))))


def _say(value: Json, depth: int = 3) -> list[str]:
    """The texts in a message, with the names of what they are about."""
    if isinstance(value, str):
        return [value] if value.strip() else []
    if depth and isinstance(value, list):
        return [said for one in value[:10] for said in _say(one, depth - 1)]
    if depth and isinstance(value, dict):
        if isinstance(value.get("message"), str):
            return [value["message"]]
        found = list(value.items())[:10]
        return [f"{name} {said}" for name, one in found for said in _say(one, depth - 1)]
    return []


def is_limited(reply: Reply) -> bool:
    """Whether a call was refused for now, and not done."""
    if reply.status == 429:
        return True
    if reply.status != 403:
        return reply.status == 503 and read_retry_after(reply.headers) is not None
    if any(reply.headers.get(one, "").strip() == "0" for one in _REMAINING):
        return True
    return read_retry_after(reply.headers) is not None or bool(
        _LIMITED.search(read_message(reply.document))
    )


def read_wait(reply: Reply, refused: int) -> float:
    """The seconds to wait after a call that was refused for now, for the `refused`-th time from 0.

    Retry-After is the forge's word; else the time at which its limit ends, if nothing is left of
    it; else a doubling wait.
    """
    asked = read_retry_after(reply.headers)
    if asked is not None:
        return asked
    reset = _read_reset(reply)
    if reset is not None:
        now = read_date(reply.headers) or datetime.now(UTC)
        # The second in which the limit ends is a part of it.
        return max(1.0, (reset - now).total_seconds() + 1.0)
    first = _UNNAMED_LIMIT_S if reply.status == 403 else _UNNAMED_WAIT_S
    return min(first * float(2**refused), 900.0)


def _read_reset(reply: Reply) -> datetime | None:
    """When the limit ends, if nothing is left of it; the header counts seconds since 1970."""
    left = [reply.headers[one].strip() for one in _REMAINING if one in reply.headers]
    ends = [reply.headers[one].strip() for one in _RESETS if one in reply.headers]
    if left[:1] != ["0"] or not ends or not re.fullmatch(r"[0-9]{1,11}", ends[0]):
        return None
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(ends[0]))


def find_next(headers: Mapping[str, str]) -> str:
    """The address of the next page in the header Link; "" for the last page."""
    link = headers.get("Link", "")
    if not link:
        return ""
    from requests.utils import parse_header_links  # noqa: PLC0415 - requests is slow

    return next((one["url"] for one in parse_header_links(link) if one.get("rel") == "next"), "")
