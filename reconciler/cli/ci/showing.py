"""`ci comment` and `ci status`: show a plan that was saved elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from reconciler.cli.ci.session import CiFlags, CiSession, check_open, name_status
from reconciler.cli.context import Invocation
from reconciler.cli.plan_files import is_plan, read_saved
from reconciler.errors import PlanInvalid, ReconcilerError
from reconciler.gitops.comments import Sticky
from reconciler.model import Plan
from reconciler.plans.changes_digest import digest_of_changes
from reconciler.plans.reviewed import describe_changes, write_reviewed
from reconciler.render.comments import render_plan_comment

_MOST_BYTES: Final = 4 * 1024 * 1024
# The start of the project in the marker of a comment that shows a file: no project has this name.
_FILE: Final = "file:"


def run_ci_comment(invocation: Invocation, file: str, flags: CiFlags) -> int:
    """Show a file in a comment on the request; returns the exit code."""
    plan = read_saved(file)[0] if is_plan(file) else None
    text = "" if plan is not None else _read_markdown(file)
    session = CiSession(invocation, flags)
    request = session.find_request()
    with session.settling():
        if plan is not None:
            check_open(session, request)
            sticky = _describe(session, plan)
        else:
            run = session.job.run or session.at
            sticky = Sticky(f"{_FILE}{Path(file).name}", "", run, session.at, "", text)
        session.comment(request, sticky)
    return session.conclude(0)


def _describe(session: CiSession, plan: Plan) -> Sticky:
    inputs = plan.inputs
    heading = session.make_heading(inputs.project, inputs.environment)
    body = render_plan_comment(plan, heading, write_reviewed(plan, ""))
    return Sticky(
        inputs.project,
        inputs.environment,
        session.job.run or session.at,
        session.at,
        digest_of_changes(plan),
        body,
        unresolved=bool(plan.refused),
    )


def _read_markdown(file: str) -> str:
    try:
        with Path(file).open("rb") as opened:
            data = opened.read(_MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        step = "Name a plan that plan --out has saved, or a file with Markdown."
        said = f"cannot be read: {error.strerror}"
        raise ReconcilerError(said, subject=file, next_step=step) from error
    except UnicodeDecodeError:
        data, text = b"", "\0"
    if len(data) > _MOST_BYTES or "\0" in text or not text.strip():
        raise ReconcilerError(
            "is not a saved plan, and not Markdown",
            subject=file,
            next_step=f"Name a plan, or a text in UTF-8 of at most {_MOST_BYTES >> 20} MB.",
        )
    return text


def run_ci_status(invocation: Invocation, file: str, flags: CiFlags) -> int:
    """Set the status of the request's commit from a saved plan; returns the exit code."""
    if not is_plan(file) and Path(file).exists():
        step = "Make one: reconciler plan --out FILE"
        raise PlanInvalid("is not a saved plan", subject=file, next_step=step)
    plan, _ = read_saved(file)
    session = CiSession(invocation, flags)
    request = session.find_request()
    check_open(session, request)
    head = flags.commit or session.job.head or request.head
    name = name_status("plan", plan.inputs.project, plan.inputs.environment)
    said = describe_changes(plan)
    with session.settling():
        session.set_status(head, name, "failure" if plan.refused else "success", said, request)
    click.echo(f"{name}: {said}")
    return session.conclude(0)
