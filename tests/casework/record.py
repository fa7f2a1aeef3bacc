"""Commands of reconciler run in this process, and every request that they send.

The requests go over real sockets to a real emulator; they are only noted on their way.
"""

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

from reconciler.cli import main
from reconciler.transport.client import Client
from reconciler.transport.replies import Reply
from tests.casework.case import Case
from tests.casework.golden import dump, mask, settle
from tests.e2e.world import Done, clean_environment, in_environment

Json = Any
Amend = Callable[[str, Json], Json]
_NAME = re.compile(r"/webServices/([^/?]+)")


@dataclass(frozen=True)
class Call:
    """One request and the status of its reply. `resource` is the service that it concerns."""

    method: str
    url: str
    body: Json
    status: int
    resource: str
    polls: bool


class Recorder:
    """Runs commands in one folder and notes their requests.

    `amend` is given each definition that the service shows, by name, and returns what is to be
    seen in its place: what the emulator does not know and a later service might show.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], amend: Amend) -> None:
        self._folder = folder
        self._environment = {
            **clean_environment(environment),
            "LOGNAME": "tester",
            "RECONCILER_IN_AUTOMATION": "1",
        }
        self._amend = amend
        self.calls: list[Call] = []
        self.said: list[str] = []

    def run(self, *arguments: str) -> Done:
        """One command; its requests are in `calls` until the next one."""
        self.calls = []
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self._folder),
            in_environment(self._environment),
            mock.patch.object(Client, "_exchange", self._noting()),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = main(list(arguments))
        self.said += [out.getvalue(), err.getvalue()]
        return Done(code, out.getvalue(), err.getvalue())

    def _noting(self) -> Callable[..., Reply]:
        exchange, operations = Client._exchange, dict[str, str]()

        def noting(client: Client, request: Any) -> Reply:
            method, url, body = request.method, request.url, request.body
            reply = exchange(client, request)
            named = _NAME.search(url)
            resource = named[1] if named else operations.get(url, "")
            operations[reply.headers.get("Azure-AsyncOperation", "")] = resource
            polls = "/operationsStatus/" in url
            self.calls.append(Call(method, url, body, reply.status, resource, polls))
            if method == "GET" and named and reply.status == 200:
                amended = self._amend(resource, reply.document)
                return replace(reply, document=amended, raw=amended)
            return reply

        return noting


def show_calls(case: Case, calls: list[Call], *, ordered: bool) -> str:
    """The calls as text; of those that ran at once, one resource after the other."""
    shown = calls if ordered else sorted(calls, key=lambda call: call.resource)
    return "".join(_show(case, shown)) or "(no request)\n"


def _show(case: Case, calls: list[Call]) -> Iterator[str]:
    before: Call | None = None
    written: set[str] = set()
    for call in calls:
        again = before is not None and before.polls and before.resource == call.resource
        # How often a write is looked for depends on how busy the machine is.
        same = before is not None and (before.method, before.url) == ("GET", call.url)
        looked = same and call.url in written
        if call.method != "GET":
            written.add(call.url.removesuffix("/refresh"))
        before = call
        if looked:
            continue
        if call.polls:
            if not again:
                yield f"GET {{operation of {call.resource}}}, until it has ended\n"
            continue
        body = f"{dump(settle(case, call.body))}\n" if call.body is not None else ""
        yield f"{call.method} {mask(case, call.url)}\n{body}=> {call.status}\n"
