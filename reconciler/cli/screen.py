"""What plan, show and apply print on stdout."""

from __future__ import annotations

import click

from reconciler.cli.invocation import Invocation, is_automated
from reconciler.model import Plan
from reconciler.render.text import render_plan, render_plan_json

_RULE = "─" * 72


def show(plan: Plan, form: str, invocation: Invocation) -> None:
    """Print a plan in one of its forms."""
    invocation.part_from_progress()
    if form == "json":
        click.echo(render_plan_json(plan), nl=False)
    else:
        click.echo(render_plan(plan, paint=invocation.paint()), color=True)


def advise(plan: Plan, out: str) -> None:
    """The next command, where somebody reads along."""
    if is_automated() or plan.refused or not plan.steps:
        return
    if out:
        click.echo(
            f"\n{_RULE}\n\nSaved the plan to: {out}\n\n"
            "To perform exactly these actions, run the following command to apply:\n"
            f'    reconciler apply "{out}"'
        )
    else:
        click.echo(
            f"\n{_RULE}\n\nNote: You didn't use the --out option to save this plan, so reconciler"
            " can't guarantee to take\nexactly these actions if you run"
            ' "reconciler apply" now.'
        )
