"""Follows a long-running operation to its end, when the service reports one.

The status word is in `status` (recorded); the OpenAPI description names `provisioningState`, which
is read when `status` is missing. Any word but Succeeded, Failed and Canceled means: still running.

The service accepted the write before it reported the operation. A failed poll therefore proves
nothing about the write, and neither does an unknown operation. Only a read of the resource does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
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
# The longest pause between two polls that a service may ask for.
_MOST_ASKED_S: Final = 60.0
_LINKS: Final = ("Azure-AsyncOperation", "Location")
_ENDED: Final = frozenset({"succeeded", "failed", "canceled", "cancelled"})
_FOLLOWED: Final = "Run apply again: it follows the operation and does not repeat the write."


@dataclass(frozen=True, slots=True)
class _Link:
    """The URL to poll for an operation; `result` says that it is the URL of its result."""

    url: str
    result: bool
    name: str


def follow_operation(
    client: Client, reply: Reply, *, deadline_s: float
) -> Generator[None, None, bool]:
    """Poll the operation that a reply announces until it has ended; yields after each poll.

    Returns whether the service reported the end. When it did not, the caller must read the
    resource. An end says only that the service reports success. A reply that announces no operation
    is not polled. Raises OperationFailed, Rejected when the URL of the operation has another
    origin, StillRunning when it has not ended in time, and ReplyLost when it cannot be followed.
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
    """Read a resource until no operation runs on it or it does not exist; yields after each read.

    Raises StillRunning when an operation has not ended in time, and the errors of `send`.
    """

    def look() -> tuple[Reply, str] | None:
        try:
            seen = client.send("GET", url)
        except ServiceError as error:
            if error.status == 404:
                return None
            raise
        if not isinstance(seen.document, dict):
            raise Unavailable("the service answers no definition", status=seen.status)
        return seen, "an operation on it" if is_unsettled(seen.document) else ""

    return wait_while(client, look, deadline_s=deadline_s)


def wait_while(
    client: Client, look: Callable[[], tuple[Reply, str] | None], *, deadline_s: float
) -> Iterator[None]:
    """Look until nothing runs; yields after each look that found something.

    `look` returns a reply and what runs, such as "an operation on it", or "". It returns None for a
    resource that does not exist. Raises StillRunning when what runs has not ended in time.
    """
    waiting = _PollDelay(client, deadline_s)
    while (seen := look()) is not None:
        reply, running = seen
        yield
        if not running:
            return
        waiting.check(running)
        waiting.rest(reply)


def is_unsettled(document: Json) -> bool:
    """Whether a resource shows that an operation runs on it."""
    return _is_running(find_status({"properties": get_member(document, "properties")}))


def finish_operation(
    client: Client, reply: Reply, url: str, *, deadline_s: float
) -> Iterator[None]:
    """Follow the operation of a write on the resource at `url`, by its status or the resource's.

    Raises as `follow_operation` does.
    """
    if (yield from follow_operation(client, reply, deadline_s=deadline_s)):
        return
    try:
        yield from wait_until_idle(client, url, deadline_s=deadline_s)
    except StillRunning:
        raise
    except ServiceError as error:
        raise _lost(error, f"the write cannot be followed: {error.message}") from error


class _PollDelay:
    """The pauses between polls until a deadline: they grow, or follow the Retry-After header."""

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
        """Raise StillRunning after the deadline."""
        if self._client.clock() >= self._end:
            minutes, seconds = self._deadline_s / 60, self._deadline_s
            lasted = f"{minutes:.0f} minutes" if minutes >= 2 else f"{seconds:.0f} seconds"
            raise StillRunning(
                f"{what} is still running after {lasted}", status=200, next_step=_FOLLOWED
            )


def count_polls(seconds: float) -> int:
    """The number of polls of an operation of `seconds`, when the service asks for no pause.

    >>> count_polls(0.2), count_polls(1.0)
    (1, 4)
    """
    waits = growing_waits(_FIRST_S, _LONGEST_S, _GROWTH)
    return next(polls for polls, at in enumerate(accumulate(waits), 1) if at >= seconds)


def _find_link(client: Client, reply: Reply) -> _Link | None:
    """The link to the operation, or None. Location is such a link only in a 202 reply."""
    status, result = (reply.headers.get(name, "") for name in _LINKS)
    if not status and (reply.status != 202 or not result):
        return None
    url = client.resolve(status or result)
    # The service chose the name and may have put our input in it. Its last part is a guid.
    last = urlsplit(url).path.rpartition("/")[2].rpartition(":")[2]
    name = clean(client.redaction.redact(last))[:60]
    return _Link(url, not status, name)


def _poll(client: Client, link: _Link) -> Reply | None:
    """Poll once; None for an operation that the service does not know. Raises ReplyLost."""
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
    """The status word of an operation. The URL of a result answers 202 while the operation runs."""
    word = find_status(polled.document)
    if link.result:
        return word or ("Running" if polled.status == 202 else "Succeeded")
    if isinstance(polled.document, dict) or polled.status == 202:
        return word
    lost_reply = Unavailable("", status=polled.status)
    raise _lost(lost_reply, f"the service answers the operation {link.name} without a status")


def find_status(document: Json) -> str:
    """The status word of an operation or of a resource, under any of its names; "" without one."""
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
        next_step="Correct the cause that it names, then plan again.",
    )
