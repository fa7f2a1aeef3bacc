"""Ports of this machine: the emulator's own, that of blob storage beside it, and free ones."""

from __future__ import annotations

import socket
from pathlib import Path

DEFAULT_PORT = 8470
_BLOB_PORT = 10000


def pick_blob_port(port: int, folder: Path | None) -> int:
    """The port for blob storage beside an emulator on `port`; 0 for any that is free.

    Storage that is kept in a folder keeps its port, because the addresses of models hold it.
    """
    wished = _BLOB_PORT if port == DEFAULT_PORT else 0
    note = folder / "port" if folder is not None else None
    if note is not None and note.exists() and note.read_text(encoding="utf-8").isdecimal():
        wished = int(note.read_text(encoding="utf-8"))
    picked = wished if wished and is_free(wished) else pick_free_port()
    if note is not None:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(str(picked), encoding="utf-8")
    return picked


def pick_free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine."""
    with socket.socket() as probe:
        # As servers bind: connections of an earlier one that still linger do no harm.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
