"""Reads the validity of a shared access signature (SAS) before it is used.

Storage answers 403 both for an expired signature and for one that was changed; only the fields of
the signature show the difference.
"""

from __future__ import annotations

from datetime import datetime
from urllib.parse import parse_qs

from reconciler.errors import BlobExpired, BlobForbidden
from reconciler.text.times import format_utc, parse_utc


def check_validity(signature: str, subject: str, now: datetime) -> str:
    """Returns when the signature ends, or "" if it does not say.

    Raises BlobExpired if it has ended or not begun; raises BlobForbidden if it does not permit to
    read or is not a signature. No message contains the signature.
    """
    said = parse_qs(signature.lstrip("?"))
    # A stored access policy (si) may hold the other fields, which are then not known here.
    if not said.get("sig") or "r" not in said.get("sp", ["r"])[0]:
        raise BlobForbidden(
            "the signature does not permit to read" if said.get("sig") else "it is not a signature",
            subject=subject,
            next_step="Create one with read permission (sp=r), and store it where sas refers to.",
        )
    start, end = _instant(said, "st"), _instant(said, "se")
    if end is not None and end <= now:
        raise BlobExpired(
            f"the signature expired at {format_utc(end)}",
            subject=subject,
            next_step="Create a new one, and store it where sas refers to.",
        )
    if start is not None and start > now:
        raise BlobExpired(
            f"the signature is not valid before {format_utc(start)}",
            subject=subject,
            next_step="Wait until then, or create one that is valid earlier.",
        )
    return format_utc(end) if end is not None else ""


def _instant(said: dict[str, list[str]], name: str) -> datetime | None:
    text = said.get(name, [""])[0]
    try:
        return parse_utc(text)
    except ValueError:
        return None
