"""Observe, plan and apply over the ports: knows no face, no file and no HTTP."""

from reconciler.engine.apply import Author, apply_plan, check_calls
from reconciler.engine.drift import report_drift
from reconciler.engine.hands import Hands
from reconciler.engine.observe import Observation, observe
from reconciler.engine.order import Order
from reconciler.engine.plan import make_plan

__all__ = [
    "Author",
    "Hands",
    "Observation",
    "Order",
    "apply_plan",
    "check_calls",
    "make_plan",
    "observe",
    "report_drift",
]
