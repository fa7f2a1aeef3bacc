"""Scores the rows of a resource with its live model, and proves which model answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from reconciler.engine.training.comparing import find_numbers, read_rows
from reconciler.errors import ReconcilerError
from reconciler.model import Manifest, Snapshot
from reconciler.plans.proof import Answers, Proof, Verification, find_answers, prove
from reconciler.ports import Scorer

_USUAL_TOLERANCE: Final = 1e-6


def verify_model(
    root: Path, manifest: Manifest, snapshot: Snapshot, open_scorer: Callable[[], Scorer]
) -> Verification:
    """Returns which model answers for a resource with `spec.verify`.

    Raises ReconcilerError if the rows cannot be read. A service that cannot be reached is
    a result, not an error.
    """
    spec = manifest.spec["verify"]
    digest = find_digest(snapshot, manifest)
    expected, old, before = find_answers(snapshot.facts, digest)
    rows, columns, digest_of_rows = _read_rows(root, manifest)
    if not rows:
        raise ReconcilerError("holds no rows", subject=spec["rows"])
    try:
        answered = open_scorer().score(columns, [[row[name] for name in columns] for row in rows])
    except ReconcilerError as error:
        return Verification(
            manifest.address, Proof.UNREACHABLE, error.message, digest, before, len(rows)
        )
    numbers = find_numbers(answered)
    if numbers is None:
        proof, reason = Proof.INCONCLUSIVE, "the answers are not numbers"
    else:
        given = Answers(digest_of_rows, tuple(numbers))
        proof, reason = prove(given, expected, old, spec.get("tolerance", _USUAL_TOLERANCE))
    return Verification(manifest.address, proof, reason, digest, before, len(rows))


def find_digest(snapshot: Snapshot, manifest: Manifest) -> str:
    """Returns the digest of the model that a resource must serve, "" if it is not known.

    It is the one that the manifest pins, or else the one that the last apply recorded.
    """
    for model in manifest.spec.get("trainedModels", {}).values():
        if model.get("sha256"):
            return f"sha256:{model['sha256'].lower()}"
    last_applied = snapshot.last_applied_by_address.get(manifest.address)
    return next(iter(last_applied.digests.values()), "") if last_applied is not None else ""


def _read_rows(root: Path, manifest: Manifest) -> tuple[list[dict[str, str]], Sequence[str], str]:
    """Returns the rows, the columns to send, and the digest of the file."""
    spec = manifest.spec["verify"]
    path = root / Path(manifest.file).parent / spec["rows"]
    if not path.resolve().is_relative_to(root.resolve()):
        message, step = "the rows are outside the project's folder", "Move them into the folder."
        raise ReconcilerError(message, subject=str(manifest.address), next_step=step)
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"the file cannot be read: {error.strerror}"
        raise ReconcilerError(message, subject=spec["rows"]) from error
    rows = read_rows(data)
    columns = [one for one in (rows[0] if rows else ()) if one != spec.get("label")]
    return rows, columns, f"sha256:{hashlib.sha256(data).hexdigest()}"
