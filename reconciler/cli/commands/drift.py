"""`reconciler drift`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.command import Command
from reconciler.cli.completion import complete_addresses, complete_files
from reconciler.cli.context import Invocation
from reconciler.cli.options import ENV, drift_options, format_options

if TYPE_CHECKING:  # start-up: known only when the command runs
    from reconciler.model import DriftReport


@click.command(
    cls=Command,
    examples=(
        "# Report what changed in the services and in the manifests",
        "reconciler drift",
        "# Exit with 2 for drift, for a scheduled job",
        "reconciler drift --detailed-exitcode --format json",
        "# Write the live values into the manifest",
        "reconciler drift --accept WebService/census",
    ),
)
@click.argument("paths", nargs=-1, metavar="[PATH]...", shell_complete=complete_files)
@format_options("text", "json", "markdown", about="The format of the report.")
@click.option("--unmanaged", is_flag=True, help="List the services that no manifest names.")
@click.option(
    "--accept",
    "accepted",
    metavar="ADDRESS",
    shell_complete=complete_addresses,
    multiple=True,
    help="Write the live values of this resource into its manifest. Repeatable.",
)
@drift_options
@ENV
@click.pass_obj
def drift(
    invocation: Invocation,
    /,
    paths: tuple[str, ...],
    form: str,
    *,
    unmanaged: bool,
    accepted: tuple[str, ...],
    **wanted: object,
) -> int:
    """Report what changed since the last apply, in the services or in the manifests.

    No service is changed. The values in the ledger, in the services and in the manifests are
    compared. Each finding names
    the command that resolves it. A resource that could not be read never counts as in sync. With
    --accept the live values are written into the manifest; its other characters are unchanged.
    """
    from dataclasses import replace

    from reconciler.cli.exit_codes import get_exit_code
    from reconciler.cli.wiring import PlanFlags, assemble, parse_addresses
    from reconciler.engine.drift import report_drift

    flags = PlanFlags(**wanted)  # type: ignore[arg-type]  # click has checked each by its option
    if accepted:
        parse_addresses("--accept", accepted)
        flags = replace(flags, targets=accepted, refresh="full")
    assembly = assemble(invocation, paths)
    assembly.warn_of_shared()
    runtime = assembly.runtime(flags.parallelism, flags.max_calls)
    report = report_drift(runtime, assembly.request(flags, paths), list_unmanaged=unmanaged)
    invocation.clear_progress()
    assembly.warn_of(report.lost)
    if accepted:
        from reconciler.cli.accept import accept

        accept(invocation, assembly, runtime, report, paths)
        return 0
    _show(report, form, invocation)
    return get_exit_code(report.outcome, detailed=invocation.detailed_exitcode)


def _show(report: DriftReport, form: str, invocation: Invocation) -> None:
    if form == "json":
        from reconciler.cli.streams import print_json
        from reconciler.plans.drift_file import drift_document
        from reconciler.text.json_text import canonical, escape_json

        print_json(escape_json(canonical(drift_document(report))))
    elif form == "markdown":
        from reconciler.render.drift.markdown import render_drift_markdown

        click.echo(render_drift_markdown(report), nl=False)
    else:
        from reconciler.render.drift.text import render_drift

        click.echo(render_drift(report, paint=invocation.paint()), color=True)
