"""How a reply goes wrong on its way: not at all, not whole, or as the last thing that is done."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:  # a type of the framework's that nothing else needs
    from aiohttp.abc import AbstractStreamWriter

_POLL_S: Final = 0.1


class Lost(web.StreamResponse):
    """No reply. The framework closes the connection, as it does when a client has gone."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002 - the framework's signature
        """Send nothing."""
        raise ConnectionResetError


class CutOff(web.StreamResponse):
    """Half of a body whose whole length is promised, and the end of the connection."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(status=status, headers=headers)
        self.content_length = len(body)
        self._half = body[: len(body) // 2]

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send what is sent of it."""
        await super().prepare(request)
        await self.write(self._half)
        raise ConnectionResetError


async def hold(request: web.Request, stopped: asyncio.Event) -> None:
    """Wait until the client or the server has had enough; the framework tells of neither."""
    while not stopped.is_set() and request.transport is not None:
        await pause(_POLL_S, stopped)


async def pause(seconds: float, stopped: asyncio.Event) -> None:
    """Wait for some seconds, and no longer than the server runs."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopped.wait(), seconds)


async def send_last(request: web.Request, response: web.StreamResponse) -> None:
    """Send a reply to its last byte, and end the process so that nothing of it runs any more."""
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        await response.write_eof()
    while request.transport is not None and request.transport.get_write_buffer_size():  # noqa: ASYNC110
        await asyncio.sleep(0.001)  # a transport tells nobody that it is empty
    os.kill(os.getpid(), signal.SIGKILL)
