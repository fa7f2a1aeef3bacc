"""The output of plan, show, apply and rollback: the plan, its warnings and the next command."""

from __future__ import annotations

from collections.abc import Sequence

import click

from reconciler.cli.context import Invocation, is_automated
from reconciler.cli.streams import print_json
from reconciler.model import Finding, Plan
from reconciler.render.plan.text import render_plan, render_plan_json
from reconciler.render.words.escape import escape
from reconciler.text.commits import name_commit, shorten_commit
from reconciler.text.counting import count

_RULE = "─" * 72


def show_before_apply(plan: Plan, invocation: Invocation) -> None:
    """Print a plan whose apply follows, and reports why the plan is refused."""
    invocation.clear_progress()
    click.echo(render_plan(plan, paint=invocation.paint(), refusals=False), color=True)


def show(
    plan: Plan, form: str, invocation: Invocation, *, summary: bool = False, full: bool = False
) -> None:
    """Print a plan in one of its forms; JSON is always full."""
    invocation.clear_progress()
    if form == "json":
        print_json(render_plan_json(plan), nl=False)
    elif form == "markdown":
        from reconciler.render.plan.markdown import render_plan_markdown

        click.echo(render_plan_markdown(plan, full=full), nl=False)
    elif form == "html":
        from reconciler.render.plan.html import render_plan_html

        # The page declares UTF-8, so it must not be written in the encoding of the terminal.
        click.echo(render_plan_html(plan, full=full).encode(), nl=False)
    else:
        text = render_plan(plan, paint=invocation.paint(), summary=summary, full=full)
        click.echo(text, color=True)


def warn_of_changes(changed: Sequence[str], invocation: Invocation) -> None:
    """Warn which files have changed since a plan was saved; on stderr, or as a JSON line."""
    if changed:
        finding = Finding(
            f"{count(len(changed), 'file')} changed since this plan was made",
            detail=tuple(changed[:20]),
            next_step="The saved plan is applied as reviewed. Plan again to include the change.",
            severity="warning",
        )
        warn(finding, invocation)


def warn_of_commit(plan: Plan, commit: str, invocation: Invocation) -> None:
    """Warn that an apply records another commit than a saved plan names.

    Anyone can write a commit into a plan file, so that of the checkout is recorded.
    """
    planned = name_commit(plan.inputs.commit, dirty=plan.inputs.dirty)
    if planned and planned != commit:
        finding = Finding(
            f"the plan was made from {shorten_commit(planned)}, which is not the commit here",
            detail=(f"The ledger records {shorten_commit(commit) or 'no commit'}.",),
            severity="warning",
        )
        warn(finding, invocation)


def warn_of_no_steps(plan: Plan, invocation: Invocation) -> None:
    """Warn that the apply of a saved plan without steps proves nothing of what is live."""
    if not plan.steps:
        finding = Finding(
            "the saved plan has no steps, so no service is read",
            next_step="To compare the services with the manifests: reconciler plan",
            severity="warning",
        )
        warn(finding, invocation)


def warn(finding: Finding, invocation: Invocation) -> None:
    """Print a warning of an apply: on stderr, or as a JSON line."""
    if invocation.as_json:
        from reconciler.render.events.json_lines import describe_finding

        invocation.lines.write(describe_finding(finding))
        return
    invocation.print_findings([finding])


def note(text: str, invocation: Invocation) -> None:
    """Print a line of an apply for people: on stderr, or as a JSON line."""
    if invocation.as_json:
        from reconciler.render.events.json_lines import describe_note

        invocation.lines.write(describe_note(escape(text)))
        return
    invocation.print_error(escape(text))


def advise(plan: Plan, out: str) -> None:
    """Print the next command, unless a script runs this one."""
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
