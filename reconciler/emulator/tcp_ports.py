"""Picks TCP ports of this machine for the emulator and for blob storage.

The commands and Azurite call it before a server starts.
"""

from __future__ import annotations

import socket
from pathlib import Path

DEFAULT_PORT = 8470
DEFAULT_BLOB_PORT = 10000
# Azurite's own default ports for queues and tables are the two after the first.
_BLOB_PORTS = (DEFAULT_BLOB_PORT, *range(10003, 10100))


def pick_blob_port(port: int, folder: Path | None, named: int = 0) -> int:
    """Return the port for blob storage of an emulator on `port`, where 0 means any free port.

    The addresses of models hold the port of their storage. So storage in a folder has the same port
    at each start, and storage of a project has the port that its manifests name (`named`). A port
    on which another process listens is never returned.
    """
    wished = named or (DEFAULT_BLOB_PORT if port == DEFAULT_PORT else 0)
    note = folder / "port" if folder is not None else None
    if note is not None and note.exists() and note.read_text(encoding="utf-8").isdecimal():
        wished = int(note.read_text(encoding="utf-8"))
    usual = pick_new_blob_port if wished else pick_free_port
    picked = wished if wished and is_free(wished) else usual()
    if note is not None:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(str(picked), encoding="utf-8")
    return picked


def pick_new_blob_port() -> int:
    """Return the first usual port for blob storage on which no process listens."""
    return next(filter(is_free, _BLOB_PORTS), 0) or pick_free_port()


def pick_free_port() -> int:
    """Return a port that no process listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Return whether no process listens on a port of this machine."""
    with socket.socket() as probe:
        # Servers bind with this option, so that old connections in TIME_WAIT do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
