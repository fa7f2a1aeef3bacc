"""Checks of URLs: is it valid, is it loopback, and what is its origin."""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import Final
from urllib.parse import urljoin, urlsplit

_LONGEST: Final = 16_384
# Parsers disagree about a user name or a backslash before the path, so both are refused.
_ADDRESS: Final = re.compile(r"(https?://[a-z0-9._\-\[\]:]+/)[!-~]*", re.IGNORECASE | re.ASCII)


def is_address(url: str) -> bool:
    """Whether a URL can be sent unchanged: it is bounded, and all parsers read it the same way."""
    found = _ADDRESS.fullmatch(url) if len(url) <= _LONGEST else None
    if found is None or "#" in url or "\\" in url:
        return False
    return _is_origin(found[1])


@functools.lru_cache(64)
def _is_origin(url: str) -> bool:
    """Whether the part of a URL before its path can be read; most calls go to the same one."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def join_addresses(base: str, reference: str) -> str:
    """The URL of a reference in an answer; "" if it cannot be read."""
    try:
        return urljoin(base, reference)
    except ValueError:
        return ""


def is_loopback(url: str) -> bool:
    """Whether the host of a URL is this machine; False for a URL that cannot be read."""
    try:
        host = urlsplit(url).hostname or ""
        if host == "localhost":
            return True
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def origin_of(url: str) -> tuple[str, str, int | None]:
    """The scheme, the host and the port of a URL; a missing port is the default of the scheme."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme.lower())
    return parts.scheme.lower(), (parts.hostname or "").lower(), port
