"""Whether a text looks like a secret, and how a name is written that may be one.

No manifest may hold what looks like a key, a signature or a password.
"""

from __future__ import annotations

import re
from typing import Final

_SECRET: Final = re.compile(
    r"[?&;]sig=|AccountKey=|SharedAccess(Key|Signature)=|^[A-Za-z0-9+/]{86}==$"
    r"|://[^/?#\s:@]*:[^/?#\s@]+@"
)
_WORD: Final = re.compile(
    r"[A-Za-z]{1,40}|[A-Za-z0-9_./-]{1,14}"
    r"|(?=.{1,60}$)[^\W\d_]{1,40}([ _.-][^\W\d_]{1,40})*([ _.-]?[0-9]{1,4})?"
)
SUSPICIOUS: Final = "holds what looks like a key or a shared access signature"
REFER: Final = "Keep it in the environment or a file, and refer to it: {env: NAME}."


def is_suspicious(text: str) -> bool:
    """Whether a text looks like a key, a signature or a password, which no manifest may hold."""
    return ("=" in text or "@" in text) and _SECRET.search(text) is not None


def is_unwritable(text: str) -> bool:
    """Whether no manifest may hold a text: it looks like a secret, or no file in UTF-8 can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return is_suspicious(text) or "\0" in text


def is_word(word: str) -> bool:
    """Whether a name is surely no secret; words, and what is too short to be one.

    A slip of the pen makes a name of what was meant as a value.
    """
    return _WORD.fullmatch(word.strip()) is not None


def quote_word(word: str) -> str:
    """A key or a kind in quotes, behind a space; nothing where it might be a secret."""
    return f' "{word}"' if is_word(word) else ""


def format_name(name: str, otherwise: str) -> str:
    """A name in quotes, or what to say where it might be a secret."""
    return f'"{name}"' if is_word(name) else otherwise
