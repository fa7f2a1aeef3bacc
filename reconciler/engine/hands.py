"""The ports that an engine works with, and the bounded pool that it works on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

from reconciler.model import Address
from reconciler.ports import (
    Blobs,
    Budget,
    Clock,
    Emit,
    Kind,
    Ledger,
    Observations,
    Provider,
    ResolveSecret,
)

_LOOK_EVERY_S: Final = 0.2
_One = TypeVar("_One")
_Done = TypeVar("_Done")


@dataclass(frozen=True)
class Hands:
    """What an engine reaches the world with. `providers` holds one per kind name.

    `halted` says why nothing more may be begun, or "" while everything may.
    """

    kinds: Mapping[str, Kind]
    providers: Mapping[str, Provider]
    ledger: Ledger
    observations: Observations
    blobs: Blobs
    resolve: ResolveSecret
    emit: Emit
    clock: Clock
    budget: Budget
    parallelism: int = 10
    halted: Callable[[], str] = lambda: ""
    sleep: Callable[[float], None] = time.sleep

    def provider(self, address: Address) -> Provider:
        """The calls for an address."""
        return self.providers[address.kind]

    @property
    def calls(self) -> int:
        """How many requests were sent so far to all services."""
        return sum(provider.calls for provider in self.providers.values())

    def spread(
        self, work: Callable[[_One], _Done], items: Iterable[_One], grace_s: float = 0.0
    ) -> Iterator[_Done]:
        """The results of `work` as they come, at most `parallelism` at a time.

        Only as many items are taken as are worked on, so that nothing new starts once the
        caller stops asking. What is in flight is finished before an exception goes on; what only
        waits for the turn of its next call waits for no more than `grace_s` seconds then.
        """
        waiting = iter(items)
        finished: SimpleQueue[Future[_Done]] = SimpleQueue()
        running = 0
        with ThreadPoolExecutor(self.parallelism) as pool, self._ending(grace_s):
            while True:
                for item in islice(waiting, self.parallelism - running):
                    pool.submit(work, item).add_done_callback(finished.put)
                    running += 1
                if not running:
                    return
                yield self._take(finished, grace_s).result()
                running -= 1

    def _take(self, finished: SimpleQueue[Future[_Done]], grace_s: float) -> Future[_Done]:
        """The next that has ended; once nothing more may be begun, nobody waits long for a turn."""
        while True:
            try:
                return finished.get(timeout=_LOOK_EVERY_S if grace_s else None)
            except Empty:
                if self.halted():
                    self.budget.stop(grace_s)

    @contextmanager
    def _ending(self, grace_s: float) -> Iterator[None]:
        """Stop the budget where the work inside ends before its time."""
        try:
            yield
        except BaseException:
            self.budget.stop(grace_s)
            raise
