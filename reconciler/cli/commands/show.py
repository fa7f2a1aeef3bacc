"""`reconciler show`."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.command import Command
from reconciler.cli.completion import complete_addresses, complete_files
from reconciler.cli.context import Invocation
from reconciler.cli.options import FULL, PLAN_FORMAT


@click.command(
    cls=Command,
    examples=(
        "# Print a saved plan",
        "reconciler show release.plan",
        "# Print it as a comment for a pull request",
        "reconciler show release.plan --format markdown",
        "# Print the RFC 6902 patch of one resource",
        "reconciler show release.plan --patch --target WebService/census",
    ),
)
@click.argument("file", shell_complete=complete_files)
@PLAN_FORMAT
@FULL
@click.option("--patch", "part", flag_value="patch", help="Print only the RFC 6902 patch.")
@click.option(
    "--inverse", "part", flag_value="inverse", help="Print only the patch that undoes it."
)
@click.option(
    "--target",
    metavar="ADDRESS",
    shell_complete=complete_addresses,
    default="",
    help="With --patch or --inverse: only this resource, or all members of this fleet.",
)
@click.pass_obj
def show(
    invocation: Invocation, file: str, *, form: str, full: bool, part: str | None, target: str
) -> None:
    """Print a saved plan; call no service, so that a stale plan can be shown too.

    The patch of one resource is a list of operations; the patches of several resources are an
    object from address to list. A patch applies to the definition that the service shows, and it
    contains no secrets.
    """
    from reconciler.cli import output
    from reconciler.cli.plan_files import list_changed_files, pick_patch, read_saved
    from reconciler.cli.streams import print_json

    if target and not part:
        raise click.UsageError("--target needs --patch or --inverse")
    plan, _ = read_saved(file)
    if part:
        print_json(pick_patch(plan, part, target))
        return
    changed = list_changed_files(plan, Path(invocation.project_file).parent)
    if len(changed) < len(plan.inputs.files):  # else the plan is shown outside its project
        output.warn_of_changes(changed, invocation)
    output.show(plan, form, invocation, full=full)
