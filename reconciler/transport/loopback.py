"""Persistent connections to a service on this machine, without a proxy or a certificate.

An emulator answers thousands of reads per second. The import of urllib3 would take a third of the
time of a small plan, and its calls a third of the time of a large one. The rules are those of
`remote`; one test suite checks both.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from reconciler.transport.connections import (
    Check,
    Headers,
    TimedResponse,
    allow,
    make_broken_off_error,
    make_late_error,
    make_other_protocol_error,
    make_unreached_error,
    split_body,
)

_KEPT: Final = 64
# An alert of TLS 1.x. A peer that expects TLS does not execute a request in plain HTTP.
_TLS_RECORD: Final = "\x15\x03"


class LoopbackConnections:
    """Connections to the origin of a base URL. Safe to use from several threads."""

    def __init__(self, base_url: str, connect_s: float, read_s: float) -> None:
        parts = urlsplit(base_url)
        self._host, self._port = parts.hostname or "", parts.port or http.client.HTTP_PORT
        self._connect_s, self._read_s = connect_s, read_s
        self._idle: deque[_Connection] = deque()
        weakref.finalize(self, _close_all, self._idle)

    def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        check: Check = allow,
    ) -> _LoopbackAnswer:
        """Send a call once, as `Connections.send` says."""
        connection = self._take() or self._connect()
        try:
            check()
            # If a service closes the connection before it has read the whole request, its answer
            # may say why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, target, split_body(body, check), dict(headers))
            answer = connection.getresponse()
        except TimeoutError as error:
            connection.close()
            raise make_late_error("ReadTimeoutError", self._read_s) from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if isinstance(error, http.client.BadStatusLine) and error.args[0].startswith(
                _TLS_RECORD
            ):
                raise make_other_protocol_error("BadStatusLine") from error
            raise make_broken_off_error("ProtocolError") from error
        except BaseException:
            connection.close()
            raise
        try:
            return _LoopbackAnswer(answer, connection, self, self._read_s)
        except BaseException:
            answer.close()
            connection.close()
            raise

    def keep(self, connection: _Connection) -> None:
        """Return a connection to the pool, for the next call."""
        if len(self._idle) < _KEPT:
            self._idle.append(connection)
        else:
            connection.close()

    def _take(self) -> _Connection | None:
        """An open connection from the pool, or None. The service may have closed idle ones."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.is_open():
                return connection
            connection.close()

    def _connect(self) -> _Connection:
        connection = _Connection(self._host, self._port, timeout=self._connect_s)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            late = isinstance(error, TimeoutError)
            name = "ConnectTimeoutError" if late else "NewConnectionError"
            raise make_unreached_error(name) from error
        connection.sock.settimeout(self._read_s)
        return connection


def _close_all(connections: Iterable[_Connection]) -> None:
    for connection in connections:
        connection.close()


class _Connection(http.client.HTTPConnection):
    response_class = TimedResponse
    sock: socket.socket

    def is_open(self) -> bool:
        """Whether there is a socket without unexpected input: a closed one has input."""
        if self.sock is None:
            return False
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return not poll.poll(0)


class _LoopbackAnswer:
    def __init__(
        self,
        answer: http.client.HTTPResponse,
        connection: _Connection,
        home: LoopbackConnections,
        read_s: float,
    ) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = Headers(answer.headers.items())
        self._answer, self._connection = answer, connection
        # None once the connection is returned to the pool or closed.
        self._home: LoopbackConnections | None = home
        self._read_s = read_s
        lengths = set(self.headers.get("Content-Length", "").replace(" ", "").split(","))
        if len(lengths) > 1:
            raise make_broken_off_error("InvalidHeader")
        self._read_part: Callable[[int], bytes] = self._read_plain
        if "Content-Encoding" in self.headers:
            from reconciler.transport.remote import read_decoded  # noqa: PLC0415 - it is slow

            self._read_part = read_decoded(answer, self.headers, read_s)

    def read(self, size: int) -> bytes:
        """The next part of the body, `size` bytes at most. Raises TransportError."""
        part = self._read_part(size)
        if not part:
            self._give_back()
        return part

    def _read_plain(self, size: int) -> bytes:
        try:
            part = self._answer.read(size)
        except TimeoutError as error:
            raise make_late_error("ReadTimeoutError", self._read_s) from error
        except (OSError, http.client.HTTPException) as error:
            raise make_broken_off_error("ProtocolError") from error
        if not part and self._answer.length:
            raise make_broken_off_error("ProtocolError")
        return part

    def _give_back(self) -> None:
        """Return the connection to the pool, unless it must be closed."""
        if self._home is None:
            return
        if self._answer.isclosed() and not self._answer.will_close:
            self._home.keep(self._connection)
            self._home = None
        else:
            self.close()

    def close(self) -> None:
        """Release the connection, even if part of the body is unread."""
        if self._home is not None:
            self._home = None
            self._connection.close()
        self._answer.close()
