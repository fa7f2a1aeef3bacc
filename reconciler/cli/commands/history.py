"""`reconciler history`."""

from __future__ import annotations

import json
import tempfile
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from reconciler.cli.command import Command
from reconciler.cli.completion import complete_addresses
from reconciler.cli.context import Invocation
from reconciler.cli.options import ENV, SELECTOR, format_options

_IN_MEMORY = 1 << 20


if TYPE_CHECKING:  # start-up: known only when the command runs
    from reconciler.document.schema import Field
    from reconciler.model import Address, Approval, Entry, Fact, Intent, Snapshot
    from reconciler.plans.history import Moment, Run
    from reconciler.ports import Ledger


@click.command(
    cls=Command,
    examples=(
        "# Show each apply on one resource",
        "reconciler history WebService/census",
        "# Show the jobs and the evaluations of a retraining",
        "reconciler history Retraining/census",
        "# Show what was applied at the end of a day",
        "reconciler history --at 2026-11-20",
        "# Show who last wrote each value",
        "reconciler history WebService/census --blame",
    ),
)
@click.argument("address", shell_complete=complete_addresses, required=False, default="")
@SELECTOR
@click.option(
    "--at",
    metavar="TIME",
    default="",
    help="Show what the ledger remembered at an ISO time, at a date (its end, in UTC), or at #N"
    " (right after entry N).",
)
@click.option("--blame", is_flag=True, help="Show who last wrote each value; needs ADDRESS.")
@format_options("text", "json", about="The format of the output.")
@ENV
@click.pass_obj
def history(
    invocation: Invocation,
    /,
    address: str,
    at: str,
    *,
    selectors: tuple[str, ...],
    blame: bool,
    form: str,
) -> None:
    """Show each apply with its time, author and commit; the newest comes first.

    Training jobs, evaluations of models, the reasons for which a gate was lifted, the checks of a
    rollout, and who approved a plan are shown too.

    It reads only the ledger, and the manifests for -l; it calls no service. Sensitive values are
    never shown. The ADDRESS of a fleet means all its members.
    """
    from reconciler.cli.wiring import assemble_leniently, assemble_project, select_addresses

    if blame and not address:
        raise click.UsageError("--blame needs the ADDRESS of a resource")
    moment = _parse(at) if at else None
    # The manifests are read only for their labels. An error in one must not hide the history.
    assembly = assemble_leniently(invocation) if selectors else assemble_project(invocation)
    given = [address] if address else []
    named = select_addresses("ADDRESS", given, selectors, assembly.loaded.manifests)
    printer = HistoryPrinter(
        invocation,
        assembly.ledger,
        assembly.project.moved,
        {name: kind.field for name, kind in assembly.kinds.items()},
        as_json=form == "json",
        snapshot=assembly.load_snapshot(),
    )
    if moment is not None:
        moment = printer.settle(moment)
    if blame:
        printer.print_authors(named[0], moment)
    elif moment is not None:
        printer.print_recalled(named, moment)
    else:
        printer.print_entries(named)


def _parse(at: str) -> Moment:
    from reconciler.plans.history import parse_moment

    try:
        return parse_moment(at)
    except ValueError as error:
        raise click.UsageError(
            f"--at {at} is not a time; it must be like 2026-11-20, 2026-11-20T12:00:00Z or #12"
        ) from error


