"""Checks what a job would fail by, before anything is recorded, uploaded or submitted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from reconciler.errors import BlobForbidden, Unavailable
from reconciler.model import Finding
from reconciler.model.training import Retraining, TrainingBlob
from reconciler.ports import BatchJobs, TrainingStorage
from reconciler.text.suggestions import ask, suggest


def check_job(
    retraining: Retraining,
    outputs: Sequence[TrainingBlob],
    jobs: BatchJobs,
    storage: TrainingStorage,
) -> Iterator[Finding]:
    """Yields a finding for each port that the service does not have, and for missing data."""
    for blob in retraining.inputs:
        yield from _check_port(blob, "input", jobs.inputs)
    for blob in outputs:
        yield from _check_port(blob, "output", jobs.outputs)
    for blob in retraining.inputs:
        yield from _check_data(blob, storage)


def _check_port(blob: TrainingBlob, side: str, known: Collection[str]) -> Iterator[Finding]:
    if not known or blob.port in known:
        return
    near = suggest(blob.port, known)
    names = ", ".join(f'"{one[:60]}"' for one in [*known][:20])
    yield Finding(
        f'the training service does not have an {side} port "{blob.port}"',
        place=blob.place,
        next_step=ask(blob.port, near) if near else f"It has {names}.",
    )


def _check_data(blob: TrainingBlob, storage: TrainingStorage) -> Iterator[Finding]:
    if blob.file:
        why = storage.check_file(blob.file)
        if why:
            yield Finding(f"the file {blob.file} cannot be read: {why}", place=blob.place)
        return
    try:
        exists = storage.exists(storage.refer(blob, blob.uri), create=False)
    except (BlobForbidden, Unavailable):
        # Only the training service may be allowed to read it; the job will report it.
        return
    if not exists:
        step = "Upload it, or name the `file` that is uploaded to this address."
        yield Finding(f"the data does not exist: {blob.uri}", place=blob.place, next_step=step)
