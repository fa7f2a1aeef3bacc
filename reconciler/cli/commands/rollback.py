"""`reconciler rollback`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.command import Command
from reconciler.cli.completion import complete_addresses, complete_files
from reconciler.cli.context import Invocation
from reconciler.cli.options import ENV, rollback_options

if TYPE_CHECKING:  # start-up: known only when the command runs
    from reconciler.cli.wiring import Assembly, PlanFlags
    from reconciler.engine.runtime import Runtime
    from reconciler.model import Address, Plan


class EntryNumber(click.IntRange):
    """The number of an entry of the ledger: 12, or #12 as history prints it."""

    def __init__(self) -> None:
        super().__init__(min=1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number as an int; raises BadParameter for any other text."""
        given: Any = str(value).removeprefix("#")
        return super().convert(given, param, ctx)


@click.command(
    cls=Command,
    examples=(
        "# Undo the last apply on a resource",
        "reconciler rollback WebService/census",
        "# Save a plan that restores the state after entry 12",
        "reconciler rollback WebService/census --to 12 --out back.plan",
    ),
)
@click.argument("address", shell_complete=complete_addresses)
@click.option(
    "--to",
    metavar="N",
    type=EntryNumber(),
    help="Restore the state right after entry N of the ledger; by default before the last entry.",
)
@click.option(
    "--out",
    metavar="FILE",
    default="",
    shell_complete=complete_files,
    help="Only save the plan to FILE, for apply.",
)
@rollback_options
@ENV
@click.pass_obj
def rollback(
    invocation: Invocation,
    /,
    address: str,
    to: int | None,
    out: str,
    form: str,
    *,
    allowed: tuple[str, ...],
    max_calls: int | None,
    **given: Any,
) -> int:
    """Undo the last apply on one resource, and keep what others changed in other fields.

    A rollback is a plan like any other: it is shown, approved, applied and verified. history shows
    the entries. Secrets are not restored. The plan names a manifest that declares other values.
    """
    from reconciler.cli.apply_session import ApplyFlags, Session, check_output_open, propose
    from reconciler.cli.plan_files import check_out
    from reconciler.cli.wiring import PlanFlags, assemble_leniently, parse_addresses
    from reconciler.plans.plan_file import digest_of_plan

    if form != "text" and not out:
        raise click.UsageError(
            f"a plan in {form} needs --out: without it, rollback applies and prints text"
        )
    if any(one.partition("=")[0] == "gate" for one in allowed):
        raise click.UsageError("a rollback is not judged by a gate: leave out --allow gate")
    (named,) = parse_addresses("rollback", [address])
    # An error in one manifest must not prevent the rollback of another resource.
    assembly = assemble_leniently(invocation)
    if out:
        check_out(out, assembly.project, assembly.loaded.files)
    wanted = PlanFlags(allowed=allowed, max_calls=max_calls)
    apply_flags = ApplyFlags(fail_fast=False, on_failure="stop", **given)
    runtime = assembly.runtime(
        wanted.parallelism, max_calls, apply_flags.step_timeout, apply_flags.patience
    )
    _check_known(assembly, named)
    if out:
        plan = _make_plan(assembly, runtime, wanted, named, to)
        return _save(invocation, plan, out, form)

    def make(runtime: Runtime) -> tuple[Plan, str]:
        plan = _make_plan(assembly, runtime, wanted, named, to)
        if plan.steps:
            propose(invocation, runtime, plan, ask=not apply_flags.auto_approve)
        else:
            _show_nothing(invocation, plan)
        return plan, digest_of_plan(plan)

    with invocation.interruption.listening():
        check_output_open(invocation)
        return Session(invocation, assembly, runtime, apply_flags, f"rollback {address}").run(make)


def _make_plan(
    assembly: Assembly, runtime: Runtime, flags: PlanFlags, address: Address, to: int | None
) -> Plan:
    from dataclasses import replace

    from reconciler.engine.rollback import plan_rollback

    plan = plan_rollback(runtime, assembly.request(flags), address, to, assembly.project.moved)
    broken = [one for one in assembly.loaded.findings if one.severity == "error" and not one.guard]
    warnings = tuple(replace(one, severity="warning") for one in broken)
    return replace(plan, findings=(*plan.findings, *warnings))


def _check_known(assembly: Assembly, address: Address) -> None:
    from reconciler.cli.wiring import not_in_ledger
    from reconciler.errors import ReconcilerError
    from reconciler.plans.history import rename

    moved = assembly.project.moved
    assembly.load_snapshot()
    known: set[Address] = set()
    for one in assembly.ledger.entries():
        known.add(rename(one.address, moved))
        if one.fleet == address:
            step = f"Roll back one member at a time: reconciler rollback {one.address}"
            raise ReconcilerError("is a fleet", subject=str(address), next_step=step)
    if address not in known:
        raise not_in_ledger(address, known)


def _save(invocation: Invocation, plan: Plan, out: str, form: str) -> int:
    from reconciler.cli.exit_codes import get_exit_code
    from reconciler.cli.output import advise, show
    from reconciler.cli.plan_files import save

    save(plan, out)
    if form != "text" or plan.steps:
        show(plan, form, invocation)
    else:
        _show_nothing(invocation, plan)
    if form == "text":
        advise(plan, out)
    return get_exit_code(plan.outcome, detailed=invocation.detailed_exitcode)


def _show_nothing(invocation: Invocation, plan: Plan) -> None:
    from reconciler.render.words.escape import escape

    invocation.clear_progress()
    names = ", ".join(escape(str(one.address)) for one in plan.unchanged)
    click.echo(f"No changes. {names} has nothing to undo.")
