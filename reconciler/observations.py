"""Caches observed documents of services beside the ledger, so that plans need fewer reads.

A lost cache only costs reads. Therefore any problem with it (a damaged file, a read-only folder)
makes it empty and never raises an error. Several commands use it at the same time without a lock.
It stores documents as the service returned them, without secrets.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from reconciler.files import make_folder
from reconciler.model import ABSENT, Absent, CachedStamp, CompressedDocument
from reconciler.text.json_text import read_json

NAME: Final = "observations.sqlite3"
_VERSION: Final = 5
_BUSY_TIMEOUT_S: Final = 5.0
# No reply that was decoded to a document is longer, even if its text is escaped.
_MOST_BYTES: Final = 64 << 20
# Twice as many as a project may have resources. What is left out is read from the service.
_MOST_ROWS: Final = 200_000
_LONGEST_TEXT: Final = 4_000
# In seconds since 1970: the range of datetime.
_LAST: Final = 250_000_000_000.0
# A symbolic link could point to a file of another owner.
_OPEN: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_Found = TypeVar("_Found")
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS seen (
    key TEXT PRIMARY KEY, stamp TEXT NOT NULL, settled INTEGER NOT NULL, read_at REAL NOT NULL,
    digest BLOB NOT NULL, document BLOB NOT NULL
) WITHOUT ROWID;
"""


class ObservationCache:
    """Observations of one project's services. Safe to use from several threads and processes."""

    def __init__(self, folder: Path, cloud: str, form: str) -> None:
        """`cloud` is the address of the service; `form` identifies the format of stored documents.

        Observations of another cloud or in another format are not found.
        """
        self._file = folder / NAME
        self._prefix = f"{hashlib.sha256(f'{form} {cloud}'.encode()).hexdigest()[:16]} "
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def load(self) -> Mapping[str, CachedStamp]:
        """Returns, by casefolded id, when each was observed, with its stamp; without documents."""
        query = (
            "SELECT key, stamp, settled, read_at FROM seen WHERE key > ? AND key < ?"
            " AND length(key) < ? AND length(stamp) < ? LIMIT ?"
        )
        bounds = (*self._bounds, _LONGEST_TEXT, _LONGEST_TEXT, _MOST_ROWS)
        start = len(self._prefix)

        def find(connection: sqlite3.Connection) -> Mapping[str, CachedStamp]:
            return {
                key[start:]: CachedStamp(stamp, idle=bool(idle), at=at)
                for key, stamp, idle, at in connection.execute(query, bounds)
                if type(key) is str and type(stamp) is str and _is_time(at)
            }

        return self._ask(find, {})

    def recall(self, resource_id: str) -> CompressedDocument | Absent:
        """Returns the observed document; ABSENT if it is missing or damaged."""
        query = "SELECT digest, document FROM seen WHERE key = ? AND length(document) < ?"

        def find(connection: sqlite3.Connection) -> CompressedDocument | Absent:
            row = connection.execute(query, (self._key(resource_id), _MOST_BYTES)).fetchone()
            return ABSENT if row is None else _read_packed(*row)

        none: CompressedDocument | Absent = ABSENT
        return self._ask(find, none)

    def keep(self, seen: Iterable[tuple[str, CachedStamp, CompressedDocument]]) -> None:
        """Stores documents by id; each replaces the earlier document of the same id."""
        rows = [
            (
                self._key(name),
                one.stamp,
                one.idle,
                one.at,
                _digest(document.packed),
                document.packed,
            )
            for name, one, document in seen
        ]
        self._write("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?, ?)", rows)

    def drop(self, resource_ids: Iterable[str]) -> None:
        """Removes resources that no longer exist."""
        self._write("DELETE FROM seen WHERE key = ?", [(self._key(name),) for name in resource_ids])

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        if rows:
            self._ask(lambda connection: connection.executemany(statement, rows), None)

    @property
    def _bounds(self) -> tuple[str, str]:
        return self._prefix, f"{self._prefix}\U0010ffff"

    def _key(self, name: str) -> str:
        return self._prefix + name.casefold()

    def _ask(self, work: Callable[[sqlite3.Connection], _Found], otherwise: _Found) -> _Found:
        """The result of `work` in one transaction; `otherwise` if the file cannot be used."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                with self._connection:
                    return work(self._connection)
            except (sqlite3.Error, OSError, UnicodeError) as error:
                self._close()
                if _is_damage(error):
                    with contextlib.suppress(OSError):
                        self._discard()
                return otherwise

    def _open(self) -> sqlite3.Connection:
        make_folder(self._file.parent)
        self._hide_from_git()
        os.close(os.open(self._file, _OPEN, 0o600))
        try:
            return self._connect()
        except sqlite3.Error as error:
            if not _is_damage(error):
                raise
            self._discard()
            return self._connect()

    def _hide_from_git(self) -> None:
        """Makes git ignore the cache: the work tree stays clean, and a ledger may be committed."""
        ignore = self._file.parent / ".gitignore"
        with contextlib.suppress(FileExistsError), ignore.open("x", encoding="utf-8") as file:
            file.write(f"{NAME}*\n.gitignore\n")

    def _discard(self) -> None:
        """Deletes a damaged file; the next one begins empty."""
        for path in self._file.parent.glob(f"{NAME}*"):
            path.unlink(missing_ok=True)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file, timeout=_BUSY_TIMEOUT_S, check_same_thread=False)
        try:
            # A row has about 2 KB, and a page of 4 KB holds only one. A new file takes this size.
            connection.execute("PRAGMA page_size = 16384")
            connection.execute("PRAGMA journal_mode = WAL")
            # Data that is lost in a power failure is read again.
            connection.execute("PRAGMA synchronous = OFF")
            if connection.execute("PRAGMA user_version").fetchone()[0] not in {0, _VERSION}:
                connection.executescript("DROP TABLE IF EXISTS seen; DROP TABLE IF EXISTS noticed;")
            connection.executescript(f"{_TABLES} PRAGMA user_version = {_VERSION};")
            if not _is_ours(connection):
                raise _Foreign
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._close()


class _Foreign(sqlite3.Error):
    """The file holds something that was not created here: views, triggers, other columns."""


def _is_ours(connection: sqlite3.Connection) -> bool:
    """Whether the file has exactly our tables, in their original form."""
    made = [one.replace("IF NOT EXISTS ", "").strip() for one in _TABLES.split(";") if one.strip()]
    found = connection.execute("SELECT sql FROM sqlite_master")
    return sorted(str(sql) for (sql,) in found) == sorted(made)


def _is_time(value: object) -> bool:
    return isinstance(value, float) and 0 <= value < _LAST


def _is_damage(error: Exception) -> bool:
    """Whether the file itself is damaged; a full disk or a long lock is not damage."""
    if isinstance(error, _Foreign):
        return True
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _digest(packed: bytes) -> bytes:
    return hashlib.sha256(packed).digest()


def _read_packed(digest: object, packed: object) -> CompressedDocument | Absent:
    """The stored document, if its digest matches and it can be decompressed and parsed."""
    if not isinstance(packed, bytes) or _digest(packed) != digest:
        return ABSENT
    opened = zlib.decompressobj()
    try:
        document = read_json(opened.decompress(packed, _MOST_BYTES))
    except (ValueError, zlib.error):
        return ABSENT
    return CompressedDocument(packed) if opened.eof and isinstance(document, dict) else ABSENT
