"""The ledger in a file: JSON lines, each carrying the digest of the line before.

Nothing is ever rewritten. A line is on the disk before `record` returns; a line that a crash
left half-written is passed over by readers and set aside by the next writer. Holds no secret: an
entry knows which version label of a secret was written, never its value.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from reconciler.errors import LedgerInvalid
from reconciler.model import Action, Address, Entry, Json, Memory, Snapshot
from reconciler.plan import canonical

NAME: Final = "ledger.jsonl"
VERSION: Final = 1
_START: Final = f"sha256:{hashlib.sha256(b'').hexdigest()}"
_REBUILD: Final = (
    "Restore the file from a backup, or move it away: a plan needs no ledger, it only forgets"
    " who applied what."
)


class FileLedger:
    """The ledger of a project on one machine; several processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / NAME

    def load(self) -> Snapshot:
        """What was applied last, by resource. Raises LedgerInvalid naming the first bad line."""
        memories: dict[Address, Memory] = {}
        for sequence, line in self._lines():
            entry = _read_entry(line)
            if entry.action is Action.DELETE:
                memories.pop(entry.address, None)
            else:
                memories[entry.address] = _remember(entry, sequence)
        return Snapshot(memories, self._file.exists())

    def entries(self, address: Address | None = None) -> Iterator[Entry]:
        """The entries, oldest first."""
        for _, line in self._lines():
            entry = _read_entry(line)
            if address in {None, entry.address}:
                yield entry

    def record(self, entry: Entry) -> None:
        """Append an entry; it is on the disk when this returns. Raises LedgerInvalid where not."""
        try:
            with self._locked() as handle:
                self._append(handle, entry)
        except OSError as error:
            raise LedgerInvalid(
                f"the ledger cannot be written: {error.strerror}",
                subject=str(self._file),
                next_step="What was just applied is live but not recorded. Make room or give"
                " leave to write, then apply again.",
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, open and locked; made, with its folder, where it is not there yet."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        handle = os.open(self._file, flags, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle
        finally:
            os.close(handle)

    def _append(self, handle: int, entry: Entry) -> None:
        end = self._set_torn_tail_aside(handle)
        sequence, previous = self._last(handle, end)
        line = canonical(
            {"version": VERSION, "sequence": sequence + 1, "previous": previous, **_said(entry)}
        )
        data = line.encode("utf-8", "surrogatepass") + b"\n"
        try:
            _write_whole(handle, data)
            os.fsync(handle)
        except OSError:
            # Half a line must not stay: the next reader would have to guess what it meant.
            os.ftruncate(handle, end)
            raise
        if end == 0:
            _sync_folder(self._folder)

    def _set_torn_tail_aside(self, handle: int) -> int:
        """Where the next line begins; bytes after the last whole line go to a file of their own."""
        size = os.fstat(handle).st_size
        tail = _tail(handle, size)
        torn = tail.rpartition(b"\n")[2]
        if not torn:
            return size
        aside = self._folder / f"{NAME}.torn-{hashlib.sha256(torn).hexdigest()[:12]}"
        aside.write_bytes(torn)
        os.ftruncate(handle, size - len(torn))
        return size - len(torn)

    def _last(self, handle: int, end: int) -> tuple[int, str]:
        """The sequence and digest that the next entry follows."""
        line = _tail(handle, end).rstrip(b"\n").rpartition(b"\n")[2]
        if not line:
            return 0, _START
        return _parse(line, self._file)["sequence"], _digest(line)

    def _lines(self) -> Iterator[tuple[int, Json]]:
        """The chain, checked line by line."""
        try:
            file = self._file.open("rb")
        except FileNotFoundError:
            return
        except OSError as error:
            raise LedgerInvalid(
                f"the ledger cannot be read: {error.strerror}", subject=str(self._file)
            ) from error
        previous = _START
        with file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
                document = _parse(line, self._file, number)
                if document["previous"] != previous or document["sequence"] != number:
                    raise _broken(self._file, number, "does not follow the line before it")
                previous = _digest(line[:-1])
                yield number, document


_TAIL: Final = 1 << 16


def _tail(handle: int, end: int) -> bytes:
    """The last whole line before `end` and what follows it; reads more where lines are long."""
    length = _TAIL
    while True:
        start = max(0, end - length)
        data = os.pread(handle, end - start, start)
        if start == 0 or data.rstrip(b"\n").count(b"\n") >= 2:
            return data
        length *= 4


def _write_whole(handle: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(line: bytes) -> str:
    return f"sha256:{hashlib.sha256(line).hexdigest()}"


def _parse(line: bytes, file: Path, number: int = 0) -> Json:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise _broken(file, number, "is no JSON") from error
    if not isinstance(document, dict) or not {"version", "sequence", "previous"} <= set(document):
        raise _broken(file, number, "is no entry of a ledger")
    if document["version"] != VERSION:
        raise _broken(file, number, f"is of version {document['version']}, not {VERSION}")
    return document


def _broken(file: Path, number: int, what: str) -> LedgerInvalid:
    where = f"line {number}" if number else "the last line"
    return LedgerInvalid(f"{where} of the ledger {what}", subject=str(file), next_step=_REBUILD)


def _said(entry: Entry) -> Json:
    return {**asdict(entry), "address": str(entry.address), "action": entry.action.value}


def _read_entry(document: Json) -> Entry:
    kept = {name: document[name] for name in document if name not in _CHAIN}
    return Entry(
        **{
            **kept,
            "address": Address.parse(document["address"]),
            "action": Action(document["action"]),
            "patch": tuple(document["patch"]),
            "inverse": tuple(document["inverse"]),
        }
    )


_CHAIN: Final = frozenset({"version", "sequence", "previous"})


def _remember(entry: Entry, sequence: int) -> Memory:
    return Memory(
        id=entry.id,
        owned=entry.owned,
        secrets=entry.secrets,
        at=entry.at,
        by=entry.by,
        commit=entry.commit,
        sequence=sequence,
        digests=entry.digests,
    )
