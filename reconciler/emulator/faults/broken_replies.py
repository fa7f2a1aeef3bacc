"""Replies that fail during sending: no reply, half a reply, or a reply before the process ends.

The server uses them for faults and for `crash_after`. They depend on the HTTP framework.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:  # only the annotations need this type
    from aiohttp.abc import AbstractStreamWriter

_POLL_S: Final = 0.1


class Lost(web.StreamResponse):
    """No reply. The framework closes the connection, as for a client that has disconnected."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002 - the framework's signature
        """Send nothing."""
        raise ConnectionResetError


class CutOff(web.StreamResponse):
    """Half of a body with the whole length in its header, then the end of the connection."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(status=status, headers=headers)
        self.content_length = len(body)
        self._half = body[: len(body) // 2]

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the headers and half of the body."""
        await super().prepare(request)
        await self.write(self._half)
        raise ConnectionResetError


async def hold(request: web.Request, stopped: asyncio.Event) -> None:
    """Wait until the client disconnects or the server stops.

    It polls, because no event reports a disconnected client.
    """
    while not stopped.is_set() and request.transport is not None:
        await pause(_POLL_S, stopped)


async def pause(seconds: float, stopped: asyncio.Event) -> None:
    """Wait for some seconds, or until the server stops."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopped.wait(), seconds)


async def send_last(request: web.Request, response: web.StreamResponse) -> None:
    """Send a whole reply, then kill the process so that no cleanup runs."""
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        await response.write_eof()
    while request.transport is not None and request.transport.get_write_buffer_size():  # noqa: ASYNC110
        await asyncio.sleep(0.001)  # a transport has no event for an empty buffer
    os.kill(os.getpid(), signal.SIGKILL)
