"""Time that a test holds, or that goes by at once."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

# The part of a sleep that is slept: others need the processor to get on meanwhile.
_LONGEST_S = 0.02
# For a process of its own, as what it does first: `hurry_calls` until it ends.
HURRIED = (
    "import contextlib; from tests.clocks import hurry_calls\n"
    "contextlib.kept = contextlib.ExitStack(); contextlib.kept.enter_context(hurry_calls())\n"
)


@dataclass
class FakeClock:
    """Seconds that pass only where somebody sleeps; `slept` holds every sleep."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class HurriedClock:
    """The real clock, but a sleep ends soon, and the clock is then where it would have been."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def sleep(self, seconds: float) -> None:
        until = self() + seconds
        time.sleep(min(seconds, _LONGEST_S))
        self._ahead = max(self._ahead, until - time.monotonic())


@contextmanager
def hurry_calls() -> Iterator[None]:
    """Let the calls of commands in this process rest only for a moment before they try again.

    They try as often as ever, and say what they would wait. This holds for our own client, for its
    rate limiter, for Azure's libraries, and for a plan or an apply that has nothing else to do.
    """
    from azure.core.pipeline.transport import HttpTransport

    from reconciler.engine.pool import Scheduler
    from reconciler.transport import Client, CommandRateLimiter

    clock = HurriedClock()

    usual = Scheduler._sleep

    def rest(scheduler: Scheduler[Any], seconds: float) -> None:
        with mock.patch.object(scheduler, "_rest", clock.sleep):
            usual(scheduler, seconds)

    times = {"clock": clock, "sleep": clock.sleep}
    with ExitStack() as stack:
        for made in (Client, CommandRateLimiter):
            stack.enter_context(mock.patch.dict(made.__init__.__kwdefaults__, times))
        stack.enter_context(mock.patch.object(HttpTransport, "sleep"))
        stack.enter_context(mock.patch.object(Scheduler, "_sleep", rest))
        yield
