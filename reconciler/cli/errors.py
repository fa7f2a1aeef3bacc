"""Reports the error of a failed command: the findings, and the exit code."""

from __future__ import annotations

import errno
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import click

from reconciler.cli.context import Invocation
from reconciler.cli.debug_log import wants_log
from reconciler.cli.hints import answer_flag, find_typed, suggest_word
from reconciler.errors import ReconcilerError
from reconciler.model import Finding
from reconciler.render.findings import render_findings

if TYPE_CHECKING:  # start-up: it imports the sinks of an apply
    from reconciler.cli.exit_codes import ExitWord

# A typing error must not suggest a flag that deletes, overwrites, lifts a guard or skips approval.
_NEVER_SUGGESTED: Final = ("--allow", "--auto-approve", "--destroy", "--force", "--prune")


# The flags that stand before the command, and have a value.
_GLOBAL: Final = ("--chdir", "--project")
_CHOICE: Final = re.compile(r"'(.*)' is not one of")
_RANGES: Final = re.compile(r"is not a valid (integer|float)(?: range)?")


def _name_number(found: re.Match[str]) -> str:
    return "is not a whole number" if found[1] == "integer" else "is not a number"


def report(error: Exception, invocation: Invocation) -> int:
    """Print the error and the next step; returns the exit code.

    It prints on stderr, or with --json as diagnostics on stdout while stdout has a reader.
    """
    from reconciler.cli.exit_codes import classify_error, get_exit_code

    findings = explain(error, invocation)
    exit_word = classify_error(error)
    if invocation.as_json:
        written = _write_lines(findings, exit_word, invocation)
    else:
        written = invocation.wants_json and write_document(findings, exit_word, invocation)
    if not written:
        invocation.print_error(render_findings(findings, paint=invocation.paint(sys.stderr)))
    trace(error)
    return get_exit_code(exit_word, detailed=invocation.detailed_exitcode)


def explain(error: Exception, invocation: Invocation) -> tuple[Finding, ...]:
    """The findings of an error, with the warnings that belong to each error of the services."""
    findings = _explain(error, invocation.typed)
    if isinstance(error, ReconcilerError):
        findings = (*findings, *(one for one in invocation.notes if one not in findings))
    return findings


def _write_lines(findings: Sequence[Finding], exit_word: ExitWord, invocation: Invocation) -> bool:
    """Write the findings as JSON lines; returns whether stdout accepted them."""
    from reconciler.render.events.json_lines import describe_failure, describe_finding

    for finding in findings:
        invocation.lines.write(describe_finding(finding))
    invocation.lines.end(describe_failure(exit_word, findings[0].message))
    return not invocation.lines.broken


def write_document(
    findings: Sequence[Finding], exit_word: ExitWord, invocation: Invocation
) -> bool:
    """Write the findings as one JSON document; returns whether stdout accepted it."""
    from reconciler.cli.streams import print_json
    from reconciler.render.findings import render_failure_json

    invocation.clear_progress()
    try:
        print_json(render_failure_json(findings, exit_word))
        sys.stdout.flush()
    except (OSError, ValueError):
        return False
    return True


def _explain(error: Exception, arguments: Sequence[str]) -> tuple[Finding, ...]:
    if isinstance(error, ReconcilerError):
        return error.findings()
    if isinstance(error, click.NoSuchOption):
        return (_explain_flag(error, arguments),)
    if isinstance(error, click.UsageError):
        # click lists choices on lines of their own, and calls a number an "integer range".
        said = _RANGES.sub(_name_number, " ".join(error.format_message().split()))
        return (Finding(said, next_step=_suggest_choice(error) or _point_to_help(error)),)
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


def _suggest_choice(error: click.UsageError) -> str:
    """The question whether a similar choice of an option was meant; "" without one."""
    param = error.param if isinstance(error, click.BadParameter) else None
    given = _CHOICE.search(error.message)
    if param is None or not isinstance(param.type, click.Choice) or not given:
        return ""
    near = suggest_word(given[1], list(map(str, param.type.choices)), never=())
    return f"Did you mean '{near}'?" if near else ""


def _explain_flag(error: click.NoSuchOption, arguments: Sequence[str]) -> Finding:
    """The finding for an unknown flag: what reconciler has instead, or the flag that is similar."""
    flag = find_typed(error.option_name, arguments)
    command = error.ctx.command_path if error.ctx else "reconciler"
    known = set(list_flags(error.ctx))
    answer = _place_global(flag, error.ctx)
    answer = answer or answer_flag(flag, known, command, _find_reader(error.ctx))
    near = "" if answer else suggest_word(flag, sorted(known), never=_NEVER_SUGGESTED)
    step = f"Did you mean '{near}'?" if near else answer
    return Finding(f"{command} has no flag '{flag}'", next_step=step or _point_to_help(error))


def _place_global(flag: str, ctx: click.Context | None) -> str:
    """Where a flag of every command belongs, if it was given after the command; else ""."""
    flag = f"--{flag.lstrip('-')}"
    if ctx is None or ctx.parent is None or flag not in _GLOBAL:
        return ""
    words = ctx.command_path.partition(" ")[2]
    return f"Give it before the command: 'reconciler {flag} … {words}'."


def _find_reader(ctx: click.Context | None) -> str:
    """The command if it reads manifests that are named as arguments; else `reconciler plan`."""
    reads = any(parameter.name == "paths" for parameter in ctx.command.params) if ctx else False
    return ctx.command_path if ctx and reads else "reconciler plan"


def list_flags(ctx: click.Context | None) -> Iterator[str]:
    """The flags of the command of a context."""
    for parameter in ctx.command.get_params(ctx) if ctx else ():
        if isinstance(parameter, click.Option):
            yield from parameter.opts


def _point_to_help(error: click.UsageError) -> str:
    command = error.ctx.command_path if error.ctx else "reconciler"
    return f"See '{command} --help' for usage."


def _explain_os(error: OSError) -> Finding:
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    return Finding(
        error.strerror or type(error).__name__,
        subject=str(error.filename or ""),
        next_step="Make room on the disk, then run it again." if full else "",
    )


def trace(error: Exception) -> None:
    """Print the traceback of an unexpected error, without its text, which may hold a secret."""
    expected = isinstance(error, (ReconcilerError, click.ClickException))
    if not expected and wants_log():
        sys.stderr.writelines(traceback.format_tb(error.__traceback__))
