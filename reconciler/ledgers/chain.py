"""Encodes and checks the chain of a ledger's lines: each has the digest of the line before.

Each line ends with the digest of itself, so that the last line is as well protected as the others.
Lines of version 2 have no such digest; they are still read. Each line also has the highest fencing
token so far, so that the last line alone shows which writers are refused. The ledgers, the verifier
and the recovery call it. It does no IO. It is long because each rule of the chain protects the
others: a reader must see them together.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final, TypeAlias, TypeVar

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
from reconciler.model import (
    Action,
    Address,
    Entry,
    Fact,
    Finding,
    Intent,
    Json,
    LastApplied,
    Snapshot,
    StepResult,
    name_former,
)
from reconciler.model.values import dataclass
from reconciler.plans.history import rename
from reconciler.text import json_text
from reconciler.text.json_text import TooMuch, encode_canonical, read_json

_NAME: Final = re.compile(r"ledger-[0-9]{1,18}-[0-9]{1,18}\.jsonl", re.ASCII)
_VERSION: Final = 3
# Lines of version 2 have no digest of themselves.
_WITHOUT_DIGEST: Final = 2
_DIGEST: Final = b',"digest":"'
# A line of a step has a few parts of one definition; a checkpoint has the whole state.
LONGEST: Final = 64 << 20
# To read more takes longer than a minute. A compaction reads all.
MOST_BYTES: Final = 1 << 30
# A checkpoint nests values of documents in its memories and in the patches of open intents.
DEEPEST: Final = json_text.DEEPEST + 10
# A checkpoint of ten thousand resources has a few hundred values of each.
MOST_VALUES: Final = 3_000_000
_REBUILD: Final = (
    "or run reconciler ledger rebuild: it moves the invalid ledger away and creates a new one from"
    " the live state. Only who applied what, and when, is lost."
)
RESTORE: Final = f"Restore it from a backup, {_REBUILD}"
RESTORE_BOTH: Final = f"Restore it and its lock.json from the same backup, {_REBUILD}"
_NOTHING: Final = f"sha256:{hashlib.sha256(b'').hexdigest()}"
_GONE: Final = (Action.DELETE, Action.FORGET)

_OTHER_ENVIRONMENT: Final = (
    "Name the environment that the line belongs to, or give each environment a ledger of its own in"
    " spec.ledger."
)

Numbered: TypeAlias = tuple[str, int, bytes]
OpenArchive: TypeAlias = Callable[[str], Iterator[Numbered] | None]
_Identity: TypeAlias = tuple[str, str]
_Line = TypeVar("_Line", bound=Entry | Intent | Fact)
"""The name of a file or blob, the line's number in it from 1, and the line without its end."""


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The last line of a chain, which the next line must follow; `fence` is the highest so far.

    A line of an older `version` must not follow.
    """

    sequence: int = 0
    digest: str = _NOTHING
    fence: int = 0
    version: int = _WITHOUT_DIGEST


START: Final = ChainHead()


def digest_line(line: bytes) -> str:
    """Returns the digest of a line without its end; the next line contains it."""
    return f"sha256:{hashlib.sha256(line).hexdigest()}"


def stamp(record: _Line, environment: str) -> _Line:
    """Returns a record with the name of the ledger's environment, if it has one."""
    return replace(record, environment=environment) if environment else record


def join(chain_head: ChainHead, record: Record) -> bytes:
    """Returns the next line for a record, with its end; raises BadLine if it is too long."""
    document: dict[str, Json] = {
        **encode_record(record),
        "version": _VERSION,
        "sequence": chain_head.sequence + 1,
        "previous": chain_head.digest,
        "highest_fence": max(chain_head.fence, record.fence),
    }
    line = seal(document)
    if len(line) > LONGEST:
        raise BadLine(f"would be longer than {LONGEST >> 20} MiB")
    return line + b"\n"


def advance(chain_head: ChainHead, record: Record, line: bytes) -> ChainHead:
    """Returns the head of a chain after the line that `join` made, as `chain_head_after` does."""
    fence = max(chain_head.fence, record.fence)
    digest = digest_line(line.removesuffix(b"\n"))
    return ChainHead(chain_head.sequence + 1, digest, fence, _VERSION)


