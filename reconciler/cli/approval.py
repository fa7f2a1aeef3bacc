"""Asks a person for approval before a change, in Terraform's words."""

from __future__ import annotations

import sys

import click

from reconciler.cli.context import may_ask


def approve(question: str, explanation: str, *, instead: str, cancelled: str) -> None:
    """Ask for approval; any answer but `yes` raises ReconcilerError with `cancelled`.

    It raises ReconcilerError as well when input is switched off; `instead` is then the next step.
    """
    from reconciler.errors import ReconcilerError

    if not may_ask():
        raise ReconcilerError(
            "approval is needed, and RECONCILER_INPUT switches questions off", next_step=instead
        )
    lines = [question, *(f"  {line}" for line in explanation.split("\n"))]
    click.echo("\n" + "\n".join([*lines, "  Only 'yes' will be accepted to approve.", ""]))
    click.echo("  Enter a value: ", nl=False)
    answer = sys.stdin.readline()
    click.echo("" if answer.endswith("\n") else "\n")
    if answer.strip() != "yes":
        raise ReconcilerError(cancelled)
