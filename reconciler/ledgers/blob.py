"""The ledger in a container of blob storage, for teams: the lines of file.py, in append blobs.

No line is ever rewritten, and every machine reads what any machine recorded. open_ledger creates
it. The calls of the storage library are in blob_client.py, the segments in blob_segments.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import IO, Final

from reconciler.errors import LedgerInvalid
from reconciler.ledgers.blob_client import BlobNotFound, Container, PreconditionFailed
from reconciler.ledgers.blob_copy import Copy
from reconciler.ledgers.blob_lock import BlobLock
from reconciler.ledgers.blob_segments import AppendPosition, Segments
from reconciler.ledgers.chain import (
    ChainHead,
    Numbered,
    Replay,
    begins_with_checkpoint,
    chain_head_after,
    check_end,
    check_fence,
    follow_all,
    join,
    name_archive,
    number_all,
    read_entries,
    read_facts,
    stamp,
)
from reconciler.ledgers.lock import (
    LOCK_NAME,
    Heartbeat,
    HeldLock,
    read_clock,
    wait_for,
    wait_for_turn,
)
from reconciler.ledgers.records import BadLine, Checkpoint, Marker
from reconciler.ledgers.verify import verify_lines
from reconciler.model import Address, Entry, Fact, Intent, LockOwner, Snapshot, VerifyReport
from reconciler.ports import Emit, Lease

# Storage allows 50,000 blocks in one blob.
MOST_BLOCKS: Final = 10_000
_ATTEMPTS: Final = 10


class AzureBlobLedger:
    """The ledger of a project on many machines; safe to use from several threads and processes."""

    def __init__(
        self,
        container: Container,
        prefix: str = "",
        moved: Mapping[Address, Address] | None = None,
        heartbeat: Heartbeat = Heartbeat(),  # noqa: B008 - it is frozen
        *,
        most_blocks: int = MOST_BLOCKS,
        environment: str = "",
    ) -> None:
        """`prefix` begins the name of every blob; `moved` maps old addresses to current ones.

        Each line gets the name of the `environment`, if there is one.
        """
        self._container = container
        self._prefix = prefix
        self._moved = moved or {}
        self._environment = environment
        self._heartbeat = heartbeat
        self._segments = Segments(container, prefix, most_blocks)
        self._lock = BlobLock(container, f"{prefix}{LOCK_NAME}", heartbeat, self._segments)

    def load(self) -> Snapshot:
        """Returns the current state, in one read; LedgerInvalid names the first invalid line."""
        # Before the lines: a later head may belong to lines that are not read yet.
        remembered = self._lock.find_remembered()
        return self._replay(remembered).snapshot(remembered)

    def _begin_replay(self) -> Replay:
        return Replay(self._moved, self._environment)

    def _replay(self, remembered: ChainHead) -> Replay:
        replay = self._begin_replay()
        for record in follow_all(self._segments.number(), replay, remembered):
            replay.apply(record)
        return replay

    def lock(
        self, lock_owner: LockOwner, within_s: float, emit: Emit
    ) -> AbstractContextManager[Lease]:
        """Acquires the lock; waits for it up to `within_s` seconds, then raises LockHeld.

        While its owner yields, it waits for its turn first.
        """

        def acquire() -> HeldLock:
            note = self._lock.note
            return wait_for_turn(lambda: self._acquire(lock_owner), lock_owner, note, emit)

        return wait_for(acquire, within_s, emit).keep_alive()

    def _acquire(self, lock_owner: LockOwner) -> HeldLock:
        started = read_clock()
        lock_handle = self._lock.acquire(lock_owner, self._check_lines)
        return HeldLock(
            lock_handle.lock_owner,
            lock_handle,
            self._heartbeat,
            acquired_at=started,
            subject=self._lock.subject,
        )

    def _check_lines(self, remembered: ChainHead) -> ChainHead:
        """Returns the head; raises LedgerInvalid if lines before the remembered one are lost."""
        chain_head = self._segments.find_append_position().chain_head
        check_end(remembered, chain_head, self._segments.address)
        if 0 < remembered.sequence < chain_head.sequence:
            self._replay(remembered)
        return chain_head

    def find_lock_owner(self) -> LockOwner | None:
        """Returns the current owner of the lock; None if it is free."""
        return self._lock.find_lock_owner()

    def unlock(self, lock_id: str) -> LockOwner:
        """Removes the lock with this id; raises ReconcilerError if no lock has it."""
        return self._lock.free(lock_id)

    def intend(self, intent: Intent) -> int:
        """Appends an intent durably; returns its sequence.

        Raises LedgerInvalid if it cannot be written, LedgerConflict if a later lock was acquired.
        """
        return self._segments.append(stamp(intent, self._environment))

    def record(self, record: Entry | Fact) -> None:
        """Appends an entry or a fact durably; raises the errors of `intend`."""
        self._segments.append(stamp(record, self._environment))

    def entries(self, address: Address | None = None) -> Iterator[Entry]:
        """Yields the entries with the fields of their intents, oldest first, archives included.

        Raises LedgerInvalid at the first invalid line.
        """
        yield from read_entries(self._number_all(), self._begin_replay(), address)

    def facts(self, topic: str) -> Iterator[Fact]:
        """Yields the facts of a topic, oldest first; raises the error of `entries`."""
        yield from read_facts(self._number_all(), self._begin_replay(), topic)

    def verify(self) -> VerifyReport:
        """Checks every line, archives included; returns invalid lines as findings."""
        return verify_lines(
            self._number_all,
            self._digest_archive,
            self._begin_replay(),
            lambda: None,
            lambda: (self._segments.address, self._lock.read_remembered()),
        )

    def compact(self) -> str:
        """Archives the lines and starts again with a checkpoint that is chained to the archive.

        Returns the archive's name, or "" if there is nothing to archive. Raises LedgerInvalid.
        """
        for _ in range(_ATTEMPTS):
            append_position = self._segments.find_append_position()
            with self._segments.read(bounded=False) as copy:
                name = self._compact(append_position, copy)
            if name is not None:
                return name
        raise LedgerInvalid(
            "the ledger cannot be compacted: other writers keep adding lines",
            subject=self._container.address,
            next_step="Try again when no other command writes to it.",
        )

    def _compact(self, append_position: AppendPosition, copy: Copy) -> str | None:
        """Returns the archive's name, "" if there is nothing to archive, None to try again."""
        replay, count, last = self._begin_replay(), 0, b""

        def lines() -> Iterator[Numbered]:
            nonlocal count, last
            for numbered in copy.number():
                count, last = count + 1, numbered[2]
                yield numbered

        for record in follow_all(lines(), replay):
            replay.apply(record)
        if not count or (count == 1 and begins_with_checkpoint(last)):
            return ""
        if chain_head_after(last) != append_position.chain_head:
            return None  # a line was added between the two reads
        return self._archive(append_position, copy, count, replay)

    def _archive(
        self, append_position: AppendPosition, copy: Copy, count: int, replay: Replay
    ) -> str | None:
        """Archives the lines and adds a checkpoint; returns None if another writer was first."""
        close = b""
        if append_position.position:
            close = join(append_position.chain_head, Marker("close"))
            if not self._segments.put(append_position, close):
                return None
            count += 1
            append_position = AppendPosition(
                append_position.number + 1, 0, chain_head_after(close[:-1])
            )
        name = name_archive(append_position.chain_head.sequence, count)
        with copy.join(close) as joined:
            digest = _digest(joined)
            self._container.write(f"{self._prefix}{name}", joined)
        checkpoint = replay.checkpoint(name, digest, count)
        if not self._segments.put(append_position, self._join(append_position, checkpoint)):
            return None
        for one in self._segments.find():
            if self._segments.number_of(one.name) < append_position.number:
                self._delete(one.name)
        return name

    def _join(self, append_position: AppendPosition, checkpoint: Checkpoint) -> bytes:
        try:
            return join(append_position.chain_head, checkpoint)
        except BadLine as error:
            raise LedgerInvalid(
                f"the ledger cannot be compacted: the checkpoint {error}",
                subject=self._container.address,
                next_step="Remove unused resources with reconciler forget, then try again.",
            ) from error

    def _delete(self, name: str) -> None:
        try:
            self._container.delete(name)
        except BlobNotFound:
            return  # another process compacts too

    def set_aside(self, fence: int = 0) -> str:
        """Moves the ledger away, valid or not; returns its new location, or "" if empty.

        Raises LedgerConflict if a later lock than number `fence` was acquired; 0 means
        that the caller has no lock, because the ledger is not valid.
        """
        self._check_fence(fence)
        self._lock.forget_head()
        for _ in range(_ATTEMPTS):
            found = self._segments.find()
            self._check_fence(fence)
            try:
                if not found:
                    return ""
                with Copy() as copy:
                    for one in reversed(found):
                        copy.add_before(one.name, self._container.read_parts(one.name, 0, one.size))
                    with copy.join() as joined:
                        aside = f"{self._prefix}ledger.aside-{_digest(joined)[7:19]}.jsonl"
                        self._container.write(aside, joined)
                # The last one first: its ETag proves that no line was added meanwhile.
                for one in reversed(found):
                    self._container.delete(one.name, one.etag)
            except (BlobNotFound, PreconditionFailed):
                continue
            return f"{self._container.address}/{aside}"
        raise LedgerInvalid(
            "the ledger cannot be moved away: other writers keep adding lines",
            subject=self._container.address,
            next_step="Try again when no other command writes to it.",
        )

    def _check_fence(self, fence: int) -> None:
        if fence:
            chain_head = self._segments.find_append_position().chain_head
            check_fence(fence, chain_head.fence, self._lock.subject)

    def _number_all(self) -> Iterator[Numbered]:
        return number_all(self._segments.number(), self._open_archive)

    def _open_archive(self, name: str) -> Iterator[Numbered] | None:
        copy = self._copy_archive(name)
        return None if copy is None else _number_once(copy)

    def _digest_archive(self, name: str) -> str:
        """Returns the digest of an archive's bytes; empty if the archive does not exist."""
        copy = self._copy_archive(name)
        if copy is None:
            return ""
        with copy, copy.join() as joined:
            return _digest(joined)

    def _copy_archive(self, name: str) -> Copy | None:
        """Returns a copy of an archive, which the caller closes; None if it does not exist."""
        blob, copy = f"{self._prefix}{name}", Copy()
        try:
            size = self._container.find_size(blob)
            copy.add_before(
                f"{self._container.address}/{blob}", self._container.read_parts(blob, 0, size)
            )
        except BlobNotFound:
            copy.close()
            return None
        except BaseException:
            copy.close()
            raise
        return copy


def _number_once(copy: Copy) -> Iterator[Numbered]:
    with copy:
        yield from copy.number()


def _digest(file: IO[bytes]) -> str:
    return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"  # type: ignore[arg-type]
