"""Parses the notation `${name}` in texts of a template; `$${` is a literal `${`."""

from __future__ import annotations

import functools
import re
from typing import Final

from reconciler.model import Json
from reconciler.model.values import dataclass

_OPENING: Final = "${"
_TOKEN: Final = re.compile(r"\$\$\{|\$\{([^{}$\r\n]*)(\}?)")


@dataclass(frozen=True, slots=True)
class Variable:
    """A reference to the value that an item has under this name."""

    name: str


Fragment = str | Variable


def split_text(text: str) -> tuple[Fragment, ...]:
    """Returns the literal fragments of a text, unescaped and never empty, and its variables.

    Raises ValueError with what is wrong with the notation.
    """
    fragments: list[Fragment] = []
    literal, end = "", 0
    for token in _TOKEN.finditer(text):
        literal += text[end : token.start()]
        end = token.end()
        if token[1] is None:
            literal += _OPENING
            continue
        fragments += [literal, _read_variable(token)] if literal else [_read_variable(token)]
        literal = ""
    literal += text[end:]
    return tuple([*fragments, literal] if literal else fragments)


def _read_variable(token: re.Match[str]) -> Variable:
    if not token[2]:
        raise ValueError("a ${ has no } after the name")
    if not token[1]:
        raise ValueError("${} has no name")
    return Variable(token[1])


def escape(value: Json) -> Json:
    """Returns the template for a value: the same value, with each `${` in its texts escaped."""
    if isinstance(value, dict):
        return {escape(name): escape(below) for name, below in value.items()}
    if isinstance(value, list):
        return [escape(item) for item in value]
    return value.replace(_OPENING, f"${_OPENING}") if isinstance(value, str) else value


def is_plain(text: str) -> bool:
    """Whether a text has no variable and no escape."""
    return _OPENING not in text


def fits(template: str, text: str) -> bool:
    """Whether a template's text can become this text, if each variable may be any text."""
    if is_plain(template):
        return False
    fragments = _fragments(template)
    at, loose = 0, False
    for number, fragment in enumerate(fragments, 1):
        if isinstance(fragment, Variable):
            loose = True
            continue
        last = number == len(fragments) and loose
        found = max(at, len(text) - len(fragment)) if last else at
        found = text.find(fragment, found)
        if found < at or (found != at and not loose):
            return False
        at, loose = found + len(fragment), False
    return loose or at == len(text)


@functools.lru_cache(maxsize=256)
def _fragments(template: str) -> tuple[Fragment, ...]:
    try:
        return split_text(template)
    except ValueError:
        return (template,)
