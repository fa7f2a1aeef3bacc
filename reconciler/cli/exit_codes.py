"""How a command ended: one word of it, and the exit code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from reconciler.errors import LockHeld, PlanRefused, StalePlan
from reconciler.model import Outcome

ExitWord: TypeAlias = Literal[
    "applied",
    "no-changes",
    "changes",
    "in-sync",
    "drift",
    "evidence-incomplete",
    "incomplete",
    "rolled-back",
    "refused",
    "stale",
    "locked",
    "interrupted",
    "error",
]
_CODES: Final[Mapping[ExitWord, int]] = {
    "applied": 0,
    "no-changes": 0,
    "in-sync": 0,
    "error": 1,
    "changes": 2,
    "drift": 2,
    "refused": 3,
    "stale": 4,
    "locked": 5,
    "incomplete": 6,
    "rolled-back": 7,
    "evidence-incomplete": 8,
    "interrupted": 130,
}
_DIFFERENCES: Final = ("changes", "drift")
_OF_ERRORS: Final[tuple[tuple[type[BaseException], ExitWord], ...]] = (
    (PlanRefused, "refused"),
    (StalePlan, "stale"),
    (LockHeld, "locked"),
    (KeyboardInterrupt, "interrupted"),
)


def classify_outcome(outcome: Outcome, halted: str, *, planned: bool) -> ExitWord:
    """What an apply came to; `planned` says whether there was anything to do."""
    from reconciler.render.events.outcome import INTERRUPTED

    if halted == INTERRUPTED:
        return "interrupted"
    if outcome.unrestored or outcome.unrecorded:
        return "incomplete"
    if outcome.rolled_back:
        return "rolled-back"
    if outcome.failures or outcome.not_started:
        return "incomplete"
    return "applied" if planned else "no-changes"


def classify_error(error: BaseException) -> ExitWord:
    """What a command came to that ended by an error."""
    return next((word for kind, word in _OF_ERRORS if isinstance(error, kind)), "error")


def get_exit_code(exit_word: ExitWord, *, detailed: bool) -> int:
    """The exit code; above 1 only where it was asked for, but for an interruption.

    Changes and drift are not errors: they have a code of their own, or none.
    """
    code = _CODES[exit_word]
    if detailed or exit_word == "interrupted":
        return code
    return 0 if exit_word in _DIFFERENCES else min(code, 1)
