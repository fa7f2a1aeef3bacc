"""Describes changes inside free-form JSON, in words (by DeepDiff) or as lines of a diff.

The rows of a plan call it. Its results are escaped and bounded.
"""

from __future__ import annotations

import json
import re

from reconciler.model import Json
from reconciler.render.words.escape import cut, escape
from reconciler.text.counting import count

# The limit of a comparison value by value, because a service may return millions of values.
_MOST_VALUES = 5_000


def describe_change(before: Json, after: Json, most_lines: int, most: int) -> list[str]:
    """Returns a sentence for each difference; the path of the whole value is `value`.

    There are at most `most_lines` sentences, of about `most` characters each.
    """
    if too_many := _count_too_many(before, after):
        return [too_many]
    from deepdiff import DeepDiff  # noqa: PLC0415 - slow to import and rarely needed

    # verbose_level 2 names the added and removed values, and not only their places.
    said = DeepDiff(before, after, verbose_level=2, ignore_numeric_type_changes=False).pretty()
    lines = sorted(re.sub(r"\broot\b", "value", line) for line in said.splitlines())
    shown = [escape(cut(line, most + 40)) for line in lines[:most_lines]]
    if len(lines) > most_lines:
        shown.append(f"… and {count(len(lines) - most_lines, 'more difference')}")
    return shown


def _count_too_many(*structures: Json) -> str:
    """The sentence for structures that are too large to compare; empty for all others."""
    counts = [_count_values(one) for one in structures]
    if max(counts) <= _MOST_VALUES:
        return ""
    return f"{' -> '.join(count(one, 'value') for one in counts)}: too many to compare here"


def _count_values(value: Json) -> int:
    total, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, (dict, list)) and one:
            waiting.extend(one.values() if isinstance(one, dict) else one)
        else:
            total += 1
    return total


def compare_lines(before: Json, after: Json, most_lines: int, most: int) -> list[str]:
    """Returns the lines that differ between the JSON texts of two structures.

    There are at most `most_lines` lines, of at most `most` characters each.
    """
    if too_many := _count_too_many(before, after):
        return [too_many]
    import difflib  # noqa: PLC0415 - only needed for structures

    one, other = (
        json.dumps(v, indent=1, sort_keys=True, ensure_ascii=False) for v in (before, after)
    )
    found = difflib.unified_diff(one.splitlines(), other.splitlines(), lineterm="", n=1)
    lines = [line for line in list(found)[2:] if not line.startswith("@@")]
    shown = [f"{line[:1]} {escape(cut(line[1:], most))}" for line in lines[:most_lines]]
    if len(lines) > most_lines:
        shown.append(f"… and {count(len(lines) - most_lines, 'more line')}")
    return shown
