"""Shared access signatures and keys inside a text: where they are, and the text without them.

Live documents and messages pass through here before anything keeps or shows them.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# A signature in a query, also of an address within another one's query.
# Names are of ASCII letters: no other letter that is like one in another case stands for it.
_SIGNATURE: Final = re.compile(
    r"(?P<before>&amp;|[?&;]|%3[FB]|%26)(?a:sig)(=|%3D)(?!=)"
    r"(?P<value>([^&;#\s\"'<>%]|%(?!26|23))+)(?P<after>&(amp;)?|;|%26)?",
    re.IGNORECASE,
)
# The key of a connection string, with what parts it from the rest.
_KEY: Final = re.compile(
    r"(?:(?P<parted>;)|(?<![\w%]))(?a:Account|SharedAccess)(?a:Key)="
    r"(?P<value>[^;&#\s\"'<>]{16,})(?(parted)|;?)",
    re.IGNORECASE,
)
_BEGINS: Final = frozenset({"?", "%3f"})
# Addresses that have their one form already, as nearly all do: to take them apart would change
# nothing.
FORMED: Final = re.compile(r"https?://[a-z0-9-]+(?:\.[a-z0-9-]+)*(?:/[\w.~-]*)*", re.ASCII)
_KEPT_QUERY: Final = frozenset({"snapshot", "versionid"})


def strip_credentials(uri: str) -> str:
    """The address of a blob without user, signature or fragment: safe to keep and show."""
    if FORMED.fullmatch(uri):
        return uri
    try:
        parts = urlsplit(uri)
        if parts.scheme.lower() not in DEFAULT_PORTS:
            return uri
        netloc = parts.netloc.rpartition("@")[2]
    except ValueError:
        return uri
    if not parts.query and not parts.fragment and netloc == parts.netloc:
        return uri
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(key, value) for key, value in pairs if key.lower() in _KEPT_QUERY]
    return urlunsplit(SplitResult(parts.scheme, netloc, parts.path, urlencode(kept), ""))


def strip_signatures(text: str) -> str:
    """The text without signatures of addresses and keys of connection strings.

    It is the very same where it has none.
    """
    if "key=" in text.lower():
        text = _KEY.sub("", text)
    stripped = _SIGNATURE.sub(_join_around, text)
    while stripped != text:  # two that touch share what parts them
        text, stripped = stripped, _SIGNATURE.sub(_join_around, stripped)
    return text


def find_signatures(text: str) -> list[str]:
    """The signatures and keys themselves, as they are spelled there."""
    return [found["value"] for one in (_SIGNATURE, _KEY) for found in one.finditer(text)]


def _join_around(found: re.Match[str]) -> str:
    """What parts the rest of a query, once a signature is gone from it."""
    before, after = found["before"], found["after"] or ""
    if before.lower() in _BEGINS:
        return before if after else ""
    return after