class HistoryPrinter:
    """Prints the history of one ledger, as text or as JSON."""

    def __init__(
        self,
        invocation: Invocation,
        ledger: Ledger,
        moved: Mapping[Address, Address],
        fields: Mapping[str, Field],
        *,
        as_json: bool,
        snapshot: Snapshot | None = None,
    ) -> None:
        self._paint = invocation.paint()
        self._ledger = ledger
        self._open = snapshot.open if snapshot is not None else ()
        self._facts = snapshot.facts if snapshot is not None else {}
        self._moved = moved
        self._fields = fields
        self._as_json = as_json

    def settle(self, moment: Moment) -> Moment:
        """The moment right after an entry; warns if the times of the entries are not in order.

        Raises ReconcilerError for a moment after an entry that the ledger does not have.
        """
        from reconciler.errors import ReconcilerError
        from reconciler.plans.history import settle

        if moment.time is not None:
            settled, apart = settle(moment, self._ledger.entries())
            if apart is not None:
                self._warn_of_times(settled, apart)
            return settled
        last = max((one.sequence for one in self._ledger.entries()), default=0)
        if not 0 < moment.sequence <= last:
            step = f"The entries are #1 to #{last}." if last else "The ledger is empty."
            raise ReconcilerError(f"entry {moment} does not exist", next_step=step)
        return moment

    def _warn_of_times(self, moment: Moment, apart: Entry) -> None:
        from reconciler.model import Finding
        from reconciler.render.findings import render_findings

        finding = Finding(
            f"the times of the entries are not in order: entry #{apart.sequence} is of {apart.at}"
            f" and precedes entry #{moment.sequence}",
            next_step=f"The clocks that wrote them differ. What follows is right after entry"
            f" #{moment.sequence}; --at #N names any other entry.",
            severity="warning",
        )
        click.echo(render_findings((finding,), paint=self._paint), err=True, color=True)

    def print_entries(self, named: Sequence[Address]) -> None:
        """Print the entries of the named resources, or all; the newest entry comes first.

        Intents with an unknown result come before them.
        In text, the entries of one apply on many members of a fleet are one item.
        """
        from reconciler.plans.history import gather_runs, insert

        undecided = [one for one in self._open if self._is_of(one, named)]
        facts = list(self._find_facts(named))
        entries = self._entries(named)
        with ReversedSpool() as texts:
            for entry in entries if self._as_json else insert(gather_runs(entries), facts):
                texts.add(self._show(entry))
            for intent in undecided:
                texts.add(self._show(intent))
            if not texts and not facts and named:
                raise self._unknown(named)
            self._print(texts, facts=facts, empty="The ledger is empty.")

    def _find_facts(self, named: Collection[Address]) -> Iterator[Fact]:
        """The jobs, the evaluations, the reasons and the checks of what is named, oldest first."""
        from reconciler.plans.history import (
            CHECKS,
            EVALUATION,
            JOB,
            REASON,
            REGISTRATION,
            find_subjects,
            trim,
        )

        last: dict[tuple[str, str, str], Fact] = {}
        # Few ledgers have a fact, and all lines of a ledger take long to read.
        topics = {JOB, EVALUATION, REGISTRATION, REASON, CHECKS}
        for topic in topics & {topic for topic, _ in self._facts}:
            for fact in self._ledger.facts(topic):
                # Only the last state of a job counts.
                run = str(fact.data.get("run", "")) if topic == JOB else str(fact.sequence)
                last[topic, fact.subject, run] = trim(fact)
        wanted = set(map(str, named))
        for fact in sorted(last.values(), key=lambda one: one.sequence):
            if not wanted or wanted & find_subjects(fact):
                yield fact

    def print_recalled(self, named: Sequence[Address], moment: Moment) -> None:
        """Print what the ledger remembered at a moment, of the named resources or of all."""
        from reconciler.plans.history import recall
        from reconciler.render.history import recalled_document, render_recalled

        found = recall(self._entries(named), self._moved, moment)
        if not found and named:
            self._check_known(named)
        if self._as_json:
            click.echo(json.dumps(recalled_document(moment, found, self._fields), indent=2))
            return
        shown = [
            render_recalled(entry, self._fields.get(one.kind), self._paint)
            for one, entry in sorted(found.items())
        ]
        head = f"Remembered at {moment}:" if shown else f"Nothing was remembered at {moment}."
        click.echo("\n\n".join([head, *shown]), color=True)

    def print_authors(self, address: Address, moment: Moment | None) -> None:
        """Print who wrote each remembered value, now or at a moment."""
        from reconciler.plans.history import attribute
        from reconciler.render.history import blame_document, render_blame

        entries = self._of_one(address, self._entries([address]))
        authors = attribute(one for one in entries if not moment or moment.covers(one))
        if not authors:
            self._check_known([address])
        field = self._fields.get(address.kind)
        if self._as_json:
            click.echo(json.dumps(blame_document(address, authors, field), indent=2))
            return
        nothing = "The ledger remembers no value of it."
        click.echo(render_blame(authors, field, self._paint) or nothing, color=True)

    def _entries(self, named: Collection[Address]) -> Iterator[Entry]:
        """The entries of addresses under all their names; every entry without an address."""
        wanted = frozenset(named)
        return (one for one in self._ledger.entries() if self._is_of(one, wanted))

    def _is_of(self, found: Entry | Intent, named: Collection[Address]) -> bool:
        from reconciler.plans.history import rename

        names = (found.address, found.fleet, rename(found.address, self._moved))
        return not named or any(one in named for one in names)

    def _of_one(self, address: Address, entries: Iterable[Entry]) -> Iterator[Entry]:
        """The entries of one resource; raises ReconcilerError for those of a fleet."""
        from reconciler.errors import ReconcilerError

        for entry in entries:
            if entry.fleet == address:
                step = f"Name a member: reconciler history {entry.address} --blame"
                raise ReconcilerError("is a fleet", subject=str(address), next_step=step)
            yield entry

    def _check_known(self, named: Sequence[Address]) -> None:
        if not any(True for _ in self._entries(named)):
            raise self._unknown(named)

    def _unknown(self, named: Sequence[Address]) -> Exception:
        from reconciler.cli.wiring import not_in_ledger
        from reconciler.errors import ReconcilerError

        if len(named) > 1:
            step = "See what the ledger has: reconciler history"
            return ReconcilerError("no selected resource is in the ledger", next_step=step)
        names = (name for one in self._ledger.entries() for name in (one.address, one.fleet))
        return not_in_ledger(named[0], names)

    def _show(self, entry: Entry | Intent | Run | Fact) -> str:
        from reconciler.model import Fact
        from reconciler.plans.history import Run
        from reconciler.render.facts import render_fact
        from reconciler.render.history import entry_document, render_entry, render_run

        if isinstance(entry, Fact):
            return render_fact(entry, self._paint)
        first = entry.first if isinstance(entry, Run) else entry
        approvals = self._approvals.get(first.plan_digest, ())
        if isinstance(entry, Run):
            return render_run(entry, self._paint, approvals)
        field = self._fields.get(entry.address.kind)
        if self._as_json:
            return json.dumps(entry_document(entry, field, approvals))
        return render_entry(entry, field, self._paint, approvals)

    @cached_property
    def _approvals(self) -> Mapping[str, Sequence[Approval]]:
        """The approvals of each plan that has some, by its digest; few ledgers have any."""
        from reconciler.plans.history import APPROVALS, read_approvals

        known = any(topic == APPROVALS for topic, _ in self._facts)
        facts = self._ledger.facts(APPROVALS) if known else ()
        return {fact.subject: read_approvals(fact) for fact in facts}

    def _print(self, texts: Iterable[str], *, facts: Sequence[Fact], empty: str) -> None:
        from reconciler.render.facts import facts_document
        from reconciler.render.history import FORMAT_VERSION

        if self._as_json:
            click.echo(f'{{"format_version": "{FORMAT_VERSION}", "entries": [', nl=False)
            for number, text in enumerate(texts):
                click.echo(f"{',' if number else ''}\n  {text}", nl=False)
            said = json.dumps(facts_document(facts), indent=2)
            click.echo(f"\n], {said[1:]}" if facts else "\n]}")
            return
        printed = False
        for text in texts:
            printed = True
            click.echo(text, color=True)
        if not printed:
            click.echo(empty)


class ReversedSpool:
    """Stores texts and returns them in reverse order; large contents go to a temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by __exit__
        self._ends = array("Q")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, text: str) -> None:
        """Add a text."""
        self._file.write(text.encode("utf-8", "surrogatepass"))
        self._ends.append(self._file.tell())

    def __iter__(self) -> Iterator[str]:
        for number in range(len(self._ends) - 1, -1, -1):
            start = self._ends[number - 1] if number else 0
            self._file.seek(start)
            yield self._file.read(self._ends[number] - start).decode("utf-8", "surrogatepass")
