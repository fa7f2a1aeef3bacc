"""An emulator in this process: a test changes its faults while it runs, and sees its whole state.

Where an answer never comes, or comes too late, the connection closes at once: no test waits.
"""

import asyncio
import copy
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from reconciler.emulator import Fault, Settings
from reconciler.emulator.faults.broken_replies import Lost
from reconciler.emulator.faults.fault_plan import FaultPlan
from reconciler.emulator.server import Server
from reconciler.emulator.state import make_key
from tests.e2e.world import SUBSCRIPTION, Emulator

Json = Any
GROUP = "census"
_OPERATIONS = "/operations"
# What GET showed before a write is remembered only where a fault asks for it.
_REMEMBERING = Fault("stale-read", path="^never$")


class Faults(FaultPlan):
    """Faults that a test replaces. A read meets one only after a write to the same address.

    `written` are the methods and addresses of the writes that arrived since.
    """

    def __init__(self) -> None:
        super().__init__((), None)
        self.written: list[tuple[str, str]] = []

    def put(self, *faults: Fault) -> None:
        self._entries = FaultPlan(faults, None)._entries
        self.written = []

    def choose(self, method: str, target: str, concerns: Any) -> Any:
        place = target.partition("?")[0]
        if method != "GET":
            self.written.append((method, place))
        elif _OPERATIONS not in place and all(place != at for _, at in self.written):
            return None
        return super().choose(method, target, concerns)


class _Loop(asyncio.SelectorEventLoop):
    def add_signal_handler(self, *_: Any) -> None:  # type: ignore[override]
        """Refuses: signals belong to the main thread."""
        raise NotImplementedError


class InProcess:
    """A running emulator. `faults` may be set at any time."""

    def __init__(self, server: Server, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self._server, self._loop = server, loop
        self.url = url
        self.faults = Faults()
        server._fault_injector._plan = self.faults
        self.others = Emulator(url, "", group=GROUP)

    def forget(self) -> None:
        """Forgets what was before the writes so far, so that no stale read shows it."""
        self._server._state.befores.clear()
        self._server._classic.endpoints._befores.clear()

    def inspect(self, resource_id: str) -> Json:
        """What the service really holds of a resource, secrets included; None for nothing."""
        found: Future[Json] = Future()
        self._loop.call_soon_threadsafe(lambda: found.set_result(self._look(resource_id)))
        return found.result(30)

    def _look(self, resource_id: str) -> Json:
        name = resource_id.rpartition("/")[2]
        if "/endpoints/" in resource_id:
            _, _, _, workspace, _, service, *_ = resource_id.split("/")
            endpoints = self._server._classic.endpoints
            held = endpoints._workspaces.services[workspace, service]
            endpoint = endpoints.find(held, name)
            return endpoint and copy.deepcopy([endpoint.settings, endpoint.models])
        kept = self._server._operations.finish_due(make_key(SUBSCRIPTION, GROUP, name))
        if kept is None:
            return None
        # What is empty may be left out as well.
        properties = {part: value for part, value in kept.properties.items() if value}
        return copy.deepcopy([kept.exists, kept.state, kept.location, kept.tags, properties])


class _Server(Server):
    async def _deliver(self, request: Any, answer: Any, entry: Any, *rest: Any) -> Any:
        if entry is not None and entry.do in {"hang", "slow"}:
            return Lost()
        return await super()._deliver(request, answer, entry, *rest)


@contextmanager
def run_in_process() -> Iterator[InProcess]:
    """Serves while the block runs. A write takes effect at once."""
    server = _Server(Settings(port=0, operation_seconds=0.0, faults=(_REMEMBERING,)))
    ready: Future[tuple[str, asyncio.AbstractEventLoop]] = Future()

    def announce(planes: dict[str, str]) -> None:
        ready.set_result((planes["resourceManager"], asyncio.get_running_loop()))

    def serve() -> None:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(server.run(announce))

    thread = threading.Thread(target=serve)
    thread.start()
    url, loop = ready.result(60)
    try:
        yield InProcess(server, url, loop)
    finally:
        loop.call_soon_threadsafe(server._stopped.set)
        thread.join()
