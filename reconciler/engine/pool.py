"""The bounded thread pool: runs resumable tasks on worker threads, and keeps sleeping tasks.

It must not know any service, plan or ledger. Only the runtime calls it.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Final, Generic, TypeAlias, TypeVar

from reconciler.model.values import dataclass
from reconciler.ports import RateLimiter
from reconciler.tracing import carry

_POLL_EVERY_S: Final = 0.2
# How long the process is observed before more threads start, at least.
_OBSERVED_S: Final = 0.002
# The share of one processor above which another thread costs more than it saves, because threads
# take time to switch. One thread uses four fifths if each answer is ready when it is asked for.
_BUSY: Final = 3 / 4
Item = TypeVar("Item")
Result = TypeVar("Result")
# A task that may sleep: it yields the number of seconds to sleep, and returns its result.
ResumableTask: TypeAlias = Generator[float, None, Result]


def pace_threads(most: int, ended: threading.Event) -> Iterator[int]:
    """Yield once for each thread, at the time when it should start.

    Python code runs on one thread at a time, so more threads help only where the process waits for
    a service. Then as many start as have started before. Nothing starts after `ended`.
    """
    for number in range(most):
        observed_s = _OBSERVED_S
        while number.bit_count() == 1 and _is_busy(ended, observed_s):  # 1, 2, 4, 8 …
            observed_s = min(2 * observed_s, _POLL_EVERY_S)
        if ended.is_set():
            return
        yield number


def _is_busy(ended: threading.Event, observed_s: float) -> bool:
    """Whether this process computes for most of the next `observed_s`; False after `ended`."""
    used, at = time.process_time(), time.monotonic()
    if ended.wait(observed_s):
        return False
    return time.process_time() - used > _BUSY * (time.monotonic() - at)


class Scheduler(Generic[Result]):
    """Runs tasks on at most `parallelism` threads; a sleeping task needs no thread.

    When the caller stops, or when `halted` returns a reason, a task waits at most `grace_s`
    seconds for its next call. With `only_reads`, a KeyboardInterrupt waits for no task.
    """

    def __init__(
        self,
        rate_limiter: RateLimiter,
        halted: Callable[[], str],
        sleep: Callable[[float], None],
        parallelism: int,
        grace_s: float,
        *,
        only_reads: bool = False,
    ) -> None:
        self._rate_limiter, self._halted, self._rest = rate_limiter, halted, sleep
        self._parallelism, self._grace_s, self._only_reads = parallelism, grace_s, only_reads
        self._threads: list[threading.Thread] = []
        self._asked: SimpleQueue[ResumableTask[Result] | None] = SimpleQueue()
        self._moved: SimpleQueue[tuple[ResumableTask[Result], _Moved[Result]]] = SimpleQueue()
        self._resting: list[tuple[float, int, ResumableTask[Result]]] = []
        self._count = itertools.count()
        self._ahead = 0.0
        self._running = 0
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether nothing more may start, because the caller has stopped or a task has failed."""
        return self._stopped

    def run(
        self, work: Callable[[Item], ResumableTask[Result]], items: Iterable[Item | None]
    ) -> Iterator[Result]:
        """Yield the results in the order of completion; a None item means "not ready yet"."""
        waiting = iter(items)
        with self._stop_calls_on_error():
            begins = False
            while True:
                for _ in range(self._parallelism - self._running):
                    task = self._next_task(work, waiting, begins=begins)
                    if task is None:
                        break
                    # New and resumed tasks alternate, so that tasks that resume often cannot
                    # keep new tasks from starting.
                    begins = not begins
                    self._submit(task)
                if not self._running and not self._resting:
                    return
                yield from self._wait_for_results()

    @contextmanager
    def _stop_calls_on_error(self) -> Iterator[None]:
        """Stop the rate limiter if the block ends early; then wait for the running threads.

        A person who presses Ctrl-C does not wait for the reads of a service that is silent.
        """
        waits = True
        try:
            yield
        except BaseException as error:
            self._stopped = True
            self._rate_limiter.stop(self._grace_s)
            waits = not (self._only_reads and isinstance(error, KeyboardInterrupt))
            raise
        finally:
            self._asked.put(None)
            for thread in self._threads if waits else ():
                thread.join()

    def _submit(self, task: ResumableTask[Result]) -> None:
        """Run a task until it sleeps or ends, on a free thread or on a new one."""
        self._running += 1
        if self._running > len(self._threads):
            thread = threading.Thread(target=carry(self._serve), daemon=self._only_reads)
            thread.start()
            self._threads.append(thread)
        self._asked.put(task)

    def _serve(self) -> None:
        """Run tasks on one thread. An executor would create a future and a lock for each task."""
        while (task := self._asked.get()) is not None:
            self._moved.put((task, _advance(task)))
        # End the next thread too: a signal can keep a thread out of the list of threads.
        self._asked.put(None)

    def _next_task(
        self,
        work: Callable[[Item], ResumableTask[Result]],
        waiting: Iterator[Item | None],
        *,
        begins: bool,
    ) -> ResumableTask[Result] | None:
        """Return a new or a resumed task, or None; with `begins` a new task comes first."""
        for fresh in (begins, not begins):
            task = self._begin(work, waiting) if fresh else self._next_rested()
            if task is not None:
                return task
        return None

    def _begin(
        self, work: Callable[[Item], ResumableTask[Result]], waiting: Iterator[Item | None]
    ) -> ResumableTask[Result] | None:
        item = next(waiting, None)
        return None if item is None else work(item)

    def _next_rested(self) -> ResumableTask[Result] | None:
        """Return the task that is due for the longest time; None if no task is due."""
        if self._resting and self._resting[0][0] <= self._now():
            return heapq.heappop(self._resting)[2]
        return None

    def _wait_for_results(self) -> Iterator[Result]:
        """Wait until a task ends or sleeps; yields the result of a task that has ended."""
        # A task that is due continues only when a thread is free.
        free = self._running < self._parallelism
        left = self._resting[0][0] - self._now() if self._resting and free else None
        if not self._running and left is not None:
            self._sleep(max(0.0, left))
            return
        try:
            task, moved = self._moved.get(timeout=self._shorten(left))
        except Empty:
            if (self._grace_s or left is not None) and self._halted():
                self._rate_limiter.stop(self._grace_s)
            return
        self._running -= 1
        if isinstance(moved, _Failed):
            raise moved.error
        if isinstance(moved, _TaskResult):
            yield moved.result
        else:
            due = self._now() + moved
            heapq.heappush(self._resting, (due, next(self._count), task))

    def _shorten(self, left: float | None) -> float:
        """Return the longest time to wait before the next check, in seconds.

        A signal does not end the wait if it comes just before it, or if the kernel gives it to
        another thread. Its handler then runs after the wait, so each wait has an end.
        """
        return _POLL_EVERY_S if left is None else max(0.0, min(left, _POLL_EVERY_S))

    def _now(self) -> float:
        return time.monotonic() + self._ahead

    def _sleep(self, seconds: float) -> None:
        """Sleep; a test clock may run ahead of the monotonic clock."""
        before = self._now()
        self._rest(seconds)
        self._ahead += max(0.0, before + seconds - self._now())


@dataclass(frozen=True, slots=True)
class _TaskResult(Generic[Result]):
    """The result of a task."""

    result: Result


@dataclass(frozen=True, slots=True)
class _Failed:
    """The exception of a task."""

    error: BaseException


# The number of seconds that a task sleeps, or how it ended.
_Moved: TypeAlias = float | _TaskResult[Result] | _Failed


def _advance(task: ResumableTask[Result]) -> _Moved[Result]:
    """Run a task until it sleeps or ends; its exception is raised on the caller's thread."""
    try:
        return next(task)
    except StopIteration as end:
        return _TaskResult(end.value)
    except BaseException as error:  # noqa: BLE001 - it is raised on the caller's thread
        return _Failed(error)
