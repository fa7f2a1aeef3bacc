"""One budget for all workers: whose turn it is, what one is told holds for all, where it ends."""

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from reconciler.errors import ReconcilerError, Throttled, TooManyCalls
from reconciler.model import Event, SeparateLimit, Throttling
from reconciler.ports import Permit
from reconciler.transport import CommandRateLimiter
from reconciler.transport.rate_limit import FifoLock
from tests.clocks import FakeClock

AZURE = "https://management.azure.com/subscriptions/{}/resourceGroups/g/x"
LOCAL = "http://127.0.0.1:8470/subscriptions/s/x"
PATIENT = 600.0
LEFT = "x-ms-ratelimit-remaining-subscription-"
APART = SeparateLimit(f"{LEFT}resource-requests", "deployment writes", 25, 0.5)


class Recorder:
    """A budget on a clock that a test holds, and what it said."""

    def __init__(self, most: int | None = None) -> None:
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.rate_limiter = CommandRateLimiter(
            self.events.append, most=most, clock=self.clock, sleep=self.clock.sleep
        )

    def admit(
        self, method: str = "GET", url: str = LOCAL, apart: SeparateLimit | None = None
    ) -> Permit:
        return self.rate_limiter.admit(method, url, PATIENT, apart)

    def refuse(self, method: str = "GET", url: str = LOCAL, pause: str = "7") -> float:
        permit = self.admit(method, url)
        return permit.learn(429, {"Retry-After": pause}, "busy", PATIENT)

    def time(
        self, calls: int, method: str = "GET", url: str = LOCAL, apart: SeparateLimit | None = None
    ) -> float:
        """Seconds that so many calls take, each asked for when the one before has gone."""
        started = self.clock.now
        for _ in range(calls):
            self.admit(method, url, apart)
        return self.clock.now - started


# Lanes.


@pytest.mark.parametrize(
    "host",
    ["management.azure.com", "management.azure.com:443", "westcentralus.management.azure.com"],
)
@pytest.mark.parametrize(
    ("method", "calls"), [("GET", 300), ("PUT", 220), ("PATCH", 220), ("DELETE", 220)]
)
def test_resource_managers_published_limits_hold_beforehand(
    host: str, method: str, calls: int
) -> None:
    recorder = Recorder()
    url = f"https://{host}/subscriptions/s/resourceGroups/g"
    assert recorder.time(calls, method, url) == pytest.approx(2.0)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8470", "management.azure.com.example.org", "xmanagement.azure.com"]
)
def test_any_other_address_is_not_slowed_down_beforehand(host: str) -> None:
    assert Recorder().time(2000, "GET", f"https://{host}/subscriptions/s/x") == 0.0


def test_reads_and_writes_wait_for_themselves_alone() -> None:
    recorder = Recorder()
    assert recorder.time(250, "GET", AZURE.format("s")) == 0.0
    assert recorder.time(100, "PUT", AZURE.format("s")) == 0.0
    assert recorder.time(100, "DELETE", AZURE.format("s")) == 0.0
    assert recorder.time(1, "PATCH", AZURE.format("s")) == pytest.approx(0.1)
    recorder.refuse("PUT")
    assert recorder.time(10, "GET") == 0.0
    assert recorder.time(1, "DELETE") == pytest.approx(7.0)


def test_calls_with_a_limit_of_their_own_wait_for_themselves_alone() -> None:
    recorder = Recorder()
    assert recorder.time(25, "PUT", AZURE.format("s"), APART) == 0.0
    assert recorder.time(200, "PUT", AZURE.format("s")) == 0.0
    assert recorder.time(1, "PUT", AZURE.format("s"), APART) == pytest.approx(2.0)
    permit = recorder.admit("PUT", LOCAL, APART)
    permit.learn(429, {"Retry-After": "7"}, "too many", PATIENT)
    assert recorder.events == [Throttling("deployment writes of 127.0.0.1:8470", "too many", 7.0)]
    assert recorder.time(10, "PUT") == 0.0
    assert recorder.time(1, "PUT", LOCAL, APART) == pytest.approx(7.0)


def test_a_limit_of_its_own_learns_from_its_own_count_alone() -> None:
    recorder = Recorder()
    counts = {f"{LEFT}resource-requests": "2", f"{LEFT}writes": "0"}
    recorder.admit("PUT", AZURE.format("s"), APART).learn(201, counts, "", PATIENT)
    assert recorder.time(2, "PUT", AZURE.format("s"), APART) == 0.0
    assert recorder.time(1, "PUT", AZURE.format("s"), APART) == pytest.approx(2.0)
    assert recorder.time(100, "PUT", AZURE.format("s")) == 0.0