def seal(document: Mapping[str, Json]) -> bytes:
    """Returns the line of a document, with the digest of the line as its last member."""
    line = encode_canonical(document)
    return b"".join((line[:-1], _DIGEST, digest_line(line).encode(), b'"}'))


def _is_sealed(line: bytes) -> bool:
    """Whether the digest at the end of a line is the digest of the bytes before it."""
    before, _, end = line.rpartition(_DIGEST)
    digest = hashlib.sha256(before)
    digest.update(b"}")
    return end == f'sha256:{digest.hexdigest()}"}}'.encode()


def follow(chain_head: ChainHead | None, line: bytes) -> tuple[ChainHead, Record]:
    """Returns the chain's head after a line, and the line's record; raises BadLine.

    A checkpoint may begin a chain; the lines before it are then not checked. A `chain_head` of None
    means that the line before is not known; then any line is accepted.
    """
    document = _parse(line)
    after = _chain_head_after(document, line)
    record = decode_record(document, after.sequence)
    begins = chain_head is not None and chain_head.sequence == 0 and isinstance(record, Checkpoint)
    if chain_head and not begins:
        follows = (chain_head.sequence + 1, chain_head.digest, max(chain_head.fence, record.fence))
        found = (after.sequence, document.get("previous"), after.fence)
        if found != follows or after.version < chain_head.version:
            raise BadLine("does not follow the line before it")
    return after, record


def chain_head_after(line: bytes) -> ChainHead:
    """Returns the head of a chain from its last line alone; raises BadLine."""
    return _chain_head_after(_parse(line), line)


def _chain_head_after(document: Mapping[str, Json], line: bytes) -> ChainHead:
    fields = (document[name] for name in ("highest_fence", "version"))
    return ChainHead(document["sequence"], digest_line(line), *fields)


def _parse(line: bytes) -> dict[str, Json]:
    """Returns a line's document; checks the fields of the chain; raises BadLine."""
    if len(line) > LONGEST:
        raise BadLine(f"is longer than {LONGEST >> 20} MiB")
    try:
        document = read_json(line, deepest=DEEPEST, most_values=MOST_VALUES)
    except ValueError as error:
        said = f"cannot be read: {error}" if isinstance(error, TooMuch) else "is not JSON"
        raise BadLine(said) from error
    if not isinstance(document, dict) or not is_count(document.get("sequence")):
        raise BadLine("is not an entry of a ledger")
    version = document.get("version")
    if type(version) is not int or not _WITHOUT_DIGEST <= version <= _VERSION:
        raise BadLine(f"is not of version {_WITHOUT_DIGEST} or {_VERSION}, the supported versions")
    if version > _WITHOUT_DIGEST and not _is_sealed(line):
        raise BadLine("was changed since it was written: it does not have its own digest")
    if not is_count(document.get("highest_fence")):
        raise BadLine("has no usable highest_fence")
    return document


def check_size(size: int, subject: str) -> None:
    """Raises LedgerInvalid if the lines of a ledger, in bytes, are more than a command reads."""
    if size > MOST_BYTES:
        raise LedgerInvalid(
            f"the ledger has more than {MOST_BYTES >> 20:,} MiB since its last checkpoint",
            subject=subject,
            next_step="Archive its lines with: reconciler ledger compact",
        )


def check_fence(fence: int, highest: int, subject: str) -> None:
    """Raises LedgerConflict if a later lock was acquired; fence 0 (no lock) is accepted."""
    if 0 < fence < highest:
        raise LedgerConflict(
            f"another process acquired the lock: its number is now {highest}, and ours was {fence}",
            subject=subject,
            next_step="The ledger was not written. Plan again when the lock is free.",
        )


def find_loss(remembered: ChainHead, chain_head: ChainHead) -> str:
    """Returns what a chain that ends with this head has lost; "" if it may have lost nothing.

    `remembered` is an earlier head of the same chain.
    """
    if chain_head.sequence < remembered.sequence:
        if not chain_head.sequence:
            return f"the ledger is empty, and its lock remembers sequence {remembered.sequence}"
        return (
            "the last lines of the ledger are missing: it ends with sequence"
            f" {chain_head.sequence}, and its lock remembers sequence {remembered.sequence}"
        )
    if chain_head.sequence == remembered.sequence and chain_head.digest != remembered.digest:
        return (
            f"the line with sequence {remembered.sequence} was changed:"
            " the lock of the ledger remembers another digest"
        )
    return ""


