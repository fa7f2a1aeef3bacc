"""One base URL, one pooled session, one budget of retries for each call.

A call is repeated only where that is safe: a read after any lost answer, a write only where the
service said that it did not act (429, 503) or was never reached.
"""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urljoin

import requests
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import MaxRetryError, NewConnectionError

from reconciler import __version__
from reconciler.errors import ReconcilerError, Rejected, ServiceError, Throttled, Unavailable
from reconciler.model import Json, Retrying
from reconciler.ports import Emit
from reconciler.transport.credentials import Tokens
from reconciler.transport.exact import ExactAdapter
from reconciler.transport.origins import is_loopback, origin_of
from reconciler.transport.replies import Reply, clean, make_error, parse_reply

_MOST_BYTES: Final = 64 * 1024 * 1024
_CHUNK: Final = 256 * 1024
_CONNECTIONS: Final = 64
_HEADERS: Final = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": f"reconciler/{__version__}",
}
_TIMEOUT_VARIABLE: Final = "RECONCILER_TIMEOUT"


@dataclass(frozen=True, slots=True)
class Budget:
    """How long one call may take. Times in seconds; `retries` counts repeats, not the first try."""

    retries: int = 6
    total_s: float = 120.0
    longest_wait_s: float = 60.0
    connect_s: float = 10.0
    read_s: float = 30.0


def read_budget(environment: Mapping[str, str]) -> Budget:
    """The usual budget; RECONCILER_TIMEOUT says how many seconds an answer is waited for.

    Raises ReconcilerError for one that is no number of seconds between 0 and an hour.
    """
    given = environment.get(_TIMEOUT_VARIABLE, "")
    if not given:
        return Budget()
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", given) or not 0 < float(given) <= 3600:
        raise ReconcilerError(
            "is no number of seconds between 0 and 3600",
            subject=_TIMEOUT_VARIABLE,
            next_step=f"Leave it out, or set it such as {_TIMEOUT_VARIABLE}=30.",
        )
    seconds = float(given)
    return Budget(total_s=4 * seconds, connect_s=min(10.0, seconds), read_s=seconds)


@dataclass(frozen=True, slots=True)
class _Failure:
    """An attempt that failed; `pause` in seconds before it is repeated, None where it is not."""

    error: ServiceError
    pause: float | None


