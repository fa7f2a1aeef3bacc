"""Persistent connections of urllib3; requests configures them from the environment.

To send a call with requests takes several times as long as the call itself, and requests rewrites
escape sequences (`%3d` becomes `%3D`). So each call uses the pool that requests has made.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse, Timeout
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from reconciler.transport.connections import (
    Headers,
    TimedResponse,
    TransportError,
    say_broken_off,
    say_late,
    say_unreached,
)
from reconciler.transport.origins import is_loopback

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

_KEPT: Final = 64
_TARGET: Final = "X-Exact-Target"


class RemoteConnections:
    """Connections to the origin of a base URL. Safe to use from several threads."""

    def __init__(self, base_url: str, connect_s: float, read_s: float) -> None:
        self._base_url = base_url
        self._read_s = read_s
        self._timeout = Timeout(connect=connect_s, read=read_s)

    @cached_property
    def _pool(self) -> HTTPConnectionPool:
        """The pool, with the environment's proxies and certificates; certificates are verified."""
        session = requests.Session()
        session.trust_env = not is_loopback(self._base_url)
        said = session.merge_environment_settings(self._base_url, {}, True, True, None)  # noqa: FBT003
        request = requests.Request("GET", self._base_url).prepare()
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=_KEPT)
        made: Any = adapter.get_connection_with_tls_context(
            request, said["verify"], proxies=said["proxies"], cert=said["cert"]
        )
        made.ConnectionCls = type("_Connection", (_ExactTarget, made.ConnectionCls), {})
        pool: HTTPConnectionPool = made
        return pool

    def send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> _RemoteAnswer:
        """Send a call once, with its target byte for byte; the body of the answer is unread.

        A redirect is not followed. Raises TransportError.
        """
        try:
            pool = self._pool
        except (HTTPError, requests.exceptions.RequestException) as error:
            # The environment names a proxy whose address is not valid.
            raise say_unreached(type(error).__name__) from error
        try:
            answer = pool.urlopen(
                method,
                "/",
                body,
                {**headers, _TARGET: target},
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=self._timeout,
                preload_content=False,
            )
        except HTTPError as error:
            raise _explain(error, self._read_s) from error
        return _RemoteAnswer(answer, self._read_s)


class _RemoteAnswer:
    def __init__(self, answer: BaseHTTPResponse, read_s: float) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = Headers(answer.headers.items())
        self._answer = answer
        self._read_s = read_s

    def read(self, size: int) -> bytes:
        """The next part of the body, `size` bytes at most. Raises TransportError."""
        try:
            return self._answer.read(size, decode_content=True)
        except HTTPError as error:
            raise _explain(error, self._read_s) from error

    def close(self) -> None:
        """Release the connection, even if part of the body is unread."""
        self._answer.close()


def read_decoded(
    answer: http.client.HTTPResponse, headers: Mapping[str, str], read_s: float
) -> Callable[[int], bytes]:
    """A function that reads the next part of a compressed body and decompresses it."""
    try:
        whole: Any = HTTPResponse(answer, headers, answer.status, preload_content=False)
    except HTTPError as error:
        raise _explain(error, read_s) from error
    return _RemoteAnswer(whole, read_s).read


def _explain(error: Exception, read_s: float) -> TransportError:
    name = type(error).__name__
    if _is_distrust(error):
        said = "its certificate cannot be verified"
        return TransportError(name, said, sent=False, distrusted=True)
    if isinstance(error, _UNSENT):
        return say_unreached(name)
    return say_late(name, read_s) if isinstance(error, ReadTimeoutError) else say_broken_off(name)


_UNSENT: Final = (ConnectTimeoutError, NewConnectionError, ProxyError)


def _is_distrust(error: Exception) -> bool:
    """Whether the certificate was refused; then no request was sent."""
    causes = error.args if isinstance(error, SSLError) else ()
    return any(isinstance(one, ssl.SSLCertVerificationError) for one in causes)


class _ExactTarget:
    """A connection that takes its target from an internal header; that header is never sent."""

    response_class = TimedResponse

    def request(
        self, method: str, _: str, body: Any = None, headers: Any = (), **rest: Any
    ) -> None:
        kept = dict(headers)
        target = kept.pop(_TARGET)
        super().request(method, target, body, kept, **rest)  # type: ignore[misc]  # mixed in
