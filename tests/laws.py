"""How many examples a law draws: few while people work, many before a change lands.

Profile `dev` is what `pytest` takes, profile `ci` what `RECONCILER_ALL_CHECKS=1 pytest` takes;
`--hypothesis-profile` chooses otherwise. Profile `ci` draws the same examples each time, so that a
change is never refused for what it did not touch. No example is held to a time, and none to a rate
at which examples are drawn: the machine may be busy.
"""

import os
from typing import Final

from hypothesis import HealthCheck, settings

DEV_EXAMPLES: Final = 25
CI_EXAMPLES: Final = 500
TIMES: Final = int(os.environ.get("RECONCILER_HOSTILE_TIMES", "1"))

_BUSY: Final = (HealthCheck.too_slow,)
# Without a database: an example that was kept of other strategies was seen to end in an error.
settings.register_profile(
    "dev",
    max_examples=DEV_EXAMPLES,
    deadline=None,
    suppress_health_check=_BUSY,
    print_blob=True,
    database=None,
)
settings.register_profile(
    "ci",
    max_examples=CI_EXAMPLES,
    deadline=None,
    suppress_health_check=_BUSY,
    print_blob=True,
    derandomize=True,
    database=None,
)


def load_profile(name: str) -> None:
    """Take a profile for every law that is collected from now on."""
    settings.load_profile(name)


def examples(number: int) -> settings:
    """For a law that is dear: so many examples in the profile `ci`, and never more than a law has.

    What its fixtures make is made once and serves all examples.
    """
    return settings(
        max_examples=min(number, settings().max_examples) * TIMES,
        deadline=None,
        suppress_health_check=[
            *_BUSY,
            HealthCheck.function_scoped_fixture,
            HealthCheck.data_too_large,
        ],
    )
