"""Lists many names in few words: consecutive numbers as a range, the rest as a count."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from reconciler.render.words.escape import cut, escape

_NUMBERED: Final = re.compile(r"(.*?)([0-9]{1,18})", re.DOTALL)
_DIGITS: Final = re.compile(r"([0-9]{1,18})")
# A range of two names is harder to read than the two names.
_RANGE_FROM: Final = 3
_LONGEST: Final = 80


def list_names(names: Iterable[str], most: int) -> str:
    """Returns `loc001 to loc118, loc120 and 3 more`: at most `most` names and ranges, in order."""
    runs = list(_find_runs(sorted(names, key=_count)))
    shown = [_show(run) for run in runs[:most]]
    left = sum(map(len, runs[most:]))
    return ", ".join(shown) + (f" and {left:,} more" if left else "")


def _count(name: str) -> list[tuple[int, str]]:
    """The sort key by which `a9` comes before `a10`."""
    return [
        (int(part), part) if number % 2 else (0, part)
        for number, part in enumerate(_DIGITS.split(name))
    ]


def _find_runs(names: Sequence[str]) -> Iterator[list[str]]:
    """The names in groups that `first to last` can describe; the others in groups of one."""
    run: list[str] = []
    for name in names:
        if run and not _follows(run[-1], name):
            yield from _split(run)
            run = []
        run.append(name)
    yield from _split(run)


def _split(run: list[str]) -> Iterator[list[str]]:
    if len(run) >= _RANGE_FROM:
        yield run
    else:
        yield from ([name] for name in run)


def _follows(name: str, following: str) -> bool:
    """Whether the second name is the next number: `a9` and `a10`, `a009` and `a010`."""
    found = _NUMBERED.fullmatch(name)
    if found is None:
        return False
    stem, digits = found.groups()
    return following == f"{stem}{str(int(digits) + 1).zfill(len(digits))}"


def _show(run: list[str]) -> str:
    first, last = (escape(cut(name, _LONGEST)) for name in (run[0], run[-1]))
    return first if len(run) == 1 else f"{first} to {last}"
