"""`reconciler plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.command import Command
from reconciler.cli.completion import complete_files
from reconciler.cli.context import Invocation
from reconciler.cli.options import ENV, FULL, PLAN_FORMAT, plan_options

if TYPE_CHECKING:  # start-up: known only when the command runs
    from reconciler.model import Plan


@click.command(
    cls=Command,
    examples=(
        "# Show what would change",
        "reconciler plan",
        "# Save the plan for a later apply; exit with 2 for changes",
        "reconciler plan --out release.plan --detailed-exitcode",
        "# Show all attributes of a resource that is created",
        "reconciler plan --target WebService/census --full",
        "# Plan every environment of the project in one report",
        "reconciler plan --env all",
        "# Look at one resource, and read it again",
        "reconciler plan --target WebService/census --refresh full",
    ),
)
@click.argument("paths", nargs=-1, metavar="[PATH]...", shell_complete=complete_files)
@click.option(
    "--out",
    metavar="FILE",
    default="",
    shell_complete=complete_files,
    help="Save the plan to FILE, for apply.",
)
@PLAN_FORMAT
@click.option("--summary", is_flag=True, help="Print one line for each resource.")
@FULL
@plan_options
@ENV
@click.pass_obj
def plan(
    invocation: Invocation,
    /,
    paths: tuple[str, ...],
    out: str,
    form: str,
    *,
    summary: bool,
    full: bool,
    **wanted: object,
) -> int:
    """Show what would change, as a patch on each service's own definition.

    PATH is a manifest or a folder of manifests: manifests/ by default, or the project's folder.
    With --env all, each environment has its section, and the gravest one decides the exit code.
    """
    from reconciler.cli.exit_codes import get_exit_code
    from reconciler.cli.output import advise, show
    from reconciler.cli.plan_files import check_out, save
    from reconciler.cli.wiring import PlanFlags, assemble_for_plan
    from reconciler.engine.planning.plan import make_plan
    from reconciler.manifests.folder import ALL_ENVIRONMENTS

    if summary and full:
        raise click.UsageError("give --summary or --full")
    flags = PlanFlags(**wanted)  # type: ignore[arg-type]  # click has checked each by its option

    def make() -> Plan:
        assembly = assemble_for_plan(invocation, paths, flags)
        if out:
            check_out(out, assembly.project, assembly.loaded.files)
        runtime = assembly.runtime(flags.parallelism, flags.max_calls)
        return assembly.judge_by_command(make_plan(runtime, assembly.request(flags, paths)))

    if invocation.environment == ALL_ENVIRONMENTS:
        from reconciler.cli.plan_all import plan_all

        if out:
            raise click.UsageError("--out saves one plan: name one environment with --env")
        return plan_all(invocation, make, form, summary=summary, full=full)
    made = make()
    if out:
        save(made, out)
    show(made, form, invocation, summary=summary, full=full)
    if form == "text":
        advise(made, out)
    return get_exit_code(made.outcome, detailed=invocation.detailed_exitcode)
