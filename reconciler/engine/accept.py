"""Finds the manifest values to change when the live values of a drift report are accepted.

It must not read or write a file: the caller edits the manifests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from reconciler.document.pointers import format_pointer, split_pointer
from reconciler.engine.runtime import Runtime
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
    """Yield pointers and values: a model in its named entry, any other value in the definition."""
    for pointer, finding in {one.pointer: one for one in findings}.items():
        if finding.hidden:
            raise _refuse(manifest, finding)
        model = models.get(pointer)
        if model is None:
            yield f"/spec/definition{pointer}", finding.live
            continue
        at = model.entry
        if finding.verdict is Verdict.ARTIFACT_MUTATED:
            yield f"{at}/sha256", _plain_digest(finding.live)
            continue
        yield f"{at}/uri", finding.live
        if model.sha256:
            yield f"{at}/sha256", _find_digest(runtime, model, str(finding.live))


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


def _refuse(manifest: Manifest, finding: Drift) -> ReconcilerError:
    return ReconcilerError(
        f"{finding.pointer} is sensitive and cannot be written into a manifest",
        subject=str(manifest.address),
        next_step="Declare a reference to it yourself, or apply the declared value.",
    )
