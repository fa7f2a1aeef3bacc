"""Resource Manager's published limits: token buckets, and the older hourly counters.

The server calls it for each call of Resource Manager. Classic and scoring have no such limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from reconciler.emulator.replies import Refusal

# Published, by principal and subscription: 250 reads, refilled by 25 a second; 200 writes and
# deletes, refilled by 10 a second. The headers count down from the older hourly numbers.
_BUCKETS: Final = {"reads": (250.0, 25.0), "writes": (200.0, 10.0)}
_HOURLY: Final = {"reads": 15000, "writes": 1200}


class Limits:
    """Counts calls by subscription."""

    def __init__(self, clock: Callable[[], float], *, enforced: bool) -> None:
        self._clock = clock
        self._enforced = enforced
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}
        self._hour = 0
        self._calls: Counter[tuple[str, str]] = Counter()

    def count(self, method: str, subscription: str) -> dict[str, str]:
        """Count a call and return the header with the calls left this hour. Refuses with 429."""
        kind = "reads" if method in {"GET", "HEAD"} else "writes"
        if self._enforced:
            self._count_call(kind, subscription)
        hour = int(self._clock() // 3600)
        if hour != self._hour:
            self._hour, self._calls = hour, Counter()
        key = (subscription.casefold(), kind)
        self._calls[key] += 1
        left = max(0, _HOURLY[kind] - self._calls[key])
        return {f"x-ms-ratelimit-remaining-subscription-{kind}": str(left)}

    def _count_call(self, kind: str, subscription: str) -> None:
        most, rate = _BUCKETS[kind]
        self.take(kind, subscription, most, rate)

    def take(self, kind: str, subscription: str, most: float, rate: float) -> int:
        """Take one call out of a bucket and return the calls left; `rate` is refilled a second.

        Refuses with 429 if the bucket is empty and the limits are enforced.
        """
        key, now = (subscription.casefold(), kind), self._clock()
        level, then = self._buckets.get(key, (most, now))
        level = min(most, level + (now - then) * rate)
        if level < 1 and self._enforced:
            self._buckets[key] = (level, now)
            wait = max(1, round((1 - level) / rate + 0.5))
            raise Refusal(
                429,
                "TooManyRequests",
                f"The request is being throttled as the limit has been reached for {kind}.",
                headers={"Retry-After": str(wait)},
            )
        self._buckets[key] = (max(0.0, level - 1), now)
        return int(max(0.0, level - 1))
