"""`reconciler force-unlock`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.context import Invocation

if TYPE_CHECKING:  # start-up: known only when the command runs
    from reconciler.model import LockOwner
    from reconciler.ports import Ledger


@click.command("force-unlock")
@click.argument("lock_id", metavar="ID")
@click.option("--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def force_unlock(invocation: Invocation, lock_id: str, *, force: bool) -> None:
    """Take the lock of the ledger from whoever holds it.

    ID is told wherever a lock is in the way. A holder that still runs writes nothing more once it
    notices; what it has sent is live, and the next apply looks at it first.
    """
    from reconciler.cli.approval import approve
    from reconciler.cli.wiring import assemble_project
    from reconciler.render.events.console import describe_lock_owner

    ledger = assemble_project(invocation).ledger
    lock_owner = find_named(ledger, lock_id)
    click.echo(f"The lock is {describe_lock_owner(lock_owner)}.")
    if not force:
        approve(
            "Do you really want to force-unlock?",
            "Reconciler will take the lock away from whoever holds it.\n"
            "Do so only if nobody is at work: two at once undo each other's changes.",
            instead="Give --force.",
            cancelled="force-unlock cancelled: the lock is as it was",
        )
    ledger.unlock(lock_id)
    click.echo("The ledger is unlocked.")


def find_named(ledger: Ledger, lock_id: str) -> LockOwner:
    """Who holds the lock by that id; raises ReconcilerError where nobody does."""
    from reconciler.errors import ReconcilerError
    from reconciler.render.events.console import describe_lock_owner

    lock_owner = ledger.find_lock_owner()
    if lock_owner is None:
        raise ReconcilerError("the ledger is not locked", next_step="There is nothing to unlock.")
    if lock_owner.id != lock_id:
        raise ReconcilerError(
            f"no lock has the id {lock_id}: the one there is is {describe_lock_owner(lock_owner)}",
            next_step=f"To take it away: reconciler force-unlock {lock_owner.id}",
        )
    return lock_owner
