"""`reconciler show`."""

from __future__ import annotations

import click

from reconciler.cli.invocation import Invocation


@click.command()
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.pass_obj
def show(invocation: Invocation, file: str, *, as_json: bool) -> None:
    """Print a saved plan; no service is asked, so a stale plan can be shown too."""
    from reconciler.cli import screen
    from reconciler.cli.saved import read_saved

    plan, _ = read_saved(file)
    screen.show(plan, "json" if as_json else "text", invocation)
