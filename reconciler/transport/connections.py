"""What a connection is: how an answer is read, within what time, and how a call fails.

`loopback` calls a service on this machine directly. `remote` calls any other service through the
proxies and with the certificates that requests finds in the environment. Both send a target byte
for byte: an opaque token of a service, as in a list's `nextLink`, must come back as it was written.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

# A part of an answer may take as long as the socket's timeout, all of it this many times as long.
# The socket's own timeout starts again with every byte: a service that sends one now and then
# could keep a caller waiting for ever.
_TIMES: Final = 4


class TransportError(Exception):
    """A call without a whole answer. `said` is what became of it, in our own words.

    `name` is that of the error. `sent` is False where it surely never was; `distrusted` where the
    certificate was refused.
    """

    def __init__(self, name: str, said: str, *, sent: bool, distrusted: bool = False) -> None:
        super().__init__(said)
        self.name = name
        self.said = said
        self.sent = sent
        self.distrusted = distrusted


class Headers(Mapping[str, str]):
    """The headers of an answer by name, in any case. Two of the same name are one text."""

    def __init__(self, lines: Iterable[tuple[str, str]]) -> None:
        self._lines: dict[str, tuple[str, str]] = {}
        for name, value in lines:
            key = name.lower()
            known = self._lines.get(key)
            self._lines[key] = (known[0], f"{known[1]}, {value}") if known else (name, value)

    def __getitem__(self, name: str) -> str:
        return self._lines[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._lines.values())

    def __len__(self) -> int:
        return len(self._lines)


class Answer(Protocol):
    """An answer whose body is not read yet. Whoever has it reads it to its end, or closes it."""

    status: int
    headers: Mapping[str, str]

    def read(self, size: int) -> bytes:
        """The next part of the body, `size` bytes at most. Raises TransportError."""

    def close(self) -> None:
        """Release the connection, even if part of the body is unread."""


class Connections(Protocol):
    """Connections to the origin of a base URL. Safe to use from several threads."""

    def send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        """Send a call once, with its target as it stands; the body of the answer is not read yet.

        A redirect is not followed. Raises TransportError.
        """


def say_unreached(name: str) -> TransportError:
    """The error of a call for which there was no connection."""
    return TransportError(name, "cannot be reached", sent=False)


def say_late(name: str, read_s: float) -> TransportError:
    """The error of a call to which nothing came for `read_s` seconds."""
    return TransportError(name, f"no answer within {read_s:g} s", sent=True)


def say_broken_off(name: str) -> TransportError:
    """The error of a call whose answer did not come whole."""
    return TransportError(name, "the answer broke off", sent=True)


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