def check_end(remembered: ChainHead, chain_head: ChainHead, subject: str) -> None:
    """Raises LedgerInvalid if a chain that ends with this head has lost lines."""
    lost = find_loss(remembered, chain_head)
    if lost:
        raise LedgerInvalid(lost, subject=subject, next_step=RESTORE_BOTH)


def follow_all(
    lines: Iterable[Numbered], replay: Replay, remembered: ChainHead = START
) -> Iterator[Record]:
    """Yields the record of every line, which the caller applies to `replay`.

    Raises LedgerInvalid at the first invalid line, or if lines before `remembered`, an earlier head
    of the chain, are missing or changed. A ledger without any line is accepted.
    """
    chain_head, name = START, ""
    for name, number, line in lines:
        try:
            chain_head, record = follow(chain_head, line)
            replay.check(record)
        except BadLine as error:
            raise invalid(name, number, error) from error
        if chain_head.sequence == remembered.sequence:
            check_end(remembered, chain_head, f"{name}:{number}")
        yield record
    if chain_head.sequence:
        check_end(remembered, chain_head, name)


def read_entries(
    lines: Iterable[Numbered], replay: Replay, address: Address | None
) -> Iterator[Entry]:
    """Yields the entries of all addresses or of one, with the fields of their intents.

    `replay` is a new one. Raises LedgerInvalid at the first invalid line.
    """
    for record in follow_all(lines, replay):
        entry = replay.apply(record)
        if entry is not None and address in {None, entry.address}:
            yield entry


def read_facts(lines: Iterable[Numbered], replay: Replay, topic: str) -> Iterator[Fact]:
    """Yields the facts of a topic, oldest first. Raises LedgerInvalid at the first invalid line.

    `replay` is a new one.
    """
    for record in follow_all(lines, replay):
        replay.apply(record)
        if isinstance(record, Fact) and record.topic == topic:
            yield record


def invalid(name: str, number: int, why: BadLine) -> LedgerInvalid:
    """Returns the error for an invalid line; `number` 0 means the last line."""
    where = f"line {number}" if number else "the last line"
    next_step = why.next_step or RESTORE
    return LedgerInvalid(f"{where} of the ledger {why}", subject=name, next_step=next_step)


def _identity(address: Address, resource_id: str) -> _Identity:
    """Returns what distinguishes a resource from all others: its kind and its casefolded id."""
    return address.kind, resource_id.casefold()


