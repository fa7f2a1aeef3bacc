"""Finds the manifest values to change when the live values of a drift report are accepted.

It must not read or write a file: the caller edits the manifests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from reconciler.document.pointers import format_pointer, split_pointer
from reconciler.engine.runtime import Runtime, place_value, places_values
from reconciler.errors import ReconcilerError
from reconciler.model import (
    ABSENT,
    Absent,
    Address,
    Blob,
    Drift,
    DriftReport,
    Json,
    Manifest,
    ModelReference,
    Verdict,
)
from reconciler.ports import Kind

_ACCEPTED: Final = (
    Verdict.DRIFTED,
    Verdict.CONFLICT,
    Verdict.MODEL_SWAPPED,
    Verdict.ARTIFACT_MUTATED,
)


def find_accepted(
    runtime: Runtime,
    report: DriftReport,
    manifests: Iterable[Manifest],
    defaults: Mapping[str, Json],
) -> Iterator[tuple[Manifest, list[tuple[str, Json | Absent]]]]:
    """Yield each manifest to change, with pointers into its document and the new values.

    ABSENT means that the value is removed. Raises ReconcilerError for a value that may not be
    written into a manifest.
    """
    known = {one.address: one for one in manifests}
    for address, findings in _group(report, runtime.kinds).items():
        manifest = known[address]
        models = _find_models(runtime, manifest, defaults)
        yield manifest, list(_find_values(runtime, manifest, findings, models))


def _group(report: DriftReport, kinds: Mapping[str, Kind]) -> Mapping[Address, list[Drift]]:
    """Return the findings that can be accepted, by address."""
    found: dict[Address, list[Drift]] = {}
    # A resource that was never applied can differ from live. Either side may have changed.
    new = {one.resource for one in report.statuses if one.last_applied is None}
    for finding in report.findings:
        first = finding.verdict is Verdict.PENDING and finding.resource in new and finding.pointer
        if kinds[finding.resource.address.kind].field.at(split_pointer(finding.pointer)).read_only:
            continue  # only the service has the value, and a call changes it
        if finding.verdict in _ACCEPTED or first:
            found.setdefault(finding.resource.address, []).append(finding)
    return found


def _find_models(
    runtime: Runtime, manifest: Manifest, defaults: Mapping[str, Json]
) -> Mapping[str, ModelReference]:
    """Return the models that the manifest names, by their pointers in the service's document."""
    kind = runtime.kinds[manifest.address.kind]
    seen = runtime.observations.recall(runtime.identify(manifest, defaults).id)
    bound = kind.bind(manifest, seen if isinstance(seen, Absent) else seen.open()).models
    return {format_pointer(one.path): one for one in bound if one.entry}


def _find_values(
    runtime: Runtime,
    manifest: Manifest,
    findings: Sequence[Drift],
    models: Mapping[str, ModelReference],
) -> Iterator[tuple[str, Json | Absent]]:
    """Yield pointers and values: a model in its named entry, any other where it is declared."""
    kind = runtime.kinds[manifest.address.kind]
    for pointer, finding in {one.pointer: one for one in findings}.items():
        if finding.hidden:
            raise _refuse(manifest, finding, "is sensitive and cannot be written into a manifest")
        model = models.get(pointer)
        if model is not None and finding.verdict is Verdict.ARTIFACT_MUTATED:
            yield f"{model.entry}/sha256", _plain_digest(finding.live)
            continue
        if model is None or places_values(kind):
            placed = place_value(kind, split_pointer(pointer), finding.live)
            if placed is None:
                raise _refuse(manifest, finding, "has a value that no manifest can hold")
            yield placed
        else:
            yield f"{model.entry}/uri", finding.live
        if model is not None and model.sha256:
            digest = _find_digest(runtime, model, str(finding.live))
            yield f"{model.entry}/sha256", digest


def _find_digest(runtime: Runtime, model: ModelReference, uri: str) -> str | Absent:
    """Return the digest of the live model, for the pin; ABSENT where it is not known."""
    try:
        blob = runtime.blobs.inspect(replace(model, uri=uri))
    except ReconcilerError:
        return ABSENT
    return _plain_digest(blob.digest) if isinstance(blob, Blob) else ABSENT


def _plain_digest(digest: Json | Absent) -> str | Absent:
    kind, _, plain = str(digest).partition(":")
    return plain if kind == "sha256" else ABSENT


def _refuse(manifest: Manifest, finding: Drift, why: str) -> ReconcilerError:
    return ReconcilerError(
        f"{finding.pointer} {why}",
        subject=str(manifest.address),
        next_step="Declare a reference to it yourself, or apply the declared value.",
    )
