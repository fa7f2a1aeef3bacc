"""The ledger in a file: JSON lines, each carrying the digest of the line before.

Nothing is ever rewritten. A line is on the disk before `record` returns. A last line that a crash
left unfinished is passed over by readers and set aside, not lost, by the next writer; any other
line that does not fit makes the ledger invalid. Writers take the file's lock, one at a time;
readers take it only to see where the chain ends, so they never see half an entry. Holds no
secret: an entry knows which version label of a secret was written, never its value.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from reconciler.errors import LedgerInvalid
from reconciler.model import Action, Address, Entry, Json, Memory, Snapshot
from reconciler.plan_document import canonical

NAME: Final = "ledger.jsonl"
VERSION: Final = 1
_START: Final = f"sha256:{hashlib.sha256(b'').hexdigest()}"
_SHAPE: Final[dict[str, type]] = {
    **dict.fromkeys(("address", "id", "action", "at", "by", "host", "commit", "plan_digest"), str),
    **dict.fromkeys(("patch", "inverse"), list),
    **dict.fromkeys(("owned", "secrets", "digests", "baseline"), dict),
}
_TAIL_BYTES: Final = 1 << 16
_RESTORE: Final = (
    "Restore the file from a backup, or move it away: planning goes on without it and only forgets"
    " who applied what, when."
)
_UNREADABLE: Final = "Give leave to read it, or name another folder in spec.ledger.path."
_UNWRITTEN: Final = (
    "What was just applied is live but not recorded. Make room or give leave to write, then plan"
    " and apply again."
)


class FileLedger:
    """The ledger of a project on one machine; threads and processes may use it at once."""

    def __init__(self, folder: Path, moved: Mapping[Address, Address] | None = None) -> None:
        """`moved` maps addresses that were renamed to those by which they are remembered now."""
        self._folder = folder
        self._moved = moved or {}
        self._file = folder / NAME

    def load(self) -> Snapshot:
        """What was applied last, by resource; known once there is an entry.

        Raises LedgerInvalid, which names the first line that does not fit.
        """
        memories: dict[Address, Memory] = {}
        sequence = 0
        for sequence, entry in self._chain():
            if entry.action in {Action.DELETE, Action.FORGET}:
                memories.pop(entry.address, None)
            else:
                memories[entry.address] = _remember(entry, sequence)
        for old, new in self._moved.items():
            if old in memories and new not in memories:
                memories[new] = memories.pop(old)
        return Snapshot(memories, known=sequence > 0)

    def entries(self, address: Address | None = None) -> Iterator[Entry]:
        """The entries, oldest first; raises LedgerInvalid on reaching a line that does not fit."""
        return (entry for _, entry in self._chain() if address in {None, entry.address})

    def record(self, entry: Entry) -> None:
        """Append an entry; it is on the disk when this returns.

        Raises LedgerInvalid where it cannot be; then nothing of it is left in the file.
        """
        try:
            with self._locked() as handle:
                self._append(handle, entry)
        except OSError as error:
            raise LedgerInvalid(
                f"the ledger cannot be written: {error.strerror}",
                subject=str(self._file),
                next_step=_UNWRITTEN,
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        handle = self._open_locked()
        try:
            yield handle
        finally:
            os.close(handle)

    def _open_locked(self) -> int:
        """The file, locked for writing; made, with its folder, where it is not there yet."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        while True:
            self._make_folder()
            handle = os.open(self._file, flags, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                if self._is_current(handle):
                    return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)

    def _is_current(self, handle: int) -> bool:
        """Whether the file was not moved away while its lock was waited for."""
        try:
            return os.path.samestat(os.fstat(handle), self._file.stat())
        except FileNotFoundError:
            return False

    def _make_folder(self) -> None:
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_folder(self._folder.parent)

    def _append(self, handle: int, entry: Entry) -> None:
        end, last = _find_end(handle)
        sequence, previous = 0, _START
        if last:
            sequence, previous = _parse(self._file, 0, last)["sequence"], _digest(last)
        said = {**asdict(entry), "address": str(entry.address), "action": entry.action.value}
        chained = {"version": VERSION, "sequence": sequence + 1, "previous": previous}
        line = canonical({**said, **chained}).encode("utf-8", "surrogatepass") + b"\n"
        self._set_aside(handle, end)
        try:
            _write_whole(handle, line)
            os.fsync(handle)
            if end == 0:
                _sync_folder(self._folder)
        except OSError:
            # Half an entry must not stay, nor a whole one that is reported as not recorded.
            os.ftruncate(handle, end)
            raise

    def _set_aside(self, handle: int, end: int) -> None:
        """Move what an unfinished write left behind the chain's end to a file of its own."""
        torn = os.pread(handle, os.fstat(handle).st_size - end, end)
        if not torn:
            return
        path = self._folder / f"{NAME}.torn-{hashlib.sha256(torn).hexdigest()[:12]}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        aside = os.open(path, flags, 0o600)
        try:
            _write_whole(aside, torn)
            os.fsync(aside)
        finally:
            os.close(aside)
        os.ftruncate(handle, end)

    def _chain(self) -> Iterator[tuple[int, Entry]]:
        """Every entry with its sequence, each checked against the line before it."""
        previous = _START
        for number, line in enumerate(self._lines(), start=1):
            document = _parse(self._file, number, line)
            if document["previous"] != previous or document["sequence"] != number:
                raise _invalid(self._file, number, "does not follow the line before it")
            previous = _digest(line)
            yield number, _read_entry(self._file, number, document)

    def _lines(self) -> Iterator[bytes]:
        """The whole lines that are there now, without their ends; none where there is no file."""
        try:
            file = self._file.open("rb")
        except FileNotFoundError:
            return
        except OSError as error:
            raise LedgerInvalid(
                f"the ledger cannot be read: {error.strerror}",
                subject=str(self._file),
                next_step=_UNREADABLE,
            ) from error
        with file:
            left = _find_end_shared(file.fileno())
            for line in file:
                left -= len(line)
                if left < 0:
                    return
                yield line[:-1]


