"""The lock of a ledger in a file: a file beside it, written only while the ledger's own is locked.

The lock outlives whoever holds it, and so does its number: a writer that was overtaken while it
slept is refused when it wakes, because the ledger looks at that number before each line.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

from reconciler.errors import LedgerInvalid
from reconciler.files import replace_file
from reconciler.ledgers.lock import (
    LONGEST,
    Holding,
    Rhythm,
    held_by,
    hold,
    not_held,
    read_holding,
    write_holding,
)
from reconciler.ledgers.process import is_dead
from reconciler.ledgers.records import BadLine
from reconciler.model import Holder

NAME: Final = "lock.json"
_REPAIR: Final = "If it is sure that nobody works, move it away."

Guard: TypeAlias = Callable[[], AbstractContextManager[int]]
"""Keeps everybody else from the ledger; gives the handle of its file."""


class FileLock:
    """Who holds the lock, as its file says."""

    def __init__(self, folder: Path, rhythm: Rhythm) -> None:
        self.file = folder / NAME
        self._rhythm = rhythm

    def read(self) -> Holding:
        """What is written; nothing where there is no file. Raises LedgerInvalid."""
        try:
            with self.file.open("rb") as file:
                return read_holding(file.read(LONGEST + 1))
        except FileNotFoundError:
            return Holding()
        except OSError as error:
            raise self._invalid(f"cannot be read: {error.strerror}") from error
        except BadLine as error:
            raise self._invalid(str(error)) from error

    def take(self, handle: int, holder: Holder, highest: int) -> Holder:
        """Become the holder, where nobody is; raises LockHeld. The ledger must be locked.

        `handle` is the ledger's, `highest` the highest fence that stands in it.
        """
        found = self.read()
        if found.holder is not None and not self._is_free(handle, found, found.holder):
            raise held_by(found.holder, str(self.file))
        taken = hold(holder, max(found.fence, highest) + 1)
        self.write(taken)
        return taken.holder or holder

    def write(self, holding: Holding) -> None:
        """Write it down durably. The ledger must be locked."""
        renewed = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        replace_file(self.file, write_holding(holding, renewed))

    def find_holder(self) -> Holder | None:
        """Who holds it and is neither dead nor silent."""
        found = self.read()
        now = datetime.now(UTC).timestamp()
        if found.holder is None or self._is_over(found, found.holder, now):
            return None
        return found.holder

    def free(self, lock_id: str, highest: int) -> Holder:
        """Take it from a holder, who can then write no more. The ledger must be locked."""
        found = self.read()
        if found.holder is None or found.holder.id != lock_id:
            raise not_held(lock_id, found.holder, str(self.file))
        self.write(Holding(max(found.fence, highest) + 1))
        return found.holder

    def _is_free(self, handle: int, found: Holding, holder: Holder) -> bool:
        # The file system's own time: the clocks of machines that share it may differ.
        os.utime(handle)
        return self._is_over(found, holder, os.fstat(handle).st_mtime)

    def _is_over(self, found: Holding, holder: Holder, now: float) -> bool:
        if is_dead(holder, found.machine):
            return True
        try:
            return now - self.file.stat().st_mtime >= self._rhythm.lease_s
        except FileNotFoundError:
            return True

    def _invalid(self, what: str) -> LedgerInvalid:
        return LedgerInvalid(
            f"the file of the lock {what}", subject=str(self.file), next_step=_REPAIR
        )


@dataclass(frozen=True, slots=True)
class FileClaim:
    """One holder's hold on the lock of a ledger in a file."""

    lock: FileLock
    guard: Guard
    holder: Holder

    def renew(self) -> bool:
        """Hold it for another lease; False where it is somebody else's or nobody's now."""
        with self.guard():
            found = self.lock.read()
            if not self._names_us(found):
                return False
            self.lock.write(found)
            return True

    def stands(self) -> bool:
        """Whether it is still written that it is ours."""
        return self._names_us(self.lock.read())

    def release(self) -> None:
        """Give it back, if it is still ours; its number stays."""
        with self.guard():
            found = self.lock.read()
            if self._names_us(found):
                self.lock.write(Holding(found.fence))

    def _names_us(self, found: Holding) -> bool:
        held = found.holder
        return held is not None and (held.id, held.fence) == (self.holder.id, self.holder.fence)
