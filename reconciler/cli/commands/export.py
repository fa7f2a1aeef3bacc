"""`reconciler export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.context import Invocation

if TYPE_CHECKING:  # start-up: known only when the command runs
    from reconciler.cli.adopt import Importer
    from reconciler.engine.unmanaged import ServiceFinder


@click.command()
@click.argument("addresses", nargs=-1, metavar="[ADDRESS]...")
@click.option("--all", "everything", is_flag=True, help="Every service that no manifest names.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Where the manifests go: manifests/ of the project by default.",
)
@click.option("--full", is_flag=True, help="The whole definition, in a file beside the manifest.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["yaml", "json"]),
    default="yaml",
    show_default=True,
    help="json prints one live definition, to which a plan's patch applies.",
)
@click.pass_obj
def export(
    invocation: Invocation,
    /,
    addresses: tuple[str, ...],
    folder: Path | None,
    form: str,
    *,
    everything: bool,
    full: bool,
    force: bool,
) -> None:
    """Write manifests of services that are live, one file each; plan afterwards is empty.

    A manifest says what matters: which models the service serves, its tags and settings. Nothing
    is changed, and no file is written over. The ADDRESS of a fleet stands for all its members.
    """
    from reconciler.cli.wiring import parse_addresses

    if bool(addresses) == everything:
        raise click.UsageError("name what to export, or say --all")
    finder, importer = prepare(invocation, folder, full=full, force=force)
    named = finder.expand(parse_addresses("export", addresses))
    if form == "json" and len(named) != 1:
        raise click.UsageError("--format json prints one definition: name its address")
    resources = [finder.locate(one) for one in named] if named else finder.find_all()
    services = finder.read(resources)
    if form == "json":
        print_definition(services[0][1].document)
        return
    report(invocation, importer.write(services), len(services))


def prepare(
    invocation: Invocation, folder: Path | None, *, full: bool, force: bool
) -> tuple[ServiceFinder, Importer]:
    """What finds the services and what writes them down; the project may hold no manifest yet."""
    from reconciler.cli.adopt import Importer
    from reconciler.cli.wiring import assemble
    from reconciler.engine.unmanaged import ServiceFinder

    assembly = assemble(invocation, [], allowed=["empty"])
    root = Path(invocation.project_file).parent
    target = folder if folder is not None else root / "manifests"
    project = assembly.project
    finder = ServiceFinder(assembly.runtime(10), project, assembly.loaded.manifests)
    return finder, Importer(assembly.kinds, project.defaults, target, full, force)


def print_definition(document: object) -> None:
    """Print a document as JSON."""
    import json

    from reconciler.text.json_text import escape_json

    click.echo(escape_json(json.dumps(document, indent=2, ensure_ascii=False)))


def report(invocation: Invocation, files: list[str], services: int) -> None:
    """Say what was written."""
    from reconciler.render.words.counting import count
    from reconciler.render.words.escape import escape

    invocation.clear_progress()
    for name in files:
        click.echo(f"  {escape(name)}")
    click.echo(f"\n{count(services, 'service')} exported. Nothing was changed.")
