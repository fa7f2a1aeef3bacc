"""The rate limiter of a command: all its workers share one limit on the number and rate of calls.

The reads and the writes of a subscription have separate token buckets, so that neither waits for
the other; so have the calls that a service counts under a limit of their own. The calls of one
bucket are sent in the order of their requests. An answer to one call (Retry-After, 429 and 503, the
remaining calls of the hour) applies to all calls of the bucket.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final

from reconciler.errors import ReconcilerError, Throttled, TooManyCalls
from reconciler.model import SeparateLimit, Throttling
from reconciler.model.values import dataclass
from reconciler.ports import Emit, Lease
from reconciler.text.counting import agree, count
from reconciler.transport.replies import LATER, read_retry_after
from reconciler.transport.token_bucket import READS, WRITES, BucketLimits, TokenBucket

_PLACE: Final = re.compile(r"https?://([^/?#]+)(?:/subscriptions/([^/?#]+))?", re.IGNORECASE)
_PROVIDER: Final = re.compile(r"/providers/[^/?#]+")
# The host of Resource Manager, and its regional hosts.
_PUBLISHED: Final = re.compile(r"([a-z0-9-]+\.)?management\.azure\.com(:443)?")
_COUNT: Final = re.compile(r"[0-9]{1,9}")
_REFUSALS: Final = frozenset({429, 503})
_READS: Final = frozenset({"GET", "HEAD"})
_LONGEST_S: Final = 60.0
_LEFT: Final = "x-ms-ratelimit-remaining-subscription-"
_READ_LIMIT: Final = SeparateLimit(f"{_LEFT}reads", "reads", *READS)
_WRITE_LIMIT: Final = SeparateLimit(f"{_LEFT}writes", "writes", *WRITES)


class CommandRateLimiter:
    """Limits the calls of one command with one identity; safe to use from several threads.

    `most` is the limit on their number. `clock` and `sleep` count seconds.
    """

    def __init__(
        self,
        emit: Emit,
        *,
        most: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._emit = emit
        self._most = most
        self._time = _Time(clock, sleep)
        self._lock = threading.Lock()
        self._sent = 0
        self._gates: dict[tuple[str, str, str], _Gate] = {}
        self._lease: Lease | None = None

    @property
    def sent(self) -> int:
        """The number of admitted calls so far, including repeated ones."""
        return self._sent

    def admit(
        self, method: str, url: str, within_s: float, apart: SeparateLimit | None = None
    ) -> _Permit:
        """Wait until a call may be sent; returns its permit. `apart` is its own limit, if any.

        Raises TooManyCalls for a call above the limit. Raises Throttled when the service has
        accepted no call for `within_s` seconds, and ReconcilerError when the wait would last
        longer than `stop` allows.
        """
        self._count()
        lease = None if method in _READS else self._lease
        return self._gate(method, url, apart).enter(within_s, lease)

    def check(self, needed: int) -> None:
        """Raise TooManyCalls when `needed` more calls would exceed the limit."""
        if self._most is None or needed <= self._most - self._sent:
            return
        before = f" after {self._sent}" if self._sent else ""
        raise TooManyCalls(
            f"{count(needed, 'call')} {agree(needed, 'is', 'are')} needed{before}, and --max-calls"
            f" allows {self._most}",
            next_step="Nothing was changed. Plan less with --target, or allow more calls:"
            f" --max-calls {self._sent + needed}",
        )

    def require(self, lease: Lease) -> None:
        """Let the permits of writes raise what the `check` of this lease raises, from now on."""
        self._lease = lease

    def stop(self, within_s: float) -> None:
        """Limit every wait for a permit to `within_s` seconds from now: the command is ending."""
        self._time.stop(within_s)

    def _count(self) -> None:
        with self._lock:
            if self._most is not None and self._sent >= self._most:
                raise TooManyCalls(
                    f"no more calls may be sent: --max-calls allows {self._most}",
                    next_step="Plan again with a higher --max-calls.",
                )
            self._sent += 1

    def _gate(self, method: str, url: str, apart: SeparateLimit | None) -> _Gate:
        place = _PLACE.match(url)
        host, subscription = (place[1], place[2] or "") if place else ("", "")
        if _PUBLISHED.fullmatch(host.lower()) is None:
            # What is at another address, such as the emulator, may count each service apart.
            provider = _PROVIDER.search(url)
            subscription += provider[0] if provider else ""
        limit = apart or (_READ_LIMIT if method in _READS else _WRITE_LIMIT)
        key = (host.lower(), subscription.lower(), limit.header)
        with self._lock:
            if key not in self._gates:
                self._gates[key] = _Gate(key[0], limit, self._time, self._emit)
            return self._gates[key]


@dataclass(frozen=True, slots=True)
class _Permit:
    """The permission to send one call, after a wait of `waited_s` seconds."""

    waited_s: float
    _gate: _Gate
    _cuts: int
    _lease: Lease | None

    def check(self) -> None:
        """Raise LedgerConflict when the call is a write and the lock may be lost."""
        if self._lease is not None:
            self._lease.check()

    def learn(self, status: int, headers: Mapping[str, str], said: str, within_s: float) -> float:
        """Report the answer; returns for how many seconds no similar call is sent.

        When a service asks for more than `within_s` seconds, the next call is sent after a minute.
        """
        return self._gate.learn(status, headers, said, self._cuts, within_s)


class _Time:
    """The clock, and a sleep that `stop` interrupts."""

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], object] | None) -> None:
        self.clock = clock
        self._sleep = sleep
        self._ending = threading.Event()
        self._end = 0.0

    def stop(self, within_s: float) -> None:
        if not self._ending.is_set():
            self._end = self.clock() + within_s
        self._ending.set()

    def rest(self, seconds: float) -> None:
        """Sleep for at most `seconds`; the caller must check again after each sleep."""
        ending = self._ending.is_set()
        if ending and self.clock() + seconds > self._end:
            raise ReconcilerError(
                "was interrupted while a call waited for the rate limiter",
                next_step="The call was not sent.",
            )
        sleep = self._sleep or (time.sleep if ending else self._ending.wait)
        sleep(min(seconds, _LONGEST_S))


class _Gate:
    """A token bucket and the queue of the calls that wait for it."""

    def __init__(self, host: str, limit: SeparateLimit, time_: _Time, emit: Emit) -> None:
        published = _PUBLISHED.fullmatch(host) is not None
        usual = BucketLimits(limit.burst, limit.rate)
        self._bucket = TokenBucket(usual, time_.clock(), published=published)
        self._subject = f"{limit.calls} of {host}"
        self._header = limit.header
        self._time = time_
        self._emit = emit
        self._fifo_lock = FifoLock()
        self._lock = threading.Lock()
        self._said = ""

    def enter(self, within_s: float, lease: Lease | None) -> _Permit:
        started = self._time.clock()
        with self._fifo_lock:
            while True:
                now = self._time.clock()
                with self._lock:
                    wait = self._bucket.take(now)
                    cuts = self._bucket.cuts
                    starved = self._bucket.compute_starved_s(now)
                if not wait:
                    return _Permit(now - started, self, cuts, lease)
                if starved > within_s:
                    raise self._give_up()
                self._time.rest(wait)

    def learn(
        self, status: int, headers: Mapping[str, str], said: str, cuts: int, within_s: float
    ) -> float:
        left = headers.get(self._header, "")
        if left and _COUNT.fullmatch(left):
            self._count_down(int(left))
        if status not in _REFUSALS:
            with self._lock:
                self._bucket.accept()
            return 0.0
        return self._shut(read_retry_after(headers), said, cuts, within_s)

    def _shut(self, asked: float | None, said: str, cuts: int, within_s: float) -> float:
        with self._lock:
            pause = self._back_off() if asked is None else asked
            if pause > within_s:
                pause = min(pause, _LONGEST_S)
            self._said = said
            fresh = self._bucket.refuse(self._time.clock(), cuts, pause)
        if fresh and pause:
            self._emit(Throttling(self._subject, said, pause))
        return pause

    def _back_off(self) -> float:
        """Exponential backoff with jitter; it grows while the service accepts no call."""
        grown: float = 0.2 * 2 ** min(self._bucket.streak, 6)
        return min(grown, 10.0) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

    def _count_down(self, left: int) -> None:
        with self._lock:
            now = self._time.clock()
            low = self._bucket.count_down(left, now)
            rate = self._bucket.hour.compute_rate(now)
        if low:
            self._emit(
                Throttling(self._subject, f"{count(left, 'call')} left in this hour", 1 / rate)
            )

    def _give_up(self) -> Throttled:
        return Throttled(
            f"the service accepts no more calls: {self._said}",
            status=429,
            next_step=LATER,
        )


class FifoLock:
    """A fair lock for a `with` block: waiting threads get it in the order of their arrival."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._taken = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        try:
            mine.acquire()
        except BaseException:
            self._withdraw(mine)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hand_over()

    def _hand_over(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False

    def _withdraw(self, mine: threading.Lock) -> None:
        """Leave the queue; pass the lock to the next thread if this one has just received it."""
        with self._lock:
            waits = mine in self._waiting
            if waits:
                self._waiting.remove(mine)
        if not waits:
            self._hand_over()
