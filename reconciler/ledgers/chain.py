"""The chain of a ledger's lines: each carries the digest of the line before. No IO here.

Each line also carries the highest number of a lock so far, so that the last line alone shows what
must not be written any more.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

from reconciler.errors import LedgerConflict, LedgerInvalid
from reconciler.ledgers.records import (
    JOINED,
    BadLine,
    Checkpoint,
    Marker,
    Record,
    decode_record,
    encode_record,
    is_count,
)
from reconciler.model import Action, Address, Entry, Intent, Json, LastApplied, Snapshot, StepResult
from reconciler.model.values import dataclass
from reconciler.text import json_text
from reconciler.text.json_text import encode_canonical, read_json

_NAME: Final = re.compile(r"ledger-[0-9]{1,18}-[0-9]{1,18}\.jsonl", re.ASCII)
_VERSION: Final = 2
# A step's line holds a few parts of one definition; a checkpoint all that is remembered.
LONGEST: Final = 64 << 20
# Values of a document nest in it: in its memories, and in the patches of what is open.
DEEPEST: Final = json_text.DEEPEST + 10
RESTORE: Final = (
    "Restore it from a backup; or begin it anew from what is live, the broken one kept aside:"
    " reconciler ledger rebuild. Only who applied what and when is forgotten."
)
_NOTHING: Final = f"sha256:{hashlib.sha256(b'').hexdigest()}"
_GONE: Final = (Action.DELETE, Action.FORGET)

Numbered: TypeAlias = tuple[str, int, bytes]
OpenArchive: TypeAlias = Callable[[str], Iterator[Numbered] | None]
"""A line without its end, after the name of what it stands in and its number there, from 1."""


@dataclass(frozen=True, slots=True)
class ChainHead:
    """Where a chain ends: what the next line must follow. `fence` is the highest so far."""

    sequence: int = 0
    digest: str = _NOTHING
    fence: int = 0


START: Final = ChainHead()


def digest_line(line: bytes) -> str:
    """The digest of a line without its end, as the next one carries it."""
    return f"sha256:{hashlib.sha256(line).hexdigest()}"


def join(chain_head: ChainHead, record: Record) -> bytes:
    """The line of a word that follows, with its end; raises BadLine for one that is too long."""
    document: dict[str, Json] = {
        **encode_record(record),
        "version": _VERSION,
        "sequence": chain_head.sequence + 1,
        "previous": chain_head.digest,
        "highest_fence": max(chain_head.fence, record.fence),
    }
    line = encode_canonical(document)
    if len(line) > LONGEST:
        raise BadLine(f"would be longer than {LONGEST >> 20} MiB")
    return line + b"\n"


def follow(chain_head: ChainHead | None, line: bytes) -> tuple[ChainHead, Record]:
    """Where the chain ends after a line, and what the line says; raises BadLine.

    A checkpoint may begin a chain: what was before it is then taken on its word. So may any line
    where nobody knows what was before it, which is what None stands for.
    """
    document = _parse(line)
    after = _chain_head_after(document, line)
    record = decode_record(document, after.sequence)
    begins = chain_head is not None and chain_head.sequence == 0 and isinstance(record, Checkpoint)
    if chain_head and not begins:
        follows = (chain_head.sequence + 1, chain_head.digest, max(chain_head.fence, record.fence))
        if (after.sequence, document.get("previous"), after.fence) != follows:
            raise BadLine("does not follow the line before it")
    return after, record


def chain_head_after(line: bytes) -> ChainHead:
    """Where a chain ends, by its last line alone; raises BadLine."""
    return _chain_head_after(_parse(line), line)


def _chain_head_after(document: Mapping[str, Json], line: bytes) -> ChainHead:
    return ChainHead(document["sequence"], digest_line(line), document["highest_fence"])


def _parse(line: bytes) -> dict[str, Json]:
    """A line's document, with the words of the chain in it."""
    if len(line) > LONGEST:
        raise BadLine(f"is longer than {LONGEST >> 20} MiB")
    try:
        document = read_json(line, deepest=DEEPEST)
    except ValueError as error:
        raise BadLine("is not JSON") from error
    if not isinstance(document, dict) or not is_count(document.get("sequence")):
        raise BadLine("is not an entry of a ledger")
    version = document.get("version")
    if type(version) is not int or version != _VERSION:
        raise BadLine(f"is not of version {_VERSION}, the only one known here")
    if not is_count(document.get("highest_fence")):
        raise BadLine("has no usable highest_fence")
    return document


def check_fence(fence: int, highest: int, subject: str) -> None:
    """Raise LedgerConflict where a later lock has been taken; 0 is of no lock, and may go on."""
    if 0 < fence < highest:
        raise LedgerConflict(
            f"somebody has taken the lock since: it is number {highest} now, and this was {fence}",
            subject=subject,
            next_step="The ledger was not written. Plan again once it is free.",
        )


