"""Judges the answers of a service to probes: their values, and who gave them.

An answer is compared with the one that a person recorded for the same request. Shares are judged by
exact binomial bounds: a router that keeps to its weights fails one check of a million, and the
number of calls is so large that a router which ignores its new weights passes one of a million.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Final, TypeGuard

from reconciler.document.pointers import format_pointer
from reconciler.model import ABSENT, Absent, Json, Path
from reconciler.model.values import dataclass
from reconciler.text.counting import agree, count

# The probability that a check fails a router that keeps to its weights.
FALSE_ALARM: Final = 1e-6
# The probability that a check passes a router that still has the weights before.
MISSED: Final = 1e-6
LEAST_CALLS: Final = 20
# More calls take minutes. Weights that differ by less than a few percent need more.
MOST_CALLS: Final = 2_000
_WHOLE: Final = 100
# Names of the list of rows in published requests and answers, the outermost first.
_ROWS: Final = ("input_data", "inputs", "data", "instances", "predictions", "outputs", "result")
_MOST_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class AnswerDifference:
    """The first place where an answer is not the expected one. ABSENT says that it has no value."""

    path: Path
    wanted: Json | Absent
    got: Json | Absent

    def describe(self) -> str:
        """Returns the difference in words; a long value is cut."""
        where = format_pointer(self.path) or "the answer"
        wanted = "no value" if self.wanted is ABSENT else _show(self.wanted)
        return f"{where} is {_show(self.got)}, and {wanted} is expected"


def find_difference(wanted: Json, got: Json, tolerance: float) -> AnswerDifference | None:
    """Returns the first difference of an answer; None if it is the expected one.

    Numbers may differ by the tolerance, at any depth. An answer that is a text of JSON is compared
    by its content: many scoring scripts encode their answer twice.
    """
    if got != wanted and (isinstance(got, str) or isinstance(wanted, str)):
        wanted, got = _decode(wanted), _decode(got)
    return next(_list_differences(wanted, got, tolerance, ()), None)


def _decode(text: Json) -> Json:
    """Returns the list or object in a text of JSON, or else the argument."""
    try:
        decoded = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return text
    return decoded if isinstance(decoded, (dict, list)) else text


def _list_differences(
    wanted: Json | Absent, got: Json | Absent, tolerance: float, path: Path
) -> Iterator[AnswerDifference]:
    if isinstance(wanted, dict) and isinstance(got, dict):
        for name in [*wanted, *(one for one in got if one not in wanted)]:
            mine, theirs = wanted.get(name, ABSENT), got.get(name, ABSENT)
            yield from _list_differences(mine, theirs, tolerance, (*path, name))
    elif isinstance(wanted, list) and isinstance(got, list):
        for index in range(max(len(wanted), len(got))):
            mine = wanted[index] if index < len(wanted) else ABSENT
            theirs = got[index] if index < len(got) else ABSENT
            yield from _list_differences(mine, theirs, tolerance, (*path, index))
    elif not _is_equal(wanted, got, tolerance):
        yield AnswerDifference(path, wanted, got)


def _is_equal(wanted: Json | Absent, got: Json | Absent, tolerance: float) -> bool:
    if not (_is_number(wanted) and _is_number(got)):
        return type(wanted) is type(got) and wanted == got
    try:
        return wanted == got or abs(wanted - got) <= tolerance
    except OverflowError:  # a whole number that no float can hold, beside a float
        return False


def _is_number(value: Json | Absent) -> TypeGuard[int | float]:
    return type(value) in {int, float}


def _show(value: Json | Absent) -> str:
    if isinstance(value, Absent):
        return "missing"
    if isinstance(value, (dict, list)):
        sort = "an object" if isinstance(value, dict) else "a list"
        return f"{sort} of {len(value)}"
    said = json.dumps(value, ensure_ascii=False)
    return said if len(said) <= _MOST_SHOWN else f"{said[:_MOST_SHOWN]}…"


def count_rows(document: Json) -> int | None:
    """Returns how many rows a request or its answer has; None if it has no list of rows.

    The list is the document, or has one of the names that published examples use.
    """
    while isinstance(document, dict):
        document = next((document[name] for name in _ROWS if name in document), None)
    return len(document) if isinstance(document, list) else None


def find_row_fault(request: Json, expected: Json) -> str:
    """Returns why the expected answer cannot be one to the request, "" if it can."""
    asked, answered = count_rows(request), count_rows(_decode(expected))
    if asked is None or answered is None or asked == answered:
        return ""
    return f"has {count(answered, 'row')}, and the request has {count(asked, 'row')}"


def count_calls(traffic: Mapping[str, int], before: Mapping[str, int]) -> int:
    """Returns how many calls show whether a router follows its traffic, and not the one before.

    Both map a name to its percentage. The number is at most `MOST_CALLS`: then a router that still
    has the traffic before may pass. If both are the same, it is the number of calls of which each
    name with traffic must have one.
    """
    names = [one for one in {*traffic, *before} if traffic.get(one, 0) != before.get(one, 0)]
    judged = _count_judged(traffic)
    if names:
        counts = [_count_for(traffic.get(one, 0), before.get(one, 0), judged) for one in names]
        return max(LEAST_CALLS, min(counts))
    counts = [_count_for(share, 0, judged) for share in traffic.values() if share]
    return max([LEAST_CALLS, *counts])


@functools.cache
def _count_for(share: int, old: int, judged: int) -> int:
    """Returns how many calls tell one percentage from another; the search halves a range."""
    low, high = 1, MOST_CALLS
    while low < high:
        middle = (low + high) // 2
        least, most = find_bounds(share, middle, judged)
        passes = sum(_list_masses(middle, old / _WHOLE)[least : most + 1])
        low, high = (low, middle) if passes <= MISSED else (middle + 1, high)
    return low


def _count_judged(traffic: Mapping[str, int]) -> int:
    """Returns how many names are judged by bounds; they share the false alarms."""
    return max(1, sum(0 < share < _WHOLE for share in traffic.values()))


@functools.cache
def find_bounds(share: int, calls: int, judged: int = 1) -> tuple[int, int]:
    """Returns the least and the most answers of so many calls that fit a percentage.

    `judged` is how many names the same calls judge.
    """
    if share in {0, _WHOLE}:
        return calls * share // _WHOLE, calls * share // _WHOLE
    tail = FALSE_ALARM / 2 / judged
    masses = _list_masses(calls, share / _WHOLE)
    return _skip(masses, tail), calls - _skip(masses[::-1], tail)


def _skip(masses: list[float], tail: float) -> int:
    """Returns how many of the first numbers are together less likely than the tail."""
    total = 0.0
    for number, mass in enumerate(masses):
        total += mass
        if total > tail:
            return number
    return len(masses) - 1


def _list_masses(calls: int, share: float) -> list[float]:
    """Returns the binomial probability of each number of hits."""
    if share in {0.0, 1.0}:
        return [float(hits == calls * share) for hits in range(calls + 1)]
    ways, hit, miss = math.lgamma(calls + 1), math.log(share), math.log1p(-share)
    return [
        math.exp(
            ways
            - math.lgamma(hits + 1)
            - math.lgamma(calls - hits + 1)
            + hits * hit
            + (calls - hits) * miss
        )
        for hits in range(calls + 1)
    ]


def find_share_faults(traffic: Mapping[str, int], counted: Mapping[str, int]) -> list[str]:
    """Returns why counted answers do not fit the traffic, empty if they fit.

    `counted` has the number of answers by name. A name without traffic must have no answer.
    """
    calls, judged = sum(counted.values()), _count_judged(traffic)
    faults = []
    # First those without traffic, which explain what is missing elsewhere.
    for name in sorted({*traffic, *counted}, key=lambda one: (bool(traffic.get(one)), one)):
        share, got = traffic.get(name, 0), counted.get(name, 0)
        least, most = find_bounds(share, calls, judged)
        if least <= got <= most:
            continue
        said = f"{name} answered {got} of {count(calls, 'call')}"
        fits = f"{least} to {most}" if least < most else str(least)
        faults.append(
            f"{said}, and {fits} {agree(most, 'fits', 'fit')} its {share} %"
            if share
            else f"{said}, and it has no traffic"
        )
    return faults
