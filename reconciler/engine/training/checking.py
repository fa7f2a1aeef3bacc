"""Checks what a job would fail by, before anything is recorded, uploaded or submitted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

from reconciler.engine.training.comparing import read_rows
from reconciler.errors import BlobForbidden, ReconcilerError, Unavailable
from reconciler.model import Finding
from reconciler.model.training import Retraining, RowComparison, TrainingBlob
from reconciler.ports import BatchJobs, TrainingStorage
from reconciler.text.suggestions import ask, suggest


def check_job(
    retraining: Retraining,
    outputs: Sequence[TrainingBlob],
    jobs: BatchJobs,
    storage: TrainingStorage,
    read_file: Callable[[str], bytes],
) -> Iterator[Finding]:
    """Yields a finding for each port that the service lacks, and for data that cannot be used.

    `read_file` returns the rows of a comparison by the name of their file.
    """
    for blob in retraining.inputs:
        yield from _check_port(blob, "input", jobs.inputs)
    for blob in outputs:
        yield from _check_port(blob, "output", jobs.outputs)
    denied = list(_check_credentials([*retraining.inputs, *outputs], storage))
    yield from denied
    for blob in retraining.inputs:
        if blob.file or not denied:
            yield from _check_data(blob, storage)
    if retraining.comparison is not None:
        yield from _check_rows(retraining.comparison, read_file)


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


def _check_credentials(
    blobs: Sequence[TrainingBlob], storage: TrainingStorage
) -> Iterator[Finding]:
    """Yields a finding for each credential that opens no blob; most blobs share one."""
    seen = set[str]()
    for blob in blobs:
        try:
            storage.refer(blob, blob.uri)
        except ReconcilerError as error:
            for one in error.findings():
                named = "" if one.subject == blob.uri else f"{one.subject}: "
                message = f"the storage of {blob.port} cannot be used: {named}{one.message}"
                if named + one.message not in seen:
                    seen.add(named + one.message)
                    yield replace(one, message=message, place=blob.place)


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


def _check_rows(comparison: RowComparison, read_file: Callable[[str], bytes]) -> Iterator[Finding]:
    """Yields a finding for rows that no model could be compared on."""
    file, place = comparison.rows, comparison.place
    try:
        columns = [*read_rows(read_file(file))[0]]
    except ReconcilerError as error:
        yield Finding(f"{file}: {error.message}", place=place, next_step=error.next_step)
        return
    except ValueError as error:
        step = "Write CSV with a header and at least one row."
        yield Finding(f"the rows of {file} {error}", place=place, next_step=step)
        return
    label = comparison.label
    if label not in columns:
        near = suggest(label, columns)
        step = ask(label, near) if near else f"The columns are {', '.join(columns[:20])}."
        message = f'{file} does not have the column "{label}"'
        yield Finding(message, place=comparison.label_place, next_step=step)
