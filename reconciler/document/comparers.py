"""The named comparers of `x-compare`: each converts a value to its comparison form.

Two values are the same when their forms are equal. Comparers are pure and never raise. A value
that a comparer does not recognise is its own form, so an unexpected value is only a difference.
The schema compiler uses this module.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Final
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlsplit, urlunsplit

from reconciler.model import Json
from reconciler.secrets.signatures import DEFAULT_PORTS, FORMED, strip_credentials
from reconciler.text.patterns import compile_lazily

Comparer = Callable[[Json], Json]

_INSTANT = compile_lazily(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?\s*([Zz]|[+-]\d\d:?\d\d)?", re.ASCII
)
_NUMBER = compile_lazily(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
# Characters that a path may hold as they are (RFC 3986).
_PATH: Final = "/!$&'()*+,;=:@"
# A longer text is not compared as a number: Python refuses an integer of thousands of digits.
_LONGEST_NUMBER: Final = 400


def _casefold(value: Json) -> Json:
    return value.casefold() if isinstance(value, str) else value


def _location(value: Json) -> Json:
    return "".join(value.split()).casefold() if isinstance(value, str) else value


def _arm_id(value: Json) -> Json:
    return value.strip("/").casefold() if isinstance(value, str) else value


def _blob_uri(value: Json) -> Json:
    if not isinstance(value, str) or FORMED.fullmatch(value):
        return value
    bare = strip_credentials(value)
    try:
        parts = urlsplit(bare)
        port = parts.port
        path = quote(unquote_to_bytes(parts.path), safe=_PATH)
    except ValueError:
        return value
    scheme = parts.scheme.lower()
    if scheme not in DEFAULT_PORTS or not parts.hostname:
        return value
    # The first segment is never empty, so several slashes before it are one.
    path = f"/{path.lstrip('/')}" if path.startswith("//") else path
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    host = host if port in {None, DEFAULT_PORTS[scheme]} else f"{host}:{port}"
    return urlunsplit(SplitResult(scheme, host, path, parts.query, ""))


def _instant(value: Json) -> Json:
    found = _INSTANT.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        return value
    day, time, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=timezone(_offset(zone)))
        utc = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return value
    return (
        f"{utc.replace(tzinfo=None).isoformat(timespec='seconds')}.{(fraction or '').rstrip('0')}"
    )


def _offset(zone: str | None) -> timedelta:
    if zone is None or zone in "Zz":
        return timedelta()
    digits = zone[1:].replace(":", "")
    away = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -away if zone[0] == "-" else away


def _number(value: Json) -> Json:
    if isinstance(value, bool):
        return value
    if (
        isinstance(value, str)
        and len(value) <= _LONGEST_NUMBER
        and _NUMBER.fullmatch(value.strip())
    ):
        number = float(value) if re.search(r"[.eE]", value) else int(value)
        # A number that is too large for a float stays a text.
        value = value if math.isinf(number) else number
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def is_sealed(value: Json, by: str) -> bool:
    """Whether an object holds cipher text: its property `by`, in any casing, is not empty.

    The service encrypts again at every write, so the value cannot be compared.
    """
    if not isinstance(value, dict):
        return False
    folded = by.casefold()
    return any(bool(text) and key.casefold() == folded for key, text in value.items())


def compare_sealed(by: str, value: Json) -> Json:
    """Return the comparison form of an object that may be sealed by its property `by`."""
    return (SEALED,) if is_sealed(value, by) else value


COMPARERS: Final[Mapping[str, Comparer]] = {
    "casefold": _casefold,
    "location": _location,
    "arm-id": _arm_id,
    "blob-uri": _blob_uri,
    "instant": _instant,
    "number": _number,
}
# This comparer also needs a property name, which the schema gives (x-sealed-by).
SEALED: Final = "sealed"
# Comparers whose values people may write in several forms, of which one is sent.
FORMED_VALUES: Final = frozenset({"blob-uri", "instant"})
# Comparers whose values may hold credentials. Credentials are removed when a document is read.
CARRIERS: Final = frozenset({"blob-uri"})
