"""`reconciler promote`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.command import Command
from reconciler.cli.completion import complete_environments, complete_source_addresses
from reconciler.cli.context import Invocation

if TYPE_CHECKING:  # start-up: known only when the command runs
    from collections.abc import Sequence

    from reconciler.cli.wiring import Assembly
    from reconciler.manifests.editing.accept import PlacedEdit

_LONGEST = 500


@click.command(
    cls=Command,
    examples=(
        "# Let prod declare the model that is applied in dev",
        "reconciler promote WebService/census --from dev --to prod",
        "# The same, as a commit",
        "reconciler promote WebService/census --from dev --to prod --commit",
    ),
)
@click.argument("address", shell_complete=complete_source_addresses)
@click.option(
    "--from",
    "source",
    metavar="NAME",
    required=True,
    shell_complete=complete_environments,
    help="The environment in which the model is applied.",
)
@click.option(
    "--to",
    "target",
    metavar="NAME",
    required=True,
    shell_complete=complete_environments,
    help="The environment that must declare the model.",
)
@click.option("--commit", is_flag=True, help="Commit the edited file.")
@click.pass_obj
def promote(
    invocation: Invocation, address: str, source: str, target: str, *, commit: bool
) -> None:
    """Declare in one environment the model that is applied in another one.

    The ledger of --from proves which model is applied: its address and its digest are written. What
    was never applied there, or was changed since, is refused. The value changes in the file of --to
    if the manifest has it as ${values.NAME}, and in the manifest if no other environment reads it.
    No service is changed: plan --env shows what the edit means. In the manifest of an online
    endpoint, the model goes to the deployment without traffic.
    """
    from pathlib import Path

    from reconciler.cli.applied_models import (
        find_applied_models,
        find_counterpart,
        find_manifest,
        list_edits,
        write_message,
    )
    from reconciler.cli.promotion import place_models
    from reconciler.cli.rewrite import rewriting_offline
    from reconciler.cli.wiring import parse_addresses
    from reconciler.manifests.editing.accept import Acceptance, apply_edits
    from reconciler.manifests.proposal import Repository

    (named,) = parse_addresses("promote", [address])
    if source == target:
        raise click.UsageError("--from and --to name the same environment")
    here = _assemble(invocation, source, "--from")
    there = _assemble(invocation, target, "--to")
    manifest = find_manifest(here, named, source)
    applied, state = find_applied_models(here, manifest, source)
    other = find_counterpart(there, manifest, target)
    edits = tuple(list_edits(applied, other, there.kinds[named.kind]))
    if not edits:
        click.echo(f"{other.address} declares the same model in {target} already.")
        return
    root = Path(there.project.root)
    placed = place_models(invocation, root, there.loaded, [Acceptance(other, edits)])
    texts = apply_edits(root, placed, there.loaded.tokens)
    repository = Repository(root) if commit else None
    if repository is not None:
        repository.check_author()
        repository.check_committed(texts)
    made = ""
    with rewriting_offline(invocation, there, texts, {other.address}):
        if repository is not None:
            message, trailer = write_message(named, (source, target), applied, state)
            made = repository.commit(texts, message, "", trailer).commit
    if repository is not None:
        repository.stage(texts)
    _print(placed, f"{named} from {source} to {target}", made)
    for one in applied:
        if not one.sha256:
            click.echo(
                f"\nThe ledger of {source} has no digest of {one.uri}: only its id says that"
                f" {target} serves the same model."
            )
    click.echo(f"\nSee what it changes: reconciler plan --env {target}")


def _assemble(invocation: Invocation, environment: str, origin: str) -> Assembly:
    from reconciler.cli.wiring import assemble

    invocation.environment, invocation.environment_origin = environment, origin
    return assemble(invocation, [])


def _describe(placed: PlacedEdit) -> str:
    """One edited place: a new value, another name, or what is removed."""
    from reconciler.document.pointers import split_pointer
    from reconciler.model import ABSENT, Edit
    from reconciler.render.words.escape import cut, escape

    edit, file = placed.edit, escape(placed.file)
    name = split_pointer(edit.pointer)[-1] if isinstance(edit, Edit) else edit.column
    if isinstance(edit, Edit) and edit.name:
        of = " ".join(map(escape, split_pointer(edit.pointer)[1:]))
        return f"~ {file}: {of} -> {escape(edit.name)}"
    if edit.value is ABSENT:
        return f"- {file}: {escape(name)}"
    return f"~ {file}: {escape(name)} = {escape(cut(_write(edit.value), _LONGEST))}"


def _write(value: object) -> str:
    import json

    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _print(placed: Sequence[PlacedEdit], said: str, commit: str) -> None:
    """Print each edited place with its new value."""
    for one in placed:
        click.echo(f"  {_describe(one)}")
    click.echo(f"\nPromoted {said}" + (f", in commit {commit[:7]}." if commit else "."))
