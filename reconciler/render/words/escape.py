"""Text from outside, made harmless and short."""

from __future__ import annotations

import json
import unicodedata
from typing import Final

from reconciler.document.pointers import format_pointer
from reconciler.model import Json
from reconciler.secrets.signatures import strip_credentials

_MOST: Final = 120
_MOST_POINTER: Final = 600
# Cc: control characters. Cf: invisible ones, which can reverse or hide what is read. Cs: halves.
_HARMFUL: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def escape(text: str) -> str:
    r"""The text with everything that could move a terminal or deceive the eye as `\x1b`."""
    if text.isprintable():
        return text
    return "".join(
        character if unicodedata.category(character) not in _HARMFUL else _code(character)
        for character in text
    )


def _code(character: str) -> str:
    number = ord(character)
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
    if character in named:
        return named[character]
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def cut(text: str, most: int = _MOST) -> str:
    """A long text without its middle."""
    if len(text) <= most:
        return text
    head = most * 2 // 3
    return f"{text[:head]} … {text[-(most - head - 3) :]}"


def show_value(value: Json) -> str:
    """A JSON value on one line, as JSON, escaped and bounded."""
    if isinstance(value, str):
        return f'"{escape(cut(strip_credentials(value)))}"'
    return escape(cut(json.dumps(value, ensure_ascii=False, sort_keys=True)))


def show_path(path: tuple[str | int, ...]) -> str:
    """`properties.input["a/b c"][0]`: as people write it, odd names in brackets."""
    shown = ""
    for segment in path:
        name = segment if isinstance(segment, int) else cut(segment)
        if isinstance(name, int):
            shown += f"[{name}]"
        elif name and all(one.isalnum() or one in "_-" for one in name):
            shown += f".{name}" if shown else name
        else:
            shown += f"[{escape(json.dumps(name, ensure_ascii=False))}]"
    return shown


def show_pointer(path: tuple[str | int, ...]) -> str:
    """The JSON pointer, escaped and bounded."""
    return escape(cut(format_pointer(path), _MOST_POINTER))


def shorten_uris(*uris: str) -> tuple[str, ...]:
    """Addresses without what they share up to the container; in full where they share less."""
    parts = [uri.split("/") for uri in uris]
    # scheme, empty, host, container: four parts must agree for the rest to be told apart by.
    if len(parts) < 2 or any(one[:4] != parts[0][:4] for one in parts):
        return uris
    shared, least = 4, min(map(len, parts))
    while shared + 2 < least and all(one[shared] == parts[0][shared] for one in parts):
        shared += 1
    return tuple("…/" + "/".join(one[shared:]) for one in parts)
