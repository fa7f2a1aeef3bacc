"""`reconciler approve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.command import Command
from reconciler.cli.completion import complete_files
from reconciler.cli.context import Invocation, is_automated
from reconciler.cli.options import format_options, read_duration

if TYPE_CHECKING:  # start-up: known only when the command runs
    from reconciler.model import Plan


def _read_principal(_: click.Context, __: click.Parameter, text: str) -> str:
    """The name; raises click.BadParameter for one that a keyring cannot have."""
    from reconciler.plans.approvals import MOST_PRINCIPAL

    if any(one in text for one in '*?!,"') or not text.isprintable() or " " in text:
        raise click.BadParameter("a principal is one name, such as alice@example.com")
    if len(text) > MOST_PRINCIPAL:
        raise click.BadParameter(f"it has more than {MOST_PRINCIPAL} characters")
    return text


@click.command(
    cls=Command,
    examples=(
        "# Approve the changes of a saved plan",
        "reconciler approve release.plan --key ~/.ssh/id_ed25519",
        "# Sign with a key in the SSH agent, or with a hardware key",
        "reconciler approve release.plan --key ~/.ssh/id_ed25519.pub",
        "# Write the approval into a folder; it counts for one day",
        "reconciler approve p.plan --key ~/.ssh/id_rsa --expires 1d --out ok/",
    ),
)
@click.argument("plan", metavar="PLAN", shell_complete=complete_files)
@click.option(
    "--key",
    metavar="FILE",
    required=True,
    shell_complete=complete_files,
    help="Your SSH key. A private key signs here, and its passphrase is asked for on the terminal."
    " For a public key (.pub), ssh-keygen asks the SSH agent or the hardware key.",
)
@click.option(
    "--principal",
    metavar="NAME",
    default="",
    callback=_read_principal,
    help="Your name in the keyring. It is needed only if the keyring has a pattern for your key, or"
    " several lines. Default: the first name in its line.",
)
@click.option(
    "--expires",
    metavar="DURATION",
    default="7d",
    show_default=True,
    callback=read_duration,
    help="How long the approval counts, such as 12h or 7d; 366d at most.",
)
@click.option(
    "--out",
    metavar="FILE",
    default="",
    shell_complete=complete_files,
    help="Where to write the approval: a file that ends in .approval.json, or a folder. The"
    " signature is written beside it, with .sig at its end. Default: beside the plan.",
)
@format_options("text", "json", about="The format of the output.")
@click.pass_obj
def approve(
    invocation: Invocation,
    /,
    plan: str,
    *,
    key: str,
    principal: str,
    expires: float,
    out: str,
    form: str,
) -> None:
    """Sign the changes of a saved plan, so that apply --approvals makes them.

    The signature is one of OpenSSH, over the digest of the changes, the project, the environment,
    the digests of the models, the verdicts of the gates, and the time at which it expires. It also
    holds when the same changes are planned again. No service is called.

    ssh-keygen -Y verify -n reconciler-approval accepts the two files that are written.
    """
    import json
    from datetime import UTC, datetime

    from reconciler.cli.plan_files import read_saved
    from reconciler.cli.signed_approvals import name_approval, write_approval
    from reconciler.cli.signing import sign_statement
    from reconciler.cli.streams import print_json
    from reconciler.plans.approvals import MOST_DAYS, encode_statement, make_statement
    from reconciler.render.approvals import approval_document, render_approval
    from reconciler.text.json_text import escape_json
    from reconciler.text.times import format_utc

    if not 1 <= expires <= MOST_DAYS * 86400:
        raise click.UsageError(f"--expires must be from 1s to {MOST_DAYS}d")
    saved, _ = read_saved(plan)
    _check_plan(saved, plan, invocation)
    end = format_utc(datetime.now(UTC).timestamp() + expires)
    statement = make_statement(saved, end, principal)
    data = encode_statement(statement)
    signature, public = sign_statement(key, data, invocation.print_error)
    path = name_approval(plan, out, public.fingerprint)
    beside = write_approval(path, data, signature)
    if form == "json":
        said = approval_document(statement, public, str(path), str(beside))
        print_json(escape_json(json.dumps(said, indent=2, ensure_ascii=False)))
        return
    text = render_approval(saved, statement, public, invocation.paint())
    click.echo(f"{text}\n\nWrote {path} and {beside.name}.", color=True)
    if not is_automated():
        name = principal or "YOUR-NAME"
        click.echo(
            f"\nYour line in the keyring:\n    {name} {public.line}\n"
            "\nTo apply the plan with this approval:\n"
            f'    reconciler apply "{plan}" --approvals "{path.parent}" --keyring FILE'
        )


def _check_plan(plan: Plan, name: str, invocation: Invocation) -> None:
    """Raise ReconcilerError for a plan without changes; warn of one that is refused."""
    from dataclasses import replace

    from reconciler.errors import ReconcilerError

    if not plan.steps:
        raise ReconcilerError(
            "has no changes to approve",
            subject=name,
            next_step="Make a plan with changes: reconciler plan --out FILE",
        )
    invocation.print_findings([replace(one, severity="warning") for one in plan.refused])
