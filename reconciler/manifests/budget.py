"""Bounds what the files of one project hold together.

Each reader has a bound for one file. Many files that are within it can still take all memory, so
all readers of a project charge what they read to one budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from itertools import islice
from typing import Final, Literal, TypeVar

from reconciler.errors import ManifestInvalid
from reconciler.model import Finding, SourceLocation
from reconciler.model.values import dataclass

Cost = Literal["names and values", "resources", "files and folders", "errors"]

# A recorded definition has 700 names and values: ten thousand of them are well within the bound.
MOST: Final[Mapping[Cost, int]] = {
    "names and values": 10_000_000,
    "resources": 100_000,
    "files and folders": 300_000,
    "errors": 10_000,
}
_SPLIT: Final = "Split it into several projects, each in a folder of its own."
_NEXT_STEPS: Final[Mapping[Cost, str]] = {
    "files and folders": "Move its manifests to manifests/, and other files out of there.",
    "errors": "Correct those below, and run the command again.",
}
# A hundred bytes each, as Python values.
_MOST_PLAIN: Final = 1_000_000
# The members of fleets share the values of their templates: only what an item fills in is counted.
_MOST_MEMBER_BYTES: Final = 256 * 1024 * 1024
# So many errors of one document usually have one common cause.
MOST_ERRORS: Final = 1000
MORE_ERRORS: Final = Finding(
    f"has more than {MOST_ERRORS:,} errors; the later ones are not reported"
)
_Path = TypeVar("_Path")


class ProjectTooLarge(ManifestInvalid):
    """The files of a project hold more than a project may; its finding says what and where."""


@dataclass
class Budget:
    """What the files of one project may still hold."""

    left: dict[Cost, int] = field(default_factory=lambda: dict(MOST))
    member_bytes_left: int = field(default_factory=lambda: _MOST_MEMBER_BYTES)

    @property
    def is_large(self) -> bool:
        """Whether the project is so large that its values are kept in compressed form."""
        cost: Cost = "names and values"
        return MOST[cost] - self.left[cost] > _MOST_PLAIN

    def charge(self, cost: Cost, count: int, place: SourceLocation | str) -> None:
        """Takes a count from the budget; raises ProjectTooLarge if it is used up.

        `place` is where that count was read: a place in a file, or the name of a folder.
        """
        self.left[cost] -= count
        if self.left[cost] >= 0:
            return
        located = place if isinstance(place, SourceLocation) else None
        folder = () if located else (f"The last one is in {place}.",)
        finding = Finding(
            f"it holds more than {MOST[cost]:,} {cost}",
            subject="Project",
            place=located,
            detail=(*folder, "What follows it was not read."),
            next_step=_NEXT_STEPS.get(cost, _SPLIT),
        )
        raise ProjectTooLarge((finding,))


def limit_errors(
    found: Iterable[tuple[_Path, Finding]], root: _Path
) -> Iterator[tuple[_Path, Finding]]:
    """Yields the first findings of a document, and one at its root if there are more."""
    rest = iter(found)
    yield from islice(rest, MOST_ERRORS)
    if next(rest, None) is not None:
        yield root, MORE_ERRORS
