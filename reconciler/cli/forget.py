"""`reconciler forget`."""

from __future__ import annotations

import click

from reconciler.cli.invocation import Invocation
from reconciler.cli.options import LOCK_TIMEOUT


@click.command()
@click.argument("address")
@LOCK_TIMEOUT
@click.pass_obj
def forget(invocation: Invocation, address: str, *, lock_timeout: float) -> None:
    """Stop managing a resource: drop it from the ledger and delete nothing.

    The service stays as it is. If a manifest still names the resource, the next apply manages it
    again.
    """
    from reconciler.cli.assembly import assemble_project, parse_addresses
    from reconciler.cli.locking import lock_ledger, not_in_ledger, now
    from reconciler.model import Action, Entry

    assembly = assemble_project(invocation)
    (named,) = parse_addresses("forget", [address])
    ledger, revision = assembly.ledger, assembly.revision
    with lock_ledger(assembly, f"forget {address}", lock_timeout) as lease:
        known = ledger.load().memories
        if named not in known:
            raise not_in_ledger(named, known)
        ledger.record(
            Entry(
                address=named,
                id=known[named].id,
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
                fence=lease.holder.fence,
            )
        )
    click.echo(f"  {Action.FORGET.symbol} {named}\n\nForgotten. Nothing was deleted.")
