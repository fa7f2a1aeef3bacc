"""The signature in the address of an operation: `t`, `c`, `s` and `h` make it 3.1 kB (recorded).

A client follows the address byte for byte. An address with any other signature is refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final

# The lengths that were recorded, in bytes before base64url without padding.
_CERTIFICATE: Final = 1950
_SIGNATURE: Final = 256
# The ticks of .NET at the start of 1970; a tick is 100 ns.
_EPOCH: Final = 621_355_968_000_000_000


def sign(secret: bytes, path: str, version: str, started: float) -> str:
    """Return the query of a signed address: the api-version and the signature."""
    ticks = _EPOCH + int(started * 10_000_000)
    signed = f"{path.casefold()}?{version}&{ticks}"
    parts = {
        "api-version": version,
        "t": str(ticks),
        "c": _expand(secret, "certificate", _CERTIFICATE),
        "s": _expand(secret, f"signature {signed}", _SIGNATURE),
        "h": _expand(secret, f"hash {signed}", 32),
    }
    return "&".join(f"{name}={value}" for name, value in parts.items())


def is_signed(query: str) -> bool:
    """Return whether a query has a part of a signature."""
    return any(pair.partition("=")[0] in {"t", "c", "s", "h"} for pair in query.split("&"))


def is_valid(secret: bytes, path: str, version: str, started: float, query: str) -> bool:
    """Return whether a query is the signed one of a path."""
    wanted = sign(secret, path, version, started)
    return hmac.compare_digest(wanted.encode(), query.encode("utf-8", "surrogateescape"))


def _expand(secret: bytes, text: str, length: int) -> str:
    """Return bytes that follow from a secret and a text, as base64url without padding."""
    seed = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    data = hashlib.shake_256(seed).digest(length)
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
