"""`reconciler import`."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.command import Command
from reconciler.cli.context import Invocation
from reconciler.cli.options import ENV


@click.command(
    "import",
    cls=Command,
    examples=(
        "# Write a manifest for a service of the project's resource group",
        "reconciler import WebService/census CensusPre.2016.8.17",
    ),
)
@click.argument("address")
@click.argument("resource_id", metavar="ID")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="The folder of the manifest: manifests/ of the project by default.",
)
@click.option("--full", is_flag=True, help="Write the whole definition to a file beside it.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@ENV
@click.pass_obj
def import_(
    invocation: Invocation,
    /,
    address: str,
    resource_id: str,
    folder: Path | None,
    *,
    full: bool,
    force: bool,
) -> None:
    """Write a manifest for the live service ID, with the given ADDRESS.

    ID is the whole Resource Manager id of the service, or its name in the project's default
    resource group; without a default group, its name in the subscription. No service is changed,
    and the next plan has no changes.
    """
    from reconciler.cli.commands.export import prepare, report
    from reconciler.cli.wiring import parse_addresses

    finder, importer = prepare(invocation, folder, full=full, force=force)
    (named,) = parse_addresses("import", [address])
    services = finder.read([finder.locate(named, resource_id)])
    report(invocation, importer.write(services), 1, tuple(finder.find_failed(services)))
