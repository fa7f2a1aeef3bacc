"""Makes the bodies of PUT and PATCH from a step, with the secrets that only the service may see.

A PUT holds the whole definition. A PATCH holds each part that changes, whole. Each value that does
not change is as the service returned it. The provider calls this module and keeps no body.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from reconciler.document.normalize import restore_texts, without_server_fields
from reconciler.document.patch import apply_changes
from reconciler.document.pointers import copy_document, find, set_at, split_pointer
from reconciler.document.schema import Field
from reconciler.kinds.web_service.regions import apply_sealed
from reconciler.model import ABSENT, Absent, Json, Live, Path, SecretReference, Step, Verb
from reconciler.ports import ResolveSecret

Redact: TypeAlias = Callable[[Json], Json]
_ASSETS: Final = ("properties", "assets")


def make_definition(
    field: Field,
    step: Step,
    live: Live | Absent,
    copied: Json | Absent,
    redact: Redact,
    resolve: ResolveSecret,
) -> Json:
    """Return a complete definition: the declarable part of the desired document, and secrets.

    Sealed values come from the region's copy, if there is a copy.
    """
    desired = _make_desired(field, step, live, redact)
    sent = _without_nulls(field, without_server_fields(field, desired))
    body = copy_document(sent)
    if live is not ABSENT:
        _put_back_credentials(find(body, _ASSETS), live.raw, field)
    if copied is not ABSENT:
        apply_sealed(field, body, copied)
    _set_written(body, step, resolve)
    return body


def _make_desired(field: Field, step: Step, live: Live | Absent, redact: Redact) -> Json:
    """Return the live document with the changes; unchanged addresses keep their signatures.

    It shares unchanged parts with the live document, so it must not be changed.
    """
    if live is ABSENT:
        return apply_changes(step.ops, ABSENT)
    return restore_texts(field, apply_changes(step.ops, live.document), live.raw, redact)


def make_patch(
    field: Field, step: Step, live: Live, redact: Redact, resolve: ResolveSecret
) -> Json:
    """Return each changed part whole: its live value with the changes applied."""
    desired = _make_desired(field, step, live, redact)
    body: Json = {"properties": {}}
    for path in _changed_parts(step):
        part = without_server_fields(field.at(path), find(desired, path))
        set_at(body, path, copy_document(_without_nulls(field.at(path), part)))
    properties = body["properties"]
    properties["packageType"] = find(desired, ("properties", "packageType")) or "Graph"
    if "assets" in properties:
        _put_back_credentials(properties["assets"], live.raw, field)
    _set_written(body, step, resolve)
    return body


def _without_nulls(field: Field, document: Json | Absent) -> Json | Absent:
    """Return the document without null where null means absent.

    It is not known what null does in a write.
    """
    if not isinstance(document, dict) or not field.branches:
        return document
    return {
        name: _without_nulls(field.child(name), value)
        for name, value in document.items()
        if not (value is None and field.child(name).empty_is_absent)
    }


def _changed_parts(step: Step) -> list[Path]:
    """Return the top-level properties (and tags) that must be sent whole, each once.

    A key is sent alone, because a PATCH merges inside `keys` and `storageAccount` (recorded; also
    the rotation in the cmdlet's source). It is not known whether a PATCH merges inside `assets`.
    """
    paths = (
        change.path
        for change in step.changes
        if change.verb is not Verb.WRITE or change.path[:2] == _ASSETS
    )
    return sorted({path[: 2 if path[0] == "properties" else 1] for path in paths})


def _set_written(body: Json, step: Step, resolve: ResolveSecret) -> None:
    """Set the values that no read returns, such as secrets. Do not keep the body after sending."""
    for change in step.changes:
        if change.verb is Verb.WRITE and not isinstance(change.after, SecretReference):
            set_at(body, change.path, change.after)
    for pointer, reference in step.secrets:
        set_at(body, split_pointer(pointer), resolve(reference))


def _put_back_credentials(assets: Json, raw: Json, field: Field) -> None:
    """Restore the credentials that the service returned, so that a whole map does not lose them."""
    returned = find(_respell(field, raw, _ASSETS), _ASSETS)
    for asset_id, asset in returned.items() if isinstance(returned, dict) else ():
        kept = find(asset, ("locationInfo", "credentials"))
        if kept is not ABSENT and isinstance(find(assets, (asset_id, "locationInfo")), dict):
            assets[asset_id]["locationInfo"]["credentials"] = kept


def _respell(field: Field, document: Json, path: Path = ()) -> Json:
    """Return a document with names in the schema's spelling on and below a path.

    Nothing below the path is dropped. Use it only to look up what to send.
    """
    if not isinstance(document, dict):
        return document
    spelled = {field.spelling(name): value for name, value in document.items()}
    return {
        name: _respell(field.child(name), value, path[1:])
        for name, value in spelled.items()
        if name in path[:1] or not path
    }
