"""The result of a command as one word, and its exit code."""

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


def list_exit_codes() -> list[tuple[str, int]]:
    """Every result with its exit code under `--detailed-exitcode`."""
    return list(_CODES.items())


def classify_outcome(outcome: Outcome, halted: str, *, planned: bool) -> ExitWord:
    """The result of an apply; `planned` says whether its plan had any step."""
    from reconciler.render.events.outcome import INTERRUPTED

    if halted == INTERRUPTED:
        return "interrupted"
    if outcome.unrestored or outcome.unrecorded:
        return "incomplete"
    if outcome.rolled_back:
        return "rolled-back"
    if outcome.failures or outcome.not_started or outcome.unfinished:
        return "incomplete"
    if outcome.unproven:
        return "evidence-incomplete"
    return "applied" if planned else "no-changes"


def classify_error(error: BaseException) -> ExitWord:
    """The result of a command that an error ended."""
    return next((word for kind, word in _OF_ERRORS if isinstance(error, kind)), "error")


def get_exit_code(exit_word: ExitWord, *, detailed: bool) -> int:
    """The exit code. Without `detailed` it is 0 or 1, or 130 for an interruption.

    Changes and drift are not errors: without `detailed` their exit code is 0.
    """
    code = _CODES[exit_word]
    if detailed or exit_word == "interrupted":
        return code
    return 0 if exit_word in _DIFFERENCES else min(code, 1)
