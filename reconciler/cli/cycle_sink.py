"""Shows the cycles of `watch`: one line for each and what is new in it, or JSON lines."""

from __future__ import annotations

import sys

import click

from reconciler.cli.context import Invocation
from reconciler.cli.progress import EventSink
from reconciler.model import (
    Agenda,
    CycleEnded,
    CycleStarted,
    Refreshed,
    Refreshing,
    Retrying,
    ShownEvent,
)
from reconciler.model.watch import Cycle
from reconciler.render.events.cycles import CycleMemory, render_cycle
from reconciler.render.events.json_lines import describe_drift, describe_event, describe_finding


class CycleSink:
    """Shows the cycles: on stdout a line for each and what is new in it, or JSON lines.

    The reads of a cycle are not shown: there may be thousands in each. A read that is repeated is
    only in the JSON lines: where it fails in the end, the cycle says so.
    """

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._memory = CycleMemory()
        self._unwritten: OSError | None = None
        self._inner: EventSink = invocation.lines if invocation.as_json else invocation.console

    def emit(self, event: ShownEvent) -> None:
        """Show an event."""
        as_json = self._invocation.as_json
        match event:
            case Agenda() | Refreshing() | Refreshed():
                return
            case Retrying(subject=call) if call.startswith("GET ") and not as_json:
                return
            case CycleStarted(id=cycle):
                self._invocation.mark_cycle(cycle)
                self._inner.emit(event)
            case CycleEnded(cycle):
                self._invocation.mark_cycle(cycle.id)
                self._show(cycle)
                self._invocation.mark_cycle("")
            case _:
                self._inner.emit(event)

    def clear_line(self) -> None:
        """Remove the progress bar before other text is printed."""
        self._inner.clear_line()

    def check(self) -> None:
        """Raise OSError if a line could not be written on stdout, such as on a full disk."""
        if self._unwritten is not None:
            raise self._unwritten

    def _show(self, cycle: Cycle) -> None:
        news = self._memory.compare(cycle)
        if self._invocation.as_json:
            lines = self._invocation.lines
            for finding in news.drift.findings if news.drift is not None else ():
                lines.write(describe_drift(finding))
            for finding in news.ended:
                lines.write(describe_drift(finding, ended=True))
            for said in news.findings:
                lines.write(describe_finding(said))
            lines.write(describe_event(CycleEnded(cycle)))
            return
        try:
            click.echo("\n".join(render_cycle(cycle, news, self._invocation.paint())), color=True)
            sys.stdout.flush()
        except OSError as error:
            self._unwritten = error
        self._invocation.print_findings(news.findings)
