"""How long one call is worth waiting for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from reconciler.errors import ReconcilerError
from reconciler.model.values import dataclass

_TIMEOUT_VARIABLE: Final = "RECONCILER_TIMEOUT"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long one call may take. Times in seconds; `retries` counts repeats, not the first try.

    They are for answers that were lost. What the service refuses to take for now is sent again
    for `throttled_s`, however often that is.
    """

    retries: int = 6
    total_s: float = 120.0
    throttled_s: float = 600.0
    longest_wait_s: float = 60.0
    connect_s: float = 10.0
    read_s: float = 30.0


def read_timeouts(environment: Mapping[str, str]) -> Timeouts:
    """The usual patience; RECONCILER_TIMEOUT says how many seconds an answer is waited for.

    Raises ReconcilerError for one that is no number of seconds between 0 and an hour.
    """
    given = environment.get(_TIMEOUT_VARIABLE, "")
    if not given:
        return Timeouts()
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", given) or not 0 < float(given) <= 3600:
        raise ReconcilerError(
            "is no number of seconds between 0 and 3600",
            subject=_TIMEOUT_VARIABLE,
            next_step=f"Leave it out, or set it such as {_TIMEOUT_VARIABLE}=30.",
        )
    seconds = float(given)
    return Timeouts(
        total_s=4 * seconds,
        throttled_s=20 * seconds,
        connect_s=min(10.0, seconds),
        read_s=seconds,
    )