def _find_end_shared(handle: int) -> int:
    """Where the chain ends while nobody writes; what is before that never changes again."""
    fcntl.flock(handle, fcntl.LOCK_SH)
    try:
        return _find_end(handle)[0]
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)


def _find_end(handle: int) -> tuple[int, bytes]:
    """Where the last whole line ends, and that line; 0 and nothing where there is none."""
    size = os.fstat(handle).st_size
    *whole, torn = _read_tail(handle, size).split(b"\n")
    end = size - len(torn)
    if whole and not _is_json(whole[-1]):
        end -= len(whole.pop()) + 1
    return end, whole[-1] if whole else b""


def _read_tail(handle: int, size: int) -> bytes:
    """The last two whole lines at least, and what follows them; all where there are fewer."""
    length = _TAIL_BYTES
    while True:
        start = max(0, size - length)
        data = os.pread(handle, size - start, start)
        if start == 0 or data.count(b"\n") >= 3:
            return data
        length *= 4


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _write_whole(handle: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(line: bytes) -> str:
    return f"sha256:{hashlib.sha256(line).hexdigest()}"


def _parse(file: Path, number: int, line: bytes) -> Json:
    """A line's document, with the words of the chain in it; `number` 0 stands for the last."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _invalid(file, number, "is not JSON") from error
    if not isinstance(document, dict) or not isinstance(document.get("sequence"), int):
        raise _invalid(file, number, "is not an entry of a ledger")
    if document.get("version") != VERSION:
        raise _invalid(file, number, f"is not of version {VERSION}, the only one known here")
    # A ledger that is older than the baseline remembers none.
    return {"previous": "", "baseline": {}, **document}


def _read_entry(file: Path, number: int, document: Json) -> Entry:
    for name, kind in _SHAPE.items():
        if not isinstance(document.get(name), kind):
            raise _invalid(file, number, f"has no usable {name}")
    kept = {name: document[name] for name in _SHAPE}
    try:
        kept["address"] = Address.parse(document["address"])
        kept["action"] = Action(document["action"])
    except ValueError as error:
        raise _invalid(file, number, "has no usable address or action") from error
    return Entry(**{**kept, "patch": tuple(kept["patch"]), "inverse": tuple(kept["inverse"])})


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
        baseline=entry.baseline,
    )


def _invalid(file: Path, number: int, what: str) -> LedgerInvalid:
    where = f"line {number}" if number else "the last line"
    return LedgerInvalid(f"{where} of the ledger {what}", subject=str(file), next_step=_RESTORE)
