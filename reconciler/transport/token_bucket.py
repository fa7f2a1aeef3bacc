"""The token bucket of the reads or the writes to one subscription.

When a service publishes its limits, the bucket has the same burst and rate. Otherwise it admits
every call at once until the service refuses one. After a refusal the bucket admits no call for the
pause that the service asks for. Its rate is halved and then grows slowly (additive increase,
multiplicative decrease), because only a refusal shows which rate is too high.

The bucket has no clock and no lock: the caller passes the time and holds a lock.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from reconciler.model.values import dataclass


class BucketLimits(NamedTuple):
    """The limits of a token bucket: `burst` calls at once, then `rate` calls per second."""

    burst: int
    rate: float


# The published limits of Resource Manager, per principal, subscription and region (since 2024).
# Deletes have a separate bucket there; recorded replies count them as writes, which is stricter.
READS: Final = BucketLimits(250, 25.0)
WRITES: Final = BucketLimits(200, 10.0)

# The lowest rate in calls per second, and the lowest growth of the rate per second.
_LEAST: Final = 2.0
# A halved rate has grown back after this many seconds.
_RECOVERY_S: Final = 5.0
# The rate of past calls is not measured over a shorter time.
_SHORTEST_S: Final = 0.1
# A computed wait may be too short by the rounding error of a float.
_WHOLE: Final = 1.0 - 1e-6
_HOUR_S: Final = 3600.0
# Below this share of the first count, calls are spread over the rest of the hour.
_LOW: Final = 0.05
# One call per this many seconds is always sent: only an answer shows that a new hour has started.
_LONGEST_S: Final = 60.0
# Answers can arrive out of order: a count that rises by less is not a new hour.
_OVERTAKEN: Final = 64


@dataclass(slots=True)
class Hour:
    """The remaining calls of the hour, as the service reports them.

    Resource Manager may report the tokens of a bucket in the same header: a count that was never
    above `burst` is not the count of an hour.
    """

    burst: int
    first: int = 0
    left: int = 0
    since: float = 0.0
    idle: bool = False

    def note(self, left: int, now: float) -> None:
        """Note a count; a count that rises starts a new hour."""
        if left > self.left + _OVERTAKEN or not self.first:
            self.first, self.since, self.idle = left, now, False
        # The service accepted a call after a count of 0: the count is not a limit.
        self.idle = self.idle or (left == 0 and self.left == 0)
        self.left = left

    @property
    def low(self) -> bool:
        """Whether the remaining calls must be spread over the rest of the hour."""
        return self.first > self.burst and self.left <= self.first * _LOW and not self.idle

    def compute_rate(self, now: float) -> float:
        """The calls per second that last for the rest of the hour; infinite when not `low`."""
        if not self.low:
            return math.inf
        rest = max(1.0, self.since + _HOUR_S - now)
        return max(self.left / rest, 1 / _LONGEST_S)


class TokenBucket:
    """The bucket of the reads or the writes to one subscription.

    `usual` holds Resource Manager's limits for them; `published` says whether they apply here.
    """

    def __init__(self, usual: BucketLimits, now: float, *, published: bool) -> None:
        self._shape = usual if published else BucketLimits(1, math.inf)
        self._tokens = float(self._shape.burst)
        self._then = now
        self._base, self._growth = self._shape.rate, 0.0
        self._opens = now
        self._taken = 0
        self._refused_since: float | None = None
        self._streak = 0
        self._cuts = 0
        self.hour = Hour(usual.burst)

    @property
    def cuts(self) -> int:
        """The number of rate cuts; each call keeps the number at the time of its permit."""
        return self._cuts

    @property
    def streak(self) -> int:
        """The number of rate cuts since the last accepted call."""
        return self._streak

    def take(self, now: float) -> float:
        """Take a token for one call: returns 0.0, or the seconds after which to try again."""
        if now < self._opens:
            return self._opens - now
        rate = min(self._compute_rate(now), self.hour.compute_rate(now))
        if rate < math.inf:
            # A bucket below its published rate has no burst.
            most = self._shape.burst if rate >= self._shape.rate else 1
            self._tokens = min(most, self._tokens + max(0.0, now - self._then) * rate)
            self._then = now
            if self._tokens < _WHOLE:
                return (1.0 - self._tokens) / rate
            self._tokens -= 1.0
        self._taken += 1
        return 0.0

    def accept(self) -> None:
        """Note that the service accepted a call, whatever its answer was."""
        self._streak = 0
        self._refused_since = None

    def refuse(self, now: float, cuts: int, pause: float) -> bool:
        """Note that a call was refused; the bucket admits no call for `pause` seconds.

        `cuts` is the number of rate cuts when the call was sent. Returns whether the rate was cut:
        the refusal of a call that was sent before the last cut does not cut it again.
        """
        if self._refused_since is None:
            self._refused_since = now
        fresh = cuts == self._cuts
        if fresh:
            self._cut(now)
        self._opens = max(self._opens, now + pause)
        # No tokens collect during the pause: one call is sent when it ends, then the next.
        self._tokens, self._then = 1.0, self._opens
        return fresh

    def count_down(self, left: int, now: float) -> bool:
        """Note the count of remaining calls; returns whether it has just become low."""
        before = self.hour.low
        self.hour.note(left, now)
        if self.hour.first <= self.hour.burst:
            self._tokens = min(self._tokens, float(left))
        return self.hour.low and not before

    def compute_starved_s(self, now: float) -> float:
        """The seconds without an accepted call at the time when the next call may be sent."""
        if self._refused_since is None:
            return 0.0
        return max(now, self._opens) - self._refused_since

    def _cut(self, now: float) -> None:
        """Halve the rate; without a rate, halve the measured one."""
        went = self._taken / max(_SHORTEST_S, now - self._opens)
        rate = self._compute_rate(now)
        self._base = max(_LEAST, (rate if rate < math.inf else went) / 2)
        self._growth = max(_LEAST, self._base / _RECOVERY_S)
        self._cuts += 1
        self._streak += 1

    def _compute_rate(self, now: float) -> float:
        """The current calls per second; after a cut the rate grows linearly."""
        if self._base >= self._shape.rate:
            return self._shape.rate
        return min(self._shape.rate, self._base + self._growth * max(0.0, now - self._opens))
