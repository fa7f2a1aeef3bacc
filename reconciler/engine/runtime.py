"""The ports that an engine works with, and the bounded pool that it works on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from reconciler.engine.pool import Item, Result, ResumableTask, Scheduler
from reconciler.model import Address, Resource, ServiceTiming
from reconciler.model.values import dataclass
from reconciler.ports import (
    Access,
    Blobs,
    Clock,
    Emit,
    HasTiming,
    Kind,
    Ledger,
    ObservationStore,
    Provider,
    RateLimiter,
    ResolveSecret,
    WaitsUntilIdle,
)

# What is assumed of a service that publishes nothing: one call takes a second, none is limited.
UNKNOWN_TIMING: Final = ServiceTiming(1.0, 0, 1000, 1000.0, 1000, 1000.0)


class Providers(Mapping[str, Provider]):
    """The calls of each kind by its name, connected when they are first asked for."""

    def __init__(self, kinds: Mapping[str, Kind], access: Access) -> None:
        self._kinds, self._access = kinds, access
        self._lock = threading.Lock()
        self._connected: dict[str, Provider] = {}

    def __getitem__(self, name: str) -> Provider:
        with self._lock:
            if name not in self._connected:
                self._connected[name] = self._kinds[name].connect(self._access)
            return self._connected[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)


@dataclass(frozen=True)
class Runtime:
    """What an engine reaches the world with. `providers` holds one per kind name.

    `halted` says why nothing more may be begun, or "" while everything may.
    """

    kinds: Mapping[str, Kind]
    providers: Mapping[str, Provider]
    ledger: Ledger
    observations: ObservationStore
    blobs: Blobs
    resolve: ResolveSecret
    emit: Emit
    clock: Clock
    rate_limiter: RateLimiter
    parallelism: int = 10
    halted: Callable[[], str] = lambda: ""
    sleep: Callable[[float], None] = time.sleep

    def provider(self, address: Address) -> Provider:
        """The calls for an address."""
        return self.providers[address.kind]

    @property
    def calls(self) -> int:
        """How many requests were sent so far to all services."""
        return self.rate_limiter.sent

    def timing(self, kind: str) -> ServiceTiming:
        """How fast the service of a kind takes calls, as far as it is known."""
        provider = self.providers[kind]
        return provider.timing if isinstance(provider, HasTiming) else UNKNOWN_TIMING

    def wait_until_idle(self, resource: Resource) -> Iterator[None]:
        """Wait until no operation runs on the resource, as far as its service can be asked.

        Raises StillRunning where one has not ended in time.
        """
        provider = self.provider(resource.address)
        return (
            provider.wait_until_idle(resource) if isinstance(provider, WaitsUntilIdle) else iter(())
        )

    def run_all(
        self, work: Callable[[Item], Result], items: Iterable[Item], grace_s: float = 0.0
    ) -> Iterator[Result]:
        """The results of `work` as they come, at most `parallelism` at a time.

        Only as many items are taken as are worked on, so that nothing new starts once the
        caller stops asking. What is in flight is finished before an exception goes on; what only
        waits for the turn of its next call waits for no more than `grace_s` seconds then.
        """

        def once(item: Item) -> ResumableTask[Result]:
            return work(item)
            yield 0.0

        return self.run_resumable(once, items, grace_s)

    def run_resumable(
        self,
        work: Callable[[Item], ResumableTask[Result]],
        items: Iterable[Item | None],
        grace_s: float = 0.0,
    ) -> Iterator[Result]:
        """As `run_all`, of work that rests: it yields for how many seconds.

        What rests holds up nobody: others are begun meanwhile, beyond `parallelism` of them. None
        among the items says that there is none before something that was begun goes on.
        """
        scheduler: Scheduler[Result] = Scheduler(
            self.rate_limiter, self.halted, self.sleep, self.parallelism, grace_s
        )
        return scheduler.run(work, items)