class Replay:
    """Computes the last applied states and the open intents, line by line."""

    def __init__(
        self, moved: Mapping[Address, Address] | None = None, environment: str = ""
    ) -> None:
        """`moved` maps old addresses of renamed resources to current ones.

        A line of another environment than `environment` is not valid.
        """
        self._moved = moved or {}
        self._environment = environment
        self._last_applied_by_address: dict[Address, LastApplied] = {}
        # What an address meant before, and where the state of each resource is.
        self._former: dict[_Identity, tuple[Address, LastApplied]] = {}
        self._addresses: dict[_Identity, Address] = {}
        self._open: dict[int, Intent] = {}
        self._facts: dict[tuple[str, str], Fact] = {}
        self._known = False
        self._is_empty = True
        self._fence = 0

    def check(self, record: Record) -> None:
        """Raises BadLine if a record is not the outcome of the intent that it names.

        Also raises it if the record belongs to another environment.
        """
        self._check_environment(record)
        if not isinstance(record, Entry) or not record.intent:
            return
        intent = self._open.get(record.intent)
        if intent is None:
            raise BadLine(f"is the outcome of line {record.intent}, which is not an open intent")
        if self._now(intent.address) != self._now(record.address):
            addresses = f"{intent.address}, and of {record.address}"
            raise BadLine(f"is the outcome of an intent of {addresses}")

    def _check_environment(self, record: Record) -> None:
        """A line without an environment is accepted: the project had none when it was written."""
        for name in _list_environments(record):
            if name not in {"", self._environment}:
                here = f'this is "{self._environment}"' if self._environment else "this has none"
                said = f'belongs to the environment "{name}", and {here}'
                raise BadLine(said, next_step=_OTHER_ENVIRONMENT)

    def _now(self, address: Address) -> Address:
        return rename(address, self._moved)

    def apply(self, record: Record) -> Entry | None:
        """Applies one record; returns an entry with the fields of its intent, otherwise None."""
        self._fence = max(self._fence, record.fence)
        self._is_empty = False
        # A fact says nothing about resources: with facts alone nothing is known of them.
        self._known = self._known or not isinstance(record, (Marker, Fact))
        match record:
            case Intent():
                self._open[record.sequence] = record
            case Fact():
                self._facts[record.topic, record.subject] = record
            case Checkpoint():
                for states in (self._last_applied_by_address, self._former, self._addresses):
                    states.clear()
                for address, last_applied in record.states:
                    self._set_state(address, last_applied)
                self._open = {intent.sequence: intent for intent in record.open}
                self._facts = {(one.topic, one.subject): one for one in record.facts}
            case Entry():
                return self._apply_entry(record)
        return None

    def _apply_entry(self, entry: Entry) -> Entry:
        intent = self._open.pop(entry.intent, None)
        if intent is not None:
            entry = replace(entry, **{name: getattr(intent, name) for name in JOINED})
        if entry.result is StepResult.DONE:
            if entry.action in _GONE:
                self._drop_state(_identity(entry.address, entry.id))
            else:
                self._set_state(entry.address, LastApplied.of(entry))
        return entry

    def _set_state(self, address: Address, last_applied: LastApplied) -> None:
        """Sets the state of a resource; what its address meant before becomes a former resource."""
        identity = _identity(address, last_applied.id)
        if self._addresses.get(identity) != address:
            self._drop_state(identity)
        before = self._last_applied_by_address.get(address)
        if before is not None and not before.has_id(last_applied.id):
            other = _identity(address, before.id)
            self._former[other] = (address, before)
            del self._addresses[other]
        self._last_applied_by_address[address] = last_applied
        self._addresses[identity] = address

    def _drop_state(self, identity: _Identity) -> None:
        """Removes the state of a resource, under whatever address it is."""
        self._former.pop(identity, None)
        address = self._addresses.pop(identity, None)
        if address is not None:
            del self._last_applied_by_address[address]

    def snapshot(self, remembered: ChainHead = START) -> Snapshot:
        """Returns the state after the applied lines; `remembered` is the head that a lock has."""
        states = dict(self._last_applied_by_address)
        moved: dict[Address, Address] = {}
        for old in self._moved:
            new = self._now(old)
            if old in states and new not in states:
                states[new], moved[new] = states.pop(old), old
        renamed = ((self._now(address), state) for address, state in self._former.values())
        named, former = name_former(renamed, states)
        left = tuple(
            replace(intent, address=self._now(intent.address)) for intent in self._open.values()
        )
        facts = dict(self._facts)
        lost = find_loss(remembered, START) if self._is_empty else ""
        refused = f"{lost}: apply will refuse to run"
        warning = Finding(refused, next_step=RESTORE_BOTH, severity="warning") if lost else None
        states = {**states, **named}
        return Snapshot(states, self._known, left, self._fence, former, moved, facts, warning)

    def checkpoint(self, archive: str, sha256: str, count: int) -> Checkpoint:
        """Returns a checkpoint that replaces all applied lines."""
        return Checkpoint(
            archive,
            sha256,
            count,
            (*self._former.values(), *self._last_applied_by_address.items()),
            tuple(self._open.values()),
            tuple(self._facts.values()),
            self._fence,
        )


def _list_environments(record: Record) -> Iterator[str]:
    if isinstance(record, Checkpoint):
        for _, state in record.states:
            yield state.environment
        yield from (intent.environment for intent in record.open)
        yield from (fact.environment for fact in record.facts)
    elif not isinstance(record, Marker):
        yield record.environment


def name_archive(last: int, count: int) -> str:
    """Returns the name of an archive of `count` lines; `last` is the last line's sequence."""
    return f"ledger-{last - count + 1}-{last}.jsonl"


def begins_with_checkpoint(line: bytes) -> Checkpoint | None:
    """Returns the checkpoint of a chain's first line; None if it is not a checkpoint."""
    try:
        record = follow(ChainHead(), line)[1]
    except BadLine:
        return None  # the reader of the chain reports it
    return record if isinstance(record, Checkpoint) else None


def number_all(lines: Iterator[Numbered], open_archive: OpenArchive) -> Iterator[Numbered]:
    """Returns the lines of all archives, oldest first, then the current lines.

    Raises LedgerInvalid if an archive is missing.
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
