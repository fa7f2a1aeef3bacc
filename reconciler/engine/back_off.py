"""Which resources a cycle of `watch` leaves for a later one, because they failed before.

Times are those of a monotonic clock, so a change of the time of day moves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from reconciler.model import Address
from reconciler.model.values import dataclass

# A resource that fails is tried again at least this often, in seconds, or in each cycle.
_LONGEST_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class _Failing:
    """A resource that failed `times` times in a row with one manifest; tried again at `due`."""

    times: int
    due: float
    digest: str


class BackOff:
    """Tries a resource whose read or change failed less and less often, up to a limit.

    The wait doubles with each failure in a row. It ends with a success, or when the manifest of the
    resource changes.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._failing: dict[Address, _Failing] = {}

    def find_waiting(self, digests: Mapping[Address, str], now: float) -> Mapping[Address, int]:
        """How often each resource has failed that is not tried now.

        `digests` has that of the manifest of each declared resource; the others are forgotten.
        """
        self._failing = {
            address: one
            for address, one in self._failing.items()
            if address in digests and digests[address] == one.digest
        }
        return {address: one.times for address, one in self._failing.items() if one.due > now}

    def note(
        self,
        failed: Collection[Address],
        succeeded: Collection[Address],
        digests: Mapping[Address, str],
        now: float,
    ) -> None:
        """Keep which of the tried resources failed."""
        for address in succeeded:
            self._failing.pop(address, None)
        for address in failed:
            before = self._failing.get(address)
            times = before.times + 1 if before else 1
            # Half an interval less: the jitter must not move a try into a later cycle.
            wait = self._interval_s * (2 ** min(times - 1, 20) - 0.5)
            due = now + min(wait, max(_LONGEST_S, self._interval_s / 2))
            self._failing[address] = _Failing(times, due, digests.get(address, ""))
