"""The lock of a ledger in a container: a lease on one blob, whose content says who has it.

Storage itself ends a lease that is not renewed. Whoever takes it adds a line with its number to
the chain; from then on a writer that was overtaken finds that its next line does not fit.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from reconciler.errors import LedgerInvalid
from reconciler.ledgers.blob_client import Container, Leased, NotThere, Overtaken
from reconciler.ledgers.blob_segments import Segments
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
from reconciler.ledgers.records import BadLine, Mark
from reconciler.model import Holder

# Between taking the lease and saying so, a holder needs two calls.
_LOOKS: Final = 20
_BETWEEN_LOOKS_S: Final = 0.1
_NAMELESS: Final = Holder("", "somebody", "nobody knows what", "somewhere", 0, "", "lately")
_REPAIR: Final = "If it is sure that nobody works, delete it."


class BlobLock:
    """Who holds the lock, as its blob says."""

    def __init__(
        self, container: Container, prefix: str, segments: Segments, rhythm: Rhythm
    ) -> None:
        self._container = container
        self._name = f"{prefix}lock.json"
        self._segments = segments
        self._rhythm = rhythm
        self.subject = f"{container.address}/{self._name}"

    def take(self, holder: Holder) -> BlobClaim:
        """Become the holder, where nobody is; raises LockHeld."""
        for look in range(_LOOKS):
            if look:
                time.sleep(_BETWEEN_LOOKS_S)
            blob, found = self._read()
            if blob.leased and not self._break_dead(blob, found):
                if found.holder is not None:
                    raise held_by(found.holder, self.subject)
                continue
            claim = self._claim(holder)
            if claim is not None:
                return claim
        raise held_by(_NAMELESS, self.subject)

    def _break_dead(self, blob: Leased, found: Holding) -> bool:
        """Whether the lease was a dead process's, and is ended now."""
        if found.holder is None or not is_dead(found.holder, found.machine):
            return False
        # Where it has just ended, or somebody else has taken it, whoever asks now will see.
        with contextlib.suppress(Overtaken, NotThere):
            self._container.break_lease(self._name, blob.etag)
        return True

    def _claim(self, holder: Holder) -> BlobClaim | None:
        lease = str(uuid.uuid4())
        try:
            self._container.acquire(self._name, lease, int(self._rhythm.lease_s))
            # What was written before it was ours may be out of date by now.
            _, found = self._read()
            highest = max(found.fence, self._segments.find_head().end.fence)
            taken = hold(holder, highest + 1)
            self._write(taken, lease=lease)
        except (Overtaken, NotThere):
            return None
        claim = BlobClaim(self, taken.holder or holder, lease)
        try:
            self._segments.append(Mark("lock", taken.fence))
        except BaseException:
            claim.release()
            raise
        return claim

    def renew(self, lease: str) -> bool:
        """Hold it for another lease; False where it is somebody else's or nobody's now."""
        try:
            self._container.renew(self._name, lease)
        except (Overtaken, NotThere):
            return False
        return True

    def release(self, lease: str, fence: int) -> None:
        """Give it back, if it is still ours; its number stays."""
        try:
            self._write(Holding(fence), lease=lease)
            self._container.release(self._name, lease)
        except (Overtaken, NotThere):
            return

    def find_holder(self) -> Holder | None:
        """Who holds it and is not dead."""
        try:
            blob = self._container.read_all(self._name)
        except NotThere:
            return None
        found = self._parse(blob)
        if not blob.leased or found.holder is None or is_dead(found.holder, found.machine):
            return None
        return found.holder

    def free(self, lock_id: str) -> Holder:
        """Take it from a holder, who can then write no more."""
        blob, found = self._read()
        if not blob.leased or found.holder is None or found.holder.id != lock_id:
            holder = found.holder if blob.leased else None
            raise not_held(lock_id, holder, self.subject)
        fence = max(found.fence, self._segments.find_head().end.fence) + 1
        self._segments.append(Mark("lock", fence))
        with contextlib.suppress(Overtaken, NotThere):  # it was given back at this moment
            self._container.break_lease(self._name, blob.etag)
            self._write(Holding(fence), etag=blob.etag)
        return found.holder

    def _read(self) -> tuple[Leased, Holding]:
        try:
            blob = self._container.read_all(self._name)
        except NotThere:
            with contextlib.suppress(Overtaken):  # by somebody who takes the lock as well
                self._container.write_new(self._name, write_holding(Holding(), ""))
            blob = self._container.read_all(self._name)
        return blob, self._parse(blob)

    def _parse(self, blob: Leased) -> Holding:
        try:
            return read_holding(blob.data[: LONGEST + 1])
        except BadLine as error:
            raise LedgerInvalid(
                f"the file of the lock {error}", subject=self.subject, next_step=_REPAIR
            ) from error

    def _write(self, holding: Holding, lease: str = "", etag: str = "") -> None:
        renewed = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._container.write(self._name, write_holding(holding, renewed), lease, etag)


@dataclass(frozen=True, slots=True)
class BlobClaim:
    """One holder's hold on the lock of a ledger in a container."""

    lock: BlobLock
    holder: Holder
    lease: str

    def renew(self) -> bool:
        """Hold it for another lease; False where it is somebody else's or nobody's now."""
        return self.lock.renew(self.lease)

    def stands(self) -> bool:
        """Whether the lease is still ours; asking renews it."""
        return self.lock.renew(self.lease)

    def release(self) -> None:
        """Give it back, if it is still ours."""
        self.lock.release(self.lease, self.holder.fence)
