"""Persistent connections to a service on this machine, without a proxy or a certificate.

An emulator answers thousands of reads per second. The import of urllib3 would take a third of the
time of a small plan, and its calls a third of the time of a large one. The rules are those of
`remote`; one test suite checks both.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import select
import socket
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
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


# A head that has one meaning for every parser. An answer without a body (204, 304) is not one.
_PLAIN_HEAD: Final = re.compile(
    rb"HTTP/1\.1 (?P<status>(?!204|304)[2-5][0-9][0-9])(?P<reason>(?: [!-~]+)*+)\r\n"
    rb"(?P<lines>(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[ \t]*+[ -~\t]*+\r\n){1,90}+)\r\n"
)
_LINE: Final = re.compile(r"([^:]++):[ \t]*+([^\r]*+)\r\n")
_LENGTH: Final = re.compile(r"[0-9]{1,15}")
# Headers that decide how the body is read, and when the connection is closed.
_FRAMING: Final = ("transfer-encoding", "connection", "keep-alive", "proxy-connection")


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


class _Response(TimedResponse):
    """An answer whose head is read at once if it is plain, as nearly all are.

    http.client reads heads with the parser of e-mail, which takes as long as all else of a call. It
    reads each head that is not plain or has not come whole.
    """

    _method: str | None
    fp: Any
    headers: Any

    def begin(self) -> None:
        """Read the status and the headers."""
        plain = self.headers is None and self._method != "HEAD" and self._read_plain_head()
        if not plain:
            super().begin()

    def _read_plain_head(self) -> bool:
        head = _PLAIN_HEAD.match(self.fp.peek(1))
        if head is None:
            return False
        headers: Any = Headers(_LINE.findall(head["lines"].decode("ascii")))
        length = headers.get("content-length", "")
        if not _LENGTH.fullmatch(length) or any(name in headers for name in _FRAMING):
            return False
        self.fp.read(head.end())
        self.code = self.status = int(head["status"])
        self.reason = head["reason"].decode("ascii").strip()
        self.version = 11
        self.headers = self.msg = headers
        self.chunked = self.will_close = False
        self.length = int(length)
        return True


class _Connection(http.client.HTTPConnection):
    response_class = _Response
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
        came: Any = answer.headers
        self.headers: Mapping[str, str] = (
            came if isinstance(came, Headers) else Headers(came.items())
        )
        self._answer, self._connection = answer, connection
        # None once the connection is returned to the pool or closed.
        self._home: LoopbackConnections | None = home
        self._read_s = read_s
        lengths = set(self.headers.get("Content-Length", "").replace(" ", "").split(","))
        if len(lengths) > 1:
            raise make_broken_off_error("InvalidHeader")
        # Only for a compressed body. A method of this object would keep it until Python's collector
        # runs, and thousands of answers with it.
        self._read_decoded: Callable[[int], bytes] | None = None
        if "Content-Encoding" in self.headers:
            from reconciler.transport.remote import read_decoded  # noqa: PLC0415 - it is slow

            self._read_decoded = read_decoded(answer, self.headers, read_s)

    def read(self, size: int) -> bytes:
        """The next part of the body, `size` bytes at most. Raises TransportError."""
        read = self._read_decoded
        part = self._read_plain(size) if read is None else read(size)
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
