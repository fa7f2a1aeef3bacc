"""Checks every line of a ledger, and reports each invalid line with its place.

Both ledgers call it with their lines; it opens no file and no blob itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from reconciler.errors import LedgerInvalid
from reconciler.ledgers.chain import (
    RESTORE,
    RESTORE_BOTH,
    START,
    ChainHead,
    Numbered,
    Replay,
    find_loss,
    follow,
)
from reconciler.ledgers.records import BadLine, Checkpoint, Record
from reconciler.model import Entry, Fact, Finding, Intent, SourceLocation, VerifyReport
from reconciler.model.values import dataclass

# More findings would not help: the first ones show the damage.
_MOST: Final = 100
_SET_ASIDE: Final = (
    "The next command that writes moves it to another file. No request was sent because of it."
)


@dataclass(frozen=True, slots=True)
class TornTail:
    """Bytes after the last whole line: their place and number."""

    name: str
    line: int
    size: int


def verify_lines(
    lines: Callable[[], Iterable[Numbered]],
    digest_archive: Callable[[str], str],
    replay: Replay,
    find_torn_tail: Callable[[], TornTail | None],
    read_remembered: Callable[[], tuple[str, ChainHead]],
) -> VerifyReport:
    """Checks all lines; a line or file that cannot be read is a finding too.

    `replay` is a new one. `digest_archive` returns the digest of the archive with a name, or "" if
    it is missing. `read_remembered` returns the lock's place and the head that it remembers.
    """
    verifier = _Verifier(digest_archive, replay)
    try:
        # Before the lines: a later head may belong to lines that are not read yet.
        place, verifier.remembered = read_remembered()
        for line in lines():
            verifier.apply(line)
        verifier.end(place)
        tail = find_torn_tail()
    except LedgerInvalid as error:
        return verifier.make_report(error.findings())
    if tail is None:
        return verifier.make_report(())
    said = f"line {tail.line} of the ledger is not whole: {tail.size} bytes of an interrupted write"
    torn = SourceLocation(tail.name, tail.line, 1)
    return verifier.make_report(
        (Finding(said, place=torn, next_step=_SET_ASIDE, severity="warning"),)
    )


class _Verifier:
    def __init__(self, digest_archive: Callable[[str], str], replay: Replay) -> None:
        self._digest_archive = digest_archive
        self._replay = replay
        self._chain_head: ChainHead | None = START
        self.remembered = START
        self._entries = self._intents = self._facts = 0
        self._findings: list[Finding] = []

    def apply(self, line: Numbered) -> None:
        """Checks one line; the caller passes the lines in order."""
        name, number, data = line
        try:
            record = self._follow(data)
        except BadLine as error:
            # The next line is not compared with this one, so that one error is reported once.
            self._chain_head = None
            self._add_finding(name, number, error)
            return
        for doubt in self._find_doubts(record):
            self._add_finding(name, number, doubt)
        if self._chain_head and self._chain_head.sequence == self.remembered.sequence:
            self._check_end(f"{name}:{number}", self._chain_head)
        self._entries += isinstance(record, Entry)
        self._intents += isinstance(record, Intent)
        self._facts += isinstance(record, Fact)
        self._replay.apply(record)

    def _follow(self, data: bytes) -> Record:
        self._chain_head, record = follow(self._chain_head, data)
        return record

    def _find_doubts(self, record: Record) -> Iterable[BadLine]:
        try:
            self._replay.check(record)
        except BadLine as error:
            yield error
        if isinstance(record, Checkpoint):
            found = self._digest_archive(record.archive)
            if not found:
                yield BadLine(f"names the archive {record.archive}, which is missing")
            elif found != record.sha256:
                yield BadLine(f"names the archive {record.archive}, which was changed since")

    def end(self, place: str) -> None:
        """Compares the end of the chain with the remembered head; call it after the last line."""
        # After an invalid last line the end of the chain is not known.
        if self._chain_head and self._chain_head.sequence < self.remembered.sequence:
            self._check_end(place, self._chain_head)

    def _check_end(self, subject: str, chain_head: ChainHead) -> None:
        lost = find_loss(self.remembered, chain_head)
        if lost:
            self._findings.append(Finding(lost, subject=subject, next_step=RESTORE_BOTH))

    def _add_finding(self, name: str, number: int, why: BadLine) -> None:
        if len(self._findings) < _MOST:
            said, place = f"line {number} of the ledger {why}", SourceLocation(name, number, 1)
            self._findings.append(Finding(said, place=place, next_step=why.next_step or RESTORE))

    def make_report(self, more: tuple[Finding, ...]) -> VerifyReport:
        """Returns the report with these findings added."""
        chain_head = self._chain_head or START
        return VerifyReport(
            self._entries,
            self._intents,
            (*self._findings, *more),
            chain_head.sequence,
            chain_head.digest if chain_head.sequence else "",
            self._facts,
        )
