"""Calls to the API of one forge: GitHub, Azure Repos or GitLab.

A token is sent to the origin of the API only, and a redirect is never followed. A read is sent
again after a lost answer. So is a call that does no harm twice, also after a conflict (409). Any
other call is not: its answer is a ReplyLost, and the caller reads before it sends the call again. A
call that the forge refuses for now was not done, so it waits as long as the forge asks. In a dry
run each request is printed and only reads are sent.
"""

from __future__ import annotations

import base64
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Final

from reconciler import __version__
from reconciler.errors import (
    Busy,
    ReconcilerError,
    Rejected,
    ReplyLost,
    ServiceError,
    Unavailable,
)
from reconciler.model import Json, Retrying
from reconciler.model.values import dataclass
from reconciler.ports import Emit
from reconciler.secrets.redaction import Redaction
from reconciler.transport.client import make_connections
from reconciler.transport.connections import Answer, TransportError
from reconciler.transport.credentials import check_sendable
from reconciler.transport.forge_replies import (
    find_next,
    is_limited,
    is_sign_in,
    make_forge_error,
    make_sign_in_error,
    read_forge_id,
    read_wait,
)
from reconciler.transport.origins import is_address, is_loopback, join_addresses, origin_of
from reconciler.transport.replies import (
    Reply,
    ReplyTooLarge,
    clean,
    parse_reply,
    read_retry_after,
)
from reconciler.transport.request_log import RequestLog
from reconciler.transport.timeouts import Timeouts, read_timeouts

_MOST_BYTES: Final = 16 * 1024 * 1024
_MOST_VALUES: Final = 500_000
_CHUNK: Final = 256 * 1024
# The longest list that is needed has the comments of one request, 100 on each page.
_MOST_PAGES: Final = 200
_BASIC: Final = "Basic "
_CHECK: Final = "Check the address of the API, and the network of the job."


@dataclass(frozen=True, slots=True)
class ForgeToken:
    """A token, the variable that holds it, and the header in which it is sent.

    With the scheme Basic it is the password of a user without a name. `reads_only` says that the
    forge refuses each write with this token.
    """

    value: str = field(repr=False)
    variable: str
    header: str = "Authorization"
    scheme: str = "Bearer "
    reads_only: bool = False


