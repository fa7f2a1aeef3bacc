"""Following a long-running operation to its end, as far as the service tells of one.

The status word stands in `status` (recorded); the OpenAPI says `provisioningState`, which is
read where the other is missing. Anything but Succeeded, Failed and Canceled means: go on.

The write was accepted before any of this: a look at its operation that fails says nothing of it,
and neither does an operation that the service does not know. Only a look at the resource can tell.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from itertools import accumulate
from typing import Final
from urllib.parse import urlsplit

from reconciler.errors import (
    OperationFailed,
    ReplyLost,
    ServiceError,
    StillRunning,
    Unavailable,
)
from reconciler.model import Json
from reconciler.model.values import dataclass
from reconciler.text.durations import growing_waits
from reconciler.transport.client import Client
from reconciler.transport.replies import Reply, clean, get_member, read_problem, read_retry_after

_FIRST_S: Final = 0.2
_LONGEST_S: Final = 5.0
_GROWTH: Final = 1.5
# What a service may ask for between two looks.
_MOST_ASKED_S: Final = 60.0
_LINKS: Final = ("Azure-AsyncOperation", "Location")
_ENDED: Final = frozenset({"succeeded", "failed", "canceled", "cancelled"})
_FOLLOWED: Final = "Run apply again: it is found and followed, not repeated."


@dataclass(frozen=True, slots=True)
class _Link:
    """Where to ask for an operation; `result` where only the address of its result is given."""

    url: str
    result: bool
    name: str


def follow_operation(
    client: Client, reply: Reply, *, deadline_s: float
) -> Generator[None, None, bool]:
    """Poll until the operation that a reply announced has ended, and yield at each look at it.

    There is nothing to do for a reply that announces none.
    Returns whether the service told of the end; where it did not, only a look at the resource
    can tell. That it has ended says only that the service claims success. Raises OperationFailed,
    Rejected where the operation stands elsewhere, StillRunning where it has not ended in time,
    ReplyLost where it cannot be followed.
    """
    link = _find_link(client, reply)
    if link is None:
        return reply.status != 202 and not _is_running(find_status(reply.document))
    waiting = _PollDelay(client, deadline_s)
    waiting.rest()
    while True:
        polled = _poll(client, link)
        if polled is None:
            return False
        word = _read_word(polled, link)
        yield
        if word.casefold() == "succeeded":
            return True
        if word.casefold() in _ENDED:
            raise _failed(polled, word.casefold())
        waiting.check(f"the operation {link.name}")
        moved = polled.headers.get("Location", "") if link.result else ""
        link = replace(link, url=client.resolve(moved)) if moved else link
        waiting.rest(polled)


def wait_until_idle(client: Client, url: str, *, deadline_s: float) -> Iterator[None]:
    """Look at a resource until no operation runs on it, or it is gone; yields at each look.

    Raises StillRunning where one has not ended in time, and what `send` raises.
    """
    waiting = _PollDelay(client, deadline_s)
    while True:
        try:
            seen = client.send("GET", url)
        except ServiceError as error:
            if error.status == 404:
                return
            raise
        if not isinstance(seen.document, dict):
            raise Unavailable("the service answers no definition", status=seen.status)
        word = find_status({"properties": get_member(seen.document, "properties")})
        yield
        if not _is_running(word):
            return
        waiting.check("an operation on it")
        waiting.rest(seen)


def finish_operation(
    client: Client, reply: Reply, url: str, *, deadline_s: float
) -> Iterator[None]:
    """Follow the operation of a write on the resource at `url`, by its own word or the resource's.

    Raises as `follow_operation` does.
    """
    if (yield from follow_operation(client, reply, deadline_s=deadline_s)):
        return
    try:
        yield from wait_until_idle(client, url, deadline_s=deadline_s)
    except StillRunning:
        raise
    except ServiceError as error:
        raise _lost(error, f"what was begun cannot be followed: {error.message}") from error


class _PollDelay:
    """Pauses that grow, or last as long as the service asks, until a deadline."""

    def __init__(self, client: Client, deadline_s: float) -> None:
        self._client = client
        self._deadline_s = deadline_s
        self._end = client.clock() + deadline_s
        self._waits = growing_waits(_FIRST_S, _LONGEST_S, _GROWTH)

    def rest(self, reply: Reply | None = None) -> None:
        asked = read_retry_after(reply.headers) if reply is not None else None
        grown = next(self._waits)
        pause = grown if asked is None else min(max(asked, _FIRST_S), _MOST_ASKED_S)
        self._client.sleep(max(0.0, min(pause, self._end - self._client.clock())))

    def check(self, what: str) -> None:
        """Raise StillRunning once there is no time for another look."""
        if self._client.clock() >= self._end:
            minutes, seconds = self._deadline_s / 60, self._deadline_s
            lasted = f"{minutes:.0f} minutes" if minutes >= 2 else f"{seconds:.0f} seconds"
            raise StillRunning(
                f"{what} is still running after {lasted}", status=200, next_step=_FOLLOWED
            )


def count_polls(seconds: float) -> int:
    """How often an operation of so many seconds is asked for, where the service asks for no pause.

    >>> count_polls(0.2), count_polls(1.0)
    (1, 4)
    """
    waits = growing_waits(_FIRST_S, _LONGEST_S, _GROWTH)
    return next(polls for polls, at in enumerate(accumulate(waits), 1) if at >= seconds)


def _find_link(client: Client, reply: Reply) -> _Link | None:
    """Where an operation is told of; Location means one only beside 202, else the resource."""
    status, result = (reply.headers.get(name, "") for name in _LINKS)
    if not status and (reply.status != 202 or not result):
        return None
    url = client.resolve(status or result)
    # The service made its name, perhaps of what it heard.
    name = clean(client.redaction.redact(urlsplit(url).path.rpartition("/")[2]))[:60]
    return _Link(url, not status, name)


def _poll(client: Client, link: _Link) -> Reply | None:
    """One look; None where the service knows no such operation. Raises ReplyLost for no look."""
    try:
        return client.send("GET", link.url)
    except ServiceError as error:
        if error.status == 404:
            return None
        raise _lost(error, f"the operation {link.name} cannot be followed: {error.message}") from (
            error
        )


def _lost(error: ServiceError, message: str) -> ReplyLost:
    return ReplyLost(
        message,
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        next_step=error.next_step,
    )


def _read_word(polled: Reply, link: _Link) -> str:
    """How an operation stands; its result is there once it has ended (202 while it runs)."""
    word = find_status(polled.document)
    if link.result:
        return word or ("Running" if polled.status == 202 else "Succeeded")
    if isinstance(polled.document, dict) or polled.status == 202:
        return word
    lost_reply = Unavailable("", status=polled.status)
    raise _lost(lost_reply, f"the service answers the operation {link.name} without a status")


def find_status(document: Json) -> str:
    """The status word of an operation or of a resource, whichever name it stands under; or ""."""
    candidates = (
        get_member(document, "status"),
        get_member(document, "provisioningState"),
        get_member(get_member(document, "properties"), "provisioningState"),
    )
    return next((word.strip() for word in candidates if isinstance(word, str) and word.strip()), "")


def _is_running(word: str) -> bool:
    return bool(word) and word.casefold() not in _ENDED


def _failed(polled: Reply, word: str) -> OperationFailed:
    document = polled.document
    code, message = read_problem(get_member(document, "error") or get_member(document, "errorInfo"))
    return OperationFailed(
        f"the operation {word}: {message or 'the service does not say why'}",
        status=polled.status,
        code=code,
        request_id=clean(polled.headers.get("x-ms-request-id", "")),
        next_step="Correct what it names, then plan again.",
    )
