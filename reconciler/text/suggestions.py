"""Suggests a known name for an unknown one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice
from typing import Final

# A comparison of similar names takes up to 0.1 ms.
_MOST: Final = 10_000


def suggest(
    word: str, known: Iterable[str], *, never: Collection[str] = (), most: int = _MOST
) -> str:
    """The known name that is most similar to a word in any case; "" when no name is similar.

    Only the first `most` names are compared; a caller with many words gives a smaller number.
    Names in `never` are not suggested. If one of them is the most similar, no other is either.
    """
    import difflib  # noqa: PLC0415 - start-up: only a mistake needs it

    names: dict[str, str] = {}
    for name in islice(known, most):
        names.setdefault(name.casefold(), name)
    near = difflib.get_close_matches(word.casefold(), names, n=1)
    return names[near[0]] if near and names[near[0]] not in never else ""
