"""The bounded pool: what runs, what rests, and what an end leaves behind."""

import itertools
import signal
import threading
from collections.abc import Generator
from dataclasses import replace
from queue import SimpleQueue
from types import SimpleNamespace
from typing import cast
from unittest import mock

import pytest

from reconciler.engine.pool import pace_threads
from reconciler.transport import CommandRateLimiter
from tests.unit.test_engine import World


def test_work_that_rests_holds_up_nobody() -> None:
    runtime = replace(World().runtime(parallelism=2), sleep=lambda _: None)
    begun: list[int] = []

    def work(item: int) -> Generator[float, None, int]:
        begun.append(item)
        while len(begun) < 50:
            yield 0.01
        return item

    assert sorted(runtime.run_resumable(work, range(50))) == list(range(50))


def test_work_that_goes_on_again_and_again_lets_others_begin() -> None:
    runtime = World().runtime(parallelism=1)
    begun: list[int] = []
    turns = iter(range(1_000))

    def work(item: int) -> Generator[float, None, int]:
        begun.append(item)
        while len(begun) < 5:
            assert next(turns, None) is not None, "the others never begin"
            yield 0.0
        return item

    assert sorted(runtime.run_resumable(work, range(5))) == list(range(5))


def test_what_may_not_begin_yet_is_asked_for_again_once_something_went_on() -> None:
    world = World()
    runtime = world.runtime(parallelism=4)
    ended: list[int] = []
    begun_after: dict[int, int] = {}

    def items() -> Generator[int | None, None, None]:
        for item in range(6):
            while len(ended) < item // 2 * 2:  # two at a time
                yield None
            yield item

    def work(item: int) -> Generator[float, None, int]:
        begun_after[item] = len(ended)
        yield 1.0
        ended.append(item)
        return item

    assert sorted(runtime.run_resumable(work, items())) == list(range(6))
    assert all(begun_after[item] >= item // 2 * 2 for item in range(6))


def test_no_more_than_the_parallelism_runs_at_once() -> None:
    runtime = World().runtime(parallelism=3)
    lock, running, most = threading.Lock(), 0, 0
    together = threading.Barrier(3)

    def work(item: int) -> Generator[float, None, int]:
        nonlocal running, most
        if item < 3:
            together.wait(60)
        for _ in range(3):
            with lock:
                running += 1
                most = max(most, running)
            threading.Event().wait(0.002)
            with lock:
                running -= 1
            yield 0.001
        return item

    assert sorted(runtime.run_resumable(work, range(20))) == list(range(20))
    assert most == 3


def test_what_has_rested_longest_goes_on_first_and_before_anything_new() -> None:
    world = World()
    runtime = world.runtime(parallelism=1)
    order: list[str] = []

    def work(item: str) -> Generator[float, None, None]:
        order.append(f"{item} begins")
        yield {"a": 5.0, "b": 1.0}[item]
        order.append(f"{item} ends")

    list(runtime.run_resumable(work, "ab"))
    assert order == ["a begins", "b begins", "b ends", "a ends"]
    assert sum(world.slept) == pytest.approx(5.0)


def test_what_has_rested_is_not_asked_for_while_every_thread_works() -> None:
    looks: list[float | None] = []

    class Moved(SimpleQueue[object]):
        def get(self, block: bool = True, timeout: float | None = None) -> object:
            looks.append(timeout)
            return super().get(block, timeout)

    def work(item: int) -> Generator[float, None, int]:
        if item == 0:
            yield 0.0
        else:
            threading.Event().wait(0.05)
        return item

    with mock.patch("reconciler.engine.pool.SimpleQueue", Moved):
        assert sorted(World().runtime(parallelism=1).run_resumable(work, range(2))) == [0, 1]
    assert set(looks) == {None, 0.2}, "what has rested cannot go on before a thread is free"


def test_an_interruption_while_a_thread_starts_leaves_none_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start, begun = threading.Thread.start, []

    def start_and_raise(thread: threading.Thread) -> None:
        start(thread)
        begun.append(thread)
        if len(begun) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", start_and_raise)
    runtime = World().runtime(parallelism=4)
    with pytest.raises(KeyboardInterrupt):
        runtime.run_all(lambda item: item, range(4))
    for thread in begun:
        thread.join(30)
    assert [thread.is_alive() for thread in begun] == [False, False]


def test_a_signal_that_does_not_end_the_wait_for_results_is_handled_soon() -> None:
    heard = threading.Event()

    def work(_: int) -> bool:
        # The wait of the main thread goes on, as after a signal that comes just before it.
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        return heard.wait(60)

    before = signal.signal(signal.SIGUSR1, lambda *_: heard.set())
    try:
        assert World().runtime(parallelism=1).run_all(work, range(1)) == [True]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_surprise_ends_everything() -> None:
    runtime = World().runtime(parallelism=2)

    def work(item: int) -> Generator[float, None, int]:
        yield 0.0
        if item == 3:
            raise RuntimeError
        return item

    with pytest.raises(RuntimeError):
        list(runtime.run_resumable(work, range(10)))


def test_once_nothing_more_may_be_begun_nobody_waits_long_for_a_turn() -> None:
    ended = threading.Event()

    class RateLimiter(CommandRateLimiter):
        def stop(self, within_s: float) -> None:
            assert within_s == 30.0
            ended.set()

    rate_limiter = RateLimiter(lambda _: None)
    runtime = replace(World().runtime(), rate_limiter=rate_limiter, halted=lambda: "interrupted")

    def work(item: int) -> Generator[float, None, int]:
        assert ended.wait(60)
        return item
        yield 0.0

    assert list(runtime.run_resumable(work, [1], 30.0)) == [1]


def test_results_come_in_the_order_of_the_items() -> None:
    last_ended = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert last_ended.wait(60)
        if item == 19:
            last_ended.set()
        return item * item

    assert World().runtime(parallelism=2).run_all(work, range(20)) == [n * n for n in range(20)]


def test_a_failure_ends_what_runs_and_starts_nothing_more() -> None:
    failed, started, ended = threading.Event(), list[int](), list[int]()

    class RateLimiter(CommandRateLimiter):
        def stop(self, within_s: float) -> None:
            failed.set()

    def work(item: int) -> None:
        started.append(item)
        if item == 0:
            raise RuntimeError
        assert failed.wait(60)
        ended.append(item)

    limited = replace(World().runtime(parallelism=3), rate_limiter=RateLimiter(lambda _: None))
    with pytest.raises(RuntimeError):
        limited.run_all(work, range(1_000))
    assert sorted(started) == [0, *sorted(ended)]
    assert len(started) <= 3


@pytest.fixture
def always_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = SimpleNamespace(monotonic=lambda: 1000.0, process_time=itertools.count().__next__)
    monkeypatch.setattr("reconciler.engine.pool.time", clocks)


class _Observed:
    """Clocks for `pace_threads`: each wait takes its time, in which the process computes a share.

    The last share is that of all later waits; after `waits` waits the work has ended.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *shares: float, waits: int = 100) -> None:
        self.waited: list[float] = []
        self.shares, self.waits, self.at, self.used = shares, waits, 100.0, 5.0
        clocks = SimpleNamespace(monotonic=lambda: self.at, process_time=lambda: self.used)
        monkeypatch.setattr("reconciler.engine.pool.time", clocks)

    def is_set(self) -> bool:
        return len(self.waited) >= self.waits

    def wait(self, seconds: float) -> bool:
        share = self.shares[min(len(self.waited), len(self.shares) - 1)]
        self.waited.append(seconds)
        self.at, self.used = self.at + seconds, self.used + share * seconds
        return self.is_set()

    def start(self, most: int) -> list[int]:
        return list(pace_threads(most, cast("threading.Event", self)))


def test_threads_start_soon_where_the_process_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    observed = _Observed(monkeypatch, 0.7)
    assert observed.start(10) == list(range(10))
    assert observed.waited == [0.002] * 4, "before the threads 1, 2, 4 and 8"


def test_no_thread_starts_where_one_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    observed = _Observed(monkeypatch, 0.8, waits=10)
    assert observed.start(4) == [0]
    assert observed.waited[:3] == [0.002, 0.004, 0.008]
    assert max(observed.waited) == 0.2, "a service that becomes slow is noticed soon"


def test_threads_start_once_the_process_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    observed = _Observed(monkeypatch, 1.0, 0.9, 0.1)
    assert observed.start(4) == [0, 1, 2, 3]
    assert observed.waited == [0.002, 0.004, 0.008, 0.002]


def test_no_thread_starts_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _Observed(monkeypatch, 0.0, waits=1).start(4) == [0]


def test_paced_work_that_computes_runs_on_one_thread(always_busy: None) -> None:
    used = set()

    def work(item: int) -> int:
        used.add(threading.get_ident())
        threading.Event().wait(0.001)  # another thread would take the next item meanwhile
        return item

    assert World().runtime(parallelism=4).run_all(work, range(40), paced=True) == list(range(40))
    assert len(used) == 1


def test_a_failure_of_paced_work_that_computes_is_raised(always_busy: None) -> None:
    def work(_: int) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        World().runtime(parallelism=2).run_all(work, range(2), paced=True)
