"""The ports that an engine works with, and the bounded pool that it works on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from typing import TypeVar

from reconciler.model import Address
from reconciler.ports import (
    Blobs,
    Clock,
    Emit,
    Kind,
    Ledger,
    Observations,
    Provider,
    ResolveSecret,
)

_One = TypeVar("_One")
_Done = TypeVar("_Done")


@dataclass(frozen=True)
class Hands:
    """What an engine reaches the world with. `providers` holds one per kind name."""

    kinds: Mapping[str, Kind]
    providers: Mapping[str, Provider]
    ledger: Ledger
    observations: Observations
    blobs: Blobs
    resolve: ResolveSecret
    emit: Emit
    clock: Clock
    parallelism: int = 10

    def provider(self, address: Address) -> Provider:
        """The calls for an address."""
        return self.providers[address.kind]

    @property
    def calls(self) -> int:
        """How many requests were sent so far to all services."""
        return sum(provider.calls for provider in self.providers.values())

    def spread(self, work: Callable[[_One], _Done], items: Iterable[_One]) -> Iterator[_Done]:
        """The results of `work` as they come, at most `parallelism` at a time.

        Only as many items are taken as are worked on, so that nothing new starts once the
        caller stops asking. What is in flight is finished before an exception goes on.
        """
        waiting = iter(items)
        finished: SimpleQueue[Future[_Done]] = SimpleQueue()
        running = 0
        with ThreadPoolExecutor(self.parallelism) as pool:
            while True:
                for item in islice(waiting, self.parallelism - running):
                    pool.submit(work, item).add_done_callback(finished.put)
                    running += 1
                if not running:
                    return
                yield finished.get().result()
                running -= 1
