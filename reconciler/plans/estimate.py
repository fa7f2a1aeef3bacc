"""What an apply will take, told from the steps and from how fast the service takes calls.

Calls are bounded by a bucket of reads and one of writes, each full at first and refilled at a
steady rate, and by how many steps run at once, each waiting for its operation. The slowest of
the three is how long it takes. What a read shows late is waited for beside other work, once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from reconciler.model import Action, Estimate, ServiceTiming, Step

# Read before the first write of the plan, right before its own, and back after it.
_READS_A_STEP = 3
# The source, its copy for the region, and the copy once more when it had to be made.
_READS_A_COPY = 3


def estimate(
    steps: Sequence[Step], timing: ServiceTiming, parallelism: int, spent: int = 0
) -> Estimate:
    """Writes, reads and seconds of carrying out the steps, `parallelism` at a time.

    `spent` counts the reads that were taken out of the bucket just before.
    """
    if not steps:
        return Estimate()
    writes = sum(count_writes(step, timing) for step in steps)
    copies = sum(bool(step.source and step.source.region) for step in steps)
    reads = _READS_A_STEP * len(steps) + _READS_A_COPY * copies + timing.polls * writes
    burst = max(0, timing.read_burst - spent)
    seconds = max(
        math.ceil(writes / parallelism) * timing.step_s,
        (reads - burst) / timing.read_rate,
        (writes - timing.write_burst) / timing.write_rate,
    )
    return Estimate(writes, reads, round(seconds + timing.lag_s, 1))


def count_writes(step: Step, timing: ServiceTiming) -> int:
    """How many calls change something: a replacement is a delete and a create.

    A regional copy of the source that is not there yet is one more, and so are models that a new
    resource gets apart.
    """
    copies = 1 if step.source and step.source.copy == "missing" else 0
    new = step.action in {Action.CREATE, Action.REPLACE}
    apart = 1 if new and step.models and timing.models_apart else 0
    return copies + apart + (2 if step.action is Action.REPLACE else 1)
