"""The HTTP server of a forge: authorization, dispatch, faults, and the record of requests.

`open_forge` runs one in a thread of this process, `serve_forge` in the main thread until a signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from reconciler.emulator.faults.broken_replies import CutOff, Lost, hold, pause
from reconciler.emulator.forges import azure_devops, github, gitlab
from reconciler.emulator.forges.calls import Dialect, ForgeCall, ForgeRefusal, Route, find_route
from reconciler.emulator.forges.control import Control
from reconciler.emulator.forges.faults import ForgeFaults, find_early
from reconciler.emulator.forges.git_repository import BareRepository
from reconciler.emulator.forges.state import FULL_NAME, ForgeName, ForgeState
from reconciler.emulator.logs import make_logger
from reconciler.emulator.replies import Answer

Json = Any
_DIALECTS: Final[dict[str, Dialect]] = {
    "github": github.GITHUB,
    "azure-devops": azure_devops.AZURE_DEVOPS,
    "gitlab": gitlab.GITLAB,
}
_TOKENS: Final = {
    "github": github.TOKENS,
    "azure-devops": azure_devops.TOKENS,
    "gitlab": gitlab.TOKENS,
}
_MOST_BYTES: Final = 16 * 1024 * 1024
# More than a client should read.
_HUGE_BYTES: Final = 20 * 1024 * 1024
_SLOW_S: Final = 2.0
# A second create must come within this time; otherwise the first is done alone.
_RACE_S: Final = 60.0
_PAGE: Final = (
    b"<!DOCTYPE html><html><head><title>Sign In</title></head><body>Sign in</body></html>"
)
_HTML: Final = "text/html; charset=utf-8"
_SECRET_HEADERS: Final = ("authorization", "private-token", "job-token", "cookie")


@dataclass(frozen=True)
class ForgeSettings:
    """The settings of one forge. `repository` is the path of the bare repository.

    Without it, the repository is in a folder that ends with the forge. `wait_s` is how many seconds
    a limit asks to wait.
    """

    forge: ForgeName
    repository: Path | None = None
    data: Path | None = None
    faults: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 0
    wait_s: int = 1
    clock: Callable[[], float] = time.time


class _ForgeServer:
    def __init__(self, settings: ForgeSettings, repository: Path) -> None:
        self._settings = settings
        self._dialect = _DIALECTS[settings.forge]
        git = BareRepository(repository)
        self._state = ForgeState(settings.forge, git, settings.clock, settings.data)
        names = {route.name: None for route in self._dialect.routes}
        self._faults = ForgeFaults(settings.forge, names, settings.faults)
        self._recorded: list[Json] = []
        self._control = Control(self._state, self._faults, self._recorded, self.describe)
        self._stopped = asyncio.Event()
        self._rivals: list[asyncio.Event] = []
        self.url = ""

    def describe(self) -> dict[str, Json]:
        """Return what a client needs to know."""
        tokens = list(_TOKENS[self._settings.forge])
        return {
            "forge": self._settings.forge,
            "url": self.url,
            "token": tokens[0],
            "tokens": tokens,
            "repository": FULL_NAME,
            "git": str(self._state.git.path),
        }

    async def run(self, announce: Callable[[dict[str, Json]], None]) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                asyncio.get_running_loop().add_signal_handler(number, self._stopped.set)
        app = web.Application(client_max_size=_MOST_BYTES)
        app.router.add_route("*", r"/{tail:[\s\S]*}", self._handle)
        runner = web.AppRunner(
            app, access_log=None, logger=make_logger(), handle_signals=False, shutdown_timeout=1.0
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, self._settings.host, self._settings.port).start()
            self.url = "http://{}:{}".format(*runner.addresses[0][:2])
            announce(self.describe())
            await self._stopped.wait()
        finally:
            await runner.cleanup()
            self._state.save()

    def stop(self) -> None:
        """End `run`; call it in the loop's thread."""
        self._stopped.set()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        segments = request.rel_url.raw_path.strip("/").split("/")
        if segments[0] == "_forge":
            return _respond(self._control.answer(request.method, segments[1:], _parse(data)))
        entry = self._record(request, data)
        if segments[0] == "_signin":
            return _respond(Answer(200, data=_PAGE, media=_HTML))
        answer, faults = await self._answer(request, data)
        entry |= {"status": answer.status or None, "faults": faults}
        return await self._deliver(request, answer, faults)

    def _record(self, request: web.Request, data: bytes) -> dict[str, Json]:
        headers = {
            name: f"{value.partition(' ')[0]} …"
            if name.casefold() == "authorization"
            else "…"
            if name.casefold() in _SECRET_HEADERS
            else value
            for name, value in request.headers.items()
        }
        body = data.decode("utf-8", "surrogateescape")
        path = request.rel_url.raw_path_qs
        entry = {"method": request.method, "path": path, "headers": headers, "body": body}
        self._recorded.append(entry)
        return entry

    async def _answer(self, request: web.Request, data: bytes) -> tuple[Answer, list[str]]:
        """Return the reply of a call, and the faults that applied to it."""
        faults: list[str] = []
        try:
            self._state.synchronize()
            route, parts = find_route(self._dialect, request.method, request.rel_url.raw_path)
            faults = self._faults.take(route.name, request.method)
            early = find_early(faults)
            if early:
                return self._refuse_early(early, request), faults
            call = self._make_call(request, route, parts, data, faults)
            if "racing-creates" in faults:
                await self._wait_for_rival()
            answer = route.handler(self._state, call)
            self._state.save()  # before the reply that reports the change
        except ForgeRefusal as refusal:
            answer = refusal.answer
        except ConnectionResetError:
            raise  # the client closed the connection
        except Exception as error:  # noqa: BLE001 - a defect here must look like the forge's
            sys.stderr.write(f"forge: {request.method} failed: {type(error).__name__}: {error}\n")
            answer = self._dialect.refuse(500, "Internal Server Error").answer
        return self._change_late(answer, faults), faults

    def _make_call(
        self,
        request: web.Request,
        route: Route,
        parts: dict[str, str],
        data: bytes,
        faults: list[str],
    ) -> ForgeCall:
        query = dict(request.query)
        account = self._dialect.authorize(self._state, request.headers, query, route)
        body = _parse(data) if data else {}
        if not isinstance(body, dict):
            raise self._dialect.refuse(400, "Problems parsing JSON")
        origin = f"{request.scheme}://{request.host}"
        url = f"{origin}{request.rel_url.raw_path}"
        return ForgeCall(route.name, parts, query, body, account, url, origin, frozenset(faults))

    async def _wait_for_rival(self) -> None:
        """Hold a create until a second one has come."""
        if self._rivals:
            self._rivals.pop().set()
            return
        arrived = asyncio.Event()
        self._rivals.append(arrived)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(arrived.wait(), _RACE_S)
        if arrived in self._rivals:
            self._rivals.remove(arrived)

    def _refuse_early(self, name: str, request: web.Request) -> Answer:
        if name == "lost-request":
            return Answer(0)
        if name == "sign-in-page":
            return Answer(203, data=_PAGE, media=_HTML)
        if name == "sign-in-redirect":
            return Answer(302, headers={"Location": f"{self.url}/_signin"})
        if name == "foreign-redirect":
            origin = self.url.replace("//127.0.0.1:", "//localhost:")
            return Answer(307, headers={"Location": f"{origin}{request.rel_url.raw_path_qs}"})
        answer = self._dialect.faults[name]
        wait = self._settings.wait_s
        words = {"{wait}": str(wait), "{reset}": str(int(self._settings.clock()) + wait)}
        headers = {key: words.get(value, value) for key, value in answer.headers.items()}
        return replace(answer, headers=headers)

    def _change_late(self, answer: Answer, faults: list[str]) -> Answer:
        """Change the reply to a call that was done."""
        if answer.status >= 300:
            return answer
        changed = {
            "lost-reply": Answer(0),
            "error-after": Answer(502, data=b"<html>502 Bad Gateway</html>", media=_HTML),
            "not-json": replace(answer, data=b"It is done.", media="text/plain"),
            "wrong-shape": replace(answer, body=["an", {"unexpected": None}]),
        }
        answer = next((changed[name] for name in faults if name in changed), answer)
        if "huge" in faults:
            answer = replace(answer, data=b'"' + b"x" * _HUGE_BYTES + b'"')
        if "delayed" in faults:
            wait = {"Retry-After": str(self._settings.wait_s), "X-RateLimit-Delay": "1"}
            answer = replace(answer, headers={**answer.headers, **wait})
        return answer

    async def _deliver(
        self, request: web.Request, answer: Answer, faults: list[str]
    ) -> web.StreamResponse:
        if not answer.status:
            return Lost()
        if "slow" in faults:
            await pause(_SLOW_S, self._stopped)
        if "hang" in faults:
            await hold(request, self._stopped)
        headers = {**self._dialect.headers(self._state), **answer.headers}
        response = _respond(replace(answer, headers=headers))
        if "cut-off" in faults and response.body:
            return CutOff(answer.status, dict(response.headers), bytes(_encode(answer)))
        return response


