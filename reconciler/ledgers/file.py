"""The ledger in a file of JSON lines; each line has the digest of the line before.

No line is ever rewritten, and a line is on disk before `record` returns. After a crash, readers
ignore an unfinished last line, and the next writer moves it to a file of its own. Any other
invalid line makes the ledger invalid. One writer at a time locks the file; the threads of this
process exclude each other first. Readers lock it only to find the end of the chain, so they never
see a part of an entry. open_ledger creates it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final

from reconciler.errors import LedgerInvalid
from reconciler.files import replace_file, sync_folder
from reconciler.ledgers.chain import (
    RESTORE,
    ChainHead,
    Numbered,
    Replay,
    advance,
    chain_head_after,
    check_end,
    check_fence,
    check_size,
    follow_all,
    invalid,
    join,
    name_archive,
    number_all,
    read_entries,
    read_facts,
    stamp,
)
from reconciler.ledgers.file_lock import FileLock, FileLockHandle
from reconciler.ledgers.line_file import (
    LocksMissing,
    append_durably,
    digest_part,
    find_end,
    find_end_shared,
    read_lines,
    read_parts,
    set_torn_aside,
)
from reconciler.ledgers.lock import (
    LOCK_NAME,
    Heartbeat,
    HeldLock,
    read_clock,
    wait_for,
    wait_for_turn,
)
from reconciler.ledgers.locked_file import LockedFile
from reconciler.ledgers.records import BadLine, Checkpoint, Record
from reconciler.ledgers.verify import TornTail, verify_lines
from reconciler.model import Address, Entry, Fact, Intent, LockOwner, Snapshot, VerifyReport
from reconciler.ports import Emit, Lease

NAME: Final = "ledger.jsonl"
# One for all ledgers of the process: it does not depend on what a file system promises.
_THREADS: Final = threading.Lock()
_UNREADABLE: Final = "Allow this user to read it, or set another folder in spec.ledger.path."
_UNWRITTEN: Final = "Free disk space or allow this user to write, then plan and apply again."
_UNCHANGED: Final = (
    "Free disk space or allow this user to write in its folder. The ledger was not changed."
)


class FileLedger:
    """The ledger of a project on one machine; safe to use from several threads and processes."""

    def __init__(
        self,
        folder: Path,
        moved: Mapping[Address, Address] | None = None,
        heartbeat: Heartbeat = Heartbeat(),  # noqa: B008 - it is frozen
        *,
        environment: str = "",
    ) -> None:
        """`moved` maps old addresses of renamed resources to current ones.

        Each line gets the name of the `environment`, if there is one.
        """
        self._folder = folder
        self._moved = moved or {}
        self._environment = environment
        self._file = folder / NAME
        self._heartbeat = heartbeat
        self._lock = FileLock(folder / LOCK_NAME, heartbeat)
        self._locked_file = LockedFile(self._file, _THREADS)
        # The last line that was read or appended, and the head of a chain that ends with it.
        self._last: tuple[bytes, ChainHead] = (b"", ChainHead())

    def load(self) -> Snapshot:
        """Returns the current state, in one read; LedgerInvalid names the first invalid line."""
        remembered = self._lock.find_remembered()
        with suppress(FileNotFoundError):
            check_size(self._file.stat().st_size, str(self._file))
        return self._replay(self._number(self._file), remembered).snapshot(remembered)

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
        with self._guarded("be locked", _UNCHANGED) as handle:
            end, last = find_end(handle)
            chain_head = self._read_chain_head(last)

            def check_lines(remembered: ChainHead) -> None:
                check_end(remembered, chain_head, str(self._file))
                if 0 < remembered.sequence < chain_head.sequence:
                    self._replay(self._number(self._file, end), remembered)

            acquired = self._lock.acquire(handle, lock_owner, chain_head, check_lines)
        lock_handle = FileLockHandle(
            self._lock, self._locked_file.lock, self._find_chain_head, acquired
        )
        return HeldLock(
            acquired,
            lock_handle,
            self._heartbeat,
            acquired_at=started,
            subject=str(self._lock.file),
        )

    def find_lock_owner(self) -> LockOwner | None:
        """Returns the current owner of the lock; None if it is free."""
        return self._lock.find_lock_owner()

    def unlock(self, lock_id: str) -> LockOwner:
        """Removes the lock with this id; raises ReconcilerError if no lock has it."""
        with self._guarded("be unlocked", _UNCHANGED) as handle:
            return self._lock.free(lock_id, self._find_chain_head(handle).fence)

    def intend(self, intent: Intent) -> int:
        """Appends an intent and flushes it to disk; returns its sequence.

        Raises LedgerInvalid if it cannot be written; then the file is unchanged. Raises
        LedgerConflict if a later lock was acquired.
        """
        with self._guarded("be written", _UNCHANGED) as handle:
            return self._append(handle, stamp(intent, self._environment))

    def record(self, record: Entry | Fact) -> None:
        """Appends an entry or a fact and flushes it to disk; raises the errors of `intend`."""
        with self._guarded("be written", _UNWRITTEN) as handle:
            self._append(handle, stamp(record, self._environment))

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
            self._find_torn_tail,
            lambda: (str(self._file), self._lock.read().chain_head),
        )

    def compact(self) -> str:
        """Archives the lines and starts again with a checkpoint that is chained to the archive.

        Returns the archive's name, or "" if there is nothing to archive. Raises LedgerInvalid.
        """
        with self._guarded("be compacted", _UNCHANGED) as handle:
            end = find_end(handle)[0]
            set_torn_aside(handle, self._file, end)
            replay, records = self._begin_replay(), 0
            for record in follow_all(self._number(self._file, end), replay):
                replay.apply(record)
                records += 1
            if records == 0 or (records == 1 and isinstance(record, Checkpoint)):
                return ""
            return self._begin_anew(handle, end, replay, records)

    def _begin_anew(self, handle: int, end: int, replay: Replay, count: int) -> str:
        last = self._find_chain_head(handle)
        name = name_archive(last.sequence, count)
        digest = digest_part(handle, 0, end)
        line = self._join(last, replay.checkpoint(name, digest, count))
        archive = self._folder / name
        # An archive of the same bytes is left from a compaction that was interrupted.
        if self._digest_archive(name) not in {"", digest}:
            raise FileExistsError(errno.EEXIST, f"{name} exists and is another file")
        replace_file(archive, parts=read_parts(handle, 0, end))
        replace_file(self._file, line)
        return name

    def set_aside(self, fence: int = 0) -> str:
        """Moves the ledger away, valid or not; returns its new location, or "" if empty.

        Raises LedgerConflict if a later lock than number `fence` was acquired; 0 means
        that the caller has no lock, because the ledger is not valid.
        """
        if not self._file.exists() and not self._lock.find_remembered().sequence:
            return ""
        with self._guarded("be moved away", _UNCHANGED) as handle:
            if fence:
                check_fence(fence, self._lock.read().fence, str(self._lock.file))
            self._lock.forget_head()
            size = os.fstat(handle).st_size
            if size == 0:
                return ""
            digest = digest_part(handle, 0, size)
            aside = self._file.with_name(f"{NAME}.aside-{digest[7:19]}")
            self._file.replace(aside)
            sync_folder(self._folder)
            return str(aside)

    @contextmanager
    def _guarded(self, what: str, next_step: str) -> Iterator[int]:
        """Opens the file, locked for writing; an OSError becomes LedgerInvalid."""
        try:
            with self._locked_file.lock() as handle:
                yield handle
        except BadLine as error:
            raise invalid(str(self._file), 0, error) from error
        except OSError as error:
            raise LedgerInvalid(
                f"the ledger cannot {what}: {error.strerror}",
                subject=str(self._file),
                next_step=next_step,
            ) from error

    def _append(self, handle: int, record: Entry | Intent | Fact) -> int:
        at, last = find_end(handle)
        chain_head = self._read_chain_head(last)
        if record.fence:
            highest = max(chain_head.fence, self._lock.read().fence)
            check_fence(record.fence, highest, str(self._lock.file))
        line = self._join(chain_head, record)
        set_torn_aside(handle, self._file, at)
        append_durably(handle, at, line)
        self._last = line.removesuffix(b"\n"), advance(chain_head, record, line)
        if at == 0:
            sync_folder(self._folder)
        return chain_head.sequence + 1

    def _find_chain_head(self, handle: int) -> ChainHead:
        return self._read_chain_head(find_end(handle)[1])

    def _read_chain_head(self, last: bytes) -> ChainHead:
        known, chain_head = self._last
        if last == known:
            return chain_head
        try:
            chain_head = chain_head_after(last) if last else ChainHead()
        except BadLine as error:
            raise invalid(str(self._file), 0, error) from error
        self._last = last, chain_head
        return chain_head

    def _join(self, chain_head: ChainHead, record: Record) -> bytes:
        try:
            return join(chain_head, record)
        except BadLine as error:
            raise LedgerInvalid(
                f"a line of the ledger {error}", subject=str(self._file), next_step=RESTORE
            ) from error

    def _begin_replay(self) -> Replay:
        return Replay(self._moved, self._environment)

    def _replay(self, lines: Iterator[Numbered], remembered: ChainHead) -> Replay:
        replay = self._begin_replay()
        for record in follow_all(lines, replay, remembered):
            replay.apply(record)
        return replay

    def _number_all(self) -> Iterator[Numbered]:
        return number_all(self._number(self._file), self._open_archive)

    def _open_archive(self, name: str) -> Iterator[Numbered] | None:
        archive = self._folder / name
        return self._number(archive) if archive.exists() else None

    def _digest_archive(self, name: str) -> str:
        """Returns the digest of an archive's bytes; empty if the archive does not exist."""
        try:
            with (self._folder / name).open("rb") as file:
                return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        except OSError:
            return ""

    def _find_torn_tail(self) -> TornTail | None:
        """Returns the place and size of an unfinished last line; None if all lines are whole."""
        try:
            with self._file.open("rb") as file:
                end = self._find_end_shared(file.fileno())
                lines = sum(1 for _ in read_lines(file, end))
                size = os.fstat(file.fileno()).st_size
        except OSError:
            return None
        return TornTail(str(self._file), lines + 1, size - end) if size > end else None

    def _find_end_shared(self, handle: int) -> int:
        try:
            return find_end_shared(handle)
        except LocksMissing as error:
            raise self._locked_file.describe_missing_locks() from error
        except BadLine as error:
            raise invalid(str(self._file), 0, error) from error
        except OSError as error:
            raise self._unreadable(self._file, error) from error

    def _unreadable(self, path: Path, error: OSError) -> LedgerInvalid:
        return LedgerInvalid(
            f"the ledger cannot be read: {error.strerror}",
            subject=str(path),
            next_step=_UNREADABLE,
        )

    def _number(self, path: Path, end: int | None = None) -> Iterator[Numbered]:
        """Yields the numbered whole lines before `end`; empty if the file does not exist.

        Without `end`, it finds the end under a shared lock. A caller that has locked the file must
        pass `end`.
        """
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unreadable(path, error) from error
        with file:
            name = str(path)
            end = self._find_end_shared(file.fileno()) if end is None else end
            for number, line in enumerate(read_lines(file, end), start=1):
                yield name, number, line
