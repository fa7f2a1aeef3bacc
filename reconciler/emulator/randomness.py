"""Ids, keys and cipher text: random, or repeatable from a seed.

All stored random values come from here, so that a seed repeats a run. The ids of replies and the
choices of faults do not.
"""

from __future__ import annotations

import base64
import hashlib
import os
import uuid


class RandomSource:
    """A stream of random bytes. `count` is the position of a seeded stream; store it at each write.

    A restart with the stored `count` continues the stream.
    """

    def __init__(self, seed: int | None, count: int = 0) -> None:
        self._seed = seed
        self.count = count

    def read_bytes(self, length: int) -> bytes:
        """Return the next bytes."""
        if self._seed is None:
            return os.urandom(length)
        data = b""
        while len(data) < length:
            self.count += 1
            data += hashlib.sha256(f"{self._seed}:{self.count}".encode()).digest()
        return data[:length]

    def guid(self) -> str:
        """Return a GUID."""
        return str(uuid.UUID(bytes=self.read_bytes(16), version=4))

    def hex32(self) -> str:
        """Return 32 hexadecimal digits, the form of a service's id."""
        return self.read_bytes(16).hex()

    def key(self) -> str:
        """Return a service key: base64 of 64 bytes."""
        return base64.b64encode(self.read_bytes(64)).decode()

    def seal(self) -> str:
        """Return fake cipher text that starts like the recorded envelopes."""
        return "MIIC" + base64.b64encode(self.read_bytes(420)).decode()
