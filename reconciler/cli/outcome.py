"""The end of an apply: the printed result, the file of unrecorded entries, and the exit code."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from reconciler.cli.context import Invocation
from reconciler.cli.exit_codes import ExitWord, classify_outcome, get_exit_code
from reconciler.cli.progress import silence
from reconciler.cli.signals import CLOSED
from reconciler.files import write_new
from reconciler.model import Entry, Finding, Outcome, StepResult
from reconciler.render.events.json_lines import describe_end, describe_finding
from reconciler.render.events.outcome import INTERRUPTED, render_outcome
from reconciler.render.findings import render_findings
from reconciler.text.counting import count

_NAME: Final = "errored.ledger"
_MOST: Final = 100
_UNKNOWN_AUTHOR: Final = "Without them the next plan does not know who made the changes."
_UNKNOWN: Final = "Without them the next apply first reads the live documents."


FINISHED: Final = (
    "The running steps were finished and recorded. Run plan to see the remaining changes."
)


def report_outcome(invocation: Invocation, outcome: Outcome, root: Path, *, planned: bool) -> int:
    """Print the result on stdout, or on stderr when stdout has no reader; returns the exit code."""
    halted = invocation.interruption.halted()
    exit_word = classify_outcome(outcome, halted, planned=planned)
    invocation.clear_progress()
    unrecorded = keep_entries(invocation, outcome, root)
    if invocation.as_json:
        output_open = _report_lines(invocation, outcome, exit_word, unrecorded)
    else:
        output_open = halted != CLOSED and _report_text(invocation, outcome, halted)
    if not output_open:
        paint = invocation.paint(sys.stderr)
        invocation.print_error(render_outcome(outcome, paint=paint, halted=halted or CLOSED))
    if not (output_open and invocation.as_json):
        _report_rest(invocation, unrecorded, halted)
    return get_exit_code(exit_word, detailed=invocation.detailed_exitcode) or int(not output_open)


def keep_entries(invocation: Invocation, outcome: Outcome, root: Path) -> tuple[Finding, ...]:
    """Save the entries that the ledger could not record; returns a finding that says where."""
    if not outcome.unrecorded:
        return ()
    from reconciler.ledgers.recovery import write_entries

    environment = invocation.environment
    text = write_entries(replace(one, environment=environment) for one in outcome.unrecorded)
    kept = keep_unrecorded(text, list_folders(root))
    if kept is None:
        invocation.print_error(text)
    return (describe_unrecorded(outcome.unrecorded, kept, environment),)


def _report_lines(
    invocation: Invocation, outcome: Outcome, exit_word: ExitWord, unrecorded: tuple[Finding, ...]
) -> bool:
    """Write the result as JSON lines; returns whether stdout accepted them."""
    lines = invocation.lines
    warnings = (*outcome.unfinished, *outcome.unproven, *outcome.unkept)
    for finding in (*outcome.failures, *outcome.unrestored, *warnings, *unrecorded):
        lines.write(describe_finding(finding))
    lines.end(describe_end(outcome, exit_word, invocation.interruption.halted()))
    return not lines.broken


def _report_text(invocation: Invocation, outcome: Outcome, halted: str) -> bool:
    """Print the result as text; returns whether stdout accepted it."""
    try:
        click.echo(render_outcome(outcome, paint=invocation.paint(), halted=halted), color=True)
    except OSError:
        silence(sys.stdout)
        return False
    return True


def _report_rest(invocation: Invocation, unrecorded: tuple[Finding, ...], halted: str) -> None:
    if unrecorded:
        text = render_findings(unrecorded, paint=invocation.paint(sys.stderr))
        invocation.print_error(f"\n{text}")
    elif halted == INTERRUPTED:
        invocation.print_error(FINISHED)


def keep_unrecorded(text: str, folders: Sequence[Path]) -> Path | None:
    """Write the entries to the first writable folder; returns the file, or None for no folder.

    Only the owner can read the file (mode 0600). An existing file is never overwritten.
    """
    for folder in folders:
        with contextlib.suppress(OSError):
            return _write_new(folder, text.encode())
    return None


def list_folders(root: Path) -> list[Path]:
    """The folders to try: the project, the working directory, and the temporary directory."""
    found = [root, Path()]
    with contextlib.suppress(OSError):  # no temporary directory is writable
        found.append(Path(tempfile.gettempdir()))
    return found


def describe_unrecorded(
    entries: Sequence[Entry], kept: Path | None, environment: str = ""
) -> Finding:
    """A finding that says where the unrecorded entries are, and how to recover them."""
    chosen = f" --env {environment}" if environment else ""
    place = str(kept) if kept else "FILE"
    where = f"The entries are in {place}" if kept else "The entries follow; save them in a FILE"
    what, without = f"{count(len(entries), 'step')} done and not recorded", _UNKNOWN_AUTHOR
    if any(entry.result is not StepResult.DONE for entry in entries):
        what, without = f"the result of {count(len(entries), 'step')} is not recorded", _UNKNOWN
    return Finding(
        f"{what}: the ledger cannot be written",
        detail=(f"{where}. {without}",),
        next_step="When this user can write the ledger and its lock is free:"
        f" reconciler ledger verify{chosen} --recover {place}",
    )


def _write_new(folder: Path, data: bytes) -> Path:
    for path in _names(folder):
        try:
            write_new(path, data, mode=0o600)
        except FileExistsError:
            continue
        return path
    raise FileExistsError


def _names(folder: Path) -> Iterator[Path]:
    yield folder / f"{_NAME}.json"
    for number in range(1, _MOST):
        yield folder / f"{_NAME}.{number}.json"
