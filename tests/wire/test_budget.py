"""The rate limit over real sockets."""

import random
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from reconciler.model import CallEnded, Event, Throttling
from reconciler.transport import Client, CommandRateLimiter
from reconciler.transport.timeouts import Timeouts
from tests.scripted import Answer, Call, Script, run_scripted


class FastClock:
    """Real time, a hundred times as fast."""

    def __call__(self) -> float:
        return 100 * time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / 100)


def moody(seed: int, share: float) -> tuple[list[bool], Script]:
    """Whether each call is taken, by its number; and a script that refuses the others.

    Refusals have either status, and name seconds, or nothing, or are HTML.
    """
    drawn = random.Random(seed)
    taken = [drawn.random() >= share for _ in range(5000)]
    refusals = [
        Answer(429, {"error": {"code": "TooManyRequests"}}, {"Retry-After": "1"}),
        Answer(503, {}),
        Answer(429, b"<html>busy", {"Content-Type": "text/html", "Retry-After": "0"}),
        Answer(503, None, {"Retry-After": "2"}),
    ]

    def script(_: Call, number: int) -> Answer:
        return Answer(200, {}) if taken[number] else refusals[number % len(refusals)]

    return taken, script


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_call_fails_where_three_of_ten_are_refused(seed: int) -> None:
    """And none is sent that need not be: as many as it takes to be accepted 200 times."""
    taken, script = moody(seed, 0.3)
    clock, events = FastClock(), list[Event]()
    with run_scripted(script) as server:
        rate_limiter = CommandRateLimiter(events.append, clock=clock, sleep=clock.sleep)
        client = Client(
            server.url,
            events.append,
            rate_limiter,
            # A machine that holds this process up for a second takes a hundred of them.
            timeouts=Timeouts(retries=0, throttled_s=1e6, connect_s=60, read_s=60),
            clock=clock,
            sleep=clock.sleep,
        )

        def work(number: int) -> int:
            method = "GET" if number % 4 else "PATCH"
            return client.send(method, f"/subscriptions/s/{number}").status

        with ThreadPoolExecutor(10) as pool:
            assert set(pool.map(work, range(200))) == {200}
        sent = len(server.calls)
    assert sum(taken[:sent]) == 200
    assert taken[sent - 1]
    refused = sent - 200
    assert 40 <= refused <= 130
    # Each wait of all is told once, however many had to wait.
    reported = [event for event in events if isinstance(event, Throttling)]
    ended = [event for event in events if isinstance(event, CallEnded)]
    assert len(ended) == sent
    assert len(reported) == len(events) - sent <= refused
    assert all(re.fullmatch(r"(reads|writes) of 127\.0\.0\.1:\d+", one.subject) for one in reported)
