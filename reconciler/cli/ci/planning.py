"""`ci plan`: plans what a request would change, and shows it in its comment and statuses."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import yaml

from reconciler.cli.apply_session import make_approved
from reconciler.cli.ci.artifacts import Artifacts, show_on_page
from reconciler.cli.ci.session import CiFlags, CiSession, check_open, make_job, name_status
from reconciler.cli.context import Invocation
from reconciler.cli.exit_codes import ExitWord, classify_error, get_exit_code
from reconciler.cli.loading import find_folder, load_all, load_each
from reconciler.cli.output import show
from reconciler.cli.wiring import Assembly, PlanFlags, assemble_for_plan
from reconciler.errors import ManifestInvalid, ReconcilerError
from reconciler.files import resolve_path
from reconciler.gitops.comments import Sticky
from reconciler.gitops.forge import Request, StatusState
from reconciler.gitops.jobs import Job
from reconciler.gitops.merge_result import Checkout, MergeConflict, MergeResult
from reconciler.gitops.workflows import sort_environments
from reconciler.manifests import PROJECT_FILE
from reconciler.manifests.environments import find_touched, list_environments
from reconciler.manifests.folder import ALL_ENVIRONMENTS
from reconciler.model import Finding, Plan
from reconciler.model.values import dataclass
from reconciler.plans.changes_digest import digest_of_changes
from reconciler.plans.reviewed import UNTOUCHED, describe_changes, write_reviewed
from reconciler.render.comments import Heading, render_no_plan, render_plan_comment
from reconciler.render.junit import Suite, make_findings_suite, make_plan_suite
from reconciler.text.commits import shorten_commit

if TYPE_CHECKING:  # start-up: imported only where approvals are given
    from reconciler.cli.signed_approvals import SignedApprovals

# From the gravest on.
_GRAVITY: Final[tuple[ExitWord, ...]] = ("interrupted", "error", "stale", "refused", "changes")
_MOST_BYTES: Final = 256 * 1024
# The name of a project whose file cannot be read.
_UNNAMED: Final = "project"
_FORK: Final = (
    "The request comes from a fork, which gets no credentials: its manifests were validated, and"
    " nothing was planned."
)


@dataclass(frozen=True, slots=True)
class Planned:
    """What became of one environment: a plan, or the findings that prevented it."""

    environment: str
    exit_word: ExitWord
    suite: Suite
    plan: Plan | None = None


def run_ci_plan(
    invocation: Invocation, flags: PlanFlags, ci: CiFlags, signed: tuple[str, str] = ("", "")
) -> int:
    """Plan a request; returns the exit code, as `plan` does."""
    job = make_job(ci, os.environ)
    if job.from_fork:  # its job may have no token at all
        return _validate_fork(invocation, job, ci)
    session = CiSession(invocation, ci)
    session.artifacts.clear()
    with invocation.interruption.listening(), session.settling():
        request = session.find_request()
        if request.from_fork:
            return _validate_fork(invocation, job, ci)
        check_open(session, request)
        words = _PlanRun(session, request, flags, signed).run()
    exit_word: ExitWord = next((one for one in _GRAVITY if one in words), "no-changes")
    return session.conclude(get_exit_code(exit_word, detailed=invocation.detailed_exitcode))


def _validate_fork(invocation: Invocation, job: Job, ci: CiFlags) -> int:
    """Check the manifests of a fork's request; calls no service, and writes nothing to the forge.

    The token of such a job only reads.
    """
    artifacts = Artifacts(ci.artifacts)
    artifacts.clear()
    each = load_each(invocation, [])
    found = (one for loaded in each for one in loaded.findings if one.severity == "error")
    errors = tuple(dict.fromkeys(found))
    project = next((one.project.name for one in each if one.project), _UNNAMED)
    folder = find_folder(Path(invocation.project_file).parent)
    artifacts.write_findings("plan", [make_findings_suite("validate", errors, folder)])
    said = "the manifests are not valid" if errors else "the manifests are valid"
    heading = Heading(project, "", job.run_url)
    comment = f"{render_no_plan(heading, said, errors)}\n{_FORK}\n"
    artifacts.write_comment("", comment)
    line = "" if ci.dry_run else show_on_page(job.summary_file, artifacts, [comment])
    if line:
        click.echo(line.encode())
    if errors:
        raise ManifestInvalid(errors)
    click.echo(f"Success! T{said[1:]}. {_FORK}")
    return 0


class _PlanRun:
    """The plans of one request, one environment after the other."""

    def __init__(
        self, session: CiSession, request: Request, flags: PlanFlags, signed: tuple[str, str]
    ) -> None:
        self._session, self._request, self._flags = session, request, flags
        self._signed = signed  # the folder of approvals, and the keyring
        self._head = session.job.head or request.head
        self._base = session.job.base or request.base
        self._targets = find_targets(session.invocation, session.folder)
        self._project = name_project(session.invocation, self._targets)

    def run(self) -> list[ExitWord]:
        """Plan each environment that the request touches; returns the result of each.

        Raises ReconcilerError if there is nothing to plan. Of these errors only a conflict is shown
        in the comments: a fault of this checkout must not replace a plan that reviewers have seen.
        """
        try:
            checkout = Checkout(self._session.folder)
            check_commit(checkout, self._session.flags.commit)
            with checkout.merging(self._base, self._head) as merged:
                if merged.not_fetched:
                    said = f"the target branch is as it was fetched last: {merged.not_fetched}"
                    self._session.invocation.print_findings([Finding(said, severity="warning")])
                return self._plan_all(checkout, merged)
        except MergeConflict as error:
            for environment in self._targets:
                self._report_failure(environment, error.findings())
            self._write_nothing(error)
            raise
        except ReconcilerError as error:
            self._report_local(self._targets, error)
            self._write_nothing(error)
            raise

    def _write_nothing(self, error: ReconcilerError) -> None:
        suite = make_findings_suite(self._project, error.findings(), "")
        self._session.artifacts.write_findings("plan", [suite])

    def _report_local(self, environments: Sequence[str], error: ReconcilerError) -> None:
        """Show a fault of the checkout in the status, where a job and not a person has it."""
        if self._session.job.event == "request":
            for environment in environments:
                self._set_status(environment, "error", f"no plan: {error.message}")

    def _plan_all(self, checkout: Checkout, merged: MergeResult) -> list[ExitWord]:
        folder = resolve_path(self._session.folder).relative_to(resolve_path(checkout.top))
        inside = list_inside(checkout.top, self._session.folder, merged.changed)
        with entered(self._session.invocation, merged, folder):
            here = Path(self._session.invocation.project_file).parent
            touched = find_planned(self._targets, here, inside)
            name = "" if folder == Path() else folder.as_posix()
            planned = [self._plan(one, merged, name) for one in touched]
        for environment in self._targets:
            if environment not in touched:
                self._report_untouched(environment)
        artifacts = self._session.artifacts
        artifacts.write_findings("plan", [one.suite for one in planned])
        artifacts.write_counts(one.plan for one in planned if one.plan is not None)
        return [one.exit_word for one in planned]

    def _plan(self, environment: str, merged: MergeResult, folder: str) -> Planned:
        """Plan one environment; an error of it ends nothing else."""
        invocation = self._session.invocation
        suite = " ".join(filter(None, [self._project, environment]))
        try:
            with choosing(invocation, environment):
                assembly = assemble_for_plan(invocation, (), self._flags)
                check_committed(assembly)
                self._set_status(environment, "pending", "planning")
                runtime = assembly.runtime(self._flags.parallelism, self._flags.max_calls)
                approvals = self._read_approvals(assembly)
                request = assembly.request(self._flags)
                plan = make_approved(invocation, assembly, runtime, request, approvals)
        except Uncommitted as error:
            self._report_local([environment], error)
            invocation.print_findings(error.findings())
            found = make_findings_suite(suite, error.findings(), folder)
            return Planned(environment, "error", found)
        except ReconcilerError as error:
            findings = error.findings()
            self._report_failure(environment, findings)
            invocation.print_findings(findings)
            word = classify_error(error)
            return Planned(environment, word, make_findings_suite(suite, findings, folder))
        with contextlib.suppress(BrokenPipeError):  # the request gets the plan without a reader too
            show(plan, "text", invocation)
        self._report_plan(environment, plan, merged)
        return Planned(environment, plan.outcome, make_plan_suite(suite, plan, folder), plan)

    def _read_approvals(self, assembly: Assembly) -> SignedApprovals | None:
        folder, keyring = self._signed
        if not folder:
            return None
        from reconciler.cli.signed_approvals import read_approvals

        # Only the policies ask for them here; `apply` counts them.
        return read_approvals(self._session.invocation, assembly, folder, keyring, 0)

    def _report_plan(self, environment: str, plan: Plan, merged: MergeResult) -> None:
        """Show a plan on the request, unless it was merged since: then nothing more is reviewed."""
        heading = self._session.make_heading(self._project, environment)
        body = render_plan_comment(plan, heading, write_reviewed(plan, merged.tree))
        self._session.artifacts.write_plan(plan, body)
        self._comment(environment, body, digest_of_changes(plan), unresolved=bool(plan.refused))
        state: StatusState = "failure" if plan.refused else "success"
        self._set_status(environment, state, describe_changes(plan))

    def _report_failure(self, environment: str, findings: Sequence[Finding]) -> None:
        heading = self._session.make_heading(self._project, environment)
        body = render_no_plan(heading, "no plan", findings)
        self._session.artifacts.write_comment(environment, body)
        self._comment(environment, body, "", unresolved=True)
        self._set_status(environment, "failure", f"no plan: {findings[0].message}")

    def _report_untouched(self, environment: str) -> None:
        """Replace the plan that an earlier push had shown; without one, only set the status."""
        session = self._session
        before = session.find_comment(self._request, self._project, environment)
        if before is not None and not before.body.startswith(UNTOUCHED):
            heading = session.make_heading(self._project, environment)
            said = render_no_plan(heading, "this request does not change it", ())
            self._comment(environment, f"{UNTOUCHED}\n{said}", "")
        self._set_status(environment, "success", "not changed by this request")

    def _comment(
        self, environment: str, body: str, changes: str, *, unresolved: bool = False
    ) -> None:
        session = self._session
        now = session.forge.find_request()
        if now is not None and now.state != "open":
            # What reviewers saw may not change after the merge: an apply is compared with it.
            session.add_to_page(body)
            said = f"the request is {now.state} now, so its comment stays as it is"
            session.invocation.print_findings([Finding(said, severity="warning")])
            return
        sticky = Sticky(
            self._project,
            environment,
            session.job.run or session.at,
            session.at,
            changes,
            body,
            unresolved=unresolved,
        )
        session.comment(self._request, sticky)

    def _set_status(self, environment: str, state: StatusState, said: str) -> None:
        name = name_status("plan", self._project, environment)
        self._session.set_status(self._head, name, state, said, self._request)


def find_targets(invocation: Invocation, folder: Path) -> tuple[str, ...]:
    """The environments that a command is for, in the order in which a change reaches them.

    For a project without environments, one without a name. Raises ManifestInvalid if --env names
    none of them.
    """
    names = sort_environments(list_environments(folder))
    if invocation.environment in {"", ALL_ENVIRONMENTS}:
        return tuple(names) or ("",)
    if invocation.environment not in names:
        loaded, _ = load_all(invocation, [])  # it knows why, and which name is similar
        errors = tuple(one for one in loaded.findings if one.severity == "error")
        if errors:
            raise ManifestInvalid(errors)
    return (invocation.environment,)


def find_planned(targets: Sequence[str], folder: Path, changed: Collection[str]) -> tuple[str, ...]:
    """The targets that changed files touch; a project without environments is always planned."""
    if tuple(targets) == ("",):
        return ("",)
    touched = find_touched(folder, changed) if changed else ()
    return tuple(one for one in targets if one in touched)


def list_inside(top: Path, folder: Path, files: Collection[str]) -> list[str]:
    """The files of the checkout that are in the folder of the project, relative to it."""
    inside = resolve_path(folder).relative_to(resolve_path(top))
    prefix = "" if inside == Path() else f"{inside.as_posix()}/"
    return [one.removeprefix(prefix) for one in files if one.startswith(prefix)]


def name_project(invocation: Invocation, targets: Sequence[str]) -> str:
    """The name of the project, which comments and statuses have, also of one with errors."""
    with choosing(invocation, targets[0]):
        loaded, _ = load_all(invocation, [invocation.project_file or PROJECT_FILE])
    if loaded.project is not None:
        return loaded.project.name
    try:
        with Path(invocation.project_file or PROJECT_FILE).open("rb") as file:
            document = yaml.safe_load(file.read(_MOST_BYTES))
        name = document["metadata"]["name"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError, yaml.YAMLError):
        return _UNNAMED
    return name if isinstance(name, str) and name else _UNNAMED


@contextlib.contextmanager
def choosing(invocation: Invocation, environment: str) -> Iterator[None]:
    """Let a command read one environment for the duration of the block."""
    before, invocation.environment = invocation.environment, environment
    try:
        yield
    finally:
        invocation.environment = before


@contextlib.contextmanager
def entered(invocation: Invocation, merged: MergeResult, folder: Path) -> Iterator[None]:
    """Read the project of a merge result, with the ledger and the secrets of the checkout."""
    if merged.is_checkout:
        yield
        return
    kept = invocation.project_file, invocation.state_folder
    if invocation.policies:
        invocation.policies = str(Path(invocation.policies).absolute())
    invocation.state_folder = str(resolve_path(Path(kept[0]).parent))
    invocation.project_file = Path(kept[0]).name if kept[0] else ""
    try:
        with contextlib.chdir(merged.folder / folder):
            yield
    finally:
        invocation.project_file, invocation.state_folder = kept


def check_commit(checkout: Checkout, wanted: str) -> None:
    """Raise ReconcilerError if another commit is checked out; any is, if `wanted` is empty."""
    if not checkout.commit.startswith(wanted.lower()):
        raise ReconcilerError(
            f"the checkout is at {shorten_commit(checkout.commit, 12)}, and not at"
            f" {shorten_commit(wanted, 12)}",
            subject="git",
            next_step=f"Check it out: git checkout {shorten_commit(wanted, 12)}",
        )


class Uncommitted(ReconcilerError):
    """The files that were read are not those of the commit."""


def check_committed(assembly: Assembly) -> None:
    """Raise Uncommitted for files that the request does not have as they were read."""
    differing = assembly.revision.differing
    if differing:
        more = f" and {len(differing) - 1:,} more" if len(differing) > 1 else ""
        raise Uncommitted(
            f"is not as the commit has it, so the request does not show it{more}",
            subject=differing[0],
            next_step="Commit and push the change, or restore the file.",
        )
