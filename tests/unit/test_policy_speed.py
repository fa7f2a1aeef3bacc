"""How long 20 rules take for 5,000 changes, beside the time of writing the plan as JSON."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from reconciler.model import SourceLocation
from reconciler.model.policies import (
    ChangeWindow,
    Freeze,
    Policy,
    PolicyContext,
    PolicyMatch,
    PolicyRule,
)
from reconciler.plans.plan_file import describe_steps, encode_plan
from reconciler.plans.policies import check_policies
from tests.plans import SPEC, live, plan, step

STEPS = 2_000
TIMES = 10
UPDATES = {"properties": {"change": {"properties": {"actions": {"contains": {"const": "update"}}}}}}
HTTPS = {
    "properties": {"model": {"items": {"properties": {"after": {"pattern": "^https://acct\\."}}}}}
}
OWNED = {"properties": {"labels": {"required": ["team"]}}}
SMALL = {"properties": {"patch": {"maxItems": 50}, "wave": {"maximum": 9}}}
KINDS: tuple[dict[str, Any], ...] = (
    {"denies_deletes": True},
    {"models_from": ("acct",)},
    {"window": ChangeWindow(frozenset(range(7)), freezes=(Freeze(date(2030, 1, 1)),))},
    {"owners": ("ana@example.com",), "matches": (PolicyMatch(kinds=("WebService",)),)},
    {"when": UPDATES, "require": HTTPS, "message": "m"},
    {"when": UPDATES, "require": OWNED, "message": "m", "severity": "warn"},
    {"require": SMALL, "message": "m", "matches": (PolicyMatch(labels={"tier": ("gold",)}),)},
    {"when": HTTPS, "require": UPDATES, "message": "m"},
)


def measure(work: Callable[[], object]) -> float:
    """The shorter of two times, in seconds."""
    times = []
    for _ in range(2):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def test_twenty_rules_take_at_most_ten_times_as_long_as_writing_the_plan() -> None:
    made = step(live(), SPEC).compress(None)
    steps = [made.copy_with(labels={"tier": "gold", "team": "risk"})] * STEPS
    rules = tuple(
        PolicyRule("p", f"r{number}", SourceLocation("p.yaml", 1, 1), **KINDS[number % len(KINDS)])
        for number in range(20)
    )
    context = PolicyContext(
        now=datetime(2026, 11, 30, tzinfo=UTC),
        labels={str(made.resource.address): {"tier": "gold", "team": "risk"}},
    )

    def judge() -> None:
        found = check_policies([Policy("p", "p.yaml", rules)], describe_steps(steps), context)
        assert len(found) == 3 * STEPS  # the owners, whom nothing has asked yet

    ratios = []
    for _ in range(4):  # somebody else's work may slow down one of the two alone
        # A new plan each time: a plan keeps its digest.
        written = measure(lambda: encode_plan(plan(*steps)))
        ratios.append(measure(judge) / written)
        if ratios[-1] <= TIMES:
            return
    pytest.fail(f"{ratios} times")
