"""Ids, keys and cipher text: by chance, or repeatable from a seed."""

from __future__ import annotations

import base64
import hashlib
import os
import uuid


class RandomSource:
    """A stream of bytes; `count` is how far a seeded one has come, to be kept over a restart."""

    def __init__(self, seed: int | None, count: int = 0) -> None:
        self._seed = seed
        self.count = count

    def read_bytes(self, length: int) -> bytes:
        """The next bytes."""
        if self._seed is None:
            return os.urandom(length)
        data = b""
        while len(data) < length:
            self.count += 1
            data += hashlib.sha256(f"{self._seed}:{self.count}".encode()).digest()
        return data[:length]

    def guid(self) -> str:
        """A GUID."""
        return str(uuid.UUID(bytes=self.read_bytes(16), version=4))

    def hex32(self) -> str:
        """32 hexadecimal digits, as a service's id has."""
        return self.read_bytes(16).hex()

    def key(self) -> str:
        """A service key: base64 of 64 bytes."""
        return base64.b64encode(self.read_bytes(64)).decode()

    def seal(self) -> str:
        """Cipher text that says nothing: it starts as recorded envelopes do."""
        return "MIIC" + base64.b64encode(self.read_bytes(420)).decode()
