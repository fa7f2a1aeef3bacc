"""Where a ledger is kept in the tests: a folder, or a prefix in a container of real storage."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from reconciler.ledgers.blob import AzureBlobLedger
from reconciler.ledgers.blob_client import Container
from reconciler.ledgers.file import FileLedger
from reconciler.ledgers.leadership import lead_in_container, lead_in_folder
from reconciler.ledgers.lock import Heartbeat
from reconciler.ledgers.process import describe_process
from reconciler.model import LockOwner
from reconciler.ports import Leadership, Ledger
from tests.ledgers import make_intent

_USUAL = Heartbeat()
# Renewed so often that a test can see it, and for so long that a busy machine cannot end it.
LIVELY = Heartbeat(lease_s=60, renew_s=0.1)
_SHORTEST_OF_STORAGE = Heartbeat(lease_s=15, renew_s=4)


class Home(Protocol):
    """One ledger's place; `open` gives a ledger that knows nothing of the others."""

    heartbeat: Heartbeat

    def open(self, **more: Any) -> Ledger: ...

    def lead(self) -> Leadership: ...

    def drop_lock(self) -> None: ...

    def read_lines(self) -> list[bytes]: ...

    def replace_lines(self, lines: list[bytes]) -> None: ...

    def remove(self) -> None: ...


@dataclass
class Folder:
    folder: Path
    heartbeat: Heartbeat = _USUAL

    def open(self, **more: Any) -> FileLedger:
        return FileLedger(self.folder, **{"heartbeat": self.heartbeat, **more})

    def lead(self) -> Leadership:
        return lead_in_folder(self.folder, self.heartbeat)

    def drop_lock(self) -> None:
        (self.folder / "lock.json").unlink()

    def read_lines(self) -> list[bytes]:
        """The lines of the ledger, with their ends."""
        return (self.folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)

    def replace_lines(self, lines: list[bytes]) -> None:
        """What somebody makes of the ledger by hand."""
        (self.folder / "ledger.jsonl").write_bytes(b"".join(lines))

    def remove(self) -> None:
        """Remove the ledger, and not its lock."""
        (self.folder / "ledger.jsonl").unlink()


@dataclass
class Prefix:
    address: str
    prefix: str
    heartbeat: Heartbeat = _SHORTEST_OF_STORAGE

    def container(self) -> Container:
        return Container(self.address, {})

    def open(self, **more: Any) -> AzureBlobLedger:
        return AzureBlobLedger(
            self.container(), self.prefix, **{"heartbeat": self.heartbeat, **more}
        )

    def lead(self) -> Leadership:
        return lead_in_container(self.container(), self.prefix, self.heartbeat)

    def drop_lock(self) -> None:
        self.container().delete(f"{self.prefix}lock.json")

    def read_lines(self) -> list[bytes]:
        """The lines of the ledger's only segment, with their ends."""
        (found,) = self.container().list_blobs(f"{self.prefix}ledger/")
        return self.container().read(found.name, 0, found.size).splitlines(keepends=True)

    def replace_lines(self, lines: list[bytes]) -> None:
        """What somebody makes of the ledger by hand."""
        name, container = f"{self.prefix}ledger/000001.jsonl", self.container()
        container.delete(name)
        container.begin(name)
        position = 0
        for line in lines:
            container.append(name, line, position)
            position += len(line)

    def remove(self) -> None:
        """Remove the ledger, and not its lock."""
        self.container().delete(f"{self.prefix}ledger/000001.jsonl")


def lock_owner(lock_id: str = "one", **more: Any) -> LockOwner:
    """This process, as whoever takes the lock."""
    host, pid, started = describe_process()
    return LockOwner(
        **{
            "id": lock_id,
            "who": "ci",
            "why": "apply",
            "host": host,
            "pid": pid,
            "started": started,
            "since": "2026-11-20T12:00:00Z",
            **more,
        }
    )


@contextmanager
def run_beside(work: Callable[[Connection], None]) -> Iterator[tuple[BaseProcess, Connection]]:
    """Another process that does the work, and the line to it; it is dead afterwards."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()

    def child() -> None:
        try:
            work(theirs)
        except BaseException as error:  # noqa: BLE001 - told to whoever waits, and seen there
            theirs.send(f"{type(error).__name__}: {error}")
        os._exit(0)

    process = fork.Process(target=child)
    process.start()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()
        ours.close()
        theirs.close()


def hear(line: Connection, within_s: float = 60.0) -> Any:
    """What the other process says next."""
    assert line.poll(within_s), "the other process says nothing"
    return line.recv()


def hold(home: Home, lock_id: str = "other") -> Callable[[Connection], None]:
    """Work that takes the lock, says its number, and answers questions while it has it."""

    def work(line: Connection) -> None:
        ledger = home.open()
        with ledger.lock(lock_owner(lock_id), 0, lambda _: None) as lease:
            line.send(lease.lock_owner.fence)
            while (asked := line.recv()) != "end":
                try:
                    asked(ledger, lease)
                    line.send("done")
                except Exception as error:  # noqa: BLE001 - it is what is asked for
                    line.send(type(error).__name__)
        line.send("released")

    return work


def check(ledger: Ledger, lease: Any) -> None:
    """Whether the other process still believes in its lock."""
    lease.check()


def write(ledger: Ledger, lease: Any) -> None:
    """Write under the lock that the other process believes it has."""
    ledger.intend(make_intent("late", fence=lease.lock_owner.fence))


def load(ledger: Ledger, lease: Any) -> None:
    """Read, which needs no lock."""
    ledger.load()
