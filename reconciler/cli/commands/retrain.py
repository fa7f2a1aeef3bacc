"""`reconciler retrain`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.command import Command
from reconciler.cli.completion import complete_retrainings
from reconciler.cli.context import Invocation
from reconciler.cli.options import ENV, PARALLELISM, detailed_retrain, format_options, read_duration

if TYPE_CHECKING:  # start-up: known only when the command runs
    from collections.abc import Collection, Sequence

    from reconciler.cli.exit_codes import ExitWord
    from reconciler.cli.training import Trainer
    from reconciler.errors import ReconcilerError
    from reconciler.model import Address
    from reconciler.model.training import Retraining
    from reconciler.plans.gates import Candidate
    from reconciler.render.training import TrainingResult


@click.command(
    cls=Command,
    examples=(
        "# Train a model, judge it, and write it into the manifests",
        "reconciler retrain census",
        "# Propose it in one commit on a branch, and leave the work tree as it is",
        "reconciler retrain census --branch retrain/census",
        "# Run it from a timer: do nothing until the schedule is due",
        "reconciler retrain census --if-due",
        "# Cancel the job that runs",
        "reconciler retrain census --cancel",
    ),
)
@click.argument("name", required=False, shell_complete=complete_retrainings)
@click.option("--fleet", metavar="FLEET", help="Retrain each member of this fleet.")
@click.option(
    "--if-due", is_flag=True, help="End at once, without a job, if spec.schedule is not due."
)
@click.option("--again", is_flag=True, help="Begin a new run, even if one is open.")
@click.option("--cancel", is_flag=True, help="Cancel the job of the open run.")
@click.option("--commit", is_flag=True, help="Commit the edited manifests.")
@click.option("--branch", metavar="NAME", default="", help="Commit them on this branch instead.")
@click.option(
    "--lock-timeout",
    callback=read_duration,
    metavar="DURATION",
    default="1m",
    show_default=True,
    help="How long to wait for the lock of the ledger, which is taken for each line only.",
)
@format_options("text", "json", about="The format of the result.")
@PARALLELISM
@detailed_retrain
@ENV
@click.pass_obj
def retrain(
    invocation: Invocation,
    /,
    name: str | None,
    *,
    fleet: str | None,
    if_due: bool,
    again: bool,
    cancel: bool,
    commit: bool,
    branch: str,
    lock_timeout: float,
    parallelism: int,
    form: str,
) -> None:
    """Train a better model, judge it by the gate, and propose it.

    It runs the training service as a batch job, reads the evaluation, and judges the model by the
    rules of the retraining. A model that passes is written into the manifests that spec.promote
    names; plan then shows what it changes. If the command is interrupted, the job goes on, and the
    next one follows it. NAME can be left out if there is one retraining.
    """
    import sys
    from pathlib import Path

    from reconciler.cli.promotion import check_places, check_promotions
    from reconciler.cli.proposing import Proposer
    from reconciler.cli.training import Trainer, select_retrainings
    from reconciler.cli.wiring import assemble
    from reconciler.render.findings import render_findings

    if name and fleet:
        raise click.UsageError("NAME and --fleet both select retrainings: give one of them")
    assembly = assemble(invocation, [])
    retrainings = select_retrainings(assembly, name, fleet)
    invocation.print_findings(assembly.check_storage())
    trainer = Trainer(invocation, assembly, lock_timeout, parallelism)
    if cancel:
        _cancel(invocation, trainer, retrainings, whole_fleet=bool(fleet))
        return
    due = [one for one in retrainings if not if_due or trainer.is_due(one)]
    if not due:
        _print_none(form)
        return
    check_promotions(due)
    trainer.check_comparisons(due)
    check_places(invocation, Path(assembly.project.root), assembly.loaded, assembly.kinds, due)
    proposer = Proposer(invocation, assembly, trainer)
    if commit or branch:
        proposer.check_commit(due, branch)
    found, failed = _train(invocation, trainer, due, fleet=fleet or "", again=again)
    if failed and len(due) == 1:
        raise failed[0]
    results = proposer.propose(due, found, commit=commit or bool(branch), branch=branch)
    for one in due:
        if one.address in found:
            trainer.close(one, found[one.address])
    _print(invocation, results, form)
    if failed:
        findings = [finding for error in failed for finding in error.findings()]
        invocation.print_error(render_findings(findings, paint=invocation.paint(sys.stderr)))
    refused = any(one.candidate.refused for one in results)
    _finish(invocation, "incomplete" if failed else "refused" if refused else "applied")


def _cancel(
    invocation: Invocation,
    trainer: Trainer,
    retrainings: Sequence[Retraining],
    *,
    whole_fleet: bool,
) -> None:
    """Cancel the open run of each; in a fleet, a member without one is passed over."""
    import sys

    from reconciler.errors import ReconcilerError
    from reconciler.render.findings import render_findings

    failed: list[ReconcilerError] = []
    cancelled = 0
    for one in retrainings:
        try:
            if whole_fleet and not trainer.list_open_states([one]):
                continue
            trainer.cancel(one)
        except ReconcilerError as error:
            failed.append(_name(error, one.address))
        else:
            cancelled += 1
            click.echo(f"{one.address}: cancelled.")
    if len(failed) == 1 and not cancelled:
        raise failed[0]
    if failed:
        findings = [finding for error in failed for finding in error.findings()]
        invocation.print_error(render_findings(findings, paint=invocation.paint(sys.stderr)))
        _finish(invocation, "incomplete")
    elif not cancelled:
        click.echo("No run is open.")


def _train(
    invocation: Invocation,
    trainer: Trainer,
    due: Sequence[Retraining],
    *,
    fleet: str,
    again: bool,
) -> tuple[dict[Address, Candidate], list[ReconcilerError]]:
    """The judged models, and the error of each run that failed."""
    found: dict[Address, Candidate] = {}
    failed: list[ReconcilerError] = []
    from reconciler.errors import ReconcilerError

    try:
        with invocation.interruption.listening():
            for address, result in trainer.train_all(due, again=again):
                if isinstance(result, ReconcilerError):
                    failed.append(_name(result, address))
                else:
                    found[address] = result
    except KeyboardInterrupt:
        named = f"--fleet {fleet.removeprefix('Fleet/')}" if fleet else due[0].address.name
        invocation.print_error(_explain_interruption(trainer.list_open_states(due), named))
        raise
    return found, failed


def _explain_interruption(states: Collection[str], named: str) -> str:
    """What goes on after an interruption, from the states of the open runs, and how to follow."""
    from reconciler.engine.training.run import ENDED, STARTED

    jobs, them = ("jobs", "them") if named.startswith("--fleet") else ("job", "it")
    command = f"reconciler retrain {named}"
    if STARTED in states:
        go = "go" if them == "them" else "goes"
        return (
            f"The {jobs} {go} on. Follow {them} with: {command}. Cancel {them} with: {command}"
            " --cancel"
        )
    if ENDED in states:
        return f"No job runs, and a model is not judged yet. Judge it with: {command}"
    return f"No job was started. Train the model with: {command}"


def _name(error: ReconcilerError, address: Address) -> ReconcilerError:
    """The error, with the address in the subject of each of its findings."""
    from dataclasses import replace

    from reconciler.errors import ManifestInvalid

    def name(subject: str) -> str:
        named = str(address)
        return subject if named in subject else f"{named}: {subject}" if subject else named

    if isinstance(error, ManifestInvalid):
        return ManifestInvalid(
            tuple(replace(one, subject=name(one.subject)) for one in error.findings())
        )
    error.subject = name(error.subject)
    return error


def _print_none(form: str) -> None:
    from reconciler.cli.streams import print_json
    from reconciler.render.training import results_document

    if form == "json":
        import json

        print_json(json.dumps(results_document([]), indent=2))
    else:
        click.echo("No retraining is due.")


def _print(invocation: Invocation, results: Sequence[TrainingResult], form: str) -> None:
    import json

    from reconciler.cli.streams import print_json
    from reconciler.render.training import render_result, results_document
    from reconciler.text.json_text import escape_json

    invocation.clear_progress()
    if form == "json":
        print_json(escape_json(json.dumps(results_document(results), indent=2)))
        return
    paint = invocation.paint()
    click.echo("\n\n".join(render_result(one, paint) for one in results), color=True)


def _finish(invocation: Invocation, word: ExitWord) -> None:
    from reconciler.cli.exit_codes import get_exit_code

    code = get_exit_code(word, detailed=invocation.detailed_exitcode)
    if code:
        click.get_current_context().exit(code)
