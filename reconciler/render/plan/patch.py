"""Renders a step's RFC 6902 patch as lines of JSON for people, bounded and without secrets.

`show --patch` returns the patch itself; this text is only for the HTML page.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Final

from reconciler.document.pointers import split_pointer
from reconciler.model import Json, Step, Verb
from reconciler.render.plan.rows import HIDDEN, is_hidden
from reconciler.render.words.escape import cut
from reconciler.secrets.signatures import strip_credentials
from reconciler.text.counting import count

_MOST_CHARACTERS: Final = 300
_WIDTH: Final = 100


def show_operations(step: Step, most: int) -> list[str]:
    """Returns the patch in about `most` lines, one line for each operation whose value fits."""
    # No operation contains the values that the provider writes separately.
    changes = [change for change in step.changes if change.verb is not Verb.WRITE]
    hidden = [tuple(map(str, change.path)) for change in changes if is_hidden(change)]
    lines = ["["]
    for number, operation in enumerate(step.ops, 1):
        if len(lines) > most:
            lines.append(f"  … and {count(len(step.ops) - number + 1, 'more operation')}")
            break
        shown = _bound(_operation_lines(operation, hidden), most - len(lines) + 1)
        lines += [*shown[:-1], shown[-1] + ("," if number < len(step.ops) else "")]
    return [*lines, "]"]


def _bound(lines: list[str], most: int) -> list[str]:
    left = len(lines) - most - 1
    if left < 1:
        return lines
    return [*lines[:most], f"    … and {count(left, 'more line')}", lines[-1]]


def _operation_lines(operation: Json, hidden: Collection[tuple[str, ...]]) -> list[str]:
    said = {name: _shorten(value) for name, value in operation.items()}
    value = said.get("value", {})
    if value not in ({}, []) and _touches(split_pointer(operation["path"]), hidden):
        said["value"] = HIDDEN
    text = json.dumps(said, ensure_ascii=False)
    if isinstance(said.get("value"), (dict, list)) and value and len(text) > _WIDTH:
        text = json.dumps(said, ensure_ascii=False, indent=2)
    return [f"  {line}" for line in text.split("\n")]


def _touches(path: tuple[str, ...], hidden: Collection[tuple[str, ...]]) -> bool:
    """Whether a path is inside of a hidden place, or contains one."""
    return any(path[: len(one)] == one or one[: len(path)] == path for one in hidden)


def _shorten(value: Json) -> Json:
    if isinstance(value, str):
        return cut(strip_credentials(value), _MOST_CHARACTERS)
    if isinstance(value, dict):
        return {_shorten(name): _shorten(below) for name, below in value.items()}
    return [_shorten(below) for below in value] if isinstance(value, list) else value
