"""`reconciler ledger`: verify, rebuild and compact."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.command import Command, Group
from reconciler.cli.completion import complete_files
from reconciler.cli.context import Invocation
from reconciler.cli.options import AUTO_APPROVE, ENV, LOCK_TIMEOUT, format_options
from reconciler.model.values import dataclass

if TYPE_CHECKING:  # start-up: known only when the command runs
    from collections.abc import Iterable, Sequence

    from reconciler.cli.wiring import Assembly
    from reconciler.model import Address, Entry, Fact, Resource, Snapshot
    from reconciler.ports import Lease, Ledger


@click.group(cls=Group)
def ledger() -> None:
    """Verify, rebuild or compact the ledger."""


@ledger.command(
    cls=Command,
    examples=(
        "# Check every line",
        "reconciler ledger verify",
        "# Record first what an apply could not record",
        "reconciler ledger verify --recover errored.ledger.json",
    ),
)
@click.option(
    "--recover",
    shell_complete=complete_files,
    metavar="FILE",
    default="",
    help="First record the entries that an apply could not record, from its errored.ledger.json.",
)
@format_options("text", "json", about="The format of the report.")
@LOCK_TIMEOUT
@ENV
@click.pass_obj
def verify(invocation: Invocation, recover: str, *, form: str, lock_timeout: float) -> int:
    """Check every line of the ledger, archives included.

    It names each line that is missing, changed or out of order; the exit code is then 1. An entry
    is recorded only once, even if --recover is repeated.
    """
    from reconciler.cli.wiring import assemble_project
    from reconciler.render.ledger import is_whole, render_verify_report, verify_report_document

    assembly = assemble_project(invocation)
    recovered = _recover(assembly, recover, lock_timeout) if recover else None
    verify_report = assembly.ledger.verify()
    invocation.clear_progress()
    if form == "json":
        taken = None if recovered is None else recovered.taken
        click.echo(json.dumps(verify_report_document(verify_report, taken), indent=2))
    else:
        if recovered is not None:
            click.echo(f"{recovered}\n")
        click.echo(render_verify_report(verify_report, invocation.paint()), color=True)
    return 0 if is_whole(verify_report) else 1


@dataclass(frozen=True, slots=True)
class _Recovered:
    """The number of recorded entries, the number in the file, and the new name of the file."""

    taken: int
    given: int
    kept: Path

    def __str__(self) -> str:
        from reconciler.render.ledger import count_entries
        from reconciler.render.words.escape import escape

        counts = f"{self.taken:,} of {count_entries(self.given)} recorded"
        already = "" if self.taken == self.given else "; the others were already in the ledger"
        return f"Recovered: {counts}{already}. The file is now {escape(str(self.kept))}."


def _recover(assembly: Assembly, name: str, within_s: float) -> _Recovered:
    from reconciler.cli.wiring import lock_ledger

    entries = _read_errored(Path(name))
    _check_environments(assembly, name, entries)
    with lock_ledger(assembly, "ledger verify --recover", within_s) as lease:
        taken = record_missing(assembly.ledger, lease, entries)
    return _Recovered(taken, len(entries), rename_taken_in(Path(name)))


def _check_environments(assembly: Assembly, name: str, entries: Iterable[Entry]) -> None:
    """Raise LedgerInvalid for the entries of another environment."""
    from reconciler.errors import LedgerInvalid

    here = assembly.project.environment
    others = sorted({one.environment for one in entries} - {"", here})
    if others:
        step = f"Recover them there: reconciler ledger verify --env {others[0]} --recover {name}"
        said = f'holds entries of the environment "{others[0]}"'
        raise LedgerInvalid(said, subject=name, next_step=step)


def _read_errored(file: Path) -> list[Entry]:
    from reconciler.errors import LedgerInvalid
    from reconciler.files import check_path, find_checkout
    from reconciler.ledgers.recovery import LONGEST, read_entries

    check_path(file, find_checkout(Path()))
    # The file is renamed afterwards, and a device may never end.
    if file.exists() and not file.is_file():
        raise LedgerInvalid("is not a regular file", subject=str(file))
    with file.open("rb") as opened:
        data = opened.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise LedgerInvalid("is too large for a file of unrecorded entries", subject=str(file))
    try:
        return list(read_entries(data.decode()))
    except UnicodeDecodeError as error:
        raise LedgerInvalid("holds no entries: it is not text", subject=str(file)) from error
    except LedgerInvalid as error:
        error.subject = str(file)
        raise


def record_missing(ledger: Ledger, lease: Lease, entries: Iterable[Entry]) -> int:
    """Record the entries that are not in the ledger; returns their number."""
    from reconciler.plans.history import attach, find_unrecorded

    missing = find_unrecorded(ledger.entries(), entries)
    record_all(ledger, lease, attach(missing, ledger.load().open))
    return len(missing)


def rename_taken_in(file: Path) -> Path:
    """Rename a recovered file, never over another file; returns its new name."""
    number, target = 1, file.with_name(f"{file.name}.recovered")
    while os.path.lexists(target):
        number += 1
        target = file.with_name(f"{file.name}.recovered-{number}")
    return file.rename(target)


@ledger.command(
    cls=Command,
    examples=(
        "# Rebuild a lost ledger from the live documents",
        "reconciler ledger rebuild",
    ),
)
@AUTO_APPROVE
@LOCK_TIMEOUT
@ENV
@click.pass_obj
def rebuild(invocation: Invocation, *, auto_approve: bool, lock_timeout: float) -> None:
    """Rebuild a lost or broken ledger from the live documents.

    A value that is equal in the manifest and in the live document counts as applied; a place that
    differs is left out. No service is changed, and the next plan has the same changes as before.
    The old ledger is kept beside the new one.
    """
    from reconciler.cli.wiring import PlanFlags, assemble, lock_ledger
    from reconciler.engine.applying.journal import Author
    from reconciler.engine.rebuild import rebuild_entries
    from reconciler.render.ledger import render_rebuilt_entries
    from reconciler.render.words.escape import escape

    assembly = assemble(invocation, [])
    assembly.warn_of_shared()
    runtime = assembly.runtime(PlanFlags().parallelism)
    revision = assembly.revision
    author = Author(revision.author, revision.host, revision.name, "", revision.list_differing())
    with ExitStack() as held:
        lease = _lock_if_readable(held, assembly, lock_timeout)
        old = _read_old(assembly.ledger)
        found = rebuild_entries(runtime, assembly.request(PlanFlags()), author, old)
        lost = set() if old is None else _list_lost(old, [one.resource for one in found])
        invocation.clear_progress()
        click.echo(render_rebuilt_entries(found, lost))
        if (old is None or old.known) and not auto_approve:
            _approve_rebuild()
        if lease is not None:
            lease.check()
        kept = assembly.ledger.set_aside(lease.lock_owner.fence if lease is not None else 0)
        if lease is None:
            lease = held.enter_context(lock_ledger(assembly, "ledger rebuild", lock_timeout))
        facts = old.facts.values() if old is not None else ()
        entries = [one.entry for one in found if one.entry is not None]
        record_all(assembly.ledger, lease, [*facts, *entries])
    aside = f"\nThe old ledger is kept as {escape(kept)}." if kept else ""
    click.echo(f"{aside}\nRebuilt from the live documents. No service was changed.")


def _lock_if_readable(held: ExitStack, assembly: Assembly, within_s: float) -> Lease | None:
    """The lock; None when the ledger is too broken for a lock, and so for any write."""
    from reconciler.cli.wiring import lock_ledger
    from reconciler.errors import LedgerInvalid

    try:
        return held.enter_context(lock_ledger(assembly, "ledger rebuild", within_s))
    except LedgerInvalid:
        return None


def _read_old(ledger: Ledger) -> Snapshot | None:
    """The state of the ledger that is replaced; None for a broken ledger."""
    from reconciler.errors import LedgerInvalid

    try:
        return ledger.load()
    except LedgerInvalid:
        return None


def _list_lost(old: Snapshot, named: Sequence[Resource]) -> set[Address]:
    """The addresses that only the old ledger records, former resources of an address included."""
    known = old.of_resources(named).last_applied_by_address
    return set(known) - {one.address for one in named}


def _approve_rebuild() -> None:
    from reconciler.cli.approval import approve

    approve(
        "Do you want to rebuild the ledger?",
        "A ledger exists. Reconciler will keep it beside the new one. The new ledger does not\n"
        "show who applied each value, and when.",
        instead="Give --auto-approve.",
        cancelled="rebuild cancelled: the ledger is as it was",
    )


def record_all(ledger: Ledger, lease: Lease, records: Iterable[Entry | Fact]) -> None:
    """Record entries and facts under a lock; each one gets the fencing token of the lock."""
    from dataclasses import replace

    for record in records:
        lease.check()
        ledger.record(replace(record, fence=lease.lock_owner.fence))


@ledger.command(
    cls=Command,
    examples=(
        "# Archive the entries, and keep the current state",
        "reconciler ledger compact",
    ),
)
@LOCK_TIMEOUT
@ENV
@click.pass_obj
def compact(invocation: Invocation, *, lock_timeout: float) -> None:
    """Archive the ledger and start a new one with the current state.

    The archive stays beside the new ledger and is part of its chain: history and verify read it
    too.
    """
    from reconciler.cli.wiring import assemble_project, lock_ledger
    from reconciler.render.ledger import count_entries
    from reconciler.render.words.escape import escape
    from reconciler.text.counting import count

    assembly = assemble_project(invocation)
    with lock_ledger(assembly, "ledger compact", lock_timeout):
        before = assembly.ledger.verify()
        archive = assembly.ledger.compact()
        left = assembly.ledger.load()
    if not archive:
        click.echo("There is nothing to archive.")
        return
    held = f"{count_entries(before.entries)} and {count(before.intents, 'intent')}"
    click.echo(f"Archived: {held}, to {escape(archive)}.")
    click.echo(
        f"The new ledger starts with {count(len(left.last_applied_by_address), 'resource')}."
    )
