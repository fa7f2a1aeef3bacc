"""Reports the error of a failed command: the findings, and the exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from reconciler.cli.context import Invocation
from reconciler.errors import ReconcilerError
from reconciler.model import Finding
from reconciler.render.findings import render_findings
from reconciler.text.suggestions import suggest

if TYPE_CHECKING:  # start-up: it imports the sinks of an apply
    from reconciler.cli.exit_codes import ExitWord

# A typing error must not suggest a flag that deletes, overwrites, lifts a guard or skips approval.
_NEVER_SUGGESTED: Final = ("--allow", "--auto-approve", "--destroy", "--force", "--prune")


def report(error: Exception, invocation: Invocation) -> int:
    """Print the error and the next step; returns the exit code.

    It prints on stderr, or with --json as diagnostics on stdout while stdout has a reader.
    """
    from reconciler.cli.exit_codes import classify_error, get_exit_code

    findings = _explain(error)
    exit_word = classify_error(error)
    if not (invocation.as_json and _write_lines(findings, exit_word, invocation)):
        invocation.print_error(render_findings(findings, paint=invocation.paint(sys.stderr)))
    if not isinstance(error, (ReconcilerError, click.ClickException)):
        _trace(error)
    return get_exit_code(exit_word, detailed=invocation.detailed_exitcode)


def _write_lines(findings: Sequence[Finding], exit_word: ExitWord, invocation: Invocation) -> bool:
    """Write the findings as JSON lines; returns whether stdout accepted them."""
    from reconciler.render.events.json_lines import describe_failure, describe_finding

    for finding in findings:
        invocation.lines.write(describe_finding(finding))
    invocation.lines.end(describe_failure(exit_word, findings[0].message))
    return not invocation.lines.broken


def _explain(error: Exception) -> tuple[Finding, ...]:
    if isinstance(error, ReconcilerError):
        return error.findings()
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "reconciler"
        return (Finding(_word(error), next_step=f"See '{command} --help' for usage."),)
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


def _word(error: click.UsageError) -> str:
    if not isinstance(error, click.NoSuchOption):
        return error.format_message()
    near = suggest(error.option_name, error.possibilities or (), never=_NEVER_SUGGESTED)
    return f"{error.message} Did you mean '{near}'?" if near else error.message


def _explain_os(error: OSError) -> Finding:
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    return Finding(
        error.strerror or type(error).__name__,
        subject=str(error.filename or ""),
        next_step="Make room on the disk, then run it again." if full else "",
    )


def _trace(error: Exception) -> None:
    """Print the traceback without the text of the error, which may hold a secret."""
    if os.environ.get("RECONCILER_LOG", "").lower() in {"debug", "trace"}:
        sys.stderr.writelines(traceback.format_tb(error.__traceback__))
