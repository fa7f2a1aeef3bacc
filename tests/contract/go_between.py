"""A go-between before a service that loses or refuses requests, or loses replies, when told to."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

HOP = {"connection", "keep-alive", "transfer-encoding"}


@dataclass
class GoBetween:
    """`losses` says, for requests whose line holds `what`, what is lost of each, in order.

    `keep` does nothing; `busy` answers that the caller has to wait for two seconds. `before` runs
    once, before the first of them is passed on.
    """

    url: str = ""
    what: str = ""
    losses: list[Literal["request", "reply", "keep", "busy"]] = field(default_factory=list)
    before: Any = None
    seen: list[str] = field(default_factory=list)


@contextmanager
def go_between(upstream: str) -> Iterator[GoBetween]:
    state = GoBetween()
    target = urlsplit(upstream)
    guard = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with guard:
                state.seen.append(f"{self.command} {self.path}")
                hit = bool(state.what) and state.what in state.seen[-1]
                loss = state.losses.pop(0) if hit and state.losses else "keep"
                before, state.before = (state.before, None) if hit else (None, state.before)
            if before is not None:
                before()
            if loss == "request":
                self.close_connection = True
                return
            if loss == "busy":
                self.send_response_only(429)
                self.send_header("Retry-After", "2")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            line = http.client.HTTPConnection(str(target.hostname), target.port, timeout=120)
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in HOP
            }
            line.request(self.command, self.path, body, headers)
            reply = line.getresponse()
            data = reply.read()
            line.close()
            if loss == "reply":
                self.close_connection = True
                return
            self.send_response_only(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in HOP | {"content-length"}:
                    self.send_header(name, value)
            length = reply.getheader("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_POST = pass_on  # noqa: N815 - their names

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