def test_a_subscription_and_a_regional_front_have_lanes_of_their_own() -> None:
    recorder = Recorder()
    recorder.time(250, "GET", AZURE.format("ABC"))
    assert recorder.time(1, "GET", AZURE.format("abc")) > 0
    assert recorder.time(250, "GET", AZURE.format("other")) == 0.0
    assert recorder.time(250, "GET", AZURE.format("abc").replace("://", "://westus.")) == 0.0


@pytest.mark.parametrize("status", [200, 404, 500, 502])
def test_errors_pay_too(status: int) -> None:
    recorder = Recorder()
    for _ in range(250):
        recorder.admit("GET", AZURE.format("s")).learn(status, {}, "", PATIENT)
    assert recorder.time(1, "GET", AZURE.format("s")) == pytest.approx(1 / 25)


# What one is told holds for all.


@pytest.mark.parametrize("status", [429, 503])
def test_what_one_is_told_everybody_waits_for(status: int) -> None:
    recorder = Recorder()
    recorder.admit().learn(status, {"Retry-After": "7"}, "busy", PATIENT)
    assert recorder.time(1) == pytest.approx(7.0)


def test_a_wait_of_all_is_told_once() -> None:
    recorder = Recorder()
    leaves = [recorder.admit() for _ in range(10)]
    for permit in leaves:
        permit.learn(429, {"Retry-After": "7"}, "busy", PATIENT)
    recorder.time(20)
    assert recorder.events == [Throttling("reads of 127.0.0.1:8470", "busy", 7.0)]


def test_where_the_service_names_no_time_the_wait_grows_until_a_call_is_accepted() -> None:
    recorder = Recorder()
    waits = [recorder.admit().learn(503, {}, "busy", PATIENT) for _ in range(9)]
    for number, wait in enumerate(waits):
        assert 0.5 <= wait / min(0.2 * 2**number, 10.0) <= 1.0
    recorder.admit().learn(200, {}, "", PATIENT)
    assert recorder.admit().learn(503, {}, "busy", PATIENT) <= 0.2


def test_who_asks_for_more_than_patience_is_asked_again_in_a_minute() -> None:
    recorder = Recorder()
    assert recorder.refuse(pause="600") == 600.0
    assert Recorder().refuse(pause="601") == 60.0


def test_services_at_one_address_of_another_count_apart() -> None:
    """The emulator counts one service in hours, as recorded, and another one in tokens."""
    recorder = Recorder()
    header = "x-ms-ratelimit-remaining-subscription-reads"
    for left in (11999, 11998, 11997):
        for provider, count in (("One", left), ("Two", left - 11750)):
            url = f"{LOCAL}/providers/{provider}/y"
            recorder.admit("GET", url).learn(200, {header: str(count)}, "", PATIENT)
    assert recorder.time(20, "GET", f"{LOCAL}/providers/Two/y") == 0.0
    assert recorder.events == []
    # Resource Manager counts the calls of all its services together.
    recorder.time(250, "GET", f"{AZURE.format('s')}/providers/One/y")
    assert recorder.time(1, "GET", f"{AZURE.format('s')}/providers/Two/y") > 0


def test_little_left_of_the_hour_is_told_once_and_spread() -> None:
    recorder = Recorder()
    header = "x-ms-ratelimit-remaining-subscription-writes"
    for left in (1200, 60, 59):
        recorder.admit("PUT").learn(200, {header: str(left)}, "", PATIENT)
    assert recorder.time(2, "PUT") == pytest.approx(120.0, rel=0.05)
    (event,) = recorder.events
    assert isinstance(event, Throttling)
    assert event.reason == "60 calls left in this hour"
    assert recorder.time(10, "GET") == 0.0


@pytest.mark.parametrize("left", ["", "-1", "many", "9" * 5000, "\uff11\uff12"])
def test_a_count_that_is_none_is_passed_over(left: str) -> None:
    recorder = Recorder()
    header = "x-ms-ratelimit-remaining-subscription-reads"
    recorder.admit().learn(200, {header: left}, "", PATIENT)
    assert recorder.time(10) == 0.0


# Turns.


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_turns_come_in_the_order_in_which_they_were_asked_for() -> None:
    fifo_lock, order = FifoLock(), list[int]()

    def work(number: int) -> None:
        with fifo_lock:
            order.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    with fifo_lock:
        for waiting, thread in enumerate(threads, 1):
            thread.start()
            eventually(lambda waiting=waiting: len(fifo_lock._waiting) == waiting)  # type: ignore[misc]
    for thread in threads:
        thread.join()
    assert order == list(range(20))


