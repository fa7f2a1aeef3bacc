"""`reconciler force-unlock`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.command import Command
from reconciler.cli.context import Invocation
from reconciler.cli.options import ENV

if TYPE_CHECKING:  # start-up: known only when the command runs
    from reconciler.model import LockOwner
    from reconciler.ports import Ledger


@click.command(
    "force-unlock",
    cls=Command,
    examples=(
        "# Remove the lock whose ID the error shows",
        "reconciler force-unlock 5b0c8a",
    ),
)
@click.argument("lock_id", metavar="ID")
@click.option("--force", is_flag=True, help="Do not ask.")
@ENV
@click.pass_obj
def force_unlock(invocation: Invocation, lock_id: str, *, force: bool) -> None:
    """Remove the lock of the ledger.

    The error about a held lock shows its ID. If the owner of the lock still runs, it stops writing
    once it notices; the calls that it has sent take effect, and the next apply checks them first.
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
            "Reconciler will remove the lock, even if its owner still runs.\n"
            "Do so only if no other run is active: two runs at once undo each other's changes.",
            instead="Give --force.",
            cancelled="force-unlock cancelled: the lock is as it was",
        )
    ledger.unlock(lock_id)
    click.echo("The ledger is unlocked.")


def find_named(ledger: Ledger, lock_id: str) -> LockOwner:
    """The owner of the lock with that id; raises ReconcilerError when no lock has it."""
    from reconciler.errors import ReconcilerError
    from reconciler.render.events.console import describe_lock_owner

    lock_owner = ledger.find_lock_owner()
    if lock_owner is None:
        raise ReconcilerError("the ledger is not locked", next_step="There is nothing to unlock.")
    if lock_owner.id != lock_id:
        raise ReconcilerError(
            f"no lock has the id {lock_id}: the lock is {describe_lock_owner(lock_owner)}",
            next_step=f"To remove it: reconciler force-unlock {lock_owner.id}",
        )
    return lock_owner
