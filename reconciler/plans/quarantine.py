"""Decides which changes of `watch` do not hold: something else undoes them again and again.

The entries of the ledger decide it, so that a restart or another leader forgets nothing. Entries of
a person end a count, and so does a change that held: for a week, or until the manifest declared
another value.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from reconciler.model import Entry, Finding, Json, Step, StepResult
from reconciler.text.json_text import canonical
from reconciler.text.times import parse_utc

# After so many changes in a row that did not hold, the resource is left.
MOST: Final = 3
_HELD: Final = timedelta(days=7)
_MARK: Final = " (watch)"


def name_author(author: str) -> str:
    """The author of an entry that `watch` makes; `author` is the user that runs it."""
    return f"{author}{_MARK}"


def count_repeats(step: Step, entries: Iterable[Entry]) -> int:
    """How often in a row `watch` has written a value that this step writes again.

    `entries` are those of the resource, oldest first. A value held if the next change of its place
    found it there: then only the manifest has declared another one.
    """
    written, found = _map_writes(step.ops), _map_tests(step.ops)
    repeats = dict.fromkeys(written, 0)
    later = ""
    for entry in reversed(list(entries)):
        if not entry.by.endswith(_MARK) or (later and _held(entry.at, later)):
            break
        later = entry.at
        if entry.result is not StepResult.DONE:
            continue
        tests = _map_tests(entry.patch)
        for place, value in _map_writes(entry.patch).items():
            if place not in written:
                continue
            if found.get(place) == value:
                del written[place]
                continue
            repeats[place] += value == written[place]
            found[place] = tests.get(place, "")
    return max(repeats.values(), default=0)


def describe_quarantine(step: Step, repeats: int) -> Finding:
    """The finding for a step that is left."""
    return Finding(
        f"is left as it is: {repeats} changes in a row did not hold",
        subject=str(step.resource.address),
        detail=("Something else writes other values. Another change would not hold either.",),
        next_step="Find what writes them; reconciler history shows the changes. watch changes it"
        " again once its manifest declares other values, or a person has applied it.",
        severity="warning",
    )


def _map_writes(ops: Iterable[Json]) -> dict[str, str]:
    """What operations write at each pointer, as canonical JSON."""
    return {one["path"]: canonical(one.get("value")) for one in ops if one["op"] != "test"}


def _map_tests(ops: Iterable[Json]) -> dict[str, str]:
    """What operations found at each pointer before, as canonical JSON."""
    return {one["path"]: canonical(one.get("value")) for one in ops if one["op"] == "test"}


def _held(earlier: str, later: str) -> bool:
    """Whether so much time lies between two changes that the earlier one held."""
    try:
        return parse_utc(later) - parse_utc(earlier) > _HELD
    except ValueError:
        return False
