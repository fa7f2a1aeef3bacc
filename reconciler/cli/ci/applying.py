"""`ci apply`: makes the changes that the reviewers of a merged request saw, and no others.

The merged commit is planned again under the lock of the ledger. Its changes are compared with what
the comment of the request says, which the status of the request's commit must confirm. The result
is shown in the same comment, above the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import click

from reconciler.cli.apply_session import (
    ApplyFlags,
    Session,
    make_approved,
    propose,
    read_flagged_approvals,
)
from reconciler.cli.ci.planning import check_commit, choosing, find_targets, name_project
from reconciler.cli.ci.reviews import UNCHANGED, MergedRequest, Reviews, Unreviewed
from reconciler.cli.ci.session import CiFlags, CiSession, name_status
from reconciler.cli.context import Invocation
from reconciler.cli.exit_codes import ExitWord, classify_error, classify_outcome
from reconciler.cli.wiring import PlanFlags, assemble
from reconciler.engine.runtime import Runtime
from reconciler.errors import ReconcilerError
from reconciler.gitops.comments import Sticky
from reconciler.gitops.forge import StatusState
from reconciler.gitops.merge_result import Checkout
from reconciler.manifests.environments import list_environments
from reconciler.model import Finding, Outcome, Plan, Step
from reconciler.plans.plan_file import digest_of_plan
from reconciler.plans.reviewed import mark_applied
from reconciler.render.comments import join_result, render_result
from reconciler.render.events.outcome import sum_up_outcome
from reconciler.text.commits import shorten_commit
from reconciler.text.times import format_utc

_AGAIN: Final = (
    "Run the job again, or in this commit: reconciler ci apply. It makes the changes that are left."
)
_GOOD: Final = ("applied", "no-changes")
_STATES: Final[Mapping[ExitWord, StatusState]] = {
    "applied": "success",
    "no-changes": "success",
    "error": "error",
    "interrupted": "error",
}


def run_ci_apply(
    invocation: Invocation, flags: PlanFlags, apply_flags: ApplyFlags, ci: CiFlags
) -> int:
    """Apply what a merge brought; returns the exit code, as `apply` does."""
    session = CiSession(invocation, ci)
    session.artifacts.clear()
    with invocation.interruption.listening(), session.settling():
        code = _ApplyRun(session, flags, apply_flags).run()
    return session.conclude(code)


class _ApplyRun:
    """The applies of one commit, one environment after the other."""

    def __init__(self, session: CiSession, flags: PlanFlags, apply_flags: ApplyFlags) -> None:
        self._session, self._flags, self._apply_flags = session, flags, apply_flags
        checkout = Checkout(session.folder)
        check_commit(checkout, session.job.commit)
        self._commit = checkout.commit
        self._targets = find_targets(session.invocation, session.folder)
        self._all = list_environments(session.folder)
        self._project = name_project(session.invocation, self._targets)
        self._reviews = Reviews(session, checkout, self._project, apply_flags.expect)

    def run(self) -> int:
        """Apply each environment that the merge changes; the first failure ends the run."""
        by_hand = self._session.job.event == "manual"
        if not by_hand:
            self._begin()
        try:
            requests = self._reviews.find_requests()
            known = {one: self._reviews.read_all(one, requests) for one in self._targets}
            due = [
                one for one in self._targets if self._reviews.is_changed(known[one], one, self._all)
            ]
        except ReconcilerError as error:
            # A mistake of a person, such as a request that is open, leaves no failure beside it.
            for environment in () if by_hand else self._targets:
                self._finish(environment, (), classify_error(error), error.findings())
            raise
        if by_hand:
            self._begin()
        for environment in sorted({*self._targets} - {*due}):
            self._set_status(environment, "success", UNCHANGED)
        for number, environment in enumerate(due):
            code = 1
            try:
                code = self._apply(environment, known[environment])
            finally:
                if code:
                    self._skip(due[number + 1 :], environment)
            if code:
                return code
        return 0

    def _begin(self) -> None:
        for environment in self._targets:
            self._set_status(environment, "pending", "applying")

    def _skip(self, left: Sequence[str], failed: str) -> None:
        for environment in left:
            self._set_status(environment, "error", f"not started: {failed} was not applied")
            self._session.invocation.print_error(
                f"{environment}: not started, because {failed} was not applied."
            )

    def _apply(self, environment: str, known: list[MergedRequest]) -> int:
        """Apply one environment; returns the exit code, and raises what `apply` raises."""
        kept: list[tuple[Plan, Outcome]] = []
        invocation = self._session.invocation
        try:
            with choosing(invocation, environment):
                session, make = self._open(environment, known, lambda *one: kept.append(one))
                if self._session.flags.dry_run:
                    make(session.runtime)
                    click.echo("\nThis is a dry run: nothing was applied.")
                    return 0
                code = session.run(make)
        except Unreviewed as error:
            self._finish(environment, known, "stale", error.findings(), steps=error.steps)
            raise
        except ReconcilerError as error:
            self._finish(environment, known, classify_error(error), error.findings())
            raise
        self._finish_outcome(environment, known, *kept[0])
        return code

    def _open(
        self,
        environment: str,
        known: list[MergedRequest],
        note: Callable[[Plan, Outcome], None],
    ) -> tuple[Session, Callable[[Runtime], tuple[Plan, str]]]:
        """The apply of an environment, and what makes its plan under the lock."""
        invocation, flags = self._session.invocation, self._flags
        assembly = assemble(invocation, (), flags.allowed)
        approvals = read_flagged_approvals(invocation, assembly, self._apply_flags)
        waits = self._apply_flags.step_timeout, self._apply_flags.patience
        runtime = assembly.runtime(flags.parallelism, flags.max_calls, *waits)

        def make(runtime: Runtime) -> tuple[Plan, str]:
            request = assembly.request(flags)
            plan = make_approved(invocation, assembly, runtime, request, approvals)
            propose(invocation, runtime, plan, ask=False)
            self._reviews.check(plan, known, environment, assembly.project.requirements)
            return plan, digest_of_plan(plan)

        session = Session(
            invocation,
            assembly,
            runtime,
            self._apply_flags,
            why="ci apply",
            approvals=approvals,
            note=note,
        )
        return session, make

    def _finish_outcome(
        self, environment: str, known: Sequence[MergedRequest], plan: Plan, outcome: Outcome
    ) -> None:
        halted = self._session.invocation.interruption.halted()
        exit_word = classify_outcome(outcome, halted, planned=bool(plan.steps))
        failures = (*outcome.failures, *outcome.unfinished, *outcome.unrestored)
        findings = (*failures, *outcome.unproven, *outcome.unkept)
        said = sum_up_outcome(outcome, halted) if plan.steps else "nothing was left to apply"
        self._finish(environment, known, exit_word, findings, said)

    def _finish(
        self,
        environment: str,
        known: Sequence[MergedRequest],
        exit_word: ExitWord,
        findings: Sequence[Finding],
        said: str = "",
        steps: Sequence[Step] = (),
    ) -> None:
        """Show a result in each comment, in the status and on the page of the job."""
        lines = [f"Commit {shorten_commit(self._commit, 12)}"]
        lines += [_AGAIN] if exit_word in {"incomplete", "interrupted"} else []
        heading = self._session.make_heading(self._project, environment)
        title = said or f"not applied ({exit_word})"
        result = render_result(heading, title, findings, lines, steps)
        shown = [one for one in known if not one.is_untouched]
        for one in shown:
            self._comment(environment, one, result, failed=exit_word not in _GOOD)
        if not shown:
            self._session.add_to_page(result)
        self._session.artifacts.write_comment(environment, result)
        why = said or f"not applied ({exit_word}): {findings[0].message}"
        self._set_status(environment, _STATES.get(exit_word, "failure"), why)

    def _comment(self, environment: str, one: MergedRequest, result: str, *, failed: bool) -> None:
        before = one.sticky
        body = before.body if before else ""
        flags = self._flags
        if not (failed or flags.targets or flags.excluded or flags.selectors):
            body = mark_applied(body)
        at = format_utc(datetime.now(UTC))
        sticky = Sticky(
            self._project,
            environment,
            self._session.job.run or at,
            at,
            before.changes if before else "",
            join_result(body, result),
            unresolved=failed,
        )
        self._session.comment(one.request, sticky)

    def _set_status(self, environment: str, state: StatusState, said: str) -> None:
        name = name_status("apply", self._project, environment)
        self._session.set_status(self._commit, name, state, said, None)
