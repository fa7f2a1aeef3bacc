"""One apply, from the lock of the ledger to the printed result.

`apply`, `rollback` and `ci apply` use it; each makes its plan in its own way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from reconciler.cli.context import Invocation
from reconciler.model.values import dataclass

if TYPE_CHECKING:  # start-up: known only when the command runs
    from datetime import datetime

    from reconciler.cli.signed_approvals import SignedApprovals
    from reconciler.cli.wiring import Assembly
    from reconciler.engine.planning.selection import PlanRequest
    from reconciler.engine.runtime import Runtime
    from reconciler.model import Event, Outcome, Plan
    from reconciler.ports import Emit, Lease

INSTEAD: Final = "Apply a saved plan, or give --auto-approve."


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


def check_output_open(invocation: Invocation) -> None:
    """Raise ReconcilerError when stdout has no reader."""
    from reconciler.errors import ReconcilerError

    why = invocation.interruption.halted()
    if why:
        raise ReconcilerError(
            f"{why}: the result could not be printed",
            next_step="Redirect stdout to a file, or to /dev/null.",
        )


def make_approved(
    invocation: Invocation,
    assembly: Assembly,
    runtime: Runtime,
    request: PlanRequest,
    approvals: SignedApprovals | None,
) -> Plan:
    """Make a plan with the approvals of its changes; prints which of them count."""
    from reconciler.engine.planning.plan import make_plan

    if approvals is not None:
        request = approvals.add_approvers(request, runtime.clock)
    plan = assembly.judge_by_command(make_plan(runtime, request))
    return plan if approvals is None else approvals.report(invocation, plan, runtime.clock())


def read_flagged_approvals(
    invocation: Invocation, assembly: Assembly, flags: ApplyFlags
) -> SignedApprovals | None:
    """The signed approvals that the flags name; nothing is imported without them."""
    if not flags.approvals:
        return None
    from reconciler.cli.signed_approvals import read_approvals

    required = 1 if flags.require is None else flags.require
    return read_approvals(invocation, assembly, flags.approvals, flags.keyring, required)


def propose(invocation: Invocation, runtime: Runtime, plan: Plan, *, ask: bool) -> None:
    """Print a plan, and with `ask` request approval when the plan has steps and is not refused."""
    from reconciler.cli.approval import approve
    from reconciler.cli.output import show_before_apply
    from reconciler.engine.applying.admission import check_calls

    if invocation.as_json:
        print_plan_lines(invocation, plan)
        return
    show_before_apply(plan, invocation)
    if ask and plan.steps and not plan.refused:
        check_calls(runtime, plan)
        environment = plan.inputs.environment
        approve(
            "Do you want to perform these actions"
            + (f' in the environment "{environment}"?' if environment else "?"),
            "Reconciler will perform the actions described above.",
            instead=INSTEAD,
            cancelled="apply cancelled: nothing was written",
        )


def print_plan_lines(invocation: Invocation, plan: Plan) -> None:
    """Print a plan as JSON lines; the apply reports its errors later."""
    from reconciler.render.events.json_lines import describe_finding, describe_plan

    for message in describe_plan(plan):
        invocation.lines.write(message)
    for finding in plan.findings:
        if finding.severity == "warning":
            invocation.lines.write(describe_finding(finding))


@dataclass(frozen=True)
class Session:
    """One apply, from the lock to the printed result.

    `changed` are the files of a saved plan that have changed since it was made. `approvals` are
    judged once more right before the first write: a person may have taken long to answer. `note`
    receives the plan and its outcome before the result is printed.
    """

    invocation: Invocation
    assembly: Assembly
    runtime: Runtime
    apply_flags: ApplyFlags
    why: str = "apply"
    changed: Collection[str] = ()
    approvals: SignedApprovals | None = None
    note: Callable[[Plan, Outcome], None] = lambda _, __: None

    def run(self, make: Callable[[Runtime], tuple[Plan, str]]) -> int:
        """Recover open intents, then make a plan and apply it, all under one lock."""
        from reconciler.engine.applying.recover import recover_intents

        runtime, apply_flags = self.runtime, self.apply_flags
        lock_owner = self.assembly.lock_owner(self.why)
        with runtime.ledger.lock(lock_owner, apply_flags.lock_timeout, runtime.emit) as lease:
            recover_intents(runtime, self._author(""), lease, apply_flags.patience)
            begun = runtime.clock()
            plan, digest = make(runtime)
            return self._carry_out(plan, digest, lease, begun)

    def _author(self, digest: str, changed: Collection[str] = ()) -> Any:
        from reconciler.engine.applying.journal import Author

        revision = self.assembly.revision
        commit, differing = revision.name_for(changed), revision.list_differing(changed)
        return Author(revision.author, revision.host, commit, digest, differing)

    def _carry_out(self, plan: Plan, digest: str, lease: Lease, begun: datetime) -> int:
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
            approvals = self.approvals.judge_again(plan, begun, runtime.clock())
            author = replace(author, approvals=approvals)
        declared = Declarations(self.assembly.project.root, self.assembly.loaded.manifests)
        try:
            outcome = apply_plan(runtime, plan, author, lease, policy, declared)
        except KeyboardInterrupt:
            invocation.print_error(FINISHED)
            raise
        self.note(plan, outcome)
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
