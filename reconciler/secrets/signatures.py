"""Finds shared access signatures and keys inside a text, and removes them.

Live documents and messages pass through here before they are stored or shown.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# A signature in a query, also of a URI inside the query of another URI.
# Names have ASCII letters only, so that no other letter matches one of them by its case.
_SIGNATURE: Final = re.compile(
    r"(?P<before>&amp;|[?&;]|%3[FB]|%26)(?a:sig)(=|%3D)(?!=)"
    r"(?P<value>([^&;#\s\"'<>%]|%(?!26|23))+)(?P<after>&(amp;)?|;|%26)?",
    re.IGNORECASE,
)
# The key of a connection string, with its separators.
_KEY: Final = re.compile(
    r"(?:(?P<parted>;)|(?<![\w%]))(?a:Account|SharedAccess)(?a:Key)="
    r"(?P<value>[^;&#\s\"'<>]{16,})(?(parted)|;?)",
    re.IGNORECASE,
)
_BEGINS: Final = frozenset({"?", "%3f"})
# URIs that have the canonical form already, as nearly all do: parsing them would change nothing.
FORMED: Final = re.compile(r"https?://[a-z0-9-]+(?:\.[a-z0-9-]+)*(?:/[\w.~-]*)*", re.ASCII)
_KEPT_QUERY: Final = frozenset({"snapshot", "versionid"})


def strip_credentials(uri: str) -> str:
    """Returns the URI of a blob without user, signature or fragment: safe to store and show."""
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
    """Returns the text without the signatures of URIs and the keys of connection strings.

    Returns the same object if there is nothing to remove.
    """
    if "key=" in text.lower():
        text = _KEY.sub("", text)
    stripped = _SIGNATURE.sub(_join_around, text)
    while stripped != text:  # two that touch share what parts them
        text, stripped = stripped, _SIGNATURE.sub(_join_around, stripped)
    return text


def find_signatures(text: str) -> list[str]:
    """Returns the signatures and keys themselves, in their spelling in the text."""
    return [found["value"] for one in (_SIGNATURE, _KEY) for found in one.finditer(text)]


def _join_around(found: re.Match[str]) -> str:
    """The separator of the rest of a query after a signature is removed from it."""
    before, after = found["before"], found["after"] or ""
    if before.lower() in _BEGINS:
        return before if after else ""
    return after
