"""A server that answers what a test tells it to, over a real socket, and remembers the calls."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """One answer. `drop` closes the connection instead; `cut` closes it in the middle."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False
    cut: bool = False
    wait: float = 0.0

    def encode(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return b"" if self.body is None else json.dumps(self.body).encode()


@dataclass
class Call:
    """What was asked."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


Script = Callable[[Call, int], Answer]


@dataclass
class Scripted:
    """`url` is where it listens; `calls` what was asked so far."""

    url: str
    calls: list[Call]


@contextmanager
def run_scripted(script: Script) -> Iterator[Scripted]:
    """Serve while the block runs. `script` gets each call and how many came before it."""
    calls: list[Call] = []
    lock = threading.Lock()
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are sent apart, and must not wait

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            call = Call(self.command, self.path, dict(self.headers), self.rfile.read(length))
            with lock:
                number = len(calls)
                calls.append(call)
            answer = script(call, number)
            ended.wait(answer.wait)
            self.close_connection = answer.drop or answer.cut
            if answer.drop:
                return
            data = answer.encode()
            self.send_response_only(answer.status)
            usual = {"Date": self.date_time_string(), "Content-Type": "application/json"}
            for name, value in {**usual, **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if call.method != "HEAD":
                self.wfile.write(data[: len(data) // 2] if answer.cut else data)

        do_GET = do_HEAD = do_PUT = do_PATCH = do_DELETE = do_POST = answer  # noqa: N815 - http.server's

        def log_message(self, *_: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that gave up is part of the script."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield Scripted(f"http://127.0.0.1:{server.server_port}", calls)
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def answers(*script: Answer) -> Script:
    """The answers one after another; the last one goes on for ever."""
    return lambda _, number: script[min(number, len(script) - 1)]
