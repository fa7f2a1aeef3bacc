"""What became of steps and could not be written down, kept for `ledger verify --recover`."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from reconciler.model import Entry, Fate, Finding
from reconciler.render.counting import count

_NAME: Final = "errored.ledger"
_MOST: Final = 100
_UNKNOWN_AUTHOR: Final = "Without them the next plan does not know who did it."
_UNKNOWN: Final = "Without them the next apply looks at what is live before anything else."


def keep_unrecorded(text: str, folders: Sequence[Path]) -> Path | None:
    """Write the entries to the first folder that takes them; None where none does.

    A file is its owner's alone, and none that is there already is touched.
    """
    for folder in folders:
        with contextlib.suppress(OSError):
            return _write_new(folder, text.encode())
    return None


def find_folders(root: Path) -> list[Path]:
    """Where to try: the project, where we stand, and where temporary files go."""
    found = [root, Path()]
    with contextlib.suppress(OSError):  # there may be no such place left
        found.append(Path(tempfile.gettempdir()))
    return found


def describe_unrecorded(entries: Sequence[Entry], kept: Path | None) -> Finding:
    """What to do about it, wherever they are kept."""
    place = str(kept) if kept else "FILE"
    where = f"They are kept in {place}" if kept else "They follow; save them in a FILE"
    what, without = f"{count(len(entries), 'step')} done and not recorded", _UNKNOWN_AUTHOR
    if any(entry.fate is not Fate.DONE for entry in entries):
        what, without = f"what became of {count(len(entries), 'step')} is not recorded", _UNKNOWN
    return Finding(
        f"{what}: the ledger cannot be written",
        detail=(f"{where}. {without}",),
        next_step=f"Make the ledger writable, then: reconciler ledger verify --recover {place}",
    )


def _write_new(folder: Path, data: bytes) -> Path:
    for path in _names(folder):
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            path.unlink()
            raise
        return path
    raise FileExistsError


def _names(folder: Path) -> Iterator[Path]:
    yield folder / f"{_NAME}.json"
    for number in range(1, _MOST):
        yield folder / f"{_NAME}.{number}.json"
