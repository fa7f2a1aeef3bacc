"""One lane of calls: how fast those of one direction may follow one another.

Where a service publishes its limits, a lane is a bucket of the same shape. Anywhere else a call
goes at once, until the service refuses one. Then the lane stays shut for as long as the service
asks, its rate is halved, and grows again little by little: what is too fast is only known from
being refused, so it is approached slowly and left quickly.

A lane knows no clock and no thread: whoever holds it says what time it is, and locks.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from reconciler.model.values import dataclass


class BucketLimits(NamedTuple):
    """A token bucket: so many calls at once, then so many a second."""

    burst: int
    rate: float


# Published limits of Resource Manager, by principal, subscription and region (since 2024). Deletes
# have a bucket of their own there; recorded replies count them with the writes, which is stricter.
READS: Final = BucketLimits(250, 25.0)
WRITES: Final = BucketLimits(200, 10.0)

# However often calls are refused: so many a second are tried, and each second so many more.
_LEAST: Final = 2.0
# What was halved has grown back after so many seconds.
_RECOVERY_S: Final = 5.0
# How fast calls went is not told from less than so many seconds.
_SHORTEST_S: Final = 0.1
# A wait that was computed may fall short by what a float cannot tell.
_WHOLE: Final = 1.0 - 1e-6
_HOUR_S: Final = 3600.0
# Below this share of what was left at first, calls are spread over the rest of the hour.
_LOW: Final = 0.05
# One call in so many seconds goes even then: only an answer tells that a new hour has begun.
_LONGEST_S: Final = 60.0
# Answers overtake one another: a count that rises by less is no new hour.
_OVERTAKEN: Final = 64


@dataclass(slots=True)
class Hour:
    """What a service says is left of an hour's calls.

    Since there are buckets, Resource Manager may count what is left in a bucket under the same
    name: a count that was never above `burst` is no hour's.
    """

    burst: int
    first: int = 0
    left: int = 0
    since: float = 0.0
    idle: bool = False

    def note(self, left: int, now: float) -> None:
        """Take in a count; one that rises begins anew."""
        if left > self.left + _OVERTAKEN or not self.first:
            self.first, self.since, self.idle = left, now, False
        # What is taken when nothing is left was no limit.
        self.idle = self.idle or (left == 0 and self.left == 0)
        self.left = left

    @property
    def low(self) -> bool:
        """Whether so little is left that it must last for the rest of the hour."""
        return self.first > self.burst and self.left <= self.first * _LOW and not self.idle

    def compute_rate(self, now: float) -> float:
        """Calls a second that use up what is left by the end of the hour; infinite if enough."""
        if not self.low:
            return math.inf
        rest = max(1.0, self.since + _HOUR_S - now)
        return max(self.left / rest, 1 / _LONGEST_S)


class TokenBucket:
    """The calls of one direction to one subscription.

    `usual` is the shape of Resource Manager's bucket for that direction, `published` says whether
    it holds here.
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
        """How often the rate was cut; a call keeps the number with which it left."""
        return self._cuts

    @property
    def streak(self) -> int:
        """How often it was cut since a call was last accepted."""
        return self._streak

    def take(self, now: float) -> float:
        """Take leave for one call: 0.0, or else the seconds after which to ask again."""
        if now < self._opens:
            return self._opens - now
        rate = min(self._compute_rate(now), self.hour.compute_rate(now))
        if rate < math.inf:
            # Only what is as fast as published has a burst.
            most = self._shape.burst if rate >= self._shape.rate else 1
            self._tokens = min(most, self._tokens + max(0.0, now - self._then) * rate)
            self._then = now
            if self._tokens < _WHOLE:
                return (1.0 - self._tokens) / rate
            self._tokens -= 1.0
        self._taken += 1
        return 0.0

    def accept(self) -> None:
        """A call was taken: whatever came of it, the service takes calls."""
        self._streak = 0
        self._refused_since = None

    def refuse(self, now: float, cuts: int, pause: float) -> bool:
        """A call that left after so many `cuts` was refused: nothing goes for `pause` seconds.

        Says whether the rate was cut: what was under way then tells nothing new.
        """
        if self._refused_since is None:
            self._refused_since = now
        fresh = cuts == self._cuts
        if fresh:
            self._cut(now)
        self._opens = max(self._opens, now + pause)
        # Nothing is saved up meanwhile: one call goes when it opens, then the next.
        self._tokens, self._then = 1.0, self._opens
        return fresh

    def count_down(self, left: int, now: float) -> bool:
        """Take in what the service says is left; whether that has become too little just now."""
        before = self.hour.low
        self.hour.note(left, now)
        if self.hour.first <= self.hour.burst:
            self._tokens = min(self._tokens, float(left))
        return self.hour.low and not before

    def compute_starved_s(self, now: float) -> float:
        """For how many seconds no call will have been accepted when the next one may go."""
        if self._refused_since is None:
            return 0.0
        return max(now, self._opens) - self._refused_since

    def _cut(self, now: float) -> None:
        """Halve the rate; where there was none, what really went."""
        went = self._taken / max(_SHORTEST_S, now - self._opens)
        rate = self._compute_rate(now)
        self._base = max(_LEAST, (rate if rate < math.inf else went) / 2)
        self._growth = max(_LEAST, self._base / _RECOVERY_S)
        self._cuts += 1
        self._streak += 1

    def _compute_rate(self, now: float) -> float:
        """Calls a second by now: from half of what it was it grows back steadily."""
        if self._base >= self._shape.rate:
            return self._shape.rate
        return min(self._shape.rate, self._base + self._growth * max(0.0, now - self._opens))
