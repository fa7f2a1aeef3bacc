"""The whole of an answer within a time, however slowly its parts come.

A socket's own timeout begins anew with every byte: whoever sends one now and then, or heads of
answers without an end, could hold a caller for ever.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import time
from typing import Any, Final

# A part of an answer may take as long as the socket's timeout, all of it so many times as long.
_TIMES: Final = 4


class TimedResponse(http.client.HTTPResponse):
    """An answer whose reader gives up once all of it should have come; raises TimeoutError."""

    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        opening: Any = _Opening(sock)
        super().__init__(opening, *arguments, **named)


class _Opening:
    """A socket as an answer takes it: to read what comes."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(_Timed(self._sock))


class _Timed(io.RawIOBase):
    """What comes over a socket, until it is too late."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._raw: Any = sock.makefile("rb", buffering=0)
        self._part_s = sock.gettimeout()
        whole_s = float("inf") if self._part_s is None else _TIMES * self._part_s
        self._until = time.monotonic() + whole_s
        self._hasty = False

    def readable(self) -> bool:
        """It can be read."""
        return True

    def fileno(self) -> int:
        """The socket's own."""
        number: int = self._raw.fileno()
        return number

    def readinto(self, buffer: Any) -> int | None:
        """The next part of it; raises TimeoutError once all of it should have come."""
        if self._part_s is not None:
            left = self._until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if left < self._part_s:
                self._hasty = True
                self._sock.settimeout(left)
        read: int | None = self._raw.readinto(buffer)
        return read

    def close(self) -> None:
        """Let go of the socket, which may serve the next call as it was."""
        if self._hasty:
            with contextlib.suppress(OSError):  # it may be closed by now
                self._sock.settimeout(self._part_s)
        self._raw.close()
        super().close()
