"""Decides whether a text looks like a secret, and quotes a name unless it may be a secret.

No manifest may hold what looks like a key, a signature or a password.
"""

from __future__ import annotations

import json
import re
from typing import Final

from reconciler.secrets.spellings import read_views
from reconciler.text.patterns import compile_lazily

# The names of secrets in the spellings of programs: AccountKey, account_key, "account key" …
KEY_NAMES: Final = (
    rb"(?:shared[ _.-]?access|storage|account|access|secret|api|primary|secondary|subscription"
    rb"|private)[ _.-]?key"
)
SECRET_NAMES: Final = (
    rb"(?:%b|shared[ _.-]?access[ _.-]?signature|sas[ _.-]?token|connection[ _.-]?string"
    rb"|client[ _.-]?secret|pass(?:word|wd|phrase)|(?:access|refresh|bearer|id)[ _.-]?token)"
    % KEY_NAMES
)
# The names of variables that say that they hold a secret: each name of a secret, and more. A schema
# repeats this as the pattern of its secret properties.
SENSITIVE_NAMES: Final = (
    r"(?is)^\s*(?:.*(?:[ _.-]|shared[ _.-]?access|storage|account|access|secret|api|primary"
    r"|secondary|subscription|private|refresh|bearer|id|sas|client))?"
    r"(?:token|key|secret|pwd|credentials?|dsn|sas|sig|signature)\s*$"
    r"|(?:pass(?:word|wd|phrase)|connection[ _.-]?string)\s*$"
)
# A value without blanks that has a character which words rarely have.
RANDOM: Final = rb"(?=[^&;#\s\"'<>,}]*[0-9+/=])[^&;#\s\"'<>,}]{8,}"
# What a secret is as the whole value of a property.
_VALUE: Final = re.compile(r"[^\s<>{}()]{8,}")
# A table has a primary key too: its value is the name of a column, and no digit is in it.
_KEY_OF_TABLE: Final = re.compile(r"[\w .-]*(?:primary|secondary)[ _.-]?key", re.IGNORECASE)
_WORDS: Final = re.compile(r"[A-Za-z_.-]{1,40}")
# What is between the name and the value of a text property in JSON without blanks, after the last
# letters of a name of a secret. A blank or a control character may follow them.
_TEXT_PROPERTY: Final = re.compile(
    rb'":"(?<=(?:key|ure|ken|ing|ret|ord|.wd|ase|sig|..[ \x80-\xff]|.\\[tnfr]|0[01][0-9a-f])":")'
)
_SECRET_NAME: Final = re.compile(rb"sig|pwd|password|[\w .-]*%b" % SECRET_NAMES, re.IGNORECASE)
_SECRET: Final = compile_lazily(
    rb"(?:^|[?&;])\s*sig\s*=|^[A-Z0-9+/]{86}==$|://[^/?#\s:@]*:[^/?#\s@]+@"
    rb"|://[^/?#\s@]{20,}@"
    rb"|(?:account|shared[ _.-]?access)[ _.-]?(?:key|signature)=|-BEGIN [A-Z ]*PRIVATE KEY-"
    rb"|%b[\"']?\s*=\s*[\"']?%b" % (SECRET_NAMES, RANDOM),
    re.IGNORECASE,
)
# An argument may hold a key beside a flag or in a path. A manifest may hold long texts in base64,
# of which the end looks like a key.
_KEY_WITHIN: Final = compile_lazily(rb"[A-Z0-9+/_-]{86}==", re.IGNORECASE)
# A token as programs show and send it: three parts, of which two are JSON; or with its header.
_TOKEN_WITHIN: Final = compile_lazily(
    rb"(?-i:\beyJ[\w-]{8,}\.eyJ[\w-]{2,}\.)"
    rb"|authorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic|sharedkey(?:lite)?)\s+%b" % RANDOM,
    re.IGNORECASE,
)
# What every text has that `_SECRET` matches, as it is or in another spelling.
_SIGN: Final = re.compile(r"[=@%\\&]|[A-Za-z0-9+_-]{24}")
_WORD: Final = compile_lazily(
    r"[A-Za-z]{1,40}|[A-Za-z0-9_./-]{1,14}"
    r"|(?=.{1,60}$)[^\W\d_]{1,40}([ _.-][^\W\d_]{1,40})*([ _.-]?[0-9]{1,4})?"
    # A version of an API, as Kubernetes writes it: group.example/v1beta1.
    r"|(?=.{1,80}$)[^\W\d_]{1,40}([.-][^\W\d_]{1,40})*/v[0-9]{1,2}((alpha|beta)[0-9]{1,2})?"
)
SUSPICIOUS: Final = "holds what looks like a key or a shared access signature"
REFER: Final = "Keep it in the environment or a file, and refer to it: {env: NAME}."


def is_suspicious(text: str) -> bool:
    """Whether a text looks like a key, a signature or a password, which no manifest may hold."""
    return _holds(text, _SECRET)


def is_suspicious_argument(argument: str) -> bool:
    """Whether an argument of a command holds a secret, alone or beside other text."""
    if _SIGN.search(argument) is None:
        return False
    return _holds(argument, _SECRET, _KEY_WITHIN) or any(
        _TOKEN_WITHIN.search(view.data)
        for view in read_views(argument.encode("utf-8", "surrogatepass"))
    )


def _holds(text: str, *signs: re.Pattern[bytes]) -> bool:
    if _SIGN.search(text) is None:
        return False
    data = text.encode("utf-8", "surrogatepass")
    # Each form of a secret has one of these, and long texts without them are read quickly.
    return any(
        sign.search(view.data)
        for sign in signs
        for view in read_views(data)
        if b"=" in view.data or b"@" in view.data or b"PRIVATE KEY-" in view.data.upper()
    )


def is_secret_name(name: str) -> bool:
    """Whether a name is that of a secret, whichever way it separates its words."""
    return _SECRET_NAME.fullmatch(name.strip().encode("utf-8", "surrogatepass")) is not None


def is_secret(name: str, value: object) -> bool:
    """Whether a property has the name of a secret, and a value that may be one."""
    # Most values are short words, and the search of a name takes longer.
    if not isinstance(value, str) or _VALUE.fullmatch(value) is None or not is_secret_name(name):
        return False
    return _WORDS.fullmatch(value) is None or _KEY_OF_TABLE.fullmatch(name.strip()) is None


def find_secret_names(text: bytes) -> set[str]:
    """Returns the names of secrets that properties with a text have in the canonical JSON `text`.

    Fast: a reply has hundreds of names, and only those that may be names of secrets are tested.
    """
    ends = (found.start() for found in _TEXT_PROPERTY.finditer(text.lower()))
    names = (json.loads(text[text.rindex(b'"', 0, end) : end + 1]) for end in ends)
    return {name for name in names if is_secret_name(name)}


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
