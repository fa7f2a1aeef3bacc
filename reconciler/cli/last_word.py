"""The last that is told of an apply: what was done, what was kept beside the ledger, the code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from reconciler.cli.emitter import silence
from reconciler.cli.ending import Ending, find_exit_code, judge_outcome
from reconciler.cli.interruption import CLOSED
from reconciler.cli.invocation import Invocation
from reconciler.cli.unrecorded import describe_unrecorded, find_folders, keep_unrecorded
from reconciler.model import Finding, Outcome
from reconciler.render.event_lines import describe_end, describe_finding
from reconciler.render.finding import render_findings
from reconciler.render.outcome import INTERRUPTED, render_outcome

FINISHED: Final = "What was begun was finished and recorded. Plan again to see what is left."


def tell_outcome(invocation: Invocation, outcome: Outcome, root: Path, *, planned: bool) -> int:
    """Tell it where somebody listens; returns the exit code."""
    halted = invocation.interruption.halted()
    ending = judge_outcome(outcome, halted, planned=planned)
    invocation.part_from_progress()
    unrecorded = _keep(invocation, outcome, root)
    if invocation.as_json:
        heard = _tell_lines(invocation, outcome, ending, unrecorded)
    else:
        heard = halted != CLOSED and _tell_text(invocation, outcome, halted)
    if not heard:
        paint = invocation.paint(sys.stderr)
        invocation.complain(render_outcome(outcome, paint=paint, halted=halted or CLOSED))
    if not (heard and invocation.as_json):
        _tell_more(invocation, unrecorded, halted)
    return find_exit_code(ending, detailed=invocation.detailed_exitcode) or int(not heard)


def _keep(invocation: Invocation, outcome: Outcome, root: Path) -> tuple[Finding, ...]:
    """Keep what could not be recorded, and say where."""
    if not outcome.unrecorded:
        return ()
    from reconciler.ledgers.recovery import write_entries

    text = write_entries(outcome.unrecorded)
    kept = keep_unrecorded(text, find_folders(root))
    if kept is None:
        invocation.complain(text)
    return (describe_unrecorded(outcome.unrecorded, kept),)


def _tell_lines(
    invocation: Invocation, outcome: Outcome, ending: Ending, unrecorded: tuple[Finding, ...]
) -> bool:
    """Whether somebody has read it."""
    lines = invocation.lines
    for finding in (*outcome.failures, *outcome.unrestored, *unrecorded):
        lines.write(describe_finding(finding))
    lines.end(describe_end(outcome, ending, invocation.interruption.halted()))
    return not lines.broken


def _tell_text(invocation: Invocation, outcome: Outcome, halted: str) -> bool:
    """Whether it could be written."""
    try:
        click.echo(render_outcome(outcome, paint=invocation.paint(), halted=halted), color=True)
    except OSError:
        silence(sys.stdout)
        return False
    return True


def _tell_more(invocation: Invocation, unrecorded: tuple[Finding, ...], halted: str) -> None:
    if unrecorded:
        text = render_findings(unrecorded, paint=invocation.paint(sys.stderr))
        invocation.complain(f"\n{text}")
    elif halted == INTERRUPTED:
        invocation.complain(FINISHED)
