"""Stores a chain of lines in append blobs, the segments, each with some thousand lines.

A line is one block, so that no reader sees a part of it. A line is appended only if the chain
still ends where its writer read it. If two writers append at once, the second reads the end again
and follows. A full segment ends with a line of kind `close`, and nothing is appended to it.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from typing import Final

from reconciler.errors import LedgerInvalid
from reconciler.ledgers.blob_client import (
    AppendResult,
    BlobItem,
    BlobNotFound,
    Container,
    PreconditionFailed,
    Unreachable,
)
from reconciler.ledgers.blob_copy import Copy
from reconciler.ledgers.chain import (
    LONGEST,
    RESTORE,
    START,
    ChainHead,
    Numbered,
    begins_with_checkpoint,
    chain_head_after,
    check_fence,
    check_size,
    invalid,
    join,
)
from reconciler.ledgers.records import BadLine, Marker, Record
from reconciler.model.values import dataclass

_NAME: Final = re.compile(r"[0-9]{6,}\.jsonl", re.ASCII)
_TAIL_BYTES: Final = 1 << 16
_ATTEMPTS: Final = 100
_SENDINGS: Final = 2
_UNCONFIRMED: Final = (
    "Storage did not answer, so it is not known whether the line was written. Try again when"
    " storage can be reached; reconciler ledger verify shows what is recorded."
)


@dataclass(frozen=True, slots=True)
class AppendPosition:
    """Where the next line is appended: the segment's number, the byte offset, the chain's head."""

    number: int = 1
    position: int = 0
    chain_head: ChainHead = START
    etag: str = ""


class Segments:
    """The segments of one ledger; safe to use from several threads and machines."""

    def __init__(self, container: Container, prefix: str, most_blocks: int) -> None:
        """`most_blocks` is the number of lines after which a segment is full."""
        self._container = container
        self._prefix = f"{prefix}ledger/"
        self.address = self.address_of(self._prefix)
        self._most_blocks = most_blocks
        self._lock = threading.Lock()
        self._append_position: AppendPosition | None = None

    def name_of(self, number: int) -> str:
        """Returns the name of a segment's blob."""
        return f"{self._prefix}{number:06}.jsonl"

    def find(self) -> list[BlobItem]:
        """Returns the existing segments, in order."""
        found = self._container.list_blobs(self._prefix)
        named = [one for one in found if _NAME.fullmatch(one.name.removeprefix(self._prefix))]
        return sorted(named, key=lambda one: self.number_of(one.name))

    def number_of(self, name: str) -> int:
        """Returns the number in a segment's name."""
        return int(name.removeprefix(self._prefix).removesuffix(".jsonl"))

    def read(self, *, bounded: bool = True) -> Copy:
        """Returns a copy of the segments since the last checkpoint; the caller closes it.

        With `bounded`, raises LedgerInvalid if they have more bytes than a command reads.
        """
        for _ in range(_ATTEMPTS):
            copy = Copy()
            try:
                self._read_back(self.find(), copy, bounded=bounded)
            except BlobNotFound:
                copy.close()  # compacted at the same time: the new segments are listed now
            except BaseException:
                copy.close()
                raise
            else:
                return copy
        raise self._busy()

    def _read_back(self, found: list[BlobItem], copy: Copy, *, bounded: bool) -> None:
        size = 0
        for one in reversed(found):
            size += one.size
            if bounded:
                check_size(size, self.address)
            copy.add_before(
                self.address_of(one.name), self._container.read_parts(one.name, 0, one.size)
            )
            if begins_with_checkpoint(copy.read_first_line()):
                break

    def address_of(self, name: str) -> str:
        """Returns a blob's address for messages."""
        return f"{self._container.address}/{name}"

    def number(self) -> Iterator[Numbered]:
        """Yields the lines since the last checkpoint, numbered in their segment."""
        with self.read() as copy:
            yield from copy.number()

    def find_append_position(self) -> AppendPosition:
        """Reads from storage where the next line is appended; raises LedgerInvalid."""
        for _ in range(_ATTEMPTS):
            try:
                return self._find_append_position()
            except BlobNotFound:
                continue  # compacted at the same time
        raise self._busy()

    def _find_append_position(self) -> AppendPosition:
        begun = [one for one in self.find() if one.size]
        if not begun:
            return AppendPosition()
        last = begun[-1]
        line = self._read_last(last)
        try:
            chain_head = chain_head_after(line)
        except BadLine as error:
            raise invalid(self.address_of(last.name), 0, error) from error
        number = self.number_of(last.name)
        if json.loads(line).get("kind") == "close":
            return AppendPosition(number + 1, 0, chain_head)
        return AppendPosition(number, last.size, chain_head, last.etag)

    def _read_last(self, segment: BlobItem) -> bytes:
        length = _TAIL_BYTES
        while True:
            start = max(0, segment.size - length)
            data = self._container.read(segment.name, start, segment.size - start)
            if not data.endswith(b"\n"):
                why = BadLine("is not whole")
                raise invalid(self.address_of(segment.name), 0, why)
            if len(data) > 2 * LONGEST and data.count(b"\n") < 2:
                why = BadLine(f"is longer than {LONGEST >> 20} MiB")
                raise invalid(self.address_of(segment.name), 0, why)
            if start == 0 or data.count(b"\n") > 1:
                return data[:-1].rpartition(b"\n")[2]
            length *= 4

    def append(self, record: Record) -> int:
        """Appends a record durably; returns its sequence.

        Raises LedgerConflict if a later lock was acquired, LedgerInvalid if it cannot be written.
        """
        with self._lock:
            for _ in range(_ATTEMPTS):
                append_position = self._append_position or self.find_append_position()
                self._append_position = None
                check_fence(
                    record.fence, append_position.chain_head.fence, self.address_of(self._prefix)
                )
                line = self._join(append_position, record)
                added = self._put(append_position, line)
                if added is not None:
                    self._go_on(append_position, line, added)
                    return append_position.chain_head.sequence + 1
        raise self._busy()

    def put(self, append_position: AppendPosition, line: bytes) -> bool:
        """Appends a line at this position; returns False if another writer was first."""
        with self._lock:
            self._append_position = None
            return self._put(append_position, line) is not None

    def _put(self, append_position: AppendPosition, line: bytes) -> AppendResult | None:
        """Returns the segment with the line in it; None if another writer was first.

        If the response is lost, it looks for the line at its position. If the line is not there, it
        is sent again. A line that fits only at its position cannot be appended twice.
        """
        name = self.name_of(append_position.number)
        for left in reversed(range(_SENDINGS)):
            try:
                if append_position.position == 0:
                    self._begin(name)
                return self._container.append(
                    name, line, append_position.position, append_position.etag
                )
            except (BlobNotFound, PreconditionFailed):
                return (
                    AppendResult(1)
                    if self._is_there(name, append_position.position, line)
                    else None
                )
            except Unreachable as error:
                if self._is_confirmed(name, append_position.position, line):
                    return AppendResult(1)
                if not left:
                    raise _unconfirmed(error) from None
        return None

    def _begin(self, name: str) -> None:
        try:
            self._container.begin(name)
        except PreconditionFailed:
            return  # another writer created it, and may not have appended to it

    def _is_there(self, name: str, position: int, line: bytes) -> bool:
        found = next((one for one in self.find() if one.name == name), None)
        if found is None or found.size < position + len(line):
            return False
        try:
            return self._container.read(name, position, len(line)) == line
        except BlobNotFound:
            return False

    def _is_confirmed(self, name: str, position: int, line: bytes) -> bool:
        """`_is_there` after a lost response; raises LedgerInvalid if this response is lost too."""
        try:
            return self._is_there(name, position, line)
        except Unreachable as error:
            raise _unconfirmed(error) from None

    def _go_on(self, append_position: AppendPosition, line: bytes, added: AppendResult) -> None:
        """Caches where the next line is appended, and closes a full segment.

        The first writer closes it; the next line is appended to the next segment.
        """
        chain_head = chain_head_after(line[:-1])
        after = AppendPosition(
            append_position.number, append_position.position + len(line), chain_head, added.etag
        )
        if added.blocks < self._most_blocks:
            self._append_position = after if added.etag else None
            return
        with contextlib.suppress(LedgerInvalid):
            # The record is written. If the close fails, the next append tries again.
            self._put(after, join(chain_head, Marker("close")))

    def _join(self, append_position: AppendPosition, record: Record) -> bytes:
        try:
            return join(append_position.chain_head, record)
        except BadLine as error:
            raise LedgerInvalid(
                f"a line of the ledger {error}",
                subject=self.address_of(self._prefix),
                next_step=RESTORE,
            ) from error

    def _busy(self) -> LedgerInvalid:
        return LedgerInvalid(
            "too many writers use the ledger at the same time",
            subject=self.address_of(self._prefix),
            next_step="Try again.",
        )


def _unconfirmed(error: Unreachable) -> LedgerInvalid:
    return LedgerInvalid(error.message, subject=error.subject, next_step=_UNCONFIRMED)
