"""The named comparers of `x-compare`: each brings a value to the form in which it is compared.

Two values are the same when their forms are equal. All are pure and total: a value they do not
understand is its own form, so a surprise of the service is a difference, never a crash.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from reconciler.model import Json
from reconciler.secrets.signatures import DEFAULT_PORTS, FORMED, strip_credentials

Comparer = Callable[[Json], Json]

_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?\s*([Zz]|[+-]\d\d:?\d\d)?", re.ASCII
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
# Longer ones are none that anybody means, and Python reads no integer of thousands of digits.
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
    except ValueError:
        return value
    scheme = parts.scheme.lower()
    if scheme not in DEFAULT_PORTS or not parts.hostname:
        return value
    host = parts.hostname if port in {None, DEFAULT_PORTS[scheme]} else f"{parts.hostname}:{port}"
    path = quote(unquote(parts.path), safe="/")
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
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{(fraction or '').rstrip('0')}"


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
        # What is too large for a number is a text.
        value = value if math.isinf(number) else number
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def is_sealed(value: Json, by: str) -> bool:
    """Whether an object holds cipher text: its property `by`, in any casing, is not empty.

    The service makes new cipher text at every write, so that the value cannot be compared.
    """
    return isinstance(value, dict) and any(
        key.casefold() == by.casefold() and bool(text) for key, text in value.items()
    )


def compare_sealed(by: str, value: Json) -> Json:
    """The form of an object that may be sealed by its property `by`."""
    return (SEALED,) if is_sealed(value, by) else value


COMPARERS: Final[Mapping[str, Comparer]] = {
    "casefold": _casefold,
    "location": _location,
    "arm-id": _arm_id,
    "blob-uri": _blob_uri,
    "instant": _instant,
    "number": _number,
}
# Needs the name of the property that says so; the schema gives it (x-sealed-by).
SEALED: Final = "sealed"
# Values that may hold credentials, which are removed where a document comes in.
CARRIERS: Final = frozenset({"blob-uri"})
