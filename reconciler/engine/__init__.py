"""Observe, plan and apply over the ports: knows no face, no file and no HTTP."""

from reconciler.engine.apply import Policy, apply_plan, check_calls
from reconciler.engine.drift import report_drift
from reconciler.engine.hands import Hands
from reconciler.engine.journal import Author
from reconciler.engine.members import describe_item, find_members
from reconciler.engine.observe import Observation, observe
from reconciler.engine.order import Order
from reconciler.engine.plan import make_plan
from reconciler.engine.reach import check_reach
from reconciler.engine.rebuild import recollect
from reconciler.engine.rollback import plan_rollback
from reconciler.engine.settlement import settle_open

__all__ = [
    "Author",
    "Hands",
    "Observation",
    "Order",
    "Policy",
    "apply_plan",
    "check_calls",
    "check_reach",
    "describe_item",
    "find_members",
    "make_plan",
    "observe",
    "plan_rollback",
    "recollect",
    "report_drift",
    "settle_open",
]
