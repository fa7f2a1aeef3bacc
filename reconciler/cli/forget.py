"""`reconciler forget`."""

from __future__ import annotations

import click

from reconciler.cli.invocation import Invocation


@click.command()
@click.argument("address")
@click.pass_obj
def forget(invocation: Invocation, address: str) -> None:
    """Stop managing a resource: drop it from the ledger and delete nothing.

    The service stays as it is. If a manifest still names the resource, the next apply manages it
    again.
    """
    import difflib
    from datetime import UTC, datetime

    from reconciler.cli.assembly import assemble_project, parse_addresses
    from reconciler.errors import ReconcilerError
    from reconciler.model import Action, Entry

    assembly = assemble_project(invocation)
    (named,) = parse_addresses("forget", [address])
    ledger, revision = assembly.ledger, assembly.revision
    known = ledger.load().memories
    if named not in known:
        near = difflib.get_close_matches(address, map(str, known), n=1)
        hint = f"Did you mean {near[0]}?" if near else "It was never applied, or is forgotten."
        raise ReconcilerError("is not in the ledger", subject=address, next_step=hint)
    ledger.record(
        Entry(
            address=named,
            id=known[named].id,
            action=Action.FORGET,
            at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            by=revision.author,
            host=revision.host,
            commit=revision.commit,
            plan_digest="",
            patch=(),
            inverse=(),
            owned={},
            secrets={},
        )
    )
    click.echo(f"  {Action.FORGET.symbol} {named}\n\nForgotten. Nothing was deleted.")
