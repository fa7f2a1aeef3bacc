"""Regular expressions that are compiled when they are first used.

A short command uses a few of the patterns of the modules that it imports. To compile the others
would take a twentieth of its time.
"""

from __future__ import annotations

import re
from typing import Any, AnyStr, Generic, cast


def compile_lazily(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return what has the methods of `re.compile(pattern, flags)`; the first use compiles it.

    Not for a pattern from outside: `re.error` is raised at the first use. It is not a `re.Pattern`:
    the functions of `re` do not accept it, and it is equal only to itself.
    """
    return cast("re.Pattern[AnyStr]", _LazyPattern(pattern, flags))


class _LazyPattern(Generic[AnyStr]):
    """Keeps each method of the compiled pattern, so that a later use does not look it up again."""

    def __init__(self, pattern: AnyStr, flags: int) -> None:
        self._text: AnyStr = pattern
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # a copy has no `_text` at first, and would call this without end
            raise AttributeError(name)
        found = getattr(re.compile(self._text, self._flags), name)
        setattr(self, name, found)
        return found
