"""Chooses which fault fires for a request. All counts start with the process.

It does not know what a fault does; `injection` does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from reconciler.emulator.faults.fault_file import Fault, compile_path


@dataclass
class FaultEntry:
    """A fault with its remaining times and its own random source.

    `random_source` depends only on the seed and the entry's number. Other entries and the
    service's own random source do not change it.
    """

    fault: Fault
    matches: Callable[[str], bool]
    random_source: random.Random
    left: int | None

    @property
    def do(self) -> str:
        """Return the name of the fault's kind."""
        return self.fault.do

    def fires(self) -> bool:
        """Return whether it fires this time. Uses one of its times, or draws one number."""
        if self.left is not None:
            self.left -= self.left > 0
            return True
        return self.fault.rate is None or self.random_source.random() < self.fault.rate

    def give_back(self) -> None:
        """Give one of its times back, because it found nothing to act on."""
        if self.left is not None:
            self.left += 1


class FaultPlan:
    """The entries in order. The first entry that fires wins."""

    def __init__(self, faults: Iterable[Fault], seed: int | None) -> None:
        self._entries = [
            FaultEntry(fault, compile_path(fault.path), _make_random(seed, number), fault.times)
            for number, fault in enumerate(faults)
        ]

    def holds(self, do: str) -> bool:
        """Return whether any entry is of a kind."""
        return any(entry.do == do for entry in self._entries)

    def choose(
        self, method: str, target: str, concerns: Callable[[Fault], bool]
    ) -> FaultEntry | None:
        """Return the entry that fires for a request; `target` is its path and query.

        An entry draws no number if it does not match, has no times left, or does not concern the
        request.
        """
        for entry in self._entries:
            fault = entry.fault
            if (
                entry.left != 0
                and fault.method in {"", method}
                and entry.matches(target)
                and concerns(fault)
                and entry.fires()
            ):
                return entry
        return None


def _make_random(seed: int | None, number: int) -> random.Random:
    return random.Random(None if seed is None else f"{seed}/{number}")  # noqa: S311 - no secret
