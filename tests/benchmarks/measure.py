"""Taking turns, and the median of what each took."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """Median seconds of both sides, and the most that the ratio may be."""

    name: str
    ours: float
    yardstick: float
    against: str
    goal: float

    @property
    def ratio(self) -> float:
        return self.ours / self.yardstick


def take_turns(
    ours: Callable[[], float], yardstick: Callable[[], float], rounds: int
) -> tuple[float, float]:
    """Medians in seconds of both; each callable says how long it took."""
    # What was made before is not to be looked through by the collector in the middle of a turn.
    gc.collect()
    gc.freeze()
    pairs = [(ours(), yardstick()) for _ in range(rounds)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def time_call(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
