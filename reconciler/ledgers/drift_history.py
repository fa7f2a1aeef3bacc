"""Keeps what earlier drift runs found, in a file beside the ledger.

It holds the last runs and the open findings as lines of JSON. A finding is only a key and a date
there, or where it was and who has overwritten it, so that no value of a service is in it. Each
write replaces the whole file: no reader sees a part of it. A line that cannot be read costs what it
holds, and `load` reports it once, because the next write leaves it out. open_drift_history creates
it; for ledgers in blob storage, drift_history_blob.py has the store.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from reconciler.errors import LedgerInvalid
from reconciler.files import make_folder, replace_file
from reconciler.ledgers.line_file import LocksMissing, read_parts
from reconciler.ledgers.locked_file import wait_for_lock
from reconciler.model import (
    Address,
    Drift,
    DriftPast,
    DriftRun,
    Finding,
    Json,
    Resource,
    SourceLocation,
    Verdict,
)
from reconciler.plans.drift_history import (
    MOST_OPEN,
    MOST_OVERWRITTEN,
    MOST_RUNS,
    add_overwritten,
    add_run,
    add_sent,
)
from reconciler.text.counting import count
from reconciler.text.json_text import canonical, read_json
from reconciler.text.times import parse_utc

NAME: Final = "drift/history.jsonl"
_VERSION: Final = 1
_KEY: Final = re.compile(r"[0-9a-f]{24}", re.ASCII)
# The key of a finding, and what names the webhook that has reported it.
_SENT: Final = re.compile(r"[0-9a-f]{24}(?:[0-9a-f]{8})?", re.ASCII)
# A report shows a command with the address: nothing in it may mean something to a shell.
_ADDRESS: Final = re.compile(r"[^\s/\"'`$;&|<>(){}\\*?!#~]+/[^\s/\"'`$;&|<>(){}\\*?!#~]+")
_KEYS_PER_LINE: Final = 5_000
# MOST_OPEN keys need less than half of it.
MOST_BYTES: Final = 16 << 20
_MOST_VALUES: Final = 4 * _KEYS_PER_LINE
# A suspended process may keep the lock for ever; a write takes some milliseconds.
_LOCK_WAIT_S: Final = 10.0
_LONGEST_COMMIT: Final = 200
_LONGEST_WORD: Final = 4_000
_MOST_RESOURCES: Final = 10**9
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_UNREADABLE: Final = (
    "Allow this user to read it, or delete it: only the dates of the findings are lost."
)
_UNWRITTEN: Final = "Allow this user to write in its folder, or free disk space."
_NEWER: Final = "Use the version that wrote it, or delete it: only the dates are lost."

_Update = Callable[[DriftPast], DriftPast]


class HistoryStore(Protocol):
    """Holds the text of the history; `address` names it for people."""

    @property
    def address(self) -> str:
        """The name of the file or blob."""
        ...

    def read(self) -> bytes:
        """The bytes; empty if nothing was ever written. Raises LedgerInvalid."""
        ...

    def change(self, update: Callable[[bytes], bytes]) -> None:
        """Replace the bytes by what `update` makes of them; raises LedgerInvalid.

        It may call `update` more than once.
        """
        ...


class StoredDriftHistory:
    """The history of one project and environment."""

    def __init__(self, store: HistoryStore) -> None:
        self._store = store
        self._loaded = DriftPast()

    def load(self) -> DriftPast:
        """Returns the last runs and the open findings; empty if nothing was ever kept.

        Raises LedgerInvalid.
        """
        self._loaded = _decode(self._store.read(), self._store.address)
        return self._loaded

    def append(self, run: DriftRun | None, since: Mapping[str, str]) -> None:
        """Adds a run and the dates of the open findings, by key; raises LedgerInvalid.

        What another process has written since `load` stays.
        """
        loaded = self._loaded
        self._change(lambda stored: add_run(stored, loaded, run, since))

    def keep_overwritten(self, findings: Collection[Drift], now: str) -> None:
        """Adds what an apply is going to overwrite; raises LedgerInvalid."""
        self._change(lambda stored: add_overwritten(stored, findings, now))

    def note_sent(self, keys: Collection[str]) -> None:
        """Adds the keys of the findings that a webhook has reported; raises LedgerInvalid."""
        self._change(lambda stored: add_sent(stored, keys))

    def _change(self, update: _Update) -> None:
        def rewrite(data: bytes) -> bytes:
            self._loaded = update(_decode(data, self._store.address))
            return _encode(self._loaded)

        self._store.change(rewrite)


class HistoryFile:
    """The history in a file; the folder is locked while it is replaced."""

    def __init__(self, folder: Path, within_s: float = _LOCK_WAIT_S) -> None:
        """`folder` is that of the ledger; a write waits `within_s` seconds for another one."""
        self._within_s = within_s
        self._file = folder / NAME
        self.address = str(self._file)

    def read(self) -> bytes:
        """Returns the bytes of the file."""
        try:
            data = self._read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise _unreadable(self.address, error.strerror or str(error)) from error
        if len(data) > MOST_BYTES:
            raise _unreadable(self.address, f"it is longer than {MOST_BYTES >> 20} MiB")
        return data

    def _read_bytes(self) -> bytes:
        handle = os.open(self._file, _READ)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise _unreadable(self.address, "it is not a file")
            return b"".join(read_parts(handle, 0, MOST_BYTES + 1))
        finally:
            os.close(handle)

    def change(self, update: Callable[[bytes], bytes]) -> None:
        """Replaces the bytes under the lock."""
        try:
            with self._locked():
                replace_file(self._file, update(self.read()))
        except BlockingIOError as error:
            raise _unwritten(self.address, "another process keeps it locked") from error
        except OSError as error:
            raise _unwritten(self.address, error.strerror or str(error)) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Excludes other writers; without locks in the file system, dates may be lost."""
        folder = self._file.parent
        make_folder(folder)
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY)
        try:
            with contextlib.suppress(LocksMissing):
                wait_for_lock(handle, self._within_s)
            yield
        finally:
            os.close(handle)


