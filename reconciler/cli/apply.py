"""`reconciler apply`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.invocation import Invocation, may_ask
from reconciler.cli.options import plan_options

if TYPE_CHECKING:  # start-up: known only when the command runs
    from reconciler.cli.assembly import Assembly, Wanted
    from reconciler.engine import Hands
    from reconciler.model import Plan


@click.command()
@click.argument("paths", nargs=-1, metavar="[FILE|PATH]...")
@click.option("--auto-approve", is_flag=True, help="Do not ask before applying.")
@plan_options
@click.pass_obj
def apply(
    invocation: Invocation, /, paths: tuple[str, ...], *, auto_approve: bool, **wanted: object
) -> int:
    """Carry out a saved plan, or make a plan, ask, and carry it out.

    FILE is a plan that was saved with plan --out: it is executed as it stands, without a
    question. PATH is a manifest or a folder of them, as for plan.
    """
    from reconciler.cli.assembly import Wanted, assemble
    from reconciler.engine import make_plan
    from reconciler.plan_document import plan_document

    flags = Wanted(**wanted)  # type: ignore[arg-type]  # click has checked each by its option
    if len(paths) == 1 and _is_plan(paths[0]):
        return _apply_saved(invocation, paths[0], flags)
    assembly = assemble(invocation, paths, flags.allowed)
    hands = assembly.hands(flags.parallelism, flags.max_calls)
    plan = make_plan(hands, assembly.order(flags, paths))
    _propose(invocation, hands, plan, ask=not auto_approve)
    digest = str(plan_document(plan)["plan_digest"])
    return _carry_out(invocation, assembly, hands, plan, digest)


def _is_plan(name: str) -> bool:
    return not Path(name).is_dir() and Path(name).suffix not in {".yaml", ".yml"}


def _apply_saved(invocation: Invocation, name: str, flags: Wanted) -> int:
    from reconciler.cli.assembly import assemble_project
    from reconciler.cli.saved import read_saved
    from reconciler.cli.screen import warn_of_changes

    _refuse_shaping(name, flags)
    plan, digest = read_saved(name)
    assembly = assemble_project(invocation)
    assembly.check_belongs(plan, name)
    warn_of_changes(plan, invocation)
    hands = assembly.hands(flags.parallelism, flags.max_calls)
    return _carry_out(invocation, assembly, hands, plan, digest)


def _refuse_shaping(name: str, flags: Wanted) -> None:
    """A saved plan is what was reviewed: no flag may seem to make it do more, or less."""
    from reconciler.errors import ReconcilerError

    asked = {
        "--target": flags.targets,
        "--exclude": flags.excluded,
        "--allow": flags.allowed,
        "--rotate": flags.rotated,
        "--prune": flags.prune,
        "--destroy": flags.destroy,
    }
    given = [flag for flag, value in asked.items() if value]
    if given:
        raise ReconcilerError(
            f"a saved plan is carried out as it stands, whatever {', '.join(given)} says",
            subject=name,
            next_step="Plan again with it, and apply that plan.",
        )


def _propose(invocation: Invocation, hands: Hands, plan: Plan, *, ask: bool) -> None:
    """Show a plan, and have it approved where somebody must and it can be carried out."""
    from reconciler.cli.screen import show
    from reconciler.engine import check_calls

    show(plan, "text", invocation)
    if ask and plan.steps and not plan.refused:
        check_calls(hands, plan)
        _approve()


def _approve() -> None:
    """Ask as Terraform asks; anything but `yes` cancels."""
    from reconciler.errors import ReconcilerError

    if not may_ask():
        raise ReconcilerError(
            "nobody may be asked to approve the plan",
            next_step="Apply a saved plan, or give --auto-approve.",
        )
    click.echo(
        "\nDo you want to perform these actions?\n"
        "  Reconciler will perform the actions described above.\n"
        "  Only 'yes' will be accepted to approve.\n"
    )
    click.echo("  Enter a value: ", nl=False)
    answer = sys.stdin.readline()
    click.echo("" if answer.endswith("\n") else "\n")
    if answer.strip() != "yes":
        raise ReconcilerError("apply cancelled: nothing was written")


def _carry_out(
    invocation: Invocation, assembly: Assembly, hands: Hands, plan: Plan, digest: str
) -> int:
    from reconciler.engine import Author, apply_plan
    from reconciler.render.outcome import render_outcome

    revision = assembly.revision
    author = Author(revision.author, revision.host, plan.inputs.commit, digest)
    click.echo("")
    sys.stdout.flush()
    try:
        outcome = apply_plan(hands, plan, author)
    except KeyboardInterrupt:
        invocation.part_from_progress()
        click.echo(
            "What was begun was finished and recorded. Plan again to see what is left.", err=True
        )
        raise
    invocation.part_from_progress()
    click.echo(render_outcome(outcome, paint=invocation.paint()), color=True)
    if not outcome.failures:
        return 0
    return 6 if invocation.detailed_exitcode else 1
