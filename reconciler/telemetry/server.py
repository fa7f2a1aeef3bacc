"""The HTTP server of `watch`: four pages, for reading only.

It answers GET and HEAD for /healthz, /readyz, /metrics and /report, and nothing else, whatever
address it listens on. The head of a request is short and must arrive within a few seconds. If too
many connections are open, the oldest one is closed, so slow clients cannot keep others out. On a
loopback address only requests to a name of this machine are answered, so a web page in a browser
cannot read the report by a name of its own.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self

from reconciler.errors import ReconcilerError
from reconciler.model.values import dataclass
from reconciler.telemetry.health import Health
from reconciler.telemetry.metrics import CONTENT_TYPE, Metrics
from reconciler.transport import is_loopback

_LOG: Final = logging.getLogger("reconciler.pages")
_HEAD_BYTES: Final = 16 * 1024
_HEAD_S: Final = 5.0
_SEND_S: Final = 30.0
# The rest of a request is read before its connection is closed, or the client may lose the answer.
_REST_S: Final = 1.0
_REST_BYTES: Final = 256 * 1024
_MOST_OPEN: Final = 64
_REQUEST: Final = re.compile(rb"([A-Z]{1,16}) (/[!-~]{0,2000}) HTTP/1\.[01]")
_HOST: Final = re.compile(rb"(?im)^host:[ \t]*([!-~]*)[ \t]*\r?$")
_LISTEN: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]/\s]+)):([0-9]{1,5})")
_REASONS: Final[Mapping[int, str]] = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_PLAIN: Final = "text/plain; charset=utf-8"
_HTML: Final = "text/html; charset=utf-8"
_NO_FRAME: Final = "frame-ancestors 'none'"
_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"default-src 'none'; {_NO_FRAME}",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Connection": "close",
}


def parse_listen(text: str) -> tuple[str, int]:
    """The address and the port of ADDRESS:PORT; the port 0 means any free one.

    Raises ReconcilerError for any other text.
    """
    found = _LISTEN.fullmatch(text)
    if found is None or int(found[3]) > 65_535:
        raise ReconcilerError(
            "is not an address with a port",
            subject=f"--listen {text}",
            next_step="Write it as ADDRESS:PORT, such as 127.0.0.1:9464, or 0.0.0.0:9464 for every"
            " address of this machine.",
        )
    return found[1] or found[2], int(found[3])


@dataclass(frozen=True, slots=True)
class _Page:
    """An answer: its status, its text, and the headers beside the usual ones."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class WatchServer:
    """Serves the four pages while its block runs, each connection on a thread of its own.

    `find_report` returns the last report as an HTML page, or None before the first one.
    """

    def __init__(
        self,
        address: str,
        port: int,
        metrics: Metrics,
        health: Health,
        find_report: Callable[[], bytes | None],
    ) -> None:
        """Listens at once; raises ReconcilerError where it cannot, such as for a taken port."""
        self._metrics, self._health, self._find_report = metrics, health, find_report
        self._socket = _listen(address, port)
        found = self._socket.getsockname()
        host = f"[{found[0]}]" if ":" in found[0] else found[0]
        self.url = f"http://{host}:{found[1]}"
        self._local = is_loopback(self.url)
        self._lock = threading.Lock()
        self._ending = threading.Event()
        # The oldest one first.
        self._open: dict[socket.socket, None] = {}
        self._thread = threading.Thread(target=self._accept, name="pages", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        # A close alone does not end `accept` of another thread.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        with self._lock:
            for connection in self._open:
                _break_off(connection)

    def _accept(self) -> None:
        while not self._ending.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                # This process may have too many open files for now.
                self._ending.wait(0.1)
                continue
            with self._lock:
                if len(self._open) >= _MOST_OPEN:
                    _break_off(oldest := next(iter(self._open)))
                    del self._open[oldest]
                self._open[connection] = None
            try:
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
            except RuntimeError:  # this process may have no more threads for now
                self._close(connection)

    def _serve(self, connection: socket.socket) -> None:
        """Answer one request and close its connection; never raises."""
        try:
            head = _read_head(connection)
            if head is not None:
                method, page = self._answer(head)
                connection.settimeout(_SEND_S)
                connection.sendall(_write(page, with_body=method != b"HEAD"))
                connection.shutdown(socket.SHUT_WR)
                _read_rest(connection)
        except OSError:
            return
        finally:
            self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.pop(connection, None)
        connection.close()

    def _answer(self, head: bytes) -> tuple[bytes, _Page]:
        """The method of a request, and the page for it."""
        if len(head) > _HEAD_BYTES:
            return b"", _say(431, "the head of the request is too long")
        line, _, fields = head.partition(b"\r\n")
        found = _REQUEST.fullmatch(line)
        hosts = _HOST.findall(fields)
        if found is None or len(hosts) > 1:
            return b"", _say(400, "this is not a request of HTTP/1.1")
        method, path = found[1], found[2].partition(b"?")[0].decode()
        if self._local and hosts and not is_loopback(f"http://{hosts[0].decode()}/"):
            return method, _say(421, f"these pages are only at {self.url}")
        return method, self._find_page(method, path)

    def _find_page(self, method: bytes, path: str) -> _Page:
        make = {
            "/healthz": lambda: _say_state(*self._health.is_alive()),
            "/readyz": lambda: _say_state(*self._health.is_ready()),
            "/metrics": lambda: _Page(200, self._metrics.render(), {"Content-Type": CONTENT_TYPE}),
            "/report": self._show_report,
        }.get(path)
        if make is None:
            return _say(404, "the pages are /healthz, /readyz, /metrics and /report")
        if method not in {b"GET", b"HEAD"}:
            return _say(405, "this page can only be read", Allow="GET, HEAD")
        try:
            return make()
        except Exception as error:  # noqa: BLE001 - a defect of a page must not end the server
            _LOG.debug("%s: %s", path, type(error).__name__)
            return _say(500, "this page cannot be made")

    def _show_report(self) -> _Page:
        report = self._find_report()
        if report is None:
            return _say(503, "no cycle has made a report yet", **{"Retry-After": "10"})
        # The page has a policy of its own in its head; this one forbids only to frame it.
        headers = {"Content-Type": _HTML, "Content-Security-Policy": _NO_FRAME}
        return _Page(200, report, headers)


def _listen(address: str, port: int) -> socket.socket:
    try:
        family, _, _, _, where = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # Every address of this machine: also those of IPv4, where the system can do both.
        both = where[0] == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(
            where[:2], family=family, backlog=_MOST_OPEN, dualstack_ipv6=both
        )
    except OSError as error:
        raise _explain(error, address, port) from None


def _explain(error: OSError, address: str, port: int) -> ReconcilerError:
    reasons = {
        errno.EADDRINUSE: "the port is taken by another process",
        errno.EADDRNOTAVAIL: "this machine does not have the address",
        errno.EACCES: "this user may not listen on the port",
    }
    unknown = isinstance(error, socket.gaierror)
    known = "the name has no address" if unknown else reasons.get(error.errno or 0, "")
    return ReconcilerError(
        known or f"cannot listen: {error.strerror}",
        subject=f"{address}:{port}",
        next_step="Choose another address with --listen ADDRESS:PORT.",
    )


def _read_head(connection: socket.socket) -> bytes | None:
    """The head of a request; None if it does not arrive, and a longer part of one too long."""
    head, until = b"", time.monotonic() + _HEAD_S
    while b"\r\n\r\n" not in head and len(head) <= _HEAD_BYTES:
        left = until - time.monotonic()
        if left <= 0:
            return None
        connection.settimeout(left)
        part = connection.recv(4096)
        if not part:
            return None
        head += part
    return head


def _read_rest(connection: socket.socket) -> None:
    left, until = _REST_BYTES, time.monotonic() + _REST_S
    while left > 0 and (wait := until - time.monotonic()) > 0:
        connection.settimeout(wait)
        part = connection.recv(65_536)
        if not part:
            return
        left -= len(part)


def _break_off(connection: socket.socket) -> None:
    """End what another thread does with a connection; that thread closes it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _say_state(fine: bool, said: str) -> _Page:  # noqa: FBT001 - as the pair that Health returns
    return _say(200 if fine else 503, said)


def _say(status: int, said: str, **headers: str) -> _Page:
    return _Page(status, f"{said}\n".encode(), {"Content-Type": _PLAIN, **headers})


def _write(page: _Page, *, with_body: bool) -> bytes:
    headers = {**_HEADERS, **page.headers, "Content-Length": str(len(page.body))}
    lines = [f"HTTP/1.1 {page.status} {_REASONS[page.status]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join([*lines, "", ""]).encode()
    return head + page.body if with_body else head
