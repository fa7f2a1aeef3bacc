"""`reconciler apply`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from reconciler.cli.command import Command
from reconciler.cli.completion import complete_files
from reconciler.cli.context import Invocation
from reconciler.cli.options import (
    ENV,
    apply_options,
    approval_options,
    check_approval_flags,
    format_options,
)
from reconciler.model.values import dataclass

if TYPE_CHECKING:  # start-up: known only when the command runs
    from reconciler.cli.signed_approvals import SignedApprovals
    from reconciler.cli.wiring import Assembly, PlanFlags
    from reconciler.engine.runtime import Runtime
    from reconciler.model import Event, Plan
    from reconciler.ports import Emit, Lease


_INSTEAD: Final = "Apply a saved plan, or give --auto-approve."
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


def _read_digest(_: click.Context, __: click.Parameter, text: str) -> str:
    """The digest in lower case; raises click.BadParameter for any other text."""
    if text and not _DIGEST.fullmatch(text.lower()):
        raise click.BadParameter("a digest is sha256: and 64 hexadecimal digits, as plan prints it")
    return text.lower()


class _Apply(Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note --format json before the parser can fail on another argument."""
        if isinstance(ctx.obj, Invocation):
            ctx.obj.as_json = ctx.obj.wants_json
        return super().parse_args(ctx, args)


@dataclass(frozen=True)
class ApplyFlags:
    """The flags that shape the apply of a plan; times are in seconds."""

    auto_approve: bool
    fail_fast: bool
    on_failure: Literal["stop", "continue", "rollback"]
    lock_timeout: float
    step_timeout: float
    patience: float
    expect: str = ""
    approvals: str = ""
    keyring: str = ""
    require: int | None = None


