"""What a shared access signature says of itself, read before it is used.

Storage answers 403 alike for a signature that has expired and one that was tampered with; only
the signature's own words tell them apart.
"""

from __future__ import annotations

from datetime import datetime
from urllib.parse import parse_qs

from reconciler.errors import BlobExpired, BlobForbidden
from reconciler.text.times import format_utc, parse_utc


def check_validity(signature: str, subject: str, now: datetime) -> str:
    """When the signature ends, or "" where it does not say.

    Raises BlobExpired for one that has ended or has not begun, BlobForbidden for one that does not
    permit to read or is none. The signature itself is in no message.
    """
    said = parse_qs(signature.lstrip("?"))
    # What a stored policy (si) leaves to it is not told here.
    if not said.get("sig") or "r" not in said.get("sp", ["r"])[0]:
        raise BlobForbidden(
            "the signature does not permit to read" if said.get("sig") else "it is no signature",
            subject=subject,
            next_step="Make one with the right to read (sp=r) and put it where sas refers to.",
        )
    start, end = _instant(said, "st"), _instant(said, "se")
    if end is not None and end <= now:
        raise BlobExpired(
            f"the signature ended at {format_utc(end)}",
            subject=subject,
            next_step="Make a new one and put it where sas refers to.",
        )
    if start is not None and start > now:
        raise BlobExpired(
            f"the signature begins at {format_utc(start)}",
            subject=subject,
            next_step="Wait until then, or make one that begins earlier.",
        )
    return format_utc(end) if end is not None else ""


def _instant(said: dict[str, list[str]], name: str) -> datetime | None:
    text = said.get(name, [""])[0]
    try:
        return parse_utc(text)
    except ValueError:
        return None
