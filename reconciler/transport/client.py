"""The client of one base URL: one connection pool, and the rate limiter that all workers share.

A call is retried only when that is safe. A read is retried after a lost or unreadable answer. A
write is retried only when the service says that it did not act (429, 503) or was not reached. Any
other write without a clear answer may have been done, and ends as ReplyLost. Lost answers have a
number of retries; refused calls are retried until a time limit. It is long because the retry, the
sending and the reading of an answer share one decision: whether the call was done.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from reconciler import __version__
from reconciler.errors import Rejected, ReplyLost, ServiceError, Throttled, Unavailable
from reconciler.model import CallEnded, Json, Retrying, SeparateLimit
from reconciler.model.values import dataclass
from reconciler.ports import Emit, Permit, RateLimiter
from reconciler.secrets.redaction import Redaction
from reconciler.tracing import call_span
from reconciler.transport.connections import Answer, Connections, TransportError
from reconciler.transport.credentials import NoToken, Tokens
from reconciler.transport.origins import is_address, is_loopback, join_addresses, origin_of
from reconciler.transport.replies import (
    BYTES_OF_VALUE,
    Reply,
    ReplyTooLarge,
    check_complete,
    clean,
    make_error,
    parse_reply,
    read_date,
    read_request_id,
    read_retry_after,
)
from reconciler.transport.request_log import RequestLog
from reconciler.transport.timeouts import Timeouts, read_timeouts

# Ten workers may each hold a document. A list is read once for all its resources.
_MOST_BYTES: Final = 18 * 1024 * 1024
_MOST_BYTES_OF_LIST: Final = 48 * 1024 * 1024
# Longer answers are read and parsed one at a time, because ten of them would fill the memory.
_LONG_BYTES: Final = 4 * 1024 * 1024
_CHUNK: Final = 256 * 1024
_MOST_PAGES: Final = 10_000
# The number of consecutive pages without an item.
_MOST_EMPTY: Final = 100
_NO_HEADERS: Final = MappingProxyType[str, str]({})
_HEADERS: Final = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": f"reconciler/{__version__}",
}


@dataclass(frozen=True, slots=True)
class _FailedAttempt:
    """A failed attempt; `pause` is the seconds before the retry, None for no retry.

    `refused` says that the service did not act: the rate limiter then waits out the pause.
    """

    error: ServiceError
    pause: float | None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class _Request:
    """A request with its permit. An empty `token` means the token of the cloud."""

    method: str
    url: str
    body: Json
    token: str = field(repr=False)
    permit: Permit
    most_bytes: int
    repeats: bool
    answers: Collection[int]
    headers: Mapping[str, str]


class _Attempts:
    """Counts the lost answers to one call, and decides whether the call is retried."""

    def __init__(self, timeouts: Timeouts, now: float) -> None:
        self.lost = 0
        # The wait for a permit does not count, so it is added here.
        self.until = now + timeouts.total_s
        self._timeouts = timeouts
        self._refused_at: float | None = None

    def may_go_on(self, failure: _FailedAttempt, now: float) -> bool:
        if failure.pause is None:
            return False
        if failure.refused:
            self._refused_at = now if self._refused_at is None else self._refused_at
            return now + failure.pause - self._refused_at <= self._timeouts.throttled_s
        self.lost += 1
        return self.lost <= self._timeouts.retries and now + failure.pause <= self.until


class Client:
    """Calls to one service. Safe to use from several threads."""

    def __init__(  # noqa: PLR0913 - tests replace the parameters that have a default
        self,
        base_url: str,
        emit: Emit,
        rate_limiter: RateLimiter,
        *,
        redaction: Redaction | None = None,
        local_token: str = "",
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._host = self.base_url.partition("://")[2].partition("/")[0]
        self.timeouts = timeouts or read_timeouts(os.environ)
        self.sleep = sleep
        self.clock = clock
        self._rate_limiter = rate_limiter
        self._emit = emit
        self.redaction = redaction or Redaction()
        self._tokens = Tokens(self.base_url, self.redaction.know, local_token)
        # The time of the service in its last reply, and when that was by `clock`.
        self._told: tuple[datetime, float] | None = None
        self._connections = make_connections(
            self.base_url, self.timeouts.connect_s, self.timeouts.read_s
        )
        self._long_answer = threading.Lock()

    def send(  # noqa: PLR0913 - each says one thing about one call
        self,
        method: str,
        url: str,
        body: Json = None,
        token: str = "",
        *,
        listed: bool = False,
        repeats: bool = False,
        answers: Collection[int] = (),
        headers: Mapping[str, str] = _NO_HEADERS,
        apart: SeparateLimit | None = None,
    ) -> Reply:
        """Send one call with its retries; returns an answer with a status below 300.

        `url` is a path below the base URL or a whole URL of the same origin; it is sent byte for
        byte. An empty `token` means the token of the cloud. The answer to a list (`listed`) may be
        longer. A call that `repeats` changes nothing, whatever its method is, so it is sent again
        like a read. An answer with a status of `answers` is returned too, such as `NOT_MODIFIED`.
        `headers` go beside those of every call. `apart` is the limit that the service counts this
        call under. Raises ServiceError, or the errors of the rate limiter and its permits.
        ReplyLost means that a write may have been done; after any other error it was not done.
        """
        target = self.resolve(url)
        tries = _Attempts(self.timeouts, self.clock())
        while True:
            permit = self._rate_limiter.admit(method, target, self.timeouts.throttled_s, apart)
            tries.until += permit.waited_s
            most = _MOST_BYTES_OF_LIST if listed else _MOST_BYTES
            again = repeats or method == "GET"
            request = _Request(method, target, body, token, permit, most, again, answers, headers)
            answer = self._try(request, tries.lost)
            if isinstance(answer, Reply):
                return answer
            if answer.pause is None or not tries.may_go_on(answer, self.clock()):
                raise answer.error
            if not answer.refused:
                said = answer.error.message
                self._emit(Retrying(f"{method} {origin_of(target)[1]}", said, answer.pause))
                self.sleep(answer.pause)

    def now(self) -> datetime:
        """The time of the service: the Date of its last reply and the time since then.

        It is the time of this machine if the service has not told its own.
        """
        if self._told is None:
            return datetime.now(UTC)
        told, at = self._told
        return told + timedelta(seconds=self.clock() - at)

    def pages(self, url: str) -> Iterator[Json]:
        """The items of a list, page by page; raises as `read_pages` does."""
        for page in self.read_pages(url):
            yield from page.document["value"]

    def read_pages(self, url: str) -> Iterator[Reply]:
        """The pages of a list, each with a list of items; `nextLink` is followed byte for byte.

        Raises Unavailable for an answer that is not a list, that repeats a page or that has too
        many pages.
        """
        seen: set[str] = set()
        empty = 0
        while url:
            if len(seen) == _MOST_PAGES:
                raise Unavailable(f"the service's list has more than {_MOST_PAGES} pages")
            seen.add(url)
            reply = self.send("GET", url, listed=True)
            check_complete(reply)
            page = reply.document
            items = page.get("value") if isinstance(page, dict) else None
            if not isinstance(items, list):
                raise Unavailable("the service answers a list without items", status=200)
            empty = 0 if items else empty + 1
            if empty > _MOST_EMPTY:
                raise Unavailable("the service's list has too many empty pages", status=200)
            yield reply
            url = reply.raw.get("nextLink") or ""
            if not isinstance(url, str):
                raise Unavailable("the service's list has an invalid nextLink", status=200)
            if url in seen:
                raise Unavailable("the service's list repeats a page", status=200)

    def resolve(self, url: str) -> str:
        """The whole URL; raises Rejected for a text that is not a URL or has another origin."""
        own = url.startswith("/") and not url.startswith("//")
        target = self.base_url + url if own else url
        if not is_address(target):
            raise Rejected(
                "the service answers with an invalid address",
                subject=origin_of(self.base_url)[1],
                next_step="Nothing was sent there. Check what answers at spec.cloud's address.",
            )
        if not own and origin_of(target) != origin_of(self.base_url):
            # A token must not be sent to an origin that an answer names.
            raise Rejected(
                f"the service answers with an address of another origin, {self._name_host(target)}",
                subject=origin_of(self.base_url)[1],
                next_step="Nothing was sent there. Check what answers at spec.cloud's address.",
            )
        return target

    def _try(self, request: _Request, lost: int) -> Reply | _FailedAttempt:
        within, permit, read = self.timeouts.throttled_s, request.permit, request.repeats
        try:
            reply = self._exchange(request)
        except TransportError as lost_reply:
            return self._classify_loss(lost_reply, request.url, lost, read=read)
        except Unavailable as error:
            return self._classify_unread(error, request, lost)
        if reply.status < 400 or reply.status in request.answers:
            permit.learn(reply.status, reply.headers, "", within)
            return reply
        failed = make_error(reply, local=is_loopback(request.url))
        pause = permit.learn(reply.status, reply.headers, failed.message, within)
        if isinstance(failed, Throttled):
            return _FailedAttempt(failed, pause, refused=True)
        if reply.status < 500:
            return _FailedAttempt(failed, None)
        return (
            _FailedAttempt(failed, self._pause(lost, reply))
            if read
            else _FailedAttempt(_perhaps(failed), None)
        )

    def _classify_loss(
        self, lost_reply: TransportError, url: str, lost: int, *, read: bool
    ) -> _FailedAttempt:
        """The error of a call without an answer, and the pause before its retry."""
        failed = self._lost(url, lost_reply)
        again = None if lost_reply.lasting else self._pause(lost)
        if read or not lost_reply.sent:
            return _FailedAttempt(failed, again)
        return _FailedAttempt(_perhaps(failed), None)

    def _classify_unread(self, error: Unavailable, request: _Request, lost: int) -> _FailedAttempt:
        """The error of a call whose answer cannot be read, or that has no token."""
        if isinstance(error, NoToken):
            # Nothing was sent, and azure-core has repeated what a repetition can help.
            return _FailedAttempt(error, None)
        # The answer cannot be read, but it shows that the service accepts calls.
        request.permit.learn(error.status, {}, "", self.timeouts.throttled_s)
        if not request.repeats:
            return _FailedAttempt(_perhaps(error), None)
        return _FailedAttempt(
            error, None if isinstance(error, ReplyTooLarge) else self._pause(lost)
        )

    def _exchange(self, request: _Request) -> Reply:
        """Send one request with exactly these parts; no cookie or header is kept for the next.

        Its permit is checked last, after the waits for the token and the connection.
        """
        token = request.token or self._tokens.get()
        own = {**request.headers, "Authorization": f"Bearer {token}"}
        headers, body = {**_HEADERS, **own}, None
        if request.body is not None:
            body = json.dumps(request.body, allow_nan=False).encode()
            headers["Content-Type"] = "application/json; charset=utf-8"
        if request.method != "GET":
            headers["Content-Length"] = str(len(body or b""))
        target = "/" + request.url.partition("://")[2].partition("/")[2]
        log = RequestLog(request.method, request.url, self._redact_url)
        try:
            with call_span(request.method, self._host) as span:
                reply = self._call(request, target, headers, body)
                span.set("http.response.status_code", reply.status)
        except BaseException as error:
            log.failed(error)
            outcome = "refused" if isinstance(error, Rejected) else "lost"
            self._emit(CallEnded(request.method, outcome))
            raise
        log.answered(reply.status, lambda: read_request_id(reply.headers))
        self._emit(CallEnded(request.method, _name_outcome(reply.status)))
        return reply

    def _call(
        self, request: _Request, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> Reply:
        answer = self._connections.send(request.method, target, headers, body, request.permit.check)
        try:
            return self._receive(request, answer)
        except BaseException:
            answer.close()
            raise

    def _redact_url(self, url: str) -> str:
        return clean(self.redaction.redact(url))

    def _receive(self, request: _Request, answer: Answer) -> Reply:
        told = read_date(answer.headers)
        if told is not None:
            self._told = told, self.clock()
        if 300 <= answer.status < 400 and answer.status not in request.answers:
            raise self._redirected(request.url, answer)
        with ExitStack() as held:
            body = self._read_bounded(answer, request.most_bytes, held)
            most = (request.most_bytes - len(body)) // BYTES_OF_VALUE
            return parse_reply(answer.status, answer.headers, body, self.redaction, most)

    def _read_bounded(self, answer: Answer, most: int, held: ExitStack) -> bytes:
        """The decoded body; `held` keeps other long answers waiting after a long one."""
        parts, size = [], 0
        while part := answer.read(_CHUNK):
            if size <= _LONG_BYTES < size + len(part):
                held.enter_context(self._long_answer)
            size += len(part)
            if size > most:
                said = f"the service answers more than {most // 1024 // 1024} MB"
                raise ReplyTooLarge(said, status=answer.status)
            parts.append(part)
        return b"".join(parts)

    def _redirected(self, url: str, answer: Answer) -> Rejected:
        target = join_addresses(url, answer.headers.get("Location", ""))
        where = self._name_host(target) if is_address(target) else "an invalid address"
        return Rejected(
            f"the service redirects to {where}",
            status=answer.status,
            next_step="The redirect was not followed, and the token was not sent there."
            " Correct the address in spec.cloud.",
        )

    def _name_host(self, url: str) -> str:
        """The host in a URL from the service, without secrets: the service may repeat our input."""
        return clean(self.redaction.redact(origin_of(url)[1]))

    def _lost(self, url: str, lost_reply: TransportError) -> Unavailable:
        """The error for a lost answer. The library's own text may quote the URL and is left out."""
        scheme, host, port = origin_of(url)
        local = " Is the emulator running? Start it with: reconciler emulator"
        return Unavailable(
            f"{scheme}://{host}:{port}: {lost_reply.said}",
            next_step=lost_reply.next_step
            or "Check the address in spec.cloud and the network."
            + (local if is_loopback(url) else ""),
            code=lost_reply.name,
        )

    def _pause(self, lost: int, reply: Reply | None = None) -> float:
        """The seconds that the service asks for, else exponential backoff with jitter.

        It grows with the number of lost answers. A refused call has its own pause in the rate
        limiter.
        """
        asked = read_retry_after(reply.headers) if reply is not None else None
        if asked is None:
            asked = min(0.2 * 2**lost, 10.0) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        return min(asked, self.timeouts.longest_wait_s)


def make_connections(base_url: str, connect_s: float, read_s: float) -> Connections:
    """Connections for the origin of a base URL. requests is imported only if it is needed."""
    if origin_of(base_url)[0] == "http" and is_loopback(base_url):
        from reconciler.transport.loopback import LoopbackConnections  # noqa: PLC0415 - as below

        return LoopbackConnections(base_url, connect_s, read_s)
    from reconciler.transport.remote import RemoteConnections  # noqa: PLC0415 - it is slow

    return RemoteConnections(base_url, connect_s, read_s)


def _name_outcome(status: int) -> str:
    """The word of a status in `CallEnded`."""
    if status in {429, 503}:
        return "throttled"
    return "ok" if status < 400 else "refused" if status < 500 else "failed"


def _perhaps(error: ServiceError) -> ReplyLost:
    """The same error for a write, as ReplyLost: the write may have been done or not."""
    return ReplyLost(
        error.message,
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        subject=error.subject,
        next_step=error.next_step,
    )
