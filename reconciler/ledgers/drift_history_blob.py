"""Keeps what earlier drift runs found, in a blob beside the ledger.

open_drift_history creates it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from reconciler.errors import LedgerInvalid
from reconciler.ledgers.blob_client import BlobNotFound, Container, PreconditionFailed
from reconciler.ledgers.drift_history import MOST_BYTES, NAME

_ATTEMPTS: Final = 10
_BUSY: Final = "Other commands write it at the same time. Try again."


class HistoryBlob:
    """The history in a blob; it is replaced only if no other process has replaced it since."""

    def __init__(self, container: Container, prefix: str) -> None:
        """`prefix` begins the name of the blob, as that of every blob of the ledger."""
        self._container = container
        self._name = f"{prefix}{NAME}"
        self.address = f"{container.address}/{self._name}"
        self._known: tuple[bytes, str] | None = None

    def read(self) -> bytes:
        """Returns the bytes of the blob."""
        try:
            found = self._container.read_all(self._name, MOST_BYTES)
        except BlobNotFound:
            self._known = (b"", "")
        else:
            self._known = (found.data, found.etag)
        return self._known[0]

    def change(self, update: Callable[[bytes], bytes]) -> None:
        """Replaces the bytes; if another process was first, reads them again."""
        for _ in range(_ATTEMPTS):
            if self._known is None:
                self.read()
            data, etag = self._known or (b"", "")
            self._known = None
            with contextlib.suppress(PreconditionFailed, BlobNotFound):
                fresh = update(data)
                if etag:
                    self._container.write(self._name, fresh, etag=etag)
                else:
                    self._container.write_new(self._name, fresh)
                return
        raise LedgerInvalid(
            "the drift history cannot be written", subject=self.address, next_step=_BUSY
        )
