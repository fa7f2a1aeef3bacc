"""`reconciler version`."""

from __future__ import annotations

import click

import reconciler
from reconciler.cli.command import Command
from reconciler.cli.options import format_options


@click.command(
    cls=Command,
    examples=(
        "# Print the version",
        "reconciler version",
    ),
)
@format_options("text", "json", about="The format of the output.")
def version(*, form: str) -> None:
    """Print the version."""
    if form == "json":
        import json
        import platform

        click.echo(
            json.dumps({"version": reconciler.__version__, "python": platform.python_version()})
        )
    else:
        click.echo(f"reconciler {reconciler.__version__}")