class Client:
    """Calls to one service. Safe to use from several threads."""

    def __init__(
        self,
        base_url: str,
        emit: Emit,
        *,
        budget: Budget | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.budget = budget or read_budget(os.environ)
        self.sleep = sleep
        self._emit = emit
        self._tokens = Tokens(self.base_url)
        self._lock = threading.Lock()
        self._calls = 0
        session = requests.Session()
        session.trust_env = not is_loopback(base_url)
        # Proxies and certificates as the environment has them; streamed, and always verified.
        settings = session.merge_environment_settings(self.base_url, {}, True, True, None)  # noqa: FBT003
        self._settings: dict[str, Any] = dict(settings)
        self._adapter = ExactAdapter(pool_connections=1, pool_maxsize=_CONNECTIONS)

    @property
    def calls(self) -> int:
        """How many requests were sent, repeats included."""
        return self._calls

    def send(self, method: str, url: str, body: Json = None) -> Reply:
        """One call; returns any answer below 400.

        `url` is a path below the base URL or a whole URL of the same origin; it is sent byte for
        byte. Raises ServiceError.
        """
        target = self._resolve(url)
        deadline = time.monotonic() + self.budget.total_s
        attempt = 0
        while True:
            answer = self._try(method, target, body, attempt)
            if isinstance(answer, Reply):
                return answer
            pause, attempt = answer.pause, attempt + 1
            if pause is None or attempt > self.budget.retries:
                raise answer.error
            if time.monotonic() + pause > deadline:
                raise answer.error
            self._emit(Retrying(f"{method} {origin_of(target)[1]}", answer.error.message, pause))
            self.sleep(pause)

    def pages(self, url: str) -> Iterator[Json]:
        """The items of a list, page after page; `nextLink` is followed byte for byte.

        Raises Unavailable for a list that is none, or that leads in a circle.
        """
        seen = set()
        while url:
            seen.add(url)
            page = self.send("GET", url).document
            items = page.get("value") if isinstance(page, dict) else None
            if not isinstance(items, list):
                raise Unavailable("the service answers a list without items", status=200)
            yield from items
            url = page.get("nextLink") or ""
            if url in seen:
                raise Unavailable("the service's list leads in a circle", status=200)

    def _resolve(self, url: str) -> str:
        if url.startswith("/"):
            return self.base_url + url
        target = url
        if origin_of(target) != origin_of(self.base_url):
            # A token must not follow wherever an answer points.
            raise Rejected(
                f"the service points to another origin, {origin_of(target)[1]}",
                subject=origin_of(self.base_url)[1],
                next_step="Nothing was sent there. Check what answers at spec.cloud's address.",
            )
        return target

    def _try(self, method: str, url: str, body: Json, attempt: int) -> Reply | _Failure:
        read = method == "GET"
        try:
            reply = self._exchange(method, url, body)
        except requests.exceptions.RequestException as error:
            said, again = self._judge_loss(error, read=read)
            return _Failure(self._lost(url, said, error), self._pause(attempt) if again else None)
        if reply.status < 400:
            return reply
        failed = make_error(reply)
        again = isinstance(failed, Throttled) or (read and reply.status >= 500)
        asked = reply.headers.get("Retry-After", "")
        return _Failure(failed, self._pause(attempt, asked) if again else None)

    def _judge_loss(
        self, error: requests.exceptions.RequestException, *, read: bool
    ) -> tuple[str, bool]:
        """What became of a call without an answer, and whether it may be repeated."""
        if isinstance(error, requests.exceptions.SSLError):
            return "its certificate cannot be verified", False
        if isinstance(error, requests.exceptions.ConnectTimeout) or _never_sent(error):
            return "cannot be reached", True
        if isinstance(error, requests.exceptions.Timeout):
            return f"no answer within {self.budget.read_s:g} s", read
        return "the answer broke off", read

    def _exchange(self, method: str, url: str, body: Json) -> Reply:
        with self._lock:
            self._calls += 1
        limits = (self.budget.connect_s, self.budget.read_s)
        prepared = self._prepare(method, url, body)
        with self._adapter.send(prepared, timeout=limits, **self._settings) as answer:
            if 300 <= answer.status_code < 400:
                raise _redirected(answer)
            return parse_reply(answer.status_code, answer.headers, _read_bounded(answer))

    def _prepare(self, method: str, url: str, body: Json) -> requests.PreparedRequest:
        """The request exactly as it stands here.

        A session would spell escaped characters of the URL anew, look for a password in .netrc,
        keep cookies and follow redirects; none of that is wanted, and it costs as much as the call.
        """
        prepared = requests.PreparedRequest()
        prepared.method, prepared.url, prepared.hooks = method, url, {}
        prepared.headers = CaseInsensitiveDict(_HEADERS)
        prepared.headers["Authorization"] = f"Bearer {self._tokens.get()}"
        if body is not None:
            prepared.body = json.dumps(body, allow_nan=False).encode()
            prepared.headers["Content-Type"] = "application/json; charset=utf-8"
        if method != "GET":
            prepared.headers["Content-Length"] = str(len(prepared.body or b""))
        return prepared

    def _lost(self, url: str, said: str, error: Exception) -> Unavailable:
        """No answer. The library's own text may quote the URL, so it is left out."""
        scheme, host, port = origin_of(url)
        local = " Is the emulator running? Start it with: reconciler emulator"
        return Unavailable(
            f"{scheme}://{host}:{port}: {said}",
            next_step="Check the address in spec.cloud and the network."
            + (local if is_loopback(url) else ""),
            code=type(error).__name__,
        )

    def _pause(self, attempt: int, retry_after: str = "") -> float:
        """What the service asks for, else a growing wait with some chance in it."""
        asked = _seconds(retry_after)
        if asked is None:
            asked = min(0.2 * 2**attempt, 10.0) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        return min(asked, self.budget.longest_wait_s)


def _never_sent(error: requests.exceptions.RequestException) -> bool:
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else cause
    return isinstance(reason, NewConnectionError)


def _redirected(answer: requests.Response) -> Rejected:
    target = origin_of(urljoin(answer.url, answer.headers.get("Location", "")))[1]
    return Rejected(
        f"the service redirects to {clean(target)}",
        status=answer.status_code,
        next_step="It was not followed: the token stays here. Correct the address in spec.cloud.",
    )


def _read_bounded(answer: requests.Response) -> bytes:
    parts, size = [], 0
    for part in answer.iter_content(_CHUNK):
        size += len(part)
        if size > _MOST_BYTES:
            raise Unavailable(
                f"the service answers more than {_MOST_BYTES // 1024 // 1024} MB",
                status=answer.status_code,
            )
        parts.append(part)
    return b"".join(parts)


def _seconds(retry_after: str) -> float | None:
    """Seconds to wait by a Retry-After header, which counts seconds or names a time."""
    if not retry_after:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
