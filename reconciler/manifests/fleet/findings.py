"""Merges the findings of a fleet's members: each problem once, for all members that have it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from reconciler.model import Address, Finding, Member, SourceLocation
from reconciler.text.counting import agree, count

_SHOWN: Final = 3


class FindingCounter:
    """Counts findings of members by message and location, with the members that have them."""

    def __init__(self) -> None:
        self._concerned: dict[tuple[Address, Finding], list[tuple[str, Member]]] = {}
        self._others: dict[tuple[Address, Finding], list[SourceLocation]] = {}

    def __bool__(self) -> bool:
        return bool(self._concerned)

    def add(
        self, finding: Finding, subject: str, member: Member, other: SourceLocation | None = None
    ) -> None:
        """Adds a finding of the member `subject`, and the location that it conflicts with."""
        key = (member.fleet, finding)
        self._concerned.setdefault(key, []).append((subject, member))
        if other is not None:
            self._others.setdefault(key, []).append(other)

    def list_findings(self) -> Iterator[Finding]:
        """Yields each finding, with the rows of its members."""
        for (fleet, finding), concerned in self._concerned.items():
            others = list(dict.fromkeys(self._others.get((fleet, finding), ())))
            if len(concerned) == 1:
                subject, member = concerned[0]
                said, rows = finding.message, f"Item {member.number} is on {member.place}."
            else:
                subject, places = str(fleet), [member.place for _, member in concerned]
                said = f"{count(len(concerned), 'member')}: {finding.message}"
                rows = f"Their items are on {format_places(places)}."
            are = agree(len(others), "is", "ones are")
            firsts = [f"The first {are} on {format_places(others)}."] if others else []
            detail = (rows, *firsts, *finding.detail)
            yield replace(finding, message=said, subject=subject, detail=detail)


def format_places(places: Sequence[SourceLocation]) -> str:
    """Returns the first of some locations, and the number of the others."""
    shown = ", ".join(map(str, places[:_SHOWN]))
    more = len(places) - _SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown
