"""`reconciler apply`."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.apply_session import (
    INSTEAD,
    ApplyFlags,
    Session,
    check_output_open,
    make_approved,
    print_plan_lines,
    propose,
    read_flagged_approvals,
)
from reconciler.cli.command import StreamCommand
from reconciler.cli.completion import complete_files
from reconciler.cli.context import Invocation
from reconciler.cli.options import (
    ENV,
    apply_options,
    approval_options,
    check_approval_flags,
    format_options,
)

if TYPE_CHECKING:  # start-up: known only when the command runs
    from reconciler.cli.wiring import PlanFlags
    from reconciler.engine.runtime import Runtime
    from reconciler.model import Plan


_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


def read_digest(_: click.Context, __: click.Parameter, text: str) -> str:
    """The digest in lower case; raises click.BadParameter for any other text."""
    if text and not _DIGEST.fullmatch(text.lower()):
        raise click.BadParameter("a digest is sha256: and 64 hexadecimal digits, as plan prints it")
    return text.lower()


@click.command(
    cls=StreamCommand,
    examples=(
        "# Show the plan, ask, and make the changes",
        "reconciler apply",
        "# Make exactly the changes of a saved plan",
        "reconciler apply release.plan",
        "# Undo the changes of a failed apply; print JSON lines",
        "reconciler apply --on-failure rollback --format json",
        "# Apply only changes that two people have approved",
        "reconciler apply --approvals ok --keyring ~/signers --require 2",
    ),
)
@click.argument("paths", nargs=-1, metavar="[FILE|PATH]...", shell_complete=complete_files)
@click.option("--auto-approve", is_flag=True, help="Do not ask before applying.")
@format_options(
    "text",
    "json",
    about="json prints lines with Terraform's message types, and never asks for approval.",
)
@click.option(
    "--expect",
    metavar="DIGEST",
    default="",
    callback=read_digest,
    help="A digest that plan printed. Apply only a plan that has this digest, or whose changes"
    " have it. Do not ask for approval.",
)
@approval_options
@apply_options
@ENV
@click.pass_obj
def apply(invocation: Invocation, /, paths: tuple[str, ...], **given: Any) -> int:
    """Carry out a saved plan, or make a plan, ask, and carry it out.

    FILE is a plan that plan --out has saved: apply carries it out unchanged and does not ask.
    PATH is a manifest or a folder of manifests, as for plan. Ctrl-C finishes and records the
    running steps; a second Ctrl-C ends at once.
    """
    from reconciler.cli.wiring import PlanFlags

    del given["form"]  # the invocation knows it, before the parser can fail
    apply_flags = ApplyFlags(**{one.name: given.pop(one.name) for one in fields(ApplyFlags)})
    flags = PlanFlags(**given)
    check_approval_flags(apply_flags.approvals, apply_flags.keyring, apply_flags.require)
    with invocation.interruption.listening():
        check_output_open(invocation)
        if len(paths) == 1 and _is_plan(paths[0]):
            return _apply_saved(invocation, paths[0], flags, apply_flags)
        return _apply_new(invocation, paths, flags, apply_flags)


def _is_plan(name: str) -> bool:
    """Whether a path is a saved plan: its content decides, and for an unclear one its name."""
    from reconciler.cli.plan_files import is_plan
    from reconciler.manifests.folder import is_manifest_name

    return not Path(name).is_dir() and (is_plan(name) or not is_manifest_name(Path(name).name))


def _apply_new(
    invocation: Invocation, paths: tuple[str, ...], flags: PlanFlags, apply_flags: ApplyFlags
) -> int:
    from reconciler.cli.wiring import assemble_for_plan
    from reconciler.plans.plan_file import digest_of_plan

    ask = not (apply_flags.auto_approve or apply_flags.expect)
    if ask and invocation.as_json:
        raise _refuse_asking("an apply that prints JSON cannot ask for approval")
    assembly = assemble_for_plan(invocation, paths, flags)
    approvals = read_flagged_approvals(invocation, assembly, apply_flags)

    def make(runtime: Runtime) -> tuple[Plan, str]:
        request = assembly.request(flags, paths)
        plan = make_approved(invocation, assembly, runtime, request, approvals)
        propose(invocation, runtime, plan, ask=ask)
        _check_expected(plan, apply_flags.expect)
        return plan, digest_of_plan(plan)

    runtime = assembly.runtime(
        flags.parallelism, flags.max_calls, apply_flags.step_timeout, apply_flags.patience
    )
    return Session(invocation, assembly, runtime, apply_flags, approvals=approvals).run(make)


def _apply_saved(
    invocation: Invocation, name: str, flags: PlanFlags, apply_flags: ApplyFlags
) -> int:
    from reconciler.cli.loading import take_environment
    from reconciler.cli.output import warn_of_changes, warn_of_commit, warn_of_no_steps
    from reconciler.cli.plan_files import check_belongs, list_changed_files, read_saved
    from reconciler.cli.wiring import PlanFlags, assemble_leniently
    from reconciler.engine.applying.admission import check_admission
    from reconciler.engine.applying.saved import judge_saved_plan
    from reconciler.manifests.secrets import resolve_known

    _refuse_shaping(name, flags)
    saved = read_saved(name)
    take_environment(invocation, saved[0])
    assembly = assemble_leniently(invocation)
    _check_expected(saved[0], apply_flags.expect, saved[1])
    check_belongs(saved[0], assembly.project, name)
    approvals = read_flagged_approvals(invocation, assembly, apply_flags)
    check_admission(saved[0], assembly.kinds, name)
    changed = list_changed_files(saved[0], Path(assembly.project.root))
    commit = assembly.revision.name_for(changed)
    warn_of_changes(changed, invocation)
    warn_of_commit(saved[0], commit, invocation)
    warn_of_no_steps(saved[0], invocation)
    assembly.warn_of_shared()
    if invocation.as_json:
        print_plan_lines(invocation, saved[0])
    runtime = assembly.runtime(
        flags.parallelism, flags.max_calls, apply_flags.step_timeout, apply_flags.patience
    )
    resolve_known(runtime.resolve, (one for step in saved[0].steps for _, one in step.secrets))

    def judge(runtime: Runtime) -> tuple[Plan, str]:
        request = assembly.request(PlanFlags())
        if approvals is not None:
            request = approvals.add_approvers(request, runtime.clock)
        plan = assembly.judge_by_command(judge_saved_plan(runtime, *saved, request))
        if approvals is not None:
            plan = approvals.report(invocation, plan, runtime.clock())
        # Anyone can write a reason into a plan file, and the ledger will keep it.
        inputs = replace(plan.inputs, reason=assembly.redaction.redact(plan.inputs.reason))
        return replace(plan, inputs=inputs), saved[1]

    session = Session(invocation, assembly, runtime, apply_flags, changed=changed)
    return replace(session, approvals=approvals).run(judge)


def _check_expected(plan: Plan, expected: str, digest: str = "") -> None:
    """Raise StalePlan if the plan is not the expected one; `digest` is that of a saved plan.

    The digest alone cannot say what was expected, so the error has what is planned now.
    """
    from reconciler.errors import StalePlan
    from reconciler.model import Finding
    from reconciler.plans.changes_digest import digest_of_changes, digest_of_one

    if expected in {"", digest}:
        return
    changes = digest_of_changes(plan)
    if expected == changes:
        return
    steps = [
        f"{step.resource.address}: {step.action.value}, {digest_of_one(step)}"
        for step in plan.steps[:_MOST_STEPS]
    ]
    left = len(plan.steps) - len(steps)
    finding = Finding(
        "the plan is not the expected one: nothing was written",
        detail=(
            f"Expected {expected}.",
            *([f"The digest of this plan is {digest}."] if digest else []),
            f"The digest of its changes is {changes}.",
            *(steps or ["It has no changes: they may have been applied already."]),
            *([f"and {left:,} more"] if left else []),
        ),
        next_step=f"Review this plan, and apply it with: --expect {changes}",
    )
    raise StalePlan((finding,))


_MOST_STEPS: Final = 200


def _refuse_shaping(name: str, flags: PlanFlags) -> None:
    """Raise ReconcilerError for a flag that shapes a plan: a saved plan is applied unchanged."""
    from reconciler.errors import ReconcilerError

    asked = {
        "--target": flags.targets,
        "-l": flags.selectors,
        "--exclude": flags.excluded,
        "--allow": flags.allowed,
        "--reason": flags.reason,
        "--rotate": flags.rotated,
        "--prune": flags.prune,
        "--destroy": flags.destroy,
    }
    given = [flag for flag, value in asked.items() if value]
    if given:
        raise ReconcilerError(
            f"a saved plan is applied unchanged: {', '.join(given)} cannot change it",
            subject=name,
            next_step=f"Plan again with {', '.join(given)}, and apply that plan.",
        )


def _refuse_asking(why: str) -> Exception:
    from reconciler.errors import ReconcilerError

    return ReconcilerError(why, next_step=INSTEAD)
