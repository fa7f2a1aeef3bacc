"""The state of the emulated service: services, operations and plans, stored in SQLite.

All records are in memory too, and reads use the memory. Only the server's single thread may use
it, so that each request sees a consistent state. Of the operations that have ended, only the last
`MOST_ENDED` are kept, so that memory and file do not grow with the number of writes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

Json = Any
Key = tuple[str, str, str]
Row = tuple[str, str, str]
MOST_ENDED: Final = 1000


@dataclass
class Service:
    """A web service. Times are in seconds since 1970.

    `operation` is the id of the operation that runs on it, or empty.
    """

    subscription: str
    group: str
    name: str
    location: str
    service_id: str
    created: float
    modified: float
    tags: Json = field(default_factory=dict)
    properties: Json = field(default_factory=dict)
    cased: Json = field(default_factory=dict)
    regions: Json = field(default_factory=dict)
    state: str = "Provisioning"
    operation: str = ""
    exists: bool = True

    @property
    def key(self) -> Key:
        """Return the key of the service; keys ignore case."""
        return make_key(self.subscription, self.group, self.name)


@dataclass
class Operation:
    """A long-running operation. `outcome` is applied to the service once `ends` has passed.

    Afterwards, `outcome` is None. `before` is the state to restore if nothing changes. A `void`
    operation ends as a success and changes nothing. So does a `superseded` one: another operation
    began on the service before its end.
    """

    id: str
    subscription: str
    location: str
    key: Key
    verb: str
    started: float
    ends: float
    outcome: Json
    failure: Json = None
    done: bool = False
    told: bool = False
    before: str = "Succeeded"
    void: bool = False
    superseded: bool = False

    @property
    def has_ended(self) -> bool:
        """Return whether it changes nothing any more; only its status is of use."""
        return self.done or self.superseded


@dataclass
class Before:
    """What GET showed before the last write (None for a 404), and when that write ended."""

    key: Key
    document: Json
    ended: float


def make_key(subscription: str, group: str, name: str) -> Key:
    """Return the key of a resource; keys ignore case."""
    return subscription.casefold(), group.casefold(), name.casefold()


class State:
    """The records by key. Every change is committed before the reply that reports it is sent."""

    def __init__(self, folder: Path | None) -> None:
        target = ":memory:"
        if folder is not None:
            # The records hold the services' keys, so only the owner may read them.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / "emulator.sqlite").touch(mode=0o600)
            target = str(folder / "emulator.sqlite")
        self._base = sqlite3.connect(target, isolation_level=None, check_same_thread=False)
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=NORMAL")
        self._base.execute(
            "CREATE TABLE IF NOT EXISTS record"
            " (kind TEXT, key TEXT, body TEXT, PRIMARY KEY (kind, key)) WITHOUT ROWID"
        )
        self.services: dict[Key, Service] = {}
        self.operations: dict[str, Operation] = {}
        self.befores: dict[Key, Before] = {}
        self.plans: dict[Key, Json] = {}
        # The ids of the operations that have ended, in the order of their ends.
        self._ended: dict[str, None] = {}
        self._load()

    def _load(self) -> None:
        for kind, key, body in self._base.execute("SELECT kind, key, body FROM record"):
            record = json.loads(body)
            if kind == "service":
                service = Service(**record)
                self.services[service.key] = service
            elif kind == "operation":
                record["key"] = tuple(record["key"])
                self._hold_operation(Operation(**record))
            elif kind == "before":
                before = Before(**{**record, "key": tuple(record["key"])})
                self.befores[before.key] = before
            elif kind == "plan":
                subscription, group, name = json.loads(key)
                self.plans[subscription, group, name] = record

    @property
    def count(self) -> int:
        """Return the position of a seeded random source at the last write."""
        row = self._base.execute("SELECT body FROM record WHERE kind = 'count'").fetchone()
        return int(row[0]) if row else 0

    def keep(
        self,
        *records: Service | Operation | Before,
        count: int,
        gone: Service | None = None,
    ) -> None:
        """Write records and the random source's count, and delete `gone`, in one transaction."""
        for record in records:
            if isinstance(record, Operation):
                self._hold_operation(record)
        rows = [_make_row(record) for record in records]
        with self._change():
            self._drop_ended()
            if gone is not None:
                self._base.execute(
                    "DELETE FROM record WHERE kind = 'service' AND key = ?", (json.dumps(gone.key),)
                )
            self._put(*rows, ("count", "", str(count)))
        if gone is not None:
            self.services.pop(gone.key, None)
        for record in records:
            if isinstance(record, Service):
                self.services[record.key] = record
            elif isinstance(record, Before):
                self.befores[record.key] = record

    def _hold_operation(self, operation: Operation) -> None:
        self.operations[operation.id] = operation
        if operation.has_ended:
            operation.outcome = None
            self._ended.setdefault(operation.id)

    def _drop_ended(self) -> None:
        """Delete the operations that ended first, if too many are kept."""
        for operation_id in list(self._ended)[:-MOST_ENDED]:
            del self._ended[operation_id], self.operations[operation_id]
            self._base.execute(
                "DELETE FROM record WHERE kind = 'operation' AND key = ?", (operation_id,)
            )

    def keep_plan(self, key: Key, plan: Json, *, count: int) -> None:
        """Write a commitment plan and the random source's count; None deletes the plan."""
        with self._change():
            self._put(("count", "", str(count)))
            if plan is None:
                self._base.execute(
                    "DELETE FROM record WHERE kind = 'plan' AND key = ?", (json.dumps(key),)
                )
            else:
                self._put(("plan", json.dumps(key), json.dumps(plan)))
        if plan is None:
            self.plans.pop(key, None)
        else:
            self.plans[key] = plan

    def read(self, kind: str) -> list[Json]:
        """Return the records that another module stored under `kind`, ordered by key."""
        rows = self._base.execute("SELECT body FROM record WHERE kind = ? ORDER BY key", (kind,))
        return [json.loads(body) for (body,) in rows]

    def write(
        self,
        rows: Iterable[tuple[str, tuple[str, ...], Json]],
        gone: Iterable[tuple[str, tuple[str, ...]]],
        *,
        count: int,
    ) -> None:
        """Write records by kind and key, and delete the records `gone`, in one transaction."""
        with self._change():
            for kind, key in gone:
                self._base.execute(
                    "DELETE FROM record WHERE kind = ? AND key = ?", (kind, json.dumps(key))
                )
            self._put(*((kind, json.dumps(key), json.dumps(body)) for kind, key, body in rows))
            self._put(("count", "", json.dumps(count)))

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Run one transaction; roll it back if the block fails."""
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._base.execute("ROLLBACK")
            raise
        self._base.execute("COMMIT")

    def _put(self, *rows: Row) -> None:
        self._base.executemany("INSERT OR REPLACE INTO record VALUES (?, ?, ?)", rows)


def _make_row(record: Service | Operation | Before) -> Row:
    body = json.dumps(asdict(record))
    if isinstance(record, Operation):
        return "operation", record.id, body
    return "service" if isinstance(record, Service) else "before", json.dumps(record.key), body
