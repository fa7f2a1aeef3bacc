"""Which fault meets which request. It counts from the start of the process."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from reconciler.emulator.faults.fault_file import Fault, compile_path


@dataclass
class FaultEntry:
    """A fault with what is left of its times, and chance of its own.

    `random_source` depends on the seed and the entry's number alone, so that neither other entries
    nor what the service draws of its own chance can shift it.
    """

    fault: Fault
    matches: Callable[[str], bool]
    random_source: random.Random
    left: int | None

    @property
    def do(self) -> str:
        """The kind of fault."""
        return self.fault.do

    def fires(self) -> bool:
        """Whether it fires this time; takes one of its times, or one draw."""
        if self.left is not None:
            self.left -= self.left > 0
            return True
        return self.fault.rate is None or self.random_source.random() < self.fault.rate

    def give_back(self) -> None:
        """It found nothing to act on, and has not fired."""
        if self.left is not None:
            self.left += 1


class FaultPlan:
    """Entries in order: the first that fires wins."""

    def __init__(self, faults: Iterable[Fault], seed: int | None) -> None:
        self._entries = [
            FaultEntry(fault, compile_path(fault.path), _make_random(seed, number), fault.times)
            for number, fault in enumerate(faults)
        ]

    def holds(self, do: str) -> bool:
        """Whether any entry is of a kind."""
        return any(entry.do == do for entry in self._entries)

    def choose(
        self, method: str, target: str, concerns: Callable[[Fault], bool]
    ) -> FaultEntry | None:
        """The entry that fires for a request; `target` is its path and query.

        One that does not match, has nothing left, or does not concern the request draws nothing.
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
