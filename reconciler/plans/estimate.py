"""Estimates the calls and the seconds of an apply from its steps and the timing of the service.

Three limits apply: the token bucket of reads, the token bucket of writes, and the steps that run
at once, each of which waits for its operation. A bucket starts full and refills at a steady rate.
The slowest limit is the estimate. Read lag is added once, because it overlaps with other work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from reconciler.model import Action, Estimate, ServiceTiming, Step

# One read before the first write of the plan, one before the step's write, and one after it.
_READS_A_STEP = 3
# Two reads for each further write of a step: before it and after it.
_READS_A_PART = 2
# One read of the source, one of its regional copy, and one more of a copy that was created.
_READS_A_COPY = 3


def estimate(
    steps: Sequence[Step], timing: ServiceTiming, parallelism: int, spent: int = 0
) -> Estimate:
    """Return the writes, reads and seconds of the steps, `parallelism` steps at a time.

    `spent` is the number of reads that the plan has already taken from the bucket.
    """
    if not steps:
        return Estimate()
    writes = sum(count_writes(step, timing) for step in steps)
    copies = sum(bool(step.source and step.source.region) for step in steps)
    parts = sum(max(len(step.writes) - 1, 0) for step in steps)
    reads = _READS_A_STEP * len(steps) + _READS_A_COPY * copies + timing.polls * writes
    reads += _READS_A_PART * parts + sum(map(_count_checks, steps))
    burst = max(0, timing.read_burst - spent)
    longest = max(_find_duration(step, timing) for step in steps)
    seconds = max(
        longest,
        math.ceil(writes / parallelism) * timing.step_s,
        (reads - burst) / timing.read_rate,
        (writes - timing.write_burst) / timing.write_rate,
    )
    return Estimate(writes, reads, round(seconds + timing.lag_s, 1))


def _find_duration(step: Step, timing: ServiceTiming) -> float:
    """The seconds of one step whose writes are sent one after the other, with their pauses."""
    pauses = sum(write.wait_s for write in step.writes)
    return pauses + len(step.writes) * (timing.step_s + timing.lag_s)


def _count_checks(step: Step) -> int:
    """Count the calls of the checks of a step; `count` among its settings is how many one makes."""
    checks = [check for one in step.writes for check in (*one.requires, *one.checks)]
    counts = (check.settings.get("count") for check in checks)
    return sum(one if type(one) is int and one > 0 else 1 for one in counts)


def count_writes(step: Step, timing: ServiceTiming) -> int:
    """Count the write calls of a step: a replacement is a delete and a create.

    A missing regional copy of the source adds one call. Models that a new resource gets in a
    separate call add one more, and so do changes beside a call of its own. A step that its kind
    splits has the writes of its kind.
    """
    if step.writes:
        return len(step.writes)
    copies = 1 if step.source and step.source.copy == "missing" else 0
    new = step.action in {Action.CREATE, Action.REPLACE}
    apart = 1 if new and step.models and timing.models_apart else 0
    called = sum(change.called for change in step.changes)
    beside = 1 if 0 < called < len(step.changes) else 0
    return copies + apart + beside + (2 if step.action is Action.REPLACE else 1)
