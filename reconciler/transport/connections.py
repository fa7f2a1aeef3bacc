"""A call on a connection: what comes back, within what time, and what is said where nothing does.

A service on this machine is called directly (`loopback`); any other through what requests makes of
the environment: proxies and certificates (`remote`). Both send a target byte for byte: an opaque
token of somebody else's, as in a list's `nextLink`, must come back to them as they wrote it.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

# A part of an answer may take as long as the socket's timeout, all of it so many times as long.
# A socket's own timeout begins anew with every byte: whoever sends one now and then, or heads of
# answers without an end, could hold a caller for ever.
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
    """The headers of an answer by name, in any case. What stands there twice is one text."""

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
    """An answer whose body is still to be read. It is read to its end, or closed."""

    status: int
    headers: Mapping[str, str]

    def read(self, size: int) -> bytes:
        """The next part of the body, about so long; nothing at its end. Raises Broken."""

    def close(self) -> None:
        """Let go of it, however much of it was read."""


class Connections(Protocol):
    """Connections to the origin of a base URL. Safe to use from several threads."""

    def send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        """The answer, whose body is still to be read; the target is sent as it stands.

        Nothing is repeated and no redirect followed. Raises Broken.
        """


def say_unreached(name: str) -> TransportError:
    """What is said where no connection came about."""
    return TransportError(name, "cannot be reached", sent=False)


def say_late(name: str, read_s: float) -> TransportError:
    """What is said where nothing came for so many seconds."""
    return TransportError(name, f"no answer within {read_s:g} s", sent=True)


def say_broken_off(name: str) -> TransportError:
    """What is said where an answer came in part, or none of it."""
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
