"""Describes the rollout of a fleet: its waves, and the failures that stop it.

The renderers of plans and of events call it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from reconciler.model import Action, Plan, Rollout, Step
from reconciler.render.words.escape import escape
from reconciler.text.counting import agree, count
from reconciler.text.durations import show_duration


def describe_rollouts(plan: Plan) -> Iterator[str]:
    """Yields `Fleet/rental: 1,000 members in 3 waves: 1, 99, 900; 30 s between; …` per fleet."""
    for rollout in plan.rollouts:
        steps = [step for step in plan.steps if step.fleet == rollout.fleet]
        if steps:
            yield "; ".join(_describe(rollout, steps))


def describe_stop(failed: int, most: int) -> str:
    """Returns why a rollout stopped: `3 members failed, and at most 2 may fail`."""
    limit = f"at most {most:,} may" if most else "no member may"
    return f"{count(failed, 'member')} failed, and {limit} fail"


def _describe(rollout: Rollout, steps: list[Step]) -> Iterator[str]:
    coming = _count_stages(step for step in steps if step.action is not Action.DELETE)
    going = _count_stages(step for step in steps if step.action is Action.DELETE)
    waves = count(len(coming) + len(going), "wave")
    sizes = [", ".join(coming)] if coming else []
    sizes += [f"{', '.join(going)} to destroy"] if going else []
    each = f": {', then '.join(sizes)}" if len(coming) + len(going) > 1 else ""
    yield f"{escape(str(rollout.fleet))}: {count(len(steps), 'member')} in {waves}{each}"
    if rollout.pause_s and each:
        yield f"{show_duration(rollout.pause_s)} between"
    yield f"{_name_limit(rollout.max_failures)} the rest."


def _name_limit(most: int) -> str:
    if most == 0:
        return "the first failure stops"
    return f"more than {count(most, 'failure')} {agree(most, 'stops', 'stop')}"


def _count_stages(steps: Iterator[Step]) -> list[str]:
    """The size of each stage, in order."""
    sizes = Counter(step.stage for step in steps)
    return [f"{size:,}" for _, size in sorted(sizes.items())]
