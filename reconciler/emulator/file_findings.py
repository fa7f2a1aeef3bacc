"""What is not right about a document that the emulator is started with."""

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
    """What is not right, and the way to it from the top of the document."""

    path: tuple[str | int, ...]
    message: str
    next_step: str = ""


def check_unknown(mapping: Mapping[str, Json], known: Collection[str]) -> Iterator[FileFinding]:
    """The fields that there are not."""
    for name in mapping:
        if name not in known:
            # A slip of the pen makes a name of what was meant as a secret.
            said = f' "{name}"' if _WORD.fullmatch(name) else ""
            yield FileFinding((name,), f"unknown field{said}", suggest(name, known))


def check_values(
    mapping: Mapping[str, Json],
    demands: Mapping[str, Callable[[Json], str]],
    words: Mapping[str, Collection[str]],
) -> Iterator[FileFinding]:
    """The fields that break a demand, each of which says how; `words` are the values to choose."""
    for name, demand in demands.items():
        complaint = demand(mapping[name]) if name in mapping else ""
        if complaint:
            hint = suggest(mapping[name], words[name]) if name in words else ""
            yield FileFinding((name,), f"{name} {complaint}", hint)


def suggest(given: Json, known: Collection[str]) -> str:
    """The word that was meant, or all that there are."""
    near = difflib.get_close_matches(str(given)[:60].casefold(), known, n=1)
    return f'Did you mean "{near[0]}"?' if near else f"There are {', '.join(known)}."
