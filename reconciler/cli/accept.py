"""`drift --accept`: writes live values into the manifests that declare other values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from reconciler.cli.context import Invocation
from reconciler.cli.loading import find_scope
from reconciler.cli.rewrite import rewrite
from reconciler.cli.wiring import Assembly
from reconciler.engine.accept import find_accepted
from reconciler.engine.runtime import Runtime
from reconciler.errors import ReconcilerError
from reconciler.manifests.editing.accept import Acceptance, apply_edits, place_edits
from reconciler.manifests.editing.environments import settle_edits
from reconciler.model import DriftReport, Edit
from reconciler.render.words.escape import escape
from reconciler.text.counting import count


def accept(
    invocation: Invocation,
    assembly: Assembly,
    runtime: Runtime,
    report: DriftReport,
    paths: Sequence[str],
) -> None:
    """Write the drifted values into the manifests, and print the names of the changed files.

    Raises ReconcilerError without a value to accept, and ManifestInvalid when a manifest
    cannot hold a value, or another manifest would change too. After an error every file is
    unchanged.
    """
    found = find_accepted(runtime, report, assembly.loaded.manifests, assembly.project.defaults)
    accepted = [
        Acceptance(manifest, tuple(Edit(pointer, value) for pointer, value in values))
        for manifest, values in found
    ]
    if not accepted:
        raise ReconcilerError(
            "no live value has drifted since the last apply",
            next_step="To apply a changed manifest: reconciler apply. For all differences:"
            " reconciler drift",
        )
    root = Path(assembly.project.root)
    scope = find_scope(invocation, assembly.loaded)
    placed = settle_edits(root, place_edits(accepted), scope)
    texts = apply_edits(root, placed, assembly.loaded.tokens)
    written = {one.manifest.address for one in accepted}
    rewrite(invocation, assembly, runtime, texts, written, paths)
    for path in texts:
        click.echo(f"  {escape(str(path.relative_to(root)))}")
    moved = sum(len(one.edits) for one in accepted)
    click.echo(f"\n{count(moved, 'value')} accepted into {count(len(texts), 'file')}.")
