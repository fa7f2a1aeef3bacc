"""`reconciler show`."""

from __future__ import annotations

import click

from reconciler.cli.context import Invocation
from reconciler.cli.options import PLAN_FORMAT


@click.command()
@click.argument("file")
@click.option("--json", "form", flag_value="json", help="Print the plan as JSON.")
@PLAN_FORMAT
@click.option("--patch", "part", flag_value="patch", help="Print the RFC 6902 patch alone.")
@click.option("--inverse", "part", flag_value="inverse", help="Print the patch that leads back.")
@click.option(
    "--target",
    metavar="ADDRESS",
    default="",
    help="With --patch or --inverse: of this resource alone.",
)
@click.pass_obj
def show(invocation: Invocation, file: str, *, form: str, part: str | None, target: str) -> None:
    """Print a saved plan; no service is asked, so a stale plan can be shown too.

    A patch is a list of operations where one resource changes or is chosen, else an object from
    address to list. It applies to the definition that the service shows; secrets are no part.
    """
    from reconciler.cli import output
    from reconciler.cli.plan_files import pick_patch, read_saved

    if target and not part:
        raise click.UsageError("--target goes with --patch or --inverse")
    plan, _ = read_saved(file)
    if part:
        click.echo(pick_patch(plan, part, target))
        return
    output.warn_of_changes(plan, invocation)
    output.show(plan, form, invocation)
