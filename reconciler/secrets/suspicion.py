"""Decides whether a text looks like a secret, and quotes a name unless it may be a secret.

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
    """Whether no manifest may hold a text: it looks like a secret, or UTF-8 cannot encode it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return is_suspicious(text) or "\0" in text


def is_word(word: str) -> bool:
    """Whether a name cannot be a secret: it consists of words, or it is too short.

    By mistake, a user may write a secret value where a name belongs.
    """
    return _WORD.fullmatch(word.strip()) is not None


def quote_word(word: str) -> str:
    """Returns a key or a kind in quotes after a space; "" if it might be a secret."""
    return f' "{word}"' if is_word(word) else ""


def format_name(name: str, otherwise: str) -> str:
    """Returns a name in quotes, or `otherwise` if the name might be a secret."""
    return f'"{name}"' if is_word(name) else otherwise
