"""Emulators on which things go wrong on purpose, and what they log."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.contract.world import VERSION, Json, Service, run_service


def write_faults(folder: Path, *faults: Json) -> Path:
    file = folder / "faults.yaml"
    file.write_text(json.dumps(list(faults)))
    return file


@contextmanager
def faulty(folder: Path, *faults: Json, options: tuple[str, ...] = ()) -> Iterator[Service]:
    """An emulator with a fault plan, which logs into the folder."""
    file = write_faults(folder, *faults)
    log = folder / "log.jsonl"
    with run_service(f"--faults={file}", f"--log={log}", *options) as service:
        yield service


def log_of(folder: Path) -> list[Json]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def fired(folder: Path) -> list[tuple[str, int | None, str]]:
    """Method, status and fault of the requests that a fault met."""
    return [(one["method"], one["status"], one["fault"]) for one in log_of(folder) if one["fault"]]


def on(do: str, method: str = "", path: str = "", **more: Json) -> Json:
    match = {name: value for name, value in (("method", method), ("path", path)) if value}
    return {"match": match, "do": do, **more}


def statuses(service: Service, count: int, method: str = "GET", path: str = "none") -> list[int]:
    return [service.call(method, service.path(path)).status_code for _ in range(count)]


def connect(service: Service, method: str, path: str, most: int = 0) -> socket.socket:
    """A connection on which a request without a body was sent; `most` bytes wait to be read."""
    where = urlsplit(service.url)
    wild = socket.socket()
    wild.settimeout(30)
    if most:
        wild.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, most)
    wild.connect((str(where.hostname), int(where.port or 0)))
    wild.sendall(
        f"{method} {path}?api-version={VERSION} HTTP/1.1\r\nHost: x\r\n"
        "Authorization: Bearer emulator\r\n\r\n".encode("utf-8", "surrogateescape")
    )
    return wild


def read_all(wild: socket.socket) -> bytes:
    return b"".join(iter(lambda: wild.recv(4096), b""))
