"""`reconciler drift`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.command import Command
from reconciler.cli.completion import complete_addresses, complete_files
from reconciler.cli.context import Invocation
from reconciler.cli.drift_baseline import BASELINE, NEW_ONLY, NewFindings
from reconciler.cli.drift_formats import DRIFT_FORMAT, OUTS
from reconciler.cli.options import ENV, drift_options

if TYPE_CHECKING:  # start-up: known only when the command runs
    from reconciler.cli.drift_formats import ReportFile
    from reconciler.cli.wiring import Assembly
    from reconciler.engine.runtime import Runtime
    from reconciler.model import DriftReport


@click.command(
    cls=Command,
    examples=(
        "# Report what changed in the services and in the manifests",
        "reconciler drift",
        "# Exit with 2 for drift, for a scheduled job",
        "reconciler drift --detailed-exitcode --format json",
        "# Save the report as a page, for code scanning and as tests",
        "reconciler drift --out drift.html --out drift.sarif --out drift.junit.xml",
        "# Report every environment of the project",
        "reconciler drift --env all",
        "# Exit with 2 only for drift that no earlier run has reported",
        "reconciler drift --new-only --detailed-exitcode",
        "# Write the live values into the manifest",
        "reconciler drift --accept WebService/census",
    ),
)
@click.argument("paths", nargs=-1, metavar="[PATH]...", shell_complete=complete_files)
@OUTS
@DRIFT_FORMAT
@click.option("--unmanaged", is_flag=True, help="List the services that no manifest names.")
@click.option(
    "--accept",
    "accepted",
    metavar="ADDRESS",
    shell_complete=complete_addresses,
    multiple=True,
    help="Write the live values of this resource into its manifest. Repeatable.",
)
@BASELINE
@NEW_ONLY
@drift_options
@ENV
@click.pass_obj
def drift(
    invocation: Invocation,
    /,
    paths: tuple[str, ...],
    outs: tuple[ReportFile, ...],
    form: str,
    *,
    baseline: str,
    new_only: bool,
    unmanaged: bool,
    accepted: tuple[str, ...],
    **wanted: object,
) -> int:
    """Report what changed since the last apply, in the services or in the manifests.

    No service is changed. The values in the ledger, in the services and in the manifests are
    compared. Each finding names the command that resolves it. A resource that could not be read
    never counts as in sync. --out saves the report too, in the format that the file's name ends
    with. With --env all, each environment has its section, and the gravest one decides the exit
    code. A finding is new until a run has reported it; with --baseline, until that report has it.
    What a rule of .driftignore ignores is listed and does not count. With --accept the live values
    are written into the manifest; its other characters are unchanged.
    """
    from dataclasses import replace

    from reconciler.cli.wiring import PlanFlags, assemble, parse_addresses
    from reconciler.engine.drift import report_drift
    from reconciler.manifests.folder import ALL_ENVIRONMENTS

    flags = PlanFlags(**wanted)  # type: ignore[arg-type]  # click has checked each by its option
    every = invocation.environment == ALL_ENVIRONMENTS
    invocation.reads_drift_ignore = not accepted
    new_findings = NewFindings(baseline, new_only)
    if accepted:
        given = {
            "--out": outs,
            "--metrics-file": invocation.metrics_file,
            "--baseline": baseline,
            "--new-only": new_only,
        }
        _check_accept(next((flag for flag, value in given.items() if value), ""), every=every)
        parse_addresses("--accept", accepted)
        flags = replace(flags, targets=accepted, refresh="full")

    def make() -> tuple[Assembly, Runtime, DriftReport]:
        assembly = assemble(invocation, paths)
        assembly.warn_of_shared()
        known = new_findings.read(assembly.project)
        runtime = assembly.runtime(flags.parallelism, flags.max_calls)
        report = report_drift(runtime, assembly.request(flags, paths), list_unmanaged=unmanaged)
        invocation.clear_progress()
        assembly.warn_of(report.lost, report.history_lost)
        return assembly, runtime, new_findings.choose(report, known)

    if accepted:
        from reconciler.cli.accept import accept

        accept(invocation, *make(), paths)
        return 0
    from reconciler.cli.drift_reports import report_all, report_one

    report = report_all if every else report_one
    return report(invocation, lambda: make()[2], form, outs)


def _check_accept(flag: str, *, every: bool) -> None:
    if flag:
        raise click.UsageError(f"give --accept or {flag}: --accept makes no report")
    if every:
        raise click.UsageError("--accept needs one environment: name it with --env")