def follow_all(lines: Iterable[Numbered]) -> Iterator[Record]:
    """What every line says; raises LedgerInvalid on reaching one that does not fit."""
    chain_head = START
    for name, number, line in lines:
        try:
            chain_head, record = follow(chain_head, line)
        except BadLine as error:
            raise invalid(name, number, error) from error
        yield record


def read_entries(lines: Iterable[Numbered], address: Address | None) -> Iterator[Entry]:
    """The entries of all lines, or those of one address, each with what its intent says.

    Raises LedgerInvalid on reaching a line that does not fit.
    """
    replay = Replay()
    for record in follow_all(lines):
        entry = replay.apply(record)
        if entry is not None and address in {None, entry.address}:
            yield entry


def invalid(name: str, number: int, why: BadLine) -> LedgerInvalid:
    """The error of a line that does not fit; `number` 0 stands for the last."""
    where = f"line {number}" if number else "the last line"
    return LedgerInvalid(f"{where} of the ledger {why}", subject=name, next_step=RESTORE)


class Replay:
    """What is remembered and what is open, line by line."""

    def __init__(self, moved: Mapping[Address, Address] | None = None) -> None:
        """`moved` maps addresses that were renamed to those by which they are remembered now."""
        self._moved = moved or {}
        self._last_applied_by_address: dict[Address, LastApplied] = {}
        self._open: dict[int, Intent] = {}
        self._known = False
        self._fence = 0

    @property
    def open(self) -> Mapping[int, Intent]:
        """The intents without an outcome so far, by sequence."""
        return self._open

    def apply(self, record: Record) -> Entry | None:
        """Go on by one line; returns its entry, where it has one, with what its intent says."""
        self._fence = max(self._fence, record.fence)
        self._known = self._known or not isinstance(record, Marker)
        match record:
            case Intent():
                self._open[record.sequence] = record
            case Checkpoint():
                self._last_applied_by_address = dict(record.last_applied_by_address)
                self._open = {intent.sequence: intent for intent in record.open}
            case Entry():
                return self._apply_entry(record)
        return None

    def _apply_entry(self, entry: Entry) -> Entry:
        intent = self._open.pop(entry.intent, None)
        if intent is not None:
            entry = replace(entry, **{name: getattr(intent, name) for name in JOINED})
        if entry.result is StepResult.DONE:
            if entry.action in _GONE:
                self._last_applied_by_address.pop(entry.address, None)
            else:
                self._last_applied_by_address[entry.address] = LastApplied.of(entry)
        return entry

    def snapshot(self) -> Snapshot:
        """The ledger as it is after the lines that were taken."""
        last_applied_by_address = dict(self._last_applied_by_address)
        for old, new in self._moved.items():
            if old in last_applied_by_address and new not in last_applied_by_address:
                last_applied_by_address[new] = last_applied_by_address.pop(old)
        left = tuple(
            replace(intent, address=self._moved.get(intent.address, intent.address))
            for intent in self._open.values()
        )
        return Snapshot(last_applied_by_address, self._known, left, self._fence)

    def checkpoint(self, archive: str, sha256: str, count: int) -> Checkpoint:
        """The line that stands for all that were taken."""
        return Checkpoint(
            archive,
            sha256,
            count,
            self._last_applied_by_address,
            tuple(self._open.values()),
            self._fence,
        )


def name_archive(last: int, count: int) -> str:
    """What an archive of `count` lines is called, of which `last` is the last one's sequence."""
    return f"ledger-{last - count + 1}-{last}.jsonl"


def begins_with_checkpoint(line: bytes) -> Checkpoint | None:
    """The checkpoint that a chain begins with, where that is what its first line says."""
    try:
        record = follow(ChainHead(), line)[1]
    except BadLine:
        return None  # told by whoever reads on
    return record if isinstance(record, Checkpoint) else None


def number_all(lines: Iterator[Numbered], open_archive: OpenArchive) -> Iterator[Numbered]:
    """The lines of all archives, oldest first, then those that are there now.

    Raises LedgerInvalid for an archive that is not there.
    """
    first = list(itertools.islice(lines, 1))
    parts = [itertools.chain(first, lines)]
    seen: set[str] = set()
    while first and (checkpoint := begins_with_checkpoint(first[0][2])):
        if not _NAME.fullmatch(checkpoint.archive) or checkpoint.archive in seen:
            raise invalid(first[0][0], first[0][1], BadLine("names no usable archive"))
        seen.add(checkpoint.archive)
        archive = open_archive(checkpoint.archive)
        if archive is None:
            raise LedgerInvalid(
                f"{checkpoint.archive}, an archive of the ledger, is missing",
                subject=first[0][0],
                next_step=RESTORE,
            )
        first = list(itertools.islice(archive, 1))
        parts.append(itertools.chain(first, archive))
    return itertools.chain.from_iterable(reversed(parts))
