"""Findings about the files that the emulator is started with: a fault file or a world file.

The checks of these files call it. It does not know line numbers; the command finds them by path.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Json = Any
_WORD: Final = re.compile(r"[A-Za-z_-]{1,40}")


@dataclass(frozen=True, slots=True)
class FileFinding:
    """One problem, and its path from the top of the document."""

    path: tuple[str | int, ...]
    message: str
    next_step: str = ""


def check_unknown(mapping: Mapping[str, Json], known: Collection[str]) -> Iterator[FileFinding]:
    """Yield a finding for each field of `mapping` that is not in `known`."""
    for name in mapping:
        if name not in known:
            # By a typing mistake, a secret may be in the place of a name: do not print it.
            said = f' "{name}"' if _WORD.fullmatch(name) else ""
            yield FileFinding((name,), f"unknown field{said}", suggest(name, known))


def check_values(
    mapping: Mapping[str, Json],
    demands: Mapping[str, Callable[[Json], str]],
    words: Mapping[str, Collection[str]],
) -> Iterator[FileFinding]:
    """Yield a finding for each field with a wrong value.

    A demand returns a complaint, or an empty text for a correct value. `words` holds the possible
    values of a field, for the hint.
    """
    for name, demand in demands.items():
        complaint = demand(mapping[name]) if name in mapping else ""
        if complaint:
            hint = suggest(mapping[name], words[name]) if name in words else ""
            yield FileFinding((name,), f"{name} {complaint}", hint)


def suggest(given: Json, known: Collection[str]) -> str:
    """Return the nearest known word as a hint; without a near word, all known words."""
    near = difflib.get_close_matches(str(given)[:60].casefold(), known, n=1)
    return f'Did you mean "{near[0]}"?' if near else f"Use one of: {', '.join(known)}."