class Speaker:
    """Calls to one API; `name` is the name of the forge for people. Not for several threads."""

    def __init__(  # noqa: PLR0913 - tests replace the parameters that have a default
        self,
        name: str,
        base_url: str,
        token: ForgeToken,
        emit: Emit,
        *,
        headers: Mapping[str, str] | None = None,
        redaction: Redaction | None = None,
        print_request: Callable[[str], None] | None = None,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """With `print_request` this is a dry run: the answer to a write has no document.

        Raises ReconcilerError for a wrong address.
        """
        self.name = name
        self.base_url = base_url.rstrip("/")
        self.token = token
        self.sleep = sleep
        self._emit = emit
        self._redaction = redaction or Redaction()
        self._redaction.know(token.value)
        self._print = print_request
        self._timeouts = timeouts or read_timeouts(os.environ)
        self._clock = clock
        # Azure may ask for a wait with an answer that is not a refusal.
        self._not_before = 0.0
        self._headers = _make_headers(token, headers or {}, name)
        _check_base(self.base_url, name)
        self._connections = make_connections(
            self.base_url, self._timeouts.connect_s, self._timeouts.read_s
        )

    def send(
        self,
        method: str,
        target: str,
        body: Json = None,
        *,
        right: str = "",
        again: bool = False,
        once: bool = False,
    ) -> Reply:
        """Send one call, and return its answer if the status is below 300.

        `target` is a path below the base URL, or a whole URL of the same origin; each part of it
        is escaped already. `right` names the right that the call needs, for its error. `again`
        says that a second call of the same kind does no harm. `once` says that the call would be
        wrong later: if the forge refuses it for now, Throttled is raised after the wait. Raises
        ServiceError; ReplyLost for a call that may have been done.
        """
        url = self._resolve(target)
        if self._print is not None:
            self._print(self._describe(method, url, body))
            if method != "GET":
                return Reply(200, {}, None)
        lost, refused, started = 0, 0, self._clock()
        failed: ServiceError
        repeats = again or method == "GET"
        while True:
            try:
                return self._exchange(method, url, body, right)
            except _Limited as limited:
                failed, pause = limited.error, read_wait(limited.reply, refused)
                most_s, refused = self._timeouts.throttled_s, refused + 1
            except (Unavailable, Busy) as error:
                failed, pause = self._judge_lost(error, lost, repeats=repeats)
                most_s, lost = self._timeouts.total_s, lost + 1
            if self._clock() + pause - started > most_s:
                raise failed
            self._emit(Retrying(f"{method} {self._shorten(url)}", failed.message, pause))
            self.sleep(pause)
            if once:
                raise failed

    def _judge_lost(
        self, error: Unavailable | Busy, lost: int, *, repeats: bool
    ) -> tuple[ServiceError, float]:
        """The error of a lost answer, or of a lock, and the pause before the next try.

        Raises the error after the last try.
        """
        if isinstance(error, Busy) and not repeats:
            raise error
        if isinstance(error, Unavailable) and not (repeats or isinstance(error, _NotSent)):
            raise _perhaps(error) from None
        if isinstance(error, (_Lasting, ReplyTooLarge)) or lost >= self._timeouts.retries:
            raise error
        pause = min(0.2 * 2**lost, 10.0) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        return error, pause

    def read(self, target: str, right: str = "") -> dict[str, Json]:
        """Read one object; raises Unavailable for an answer that is not an object."""
        document = self.send("GET", target, right=right).document
        if not isinstance(document, dict):
            raise self._malformed(target, "an object")
        return document

    def read_pages(self, target: str, right: str = "") -> Iterator[dict[str, Json]]:
        """The objects of a list, page by page; a list may be wrapped as `value`.

        Raises Unavailable for an answer that is not a list of objects, or for too many pages.
        """
        seen: set[str] = set()
        while target:
            url = self._resolve(target)
            if url in seen or len(seen) == _MOST_PAGES:
                raise self._malformed(
                    url, f"a list that ends within {_MOST_PAGES} pages and repeats no page"
                )
            seen.add(url)
            reply = self.send("GET", url, right=right)
            items = reply.document
            items = items.get("value") if isinstance(items, dict) else items
            if not isinstance(items, list) or not all(isinstance(one, dict) for one in items):
                raise self._malformed(url, "a list of objects")
            yield from items
            target = find_next(reply.headers) or _count_page(url, reply.headers)

    def _describe(self, method: str, url: str, body: Json) -> str:
        """A request for people; the token is in no part of it."""
        said = f"{method} {url}"
        if body is not None:
            said += "\n" + json.dumps(body, indent=2, ensure_ascii=False)
        return self._redaction.redact(said)

    def _resolve(self, target: str) -> str:
        """The whole URL; raises Rejected for one of another origin, where no token is sent."""
        own = target.startswith("/") and not target.startswith("//")
        url = self.base_url + target if own else target
        if not is_address(url) or origin_of(url) != origin_of(self.base_url):
            raise Rejected(
                f"{self.name} answers with an address of another origin, {self._shorten(url)}",
                subject=self._shorten(self.base_url),
                next_step=f"Nothing was sent there. {_CHECK}",
            )
        return url

    def _redact_url(self, url: str) -> str:
        return clean(self._redaction.redact(url))

    def _name_call(self, method: str, url: str) -> str:
        """A call for people, without its query."""
        return f"{method} {self._redact_url(url.partition('?')[0])}"

    def _shorten(self, url: str) -> str:
        host = origin_of(url)[1] if is_address(url) else "which is not valid"
        return clean(self._redaction.redact(host))

    def _exchange(self, method: str, url: str, body: Json, right: str) -> Reply:
        """Send a call once. Raises _Limited, Unavailable, or the error of a refusal."""
        held = self._not_before - self._clock()
        if held > 0:
            self.sleep(held)
        log = RequestLog(method, url, self._redact_url)
        try:
            reply = self._call(method, url, body)
        except BaseException as error:
            log.failed(error)
            if isinstance(error, ServiceError):
                error.subject = error.subject or self._name_call(method, url)
            raise
        log.answered(reply.status, lambda: read_forge_id(reply.headers))
        if reply.status < 300:
            asked = read_retry_after(reply.headers) or 0.0
            longest = self._timeouts.longest_wait_s
            self._not_before = self._clock() + min(asked, longest) if asked else 0.0
            return reply
        refusal = make_forge_error(reply, self.name, self.token.variable, right)
        refusal.subject = self._name_call(method, url)
        if is_limited(reply):
            raise _Limited(refusal, reply)
        raise refusal

    def _call(self, method: str, url: str, body: Json) -> Reply:
        headers, data = dict(self._headers), None
        if body is not None:
            data = json.dumps(body, allow_nan=False).encode()
            headers["Content-Type"] = "application/json; charset=utf-8"
        if method != "GET":
            headers["Content-Length"] = str(len(data or b""))
        target = "/" + url.partition("://")[2].partition("/")[2]
        try:
            answer = self._connections.send(method, target, headers, data)
            try:
                return self._receive(answer)
            finally:
                answer.close()
        except TransportError as failed:
            raise self._lost(failed) from None

    def _receive(self, answer: Answer) -> Reply:
        if is_sign_in(answer.status, answer.headers, self.base_url):
            raise make_sign_in_error(self.name, answer.status, self.token.variable)
        if 300 <= answer.status < 400:
            raise self._redirected(answer)
        parts, size = [], 0
        while part := answer.read(_CHUNK):
            size += len(part)
            if size > _MOST_BYTES:
                raise _Lasting(
                    f"{self.name} answers more than {_MOST_BYTES // 1024 // 1024} MB",
                    status=answer.status,
                    next_step=_CHECK,
                )
            parts.append(part)
        return parse_reply(
            answer.status, answer.headers, b"".join(parts), self._redaction, _MOST_VALUES, _CHECK
        )

    def _redirected(self, answer: Answer) -> Rejected:
        target = join_addresses(f"{self.base_url}/", answer.headers.get("Location", ""))
        return Rejected(
            f"{self.name} redirects to {self._shorten(target)}",
            status=answer.status,
            next_step="The redirect was not followed, and the token was not sent there. The"
            " repository may have been renamed or moved: check its name and the address.",
        )

    @staticmethod
    def _lost(failed: TransportError) -> Unavailable:
        kind = _Lasting if failed.lasting else Unavailable if failed.sent else _NotSent
        return kind(failed.said, next_step=failed.next_step or _CHECK, code=failed.name)

    def _malformed(self, target: str, wanted: str) -> Unavailable:
        return Unavailable(
            f"{self.name} does not answer with {wanted}",
            subject=self._name_call("GET", self._resolve(target)),
            next_step=_CHECK,
        )


class _Limited(Exception):
    """A call that was refused for now. `error` is what is raised if the wait is too long."""

    def __init__(self, error: ServiceError, reply: Reply) -> None:
        super().__init__()
        self.error = error
        self.reply = reply


class _NotSent(Unavailable):
    """A call that was certainly not sent."""


class _Lasting(Unavailable):
    """A failure that the same call would meet again."""


def _perhaps(error: Unavailable) -> ReplyLost:
    return ReplyLost(
        error.message,
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        subject=error.subject,
        next_step=error.next_step,
    )


def _make_headers(token: ForgeToken, headers: Mapping[str, str], name: str) -> dict[str, str]:
    cure = f"Set {token.variable} to a token of {name}, without blanks or line breaks."
    check_sendable(token.value, "this", token.variable, cure)
    basic = token.scheme == _BASIC
    shown = base64.b64encode(f":{token.value}".encode()).decode() if basic else token.value
    return {
        "Accept": "application/json",
        "Accept-Encoding": "gzip, deflate",
        "User-Agent": f"reconciler/{__version__}",
        **headers,
        token.header: f"{token.scheme}{shown}",
    }


def _check_base(base_url: str, name: str) -> None:
    if not is_address(f"{base_url}/"):
        raise ReconcilerError(
            f"the address of {name} is not a URL",
            subject=clean(base_url),
            next_step="Write it as https://HOST/PATH.",
        )
    if not base_url.lower().startswith("https://") and not is_loopback(base_url):
        raise ReconcilerError(
            "no token is sent over plain http", subject=base_url, next_step="Use an https address."
        )


def _count_page(url: str, headers: Mapping[str, str]) -> str:
    """The address of the next page where a proxy removes the header Link; GitLab numbers pages."""
    number = headers.get("X-Next-Page", "").strip()
    if not number.isdecimal():
        return ""
    path, _, query = url.partition("?")
    kept = [one for one in query.split("&") if one and not one.startswith("page=")]
    return f"{path}?{'&'.join([*kept, f'page={number}'])}"
