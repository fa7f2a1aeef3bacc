"""`drift --accept`: what is live is written into the manifests that declare otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from reconciler.cli.context import Invocation
from reconciler.cli.wiring import Assembly, load_all
from reconciler.document.pointers import format_pointer
from reconciler.engine.runtime import Runtime
from reconciler.errors import ManifestInvalid, ReconcilerError
from reconciler.files import read_whole, write_whole
from reconciler.manifests.editing import Edit
from reconciler.manifests.editing.accept import Acceptance, edit_files
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
from reconciler.render.words.counting import count
from reconciler.render.words.escape import escape

_TAKEN = (
    Verdict.DRIFTED,
    Verdict.CONFLICT,
    Verdict.MODEL_SWAPPED,
    Verdict.ARTIFACT_MUTATED,
)


def accept(
    invocation: Invocation,
    assembly: Assembly,
    runtime: Runtime,
    report: DriftReport,
    paths: Sequence[str],
) -> None:
    """Write what moved into the manifests, and say which files have changed.

    Raises ReconcilerError where there is nothing to take over, ManifestInvalid where a manifest
    cannot hold it; then every file is as it was.
    """
    manifests = {one.address: one for one in assembly.loaded.manifests}
    accepted = [
        Acceptance(
            manifests[address], tuple(_edits(runtime, manifests[address], findings, assembly))
        )
        for address, findings in _by_address(report).items()
    ]
    if not accepted:
        raise ReconcilerError(
            "nothing that is live was moved away from what was applied",
            next_step="A manifest that moved is settled by apply; reconciler drift shows all.",
        )
    root = Path(assembly.project.root)
    texts = edit_files(root, accepted)
    _write(invocation, paths, texts)
    for path in texts:
        click.echo(f"  {escape(str(path.relative_to(root)))}")
    moved = sum(len(one.edits) for one in accepted)
    click.echo(f"\n{count(moved, 'value')} accepted into {count(len(texts), 'file')}.")


def _by_address(report: DriftReport) -> Mapping[Address, list[Drift]]:
    found: dict[Address, list[Drift]] = {}
    # What was never applied differs from live with nobody to say which of the two moved.
    new = {one.resource for one in report.statuses if one.last_applied is None}
    for finding in report.findings:
        first = finding.verdict is Verdict.PENDING and finding.resource in new and finding.pointer
        if finding.verdict in _TAKEN or first:
            found.setdefault(finding.resource.address, []).append(finding)
    return found


def _edits(
    runtime: Runtime, manifest: Manifest, findings: Sequence[Drift], assembly: Assembly
) -> Iterator[Edit]:
    """What to write where: a trained model by its name, anything else in the definition."""
    live = {one.pointer: one for one in findings}
    models = _find_models(runtime, manifest, assembly)
    for pointer, finding in live.items():
        if finding.hidden:
            raise _hidden(manifest, finding)
        model = models.get(pointer)
        if model is None:
            yield Edit(f"/spec/definition{pointer}", finding.live)
            continue
        at = model.entry
        if finding.verdict is Verdict.ARTIFACT_MUTATED:
            yield Edit(f"{at}/sha256", _plain_digest(finding.live))
            continue
        yield Edit(f"{at}/uri", finding.live)
        if model.sha256:
            yield Edit(f"{at}/sha256", _find_digest(runtime, model, str(finding.live)))


def _find_models(
    runtime: Runtime, manifest: Manifest, assembly: Assembly
) -> Mapping[str, ModelReference]:
    kind = runtime.kinds[manifest.address.kind]
    resource = kind.identify(manifest, assembly.project.defaults)
    seen = runtime.observations.recall(resource.id)
    bound = kind.bind(manifest, seen if isinstance(seen, Absent) else seen.open()).models
    return {format_pointer(one.path): one for one in bound if one.entry}


def _find_digest(runtime: Runtime, model: ModelReference, uri: str) -> str | Absent:
    """The digest of the model that is live, to be pinned in its turn; ABSENT for none known."""
    try:
        blob = runtime.blobs.inspect(replace(model, uri=uri))
    except ReconcilerError:
        return ABSENT
    return _plain_digest(blob.digest) if isinstance(blob, Blob) else ABSENT


def _plain_digest(digest: Json | Absent) -> str | Absent:
    kind, _, plain = str(digest).partition(":")
    return plain if kind == "sha256" else ABSENT


def _write(invocation: Invocation, paths: Sequence[str], texts: Mapping[Path, str]) -> None:
    """Replace the files; where the manifests are then not valid, put every one of them back."""
    before = {path: read_whole(path) for path in texts}
    for path, text in texts.items():
        write_whole(path, text)
    loaded, _ = load_all(invocation, paths)
    errors = tuple(found for found in loaded.findings if found.severity == "error")
    if errors:
        for path, text in before.items():
            write_whole(path, text)
        raise ManifestInvalid(errors)


def _hidden(manifest: Manifest, finding: Drift) -> ReconcilerError:
    return ReconcilerError(
        f"{finding.pointer} is sensitive and cannot be written into a manifest",
        subject=str(manifest.address),
        next_step="Declare it by hand, by reference, or apply what is declared.",
    )
