"""`reconciler watch`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

import click

from reconciler.cli.command import StreamCommand
from reconciler.cli.context import Invocation
from reconciler.cli.options import format_options, watch_options
from reconciler.text.durations import parse_duration

_LEAST_S: Final = 1.0
_MOST_S: Final = 7 * 86_400.0


def read_interval(_: click.Context, __: click.Parameter, text: str) -> float:
    """The interval in seconds; raises click.BadParameter for one that is too short or too long."""
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        said = f"{text!r} is not a duration, such as 90s, 10m or 1h30m"
        raise click.BadParameter(said) from error
    if not _LEAST_S <= seconds <= _MOST_S:
        raise click.BadParameter(f"{text} is not between 1s and 7d; --once runs one cycle")
    return seconds


def _choose_listen(listen: str | None, *, refused: bool, once: bool) -> str | None:
    """The address of the pages; empty for no pages, None for the usual address."""
    if listen is None:
        return "" if refused or once else None
    if refused:
        raise click.UsageError("give --listen or --no-listen")
    if once:
        raise click.UsageError("give --listen or --once: one cycle serves no pages")
    return listen


@click.command(
    cls=StreamCommand,
    examples=(
        "# Report drift every ten minutes, until Ctrl-C",
        "reconciler watch",
        "# Watch every environment of the project; print JSON lines",
        "reconciler watch --env all --interval 5m --format json",
        "# Serve the report, the metrics and the probes to other machines",
        "reconciler watch --listen 0.0.0.0:8080",
        "# Put right what others changed, where that needs no approval",
        "reconciler watch --mode apply",
        "# Run one cycle, for a job that runs at fixed times",
        "reconciler watch --once --detailed-exitcode",
    ),
)
@click.option(
    "--interval",
    metavar="DURATION",
    default="10m",
    show_default=True,
    callback=read_interval,
    help="The time from the start of a cycle to the start of the next one, such as 90s or 1h. Each"
    " is up to a tenth shorter or longer.",
)
@click.option(
    "--mode",
    type=click.Choice(["report", "apply"]),
    default="report",
    show_default=True,
    help="What a cycle does: report changes nothing; apply also makes the changes that plan shows"
    " and that need no approval.",
)
@click.option("--once", is_flag=True, help="Run one cycle and end, without pages.")
@click.option(
    "--listen",
    metavar="ADDRESS:PORT",
    help="Where the pages /report, /metrics, /healthz and /readyz are served: 127.0.0.1:9464"
    " without this flag. Any other address needs no login, so let only those reach it who may read"
    " the report.",
)
@click.option("--no-listen", is_flag=True, help="Serve no pages.")
@format_options(
    "text", "json", about="text prints one line a cycle and what is new; json prints JSON lines."
)
@click.option("--unmanaged", is_flag=True, help="Report the services that no manifest names, too.")
@watch_options
@click.pass_obj
def watch(invocation: Invocation, /, **given: Any) -> int:
    """Report drift at intervals, until a signal ends it.

    Each cycle reads the project, the services and the ledger, and compares them as drift does. A
    project that is invalid now is reported, and its last valid state is used. A cycle never reports
    "in sync" for what it could not read. Of several watch processes on one ledger, one leads; the
    others take over when it ends.

    The last report and the metrics are pages on this machine. spec.watch of the project names the
    webhooks that get each new finding once.

    With --mode apply, what a guard or a policy refuses is left and reported, as is a resource that
    a rule of .driftignore covers, and one whose change did not hold three times in a row. No guard
    is lifted, and nothing is deleted. The lock of the ledger is taken only to apply, and any other
    command that waits for it goes first.

    Ctrl-C and SIGTERM end it: the running steps are finished and recorded. A second signal ends it
    at once. The exit code is 0 after SIGTERM and 130 after Ctrl-C. With --once it is that of drift,
    and that of a held lock where another process leads.
    """
    from reconciler.cli.watching import WatchFlags, run_watch
    from reconciler.cli.wiring import PlanFlags

    given["listen"] = _choose_listen(
        given["listen"], refused=given.pop("no_listen"), once=given["once"]
    )
    del given["form"]  # the invocation knows it, before the parser can fail
    watch_flags = WatchFlags(**{one.name: given.pop(one.name) for one in fields(WatchFlags)})
    return run_watch(invocation, PlanFlags(**given), watch_flags)
