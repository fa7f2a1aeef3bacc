"""Reading for as long as a read may lag behind a write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from reconciler.engine.runtime import Hands, Work
from reconciler.model import Absent, Live, Resource

_FIRST_S: Final = 0.2
_LONGEST_S: Final = 2.0
_GROWTH: Final = 1.5


def read_until(
    hands: Hands,
    resource: Resource,
    patience_s: float,
    shows: Callable[[Live | Absent], bool],
) -> Work[Live | Absent]:
    """The first read that shows what is looked for, or the last one within `patience_s` seconds.

    Rests between them.
    """
    provider = hands.provider(resource.address)
    waited, pause = 0.0, _FIRST_S
    while True:
        live = provider.read(resource)
        if shows(live) or waited >= patience_s:
            return live
        pause = min(pause, patience_s - waited)
        yield pause
        waited += pause
        pause = min(pause * _GROWTH, _LONGEST_S)