def test_a_turn_is_held_by_one_at_a_time() -> None:
    fifo_lock, inside, most = FifoLock(), list[int](), list[int]()

    def work(number: int) -> None:
        for _ in range(200):
            with fifo_lock:
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert set(most) == {1}
    assert len(most) == 1600


def test_who_is_interrupted_leaves_the_line() -> None:
    fifo_lock = FifoLock()
    holds, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with fifo_lock:
            holds.set()
            let_go.wait(120)

    def interrupt() -> None:
        eventually(lambda: len(fifo_lock._waiting) == 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threads = [threading.Thread(target=work) for work in (hold, interrupt)]
    threads[0].start()
    assert holds.wait(120)
    threads[1].start()
    with pytest.raises(KeyboardInterrupt), fifo_lock:
        pass
    assert not fifo_lock._waiting
    let_go.set()
    for thread in threads:
        thread.join()
    with fifo_lock:
        pass


# The end.


def blocked(
    rate_limiter: CommandRateLimiter, calls: int
) -> tuple[list[threading.Thread], list[Exception]]:
    """So many threads that wait for a service that asked for five minutes."""
    errors: list[Exception] = []
    rate_limiter.admit("GET", LOCAL, PATIENT).learn(429, {"Retry-After": "300"}, "busy", PATIENT)

    def work() -> None:
        try:
            rate_limiter.admit("GET", LOCAL, PATIENT)
        except ReconcilerError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(calls)]
    for thread in threads:
        thread.start()
    return threads, errors


def test_all_who_wait_wake_up_when_the_command_ends() -> None:
    rate_limiter = CommandRateLimiter(lambda _: None)
    threads, errors = blocked(rate_limiter, 10)
    (gate,) = rate_limiter._gates.values()
    eventually(lambda: len(gate._fifo_lock._waiting) == 9)
    rate_limiter.stop(0.0)
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert [str(error) for error in errors] == [
        "was interrupted while a call waited for the rate limiter"
    ] * 10


def test_what_was_begun_may_wait_a_little_longer() -> None:
    recorder = Recorder()
    recorder.refuse(pause="20")
    recorder.rate_limiter.stop(30.0)
    assert recorder.time(1) == pytest.approx(20.0)
    recorder.refuse(pause="20")
    with pytest.raises(ReconcilerError, match="interrupted"):
        recorder.admit()


def test_nobody_waits_for_a_service_that_has_taken_nothing_for_too_long() -> None:
    """Else each of a thousand would be as patient as the first."""
    recorder = Recorder()
    while recorder.clock.now < 1000 + PATIENT:
        try:
            recorder.refuse(pause="50")
        except Throttled:
            break
    at = recorder.clock.now
    assert 1000 + PATIENT - 50 <= at <= 1000 + PATIENT
    for _ in range(100):
        with pytest.raises(Throttled, match="accepts no more calls: busy"):
            recorder.admit()
    assert recorder.clock.now == at
    recorder.clock.now += 100
    recorder.admit().learn(200, {}, "", PATIENT)
    assert recorder.time(1) < 1


def test_no_more_calls_go_than_may_be_sent() -> None:
    recorder = Recorder(most=3)
    for method in ("GET", "PUT", "GET"):
        recorder.admit(method)
    for url in (LOCAL, AZURE.format("s")):
        with pytest.raises(TooManyCalls, match="no more calls may be sent: --max-calls allows 3"):
            recorder.admit("GET", url)


def test_threads_that_race_for_the_last_calls_do_not_send_one_more() -> None:
    rate_limiter = CommandRateLimiter(lambda _: None, most=100)

    def work(_: int) -> bool:
        try:
            rate_limiter.admit("GET", LOCAL, PATIENT)
        except TooManyCalls:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(work, range(400))) == 100


def test_what_needs_more_is_refused_beforehand_with_both_numbers() -> None:
    recorder = Recorder(most=10)
    recorder.rate_limiter.check(10)
    with pytest.raises(TooManyCalls) as caught:
        recorder.rate_limiter.check(11)
    assert caught.value.message == "11 calls are needed, and --max-calls allows 10"
    recorder.time(4)
    recorder.rate_limiter.check(6)
    with pytest.raises(TooManyCalls) as caught:
        recorder.rate_limiter.check(7)
    assert caught.value.message == "7 calls are needed after 4, and --max-calls allows 10"
    assert "--max-calls 11" in caught.value.next_step
    Recorder().rate_limiter.check(10**9)
