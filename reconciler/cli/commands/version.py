"""`reconciler version`."""

from __future__ import annotations

import click

import reconciler


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def version(*, as_json: bool) -> None:
    """Print the version."""
    if as_json:
        import json
        import platform

        click.echo(
            json.dumps({"version": reconciler.__version__, "python": platform.python_version()})
        )
    else:
        click.echo(f"reconciler {reconciler.__version__}")
