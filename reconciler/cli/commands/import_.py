"""`reconciler import`."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.context import Invocation


@click.command("import")
@click.argument("address")
@click.argument("resource_id", metavar="ID")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Where the manifest goes: manifests/ of the project by default.",
)
@click.option("--full", is_flag=True, help="The whole definition, in a file beside the manifest.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
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
    """Write a manifest of the live service ID, under the address that it is to have.

    ID is the service's whole Resource Manager id, or its name in the project's default resource
    group. Nothing is changed; plan afterwards is empty.
    """
    from reconciler.cli.commands.export import prepare, report
    from reconciler.cli.wiring import parse_addresses

    finder, importer = prepare(invocation, folder, full=full, force=force)
    (named,) = parse_addresses("import", [address])
    services = finder.read([finder.locate(named, resource_id)])
    report(invocation, importer.write(services), 1)
