"""`reconciler forget`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.command import Command
from reconciler.cli.completion import complete_addresses
from reconciler.cli.context import Invocation
from reconciler.cli.options import ENV, LOCK_TIMEOUT

if TYPE_CHECKING:  # start-up: known only when the command runs
    from collections.abc import Sequence

    from reconciler.cli.wiring import Assembly
    from reconciler.model import Address, Entry, LastApplied, Snapshot


@click.command(
    cls=Command,
    examples=(
        "# Stop managing a resource, and keep its service",
        "reconciler forget WebService/census",
    ),
)
@click.argument("address", shell_complete=complete_addresses)
@LOCK_TIMEOUT
@ENV
@click.pass_obj
def forget(invocation: Invocation, address: str, *, lock_timeout: float) -> None:
    """Stop managing a resource: remove it from the ledger, and do not delete it.

    The service is unchanged. If a manifest still names the resource, the next apply manages it
    again. The ADDRESS of a fleet means all its members in the ledger. The resources that an address
    named before (WebService/a.former) are removed with it, or alone by their own addresses.
    """
    from dataclasses import replace

    from reconciler.cli.wiring import (
        assemble_project,
        lock_ledger,
        not_in_ledger,
        parse_addresses,
    )
    from reconciler.model import Action

    assembly = assemble_project(invocation)
    (named,) = parse_addresses("forget", [address])
    ledger = assembly.ledger
    with lock_ledger(assembly, f"forget {address}", lock_timeout) as lease:
        snapshot = ledger.load()
        members = _find_members(named, snapshot)
        if not members:
            snapshot = _apply_manifests(invocation, snapshot)
            members = _find_members(named, snapshot)
        if not members:
            # It asks no question, so a mistyped address must not lead to another resource.
            raise not_in_ledger(named, ())
        for member in members:
            state = snapshot.last_applied_by_address[member]
            entry = _make_entry(assembly, snapshot.applied_as(member), state)
            ledger.record(replace(entry, fence=lease.lock_owner.fence))
            click.echo(f"  {Action.FORGET.symbol} {member}")
    click.echo("\nForgotten. Nothing was deleted.")


def _find_members(named: Address, snapshot: Snapshot) -> Sequence[Address]:
    """The recorded addresses that an address means: of a fleet, or its own with former ones."""
    from reconciler.plans.waves import find_members

    known = snapshot.last_applied_by_address
    members = find_members(named, (), known)
    if not all(member in known for member in members):
        return ()
    return sorted({one for one in known if {one, snapshot.applied_as(one)} & {*members}})


def _apply_manifests(invocation: Invocation, snapshot: Snapshot) -> Snapshot:
    """The snapshot as a plan shows it: a manifest may name another resource than was applied."""
    from reconciler.cli.loading import load_all
    from reconciler.engine.planning.selection import find_meant, identify_offline

    loaded, kinds = load_all(invocation, [])
    defaults = loaded.project.defaults if loaded.project is not None else {}
    return snapshot.of_resources(find_meant(identify_offline(kinds), loaded.manifests, defaults))


def _make_entry(assembly: Assembly, address: Address, state: LastApplied) -> Entry:
    from reconciler.cli.wiring import now
    from reconciler.model import Action, Entry

    revision = assembly.revision
    return Entry(
        address=address,
        id=state.id,
        action=Action.FORGET,
        at=now(),
        by=revision.author,
        host=revision.host,
        commit=revision.name,
        plan_digest="",
        differing=revision.list_differing(),
        patch=(),
        inverse=(),
        owned={},
        secrets={},
        fleet=state.fleet,
        created=state.created,
    )
