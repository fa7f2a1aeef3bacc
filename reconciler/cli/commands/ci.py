"""`reconciler ci`: plan and apply pull requests, in a job of a forge or by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import click

from reconciler.cli.apply_session import ApplyFlags
from reconciler.cli.command import Command, Group
from reconciler.cli.commands.apply import read_digest
from reconciler.cli.completion import complete_files, complete_folders
from reconciler.cli.context import Invocation
from reconciler.cli.drift_baseline import BASELINE, NEW_ONLY, NewFindings
from reconciler.cli.options import (
    ENV,
    apply_options,
    approval_options,
    approvals_options,
    check_approval_flags,
    drift_options,
    plan_options,
)

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FORGES = ("github", "azure-devops", "gitlab")


def _job_options(command: _Command) -> _Command:
    """Add the options that say by hand what a job knows."""
    options = (
        click.option(
            "--forge",
            type=click.Choice(_FORGES),
            help="The forge; in a job of one it is known.",
        ),
        click.option(
            "--repository",
            metavar="NAME",
            default="",
            help="The repository on the forge: OWNER/NAME, for Azure Repos PROJECT/NAME.",
        ),
        click.option(
            "--request",
            "number",
            type=click.IntRange(min=1),
            metavar="NUMBER",
            help="The number of the pull request or merge request.",
        ),
        click.option(
            "--commit", metavar="COMMIT", default="", help="The commit that must be checked out."
        ),
        click.option(
            "--api", metavar="URL", default="", help="The address of the API of the forge."
        ),
        click.option(
            "--dry-run",
            is_flag=True,
            help="Print each request to the forge, without the token. Send no write to it, and"
            " change no service.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


_ARTIFACTS = click.option(
    "--artifacts",
    metavar="DIR",
    default=".reconciler-ci",
    show_default=True,
    shell_complete=complete_folders,
    help="The folder for the plan files, pages, comments and findings (JUnit) of this run.",
)
_BASE = click.option(
    "--base", metavar="BRANCH", default="", help="The target branch; the request names it."
)


def _take_ci_flags(given: dict[str, Any]) -> Any:
    """The flags of the job among the given ones, which are removed there."""
    from reconciler.cli.ci.session import CiFlags

    names = [one.name for one in fields(CiFlags)]
    found = {name: given.pop(name) for name in names if name in given}
    return CiFlags(**{name: value for name, value in found.items() if value is not None})


@click.group(cls=Group)
def ci() -> None:
    """Plan and apply pull requests, in a job of GitHub, Azure Repos or GitLab.

    A job of a forge needs no options: its variables name the forge, the request and the commit. The
    token is read from GITHUB_TOKEN, SYSTEM_ACCESSTOKEN or RECONCILER_GITLAB_TOKEN. By hand, give
    --forge, --repository and --request.
    """
    from reconciler.cli.streams import disarm_streams

    disarm_streams()


@ci.command(
    cls=Command,
    examples=(
        "# In a job of a pull request",
        "reconciler ci plan",
        "# By hand: print what would be sent to the forge",
        "reconciler ci plan --forge github --repository org/repo --request 12 --dry-run",
    ),
)
@_BASE
@_ARTIFACTS
@_job_options
@approvals_options
@plan_options
@ENV
@click.pass_obj
def plan(invocation: Invocation, /, **given: Any) -> int:
    """Plan what a request would change, and show it in its comment.

    The merge of the request into its target branch is planned, for each environment that it
    touches: in one comment, in one status of its commit, and in files for the job. A request that
    cannot be merged is reported and not planned. Of a request from a fork only the manifests are
    validated. Signed approvals lift here what they lift in ci apply. The exit codes are those of
    plan.
    """
    from reconciler.cli.ci.planning import run_ci_plan
    from reconciler.cli.wiring import PlanFlags

    flags = _take_ci_flags(given)
    signed = given.pop("approvals"), given.pop("keyring")
    check_approval_flags(*signed, None)
    return run_ci_plan(invocation, PlanFlags(**given), flags, signed)


@ci.command(
    cls=Command,
    examples=(
        "# In a job of a push to the main branch",
        "reconciler ci apply",
        "# By hand, in the merged commit",
        "reconciler ci apply --forge github --repository org/repo --request 12",
    ),
)
@click.option(
    "--expect",
    metavar="DIGEST",
    default="",
    callback=read_digest,
    help="Also apply a plan whose changes have this digest, which was reviewed elsewhere.",
)
@_ARTIFACTS
@_job_options
@approval_options
@apply_options
@ENV
@click.pass_obj
def apply(invocation: Invocation, /, **given: Any) -> int:
    """Apply exactly what the reviewers of a merged request saw.

    The merged commit is planned again under the lock of the ledger. Its changes are made only if
    the comment of the request shows each of them; otherwise nothing is written. The result is in
    the same comment. If only a part was made, the next run goes on. A review is for one apply: a
    run that finds all of it applied before, and then changed back, writes nothing. The exit codes
    are those of apply.

    An account that may write as this program can also change its comments. It cannot change a
    signed approval of the same changes: --approvals.
    """
    from reconciler.cli.ci.applying import run_ci_apply
    from reconciler.cli.wiring import PlanFlags

    flags = _take_ci_flags(given)
    names = [one.name for one in fields(ApplyFlags)]
    apply_flags = ApplyFlags(auto_approve=True, **{n: given.pop(n) for n in names if n in given})
    check_approval_flags(apply_flags.approvals, apply_flags.keyring, apply_flags.require)
    return run_ci_apply(invocation, PlanFlags(**given), apply_flags, flags)


@ci.command(
    cls=Command,
    examples=(
        "# In a job that runs each night; exit with 2 for drift",
        "reconciler ci drift --detailed-exitcode",
    ),
)
@_ARTIFACTS
@BASELINE
@NEW_ONLY
@drift_options
@ENV
@click.pass_obj
def drift(invocation: Invocation, /, **given: Any) -> int:
    """Report the drift of each environment, for a nightly job.

    The report is in files and on the page of the job; drift.xml has one test for each resource. It
    asks no forge, and the exit codes are those of drift.
    """
    from reconciler.cli.ci.drifting import run_ci_drift
    from reconciler.cli.wiring import PlanFlags

    flags = _take_ci_flags(given)
    new_findings = NewFindings(given.pop("baseline"), given.pop("new_only"))
    return run_ci_drift(invocation, PlanFlags(**given), flags, new_findings)


@ci.command(
    cls=Command,
    examples=(
        "# Show a plan that another job has saved",
        "reconciler ci comment release.plan",
        "# Show any Markdown, such as a report that drift has printed",
        "reconciler ci comment drift.md",
    ),
)
@click.argument("file", shell_complete=complete_files)
@_job_options
@click.pass_obj
def comment(invocation: Invocation, /, file: str, **given: Any) -> int:
    """Show a saved plan, or any Markdown, in a comment on the request.

    FILE is a plan that plan --out has saved: it is shown in the one comment of its project and
    environment. Any other file is Markdown, with a comment of its own for each name of a file. The
    comment is replaced when the command runs again.
    """
    from reconciler.cli.ci.showing import run_ci_comment

    return run_ci_comment(invocation, file, _take_ci_flags(given))


@ci.command(
    cls=Command,
    examples=(
        "# Set the status of the request's commit from a saved plan",
        "reconciler ci status release.plan",
    ),
)
@click.argument("file", shell_complete=complete_files)
@_job_options
@click.pass_obj
def status(invocation: Invocation, /, file: str, **given: Any) -> int:
    """Set the status of the request's commit from a saved plan.

    FILE is a plan that plan --out has saved. The status is a failure if a guard refuses the plan.
    """
    from reconciler.cli.ci.showing import run_ci_status

    return run_ci_status(invocation, file, _take_ci_flags(given))


@ci.command(
    cls=Command,
    examples=(
        "# In a job of GitHub Actions, after ci drift: upload the files that it wrote",
        "reconciler ci sarif",
        "# By hand: print what would be sent",
        "reconciler ci sarif drift.sarif --forge github --repository org/repo --dry-run",
    ),
)
@click.argument("files", nargs=-1, metavar="[FILE]...", shell_complete=complete_files)
@click.option(
    "--ref",
    metavar="REF",
    default="",
    help="The branch, tag or request that the alerts are about, such as refs/heads/main. A job"
    " knows it; by hand it is the branch that is checked out.",
)
@_ARTIFACTS
@_job_options
@click.pass_obj
def sarif(invocation: Invocation, /, files: tuple[str, ...], ref: str, **given: Any) -> int:
    """Upload drift reports to the code scanning of GitHub.

    FILE is a report that drift --out has saved as SARIF; without it, all that ci drift has written.
    Each result is an alert at the line of the manifest, and an alert is closed when an upload lacks
    its result. So a report with incomplete evidence, or of a part of the project, is refused. Each
    environment is a category of its own. What .driftignore ignores is left out, because GitHub
    would show it as an open alert. The job needs the right security-events: write.
    """
    from reconciler.cli.ci.scanning import run_ci_sarif

    return run_ci_sarif(invocation, files, ref, _take_ci_flags(given))
