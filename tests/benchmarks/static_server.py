"""A server of documents that costs next to nothing, so that only its clients are measured.

`python -m tests.benchmarks.static_server` prints its address and serves until it is ended. A
definition is answered by `GET`, takes another model by `PATCH`, at once and without an operation;
`GET /states/NAME` is the same as a state of Terraform, `GET …/endpoints` a list of Classic. `GET
/counts` answers how many calls there were and forgets them and every write.
"""

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.benchmarks.documents import OLD, SERVICES, definitions, list_endpoints, states

_HEAD = (
    b"HTTP/1.1 %d OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n"
)
_PATH = SERVICES.encode() + b"/"


class Shelf:
    """The documents, and what was written to them."""

    def __init__(self) -> None:
        self._definitions = definitions()
        self._states = states()
        self._models: dict[bytes, bytes] = {}
        self._old = OLD.encode()
        self._calls = 0

    def answer(self, method: bytes, target: bytes, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer to a call."""
        path = target.partition(b"?")[0]
        if path == b"/counts":
            return 200, self._forget()
        self._calls += 1
        if path.startswith(_PATH):
            name = path[len(_PATH) :]
            if method == b"PATCH":
                self._models[name] = _model_in(body)
            return 200, self._definitions.fill(name, self._models.get(name, self._old))
        if path.startswith(b"/states/"):
            return 200, self._states.fill(path[len(b"/states/") :], self._old)
        if path.endswith(b"/endpoints"):
            return 200, list_endpoints(int(path.split(b"/")[-2]))
        return 404, b"{}"

    def _forget(self) -> bytes:
        calls, self._calls = self._calls, 0
        self._models.clear()
        return b'{"calls": %d}' % calls


def _model_in(body: bytes) -> bytes:
    uri: str = json.loads(body)["properties"]["assets"]["asset3"]["locationInfo"]["uri"]
    return uri.encode()


class Connection(asyncio.Protocol):
    """One connection, kept open; requests may come in pieces."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._came = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._came += data
        while (end := self._came.find(b"\r\n\r\n")) >= 0:
            head = self._came[:end]
            stop = end + 4 + _length_of(head)
            if len(self._came) < stop:
                return
            method, target, _ = head.split(b" ", 2)
            status, body = self._shelf.answer(method, target, self._came[end + 4 : stop])
            self._came = self._came[stop:]
            self._transport.write(_HEAD % (status, len(body)) + body)


def _length_of(head: bytes) -> int:
    """How long the body is that a head announces."""
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    shelf = Shelf()
    server = await loop.create_server(lambda: Connection(shelf), "127.0.0.1", 0)
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stopped.wait()


@contextmanager
def run_static_server() -> Iterator[str]:
    """The address of a server that runs while the block does."""
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def count_calls(url: str) -> int:
    """How many calls there were since it was asked last; every write is forgotten."""
    with urllib.request.urlopen(f"{url}/counts", timeout=120) as reply:
        calls: int = json.load(reply)["calls"]
        return calls


if __name__ == "__main__":
    asyncio.run(_serve())