def _encode(answer: Answer) -> bytes:
    if answer.data or answer.body is None:
        return answer.data
    # Half of a surrogate pair stays an escape, so that each text can be sent.
    return json.dumps(answer.body).encode()


def _respond(answer: Answer) -> web.Response:
    data = _encode(answer)
    headers = dict(answer.headers)
    if data:
        headers["Content-Type"] = answer.media
    return web.Response(status=answer.status, headers=headers, body=data or None)


def _parse(data: bytes) -> Json:
    """Return what JSON means; None for what is not JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


@contextmanager
def _make_place(settings: ForgeSettings) -> Iterator[Path]:
    if settings.repository is not None:
        yield settings.repository
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / "repository.git"


def serve_forge(settings: ForgeSettings, announce: Callable[[dict[str, Json]], None]) -> None:
    """Run a forge until SIGTERM or SIGINT; call `announce` with what a client needs to know.

    Raises OSError if the port is in use, and ValueError for a fault that does not exist.
    """
    with _make_place(settings) as place:
        asyncio.run(_ForgeServer(settings, place).run(announce))


@dataclass(frozen=True)
class OpenForge:
    """A forge that runs in a thread. `repository` is the path of its bare repository."""

    url: str
    token: str
    tokens: tuple[str, ...]
    repository: Path

    def control(self, method: str, path: str, body: Json = None) -> Json:
        """Make a call below `/_forge/`; raise ValueError with the forge's text if it refuses."""
        host = self.url.removeprefix("http://")
        with contextlib.closing(http.client.HTTPConnection(host, timeout=120)) as connection:
            data = None if body is None else json.dumps(body)
            connection.request(method, f"/_forge/{path}", data)
            reply = connection.getresponse()
            shown = json.loads(reply.read())
        if reply.status >= 400:
            raise ValueError(shown["error"])
        return shown


@contextmanager
def open_forge(settings: ForgeSettings) -> Iterator[OpenForge]:
    """Run a forge in a thread of this process while the block runs."""
    with _make_place(settings) as place:
        ready: list[dict[str, Json]] = []
        announced = threading.Event()
        loop = asyncio.new_event_loop()
        server = _ForgeServer(settings, place)

        def announce(about: dict[str, Json]) -> None:
            ready.append(about)
            announced.set()

        def run() -> None:
            try:
                with contextlib.closing(loop):
                    loop.run_until_complete(server.run(announce))
            finally:
                announced.set()

        thread = threading.Thread(target=run)
        thread.start()
        announced.wait()
        try:
            if not ready:
                raise OSError(f"the forge could not listen on port {settings.port}")
            about = ready[0]
            yield OpenForge(about["url"], about["token"], tuple(about["tokens"]), place)
        finally:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(server.stop)
            thread.join()