def _unreadable(address: str, why: str) -> LedgerInvalid:
    said = f"the drift history cannot be read: {why}"
    return LedgerInvalid(said, subject=address, next_step=_UNREADABLE)


def _unwritten(address: str, why: str) -> LedgerInvalid:
    said = f"the drift history cannot be written: {why}"
    return LedgerInvalid(said, subject=address, next_step=_UNWRITTEN)


def _encode(past: DriftPast) -> bytes:
    return "".join(f"{canonical(line)}\n" for line in _list_lines(past)).encode()


def _list_lines(past: DriftPast) -> Iterator[Json]:
    yield {"drift_history": _VERSION}
    for run in past.runs:
        counts = {verdict.value: number for verdict, number in run.counts.items() if number}
        yield {"run": {"at": run.at, "commit": run.commit, "counts": counts}}
    by_date: dict[str, list[str]] = {}
    for key, since in past.since.items():
        by_date.setdefault(since, []).append(key)
    for since, keys in sorted(by_date.items()):
        for part in _split(keys):
            yield {"since": since, "keys": part}
    for part in _split(sorted(past.sent)):
        yield {"sent": part}
    for one in past.overwritten:
        yield {
            "overwritten": {
                "address": str(one.resource.address),
                "id": one.resource.id,
                "verdict": one.verdict.value,
                "pointer": one.pointer,
                "key": one.key,
                "at": one.since,
                "by": one.note,
            }
        }


def _split(keys: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), _KEYS_PER_LINE):
        yield keys[start : start + _KEYS_PER_LINE]


def _decode(data: bytes, address: str) -> DriftPast:
    """Returns what the lines hold; raises LedgerInvalid for the lines of a newer version."""
    runs: list[DriftRun] = []
    since: dict[str, str] = {}
    sent: set[str] = set()
    overwritten: list[Drift] = []
    bad = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            said = read_json(line, most_values=_MOST_VALUES)
            if number == 1:
                _check_version(said, address)
            elif "run" in said:
                runs.append(_read_run(said["run"]))
            elif "sent" in said:
                sent.update(_read_keys(said["sent"], _SENT))
            elif "overwritten" in said:
                overwritten.append(_read_overwritten(said["overwritten"]))
            else:
                at = _read_time(said["since"])
                since.update(dict.fromkeys(_read_keys(said["keys"]), at))
        except (ValueError, TypeError, KeyError, AttributeError):
            bad.append(number)
    return DriftPast(
        tuple(runs[-MOST_RUNS:]),
        dict(list(since.items())[:MOST_OPEN]),
        frozenset(sent),
        tuple(overwritten[-MOST_OVERWRITTEN:]),
        _report_lost(address, bad) if bad else None,
    )


def _check_version(said: Json, address: str) -> None:
    if type(said["drift_history"]) is not int:
        raise ValueError(said)
    if said["drift_history"] > _VERSION:
        raise LedgerInvalid(
            "the drift history was written by a newer version", subject=address, next_step=_NEWER
        )


def _read_run(said: Json) -> DriftRun:
    known = {verdict.value: verdict for verdict in Verdict}
    commit, counts = said["commit"], said["counts"]
    if not isinstance(commit, str) or len(commit) > _LONGEST_COMMIT:
        raise ValueError(commit)
    if any(type(n) is not int or not 0 <= n < _MOST_RESOURCES for n in counts.values()):
        raise ValueError(counts)
    found = {known[name]: number for name, number in counts.items() if name in known}
    return DriftRun(_read_time(said["at"]), commit, found)


def _read_overwritten(said: Json) -> Drift:
    words = [said[name] for name in ("address", "id", "pointer", "by")]
    if not all(isinstance(one, str) and len(one) <= _LONGEST_WORD for one in words):
        raise ValueError(words)
    address, id_, pointer, by = words
    if not _ADDRESS.fullmatch(address):
        raise ValueError(address)
    (key,) = _read_keys([said["key"]])
    resource = Resource(Address.parse(address), id_)
    found = Drift(resource, Verdict(said["verdict"]), pointer, note=by, key=key, is_new=False)
    return replace(found, since=_read_time(said["at"]))


def _read_time(said: Json) -> str:
    """Returns a time as every time here is written, so that times compare as texts."""
    parsed = parse_utc(said)
    if said != f"{parsed:%Y-%m-%dT%H:%M:%SZ}":
        raise ValueError(said)
    return str(said)


def _read_keys(said: Json, form: re.Pattern[str] = _KEY) -> list[str]:
    if not isinstance(said, list) or not all(map(form.fullmatch, said)):
        raise ValueError(said)
    return said


def _report_lost(address: str, lines: Collection[int]) -> Finding:
    first = min(lines)
    more = f", and {count(len(lines) - 1, 'more line')}" if len(lines) > 1 else ""
    return Finding(
        f"the drift history has a line that cannot be read{more}",
        place=SourceLocation(address, first, 1),
        next_step="This run leaves the line out of the history. Some findings may count as new.",
        severity="warning",
    )
