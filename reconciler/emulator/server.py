"""The emulator's HTTP server: authorization, routing, and sending of replies.

The command `emulator` calls `serve`. What a call does is in the folders beside this module.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from typing import IO, Final

from aiohttp import web

from reconciler.emulator.azureml.assets import Assets
from reconciler.emulator.azureml.data_plane import DataPlane
from reconciler.emulator.azureml.downloads import ModelDownloads
from reconciler.emulator.azureml.faults import OnlineFaults
from reconciler.emulator.azureml.operations import OnlineOperations
from reconciler.emulator.azureml.routes import AzureMl
from reconciler.emulator.azureml.state import OnlineState
from reconciler.emulator.classic.endpoints import ClassicParts
from reconciler.emulator.classic.management import Classic, is_same
from reconciler.emulator.classic.workspaces import Workspaces
from reconciler.emulator.faults.broken_replies import hold, pause, send_last
from reconciler.emulator.faults.fault_plan import FaultEntry, FaultPlan
from reconciler.emulator.faults.injection import FaultInjector, FaultTargets, answer_after
from reconciler.emulator.limits import Limits
from reconciler.emulator.logs import make_logger, write_line
from reconciler.emulator.pages import Pages, read_bearer
from reconciler.emulator.randomness import RandomSource
from reconciler.emulator.replies import Answer, Refusal, show_details
from reconciler.emulator.requests import Call, check_call, make_call, unknown_path
from reconciler.emulator.resource_manager.actions import list_actions
from reconciler.emulator.resource_manager.management import Management, Parts
from reconciler.emulator.resource_manager.operations import Operations
from reconciler.emulator.resource_manager.plans import Plans
from reconciler.emulator.resource_manager.shapes import load_definition_schema
from reconciler.emulator.resource_manager.views import PROVIDER
from reconciler.emulator.responses import hide_framework, make_response, refuse_call
from reconciler.emulator.scoring.calls import Services
from reconciler.emulator.settings import Settings
from reconciler.emulator.state import State
from reconciler.emulator.storage import Storage
from reconciler.emulator.switches import Choices
from reconciler.emulator.training.jobs import Jobs

_MOST_BYTES: Final = 16 * 1024 * 1024


class Server:
    """One emulator that listens on one socket."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = time.time
        self._choices = Choices(settings.switches)
        self._state = State(settings.data)
        self._storage = Storage(settings.certificate)
        self._limits = Limits(time.time, enforced=settings.limits != "off")
        self._log: IO[str] | None = None
        random_source = RandomSource(settings.seed, self._state.count)
        seconds = settings.operation_seconds
        plan = FaultPlan(settings.faults, settings.seed)
        self._operations = Operations(
            self._state,
            random_source,
            self._choices,
            time.time,
            seconds,
            remembers=plan.holds("stale-read"),
        )
        workspaces = Workspaces(self._state, random_source)
        workspaces.seed(settings.world, time.time())
        self._classic = self._make_classic(workspaces, remembers=plan.holds("stale-read"))
        self._jobs = Jobs(
            self._state,
            self._storage,
            self._choices,
            time.time,
            seconds=settings.job_seconds,
            blob_url=settings.blob_url,
        )
        endpoints = self._classic.endpoints
        self._services = Services(
            self._state, self._operations, workspaces, endpoints, self._storage, self._jobs
        )
        self._online = OnlineState(self._state, random_source)
        self._assets = Assets(
            self._state, self._online, self._choices, time.time, settings.blob_url
        )
        online_operations = OnlineOperations(self._online, self._choices, time.time, seconds)
        self._data_plane = DataPlane(
            online_operations, self._assets, self._storage, settings.token, settings.seed
        )
        self._downloads = ModelDownloads(online_operations, self._assets, self._storage)
        self._azureml = AzureMl(
            online_operations, self._assets, self._data_plane, self._limits, settings.blob_url
        )
        targets = FaultTargets(
            self._operations,
            endpoints,
            self._jobs,
            self._services,
            self._data_plane,
            OnlineFaults(online_operations),
        )
        self._fault_injector = FaultInjector(plan, self._choices, targets)
        self._stopped = asyncio.Event()
        self._answered = 0
        self._plans = Plans(self._state, random_source, self._choices, self._operations)
        self._management = Management(
            Parts(
                self._state,
                random_source,
                self._choices,
                load_definition_schema(),
                self._storage,
                self._operations,
            )
        )

    def _make_classic(self, workspaces: Workspaces, *, remembers: bool) -> Classic:
        parts = ClassicParts(
            workspaces,
            self._choices,
            self._storage,
            time.time,
            self._settings.operation_seconds,
            self._settings.blob_url,
            remembers,
        )
        return Classic(parts, self._settings.token)

    async def run(self, announce: Callable[[dict[str, str]], None]) -> None:
        """Serve until SIGTERM or SIGINT.

        Calls `announce` with the address of each plane as soon as it listens.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError):
                asyncio.get_running_loop().add_signal_handler(number, self._stopped.set)
        if self._settings.log is not None:
            self._log = self._settings.log.open("a", encoding="utf-8")
        await self._storage.open()
        self._jobs.resume()
        app = web.Application(client_max_size=_MOST_BYTES)
        Pages(self._settings, self._data_plane).add_to(app)
        app.router.add_route("*", r"/{tail:[\s\S]*}", self._handle)
        app.on_response_prepare.extend([hide_framework, self._date])
        runner = web.AppRunner(
            app, access_log=None, logger=make_logger(), handle_signals=False, shutdown_timeout=2.0
        )
        await runner.setup()
        certificate = self._settings.certificate
        try:
            site = web.TCPSite(
                runner,
                self._settings.host,
                self._settings.port,
                ssl_context=certificate.make_server_context() if certificate else None,
            )
            await site.start()
            announce(self._addresses(runner))
            await self._stopped.wait()
        finally:
            await _close_connections(runner)
            await self._jobs.close()
            await self._storage.close()
            self._state.close()
            if self._log is not None:
                self._log.close()

    async def _date(self, _: web.Request, response: web.StreamResponse) -> None:
        """Send the time of this service."""
        response.headers["Date"] = formatdate(self._clock(), usegmt=True)

    def _addresses(self, runner: web.AppRunner) -> dict[str, str]:
        host, port = runner.addresses[0][:2]
        scheme = "https" if self._settings.certificate else "http"
        origin = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        planes = ("resourceManager", "studioManagement", "services")
        return {**dict.fromkeys(planes, origin), "blob": self._settings.blob_url}

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        started, body = time.perf_counter(), b""
        entry: FaultEntry | None = None
        call: Call | None = None
        try:
            body = await request.read()
            call = make_call(
                request.method,
                request.rel_url.raw_path,
                request.rel_url.raw_query_string,
                body,
                f"{request.scheme}://{request.host}",
                {name.casefold(): value for name, value in request.headers.items()},
            )
            self._authorize(call, request)
            entry = self._fault_injector.choose(call)
            answer = self._fault_injector.answer_early(entry, call) or await self._answer(call)
        except web.HTTPRequestEntityTooLarge:
            answer = refuse_call(Refusal(413, "RequestEntityTooLarge", "The request is too large."))
        except Refusal as refusal:
            answer = refuse_call(refusal)
        except ConnectionResetError:
            raise  # the client closed the connection
        except Exception as error:  # noqa: BLE001 - a defect here must look like the service's
            code = "InternalServerError"
            answer = refuse_call(Refusal(500, code, "The service ended the request unexpectedly."))
            sys.stderr.write(f"emulator: {request.method} failed: {type(error).__name__}\n")
        answer, entry = self._fault_injector.modify(entry, call, answer)
        plane = call.plane if call is not None else "resource-manager"
        answer = replace(
            answer,
            lean=plane in {"classic", "services"},
            online=plane == "azureml",
            scored=plane == "online",
        )
        if call is not None and call.plane == "classic":
            answer = show_details(answer, self._choices["classic-error-details"])
        try:
            return await self._deliver(request, answer, entry, body, started)
        finally:
            if call is not None:
                call.closing.close()

    async def _deliver(
        self,
        request: web.Request,
        answer: Answer,
        entry: FaultEntry | None,
        body: bytes,
        started: float,
    ) -> web.StreamResponse:
        """Wait if the reply must be late, log the reply, and return it to be sent."""
        if entry is not None and entry.do == "slow":
            await pause(answer_after(entry), self._stopped)
        response = make_response(request, answer, entry, time.perf_counter() - started)
        if self._log is not None:
            write_line(self._log, request, answer, entry, body, time.perf_counter() - started)
        if entry is not None and entry.do == "hang":
            await hold(request, self._stopped)
        elif answer.status:
            await self._count_answer(request, response)
        return response

    async def _count_answer(self, request: web.Request, response: web.StreamResponse) -> None:
        """Kill the process after the reply number `crash_after`; send no reply after it."""
        self._answered += 1
        if self._answered == self._settings.crash_after:
            await send_last(request, response)
        if 0 < self._settings.crash_after < self._answered:
            await hold(request, self._stopped)

    async def _answer(self, call: Call) -> Answer:
        if call.plane == "classic":
            return await self._classic.answer(call)
        if call.plane == "services":
            return await self._services.answer(call)
        if call.plane == "online":
            return await self._data_plane.answer(call)
        if call.plane == "azureml":
            lost = await self._downloads.find_lost(call)
            return self._downloads.fail(self._azureml.answer(call), lost)
        plane = [segment.casefold() for segment in call.segments]
        subscription = call.segments[1] if plane[:1] == ["subscriptions"] and len(plane) > 1 else ""
        if plane == ["providers", PROVIDER.casefold(), "operations"]:
            return list_actions(call)
        if not subscription:
            raise unknown_path(call)
        counted = self._count(call, subscription)
        answer = await self._route(call, plane, subscription)
        answer.headers.update(counted)
        return answer

    def _count(self, call: Call, subscription: str) -> dict[str, str]:
        try:
            return self._limits.count(call.method, subscription)
        except Refusal as refusal:
            if self._choices["throttle-body"] == "empty":
                refusal.body = {}
            raise

    async def _route(self, call: Call, plane: list[str], subscription: str) -> Answer:
        """Answer the call of a path and method; segment names match in any case."""
        provider = PROVIDER.casefold()
        match plane[2:]:
            case ["providers", named, "webservices"] if named == provider:
                check_call(call, "GET")
                return self._management.list_services(call, subscription, None)
            case ["providers", named, "commitmentplans"] if named == provider:
                return self._plans.list_plans(call, subscription, None)
            case ["providers", named, "skus"] if named == provider:
                return self._plans.list_skus(call)
            case ["providers", named, "locations", _, word, _] if named == provider:
                return self._route_operation(call, word)
            case ["resourcegroups", _, "providers", named, *rest] if named == provider:
                return await self._route_group(call, rest, subscription, call.segments[3])
        raise unknown_path(call)

    def _route_operation(self, call: Call, word: str) -> Answer:
        check_call(call, "GET")
        operation = call.segments[-1]
        if word == "operationsstatus":
            return self._operations.describe_status(operation)
        if word == "operationresults":
            return self._operations.describe_result(operation, call.version)
        raise unknown_path(call)

    async def _route_group(
        self, call: Call, rest: list[str], subscription: str, group: str
    ) -> Answer:
        where = (subscription, group, call.segments[-1])
        match rest:
            case ["webservices"]:
                check_call(call, "GET")
                return self._management.list_services(call, subscription, group)
            case ["webservices", _]:
                return await self._route_service(call, where)
            case ["webservices", _, "listkeys"]:
                check_call(call, "GET")
                return self._management.list_keys(subscription, group, call.segments[-2])
            case ["webservices", _, "createregionalblob"]:
                check_call(call, "POST")
                name = call.segments[-2]
                return self._management.create_regional(call, subscription, group, name)
            case ["commitmentplans"]:
                return self._plans.list_plans(call, subscription, group)
            case ["commitmentplans", *plan]:
                return self._plans.answer(call, plan, subscription, group)
        raise unknown_path(call)

    async def _route_service(self, call: Call, where: tuple[str, str, str]) -> Answer:
        check_call(call, "GET", "PUT", "PATCH", "DELETE")
        if call.method == "PUT":
            return await self._management.put(call, *where)
        if call.method == "PATCH":
            return await self._management.patch(call, *where)
        if call.method == "DELETE":
            return self._management.delete(call, *where)
        return self._management.get(call, *where)

    def _authorize(self, call: Call, request: web.Request) -> None:
        given = read_bearer(request)
        if call.plane == "classic":
            self._classic.authorize(call, given)
        elif call.plane == "services":
            self._services.authorize(call, given)
        elif call.plane == "online":
            self._data_plane.authorize(call, given)
        elif not is_same(given, self._settings.token):
            raise Refusal(
                401,
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing or invalid.",
                headers={
                    "WWW-Authenticate": 'Bearer authorization_uri="https://login.windows.net/"'
                },
            )


async def _close_connections(runner: web.AppRunner) -> None:
    """End the server; a client that does not answer the end of TLS is not waited for."""
    connections = runner.server.connections if runner.server else []
    transports = [one.transport for one in connections if one.transport is not None]
    await runner.cleanup()
    for transport in transports:
        transport.abort()
    await asyncio.sleep(0)  # the sockets close in the next turn of the loop


def serve(settings: Settings, announce: Callable[[dict[str, str]], None]) -> None:
    """Run an emulator until SIGTERM or SIGINT. Raises OSError if the port is in use."""
    asyncio.run(Server(settings).run(announce))
