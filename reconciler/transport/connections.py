"""Connections to one origin, kept open: urllib3's, set up by requests as the environment says.

requests' own way of sending costs several times what the call itself does, and spells escape
sequences anew (`%3d` becomes `%3D`). An opaque token of somebody else's, as in a list's `nextLink`,
must come back to them as they wrote it. So calls go to the pool that requests has made.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, Timeout
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from reconciler.transport.origins import is_loopback

# A part of an answer may take as long as the socket's timeout, all of it so many times as long.
_TIMES: Final = 4


if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

_KEPT: Final = 64
_UNREACHED: Final = "cannot be reached"
_TARGET: Final = "X-Exact-Target"


class TransportError(Exception):
    """A call without a whole answer. `said` is what became of it, in our own words.

    `sent` is False where it surely never was; `distrusted` where the certificate was refused.
    """

    def __init__(self, error: Exception, said: str, *, sent: bool, distrusted: bool) -> None:
        super().__init__(said)
        self.name = type(error).__name__
        self.said = said
        self.sent = sent
        self.distrusted = distrusted


class Connections:
    """Connections to the origin of a base URL. Safe to use from several threads."""

    def __init__(self, base_url: str, connect_s: float, read_s: float) -> None:
        self._base_url = base_url
        self._read_s = read_s
        self._timeout = Timeout(connect=connect_s, read=read_s)

    @cached_property
    def _pool(self) -> HTTPConnectionPool:
        """Proxies and certificates as the environment has them; always verified."""
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
    ) -> BaseHTTPResponse:
        """The answer, whose body is still to be read; the target is sent as it stands.

        Nothing is repeated and no redirect followed. Raises Broken.
        """
        try:
            pool = self._pool
        except (HTTPError, requests.exceptions.RequestException) as error:
            # A proxy's address that is none.
            raise TransportError(error, _UNREACHED, sent=False, distrusted=False) from error
        try:
            return pool.urlopen(
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
            raise self._explain(error) from error

    def read(self, answer: BaseHTTPResponse, size: int) -> bytes:
        """The next part of a body, about so long; nothing at its end. Raises Broken."""
        try:
            return answer.read(size, decode_content=True)
        except HTTPError as error:
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> TransportError:
        if _is_distrust(error):
            said = "its certificate cannot be verified"
            return TransportError(error, said, sent=False, distrusted=True)
        if isinstance(error, _UNSENT):
            return TransportError(error, _UNREACHED, sent=False, distrusted=False)
        late = isinstance(error, ReadTimeoutError)
        said = f"no answer within {self._read_s:g} s" if late else "the answer broke off"
        return TransportError(error, said, sent=True, distrusted=False)


_UNSENT: Final = (ConnectTimeoutError, NewConnectionError, ProxyError)


def _is_distrust(error: Exception) -> bool:
    """Whether the certificate was refused, so that nothing was sent."""
    causes = error.args if isinstance(error, SSLError) else ()
    return any(isinstance(one, ssl.SSLCertVerificationError) for one in causes)


class TimedResponse(http.client.HTTPResponse):
    """An answer whose reader gives up once all of it should have come; raises TimeoutError."""

    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        opening: Any = _Opening(sock)
        super().__init__(opening, *arguments, **named)


class _Opening:
    """A socket as an answer takes it: to read what comes."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(_Timed(self._sock))


class _Timed(io.RawIOBase):
    """What comes over a socket, until it is too late."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._raw: Any = sock.makefile("rb", buffering=0)
        self._part_s = sock.gettimeout()
        whole_s = float("inf") if self._part_s is None else _TIMES * self._part_s
        self._until = time.monotonic() + whole_s
        self._hasty = False

    def readable(self) -> bool:
        """It can be read."""
        return True

    def fileno(self) -> int:
        """The socket's own."""
        number: int = self._raw.fileno()
        return number

    def readinto(self, buffer: Any) -> int | None:
        """The next part of it; raises TimeoutError once all of it should have come."""
        if self._part_s is not None:
            left = self._until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if left < self._part_s:
                self._hasty = True
                self._sock.settimeout(left)
        read: int | None = self._raw.readinto(buffer)
        return read

    def close(self) -> None:
        """Let go of the socket, which may serve the next call as it was."""
        if self._hasty:
            with contextlib.suppress(OSError):  # it may be closed by now
                self._sock.settimeout(self._part_s)
        self._raw.close()
        super().close()


class _ExactTarget:
    """A connection that knows the header in which the target travels; it is never sent."""

    response_class = TimedResponse

    def request(
        self, method: str, _: str, body: Any = None, headers: Any = (), **rest: Any
    ) -> None:
        kept = dict(headers)
        target = kept.pop(_TARGET)
        super().request(method, target, body, kept, **rest)  # type: ignore[misc]  # mixed in
