"""The timeouts and retries of one call, and the environment variable that changes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from reconciler.errors import ReconcilerError
from reconciler.model.values import dataclass

_TIMEOUT_VARIABLE: Final = "RECONCILER_TIMEOUT"
_LEAST_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The time limits of one call, in seconds. `retries` does not count the first attempt.

    `retries` and `total_s` apply to lost answers. A call that the service refuses for now (429,
    503) is retried for `throttled_s` without a limit on the number of retries.
    """

    retries: int = 6
    total_s: float = 120.0
    throttled_s: float = 600.0
    longest_wait_s: float = 60.0
    connect_s: float = 10.0
    read_s: float = 30.0


def limit_timeouts(usual: Timeouts, within_s: float) -> Timeouts:
    """The timeouts of calls that together wait at most so many seconds, and one second at least."""
    most = max(within_s, _LEAST_S)
    return replace(
        usual,
        total_s=min(usual.total_s, within_s),
        throttled_s=min(usual.throttled_s, within_s),
        connect_s=min(usual.connect_s, most),
        read_s=min(usual.read_s, most),
    )


def read_timeouts(environment: Mapping[str, str]) -> Timeouts:
    """The default timeouts; RECONCILER_TIMEOUT sets the seconds to wait for an answer.

    Raises ReconcilerError for a value that is not a number of seconds between 0 and 3600.
    """
    given = environment.get(_TIMEOUT_VARIABLE, "")
    if not given:
        return Timeouts()
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", given) or not 0 < float(given) <= 3600:
        raise ReconcilerError(
            "is not a number of seconds between 0 and 3600",
            subject=_TIMEOUT_VARIABLE,
            next_step=f"Unset it, or set it to a number of seconds: {_TIMEOUT_VARIABLE}=30",
        )
    seconds = float(given)
    return Timeouts(
        total_s=4 * seconds,
        throttled_s=20 * seconds,
        connect_s=min(10.0, seconds),
        read_s=seconds,
    )
