"""The ports that an engine works with, and the bounded pool that it works on."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final, Generic, TypeAlias, TypeVar

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
# Work that may rest: it yields for how many seconds, and returns what it came to.
Work: TypeAlias = Generator[float, None, _Done]


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

        def once(item: _One) -> Work[_Done]:
            return work(item)
            yield 0.0

        return self.weave(once, items, grace_s)

    def weave(
        self,
        work: Callable[[_One], Work[_Done]],
        items: Iterable[_One | None],
        grace_s: float = 0.0,
    ) -> Iterator[_Done]:
        """As `spread`, of work that rests: it yields for how many seconds.

        What rests holds up nobody: others are begun meanwhile, beyond `parallelism` of them. None
        among the items says that there is none before something that was begun goes on.
        """
        waiting = iter(items)
        loom: _Loom[_Done] = _Loom(self, grace_s)
        with ThreadPoolExecutor(self.parallelism) as pool, self._ending(grace_s):
            begins = False
            while True:
                for _ in range(self.parallelism - loom.running):
                    thread = loom.pick(work, waiting, begins=begins)
                    if thread is None:
                        break
                    # In turns: what goes on again and again must not keep the rest from beginning.
                    begins = not begins
                    loom.run(pool, thread)
                if loom.idle:
                    return
                yield from loom.take()

    @contextmanager
    def _ending(self, grace_s: float) -> Iterator[None]:
        """Stop the budget where the work inside ends before its time."""
        try:
            yield
        except BaseException:
            self.budget.stop(grace_s)
            raise


class _Loom(Generic[_Done]):
    """Work that runs, and work that rests until its time has come."""

    def __init__(self, hands: Hands, grace_s: float) -> None:
        self._hands, self._grace_s = hands, grace_s
        self._moved: SimpleQueue[tuple[Work[_Done], Future[float | _End[_Done]]]] = SimpleQueue()
        self._resting: list[tuple[float, int, Work[_Done]]] = []
        self._count = itertools.count()
        self._ahead = 0.0
        self.running = 0

    @property
    def idle(self) -> bool:
        """Whether there is nothing left to wait for."""
        return not self.running and not self._resting

    def run(self, pool: ThreadPoolExecutor, thread: Work[_Done]) -> None:
        """Let work go on until it rests or ends."""
        self.running += 1
        future = pool.submit(_advance, thread)
        future.add_done_callback(lambda done: self._moved.put((thread, done)))

    def pick(
        self,
        work: Callable[[_One], Work[_Done]],
        waiting: Iterator[_One | None],
        *,
        begins: bool,
    ) -> Work[_Done] | None:
        """Work that begins, or goes on: whichever is asked for first, if there is any."""
        for fresh in (begins, not begins):
            thread = self._begin(work, waiting) if fresh else self._find_rested()
            if thread is not None:
                return thread
        return None

    def _begin(
        self, work: Callable[[_One], Work[_Done]], waiting: Iterator[_One | None]
    ) -> Work[_Done] | None:
        item = next(waiting, None)
        return None if item is None else work(item)

    def _find_rested(self) -> Work[_Done] | None:
        """Work whose rest is over, the longest ago first."""
        if self._resting and self._resting[0][0] <= self._now():
            return heapq.heappop(self._resting)[2]
        return None

    def take(self) -> Iterator[_Done]:
        """Wait until something moves: the result of what has ended, nothing for what rests."""
        # What has rested goes on only where a thread is free for it.
        free = self.running < self._hands.parallelism
        left = self._resting[0][0] - self._now() if self._resting and free else None
        if not self.running and left is not None:
            self._sleep(max(0.0, left))
            return
        try:
            thread, future = self._moved.get(timeout=self._shorten(left))
        except Empty:
            if self._hands.halted():
                self._hands.budget.stop(self._grace_s)
            return
        self.running -= 1
        moved = future.result()
        if isinstance(moved, _End):
            yield moved.result
        else:
            due = self._now() + moved
            heapq.heappush(self._resting, (due, next(self._count), thread))

    def _shorten(self, left: float | None) -> float | None:
        """How long to wait at most before something else must be looked at."""
        if left is None:
            return _LOOK_EVERY_S if self._grace_s else None
        return max(0.0, min(left, _LOOK_EVERY_S))

    def _now(self) -> float:
        return time.monotonic() + self._ahead

    def _sleep(self, seconds: float) -> None:
        """Sleep; a clock that a test holds may run ahead of ours."""
        before = self._now()
        self._hands.sleep(seconds)
        self._ahead += max(0.0, before + seconds - self._now())


@dataclass(frozen=True, slots=True)
class _End(Generic[_Done]):
    """What work came to."""

    result: _Done


def _advance(thread: Work[_Done]) -> float | _End[_Done]:
    """Go on with work until it rests, for so many seconds, or ends."""
    try:
        return next(thread)
    except StopIteration as end:
        return _End(end.value)
