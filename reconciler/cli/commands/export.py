"""`reconciler export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.command import Command
from reconciler.cli.completion import complete_addresses
from reconciler.cli.context import Invocation
from reconciler.cli.options import ENV, SELECTOR, format_options

if TYPE_CHECKING:  # start-up: known only when the command runs
    from collections.abc import Sequence

    from reconciler.cli.adopt import Importer, Written
    from reconciler.engine.unmanaged import ServiceFinder
    from reconciler.model import Finding


@click.command(
    cls=Command,
    examples=(
        "# Write a manifest for each service that has none",
        "reconciler export --all",
        "# Print the live definition of one service",
        "reconciler export WebService/census --format json",
    ),
)
@click.argument("addresses", shell_complete=complete_addresses, nargs=-1, metavar="[ADDRESS]...")
@SELECTOR
@click.option(
    "--all", "everything", is_flag=True, help="Export every service that no manifest names."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="The folder of the manifests: manifests/ of the project by default.",
)
@click.option("--full", is_flag=True, help="Write the whole definition to a file beside each one.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@format_options(
    "yaml", "json", about="json prints one live definition; a plan's patch applies to it."
)
@ENV
@click.pass_obj
def export(
    invocation: Invocation,
    /,
    addresses: tuple[str, ...],
    folder: Path | None,
    form: str,
    *,
    selectors: tuple[str, ...],
    everything: bool,
    full: bool,
    force: bool,
) -> None:
    """Write a manifest for each live service; the next plan has no changes.

    A manifest holds the important values: the models of the service, its tags and settings. No
    service is changed, and no file is overwritten. The ADDRESS of a fleet means all its members.
    With --all, the services of the project's default resource group are exported; without a
    default group, those of the whole subscription.
    """
    from reconciler.cli.wiring import select_addresses

    if bool(addresses or selectors) == everything:
        raise click.UsageError("give an ADDRESS, -l LABEL=VALUE, or --all")
    finder, importer = prepare(invocation, folder, full=full, force=force)
    named = finder.expand(select_addresses("ADDRESS", addresses, selectors, finder.manifests))
    if form == "json" and len(named) != 1:
        raise click.UsageError("--format json prints one definition: give one ADDRESS")
    resources = [finder.locate(one) for one in named] if named else finder.find_all()
    services = finder.read(resources)
    if form == "json":
        print_definition(services[0][1].document)
        return
    report(invocation, importer.write(services), len(services), tuple(finder.find_failed(services)))


def prepare(
    invocation: Invocation, folder: Path | None, *, full: bool, force: bool
) -> tuple[ServiceFinder, Importer]:
    """The finder of services and the writer of manifests; the project may have no manifest yet."""
    from reconciler.cli.adopt import Importer
    from reconciler.cli.wiring import assemble
    from reconciler.engine.unmanaged import ServiceFinder

    assembly = assemble(invocation, [], allowed=["empty"])
    assembly.warn_of_shared()
    assembly.load_snapshot()
    runtime = assembly.runtime(10)
    finder = ServiceFinder(runtime, assembly.project, assembly.loaded.manifests)
    return finder, Importer(invocation, assembly, runtime, folder, full, force)


def print_definition(document: object) -> None:
    """Print a document as JSON."""
    import json

    from reconciler.cli.streams import print_json
    from reconciler.text.json_text import escape_json

    print_json(escape_json(json.dumps(document, indent=2, ensure_ascii=False)))


def report(
    invocation: Invocation, written: Written, services: int, failed: Sequence[Finding]
) -> None:
    """Print the names of the written files, the number of services, and which ones failed."""
    from reconciler.render.findings import render_findings
    from reconciler.render.words.escape import escape
    from reconciler.text.counting import count

    invocation.clear_progress()
    for name in written.files:
        click.echo(f"  {escape(name)}")
    of_them = f"; {len(failed)} failed" if failed else ""
    click.echo(f"\n{count(services, 'service')} exported{of_them}. Nothing was changed.")
    found = (*failed, *written.warnings)
    if found:
        invocation.print_error("\n" + render_findings(found, paint=invocation.paint(sys.stderr)))
