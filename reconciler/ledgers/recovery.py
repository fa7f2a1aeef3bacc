"""Writes and reads entries that could not be recorded, for `ledger verify --recover`.

The document is in ASCII, so that it can be copied from a terminal. Its digest protects all of it,
because a part would look like everything that was done. The commands call it; it reads no file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Final

from reconciler.errors import LedgerInvalid
from reconciler.ledgers.chain import DEEPEST, MOST_VALUES
from reconciler.ledgers.records import BadLine, read_entry, write_entry
from reconciler.model import Entry, Json
from reconciler.text.json_text import TooMuch, encode_canonical, read_json

FORMAT_VERSION: Final = "1.0"
LONGEST: Final = 64 << 20
_SUBJECT: Final = "entries to recover"
_WHOLE: Final = (
    "Pass the file unchanged. If you do not have it, reconciler ledger rebuild records the live"
    " state."
)


def write_entries(entries: Iterable[Entry]) -> str:
    """Returns the document of the entries, in the given order."""
    body = {
        "format_version": FORMAT_VERSION,
        "entries": [write_entry(entry) for entry in entries],
    }
    document = {**body, "sha256": _digest(body)}
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def read_entries(text: str) -> tuple[Entry, ...]:
    """Returns the entries of a document; raises LedgerInvalid if it was changed."""
    document = _parse(text)
    if document.get("format_version") != FORMAT_VERSION:
        raise _invalid(f"is not of format version {FORMAT_VERSION}, the only supported version")
    entries = document.get("entries")
    if not isinstance(entries, list):
        raise _invalid("has no entries")
    read = tuple(_read(number, one) for number, one in enumerate(entries, start=1))
    body = {name: value for name, value in document.items() if name != "sha256"}
    if document.get("sha256") != _digest(body):
        raise _invalid("was changed since it was written")
    return read


def _parse(text: str) -> dict[str, Json]:
    if len(text) > LONGEST:
        raise _invalid(f"is longer than {LONGEST >> 20} MiB")
    try:
        document = read_json(text, deepest=DEEPEST, most_values=MOST_VALUES)
    except TooMuch as error:
        raise _invalid(f"cannot be read: {error}") from error
    except ValueError as error:
        raise _invalid("is not JSON") from error
    if not isinstance(document, dict):
        raise _invalid("has no entries")
    return document


def _read(number: int, document: Json) -> Entry:
    if not isinstance(document, dict):
        raise _invalid(f"has no usable entry with number {number}")
    try:
        return read_entry(document, 0)
    except BadLine as error:
        raise _invalid(f"has an invalid entry {number}: it {error}") from error


def _digest(body: Json) -> str:
    text = encode_canonical(body)
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


def _invalid(what: str) -> LedgerInvalid:
    return LedgerInvalid(f"the document {what}", subject=_SUBJECT, next_step=_WHOLE)
