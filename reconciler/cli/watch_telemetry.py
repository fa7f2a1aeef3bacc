"""What `watch` shows to other programs: its pages, metrics and health, and the webhooks.

All of it only listens: what fails here is a warning, and a cycle neither fails nor waits for it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import reconciler
from reconciler.cli.context import Invocation
from reconciler.cli.installation import check_watch_installed
from reconciler.cli.metrics_file import open_metrics_file
from reconciler.cli.output import note, warn
from reconciler.errors import ManifestInvalid, ReconcilerError
from reconciler.manifests.secrets import secret_resolver
from reconciler.model import (
    CycleEnded,
    CycleStarted,
    DriftReport,
    Event,
    FailedReport,
    Finding,
    Project,
)
from reconciler.model.watch import Cycle, CycleOutcome
from reconciler.telemetry.health import Health
from reconciler.telemetry.metrics import Metrics
from reconciler.telemetry.server import WatchServer, parse_listen
from reconciler.telemetry.webhooks import Webhooks, check_webhooks

if TYPE_CHECKING:  # only named here
    from reconciler.engine.runtime import Runtime

DEFAULT_LISTEN: Final = "127.0.0.1:9464"
# A cycle waits for its webhooks for at most this part of the interval, since the environments take
# turns and each one must be read within three intervals.
_WEBHOOK_SHARE: Final = 0.05


def check_projects(projects: Iterable[Project]) -> None:
    """Raise ManifestInvalid for all webhooks that cannot be called, before the first cycle."""
    found: dict[Finding, None] = {}
    for project in projects:
        resolve = secret_resolver(Path(project.root), os.environ)
        found |= dict.fromkeys(check_webhooks(project, resolve))
    if found:
        raise ManifestInvalid(tuple(found))


class ReportPage:
    """The page of the last reports; it is rendered when somebody asks for it.

    An environment whose last cycle failed keeps its older report, with the error above it. So does
    each one while the process is not alive. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reports: dict[str, DriftReport] = {}
        self._failed: dict[str, FailedReport] = {}
        self._page: bytes | None = None
        self._problem = ""

    def select(self, environments: Sequence[str]) -> None:
        """Show these environments alone."""
        with self._lock:
            for kept in (self._reports, self._failed):
                for name in kept.keys() - set(environments):
                    del kept[name]
                    self._page = None

    def note_cycle(self, cycle: Cycle) -> None:
        """Take the report of a cycle. A process in standby has none: another one leads."""
        name = cycle.environment
        with self._lock:
            self._page = None
            self._failed.pop(name, None)
            if cycle.report is not None:
                self._reports[name] = cycle.report
            elif cycle.outcome is CycleOutcome.FAILED:
                self._failed[name] = FailedReport(name, cycle.errors)
            elif cycle.outcome is CycleOutcome.STANDBY:
                self._reports.pop(name, None)

    def find(self, problem: str = "") -> bytes | None:
        """The page; None before the first report. `problem` says why no report is new any more."""
        with self._lock:
            if bool(problem) != bool(self._problem):
                self._page = None
            self._problem = problem
            if self._page is None and self._reports:
                self._page = self._render(problem)
            return self._page

    def _render(self, problem: str) -> bytes:
        from reconciler.render.drift.html import render_drift_page

        failed = dict(self._failed)
        if problem:
            finding = Finding(problem, next_step="See what the process of watch prints.")
            failed |= {name: FailedReport(name, (finding,)) for name in self._reports}
        reports = [one for _, one in sorted(self._reports.items())]
        page = render_drift_page(reports, [one for _, one in sorted(failed.items())])
        return page.encode("utf-8", "replace")


class WatchTelemetry:
    """The pages, metrics, health and webhooks of one `watch`; close it at the end.

    `listen` is the address of the pages with its port, empty for no pages.
    """

    def __init__(
        self, invocation: Invocation, listen: str | None, interval_s: float, *, once: bool = False
    ) -> None:
        """Listens at once; raises ReconcilerError for an address that cannot be used.

        None is the usual address; if its port is taken, `watch` runs without pages.
        """
        self._invocation = invocation
        self._health, self._page = Health(interval_s), ReportPage()
        # With --once nothing comes after a message that the process could do meanwhile.
        wait_s = None if once else interval_s * _WEBHOOK_SHARE
        self._webhooks = Webhooks(lambda finding: warn(finding, invocation), wait_s=wait_s)
        self._cleanup = ExitStack()
        self._cleanup.callback(self._webhooks.close)
        # When the cycle that runs has started; None between two cycles.
        self._started: float | None = None
        self._unwritten: list[Finding] = []
        self._metrics: Metrics | None = None
        if listen != "" or invocation.metrics_file:
            check_watch_installed()
            self._metrics = Metrics(reconciler.__version__)
        self._file = open_metrics_file(invocation, self._metrics)
        invocation.emitter.observers.append(self._note_event)
        if listen != "" and self._metrics is not None:
            self._serve(listen, self._metrics)

    def _serve(self, listen: str | None, metrics: Metrics) -> None:
        address, port = parse_listen(DEFAULT_LISTEN if listen is None else listen)
        try:
            server = WatchServer(address, port, metrics, self._health, self._find_page)
        except ReconcilerError as error:
            if listen is not None:
                raise
            (found,) = error.findings()
            said = f"the report and the metrics have no page: {found.message}"
            warn(replace(found, message=said, severity="warning"), self._invocation)
            return
        self._cleanup.enter_context(server)
        note(f"The report is at {server.url}/report", self._invocation)

    def _find_page(self) -> bytes | None:
        alive, said = self._health.is_alive()
        return self._page.find("" if alive else said)

    def close(self) -> None:
        """End the server, and the pauses of the webhooks."""
        self._cleanup.close()

    def select(self, environments: Sequence[str]) -> None:
        """Show these environments from now on."""
        for one in (self._metrics, self._health, self._page):
            if one is not None:
                one.select(environments)

    def note_cycle(self, cycle: Cycle, project: Project | None, runtime: Runtime | None) -> None:
        """Write the file of metrics and call the webhooks, after a cycle that was shown.

        `project` and `runtime` are what the cycle worked with, or None.
        """
        self._invocation.mark_cycle(cycle.id)
        try:
            self._write_file()
            if cycle.report is not None and project is not None and runtime is not None:
                history = runtime.drift_history
                self._webhooks.send(cycle, project, runtime.resolve, history)
        finally:
            self._invocation.mark_cycle("")

    def _write_file(self) -> None:
        unwritten = self._file.write() if self._file is not None else []
        for finding in unwritten:
            if finding not in self._unwritten:
                warn(finding, self._invocation)
        self._unwritten = unwritten

    def _note_event(self, event: Event) -> None:
        self._health.note_event(event)
        if self._metrics is not None:
            self._metrics.note_event(event)
        if isinstance(event, CycleStarted):
            self._started = time.monotonic()
        elif isinstance(event, CycleEnded):
            self._show(event.cycle)

    def _show(self, cycle: Cycle) -> None:
        """Show a cycle on the pages, before its line is printed."""
        now = time.monotonic()
        self._health.note_cycle(cycle, now - (now if self._started is None else self._started))
        self._started = None
        self._page.note_cycle(cycle)
        if self._metrics is not None:
            self._metrics.note_cycle(cycle)
