"""Following a long-running operation to its end.

The status word stands in `status` (recorded); the OpenAPI says `provisioningState`, which is
read where the other is missing. Anything but Succeeded, Failed and Canceled means: go on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from reconciler.errors import Rejected, ServiceError, Unavailable
from reconciler.model import Json, Progress
from reconciler.transport.client import Client
from reconciler.transport.replies import Reply, read_problem

_FIRST_S: Final = 0.2
_LONGEST_S: Final = 5.0
_GROWTH: Final = 1.5
_HEADER: Final = "Azure-AsyncOperation"


def follow_operation(
    client: Client, reply: Reply, *, deadline_s: float = 1800.0
) -> Iterator[Progress]:
    """Poll until the operation that a reply announced has ended; nothing to do without one.

    Ending says only that the service claims success. Raises Rejected where it failed,
    Unavailable where it has not ended in time. An operation that the service no longer knows
    ends the following too: only a read can tell what became of it.
    """
    url = reply.headers.get(_HEADER, "")
    pause, end = _FIRST_S, time.monotonic() + deadline_s
    while url:
        client.sleep(pause)
        try:
            polled = client.send("GET", url)
        except ServiceError as error:
            if error.status == 404:
                return
            raise
        status = _status(polled.document)
        yield Progress(status, _percent(polled.document))
        word = status.casefold()
        if word == "succeeded":
            return
        if word in {"failed", "canceled", "cancelled"}:
            raise _failed(polled, word)
        if time.monotonic() > end:
            raise Unavailable(
                f"the operation has not ended within {deadline_s / 60:.0f} minutes",
                status=polled.status,
                next_step="It may still be running. Plan again in a while to see what is live.",
            )
        pause = _next_pause(pause, polled)


def count_polls(seconds: float) -> int:
    """How often an operation of so many seconds is asked for, where the service asks for no pause.

    >>> count_polls(0.2), count_polls(1.0)
    (1, 4)
    """
    polls, at, pause = 1, _FIRST_S, _FIRST_S
    while at < seconds:
        pause = min(pause * _GROWTH, _LONGEST_S)
        polls, at = polls + 1, at + pause
    return polls


def _next_pause(pause: float, polled: Reply) -> float:
    asked = polled.headers.get("Retry-After", "")
    return float(asked) if asked.isdecimal() else min(pause * _GROWTH, _LONGEST_S)


def _status(document: Json) -> str:
    if not isinstance(document, dict):
        raise Unavailable("the service answers an operation without a status", status=200)
    found = document.get("status") or document.get("provisioningState") or ""
    return str(found)


def _percent(document: Json) -> float | None:
    value = document.get("percentComplete")
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if known else None


def _failed(polled: Reply, word: str) -> Rejected:
    document = polled.document
    code, message = read_problem(document.get("error") or document.get("errorInfo"))
    return Rejected(
        f"the operation {word}: {message or 'the service does not say why'}",
        status=polled.status,
        code=code,
        request_id=polled.headers.get("x-ms-request-id", ""),
        next_step="Nothing is known to have changed. Correct what it names, then plan again.",
    )
