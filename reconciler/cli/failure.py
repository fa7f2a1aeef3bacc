"""How a command that failed says so: the error form, and the exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback

import click

from reconciler.cli.invocation import Invocation
from reconciler.errors import PlanRefused, ReconcilerError, StalePlan
from reconciler.model import Finding
from reconciler.render.finding import render_findings

_CODES: tuple[tuple[type[ReconcilerError], int], ...] = ((PlanRefused, 3), (StalePlan, 4))


def report(error: Exception, invocation: Invocation) -> int:
    """Say on stderr what went wrong and what to do next; returns the exit code."""
    findings = _explain(error)
    invocation.part_from_progress()
    sys.stderr.write(render_findings(findings, paint=invocation.paint(sys.stderr)) + "\n")
    if not isinstance(error, (ReconcilerError, click.ClickException)):
        _trace(error)
    if invocation.detailed_exitcode:
        return next((code for kind, code in _CODES if isinstance(error, kind)), 1)
    return 1


def _explain(error: Exception) -> tuple[Finding, ...]:
    if isinstance(error, ReconcilerError):
        return error.findings()
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "reconciler"
        return (
            Finding(error.format_message(), next_step=f"{command} --help shows what there is."),
        )
    if isinstance(error, click.ClickException):
        return (Finding(error.format_message()),)
    if isinstance(error, OSError):
        return (_explain_os(error),)
    return (
        Finding(
            f"ended by an unexpected {type(error).__name__}: this is a defect of reconciler",
            next_step="Run it again with RECONCILER_LOG=debug to see where.",
        ),
    )


def _explain_os(error: OSError) -> Finding:
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    return Finding(
        error.strerror or type(error).__name__,
        subject=str(error.filename or ""),
        next_step="Make room on the disk, then run it again." if full else "",
    )


def _trace(error: Exception) -> None:
    """Where it happened, without the error's own text, which might hold anything."""
    if os.environ.get("RECONCILER_LOG", "").lower() in {"debug", "trace"}:
        sys.stderr.writelines(traceback.format_tb(error.__traceback__))
