"""The interface of a connection: how an answer is read, its time limits, and how a call fails.

`loopback` calls a service on this machine directly. `remote` calls any other service, with the
proxies and certificates that requests finds in the environment. Both send a target byte for byte:
the opaque token in a list's `nextLink` must return to the service unchanged.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Protocol, TypeAlias

# One part of an answer may take as long as the socket's timeout; the whole answer may take this
# many times as long. The socket's timeout starts again with every byte, so a service that sends
# single bytes could block a caller without end.
_TIMES: Final = 4
# What is read from a socket at once: the head and the body of nearly all answers. http.client
# bounds the length of a line of the head to one byte more.
_BUFFER_BYTES: Final = 64 * 1024
# A socket takes so many bytes at once. A longer body is sent only as fast as the service reads.
_TAKEN_AT_ONCE: Final = 64 * 1024

Check: TypeAlias = Callable[[], None]
"""Raises an error when a call may not be sent any more."""


def allow() -> None:
    """The check of a call that may always be sent."""


def split_body(body: bytes | None, check: Check) -> bytes | Iterator[bytes] | None:
    """The body to send. The end of a long one follows only after another `check`."""
    if body is None or len(body) <= _TAKEN_AT_ONCE:
        return body
    return _check_before_end(body, check)


def _check_before_end(body: bytes, check: Check) -> Iterator[bytes]:
    yield body[:-_TAKEN_AT_ONCE]
    check()
    yield body[-_TAKEN_AT_ONCE:]


class TransportError(Exception):
    """A call without a whole answer. `said` describes the failure in our own words.

    `name` is the class name of the library's error. `sent` is False only when the call was
    certainly not sent. `lasting` says that a repetition fails in the same way. `next_step` is
    empty if the usual one applies: to check the address and the network.
    """

    def __init__(
        self, name: str, said: str, *, sent: bool, lasting: bool = False, next_step: str = ""
    ) -> None:
        super().__init__(said)
        self.name = name
        self.said = said
        self.sent = sent
        self.lasting = lasting
        self.next_step = next_step


class Headers(Mapping[str, str]):
    """The headers of an answer by name, in any case. Headers with the same name are joined."""

    def __init__(self, lines: Iterable[tuple[str, str]]) -> None:
        self._lines: dict[str, tuple[str, str]] = {}
        for name, value in lines:
            key = name.lower()
            known = self._lines.get(key)
            self._lines[key] = (known[0], f"{known[1]}, {value}") if known else (name, value)

    def __getitem__(self, name: str) -> str:
        return self._lines[name.lower()][1]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._lines

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._lines.values())

    def __len__(self) -> int:
        return len(self._lines)


class Answer(Protocol):
    """An answer with an unread body. The caller must read it to its end, or close it."""

    status: int
    headers: Mapping[str, str]

    def read(self, size: int) -> bytes:
        """The next part of the body, `size` bytes at most. Raises TransportError."""

    def close(self) -> None:
        """Release the connection, even if part of the body is unread."""


class Connections(Protocol):
    """Connections to the origin of a base URL. Safe to use from several threads."""

    def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        check: Check = allow,
    ) -> Answer:
        """Send a call once, with its target byte for byte; the body of the answer is unread.

        `check` is called when the connection is open, right before the first byte is sent, and for
        a long body again before its end. What it raises is raised here; then the service did not
        get a whole request. A redirect is not followed. Raises TransportError.
        """


def make_unreached_error(name: str) -> TransportError:
    """The error of a call that found no connection."""
    return TransportError(name, "cannot be reached", sent=False)


def make_late_error(name: str, read_s: float) -> TransportError:
    """The error of a call without an answer for `read_s` seconds."""
    return TransportError(name, f"no answer within {round(read_s, 2):g} s", sent=True)


def make_broken_off_error(name: str) -> TransportError:
    """The error of a call whose answer is incomplete."""
    return TransportError(name, "the answer broke off", sent=True)


def make_other_protocol_error(name: str) -> TransportError:
    """The error of a call over plain HTTP that was answered with a TLS record."""
    return TransportError(
        name,
        "what answers there speaks TLS",
        sent=False,
        lasting=True,
        next_step="Write https:// in the address.",
    )


class TimedResponse(http.client.HTTPResponse):
    """An answer with a time limit for the whole of it; a later read raises TimeoutError."""

    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        opening: Any = _Opening(sock)
        super().__init__(opening, *arguments, **named)

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]  # not in its stub
        if size < 0:  # http.client would read to the end of the connection, without a bound
            raise ValueError("a part of an answer has a negative size")
        return size


class _Opening:
    """The part of a socket that an HTTP response uses: a file to read from."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(_Timed(self._sock), _BUFFER_BYTES)


class _Timed(io.RawIOBase):
    """The bytes of a socket, with a time limit for all of them."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._raw: Any = sock.makefile("rb", buffering=0)
        self._part_s = sock.gettimeout()
        whole_s = float("inf") if self._part_s is None else _TIMES * self._part_s
        self._until = time.monotonic() + whole_s
        self._hasty = False

    def readable(self) -> bool:
        """True: the file can be read."""
        return True

    def fileno(self) -> int:
        """The file descriptor of the socket."""
        number: int = self._raw.fileno()
        return number

    def readinto(self, buffer: Any) -> int | None:
        """Read the next part; raises TimeoutError after the time limit of the whole answer."""
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
        """Close the file and restore the timeout of the socket, which the next call may use."""
        if self._hasty:
            with contextlib.suppress(OSError):  # the socket may be closed already
                self._sock.settimeout(self._part_s)
        self._raw.close()
        super().close()
