"""The lock of the ledger: who takes it, and what is said where the ledger does not know a name."""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from reconciler.errors import ReconcilerError
from reconciler.ledgers.process import describe_process
from reconciler.manifests.git import Revision
from reconciler.model import Address, Holder
from reconciler.ports import Lease

if TYPE_CHECKING:
    from reconciler.cli.wiring import Assembly


def make_holder(revision: Revision, why: str) -> Holder:
    """This process as the holder of a lock; `why` is the command, as a person reads it."""
    host, pid, started = describe_process()
    return Holder(
        id=str(uuid.uuid4()),
        who=revision.author,
        why=why,
        host=host,
        pid=pid,
        started=started,
        since=now(),
        commit=revision.commit,
    )


def lock_ledger(assembly: Assembly, why: str, within_s: float) -> AbstractContextManager[Lease]:
    """Take the lock of the project's ledger; waits for it up to `within_s` seconds."""
    return assembly.ledger.lock(assembly.holder(why), within_s, assembly.emit)


def now() -> str:
    """The time as a ledger writes it, in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def not_in_ledger(address: Address, known: Iterable[Address | None]) -> ReconcilerError:
    """What is said of an address that the ledger does not know."""
    names = sorted({str(one) for one in known if one is not None})
    near = difflib.get_close_matches(str(address), names, n=1)
    hint = f"Did you mean {near[0]}?" if near else "It was never applied, or is forgotten."
    return ReconcilerError("is not in the ledger", subject=str(address), next_step=hint)
