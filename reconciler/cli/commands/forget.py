"""`reconciler forget`."""

from __future__ import annotations

import click

from reconciler.cli.command import Command
from reconciler.cli.completion import complete_addresses
from reconciler.cli.context import Invocation
from reconciler.cli.options import LOCK_TIMEOUT


@click.command(
    cls=Command,
    examples=(
        "# Stop managing a resource, and keep its service",
        "reconciler forget WebService/census",
    ),
)
@click.argument("address", shell_complete=complete_addresses)
@LOCK_TIMEOUT
@click.pass_obj
def forget(invocation: Invocation, address: str, *, lock_timeout: float) -> None:
    """Stop managing a resource: remove it from the ledger, and do not delete it.

    The service is unchanged. If a manifest still names the resource, the next apply manages it
    again. The ADDRESS of a fleet means all its members in the ledger.
    """
    from reconciler.cli.wiring import (
        assemble_project,
        lock_ledger,
        not_in_ledger,
        now,
        parse_addresses,
    )
    from reconciler.model import Action, Entry
    from reconciler.plans.waves import find_members

    assembly = assemble_project(invocation)
    (named,) = parse_addresses("forget", [address])
    ledger, revision = assembly.ledger, assembly.revision
    with lock_ledger(assembly, f"forget {address}", lock_timeout) as lease:
        known = ledger.load().last_applied_by_address
        members = find_members(named, (), known)
        if not all(member in known for member in members):
            raise not_in_ledger(named, (*known, *(one.fleet for one in known.values())))
        for member in members:
            ledger.record(
                Entry(
                    address=member,
                    id=known[member].id,
                    action=Action.FORGET,
                    at=now(),
                    by=revision.author,
                    host=revision.host,
                    commit=revision.commit,
                    plan_digest="",
                    patch=(),
                    inverse=(),
                    owned={},
                    secrets={},
                    fence=lease.lock_owner.fence,
                    fleet=known[member].fleet,
                )
            )
            click.echo(f"  {Action.FORGET.symbol} {member}")
    click.echo("\nForgotten. Nothing was deleted.")
