"""`reconciler verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.command import Command
from reconciler.cli.completion import complete_addresses
from reconciler.cli.context import Invocation
from reconciler.cli.options import ENV, detailed_verify, format_options

if TYPE_CHECKING:  # start-up: known only when the command runs
    from collections.abc import Sequence

    from reconciler.cli.exit_codes import ExitWord
    from reconciler.cli.training import Trainer
    from reconciler.cli.wiring import Assembly
    from reconciler.model import Address, Manifest
    from reconciler.plans.proof import Verification


@click.command(
    cls=Command,
    examples=(
        "# Prove which model answers for one service",
        "reconciler verify WebService/census",
        "# Prove it for each member of a fleet",
        "reconciler verify Fleet/bike-rental",
        "# Prove it for every resource that can be verified",
        "reconciler verify --all",
    ),
)
@click.argument("addresses", shell_complete=complete_addresses, nargs=-1, metavar="[ADDRESS]...")
@click.option("--all", "every", is_flag=True, help="Every resource that can be verified.")
@format_options("text", "json", about="The format of the result.")
@detailed_verify
@ENV
@click.pass_obj
def verify(
    invocation: Invocation, /, addresses: tuple[str, ...], *, every: bool, form: str
) -> None:
    """Prove which model a service serves, by its answers.

    The rows of spec.verify are scored with the live model. The answers are compared with those that
    retrain recorded for the model that the service must serve, and for the model before.

    An OnlineEndpoint needs no spec.verify: each deployment is asked by its name with the sample of
    spec.rollout.probe, and the traffic is measured. The result says what each deployment serves,
    and by which signs it is known. The ADDRESS of a fleet means all its members.
    """
    import json

    from reconciler.cli.exit_codes import get_exit_code
    from reconciler.cli.streams import print_json
    from reconciler.cli.training import Trainer
    from reconciler.cli.wiring import assemble
    from reconciler.render.training import render_verifications, verifications_document
    from reconciler.text.json_text import escape_json

    if bool(addresses) == every:
        raise click.UsageError("give the ADDRESS of a resource, or --all")
    assembly = assemble(invocation, [])
    trainer = Trainer(invocation, assembly)
    manifests = _select(assembly, trainer, addresses)
    assembly.warn_of_shared()
    found = list(trainer.verify_all(manifests))
    word = _classify(found)
    invocation.clear_progress()
    if form == "json":
        print_json(escape_json(json.dumps(verifications_document(found, word), indent=2)))
    else:
        click.echo(render_verifications(found, invocation.paint()), color=True)
    code = get_exit_code(word, detailed=invocation.detailed_exitcode)
    if code:
        click.get_current_context().exit(code)


def _select(assembly: Assembly, trainer: Trainer, addresses: Sequence[str]) -> list[Manifest]:
    """The manifests that can be verified, each once: of these addresses, or all.

    The address of a fleet means all its members.
    """
    from reconciler.cli.wiring import parse_addresses
    from reconciler.errors import ReconcilerError
    from reconciler.text.suggestions import ask, suggest

    manifests = assembly.loaded.manifests
    named = parse_addresses("verify", addresses)
    able = [one for one in manifests if trainer.can_verify(one)]
    found: dict[Address, Manifest] = {}
    for address in named:
        meant = {one.address: one for one in able if address in _list_names(one)}
        if not meant:
            declared = any(address in _list_names(one) for one in manifests)
            known = [str(name) for one in able for name in _list_names(one)]
            near = "" if declared else suggest(str(address), known)
            step = ask(str(address), near, "{}") if near else "Add spec.verify to its manifest."
            message = "has no spec.verify" if declared else "no manifest declares it"
            raise ReconcilerError(message, subject=str(address), next_step=step)
        found |= meant
    return [*found.values()] if named else able


def _list_names(manifest: Manifest) -> list[Address]:
    """The address of a resource, and that of its fleet."""
    fleet = [manifest.member.fleet] if manifest.member is not None else []
    return [manifest.address, *fleet]


def _classify(found: Sequence[Verification]) -> ExitWord:
    """The result of the command in one word."""
    from reconciler.plans.proof import Proof

    if any(one.proof in {Proof.OLD, Proof.OTHER} for one in found):
        return "incomplete"
    proven = all(one.proof is Proof.PROVEN for one in found)
    return "in-sync" if proven else "evidence-incomplete"
