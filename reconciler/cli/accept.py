"""`drift --accept`: writes what is live into the manifests that declare otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from reconciler.cli.context import Invocation
from reconciler.cli.loading import load_all
from reconciler.cli.wiring import Assembly
from reconciler.engine.accept import find_accepted
from reconciler.engine.runtime import Runtime
from reconciler.errors import ManifestInvalid, ReconcilerError
from reconciler.files import read_whole, write_whole
from reconciler.manifests.editing import Edit
from reconciler.manifests.editing.accept import Acceptance, edit_files
from reconciler.model import DriftReport
from reconciler.render.words.counting import count
from reconciler.render.words.escape import escape


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
    found = find_accepted(runtime, report, assembly.loaded.manifests, assembly.project.defaults)
    accepted = [
        Acceptance(manifest, tuple(Edit(pointer, value) for pointer, value in values))
        for manifest, values in found
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
