"""Bounds what the files of one project hold together.

Each reader has a bound for one file. Many files that are within it can still take all memory, so
all readers of a project charge what they read to one budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Final, Literal

from reconciler.model import Finding, SourceLocation
from reconciler.model.values import dataclass

Cost = Literal["names and values", "resources"]

# A recorded definition has 700 names and values: ten thousand of them are well within the bound.
MOST: Final[Mapping[Cost, int]] = {"names and values": 10_000_000, "resources": 100_000}
# A hundred bytes each, as Python values.
_MOST_PLAIN: Final = 1_000_000


class ProjectTooLarge(Exception):
    """The files of a project hold more than a project may; `finding` says what and where."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


@dataclass
class Budget:
    """What the files of one project may still hold."""

    left: dict[Cost, int] = field(default_factory=lambda: dict(MOST))

    @property
    def is_large(self) -> bool:
        """Whether the project is so large that its values are kept in compressed form."""
        cost: Cost = "names and values"
        return MOST[cost] - self.left[cost] > _MOST_PLAIN

    def charge(self, cost: Cost, count: int, place: SourceLocation) -> None:
        """Takes a count from the budget; raises ProjectTooLarge at `place` if it is used up."""
        self.left[cost] -= count
        if self.left[cost] < 0:
            raise ProjectTooLarge(
                Finding(
                    f"its files hold more than {MOST[cost]:,} {cost}",
                    subject="Project",
                    place=place,
                    detail=("What follows in this file, and each later file, was not read.",),
                    next_step="Split it into several projects, each in a folder of its own.",
                )
            )
