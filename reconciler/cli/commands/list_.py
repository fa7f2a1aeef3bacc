"""`reconciler list`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.command import Command
from reconciler.cli.completion import complete_addresses
from reconciler.cli.context import Invocation
from reconciler.cli.options import ENV, SELECTOR, format_options

if TYPE_CHECKING:  # start-up: known only when the command runs
    from collections.abc import Sequence

    from reconciler.cli.wiring import Assembly
    from reconciler.model import Address, Manifest
    from reconciler.render.resources import ManagedResource


@click.command(
    cls=Command,
    examples=(
        "# List everything that the project manages",
        "reconciler list",
        "# List the members of one fleet",
        "reconciler list Fleet/bike-rental",
        "# List for a program, with whole ids and URIs",
        "reconciler list --format json",
    ),
)
@click.argument("addresses", shell_complete=complete_addresses, nargs=-1, metavar="[ADDRESS]...")
@SELECTOR
@format_options("text", "json", about="The format of the list.")
@ENV
@click.pass_obj
def list_(
    invocation: Invocation,
    /,
    addresses: tuple[str, ...],
    *,
    selectors: tuple[str, ...],
    form: str,
) -> None:
    """List what is managed: address, id, model, and when and by whom it was last applied.

    It reads the manifests and the ledger, and calls no service: drift reports what is live. The
    ADDRESS of a fleet means all its members.
    """
    import json

    from reconciler.cli.streams import print_json
    from reconciler.cli.wiring import assemble_leniently, parse_addresses
    from reconciler.manifests.labels import select_by_labels
    from reconciler.render.resources import render_resources, resources_document

    named = parse_addresses("list", addresses)
    # An error in one manifest must not hide what the ledger remembers.
    assembly = assemble_leniently(invocation)
    resources = _find_resources(assembly)
    if selectors:
        labelled = frozenset(select_by_labels(assembly.loaded.manifests, selectors))
        resources = [one for one in resources if one.address in labelled]
    resources = _select(resources, named)
    if form == "json":
        from reconciler.text.json_text import escape_json

        document = resources_document(resources, assembly.project.environment)
        print_json(escape_json(json.dumps(document, indent=2)))
    elif resources:
        click.echo(render_resources(resources, invocation.paint()), color=True)
    else:
        click.echo("Nothing is managed: no manifest declares a resource, and the ledger is empty.")


def _find_resources(assembly: Assembly) -> list[ManagedResource]:
    """What a manifest declares or the ledger remembers, ordered by address."""
    from reconciler.engine.planning.selection import find_meant, identify_offline
    from reconciler.plans.history import rename
    from reconciler.render.resources import ManagedResource, find_applied_models

    found = {one.address: _declare(assembly, one) for one in assembly.loaded.manifests}
    declared = frozenset(found)
    meant = find_meant(
        identify_offline(assembly.kinds), assembly.loaded.manifests, assembly.project.defaults
    )
    states = assembly.load_snapshot().of_resources(meant).last_applied_by_address
    for former, last in states.items():
        address = rename(former, assembly.project.moved)
        kind = assembly.kinds.get(address.kind)
        models = find_applied_models(last, kind.field if kind else None)
        found[address] = ManagedResource(
            address, last.id, models, address in declared, last.fleet, last
        )
    return [found[address] for address in sorted(found)]


def _declare(assembly: Assembly, manifest: Manifest) -> ManagedResource:
    """A resource as its manifest declares it; the id is empty while the manifest lacks a name."""
    from reconciler.errors import ManifestInvalid
    from reconciler.render.resources import ManagedResource

    kind = assembly.kinds[manifest.address.kind]
    try:
        id_ = kind.identify(manifest, assembly.project.defaults).id
    except ManifestInvalid:
        id_ = ""
    fleet = manifest.member.fleet if manifest.member else None
    return ManagedResource(manifest.address, id_, (), declared=True, fleet=fleet)


def _select(
    resources: Sequence[ManagedResource], named: Sequence[Address]
) -> list[ManagedResource]:
    """Those of the named addresses, or all; raises ReconcilerError for an address of nothing."""
    from reconciler.errors import ReconcilerError
    from reconciler.text.suggestions import suggest

    known = {name for one in resources for name in (one.address, one.fleet) if name is not None}
    for address in named:
        if address not in known:
            near = suggest(str(address), sorted(map(str, known)))
            step = f"Did you mean {near}?" if near else "See all with: reconciler list"
            raise ReconcilerError("is not managed", subject=str(address), next_step=step)
    wanted = frozenset(named)
    return [one for one in resources if not named or {one.address, one.fleet} & wanted]
