"""The ledger in a container of blob storage, for teams: the same lines, in append blobs.

Nothing is ever rewritten there either. What one machine has recorded, every other one reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Final

from reconciler.errors import LedgerInvalid
from reconciler.ledgers.blob_client import BlobNotFound, Container, PreconditionFailed
from reconciler.ledgers.blob_lock import BlobLock
from reconciler.ledgers.blob_segments import AppendPosition, Segments, number_lines
from reconciler.ledgers.chain import (
    Numbered,
    Replay,
    begins_with_checkpoint,
    chain_head_after,
    follow_all,
    join,
    name_archive,
    number_all,
    read_entries,
)
from reconciler.ledgers.lock import Heartbeat, HeldLock, read_clock, wait_for
from reconciler.ledgers.records import BadLine, Checkpoint, Marker
from reconciler.ledgers.verify import verify_lines
from reconciler.model import Address, Entry, Intent, LockOwner, Snapshot, VerifyReport
from reconciler.ports import Emit, Lease

# Storage takes 50,000 blocks in one blob.
MOST_BLOCKS: Final = 10_000
_ATTEMPTS: Final = 10


class AzureBlobLedger:
    """The ledger of a project on many machines; threads and processes may use it at once."""

    def __init__(
        self,
        container: Container,
        prefix: str = "",
        moved: Mapping[Address, Address] | None = None,
        heartbeat: Heartbeat = Heartbeat(),  # noqa: B008 - it is frozen
        *,
        most_blocks: int = MOST_BLOCKS,
    ) -> None:
        """`prefix` stands before the name of every blob; `moved` is as in a ledger in a file."""
        self._container = container
        self._prefix = prefix
        self._moved = moved or {}
        self._heartbeat = heartbeat
        self._segments = Segments(container, prefix, most_blocks)
        self._lock = BlobLock(container, prefix, self._segments, heartbeat)

    def load(self) -> Snapshot:
        """Everything remembered, in one read; raises LedgerInvalid naming the first bad line."""
        replay = Replay(self._moved)
        for record in follow_all(self._segments.number()):
            replay.apply(record)
        return replay.snapshot()

    def lock(
        self, lock_owner: LockOwner, within_s: float, emit: Emit
    ) -> AbstractContextManager[Lease]:
        """Take the lock, waiting for it up to `within_s` seconds; raises LockHeld."""
        return wait_for(lambda: self._acquire(lock_owner), within_s, emit).keep_alive()

    def _acquire(self, lock_owner: LockOwner) -> HeldLock:
        started = read_clock()
        lock_handle = self._lock.acquire(lock_owner)
        return HeldLock(
            lock_handle.lock_owner,
            lock_handle,
            self._heartbeat,
            acquired_at=started,
            subject=self._lock.subject,
        )

    def find_lock_owner(self) -> LockOwner | None:
        """Who holds the lock now."""
        return self._lock.find_lock_owner()

    def unlock(self, lock_id: str) -> LockOwner:
        """Take the lock from whoever holds it by that id; raises ReconcilerError for none."""
        return self._lock.free(lock_id)

    def intend(self, intent: Intent) -> int:
        """Add an intent; storage has it when this returns its sequence.

        Raises LedgerInvalid where it cannot be written, LedgerConflict where a later lock has been
        taken.
        """
        return self._segments.append(intent)

    def record(self, entry: Entry) -> None:
        """Add an entry; storage has it when this returns. Raises as `intend` does."""
        self._segments.append(entry)

    def entries(self, address: Address | None = None) -> Iterator[Entry]:
        """The entries, archives included, oldest first, each with what its intent says.

        Raises LedgerInvalid on reaching a line that does not fit.
        """
        yield from read_entries(self._number_all(), address)

    def verify(self) -> VerifyReport:
        """Look at every line, archives included; nothing is raised for what does not fit."""
        return verify_lines(self._number_all, self._digest_archive, self._moved, lambda: None)

    def compact(self) -> str:
        """Begin anew with what is remembered, chained to what was; returns the archive's name.

        Empty where there is nothing to archive. Raises LedgerInvalid.
        """
        for _ in range(_ATTEMPTS):
            append_position = self._segments.find_append_position()
            parts = self._segments.read()
            data = b"".join(part for _, part in parts)
            if not data or (data.count(b"\n") == 1 and begins_with_checkpoint(data[:-1])):
                return ""
            if chain_head_after(data[:-1].rpartition(b"\n")[2]) != append_position.chain_head:
                continue  # a line was added between the two
            replay = Replay()
            for record in follow_all(line for part in parts for line in number_lines(*part)):
                replay.apply(record)
            name = self._archive(append_position, data, replay)
            if name:
                return name
        raise LedgerInvalid(
            "the ledger cannot be compacted: somebody writes to it all the time",
            subject=self._container.address,
            next_step="Try again when nobody works.",
        )

    def _archive(self, append_position: AppendPosition, data: bytes, replay: Replay) -> str:
        """Archive the lines and begin anew behind them; empty where somebody wrote meanwhile."""
        if append_position.position:
            close = join(append_position.chain_head, Marker("close"))
            if not self._segments.put(append_position, close):
                return ""
            data += close
            append_position = AppendPosition(
                append_position.number + 1, 0, chain_head_after(close[:-1])
            )
        count = data.count(b"\n")
        name = name_archive(append_position.chain_head.sequence, count)
        self._container.write(f"{self._prefix}{name}", data)
        checkpoint = replay.checkpoint(name, _digest(data), count)
        if not self._segments.put(append_position, self._join(append_position, checkpoint)):
            return ""
        for one in self._segments.find():
            if self._segments.number_of(one.name) < append_position.number:
                self._delete(one.name)
        return name

    def _join(self, append_position: AppendPosition, checkpoint: Checkpoint) -> bytes:
        try:
            return join(append_position.chain_head, checkpoint)
        except BadLine as error:
            raise LedgerInvalid(
                f"the ledger cannot be compacted: its line {error}",
                subject=self._container.address,
                next_step="Forget what is no longer managed, then try again.",
            ) from error

    def _delete(self, name: str) -> None:
        try:
            self._container.delete(name)
        except BlobNotFound:
            return  # by somebody who compacts as well

    def set_aside(self) -> str:
        """Move away whatever is there, whole or broken; returns where it is kept, or ""."""
        for _ in range(_ATTEMPTS):
            found = self._segments.find()
            try:
                data = b"".join(self._container.read(one.name, 0, one.size) for one in found)
                if not found:
                    return ""
                aside = f"{self._prefix}ledger.aside-{_digest(data)[7:19]}.jsonl"
                self._container.write(aside, data)
                # The last one first: whoever adds a line meanwhile has it kept.
                for one in reversed(found):
                    self._container.delete(one.name, one.etag)
            except (BlobNotFound, PreconditionFailed):
                continue
            return f"{self._container.address}/{aside}"
        raise LedgerInvalid(
            "the ledger cannot be moved away: somebody writes to it all the time",
            subject=self._container.address,
            next_step="Try again when nobody works.",
        )

    def _number_all(self) -> Iterator[Numbered]:
        return number_all(self._segments.number(), self._open_archive)

    def _open_archive(self, name: str) -> Iterator[Numbered] | None:
        data = self._read_archive(name)
        address = f"{self._container.address}/{self._prefix}{name}"
        return None if data is None else number_lines(address, data)

    def _digest_archive(self, name: str) -> str:
        """The digest of an archive's bytes; empty where there is none."""
        data = self._read_archive(name)
        return "" if data is None else _digest(data)

    def _read_archive(self, name: str) -> bytes | None:
        try:
            return self._container.read_all(f"{self._prefix}{name}").data
        except BlobNotFound:
            return None


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
