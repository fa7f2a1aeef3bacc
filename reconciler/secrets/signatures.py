"""Finds shared access signatures and keys inside a text, and removes them.

Live documents and messages pass through here before they are stored or shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from reconciler.secrets.spellings import read_views, replace_parts
from reconciler.secrets.suspicion import KEY_NAMES
from reconciler.text.patterns import compile_lazily

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# A signature in a query.
_SIGNATURE: Final = compile_lazily(
    rb"(?P<before>&amp;|[?&;])sig=(?!=)"
    rb"(?P<value>(?:[^&;#\s\"'<>%\\]|%(?!26|23))+)(?P<after>&(?:amp;)?|;)?",
    re.IGNORECASE,
)
# The key of a connection string, with its separators.
_KEY: Final = compile_lazily(
    rb"(?:(?P<parted>;)|(?<![\w%%]))%b=(?P<value>[^;&#\s\"'<>\\]{16,})(?(parted)|;?)" % KEY_NAMES,
    re.IGNORECASE,
)
# URIs that have the canonical form already, as nearly all do: parsing them would change nothing.
FORMED: Final = re.compile(
    r"https?://[a-z0-9-]+(?:\.[a-z0-9-]+)*(?:/(?!/)[\w.~-]*(?:/[\w.~-]*)*)?", re.ASCII
)
# What begins or ends the parts of a URI that may hold a credential.
_MARKED: Final = re.compile("[?#@]")
_KEPT_QUERY: Final = frozenset({"snapshot", "versionid"})


def strip_credentials(uri: str) -> str:
    """Returns the URI of a blob without user, signature or fragment: safe to store and show."""
    if not _MARKED.search(uri):
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

    Escapes are read: of a URI in the query of another URI, or of JSON within a text. Returns the
    same object if there is nothing to remove.
    """
    data = text.encode("utf-8", "surrogatepass")
    if not may_be_signed(data):
        return text
    while parts := list(_find_removable(data)):  # two that touch share what parts them
        data = replace_parts(data, parts, b"")
        text = data.decode("utf-8", "surrogatepass")
    return text


def may_be_signed(data: bytes) -> bool:
    """Whether bytes may hold a signature or a key. Fast: True is not certain.

    False is certain, unless an escape within the name is escaped itself.
    """
    return _has_sign(data.lower(), _SIGNS)


def may_hold_signed_text(text: bytes) -> bool:
    """Whether a text in the canonical JSON `text` may be signed, as `may_be_signed` says."""
    return _has_sign(text.lower(), _SIGNS_IN_JSON)


def _has_sign(lower: bytes, signs: tuple[re.Pattern[bytes], ...]) -> bool:
    """Whether one of the signs is there. Most texts lack most of the bytes that they begin with."""
    return any(
        mark in lower and sign.search(lower) for mark, sign in zip(_MARKS, signs, strict=True)
    )


_MARKS: Final = (b"=", b"%", b"\\", b"&")


def _make_signs(backslash: bytes) -> tuple[re.Pattern[bytes], ...]:
    """How the equals sign after a name begins in any spelling, or an escape of a letter of it.

    The first byte is searched before the name, because most texts have few of these bytes. They are
    in the order of `_MARKS`.
    """
    names = (b"(?:sig|key)" + one for one in (b"=", b"%", backslash, b"&"))
    equals, percent, slash, entity = (b"(?<=" + one + b")" for one in names)
    return tuple(
        map(
            re.compile,
            (
                b"=" + equals,
                b"%(?:" + percent + b"|u00|[57][39]|[46][579b])",
                backslash + b"(?:" + slash + b"|u00|x)",
                b"&(?:" + entity + b"eq|#)",
            ),
        )
    )


_BACKSLASH: Final = re.escape(b"\\")
_SIGNS: Final = _make_signs(_BACKSLASH)
_SIGNS_IN_JSON: Final = _make_signs(2 * _BACKSLASH)


def find_signatures(text: str) -> list[str]:
    """Returns the signatures and keys themselves, as they are when escapes are undone."""
    data = text.encode("utf-8", "surrogatepass")
    if not any(mark in data for mark in _MARKS):
        return []  # no equals sign, and no escape that may be one: most texts
    return [
        found["value"].decode("utf-8", "replace")
        for view in read_views(data, coded=False)
        for one in (_SIGNATURE, _KEY)
        for found in one.finditer(view.data)
    ]


def _find_removable(data: bytes) -> Iterator[tuple[int, int]]:
    for view in read_views(data, coded=False):
        for found in _KEY.finditer(view.data):
            yield view.locate(*found.span())
        for found in _SIGNATURE.finditer(view.data):
            yield view.locate(*_span_removable(found))


def _span_removable(found: re.Match[bytes]) -> tuple[int, int]:
    """A signature with one of its separators, so that the rest stays a query."""
    if found["before"] == b"?" and found["after"]:
        return found.end("before"), found.end("after")
    return found.start("before"), found.end("value")
