"""Asking a person before something is done, as Terraform asks."""

from __future__ import annotations

import sys

import click

from reconciler.cli.context import may_ask


def approve(question: str, explanation: str, *, instead: str, cancelled: str) -> None:
    """Ask; only `yes` goes on, anything else raises ReconcilerError with `cancelled`.

    Where nobody may be asked it raises ReconcilerError too; `instead` says what to do then.
    """
    from reconciler.errors import ReconcilerError

    if not may_ask():
        raise ReconcilerError("nobody may be asked to approve this", next_step=instead)
    lines = [question, *(f"  {line}" for line in explanation.split("\n"))]
    click.echo("\n" + "\n".join([*lines, "  Only 'yes' will be accepted to approve.", ""]))
    click.echo("  Enter a value: ", nl=False)
    answer = sys.stdin.readline()
    click.echo("" if answer.endswith("\n") else "\n")
    if answer.strip() != "yes":
        raise ReconcilerError(cancelled)
