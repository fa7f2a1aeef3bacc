"""The ports that an engine works with, and the bounded pool that it works on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from reconciler.engine.pool import Item, Result, Scheduler, Work
from reconciler.model import Address
from reconciler.model.values import dataclass
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
        self, work: Callable[[Item], Result], items: Iterable[Item], grace_s: float = 0.0
    ) -> Iterator[Result]:
        """The results of `work` as they come, at most `parallelism` at a time.

        Only as many items are taken as are worked on, so that nothing new starts once the
        caller stops asking. What is in flight is finished before an exception goes on; what only
        waits for the turn of its next call waits for no more than `grace_s` seconds then.
        """

        def once(item: Item) -> Work[Result]:
            return work(item)
            yield 0.0

        return self.weave(once, items, grace_s)

    def weave(
        self,
        work: Callable[[Item], Work[Result]],
        items: Iterable[Item | None],
        grace_s: float = 0.0,
    ) -> Iterator[Result]:
        """As `spread`, of work that rests: it yields for how many seconds.

        What rests holds up nobody: others are begun meanwhile, beyond `parallelism` of them. None
        among the items says that there is none before something that was begun goes on.
        """
        scheduler: Scheduler[Result] = Scheduler(
            self.budget, self.halted, self.sleep, self.parallelism, grace_s
        )
        return scheduler.run(work, items)