@click.command(
    cls=_Apply,
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
    callback=_read_digest,
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


def check_output_open(invocation: Invocation) -> None:
    """Raise ReconcilerError when stdout has no reader."""
    from reconciler.errors import ReconcilerError

    why = invocation.interruption.halted()
    if why:
        raise ReconcilerError(
            f"{why}: the result could not be printed",
            next_step="Redirect stdout to a file, or to /dev/null.",
        )


def _is_plan(name: str) -> bool:
    """Whether a path is a saved plan: its content decides, and for an unclear one its name."""
    from reconciler.cli.plan_files import is_plan
    from reconciler.manifests.folder import is_manifest_name

    return not Path(name).is_dir() and (is_plan(name) or not is_manifest_name(Path(name).name))


def _apply_new(
    invocation: Invocation, paths: tuple[str, ...], flags: PlanFlags, apply_flags: ApplyFlags
) -> int:
    from reconciler.cli.wiring import assemble
    from reconciler.engine.planning.plan import make_plan
    from reconciler.plans.plan_file import digest_of_plan

    ask = not (apply_flags.auto_approve or apply_flags.expect)
    if ask and invocation.as_json:
        raise _refuse_asking("an apply that prints JSON cannot ask for approval")
    assembly = assemble(invocation, paths, flags.allowed)
    approvals = _read_approvals(invocation, assembly, apply_flags)

    def make(runtime: Runtime) -> tuple[Plan, str]:
        request = assembly.request(flags, paths)
        if approvals is not None:
            request = approvals.add_approvers(request, runtime.clock)
        plan = assembly.judge_by_command(make_plan(runtime, request))
        if approvals is not None:
            plan = approvals.report(invocation, plan, runtime.clock())
        propose(invocation, runtime, plan, ask=ask)
        _check_expected(plan, apply_flags.expect)
        return plan, digest_of_plan(plan)

    runtime = assembly.runtime(flags.parallelism, flags.max_calls, apply_flags.step_timeout)
    return Session(invocation, assembly, runtime, apply_flags, approvals=approvals).run(make)


def _read_approvals(
    invocation: Invocation, assembly: Assembly, flags: ApplyFlags
) -> SignedApprovals | None:
    """The signed approvals that the flags name; nothing is imported without them."""
    if not flags.approvals:
        return None
    from reconciler.cli.signed_approvals import read_approvals

    required = 1 if flags.require is None else flags.require
    return read_approvals(invocation, assembly, flags.approvals, flags.keyring, required)


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
    approvals = _read_approvals(invocation, assembly, apply_flags)
    check_admission(saved[0], assembly.kinds, name)
    changed = list_changed_files(saved[0], Path(assembly.project.root))
    commit = assembly.revision.name_for(changed)
    warn_of_changes(changed, invocation)
    warn_of_commit(saved[0], commit, invocation)
    warn_of_no_steps(saved[0], invocation)
    assembly.warn_of_shared()
    if invocation.as_json:
        _print_plan_lines(invocation, saved[0])
    runtime = assembly.runtime(flags.parallelism, flags.max_calls, apply_flags.step_timeout)
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


def propose(invocation: Invocation, runtime: Runtime, plan: Plan, *, ask: bool) -> None:
    """Print a plan, and with `ask` request approval when the plan has steps and is not refused."""
    from reconciler.cli.approval import approve
    from reconciler.cli.output import show_before_apply
    from reconciler.engine.applying.admission import check_calls

    if invocation.as_json:
        _print_plan_lines(invocation, plan)
        return
    show_before_apply(plan, invocation)
    if ask and plan.steps and not plan.refused:
        check_calls(runtime, plan)
        environment = plan.inputs.environment
        approve(
            "Do you want to perform these actions"
            + (f' in the environment "{environment}"?' if environment else "?"),
            "Reconciler will perform the actions described above.",
            instead=_INSTEAD,
            cancelled="apply cancelled: nothing was written",
        )


def _print_plan_lines(invocation: Invocation, plan: Plan) -> None:
    """Print a plan as JSON lines; the apply reports its errors later."""
    from reconciler.render.events.json_lines import describe_finding, describe_plan

    for message in describe_plan(plan):
        invocation.lines.write(message)
    for finding in plan.findings:
        if finding.severity == "warning":
            invocation.lines.write(describe_finding(finding))


def _refuse_asking(why: str) -> Exception:
    from reconciler.errors import ReconcilerError

    return ReconcilerError(why, next_step=_INSTEAD)


@dataclass(frozen=True)
class Session:
    """One apply, from the lock to the printed result.

    `changed` are the files of a saved plan that have changed since it was made. `approvals` are
    judged once more right before the first write.
    """

    invocation: Invocation
    assembly: Assembly
    runtime: Runtime
    apply_flags: ApplyFlags
    why: str = "apply"
    changed: Collection[str] = ()
    approvals: SignedApprovals | None = None

    def run(self, make: Callable[[Runtime], tuple[Plan, str]]) -> int:
        """Recover open intents, then make a plan and apply it, all under one lock."""
        from reconciler.engine.applying.recover import recover_intents

        runtime, apply_flags = self.runtime, self.apply_flags
        lock_owner = self.assembly.lock_owner(self.why)
        with runtime.ledger.lock(lock_owner, apply_flags.lock_timeout, runtime.emit) as lease:
            recover_intents(runtime, self._author(""), lease, apply_flags.patience)
            plan, digest = make(runtime)
            return self._carry_out(plan, digest, lease)

    def _author(self, digest: str, changed: Collection[str] = ()) -> Any:
        from reconciler.engine.applying.journal import Author

        revision = self.assembly.revision
        commit, differing = revision.name_for(changed), revision.list_differing(changed)
        return Author(revision.author, revision.host, commit, digest, differing)

    def _carry_out(self, plan: Plan, digest: str, lease: Lease) -> int:
        from reconciler.cli.outcome import FINISHED, report_outcome
        from reconciler.engine.applying.apply import Declarations, FailurePolicy, apply_plan

        invocation, apply_flags = self.invocation, self.apply_flags
        if not invocation.as_json:
            click.echo("")
            sys.stdout.flush()
        runtime = replace(
            self.runtime,
            emit=_watched(invocation, self.runtime.emit),
            halted=invocation.interruption.halted,
        )
        policy = FailurePolicy(apply_flags.fail_fast, apply_flags.on_failure, apply_flags.patience)
        author = self._author(digest, self.changed)
        if self.approvals is not None and not plan.refused:
            judged = self.approvals.judge(plan, runtime.clock())
            plan = self.approvals.refuse(plan, judged)
            author = replace(author, approvals=judged.approvals)
        declared = Declarations(self.assembly.project.root, self.assembly.loaded.manifests)
        try:
            outcome = apply_plan(runtime, plan, author, lease, policy, declared)
        except KeyboardInterrupt:
            invocation.print_error(FINISHED)
            raise
        root = Path(self.assembly.project.root)
        return report_outcome(invocation, outcome, root, planned=bool(plan.steps))


def _watched(invocation: Invocation, emit: Emit) -> Emit:
    """An emitter that also notes for the signal handler when the first step starts."""
    from reconciler.model import StepStarted

    def emit_and_note(event: Event) -> None:
        if isinstance(event, StepStarted):
            invocation.interruption.note_writing()
        emit(event)

    return emit_and_note
