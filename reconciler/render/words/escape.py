"""Escapes and shortens text from outside before it is shown."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Collection
from typing import Final

from reconciler.document.pointers import format_pointer
from reconciler.model import Json
from reconciler.secrets.signatures import strip_credentials

_MOST: Final = 120
_MOST_POINTER: Final = 600
# Cc: control characters. Cf: invisible characters, which can reverse or hide text. Cs: surrogates.
_HARMFUL: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def escape(text: str) -> str:
    r"""Returns the text with control and invisible characters escaped, such as `\x1b`."""
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
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def cut(text: str, most: int = _MOST) -> str:
    """Returns a long text without its middle."""
    if len(text) <= most:
        return text
    head = most * 2 // 3
    return f"{text[:head]} … {text[-(most - head - 3) :]}"


def show_value(value: Json, most: int = _MOST) -> str:
    """Returns a JSON value on one line, as JSON, escaped and bounded to `most` characters."""
    if isinstance(value, str):
        return f'"{escape(cut(strip_credentials(value), most))}"'
    return escape(cut(json.dumps(value, ensure_ascii=False, sort_keys=True), most))


def show_path(path: tuple[str | int, ...]) -> str:
    """Returns a path as people write it, such as `properties.input["a/b c"][0]`."""
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
    """Returns the JSON pointer, escaped and bounded."""
    return escape(cut(format_pointer(path), _MOST_POINTER))


def shorten_uris(*uris: str) -> tuple[str, ...]:
    """Returns URIs without their common start, if they share the container; otherwise in full."""
    parts = [uri.split("/") for uri in uris]
    # scheme, "", host, container: the rest identifies a URI only if these four parts are equal.
    if len(parts) < 2 or any(one[:4] != parts[0][:4] for one in parts):
        return uris
    shared, least = 4, min(map(len, parts))
    while shared + 2 < least and all(one[shared] == parts[0][shared] for one in parts):
        shared += 1
    return tuple("…/" + "/".join(one[shared:]) for one in parts)


def shorten_apart(uris: Collection[str]) -> dict[str, str]:
    """Returns the end of each URI, such as `…/2026-11-20/model.ilearner`.

    It has two segments of the path, and more where the ends of two URIs would be equal.
    """
    shown: dict[str, str] = {}
    left, depth = set(uris), 2
    while left:
        ends = {uri: "/".join(uri.split("/")[-depth:]) for uri in left}
        number = Counter(ends.values())
        for uri, end in ends.items():
            if number[end] == 1 or end == uri:
                shown[uri] = uri if end == uri else f"…/{end}"
        left -= shown.keys()
        depth += 1
    return shown
