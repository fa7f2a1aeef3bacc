"""Persistent connections of urllib3, which requests makes.

To send a call with requests takes several times as long as the call itself, and requests rewrites
escape sequences (`%3d` becomes `%3D`). So each call uses the pool that requests has made.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse, Timeout
from urllib3.exceptions import HTTPError, ReadTimeoutError

from reconciler.transport.connections import (
    Check,
    Headers,
    TimedResponse,
    TransportError,
    allow,
    make_broken_off_error,
    make_late_error,
    split_body,
)
from reconciler.transport.routes import (
    Unconnected,
    explain_unconnected,
    explain_unusable,
    find_route,
)

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

_KEPT: Final = 64
_TARGET: Final = "X-Exact-Target"


class RemoteConnections:
    """Connections to the origin of a base URL. Safe to use from several threads."""

    def __init__(self, base_url: str, connect_s: float, read_s: float) -> None:
        self._base_url = base_url
        self._route = find_route(base_url)
        self._read_s = read_s
        self._timeout = Timeout(connect=connect_s, read=read_s)
        # Whether a call was sent before.
        self._known = False

    @cached_property
    def _pool(self) -> HTTPConnectionPool:
        request = requests.Request("GET", self._base_url).prepare()
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=_KEPT)
        made: Any = adapter.get_connection_with_tls_context(
            request, self._route.verify, proxies=self._route.proxies
        )
        made.ConnectionCls = type("_Connection", (_ExactTarget, made.ConnectionCls), {})
        pool: HTTPConnectionPool = made
        return pool

    def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        check: Check = allow,
    ) -> _RemoteAnswer:
        """Send a call once, as `Connections.send` says."""
        try:
            pool = self._pool
        except (HTTPError, requests.exceptions.RequestException) as error:
            raise explain_unusable(error, self._route) from error
        try:
            answer = pool.urlopen(
                method,
                "/",
                body,
                {**headers, _TARGET: _Target(target, check)},
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=self._timeout,
                preload_content=False,
            )
        except Unconnected as failed:
            raise explain_unconnected(failed, self._route, known=self._known) from failed
        except HTTPError as error:
            self._known = True
            raise _explain(error, self._read_s) from error
        self._known = True
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
    """The error of a call that a connection may have sent."""
    name = type(error).__name__
    return (
        make_late_error(name, read_s)
        if isinstance(error, ReadTimeoutError)
        else make_broken_off_error(name)
    )


class Watched:
    """A connection of urllib3 that limits the time of a whole answer.

    It raises Unconnected for every failure before the first byte of a request. The types of the
    libraries' errors do not show whether a request was sent.
    """

    response_class = TimedResponse
    _behind_proxy = False

    def connect(self) -> None:
        """Open the connection, up to the end of the TLS handshake."""
        self._behind_proxy = False
        try:
            super().connect()  # type: ignore[misc]  # mixed in
        except Exception as error:
            begun = getattr(self, "sock", None) is not None
            raise Unconnected(error, behind_proxy=self._behind_proxy, begun=begun) from error

    def _tunnel(self) -> None:
        super()._tunnel()  # type: ignore[misc]  # mixed in
        self._behind_proxy = True


class _Target(str):
    """A target, and the check that a connection makes before it sends the first byte."""

    __slots__ = ("check",)
    check: Check

    def __new__(cls, target: str, check: Check) -> Self:
        """Return the target with its check."""
        made = super().__new__(cls, target)
        made.check = check
        return made


class _ExactTarget(Watched):
    """A connection that takes its target from an internal header; that header is never sent."""

    def request(
        self, method: str, _: str, body: Any = None, headers: Any = (), **rest: Any
    ) -> None:
        kept = dict(headers)
        target: _Target = kept.pop(_TARGET)
        connection: Any = self
        if connection.sock is None:
            connection.connect()
        target.check()
        sent = split_body(body, target.check)
        super().request(method, str(target), sent, kept, **rest)  # type: ignore[misc]  # mixed in
