"""Brings a shared access signature (SAS) to its one form, and checks what it permits and when.

Storage answers 403 for an expired signature, for one that was changed and for one of another
service; only the fields of the signature show the difference. All callers use the form that
`normalize_signature` returns, so that what is checked is what is sent. No message contains a byte
of a signature.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final
from urllib.parse import parse_qs, unquote

from reconciler.errors import BlobExpired, BlobForbidden
from reconciler.text.patterns import compile_lazily
from reconciler.text.times import format_utc, parse_utc

# What stands around a value that was copied from JSON, a shell, a mail or a file.
_AROUND: Final = " \t\r\n\f\v\u00a0\u200b\u2060\ufeff\"'`,;<>\u2018\u2019\u201c\u201d"
_ADDRESS: Final = re.compile(r"https?://[^?\s]*\?([^#]*)(?:#.*)?", re.IGNORECASE | re.DOTALL)
_FIELD: Final = compile_lazily(
    r"([a-z]{2,12})=((?:[A-Za-z0-9._~+/:,*!()@$-]|%[0-9A-Fa-f]{2})*={0,2})"
)
# Fields of a request and not of a signature: an address of a container may hold them.
_REQUEST: Final = frozenset({"comp", "restype", "timeout"})
# A blob, its snapshot or version, a container, or a directory (documented: create-service-sas).
_BLOBS: Final = frozenset({"b", "bs", "bv", "c", "d"})
_AGAIN: Final = "Copy it again, without anything before or after it."


def trim_signature(text: str) -> str:
    """Returns a signature without the quotes, the blanks or the address around it."""
    text = text.strip(_AROUND)
    address = _ADDRESS.fullmatch(text)
    return (address[1] if address else text).lstrip("?").strip("&" + _AROUND)


def normalize_signature(text: str) -> str:
    """Returns the one form of a signature: fields of a query, without `?`.

    Raises ValueError with what is wrong; its text continues "the signature in env NAME".
    """
    trimmed = trim_signature(text)
    if re.search(r"\s", trimmed):
        raise ValueError("contains a blank or a line break")
    fields: dict[str, str] = {}
    for part in trimmed.split("&"):
        found = _FIELD.fullmatch(part)
        if not found:
            raise ValueError("is not a signature: a part of it is not NAME=VALUE of a query")
        if found[1] in fields:
            raise ValueError("is not one signature: it has the same field twice")
        fields[found[1]] = found[2].replace("+", "%2B")
    if not fields.get("sig"):
        raise ValueError("is not a signature: it has no sig")
    if "%" in unquote(fields["sig"]):
        raise ValueError("is percent-encoded twice")
    return "&".join(f"{name}={value}" for name, value in fields.items() if name not in _REQUEST)


def read_signature(text: str, source: str, subject: str) -> str:
    """Returns the one form of a signature that can read a model; `source` names where it is kept.

    Raises BlobForbidden if the text is not a signature, or is one that cannot read a blob.
    """
    try:
        signature = normalize_signature(text)
    except ValueError as error:
        raise _refuse(f"the signature in {source} {error}", subject, _AGAIN) from None
    said = {name: values[0] for name, values in parse_qs(signature).items()}
    for wrong, cure in _list_limits(said):
        raise _refuse(f"the signature in {source} {wrong}", subject, f"Create one {cure}.")
    return signature


def _list_limits(said: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yields what keeps a signature from reading a blob, and which one can read it.

    A stored access policy (si) may hold the permissions, which are then not known here.
    """
    if "ss" in said or "srt" in said:
        if "b" not in said.get("ss", ""):
            yield "is not for blobs: its ss lacks b", "for blobs (ss=b)"
        if "o" not in said.get("srt", ""):
            yield "is not for objects: its srt lacks o", "for objects (srt=o)"
    elif said.get("sr", "") not in _BLOBS:
        yield "is not for blobs: its sr is not b, c or d", "for the blob (sr=b)"
    if "r" not in said.get("sp", "r" if "si" in said else ""):
        yield "does not permit to read", "with read permission (sp=r)"


def _refuse(message: str, subject: str, next_step: str) -> BlobForbidden:
    return BlobForbidden(message, subject=subject, next_step=next_step)


def find_end(signature: str) -> str:
    """Returns when a normalized signature ends, or "" if it does not say."""
    end = _instant(parse_qs(signature), "se")
    return format_utc(end) if end is not None else ""


def check_validity(signature: str, subject: str, now: datetime) -> str:
    """Returns when a normalized signature ends, or "" if it does not say.

    `now` is the time of the service that gets it, as far as it is known. Raises BlobExpired if the
    signature has ended or not begun.
    """
    said = parse_qs(signature)
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
    return find_end(signature)


def _instant(said: Mapping[str, list[str]], name: str) -> datetime | None:
    text = said.get(name, [""])[0]
    try:
        return parse_utc(text)
    except ValueError:
        return None
