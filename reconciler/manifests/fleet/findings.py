"""What is wrong with members of fleets: each thing once, however many members it concerns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from reconciler.model import Address, Finding, Member, SourceLocation

_SHOWN: Final = 3


class FindingCounter:
    """Findings of members by what they say and where, with the members that they concern."""

    def __init__(self) -> None:
        self._concerned: dict[tuple[Address, Finding], list[tuple[str, Member]]] = {}
        self._others: dict[tuple[Address, Finding], list[SourceLocation]] = {}

    def __bool__(self) -> bool:
        return bool(self._concerned)

    def add(
        self, finding: Finding, subject: str, member: Member, other: SourceLocation | None = None
    ) -> None:
        """Note what is wrong with a member, called `subject`, and what it clashes with."""
        key = (member.fleet, finding)
        self._concerned.setdefault(key, []).append((subject, member))
        if other is not None:
            self._others.setdefault(key, []).append(other)

    def list_findings(self) -> Iterator[Finding]:
        """Each finding, with the rows that it concerns."""
        for (fleet, finding), concerned in self._concerned.items():
            others = list(dict.fromkeys(self._others.get((fleet, finding), ())))
            if len(concerned) == 1:
                subject, member = concerned[0]
                said, rows = finding.message, f"Item {member.number} is on {member.place}."
            else:
                subject, places = str(fleet), [member.place for _, member in concerned]
                said = f"{len(concerned):,} members: {finding.message}"
                rows = f"Their items are on {format_places(places)}."
            firsts = (
                [f"The first {_BE[len(others) > 1]} on {format_places(others)}."] if others else []
            )
            detail = (rows, *firsts, *finding.detail)
            yield replace(finding, message=said, subject=subject, detail=detail)


_BE: Final = ("is", "ones are")


def format_places(places: Sequence[SourceLocation]) -> str:
    """The first places of some, and how many more there are."""
    shown = ", ".join(map(str, places[:_SHOWN]))
    more = len(places) - _SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown
