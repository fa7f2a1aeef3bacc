"""`reconciler schema`."""

from __future__ import annotations

import click

from reconciler.cli.command import Command
from reconciler.cli.completion import complete_kinds


@click.command(
    cls=Command,
    examples=(
        "# List the kinds",
        "reconciler schema",
        "# Show what a service's fields mean",
        "reconciler schema WebService --fields",
    ),
)
@click.argument("kind", required=False, shell_complete=complete_kinds)
@click.option("--fields", is_flag=True, help="Print the table of fields instead.")
def schema(kind: str | None, *, fields: bool) -> None:
    """Print the JSON Schema of a kind, or list the kinds.

    Editors use it to complete manifests. --fields prints for each field of the service's document
    its owner, its default, whether it can change, and whether it is secret. For Project,
    Environment, Fleet, Retraining, Policy and PolicyTest it prints each field of the manifest with
    its values and its meaning.
    """
    import json

    from reconciler.cli.streams import print_json
    from reconciler.kinds import find_kinds
    from reconciler.manifests.schema import bundle_schema, extend_project, list_schemas
    from reconciler.render.manifest_fields import render_manifest_fields
    from reconciler.render.schema_fields import render_fields

    kinds = find_kinds()
    names = list_schemas(kinds)
    if kind is None:
        click.echo("\n".join(names))
        return
    if kind not in names:
        raise click.UsageError(f"unknown kind {kind}; the kinds are {', '.join(names)}")
    extension = extend_project(kinds.values()) if kind in {"Project", "Environment"} else ""
    bundled = bundle_schema(names[kind], extension)
    if fields and kind in kinds:
        click.echo(render_fields(kinds[kind].field))
    elif fields:
        click.echo(render_manifest_fields(bundled))
    else:
        print_json(json.dumps(bundled, indent=2, ensure_ascii=False))
