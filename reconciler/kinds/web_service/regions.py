"""Copies a definition to another region: which values are copied, and which are sealed again.

Secrets in a definition are encrypted to the certificate of its region. For another region the
service makes a copy on demand, with the secrets encrypted to that region's certificate (recorded:
TestCreateAndGetRegionalProperties; documented: how-to-deploy-to-multiple-regions). The kind and
its provider call this module; it sends no call.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Final

from reconciler.document.comparers import COMPARERS
from reconciler.document.diff import same
from reconciler.document.normalize import without_server_fields
from reconciler.document.pointers import find, format_pointer, set_at
from reconciler.document.schema import Field
from reconciler.errors import Rejected
from reconciler.model import ABSENT, Absent, Json, Path

_LOCATION: Final[Path] = ("location",)
_ACCOUNT: Final[Path] = ("properties", "storageAccount", "name")
_THUMBPRINT: Final = "certificateThumbprint"


def find_region(field: Field, source: Json, after: Json) -> str:
    """Return the region of `after` as the service's queries spell it; empty if it is `source`'s."""
    there = find(after, _LOCATION)
    if same(field.at(_LOCATION), find(source, _LOCATION), there) or not isinstance(there, str):
        return ""
    return str(COMPARERS["location"](there))


def make_starting_document(field: Field, source: Json, declared: Json) -> Json:
    """Return what a new service starts from: the declarable part of the source that GET shows.

    A write-only value is never copied, even if the source shows it. The storage account is not
    copied to another region, because each region needs its own.
    """
    starting_document = _without_hidden(field, without_server_fields(field, source))
    if find_region(field, source, {**source, **declared}):
        account = find(starting_document, _ACCOUNT[:-1])
        if isinstance(account, dict):
            account.pop(_ACCOUNT[-1], None)
    return starting_document


def _without_hidden(field: Field, document: Json) -> Json:
    if not isinstance(document, dict) or not field.branches:
        return copy.deepcopy(document)
    return {
        name: _without_hidden(field.child(name), value)
        for name, value in document.items()
        if not field.child(name).write_only
    }


def is_copy(field: Field, copied: Json | Absent, source: Json) -> bool:
    """Return whether a regional copy matches the definition now, by all values that GET shows."""
    properties = field.child("properties")
    return copied is not ABSENT and same(
        properties, find(copied, ("properties",)), find(source, ("properties",))
    )


def apply_sealed(field: Field, body: Json, copied: Json) -> None:
    """Replace each value in `body` that another certificate sealed with the copy's cipher text.

    Raises Rejected if the copy lacks such a value. Call it before anything is sent.
    """
    sealed: dict[Path, Json] = {path: find(copied, path) for path in find_sealed(field, copied)}
    known = {value[_THUMBPRINT] for value in sealed.values()}
    missing = []
    for path in list(find_sealed(field, body)):
        have = find(body, path)
        if isinstance(have, dict) and have.get(_THUMBPRINT) in known:
            continue
        if path in sealed:
            set_at(body, path, copy.deepcopy(sealed[path]))
        else:
            missing.append(format_pointer(path))
    if missing:
        raise Rejected(
            f"the copy of the definition for the region lacks sealed secrets: {missing[0]}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
            next_step="Plan again, and declare the secrets that the source no longer has.",
        )


def find_sealed(field: Field, document: Json, path: Path = ()) -> Iterator[Path]:
    """Yield the places where a document holds cipher text."""
    if field.sealed_by:
        if field.is_sealed(document):
            yield path
    elif isinstance(document, dict) and field.branches:
        for name, value in document.items():
            yield from find_sealed(field.child(name), value, (*path, name))
